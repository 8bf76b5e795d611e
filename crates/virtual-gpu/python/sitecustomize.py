"""Python runs this in every program of a rehearsal, before the program's own code.

It lets each module here wait for the libraries that it is about, and then runs the `sitecustomize` that the
program would have had without it.
"""

import importlib
import importlib.machinery
import importlib.util
import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
# Modules, and what is called of each.
_MODULES = [
    ("vramplan_phases", "install"),
    ("vramplan_shadow", "wait_for_libraries"),
]


def _run_the_users_own():
    elsewhere = [path for path in sys.path if os.path.abspath(path) != _HERE]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", elsewhere)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


for _name, _call in _MODULES:
    try:
        getattr(importlib.import_module(_name), _call)()
    except Exception as error:  # a rehearsal without it is better than a program that does not start
        sys.stderr.write("vramplan: %s: %r\n" % (_name, error))

_run_the_users_own()
