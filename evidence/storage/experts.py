#!/usr/bin/env python3
"""Writes what mixtures of experts take under another version of transformers than `storage.py`'s.

    pip install -r requirements.txt transformers==4.57.6 && python experts.py > experts.csv

Which layers bitsandbytes is given is asked of transformers, on the meta device; each distinct layer is
quantized by bitsandbytes itself on the CPU. The columns are those of `models.csv`. Versions 4 have three
`nn.Linear` for every expert, which are quantized one by one, and for most families an `nn.Linear` as router.
"""

import csv
import pathlib
import sys

import bitsandbytes
import torch
import transformers

sys.path[:0] = [str(pathlib.Path(__file__).parent.parent / "transformers")]
import track
from transformers.integrations import get_keys_to_not_convert, replace_with_bnb_linear

MODELS = ["mixtral-8x7b", "qwen3-30b-a3b", "qwen1.5-moe-a2.7b", "deepseek-v2-lite", "gpt-oss-20b"]
# gpt-oss is published with its experts in MXFP4: of it only which modules there are is asked.
COUNTED = ["gpt-oss-20b"]
GRANULE = 512
COLUMNS = "library version transformers format model modules quantized kept total allocated"


def four_bit(kind, nested):
    def store(inputs, outputs):
        weight = torch.zeros(outputs, inputs, dtype=torch.bfloat16)
        made = bitsandbytes.nn.Params4bit(weight, requires_grad=False, compress_statistics=nested, quant_type=kind).to("cpu")
        state = made.quant_state
        held = [made.data, state.absmax, state.code]
        return held + ([state.state2.absmax, state.state2.code, state.offset] if nested else [])

    return store


def eight_bit(inputs, outputs):
    weight = torch.zeros(outputs, inputs, dtype=torch.bfloat16)
    made = bitsandbytes.nn.Int8Params(weight, has_fp16_weights=False, requires_grad=False).to("cpu")
    return [made.data, made.SCB]


FORMATS = {"nf4": four_bit("nf4", False), "nf4-dq": four_bit("nf4", True), "int8": eight_bit}


def rounded(size):
    return -(-size // GRANULE) * GRANULE


def quantized(name):
    """How many layers of each shape bitsandbytes is given, and the sizes of all other parameters."""
    model = track.build(name, "eager" if track.profile(name)["architecture"] in track.EAGER_ONLY else "sdpa")
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
    return shapes, [p.numel() for p in dict.fromkeys(model.parameters()) if id(p) not in weights]


def main():
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS.split())
    for name in MODELS:
        shapes, rest = quantized(name)
        modules = sum(shapes.values())
        for format, store in FORMATS.items():
            versions = ["bitsandbytes", bitsandbytes.__version__, transformers.__version__, format, name]
            if name in COUNTED:
                writer.writerow([*versions, modules, "", "", "", ""])
                continue
            sizes = [(count, tensor.nbytes) for shape, count in shapes.items() for tensor in store(*shape)]
            total = sum(count * size for count, size in sizes)
            kept = sum(2 * n for n in rest)
            allocated = sum(count * rounded(size) for count, size in sizes) + sum(rounded(2 * n) for n in rest)
            writer.writerow([*versions, modules, total, kept, total + kept, allocated])
        sys.stdout.flush()


if __name__ == "__main__":
    main()
