#!/usr/bin/env python3
"""What PyTorch would have reserved over a conversation with transformers, without a GPU.

The forward passes are those of the real transformers on the meta device, as `../transformers/track.py`
sees them: every storage that appears or is freed, in order. Each goes through the allocator of
`caching.py` instead of a sum, so that segments, split remainders and holes are there as on a card:

- *loading*: transformers allocates the sum of the weights once and frees it (`caching_allocator_warmup`),
  then the weights come from that block; with `nf4` each is moved in 16 bits, then quantized;
- *cuBLAS's workspace* comes from the allocator at the first product;
- *passes*: a `DynamicCache`, grown by `torch.cat`, or a `StaticCache`; logits of the last position and
  their f32 copy. With `nf4` a pass over more than a token expands the weight of each layer (the
  `_dequant_linear_fallback` of bitsandbytes, which it takes for M > 1 before 0.50);
- *token ids* of every pass.

What is reserved while the card has room grows with every pass of a long conversation: a grown key tensor
of more than 10 MiB has a segment of its own, and what it leaves is too small for the next. Where the card
is full the allocator returns such segments and tries again. So the size that a card has to have is found
by playing the same allocations on ever smaller ones: `needed`, at the end of each conversation.

Not seen: scratch inside CUDA kernels, other streams, `PYTORCH_CUDA_ALLOC_CONF`.

Usage: conversation.py [--model NAME]... > allocator.csv
"""

import argparse
import csv
import gc
import pathlib
import sys
import weakref

sys.path[:0] = [str(pathlib.Path(__file__).parents[1] / "transformers")]

import torch
import track
import transformers
from caching import Allocator, OutOfMemory, check_constants, check_documented
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WORKSPACE = 8_519_680  # CublasHandlePool.cpp, below compute capability 9.0


class Events:
    """An allocator that keeps what was asked of it, to ask it of another."""

    def __init__(self):
        self.allocator, self.asked, self.count = Allocator(), [], 0

    def malloc(self, size):
        self.count += 1
        self.asked.append((self.count, size))
        return self.count, self.allocator.malloc(size)

    def free(self, handle):
        if handle is not None:
            self.asked.append((handle[0], None))
            self.allocator.free(handle[1])

    def fits(self, limit):
        """Whether a card of `limit` bytes is large enough."""
        allocator, blocks = Allocator(limit), {}
        try:
            for key, size in self.asked:
                if size is None:
                    allocator.free(blocks.pop(key))
                else:
                    blocks[key] = allocator.malloc(size)
        except OutOfMemory:
            return False
        return True

    def needed(self):
        """The smallest card, in whole MiB, on which everything that was asked is to be had."""
        low, high = self.allocator.peak_allocated >> 20, -(-self.allocator.peak_reserved >> 20)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.fits(middle << 20) else (middle + 1, high)
        return high << 20


class Traced(TorchDispatchMode):
    """Allocates a block for every storage that appears, and frees it with the storage."""

    def __init__(self, allocator, known):
        super().__init__()
        self.allocator, self.live = allocator, {}
        self.known = {track.id_of(tensor) for tensor in known}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self.register(leaf)
        return out

    def register(self, tensor):
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.live or key in self.known:
            return
        self.live[key] = self.allocator.malloc(storage.nbytes())
        weakref.finalize(storage, self.release, key)

    def release(self, key):
        self.allocator.free(self.live.pop(key, None))


def is_quantized(name, module):
    return isinstance(module, torch.nn.Linear) and name != "lm_head"


def scales(weight):
    """f32 scales of blocks of 64, and the table of 16 values, of NF4 without double quantization."""
    return -(-weight.numel() // 64) * 4


def load(allocator, model, weights):
    """The weights in the order of the model, behind one block of their sum."""
    quantized = {}
    if weights == "nf4":
        quantized = {id(m.weight) for name, m in model.named_modules() if is_quantized(name, m)}
    sizes = [(id(p) in quantized, p) for p in dict.fromkeys(model.parameters())]
    warmup = sum(p.numel() // 2 if packed else p.nbytes for packed, p in sizes)
    allocator.free(allocator.malloc(warmup))
    for packed, parameter in sizes:
        if not packed:
            allocator.malloc(parameter.nbytes)
            continue
        moved = allocator.malloc(parameter.nbytes)
        for size in (scales(parameter), parameter.numel() // 2, 16 * 4):
            allocator.malloc(size)
        allocator.free(moved)
    for buffer in model.buffers():
        allocator.malloc(buffer.nbytes)


def expand(model):
    """Makes every quantized layer expand its weight for more than a token."""
    for name, module in model.named_modules():
        if not is_quantized(name, module):
            continue

        def forward(rows, module=module):
            if rows.numel() == rows.shape[-1]:
                return torch.nn.functional.linear(rows, module.weight, module.bias)
            weight = torch.empty_like(module.weight)
            return torch.nn.functional.linear(rows, weight, module.bias)

        module.forward = forward


def turn(model, cache, rows):
    """One pass over further tokens, as `generate` makes it."""
    ids = torch.zeros(1, rows, dtype=torch.long, device="meta")
    out = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
    out.logits[:, -1, :].to(copy=True, dtype=torch.float32)


def chunks(tokens, size):
    return [size] * (tokens // size) + [tokens % size] * (tokens % size > 0)


# Passes of a conversation: tokens of each, a 1 is a generated token.
GENERATED = [1] * 2
CONVERSATIONS = {
    "at-once": [6000, *GENERATED, 1000, *GENERATED],
    "chunked": [*chunks(6000, 512), *GENERATED, *chunks(7000, 1024), *GENERATED],
    "turns": [n for prompt in (200, 37, 900, 5, 411, 1300, 64, 733, 2048, 19, 250) for n in (prompt, *GENERATED)],
}
# Weights, cache, conversation.
CASES = [("bf16", "dynamic", name) for name in CONVERSATIONS]
CASES += [("bf16", "static", "chunked"), ("nf4", "dynamic", "chunked"), ("nf4", "dynamic", "at-once")]


def fresh_cache(model, kind, tokens):
    if kind == "dynamic":
        return transformers.DynamicCache(config=model.config)
    return track.new_cache(model, "static", 0, tokens)


def converse(model, weights, kind, passes):
    """Yields what is held after each stage: loading, each pass that is no token, every run of tokens."""
    allocator = Events()
    load(allocator, model, weights)
    yield "load", 0, 0, allocator
    allocator.malloc(WORKSPACE)
    seen = 0
    with torch.no_grad(), Traced(allocator, [*model.parameters(), *model.buffers()]) as trace:
        cache = fresh_cache(model, kind, sum(passes))
        for tensor in track.held(cache):
            trace.register(tensor)
        for at, rows in enumerate(passes):
            turn(model, cache, rows)
            seen += rows
            if kind == "static":
                for layer in cache.layers:
                    track.fix_length(layer, seen)
            last = at + 1 == len(passes) or passes[at + 1] != 1
            if rows > 1 or last:
                gc.collect()
                yield "prefill" if rows > 1 else "decode", rows, seen, allocator
        yield "end", 0, seen, allocator
        allocator.allocator.check()


MODELS = ["qwen2.5-0.5b", "qwen2.5-7b", "llama-3.1-8b", "qwen2.5-14b"]
COLUMNS = "model transformers torch weights cache conversation stage rows tokens".split()
COLUMNS += ["requested", "allocated", "reserved", "peak_allocated", "peak_reserved", "needed"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", help="only these models")
    check_constants(pathlib.Path(torch.__file__).parent / "include")
    check_documented()
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    versions = [transformers.__version__, torch.__version__.split("+")[0]]
    for name in parser.parse_args().model or MODELS:
        model = track.build(name, "sdpa")
        for weights, kind, conversation in CASES:
            if weights == "nf4":
                expand(model)
            for stage, rows, seen, events in converse(model, weights, kind, CONVERSATIONS[conversation]):
                held = events.allocator
                counters = [held.requested, held.allocated, held.reserved, held.peak_allocated, held.peak_reserved]
                counters += [events.needed() if stage == "end" else ""]
                writer.writerow([name, *versions, weights, kind, conversation, stage, rows, seen, *counters])
            sys.stdout.flush()


if __name__ == "__main__":
    main()
