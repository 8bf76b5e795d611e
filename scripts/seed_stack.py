#!/usr/bin/env python3
"""One measured run of the stack that `examples/seed-l4.toml` describes, or of PyTorch alone.

    seed_stack.py RUN --write FILE.json [--device cuda|cpu] [--small]

`RUN` is one of those that `--list` names. It is meant to run under `vramplan observe`, which samples the
card from outside; this program says on its pipe (VRAMPLAN_PHASE_FD) which phase it is in, and writes
what PyTorch counts at the end of each phase, with the card's use as CUDA reports it. Sizes are bytes; a
figure that there is none of (no card) is null.

The model has Qwen2.5-14B's shape and random weights: memory does not depend on their values. Each linear
layer is moved to the card in 16 bits and quantized there, one at a time, as transformers does.
`--small` has a tiny shape and short prompts, for a rehearsal on the CPU.
"""

import argparse
import gc
import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version

MIB = 1 << 20
SHAPE = dict(vocab_size=152064, hidden_size=5120, intermediate_size=13824, num_hidden_layers=48)
SHAPE |= dict(num_attention_heads=40, num_key_value_heads=8)
SMALL = dict(vocab_size=512, hidden_size=128, intermediate_size=256, num_hidden_layers=2)
SMALL |= dict(num_attention_heads=4, num_key_value_heads=2)
TOKENS = dict(system=6000, conversation=7000, generated=32, introspected=100, chunk=512)
SMALL_TOKENS = dict(system=150, conversation=170, generated=4, introspected=10, chunk=64)

# Attention of the passes, double quantization, cache.
RUNS = {
    "sdpa": ("sdpa", False, "dynamic"),
    "eager": ("eager", False, "dynamic"),
    "sdpa-hqq8": ("sdpa", False, "hqq"),
    "eager-hqq8": ("eager", False, "hqq"),
    "sdpa-double-quant": ("sdpa", True, "dynamic"),
}
PYTORCH = "pytorch"


class Record:
    """The file that is written, anew after every phase, so that a run that dies has said how far it got."""

    def __init__(self, path, torch, device, run, settings):
        self.path, self.torch, self.device = path, torch, device
        packages = ("torch", "transformers", "bitsandbytes", "hqq")
        self.data = {
            "schema": "vramplan/seed-stack/v1",
            "run": run,
            "device": self.card(),
            "python": platform.python_version(),
            "versions": {name: installed(name) for name in packages},
            "settings": settings,
            "phases": [],
            "complete": False,
        }

    def card(self):
        if self.device == "cpu":
            return {"name": "cpu", "total": None}
        card = self.torch.cuda.get_device_properties(0)
        return {"name": card.name, "total": card.total_memory, "capability": f"{card.major}.{card.minor}"}

    def begin(self, phase):
        """Tells the supervisor; peaks are counted from here."""
        if pipe := os.environ.get("VRAMPLAN_PHASE_FD"):
            os.write(int(pipe), (json.dumps({"phase": phase}) + "\n").encode())
        if self.device != "cpu" and self.torch.cuda.is_initialized():
            self.torch.cuda.synchronize()
            self.torch.cuda.reset_peak_memory_stats()

    def end(self, phase, **more):
        """What is held at the end of a phase, and what was held at most in it."""
        self.data["phases"].append({"phase": phase, **self.counters(), **more})
        self.save()

    def counters(self):
        names = ("allocated", "reserved", "peak_allocated", "peak_reserved", "card_used")
        if self.device == "cpu" or not self.torch.cuda.is_initialized():
            return dict.fromkeys(names)
        cuda = self.torch.cuda
        cuda.synchronize()
        free, total = cuda.mem_get_info()
        held = (cuda.memory_allocated(), cuda.memory_reserved())
        peaks = (cuda.max_memory_allocated(), cuda.max_memory_reserved())
        return dict(zip(names, (*held, *peaks, total - free)))

    def save(self):
        with open(self.path + ".new", "w", encoding="utf-8") as file:
            json.dump(self.data, file, indent=1)
            file.write("\n")
        os.replace(self.path + ".new", self.path)

    def finish(self):
        self.data["complete"] = True
        self.save()


def installed(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def build(config, device, double_quant):
    """The model, layer by layer: 16 bits, quantized on the device."""
    import bitsandbytes as bnb
    import torch
    from transformers import Qwen2ForCausalLM
    from transformers.models.qwen2.modeling_qwen2 import Qwen2RotaryEmbedding

    torch.set_default_dtype(torch.bfloat16)
    with torch.device("meta"):
        model = Qwen2ForCausalLM(config).eval()
    torch.set_default_dtype(torch.float32)
    stored = dict(compress_statistics=double_quant, quant_type="nf4")
    for name, linear in list(model.named_modules()):
        if not isinstance(linear, torch.nn.Linear) or name == "lm_head":
            continue
        shape, has_bias = (linear.in_features, linear.out_features), linear.bias is not None
        four_bit = bnb.nn.Linear4bit(*shape, bias=has_bias, compute_dtype=torch.bfloat16, device="meta", **stored)
        weight = torch.empty(shape[1], shape[0], dtype=torch.bfloat16, device=device).normal_(0, 0.02)
        four_bit.weight = bnb.nn.Params4bit(weight, requires_grad=False, **stored).to(device)
        del weight
        put(model, name, four_bit)
    for name, parameter in list(model.named_parameters()):
        if parameter.device.type == "meta":
            value = torch.empty(parameter.shape, dtype=parameter.dtype, device=device)
            value = value.fill_(1) if parameter.dim() == 1 else value.normal_(0, 0.02)
            put(model, name, torch.nn.Parameter(value, requires_grad=False))
    model.model.rotary_emb = Qwen2RotaryEmbedding(config).to(device)
    return model


def put(model, name, what):
    parent, leaf = name.rsplit(".", 1)
    setattr(model.get_submodule(parent), leaf, what)


def new_cache(kind, config):
    from transformers import DynamicCache, QuantizedCache

    if kind == "dynamic":
        return DynamicCache(config=config)
    groups = dict(axis_key=1, axis_value=1, q_group_size=64, residual_length=128)
    return QuantizedCache(backend="hqq", config=config, nbits=8, **groups)


class Conversation:
    """Passes over random token ids, one behind the other."""

    def __init__(self, model, cache, device):
        self.model, self.cache, self.device, self.seen = model, cache, device, 0

    def extend(self, tokens, chunk, **more):
        import torch

        while tokens:
            rows = min(chunk, tokens)
            ids = torch.randint(0, self.model.config.vocab_size, (1, rows), device=self.device)
            with torch.no_grad():
                self.model(input_ids=ids, past_key_values=self.cache, use_cache=True, logits_to_keep=1, **more)
            tokens -= rows
            self.seen += rows


def introspect(talk, layers, tokens):
    """Hidden states and attention weights of every layer, moved to the host as they appear."""
    states, weights = [], []

    def state(_module, _inputs, output):
        states.append((output[0] if isinstance(output, tuple) else output).detach().cpu())

    def weight(_module, _inputs, output):
        weights.append(output[1].detach().cpu())

    hooks = [layer.register_forward_hook(state) for layer in layers]
    hooks += [layer.self_attn.register_forward_hook(weight) for layer in layers]
    talk.extend(tokens, tokens)
    for hook in hooks:
        hook.remove()
    return {"captured_states": len(states), "captured_weights": len(weights)}


def seed(record, run, device, small):
    """Load, system prompt, conversation, generation, introspection."""
    import torch
    from transformers import Qwen2Config

    attention, double_quant, kind = RUNS[run]
    tokens = SMALL_TOKENS if small else TOKENS
    config = Qwen2Config(
        **(SMALL if small else SHAPE),
        max_position_embeddings=32768,
        tie_word_embeddings=False,
        attn_implementation=attention,
    )
    record.begin("context")
    torch.zeros(1, device=device)
    record.end("context")
    record.begin("load")
    model = build(config, device, double_quant)
    gc.collect()
    record.end("load_with_cached")
    if device != "cpu":
        torch.cuda.empty_cache()
    record.end("load", footprint=model.get_memory_footprint())
    talk = Conversation(model, new_cache(kind, config), device)
    for phase, count in (("system_prefill", tokens["system"]), ("prefill", tokens["conversation"])):
        record.begin(phase)
        talk.extend(count, tokens["chunk"])
        record.end(phase, tokens=talk.seen)
    record.begin("decode")
    for _ in range(tokens["generated"]):
        talk.extend(1, 1)
    record.end("decode", tokens=talk.seen)
    record.begin("capture")
    # Attention weights exist in eager attention only.
    model.set_attn_implementation("eager")
    captured = introspect(talk, model.model.layers, tokens["introspected"])
    record.end("capture", tokens=talk.seen, **captured)


def pytorch(record, device):
    """Context, cuBLAS's workspace, the allocator's granules and pools."""
    import torch

    record.begin("context")
    torch.zeros(1, device=device)
    record.end("context")
    record.begin("workspace")
    rows = torch.ones(256, 256, dtype=torch.bfloat16, device=device)
    (rows @ rows).sum().item()
    del rows
    record.end("workspace")
    record.begin("granules")
    for size in (1, 512, 513, MIB, MIB + 1, 10 * MIB - 512, 10 * MIB, 11 * MIB, 21 * MIB + 1, 33 * MIB):
        gc.collect()
        if device != "cpu":
            torch.cuda.empty_cache()
        before = record.counters()
        block = torch.empty(size, dtype=torch.uint8, device=device)
        after = record.counters()
        grown = {name: grown_by(before, after, name) for name in ("allocated", "reserved", "card_used")}
        record.end("granule", size=size, grown=grown)
        del block
    for size in (512, 1024):
        record.begin(f"small blocks of {size}")
        blocks = [torch.empty(size, dtype=torch.uint8, device=device) for _ in range(4096)]
        record.end("small_blocks", size=size, count=len(blocks))
        del blocks


def grown_by(before, after, name):
    return None if after[name] is None else after[name] - before[name]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="?", choices=[*RUNS, PYTORCH])
    parser.add_argument("--list", action="store_true", help="name the runs")
    parser.add_argument("--write", metavar="FILE", help="where the record goes")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--small", action="store_true", help="a tiny shape, for a rehearsal")
    args = parser.parse_args()
    if args.list:
        print("\n".join([*RUNS, PYTORCH]))
        return
    if not args.run or not args.write:
        parser.error("a run and `--write FILE` are needed")
    import torch

    torch.manual_seed(0)
    settings = {"small": args.small, "tokens": SMALL_TOKENS if args.small else TOKENS}
    record = Record(args.write, torch, args.device, args.run, settings)
    if args.run == PYTORCH:
        pytorch(record, args.device)
    else:
        attention, double_quant, cache = RUNS[args.run]
        settings |= {"attention": attention, "double_quant": double_quant, "cache": cache}
        seed(record, args.run, args.device, args.small)
    record.finish()


if __name__ == "__main__":
    main()
