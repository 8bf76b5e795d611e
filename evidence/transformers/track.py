#!/usr/bin/env python3
"""Records what a forward pass of transformers holds beside the weights, without a GPU.

The model is built on the meta device: tensors have shapes and storages but no contents. A dispatch
mode sees every operation, registers every storage that appears and notices when it is freed; the sum
of what lives is what `torch.cuda.memory_allocated` would say, before rounding to 512 bytes.

Three things differ between the meta device and CUDA, and are put right here:

- `scaled_dot_product_attention` would run its mathematical form, with a score matrix. `cuda_sdpa`
  allocates what PyTorch's CUDA kernels allocate instead (ATen/native/transformers/attention.cpp):
  without a mask the output and its log-sum-exp (flash); with one the 16-bit mask, padded where its
  rows are not a multiple of 8, and the output (memory-efficient), which it accumulates in f32 for
  heads wider than 128.
- Softmax over bf16 with an f32 result is one kernel on CUDA only for f16: transformers' eager
  attention makes the f32 copy first, and so does the meta device. Nothing to put right.
- Reading a value is impossible. Static caches count their tokens in a tensor; here it is a number.

Not seen: scratch inside CUDA kernels (cuBLAS's workspace, the partial results of flash's split over
the keys at decode, sorting), and what the allocator rounds up.

Usage: track.py [--model NAME]... > transformers.csv
"""

import argparse
import csv
import gc
import sys
import weakref

import torch
import transformers
from shapes import config, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveStorages(TorchDispatchMode):
    """Bytes of the storages that live, their peak, and what was alive at it."""

    def __init__(self, known=()):
        super().__init__()
        self.live = {}
        self.bytes = 0
        self.peak = 0
        self.at_peak = []
        self.known = {id_of(tensor) for tensor in known}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self.register(leaf, func)
        return out

    def register(self, tensor, func):
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.live or key in self.known:
            return
        size = storage.nbytes()
        self.live[key] = (size, f"{func} {tuple(tensor.shape)} {tensor.dtype}")
        weakref.finalize(storage, self.free, key)
        self.bytes += size
        if self.bytes > self.peak:
            self.peak = self.bytes
            self.at_peak = list(self.live.items())

    def free(self, key):
        entry = self.live.pop(key, None)
        if entry:
            self.bytes -= entry[0]


def id_of(tensor):
    return tensor.untyped_storage()._cdata


def cuda_sdpa(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
    """What PyTorch's CUDA kernels for this call allocate."""
    batch, heads, rows, _ = query.shape
    seen, width = key.shape[2], value.shape[3]
    if attn_mask is None and key.shape[3] == width <= 256:
        out = query.new_empty(batch, rows, heads, width).transpose(1, 2)
        query.new_empty(batch, heads, rows, dtype=torch.float32)
        return out
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            attn_mask = torch.where(attn_mask, query.new_zeros(()), query.new_zeros(()))
        if seen % 8:
            attn_mask = torch.nn.functional.pad(attn_mask, (0, 8 - seen % 8))
    out = query.new_empty(batch, rows, heads, width)
    if width > 128:
        query.new_empty(batch, rows, heads, width, dtype=torch.float32)
    return out.transpose(1, 2)


torch.nn.functional.scaled_dot_product_attention = cuda_sdpa


def build(name, attention):
    """The model on the meta device in bf16."""
    made = config(profile(name))
    made._attn_implementation = attention
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(made, dtype=torch.bfloat16)
    return model.eval()


def storages(cache):
    """Every storage that a cache holds, once."""
    found = {}
    for layer in cache.layers:
        for tensor in (getattr(layer, "keys", None), getattr(layer, "values", None)):
            if tensor is not None:
                found[id_of(tensor)] = tensor.untyped_storage().nbytes()
    return sum(found.values())


def new_cache(model, kind, past, rows, batch=1):
    """A cache that holds `past` tokens and has room for `rows` more."""
    if kind == "dynamic":
        cache = transformers.DynamicCache(config=model.config)
    else:
        cache = transformers.StaticCache(config=model.config, max_cache_len=past + rows)
    for layer, (keys, values) in zip(cache.layers, token_of(model)):
        keys, values = (tensor.new_empty(batch, *tensor.shape[1:]) for tensor in (keys, values))
        if kind == "static":
            initialize(layer, keys, values)
            fix_length(layer, past)
        elif past:
            held = min(past, getattr(layer, "sliding_window", past + 1) - 1)
            initialize(layer, keys, values)
            layer.keys = keys.new_empty(*keys.shape[:2], held, keys.shape[3])
            layer.values = values.new_empty(*values.shape[:2], held, values.shape[3])
            if hasattr(layer, "cumulative_length"):
                layer.cumulative_length = past
    return cache


def initialize(layer, keys, values):
    """Versions 4 look at the keys alone."""
    states = keys, values
    layer.lazy_initialization(*states[: layer.lazy_initialization.__func__.__code__.co_argcount - 1])


def token_of(model):
    """What each layer caches for one token."""
    if not hasattr(model, "token_of"):
        cache = transformers.DynamicCache(config=model.config)
        with torch.no_grad():
            model(input_ids=torch.zeros(1, 1, dtype=torch.long, device="meta"), past_key_values=cache)
        model.token_of = [(layer.keys, layer.values) for layer in cache.layers]
    return model.token_of


def fix_length(layer, past):
    """Makes a static layer's count of tokens a number: on the meta device it could not be read."""
    if hasattr(layer, "cumulative_length_int"):
        layer.cumulative_length_int = past
    else:
        layer.get_seq_length = lambda: past


def track(model, kind, rows, past, logits="last", batch=1, hidden=False, attentions=False):
    """One pass over `rows` tokens behind `past` cached ones."""
    cache = new_cache(model, kind, past, rows, batch)
    ids = torch.zeros(batch, rows, dtype=torch.long, device="meta")
    if hasattr(model, "set_experts_implementation") and model._can_set_experts_implementation():
        # What generate() does: grouped for the prompt, batched for every further token.
        model.set_experts_implementation("batched_mm" if rows == 1 and past else "grouped_mm")
    before = storages(cache)
    gc.collect()
    mode = LiveStorages(known=[*model.parameters(), *model.buffers(), ids, *held(cache)])
    mode.bytes = mode.peak = before
    for tensor in held(cache):
        mode.known.discard(id_of(tensor))
        mode.live[id_of(tensor)] = (tensor.untyped_storage().nbytes(), "cache")
        weakref.finalize(tensor.untyped_storage(), mode.free, id_of(tensor))
    tensor = None
    with torch.no_grad(), mode:
        out = model(
            input_ids=ids,
            past_key_values=cache,
            use_cache=True,
            output_hidden_states=hidden,
            output_attentions=attentions,
            **({} if logits == "all" else {"logits_to_keep": 1}),
        )
        if logits == "last":
            out.logits[:, -1, :].to(copy=True, dtype=torch.float32)
    after = storages(cache)
    ours = {id_of(tensor) for tensor in held(cache)}
    rest = [entry for key, entry in mode.at_peak if key not in ours and entry[1] != "cache"]
    mode.live.clear()
    return {"before": before, "after": after, "peak": mode.peak, "rest": rest}


def held(cache):
    return [t for layer in cache.layers for t in (layer.keys, layer.values) if t is not None]


def show(result, top=18):
    """Prints what was alive at the peak, for analysis."""
    print(f"peak {result['peak']:,} kv after {result['after']:,} beyond {result['peak'] - result['after']:,}")
    for size, name in sorted(result["rest"], reverse=True)[:top]:
        print(f"  {size:>15,} {name}")


MODELS = [
    "qwen2.5-0.5b",
    "qwen2.5-7b",
    "qwen2.5-14b",
    "qwen3-8b",
    "llama-3.1-8b",
    "llama-3.2-1b",
    "mistral-7b-v0.3",
    "gemma-2-9b",
    "gemma-3-4b",
    "phi-3-mini-128k",
    "phi-4",
    "mixtral-8x7b",
    "qwen3-30b-a3b",
    "gpt-oss-20b",
    "deepseek-v2-lite",
    "olmo-2-7b",
    "granite-3.1-8b",
    "starcoder2-7b",
    "qwen3-0.6b",
    "granite-3.1-2b",
    "gemma-3-1b",
    "starcoder2-3b",
    "phi-4-mini",
]
# Families whose `_supports_sdpa` is false: transformers runs them eager unless told otherwise.
EAGER_ONLY = {"gemma2", "gpt_oss"}


def scenarios(attention):
    """Keyword arguments of `track`, passes of every kind."""
    for rows in (1, 64, 512, 2048, 6000, 8192):
        yield dict(rows=rows, past=0)
    for rows, past in ((512, 1500), (512, 7680), (1000, 12000), (2048, 30720)):
        yield dict(rows=rows, past=past)
    for past in (1000, 6000, 32000):
        yield dict(rows=1, past=past)
    for rows in (512, 2048):
        yield dict(rows=rows, past=0, logits="all")
    yield dict(rows=512, past=0, batch=4)
    yield dict(rows=1, past=6000, batch=4)
    for rows, past in ((512, 0), (512, 4096), (1, 4096)):
        yield dict(rows=rows, past=past, kind="static")
    yield dict(rows=256, past=4000, hidden=True)
    if attention == "eager":
        yield dict(rows=256, past=4000, hidden=True, attentions=True)


def phase(rows, past):
    if not past:
        return "system_prefill"
    return "decode" if rows == 1 else "prefill"


COLUMNS = "model transformers torch attention cache phase rows past batch logits capture".split()
COLUMNS += ["kv_before", "kv_after", "live_peak", "beyond_kv"]


def row(name, attention, model, scenario):
    kind = scenario.pop("kind", "dynamic")
    result = track(model, kind, **scenario)
    capture = {(False, False): "none", (True, False): "hidden", (True, True): "hidden+attention"}
    return [
        name,
        transformers.__version__,
        torch.__version__.split("+")[0],
        attention,
        kind,
        phase(scenario["rows"], scenario["past"]),
        scenario["rows"],
        scenario["past"],
        scenario.get("batch", 1),
        scenario.get("logits", "last"),
        capture[scenario.get("hidden", False), scenario.get("attentions", False)],
        result["before"],
        result["after"],
        result["peak"],
        result["peak"] - result["after"],
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", help="only these models")
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name in parser.parse_args().model or MODELS:
        shape = profile(name)
        for attention in ("sdpa", "eager"):
            if attention == "sdpa" and shape["architecture"] in EAGER_ONLY:
                continue
            model = build(name, attention)
            for scenario in scenarios(attention):
                if scenario["rows"] + scenario["past"] <= shape["context_len"]:
                    writer.writerow(row(name, attention, model, scenario))
            sys.stdout.flush()


if __name__ == "__main__":
    main()
