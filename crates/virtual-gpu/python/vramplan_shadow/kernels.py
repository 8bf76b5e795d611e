"""Small launches of Triton kernels, run by Triton's own interpreter on the card's memory.

An engine prepares its batches and counts its tokens in such kernels; without them it waits for
tokens that never come. A launch of many programs (attention, products, a profiling run) stays a
launch that does nothing.
"""

import collections
import inspect
import threading
import time
import types

from vramplan_shadow import fakes

#: Programs of a launch up to which it is run.
PROGRAMS = 1024
#: Seconds of this thread's time after which the rest of a launch is left out.
PATIENCE = 3.0
#: Seconds of all its launches after which a kernel is not run any more.
PATIENCE_IN_ALL = 60.0

_lock = threading.RLock()
_state = threading.local()
#: Why a kernel is not run.
_given_up = {}
#: Seconds that a kernel took.
_spent = collections.Counter()
#: What of `triton.language` is replaced now.
_replaced = None


class _Unreachable(Exception):
    """A pointer that follows from values which are not known."""


def install():
    """Runs the launches of `JITFunction` once more."""
    from triton.compiler import compiler
    from triton.runtime import jit

    run = jit.JITFunction.run

    def run_and_interpret(function, *args, grid, warmup, **kwargs):
        kernel = run(function, *args, grid=grid, warmup=warmup, **kwargs)
        if not warmup and not getattr(_state, "benchmark", False):
            _interpret(function, args, grid, kwargs)
        return kernel

    jit.JITFunction.run = run_and_interpret
    jit.JITFunction.__call__ = _call_from_kernel(jit.JITFunction.__call__)
    # The interpreter replaces parts of `triton.language` while it runs.
    compiler.ASTSource.make_ir = _with_real_language(compiler.ASTSource.make_ir)
    _leave_benchmarks_alone()


def _with_real_language(method):
    def compile_it(*args, **kwargs):
        with _lock:
            _restore_language()
            return method(*args, **kwargs)

    return compile_it


def _replace_language():
    """Lets `triton.language` compute, which takes milliseconds: until a kernel is compiled."""
    global _replaced
    if _replaced is None:
        from triton import language
        from triton.runtime import interpreter

        # Kernels use the one, the functions that they call (`tl.max`) the other.
        both = types.SimpleNamespace(__globals__={"tl": language, "core": language.core})
        _replaced = interpreter._patch_lang(both)


def _restore_language():
    global _replaced
    if _replaced is not None:
        _replaced.restore()
        _replaced = None


def _leave_benchmarks_alone():
    """What an autotuner times is not worth running."""
    from triton.runtime import autotuner

    bench = autotuner.Autotuner._bench

    def quietly(*args, **kwargs):
        _state.benchmark = True
        try:
            return bench(*args, **kwargs)
        finally:
            _state.benchmark = False

    autotuner.Autotuner._bench = quietly


def _call_from_kernel(call):
    def called(function, *args, **kwargs):
        if getattr(_state, "running", False):
            return _rewritten(function.fn)(*args, **kwargs)
        return call(function, *args, **kwargs)

    return called


def _rewritten(python_function):
    from triton.runtime import interpreter

    return interpreter.InterpretedFunction(python_function).rewrite()


def _interpret(function, args, grid, kwargs):
    name = function.fn.__name__
    if name in _given_up:
        return
    try:
        names = inspect.getfullargspec(function.fn).args
        options = {key: value for key, value in kwargs.items() if key in names}
        arguments = inspect.getcallargs(function.fn, *args, **options)
        grid = tuple(grid(arguments) if callable(grid) else grid)
        grid += (1,) * (3 - len(grid))
        if grid[0] * grid[1] * grid[2] <= PROGRAMS and _reachable_arguments(arguments):
            with _lock:
                _run(function, arguments, grid)
    except Exception as error:
        _give_up(name, repr(error))


def _reachable_arguments(arguments):
    tensors = [value for value in arguments.values() if getattr(value, "is_cuda", False)]
    return all(t.numel() == 0 or fakes.reachable(t.data_ptr(), t.data_ptr()) for t in tensors)


def _run(function, arguments, grid):
    from triton.runtime import interpreter

    _watch_pointers(interpreter.InterpreterBuilder)
    constants = {param.name for param in function.params if param.is_constexpr}
    body = _rewritten(function.fn)
    _replace_language()
    _state.running = True
    began = time.thread_time()
    try:
        convert = interpreter._implicit_cvt
        values = {k: v if k in constants else convert(v) for k, v in arguments.items()}
        interpreter.interpreter_builder.set_grid_dim(*grid)
        for x in range(grid[0]):
            for y in range(grid[1]):
                for z in range(grid[2]):
                    interpreter.interpreter_builder.set_grid_idx(x, y, z)
                    body(**values)
            if time.thread_time() - began > PATIENCE:
                fakes.remark("Triton: a launch of `%s` was not run whole" % function.fn.__name__)
                break
    finally:
        _state.running = False
    name = function.fn.__name__
    _spent[name] += time.thread_time() - began
    if _spent[name] > PATIENCE_IN_ALL:
        _give_up(name, "it takes too long")


def _watch_pointers(builder):
    """A kernel that follows a pointer out of values that are not known must not end the program."""
    if getattr(builder, "watched", False):
        return
    builder.watched = True
    for name in ("create_masked_load", "create_masked_store"):
        setattr(builder, name, _checked(getattr(builder, name), 1 if name.endswith("load") else 2))
    builder.create_atomic_rmw = _checked(builder.create_atomic_rmw, 3, pointers=1)
    builder.create_atomic_cas = _checked(builder.create_atomic_cas, None)


def _checked(method, mask_at, pointers=0):
    def checked(builder, *args):
        addresses = args[pointers].data
        if mask_at is not None:
            addresses = addresses[args[mask_at].data.astype(bool)]
        if addresses.size and not fakes.reachable(int(addresses.min()), int(addresses.max())):
            raise _Unreachable("a pointer that follows from values which are not known")
        return method(builder, *args)

    return checked


def _give_up(name, reason):
    if name not in _given_up:
        _given_up[name] = reason
        fakes.remark("Triton: `%s` is not run: %s" % (name, reason[:300]))
