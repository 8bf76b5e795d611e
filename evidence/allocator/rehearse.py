#!/usr/bin/env python3
"""What transformers asks of PyTorch's allocator on a virtual GPU, and the smallest card that ends.

Everything is real and unmodified but the card: PyTorch and its allocator, transformers' loading and
`generate`, bitsandbytes, HQQ. Run under `crates/virtual-gpu`'s `rehearse` (see README.md); a run is

1. a checkpoint of holes is loaded by `from_pretrained`;
2. `generate` processes a prompt in chunks and makes some tokens;
3. PyTorch's own history of the run, every request in order, is asked again of the same allocator, emptied,
   under `set_per_process_memory_fraction`: a limit that the allocator treats as a full card. The smallest
   limit that grants all is `needed`.

Usage: rehearse.py --seed N --runs FROM:TO --card NAME > rows.csv
"""

import argparse
import csv
import functools
import gc
import importlib.metadata
import json
import pathlib
import random
import shutil
import sys
import tempfile

sys.path[:0] = [str(pathlib.Path(__file__).parents[1] / "transformers")]

import holes
import torch
import transformers
from shapes import config, profile
from transformers import cache_utils, masking_utils

MIB = 1 << 20
STEP = 2 * MIB
# What of a card is no memory for the allocator: a usual context.
CONTEXT = 512 * MIB
# What transformers leaves of a card when it warms the allocator up.
WARMUP_LEAVES = int(1.2 * (1 << 30))

# What counts the tokens of a cache that is allocated as a whole: a layer of it, before 4.54 all of it.
STATIC = getattr(cache_utils, "StaticLayer", None) or cache_utils.StaticCache


def history():
    """Every request since the history began: (True, address, bytes) is asked, (False, address, 0) given back."""
    asked = []
    for entry in torch.cuda.memory._snapshot()["device_traces"][0]:
        if entry["action"] == "alloc":
            asked.append((True, entry["addr"], entry["size"]))
        elif entry["action"] == "free_completed":
            asked.append((False, entry["addr"], 0))
    return asked


class Enough(Exception):
    """As many tokens are made as were asked for: the criteria of `generate` are kernels, which do not run."""


class Watch(transformers.StoppingCriteria):
    """Reads the counters between prefill and decode, and after the last token."""

    def __init__(self, tokens):
        self.tokens, self.made = tokens, 0
        self.prefill = self.decode = None

    def __call__(self, input_ids, scores, **rest):
        self.made += 1
        if self.prefill is None:
            self.prefill = counters()
            torch.cuda.reset_peak_memory_stats()
        if self.made == self.tokens:
            self.decode = counters()
            raise Enough
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)


class Lengths:
    """Answers what transformers reads of masks and lengths on the card: no kernel ran that would have written them.

    A prompt without padding: its mask is 1 up to the tokens seen, and 0 where a static cache has room.
    """

    def __init__(self, model):
        self.seen = self.rows = 0
        self.ignore, self.length = masking_utils._ignore_causal_mask_sdpa, STATIC.get_seq_length
        masking_utils._ignore_causal_mask_sdpa = self.ignores
        STATIC.get_seq_length = lambda *_: self.seen
        # Hooks of the module would not do: before 5 chunks of a prompt go to `forward` itself.
        self.model, self.forward = model, model.forward

        @functools.wraps(self.forward)
        def forward(*args, **kwargs):
            self.rows = kwargs["input_ids"].shape[1]
            output = self.forward(*args, **kwargs)
            self.seen, self.rows = self.seen + self.rows, 0
            return output

        model.forward = forward

    def ignores(self, padding_mask, q_length, kv_length, offset, *rest, **named):
        if padding_mask is not None:
            shape = padding_mask.shape
            padding_mask = (torch.arange(shape[-1]) < self.seen + self.rows).expand(shape)
        # From 5 on it is that of the queries, which is on the card; before, that of the keys.
        offset = self.seen if transformers.__version__ >= "5" else offset
        return self.ignore(padding_mask, q_length, kv_length, offset, *rest, **named)

    def close(self):
        self.model.forward = self.forward
        masking_utils._ignore_causal_mask_sdpa, STATIC.get_seq_length = self.ignore, self.length


def stand_in_for_quanto():
    """quanto compiles its kernels with nvcc when it is first used; this asks for what its `unpack` asks for."""

    class Kernels:
        @staticmethod
        def unpack(packed, bits):
            rows, *rest = packed.shape
            return torch.empty(rows * (8 // bits), *rest, dtype=packed.dtype, device=packed.device)

    from optimum.quanto.library.extensions import cuda

    cuda.ext._lib = Kernels


def counters():
    stats = torch.cuda.memory_stats()
    return {
        "now": stats["requested_bytes.all.current"],
        "peak": stats["requested_bytes.all.peak"],
        "allocated": stats["allocated_bytes.all.peak"],
        "reserved": stats["reserved_bytes.all.peak"],
    }


def quantization(weights):
    if weights == "int8":
        return transformers.BitsAndBytesConfig(load_in_8bit=True)
    if weights in ("nf4", "nf4-dq"):
        return transformers.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=weights == "nf4-dq",
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    return None


def cache_arguments(run):
    if run["kv"] != "bf16":
        backend, bits = run["kv"].rstrip("0123456789"), int(run["kv"].lstrip("abcdefghijklmnopqrstuvwxyz"))
        if backend == "quanto":
            stand_in_for_quanto()
        return dict(cache_implementation="quantized", cache_config=dict(backend=backend, nbits=bits))
    return dict(cache_implementation="static" if run["cache"] == "static" else "dynamic")


def configuration(run):
    shape = profile(run["model"])
    shape["n_layers"] = run["layers"]
    if shape.get("moe", {}).get("leading_dense_layers", 0) > run["layers"]:
        raise ValueError("no layer with experts is left")
    return config(shape)


def load(run, folder):
    made = configuration(run)
    holes.write(folder, made)
    # Tables that are left of runs before keep a segment, of which transformers would count the rest as free.
    torch.cuda.memory_reserved = lambda *_: torch.cuda.memory_allocated()
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder,
        **holes.BF16,
        device_map={"": 0},
        attn_implementation=run["attention"],
        quantization_config=quantization(run["weights"]),
    ).eval()


def generate(model, run):
    """What was counted of prefill, and of decode."""
    watch, lengths = Watch(run["generated"]), Lengths(model)
    ids = torch.zeros(run["batch"], run["prompt"], dtype=torch.long, device="cuda")
    try:
        model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            generation_config=transformers.GenerationConfig(
                max_new_tokens=run["generated"],
                do_sample=False,
                pad_token_id=0,
                # None of the vocabulary: which token is made is not known.
                eos_token_id=model.config.vocab_size,
                prefill_chunk_size=run["chunk"] if run["chunk"] < run["prompt"] else None,
                disable_compile=True,
                **cache_arguments(run),
            ),
            stopping_criteria=[watch],
        )
    except Enough:
        pass
    finally:
        lengths.close()
    return watch.prefill, watch.decode


def without_warmup(asked):
    """The requests without the one block as large as the weights that loading takes first, and its bytes.

    transformers frees it at once (`caching_allocator_warmup`), and takes no more than the card has less 1.2 GiB.
    """
    for at, (is_asked, address, size) in enumerate(asked[:4]):
        if is_asked and size > 64 * MIB and asked[at + 1] == (False, address, 0):
            return asked[:at] + asked[at + 2 :], size
    return asked, 0


def grants(asked, warmup, limit):
    """Whether PyTorch's allocator grants all requests, in their order, within `limit` bytes."""
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(limit / total)
    held = {}
    try:
        if warmup:
            torch.empty(max(0, min(warmup, limit + CONTEXT - WARMUP_LEAVES)), dtype=torch.uint8, device="cuda")
        for is_asked, address, size in asked:
            if is_asked:
                held[address] = torch.empty(size, dtype=torch.uint8, device="cuda")
            else:
                held.pop(address, None)
        return True
    except torch.OutOfMemoryError:
        return False
    finally:
        held.clear()
        torch.cuda.set_per_process_memory_fraction(1.0)


def smallest(asked, low, high):
    """The smallest card, less context and libraries, in steps of 2 MiB, or of a 4000th."""
    asked, warmup = without_warmup(asked)
    step = max(STEP, high // 4000 // STEP * STEP)
    low, high = low // step, -(-high // step)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if grants(asked, warmup, middle * step) else (middle + 1, high)
    return high * step


# Cards that are tried above the largest that is too small, and how much larger each is than the one below.
TRIED = 24
HIGHEST = 1.1


def surely(asked, low, high):
    """The card from which on each one that is tried grants all, in steps of 2 MiB, or of a 4000th.

    What is granted is not a question of size alone: a card may do and one with 40 MiB more may not.
    """
    asked, warmup = without_warmup(asked)
    step = max(STEP, high // 4000 // STEP * STEP)
    low, high = low // step, -(-int(high * HIGHEST) // step)
    while not grants(asked, warmup, high * step):
        low, high = high, -(-int(high * HIGHEST) // 1)
    between = max(1, (high - low) // TRIED)
    while high > low and grants(asked, warmup, max(low, high - between) * step):
        high = max(low, high - between)
    low = max(low, high - between)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if grants(asked, warmup, middle * step) else (middle + 1, high)
    return high * step


def clear():
    gc.collect()
    # Versions of PyTorch before it was asked for and returned with every product keep the workspace of cuBLAS.
    torch._C._cuda_clearCublasWorkspaces()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()


def rehearse(run, tape=None):
    """Runs it; returns what the allocator counted, and what a card must have."""
    clear()
    # Libraries keep tables of some KiB.
    if torch.cuda.memory_allocated() > MIB:
        raise SystemExit(f"{torch.cuda.memory_allocated()} bytes are left of the run before")
    torch.cuda.memory._record_memory_history("all", context=None, max_entries=2_000_000)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="holes"))
    marks = []
    try:
        model = load(run, folder)
        loaded = counters()
        torch.cuda.reset_peak_memory_stats()
        marks.append(len(history()))
        prefill, decode = generate(model, run)
    finally:
        shutil.rmtree(folder)
    asked = history()
    torch.cuda.memory._record_memory_history(None)
    if tape:
        pathlib.Path(tape).write_text(json.dumps({"run": run, "marks": marks, "asked": asked}))
    del model
    clear()
    # The first block of loading may be the most of all, and is smaller on a smaller card.
    low = max(loaded["now"], prefill["allocated"], decode["allocated"])
    allocated = max(each["allocated"] for each in (loaded, prefill, decode))
    high = max(each["reserved"] for each in (loaded, prefill, decode))
    needed, sure = smallest(asked, low, high), surely(asked, low, high)
    return {
        "requested_load": loaded["now"],
        "peak_load": loaded["peak"],
        "peak_prefill": prefill["peak"],
        "peak_decode": decode["peak"],
        "allocated": allocated,
        "reserved": high,
        "needed": needed,
        "surely": sure,
    }


QUESTION = "model layers weights attention cache kv batch prompt chunk generated".split()
ANSWER = "requested_load peak_load peak_prefill peak_decode allocated reserved needed surely".split()
# Families that have no other attention than eager.
EAGER_ONLY = {"gemma2", "gpt_oss"}
FAMILIES = {
    "llama": "codellama-13b llama-2-7b llama-3.1-8b llama-3.2-1b llama-3.2-3b smollm2-1.7b tinyllama-1.1b yi-1.5-9b yi-1.5-34b",
    "mistral": "mistral-7b-v0.1 mistral-7b-v0.3 mistral-nemo-2407 mistral-small-24b-2501 codestral-22b-v0.1",
    "mixtral": "mixtral-8x7b",
    "qwen2": "qwen2-0.5b qwen2-7b qwen2.5-1.5b qwen2.5-3b qwen2.5-7b qwen2.5-14b qwen2.5-32b",
    "qwen3": "qwen3-0.6b qwen3-1.7b qwen3-4b qwen3-8b qwen3-14b qwen3-32b",
    "qwen2_moe": "qwen1.5-moe-a2.7b",
    "qwen3_moe": "qwen3-30b-a3b",
    "gemma2": "gemma-2-2b gemma-2-9b gemma-2-27b",
    "gemma3": "gemma-3-1b gemma-3-4b gemma-3-12b gemma-3-27b",
    "phi3": "phi-3-mini-4k phi-3-mini-128k phi-3-medium-4k phi-4-mini phi-4",
    "gpt_oss": "gpt-oss-20b",
    "deepseek2": "deepseek-v2-lite",
    "granite": "granite-3.1-2b granite-3.1-8b granite-3.3-8b",
    "olmo2": "olmo-2-7b olmo-2-13b",
    "starcoder2": "starcoder2-3b starcoder2-7b starcoder2-15b",
}
# Families whose experts are modules of their own before transformers 5: which tokens each gets is the router's decision,
# and so is what is asked for.
ROUTED = {"mixtral", "qwen2_moe", "qwen3_moe", "deepseek2"}
# Seeds that were drawn before quanto was.
WITHOUT_QUANTO = {"tuned", "held", "wide", "apart"}
# Experts are read one by one: a model of all layers takes minutes.
MOST_LAYERS = {"mixtral": 4, "qwen2_moe": 6, "qwen3_moe": 6, "gpt_oss": 8, "deepseek2": 6}


def drawn(seed, at):
    """Run `at` of a seed: every family alike, then a model of it."""
    chance = random.Random(f"{seed}:{at}")
    family = chance.choice(sorted(FAMILIES))
    name = chance.choice(FAMILIES[family].split())
    shape = profile(name)
    layers = min(shape["n_layers"], 64 if chance.random() < 0.3 else chance.choice([4, 6, 8, 12, 16]))
    attention = chance.choice(["eager", "sdpa"])
    prompt = min(int(2 ** chance.uniform(7, 13)), shape["context_len"] - 64)
    chunk = chance.choice([256, 512, 512, 1024, 2048, prompt])
    run = dict(
        model=name,
        layers=min(layers, MOST_LAYERS.get(family, layers)),
        weights=chance.choice(["bf16", "bf16", "nf4", "nf4-dq", "int8"]),
        attention="eager" if family in EAGER_ONLY else attention,
        cache=chance.choice(["dynamic", "dynamic", "static"]),
        kv="bf16",
        batch=chance.choice([1, 1, 1, 1, 2, 3, 4]),
        prompt=prompt,
        chunk=min(chunk, prompt),
        generated=chance.choice([4, 16, 48]),
    )
    if run["cache"] == "dynamic" and chance.random() < 0.12:
        run["kv"] = chance.choice(["hqq8", "hqq4"] if seed in WITHOUT_QUANTO else ["hqq8", "hqq4", "quanto4"])
    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--card", required=True)
    parser.add_argument("--seed", default="tuned")
    parser.add_argument("--runs", default="0:1")
    parser.add_argument("--int8-layers", type=int, default=64, help="as loading in 8 bits takes a second a layer")
    parser.add_argument("--most-layers", type=int, default=64, help="as transformers 4 copies what it quantizes twice")
    parser.add_argument("--run", help="a list of runs, as JSON")
    parser.add_argument("--tape", help="a folder for the requests of each")
    asked = parser.parse_args()
    versions = {
        "card": asked.card,
        "torch": torch.__version__.split("+")[0],
        "transformers": transformers.__version__,
        "bitsandbytes": importlib.metadata.version("bitsandbytes"),
    }
    writer = csv.DictWriter(sys.stdout, [*versions, "seed", "at", *QUESTION, *ANSWER], lineterminator="\n")
    writer.writeheader()
    if asked.run:
        for at, run in enumerate(json.loads(asked.run)):
            tape = pathlib.Path(asked.tape) / f"{at}.json" if asked.tape else None
            writer.writerow({**versions, "seed": "", "at": at, **run, **rehearse(run, tape)})
        return
    first, end = map(int, asked.runs.split(":"))
    for at in range(first, end):
        run = drawn(asked.seed, at)
        if transformers.__version__ < "5" and profile(run["model"])["architecture"] in ROUTED:
            print(f"{asked.seed}:{at} {run}: a router decides", file=sys.stderr)
            continue
        run["layers"] = min(run["layers"], asked.most_layers)
        if run["weights"] == "int8":
            run["layers"] = min(run["layers"], asked.int8_layers)
        try:
            writer.writerow({**versions, "seed": asked.seed, "at": at, **run, **rehearse(run)})
        except Exception as error:  # noqa: BLE001: a run that transformers cannot do is said, and left out
            print(f"{asked.seed}:{at} {run}: {type(error).__name__}: {str(error)[:300]}", file=sys.stderr)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
