#!/usr/bin/env python3
"""Records what forward passes over bitsandbytes layers hold, as `track.py` does for 16-bit ones.

The layers are bitsandbytes' own, on the meta device; where they call a CUDA kernel of the library, this
runs the library's Python code for CUDA (`bitsandbytes/backends/cuda/ops.py`) with the compiled part left
out, so that every tensor it makes is seen: expanded weights, scales, int32 results. Which kernel
`gemm_4bit` takes depends on the card: `CARDS` says which are played.

    pip install -r requirements.txt bitsandbytes==0.50.2 && python quantized.py passes >> quantized.csv
    python quantized.py rule > gemm_4bit.csv

`passes` is run once for every pair of versions: transformers 5.23.0 with bitsandbytes 0.50.2 and 0.49.2,
transformers 4.57.6 with both. What the meta device cannot know is given:

- which expert a token goes to: `spread` gives every expert as many tokens as every other, `one` gives all
  tokens to each of the experts that are used at all (versions 4 loop over experts);
- which columns of an input are outliers for 8-bit layers: none are.

`rule` asks the library itself (0.50) which products its fused kernel computes, without any tensor.
"""

import contextlib
import csv
import importlib
import itertools
import sys
import types

import torch

# Versions 4 enter autocast for the tensors' device, which the meta device has not.
torch.autocast = lambda *args, **kwargs: contextlib.nullcontext()

import bitsandbytes
import bitsandbytes._ops
import bitsandbytes.cextension
import bitsandbytes.functional
import track
import transformers
from bitsandbytes.functional import QuantState
from transformers.integrations.bitsandbytes import replace_with_bnb_linear

try:
    from transformers.quantizers.base import get_keys_to_not_convert
except ImportError:
    from transformers.integrations import get_keys_to_not_convert

# Multiprocessors and compute capability.
CARDS = {"A100-40GB": (108, 8, 0), "L4": (58, 8, 9), "H100": (132, 9, 0)}
BLOCK = 64
NESTED_BLOCK = 256


class Function:
    """A compiled function that does nothing; attributes (argument types) may be set."""

    def __call__(self, *args):
        return 0


class Library:
    """A compiled library whose functions do nothing."""

    def __getattr__(self, name):
        return self.__dict__.setdefault(name, Function())


def cuda_kernels():
    """bitsandbytes' Python code for CUDA, by the operation it is registered for."""
    kernels = {}

    def register(name, device):
        return lambda function: kernels.setdefault(name, function)

    bitsandbytes.cextension.lib = Library()
    bitsandbytes._ops.register_kernel = register
    bitsandbytes.functional._cuda_device_of = lambda tensor: contextlib.nullcontext()
    bitsandbytes.functional.get_ptr = lambda tensor: 0
    torch._C._cuda_getCurrentRawStream = lambda device: 0
    module = importlib.import_module("bitsandbytes.backends.cuda.ops")
    module._get_raw_stream = lambda device: 0
    module.CUBLAS_Context.get_instance = lambda: types.SimpleNamespace(get_context=lambda device: 0)
    # What CUDA has no code for falls back to the library's default.
    importlib.reload(importlib.import_module("bitsandbytes.backends.default.ops"))
    return kernels, module


KERNELS, CUDA = cuda_kernels()


def play(card):
    """Lets the library think that it runs on this card."""
    CUDA._gpu_dispatch_props = lambda device: CARDS[card]
    if hasattr(CUDA, "_gemm_4bit_use_custom_cuda"):
        CUDA._gemm_4bit_use_custom_cuda.cache_clear()


class Cuda(track.LiveStorages):
    """The tracker, with bitsandbytes' CUDA code, and answers for what depends on values."""

    routed = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        schema = func._schema
        kernel = KERNELS.get(".".join(filter(None, [schema.name, schema.overload_name])))
        if kernel:
            with self:
                return kernel(*args, **(kwargs or {}))
        if func is torch.ops.aten.nonzero.default:
            return self.indices(args[0])
        if schema.name in ("aten::_local_scalar_dense", "aten::item", "aten::is_nonzero"):
            return False
        return super().__torch_dispatch__(func, types, args, kwargs)

    def indices(self, mask):
        """The experts that are hit, or the tokens that one of them gets."""
        rows = mask.shape[0] if mask.ndim == 1 else self.routed
        made = torch.empty(rows, mask.ndim, dtype=torch.long, device="meta")
        self.register(made, "nonzero")
        return made


def four_bit(layer, kind, nested):
    """Gives a layer on the meta device the tensors that quantizing would give it."""
    shape = layer.weight.shape
    blocks = -(-shape.numel() // BLOCK)
    meta = lambda size, kind: torch.empty(size, dtype=kind, device="meta")
    state2 = offset = None
    if nested:
        state2 = QuantState(meta(-(-blocks // NESTED_BLOCK), torch.float32), code=meta(256, torch.float32), blocksize=NESTED_BLOCK, dtype=torch.float32)
        offset = meta((), torch.float32)
    state = QuantState(
        meta(blocks, torch.uint8 if nested else torch.float32),
        shape=shape,
        code=meta(16, torch.float32),
        blocksize=BLOCK,
        quant_type=kind,
        dtype=torch.bfloat16,
        offset=offset,
        state2=state2,
    )
    packed = meta((-(-shape.numel() // 2), 1), torch.uint8)
    layer.weight = bitsandbytes.nn.Params4bit(packed, requires_grad=False, quant_state=state, quant_type=kind, bnb_quantized=True, module=layer)
    layer.quant_state = state
    tensors = [packed, state.absmax, state.code]
    return tensors + ([offset, state2.absmax, state2.code] if nested else [])


def eight_bit(layer):
    shape = layer.weight.shape
    layer.state.CB = torch.empty(shape, dtype=torch.int8, device="meta")
    layer.state.SCB = torch.empty(shape[0], dtype=torch.float32, device="meta")
    layer.weight = torch.nn.Parameter(layer.state.CB, requires_grad=False)
    layer.weight.CB = layer.weight.SCB = None
    layer.state.is_training = False
    return [layer.state.CB, layer.state.SCB]


def build(name, attention, format):
    """The model with bitsandbytes' layers, and the tensors that it holds beside its parameters."""
    model = track.build(name, attention)
    if format == "bf16":
        return model, []
    kept = get_keys_to_not_convert(model)
    four = format != "int8"
    config = transformers.BitsAndBytesConfig(load_in_4bit=four, load_in_8bit=not four, bnb_4bit_compute_dtype=torch.bfloat16)
    with torch.device("meta"):
        model = replace_with_bnb_linear(model, modules_to_not_convert=kept, quantization_config=config)
    made = []
    for layer in model.modules():
        if isinstance(layer, bitsandbytes.nn.Linear4bit):
            made += four_bit(layer, format[:3], format.endswith("-dq"))
        elif isinstance(layer, bitsandbytes.nn.Linear8bitLt):
            made += eight_bit(layer)
    return model.eval(), made


def routed(name, rows, how):
    """Tokens of one expert."""
    moe = track.profile(name).get("moe")
    if not moe or how == "one":
        return rows
    return -(-rows * moe["n_experts_used"] // moe["n_experts"])


def measure(model, made, name, how, rows, past, batch=1):
    """One pass, its peak beside weights."""
    with torch.no_grad(), Cuda():
        track.token_of(model)
    mode = track.LiveStorages
    cuda = type("Played", (Cuda,), {"routed": routed(name, rows * batch, how)})
    track.LiveStorages = lambda known=(): cuda([*known, *made])
    try:
        return track.track(model, "dynamic", rows, past, batch=batch)
    finally:
        track.LiveStorages = mode


DENSE = ["qwen2.5-0.5b", "qwen2.5-7b", "llama-3.1-8b", "phi-4"]
EXPERTS = ["mixtral-8x7b", "qwen3-30b-a3b"]
# What a pass holds beside the cache is a layer's: so many layers are enough.
LAYERS = 3
PASSES = [dict(rows=1, past=6000, batch=batch) for batch in (1, 4, 8, 32)]
PASSES += [dict(rows=rows, past=past) for rows, past in ((16, 6000), (64, 6000), (128, 6000), (512, 0), (512, 6000), (2048, 0))]
COLUMNS = "model transformers bitsandbytes torch gpu weights attention cache phase rows past batch logits capture experts"
COLUMNS += " kv_before kv_after live_peak beyond_kv"


def cases(name):
    """Formats, cards and routings to ask for."""
    old = bitsandbytes.__version__ < "0.50"
    loops = name in EXPERTS and transformers.__version__ < "5"
    for format in ("bf16", "nf4", "nf4-dq", "int8"):
        # Versions 5 without bitsandbytes are in `transformers.csv`; with it, one version says it.
        if format == "bf16" and not (name in EXPERTS and transformers.__version__ < "5" and old):
            continue
        four = format.startswith("nf4")
        for card in list(CARDS) if four and not old else ["L4"]:
            for how in ("spread", "one") if loops else ("spread",):
                yield format, card, how


def write_passes(writer):
    whole = track.profile
    track.profile = lambda name: whole(name) | {"n_layers": LAYERS}
    for name in DENSE + EXPERTS:
        built = None
        for format, card, how in cases(name):
            if built is None or built[0] != format:
                built = format, *build(name, "eager" if track.profile(name)["architecture"] in track.EAGER_ONLY else "sdpa", format)
            attention = built[1].config._attn_implementation
            play(card)
            for case in PASSES:
                if case["rows"] + case["past"] > track.profile(name)["context_len"]:
                    continue
                result = measure(*built[1:], name, how, **case)
                rows, past, batch = case["rows"], case["past"], case.get("batch", 1)
                versions = [transformers.__version__, bitsandbytes.__version__, torch.__version__.split("+")[0]]
                writer.writerow(
                    [name, *versions, card, format, attention, "dynamic", track.phase(rows, past), rows, past, batch, "last", "none"]
                    + [how if name in EXPERTS else "none", result["before"], result["after"], result["peak"], result["peak"] - result["after"]]
                )
            sys.stdout.flush()
        print(name, file=sys.stderr)


# Multiprocessors and compute capability of cards of every kind that the rule tells apart.
PLAYED = [(20, 6, 1), (56, 6, 0), (80, 7, 0), (40, 7, 5), (108, 8, 0), (28, 8, 6), (84, 8, 6), (16, 8, 7), (58, 8, 9), (142, 8, 9)]
PLAYED += [(132, 9, 0), (148, 10, 0), (20, 11, 0), (36, 12, 0), (170, 12, 0), (48, 12, 1)]
SHAPES = [(128, 896), (896, 896), (4864, 896), (896, 4864), (1024, 4096), (4096, 4096), (14336, 4096), (4096, 14336), (768, 2048)]
SHAPES += [(2048, 768), (512, 3584), (3584, 3584), (18944, 3584), (3584, 18944), (5120, 5120), (13824, 5120), (5120, 13824), (35840, 5120)]
SHAPES += [(29568, 8192), (8192, 29568), (2560, 10240), (4096, 1536), (4096, 12288), (10240, 4096), (6144, 5120), (1280, 8192), (3072, 1024)]
ROWS = [1, 4, 5, 6, 7, 8, 9, 12, 16, 17, 23, 24, 32, 33, 48, 64, 65, 96, 128, 129, 192, 256, 257, 320, 384, 512, 513, 1024, 1536, 1537]


def write_rule(writer):
    """Whether the fused kernel computes a product: the largest row counts of every run of `yes`."""
    for (count, major, minor), kind in itertools.product(PLAYED, ("float16", "bfloat16")):
        CUDA._gpu_dispatch_props = lambda device: (count, major, minor)
        CUDA._gemm_4bit_use_custom_cuda.cache_clear()
        for outputs, inputs in SHAPES:
            fused = lambda rows: rows <= CUDA._gemm_4bit_custom_max_m and CUDA._gemm_4bit_use_custom_cuda(0, getattr(torch, kind), rows, outputs, inputs)
            answers = "".join("1" if fused(rows) else "0" for rows in ROWS)
            writer.writerow([bitsandbytes.__version__, count, f"{major}.{minor}", kind, outputs, inputs, answers])


def main():
    writer = csv.writer(sys.stdout, lineterminator="\n")
    if sys.argv[1:] == ["rule"]:
        writer.writerow("version multiprocessors capability dtype outputs inputs".split() + [" ".join(map(str, ROWS))])
        write_rule(writer)
    elif sys.argv[1:] == ["columns"]:
        writer.writerow(COLUMNS.split())
    else:
        write_passes(writer)


if __name__ == "__main__":
    main()
