"""Values that steer a program, computed where no kernel runs.

The memory of a virtual card is memory of the host. So operations on small tensors are done by the
CPU, in that memory: masks, counts, routes, stop flags and sampled tokens are what they would be, as
far as they follow from values that are known. What they do not follow from (activations, since
weights are not read) is replaced by noise where it is a float and by 0 where it is an integer.
"""

import importlib.abc
import importlib.util
import sys


def _torch():
    from vramplan_shadow import operations

    operations.install()


def _triton():
    from vramplan_shadow import kernels

    kernels.install()


_ACTIONS = {"torch": _torch, "triton": _triton}


class _AfterImport(importlib.abc.MetaPathFinder):
    """Calls a function when a module was imported."""

    def __init__(self):
        self.looking = set()

    def find_spec(self, name, path, target=None):
        action = _ACTIONS.get(name)
        if action is None or name in self.looking:
            return None
        self.looking.add(name)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self.looking.discard(name)
        if spec is not None and spec.loader is not None:
            self.watch(spec.loader, action)
        return spec

    @staticmethod
    def watch(loader, action):
        execute = loader.exec_module

        def exec_module(module):
            execute(module)
            try:
                action()
            except Exception as error:
                sys.stderr.write("vramplan: small tensors keep no values: %r\n" % (error,))

        loader.exec_module = exec_module


def wait_for_libraries():
    """Installs the shadow as soon as the program has imported PyTorch, and Triton."""
    from vramplan_shadow import fakes

    if fakes.limit() > 0:
        sys.meta_path.insert(0, _AfterImport())
