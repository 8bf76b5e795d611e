"""PyTorch's operations on small tensors of the card, done by the CPU."""

import atexit
import collections
import threading

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from vramplan_shadow import fakes
from vramplan_shadow.tensors import Unreachable, fill_unknown, flat, generator, mapped, on_card, on_host

#: A result whose size follows from values is computed from inputs up to this many elements: reading
#: is cheap, and a wrong size is worse than wrong values.
DYNAMIC_LIMIT = 1 << 26

#: They make memory without values, or change what a tensor is and not what it holds; or the fakes do
#: them (`_local_scalar_dense` copies).
_LEFT_ALONE = {
    "aten::_local_scalar_dense",
    "aten::_pin_memory",
    "aten::is_pinned",
    "aten::record_stream",
    "aten::resize_",
    "aten::resize_as_",
    "aten::set_",
    "aten::_resize_output_",
}
#: They read or change few elements of a table, which may be large.
_READS_FEW = {"aten::index", "aten::index_select", "aten::gather", "aten::embedding", "aten::take"}
_CHANGES_FEW = {
    "aten::index_put_",
    "aten::_index_put_impl_",
    "aten::index_copy_",
    "aten::index_fill_",
    "aten::index_add_",
    "aten::scatter_",
    "aten::scatter_add_",
}

#: Modes below this one in which tensors stand for others: nothing is computed there.
_TRACING = list(torch._C._TorchDispatchModeKey.__members__.values())
_BUILT_IN = ("aten", "prim", "prims")
_CARD = torch._C.DispatchKeySet(torch._C.DispatchKey.CUDA)
#: Without the `__torch_function__`s of subclasses and modes.
_plain = torch._C.DisableTorchFunction
#: What a tensor has that does not take operations apart.
_NO_DISPATCH = torch.Tensor.__torch_dispatch__


def _kind(func):
    schema, name = func._schema, func._schema.name
    makes_nothing = name.startswith(("aten::empty", "aten::new_empty", "aten::_empty"))
    if func.is_view or name in _LEFT_ALONE or makes_nothing or func.namespace == "prim":
        return "left alone"
    if torch.Tag.dynamic_output_shape in func.tags:
        return "dynamic"
    if schema.is_mutable:
        return "changes"
    if schema.returns and all(str(r.type) in ("bool", "int", "float") for r in schema.returns):
        return "value"
    return "makes"


class Shadow(TorchDispatchMode):
    """Runs every operation as the program asked, and small ones once more on the CPU."""

    def __init__(self, limit):
        super().__init__()
        self.limit = limit
        self.kinds = {}
        self.takes_generator = {}
        self.operations = 0

    @classmethod
    def ignore_compile_internals(cls):
        return True

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if any(torch._C._get_dispatch_mode(key) is not None for key in _TRACING):
            return func(*args, **kwargs)
        if any(kind.__torch_dispatch__ is not _NO_DISPATCH for kind in types):
            # Such a subclass takes the operation apart; its parts come here.
            return NotImplemented
        with _plain():
            tensors = list(flat(args, kwargs))
            concerned = any(t.is_cuda for t in tensors) or _asks_for_card(kwargs.get("device"))
            kind = self.kind(func) if concerned else "left alone"
            if kind == "dynamic":
                return self.dynamic(func, args, kwargs, tensors)
            if kind == "value":
                return self.value(func, args, kwargs, tensors)
        self.operations = before = self.operations + 1
        out = self.run(func, args, kwargs) if concerned else func(*args, **kwargs)
        # Where it called others, these were followed.
        if kind != "left alone" and self.operations == before:
            with _plain():
                self.follow(kind, (func, args, kwargs), tensors, out)
        return out

    def kind(self, func):
        kind = self.kinds.get(func)
        if kind is None:
            kind = self.kinds[func] = _kind(func)
        return kind

    def run(self, func, args, kwargs):
        """Runs it as the program asked. An extension's may be written in Python: what it calls comes here too."""
        if func.namespace in _BUILT_IN:
            return func(*args, **kwargs)
        with self:
            return func.redispatch(_CARD, *args, **kwargs)

    def follow(self, kind, call, tensors, out):
        if kind == "changes":
            self.change(*call, tensors)
        else:
            self.make(*call, tensors, list(flat(out)))

    def make(self, func, args, kwargs, inputs, outputs):
        """An operation with new results."""
        if not outputs or any(t.numel() > self.limit for t in outputs):
            return
        name = func._schema.name
        small = all(t.numel() <= self.limit for t in (inputs[1:] if name in _READS_FEW else inputs))
        try:
            if small and name not in UNKNOWN:
                found = list(flat(self.on_cpu(func, args, kwargs)))
                for card, host in zip(outputs, found):
                    on_host(card).copy_(host)
                COUNTS["computed"] += 1
                return
        except NotImplementedError:
            UNKNOWN.add(name)
        except Exception:  # values that the CPU refuses, which a GPU would not have noticed
            pass
        self.leave_unknown(inputs, outputs)

    def leave_unknown(self, inputs, outputs):
        COUNTS["unknown"] += 1
        held = {t.untyped_storage().data_ptr() for t in inputs if t.is_cuda}
        for card in outputs:
            if card.is_cuda and card.untyped_storage().data_ptr() not in held:
                try:
                    fill_unknown(card)
                except (Unreachable, RuntimeError, TypeError, ValueError):
                    pass  # a type that the CPU cannot fill

    def change(self, func, args, kwargs, tensors):
        """An operation that changes one of its arguments."""
        name = func._schema.name
        few = name in _CHANGES_FEW and tensors and not tensors[0].dtype.is_floating_point
        if name in UNKNOWN or any(t.numel() > self.limit for t in (tensors[1:] if few else tensors)):
            return
        try:
            self.on_cpu(func, args, kwargs)
            COUNTS["computed"] += 1
        except NotImplementedError:
            UNKNOWN.add(name)
        except Exception:
            COUNTS["unknown"] += 1

    def dynamic(self, func, args, kwargs, tensors):
        """An operation whose result's size follows from values."""
        name = func._schema.name
        if name == "aten::index":
            args = (args[0], [_numbers(index) for index in args[1]])
            if all(index is None or not _is_mask(index) for index in args[1]):
                out = func(*args, **kwargs)
                self.make(func, args, kwargs, list(flat(args)), [out])
                return out
        if all(t.numel() <= DYNAMIC_LIMIT for t in tensors):
            try:
                if _is_bounded(name, args):
                    return self.lifted(self.on_cpu(func, args, kwargs), tensors)
            except (Unreachable, NotImplementedError):
                pass
        DYNAMIC_UNKNOWN.add(name)
        return func(*args, **kwargs)

    @staticmethod
    def lifted(found, tensors):
        """Results of the CPU as tensors of the card that the arguments are on."""
        COUNTS["computed"] += 1
        device = next(t.device for t in tensors if t.is_cuda)
        return mapped(lambda v: on_card(v, device) if isinstance(v, torch.Tensor) else v, found)

    def value(self, func, args, kwargs, tensors):
        """An operation that answers a number."""
        if all(t.numel() <= DYNAMIC_LIMIT for t in tensors):
            try:
                return self.on_cpu(func, args, kwargs)
            except (Unreachable, NotImplementedError):
                pass
        return func(*args, **kwargs)

    def on_cpu(self, func, args, kwargs):
        args, kwargs = mapped(_host_argument, args), mapped(_host_argument, dict(kwargs))
        if func not in self.takes_generator:
            names = [argument.name for argument in func._schema.arguments]
            self.takes_generator[func] = "generator" in names
        if self.takes_generator[func]:
            positional = [n for n, a in enumerate(func._schema.arguments) if a.name == "generator"]
            if positional and positional[0] < len(args):
                at = positional[0]
                args = (*args[:at], generator(), *args[at + 1 :])
            else:
                kwargs["generator"] = generator()
        elif torch.Tag.nondeterministic_seeded in func.tags:
            state = torch.get_rng_state()
            try:
                return func(*args, **kwargs)
            finally:
                torch.set_rng_state(state)
        return func(*args, **kwargs)


def _asks_for_card(device):
    return device is not None and torch.device(device).type == "cuda"


def _host_argument(value):
    if isinstance(value, torch.Tensor):
        return on_host(value)
    if isinstance(value, torch.device):
        return torch.device("cpu")
    return value


def _is_mask(index):
    return index.dtype in (torch.bool, torch.uint8)


def _numbers(index):
    """A one-dimensional mask as the numbers of what it chooses: then the table may be large."""
    small = index is not None and _is_mask(index) and index.dim() == 1 and index.is_cuda
    if not small or index.numel() > DYNAMIC_LIMIT:
        return index
    try:
        return on_card(on_host(index).nonzero().squeeze(1), index.device)
    except Unreachable:
        return index


def _is_bounded(name, args):
    """Whether counts in the arguments are such as a program can have meant."""
    if name == "aten::bincount":
        host = on_host(args[0])
        return host.numel() == 0 or 0 <= int(host.max()) <= DYNAMIC_LIMIT
    if name == "aten::repeat_interleave":
        host = on_host(args[0])
        return bool((host >= 0).all()) and int(host.sum()) <= DYNAMIC_LIMIT
    return True


COUNTS = collections.Counter()
#: Operations that the CPU does not have.
UNKNOWN = set()
#: Operations whose result's size could not be computed.
DYNAMIC_UNKNOWN = set()


def install():
    """Enters the mode in this thread, and in every thread that the program starts."""
    limit = fakes.limit()
    Shadow(limit).__enter__()
    run = threading.Thread._bootstrap_inner

    def in_shadow(thread):
        with Shadow(limit):
            run(thread)

    threading.Thread._bootstrap_inner = in_shadow
    if not hasattr(TorchDispatchMode, "ignore_compile_internals"):
        fakes.remark("PyTorch: this version does not compile (`torch.compile`) where small operations are computed")
    atexit.register(_say)


def _say():
    if COUNTS:
        fakes.remark(
            "PyTorch: %d operations on small tensors were computed, %d results were replaced by noise or 0"
            % (COUNTS["computed"], COUNTS["unknown"])
        )
    if DYNAMIC_UNKNOWN:
        names = ", ".join(sorted(DYNAMIC_UNKNOWN))
        fakes.remark("PyTorch: sizes that depend on values were not computed: %s" % names)
