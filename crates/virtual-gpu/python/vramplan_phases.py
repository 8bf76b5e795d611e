"""Says on the rehearsal's stream of events what PyTorch's allocator holds, and when transformers loads and generates.

A line is `{"pid": …, "t": …, "event": "torch" | "mark", …}` as in the crate's `event.rs`. Lines stand in the stream
between the allocations before and after them, so that a phase holds what was taken in it. Nothing is imported that the
program does not import; what is not there is not said.
"""

import atexit
import functools
import json
import os
import struct
import sys
import threading
import time

FOLDER = os.environ.get("VRAMPLAN_VIRTUAL_GPU_FOLDER", "")
# The longest line that a pipe takes whole.
LINE = 4096
# How often the allocator is asked, in seconds.
PERIOD = 0.1

_stream = None
_epoch = None
_last = {}
_depth = 0
_thread = None
_lock = threading.Lock()


def _open():
    global _stream, _epoch
    if _stream is None:
        _stream = os.open(os.path.join(FOLDER, "events"), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        _inode = os.fstat(_stream)
        _stream = (_stream, _inode.st_dev, _inode.st_ino)
    if _epoch is None:
        with open(os.path.join(FOLDER, "state"), "rb") as state:
            _epoch = struct.unpack("<QQ", state.read(16))[1]


def _say(event, **what):
    """Writes an event; one that cannot be written is left out, as the fakes do."""
    global _stream
    try:
        _open()
        found = os.fstat(_stream[0])
        if (found.st_dev, found.st_ino) != _stream[1:]:
            # The program closed our descriptor, and has its own under the number.
            _stream = None
            _open()
        t = max(time.monotonic_ns() - _epoch, 0) // 1000
        line = json.dumps({"pid": os.getpid(), "t": t, "event": event, **what}) + "\n"
        if len(line) <= LINE:
            os.write(_stream[0], line.encode())
    except OSError:
        _stream = None


def _card(device):
    """The machine's number of a device of this process."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        return int(visible.split(",")[device]) if visible else device
    except (ValueError, IndexError):
        return device


def _report():
    """Says what the allocator holds of each card, where that is another than the last time."""
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    if cuda is None or not getattr(cuda, "is_initialized", bool)():
        return
    with _lock:
        for device in range(cuda.device_count()):
            stats = cuda.memory_stats(device)
            of = lambda key: int(stats.get(key, 0))  # noqa: E731
            said = {
                "requested": of("requested_bytes.all.current"),
                "allocated": of("allocated_bytes.all.current"),
                "reserved": of("reserved_bytes.all.current"),
                "requested_peak": of("requested_bytes.all.peak"),
                "allocated_peak": of("allocated_bytes.all.peak"),
                "reserved_peak": of("reserved_bytes.all.peak"),
                "inactive_split": of("inactive_split_bytes.all.current"),
                "retries": of("num_alloc_retries"),
                "ooms": of("num_ooms"),
            }
            if said["reserved_peak"] and _last.get(device) != said:
                _last[device] = said
                _say("torch", card=_card(device), **said)


def report():
    try:
        _report()
    except Exception:
        pass


def _watch():
    while True:
        time.sleep(PERIOD)
        report()


def _start():
    global _thread
    if _thread is None:
        _thread = threading.Thread(target=_watch, name="vramplan", daemon=True)
        _thread.start()


def _after_fork():
    global _thread, _stream, _depth, _lock
    running, _thread, _stream, _depth, _lock = _thread is not None, None, None, 0, threading.Lock()
    _last.clear()
    if running:
        _start()


def mark(phase):
    """A phase begins; None ends one."""
    report()
    _say("mark", phase=phase)


def _within(phase, function):
    """A function during which the program is in a phase; of nested ones the outermost counts."""

    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        global _depth
        if _depth == 0:
            mark(phase)
        _depth += 1
        try:
            return function(*args, **kwargs)
        finally:
            _depth -= 1
            if _depth == 0:
                mark(None)

    return wrapped


def _loads(module):
    """`transformers.modeling_utils`"""
    model = module.PreTrainedModel
    model.from_pretrained = classmethod(_within("load", model.__dict__["from_pretrained"].__func__))


def _generates(module):
    """`transformers.generation.utils`: the prompt's pass ends where its token is put to the others."""
    mixin = module.GenerationMixin
    update, generate = mixin._update_model_kwargs_for_generation, mixin.generate

    @functools.wraps(update)
    def after_a_pass(self, *args, **kwargs):
        if getattr(self, "_vramplan_prefills", False):
            self._vramplan_prefills = False
            mark("decode")
        return update(self, *args, **kwargs)

    @functools.wraps(generate)
    def from_the_prompt(self, *args, **kwargs):
        self._vramplan_prefills = True
        return generate(self, *args, **kwargs)

    mixin._update_model_kwargs_for_generation = after_a_pass
    mixin.generate = _within("prefill", from_the_prompt)


AFTER_IMPORT = {"transformers.modeling_utils": _loads, "transformers.generation.utils": _generates}


class _Loader:
    """A loader that changes a module once it has been run."""

    def __init__(self, loader, change):
        self._loader, self._change = loader, change

    def __getattr__(self, name):
        return getattr(self._loader, name)

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        self._loader.exec_module(module)
        module.__loader__ = module.__spec__.loader = self._loader
        try:
            self._change(module)
        except Exception:
            pass


class _Finder:
    """Finds nothing by itself; notices what is imported."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "torch":
            _start()
        change = AFTER_IMPORT.get(name)
        if change is None:
            return None
        for finder in sys.meta_path:
            if finder is not _Finder and hasattr(finder, "find_spec"):
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    if hasattr(spec.loader, "exec_module"):
                        spec.loader = _Loader(spec.loader, change)
                    return spec
        return None


def install():
    """Waits for PyTorch and transformers."""
    if not FOLDER:
        return
    sys.meta_path.insert(0, _Finder)
    atexit.register(report)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_after_fork)
