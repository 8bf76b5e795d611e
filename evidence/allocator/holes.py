"""Checkpoints that take no disk: headers of safetensors files, and holes where the weights would be."""

import json
import re
import struct

import torch
import transformers
from packaging import version

NAMES = {torch.bfloat16: "BF16", torch.float32: "F32", torch.float16: "F16", torch.uint8: "U8"}
SHARD = 4 << 30

# What versions before 4.56 call the type of a model.
BF16 = {"dtype" if version.parse(transformers.__version__) >= version.parse("4.56") else "torch_dtype": torch.bfloat16}

# Families whose files have a matrix for every expert, which transformers joins as it loads: gate, up, down.
EXPERTS = {
    "mixtral": ("block_sparse_moe.experts", ("w1", "w3", "w2")),
    "qwen2_moe": ("mlp.experts", ("gate_proj", "up_proj", "down_proj")),
    "qwen3_moe": ("mlp.experts", ("gate_proj", "up_proj", "down_proj")),
    "deepseek_v2": ("mlp.experts", ("gate_proj", "up_proj", "down_proj")),
    "deepseek_v3": ("mlp.experts", ("gate_proj", "up_proj", "down_proj")),
}


def published(config):
    """The tensors of a published checkpoint of this configuration: name, shape, type."""
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config, **BF16)
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    for name, tensor in model.state_dict().items():
        if name not in tied:
            yield from stored(config.model_type, name, list(tensor.shape), tensor.dtype)


def stored(family, name, shape, dtype):
    """A tensor of the model as its file has it: one, or one for each expert."""
    joined = re.fullmatch(r"(.*)\.mlp\.experts\.(gate_up_proj|down_proj)", name)
    if family not in EXPERTS or not joined:
        if family == "mixtral":
            name = name.replace(".mlp.gate.", ".block_sparse_moe.gate.")
        yield name, shape, dtype
        return
    folder, (gate, up, down) = EXPERTS[family]
    layer, which = joined.groups()
    for expert in range(shape[0]):
        start = f"{layer}.{folder}.{expert}"
        if which == "down_proj":
            yield f"{start}.{down}.weight", shape[1:], dtype
        else:
            half = [shape[1] // 2, shape[2]]
            yield f"{start}.{gate}.weight", half, dtype
            yield f"{start}.{up}.weight", half, dtype


def size_of(shape, dtype):
    count = dtype.itemsize
    for extent in shape:
        count *= extent
    return count


def write(folder, config):
    """Writes the checkpoint; returns the bytes that it seems to have."""
    folder.mkdir(parents=True, exist_ok=True)
    shards, held = [[]], 0
    total = 0
    for name, shape, dtype in published(config):
        size = size_of(shape, dtype)
        if held and held + size > SHARD:
            shards.append([])
            held = 0
        shards[-1].append((name, shape, dtype, size))
        held += size
        total += size
    where = {}
    for at, shard in enumerate(shards, 1):
        file = f"model-{at:05}-of-{len(shards):05}.safetensors"
        write_shard(folder / file, shard)
        where |= {name: file for name, *_ in shard}
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config.save_pretrained(folder)
    return total


def write_shard(path, tensors):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape, dtype, size in tensors:
        header[name] = {"dtype": NAMES[dtype], "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + offset)
