#!/usr/bin/env python3
"""Writes the tensors that quantization libraries really store, for layers and caches of real models.

    pip install -r requirements.txt && pip install --no-deps --no-build-isolation -r packers.txt
    python storage.py

Each distinct linear layer of a model is quantized by the library itself on the CPU (bitsandbytes,
compressed-tensors), or its quantized layer is made by it (GPTQ's and AWQ's packers, whose kernels need a
GPU). Which layers of a model are quantized is asked of transformers. Writes

- `layers.csv`: every tensor of every distinct layer;
- `models.csv`: the weights of a model, quantized and kept, and what PyTorch's allocator counts for them,
  each tensor rounded to 512 bytes;
- `caches.csv`: every tensor of a quantized cache after so many tokens (HQQ and quanto in transformers), along the
  library's default axis.
"""

import csv
import importlib
import pathlib
import sys
import sysconfig
import types
from importlib.metadata import version

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "transformers")]

import bitsandbytes
import torch
import track
import transformers
from compressed_tensors import compressors
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme, initialize_module_for_quantization
from transformers import cache_utils
from transformers.integrations.bitsandbytes import replace_with_bnb_linear
from transformers.quantizers.base import get_keys_to_not_convert

MODELS = "qwen2.5-0.5b qwen2.5-1.5b qwen3-30b-a3b mixtral-8x7b llama-3.1-8b gemma-2-9b qwen2.5-14b qwen2.5-7b".split()
EXPERTS = ["mixtral-8x7b", "qwen3-30b-a3b"]
# FP4 has NF4's tensors: asked of the smallest.
FP4 = ["qwen2.5-0.5b", "qwen2.5-1.5b"]
GRANULE = 512


def packer(path, *parents):
    """A class of a package whose own imports need a GPU or an old transformers: its modules alone."""
    for name in parents:
        module = types.ModuleType(name)
        module.__path__ = [f"{sysconfig.get_paths()['purelib']}/{name.replace('.', '/')}"]
        sys.modules[name] = module
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


GPTQ = packer("auto_gptq.nn_modules.qlinear.qlinear_cuda_old.QuantLinear", "auto_gptq", "auto_gptq.nn_modules")
AWQ = packer("awq.modules.linear.gemm.WQLinear_GEMM", "awq", "awq.modules", "awq.modules.linear")


def zeros(inputs, outputs):
    return torch.zeros(outputs, inputs, dtype=torch.bfloat16)


def four_bit(kind, nested):
    def store(inputs, outputs):
        made = bitsandbytes.nn.Params4bit(
            zeros(inputs, outputs), requires_grad=False, compress_statistics=nested, quant_type=kind
        ).to("cpu")
        state = made.quant_state
        held = {"weight": made.data, "absmax": state.absmax, "code": state.code}
        if nested:
            held |= {"nested_absmax": state.state2.absmax, "nested_code": state.state2.code, "offset": state.offset}
        return held

    return store


def eight_bit(inputs, outputs):
    made = bitsandbytes.nn.Int8Params(zeros(inputs, outputs), has_fp16_weights=False, requires_grad=False).to("cpu")
    return {"weight": made.data, "SCB": made.SCB}


def gptq(group):
    return lambda inputs, outputs: dict(GPTQ(4, group, inputs, outputs, False).named_buffers())


def awq(group):
    return lambda inputs, outputs: dict(AWQ(4, group, inputs, outputs, False, "cpu").named_buffers())


def fp8(inputs, outputs):
    layer = torch.nn.utils.skip_init(torch.nn.Linear, inputs, outputs, bias=False, dtype=torch.bfloat16)
    layer.weight.data.zero_()
    args = QuantizationArgs(num_bits=8, type="float", strategy="tensor", symmetric=True)
    initialize_module_for_quantization(
        layer, QuantizationScheme(targets=["Linear"], weights=args, input_activations=args)
    )
    compressors.compress_module(layer)
    return dict(layer.named_parameters())


# vramplan's name of a format: the library, and what makes it.
FORMATS = {
    "nf4": ("bitsandbytes", four_bit("nf4", False)),
    "nf4-dq": ("bitsandbytes", four_bit("nf4", True)),
    "fp4": ("bitsandbytes", four_bit("fp4", False)),
    "fp4-dq": ("bitsandbytes", four_bit("fp4", True)),
    "int8": ("bitsandbytes", eight_bit),
    "gptq-int4": ("auto-gptq", gptq(128)),
    "gptq-int4-g32": ("auto-gptq", gptq(32)),
    "awq-int4": ("autoawq", awq(128)),
    "awq-int4-g64": ("autoawq", awq(64)),
    "fp8": ("compressed-tensors", fp8),
}


def quantized(name, attention):
    """Shapes of the layers that transformers hands to bitsandbytes, with how many have them; and the rest."""
    model = track.build(name, attention)
    kept = get_keys_to_not_convert(model)
    config = transformers.BitsAndBytesConfig(load_in_4bit=True)
    with torch.device("meta"):
        model = replace_with_bnb_linear(model, modules_to_not_convert=kept, quantization_config=config)
    layers = [m for m in model.modules() if isinstance(m, bitsandbytes.nn.Linear4bit)]
    shapes = {}
    for layer in layers:
        key = layer.in_features, layer.out_features
        shapes[key] = shapes.get(key, 0) + 1
    weights = {id(layer.weight) for layer in layers}
    rest = [p.numel() for p in dict.fromkeys(model.parameters()) if id(p) not in weights]
    return shapes, rest


def rounded(size):
    return -(-size // GRANULE) * GRANULE


def write_layers(names, layers, models):
    known = {}
    for name in names:
        attention = "eager" if track.profile(name)["architecture"] in track.EAGER_ONLY else "sdpa"
        shapes, rest = quantized(name, attention)
        for format, (library, store) in FORMATS.items():
            # Checkpoints for the other libraries have experts in layouts of their own.
            if name in EXPERTS and library != "bitsandbytes" or format.startswith("fp4") and name not in FP4:
                continue
            total = allocated = 0
            for (inputs, outputs), count in sorted(shapes.items()):
                if library in ("auto-gptq", "autoawq") and inputs % 128:
                    break
                key = format, inputs, outputs
                if key not in known:
                    known[key] = [(tensor, dtype(value), value.nbytes) for tensor, value in store(inputs, outputs).items()]
                for tensor, kind, size in known[key]:
                    layers.writerow([library, version(library), format, name, inputs, outputs, count, tensor, kind, size])
                    total += count * size
                    allocated += count * rounded(size)
            else:
                kept = sum(2 * n for n in rest)
                allocated += sum(rounded(2 * n) for n in rest)
                modules = sum(shapes.values())
                models.writerow([library, version(library), transformers.__version__, format, name, modules, total, kept, total + kept, allocated])
        print(name, file=sys.stderr)


def dtype(tensor):
    return str(tensor.dtype).removeprefix("torch.")


def leaves(stored):
    """The tensors of what a cache layer stores: a tensor, a pair with its state, or a subclass of a tensor."""
    if isinstance(stored, torch.Tensor) and hasattr(stored, "__tensor_flatten__"):
        for name in stored.__tensor_flatten__()[0]:
            for inner, tensor in leaves(getattr(stored, name)):
                yield name + inner, tensor
    elif isinstance(stored, torch.Tensor):
        yield "", stored
    elif isinstance(stored, dict):
        for name, value in stored.items():
            for inner, tensor in leaves(value):
                yield f".{name}{inner}", tensor
    elif isinstance(stored, (tuple, list)):
        for at, value in enumerate(stored):
            for inner, tensor in leaves(value):
                yield f"{at}{inner}", tensor


CACHES = {f"hqq{bits}": ("hqq", cache_utils.HQQQuantizedLayer, bits, 64) for bits in (1, 2, 3, 4, 8)}
CACHES |= {"hqq8-g32": ("hqq", cache_utils.HQQQuantizedLayer, 8, 32)}
CACHES |= {f"quanto{bits}": ("optimum-quanto", cache_utils.QuantoQuantizedLayer, bits, 64) for bits in (2, 4)}
# kv_heads and head_dim of Qwen2.5 0.5B, 7B and 14B, Gemma 2 9B, Phi-3 mini.
HEADS = [(2, 64), (4, 128), (8, 128), (8, 256), (32, 96)]
TOKENS = [64, 640, 1000]


def write_caches(caches):
    for format, (library, layer, bits, group) in CACHES.items():
        for heads, width in HEADS:
            for tokens in TOKENS:
                made = layer(nbits=bits, q_group_size=group)
                keys = torch.randn(1, heads, tokens, width, dtype=torch.bfloat16)
                made.keys = keys
                for tensor, value in leaves(made._quantize(keys, axis=made.axis_key)):
                    caches.writerow([library, version(library), format, heads, width, tokens, tensor or "data", dtype(value), value.nbytes])


def writer(name, columns):
    made = csv.writer(open(HERE / name, "w", encoding="utf-8", buffering=1), lineterminator="\n")
    made.writerow(columns.split())
    return made


def main():
    torch.manual_seed(0)
    write_caches(writer("caches.csv", "library version format kv_heads head_dim tokens tensor dtype bytes"))
    layers = writer("layers.csv", "library version format model inputs outputs layers tensor dtype bytes")
    models = writer("models.csv", "library version transformers format model modules quantized kept total allocated")
    write_layers(MODELS, layers, models)


if __name__ == "__main__":
    main()
