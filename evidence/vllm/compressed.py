#!/usr/bin/env python3
"""Asks vLLM for the pools and the ranks of DeepSeek-V4, whose layers cache keys that several tokens share. Without a GPU, as
`ask.py`.

    pip install -r requirements.txt
    python compressed.py [SEED]

Models are DeepSeek-V4-Flash's published configuration, that of DeepSeek-V4-Pro as far as its shape goes, and others that a
generator of random numbers draws: layers, what each compresses, ranks and stages, tokens of a step, longest contexts. Writes
`compressed-RELEASE.csv`, or with a seed `holdout-compressed-RELEASE.csv`.
"""

import csv
import json
import multiprocessing
import random
import sys
import traceback
import types
from importlib.metadata import version

import ask
import card
import torch
from vllm.platforms import current_platform
from vllm.v1.worker.gpu_model_runner import GPUModelRunner

PUBLISHED = card.HERE.parent / "families" / "configs" / "deepseek-ai__DeepSeek-V4-Flash.json"
FLASH = json.loads(PUBLISHED.read_text())
PRO = FLASH | dict(
    hidden_size=7168, num_hidden_layers=61, num_attention_heads=128, n_routed_experts=384, moe_intermediate_size=3072,
    q_lora_rank=1536, o_groups=16, index_topk=1024, compress_ratios=[128] + [128, 4] * 30 + [0],
)
SHAPE = """num_hidden_layers hidden_size num_attention_heads q_lora_rank o_lora_rank o_groups n_routed_experts
    num_experts_per_tok moe_intermediate_size num_hash_layers vocab_size""".split()
COLUMNS = """vllm card model ratios hidden_size n_heads q_rank o_rank o_groups experts experts_used expert_ffn hashed vocab_size ranks stages
    stage ahead whole_experts chunk context available groups blocks bytes tokens longest parameters weights tables draft_weights"""


class Config:
    """What `card.engine` wants of a configuration: a dictionary."""

    def __init__(self, told):
        self.told, self.architectures = told, told["architectures"]

    def to_dict(self):
        return dict(self.told)


def drawn(rng):
    """A small model: layers that compress little, much or not, in an order of their own."""
    layers = rng.randint(3, 61)
    kinds = rng.choice(([0, 4, 128], [4, 128], [4, 4, 4, 128], [0, 4], [4], [128, 128, 4], [4, 128, 0, 0]))
    regular = rng.random() < 0.5
    ratios = [kinds[i % len(kinds)] if regular else rng.choice(kinds) for i in range(layers)]
    heads = rng.choice((16, 32, 64))
    return FLASH | dict(
        num_hidden_layers=layers, compress_ratios=ratios + [0], num_attention_heads=heads,
        hidden_size=rng.choice((1024, 2048, 4096)), q_lora_rank=rng.choice((512, 1024)), o_lora_rank=rng.choice((256, 1024)),
        o_groups=8, n_routed_experts=rng.choice((8, 16, 32)), moe_intermediate_size=rng.choice((512, 1024, 2048)),
        num_hash_layers=rng.randint(0, 3), num_experts_per_tok=rng.choice((2, 6)),
    )


def cases(rng):
    """Card, name, configuration, ranks, stages, tokens ahead, whether experts are dealt out whole, what else is told, memory."""
    gib = lambda low, high: rng.randint(low << 30, high << 30)
    if not sys.argv[1:]:
        for model, told in (("deepseek-v4-flash", FLASH), ("deepseek-v4-pro", PRO)):
            for tp, pp, ahead, whole in ((1, 1, 0, False), (2, 1, 0, False), (4, 1, 0, True), (8, 1, 0, True), (8, 1, 2, True),
                                         (1, 2, 0, False), (4, 2, 0, False), (4, 1, 1, False), (2, 1, 3, False)):
                for name in ("h100", "b200"):
                    yield name, model, told, tp, pp, ahead, whole, dict(max_model_len=8192), ask.AVAILABLE
    for _ in range(60 if sys.argv[1:] else 120):
        told = dict(max_model_len=rng.choice((8192, 32768, 131072, 1048576)),
                    max_num_batched_tokens=rng.choice((2048, 4096, 8192, 16384)))
        tp, pp = rng.choice(((1, 1), (2, 1), (4, 1), (8, 1), (1, 2), (2, 2), (1, 3)))
        ahead = rng.choice((0, 0, 0, 1, 2)) if pp == 1 else 0
        yield (rng.choice(("h100", "b200")), "", drawn(rng), tp, pp, ahead, tp > 1 and rng.random() < 0.3, told, gib(20, 140))


def groups_of(pool):
    """Layers of every group and the tokens of its blocks."""
    return "+".join(f"{len(group.layer_names)}x{group.kv_cache_spec.block_size}" for group in pool.kv_cache_groups)


def bytes_of_pool(pool):
    tensors = pool.kv_cache_tensors
    return tensors[0].size if ask.planning is not ask.kv_cache_utils else sum(tensor.size for tensor in tensors)


def ask_one(case):
    name, model, told, tp, pp, ahead, whole, arguments, available = case
    card.insert(name)
    try:
        if ahead:
            arguments = arguments | dict(speculative_config=dict(method="mtp", num_speculative_tokens=ahead))
        vllm_config = card.engine(Config(told), tp, pp, told["quantization_config"], kv_cache_dtype="fp8",
                                  enable_expert_parallel=whole, **arguments)
        specs, rank = [], []
        for stage in range(pp):
            with card.ranks(vllm_config, stage * tp):
                built = card.build(vllm_config)
                draft = predicting(built, vllm_config) if ahead else 0
            current_platform.update_block_size_for_backend(vllm_config)
            runner = types.SimpleNamespace(vllm_config=vllm_config, shared_kv_cache_layers={})
            specs.append(GPUModelRunner.get_kv_cache_spec(runner))
            ask.resolve_layout(vllm_config, specs[-1])
            rank.append((*loaded(built), draft))
            vllm_config.compilation_config.static_forward_context.clear()
        ask.AVAILABLE = available
        pools, tokens = ask.printed_tokens(vllm_config, specs)
        most = ask.longest(vllm_config, specs)
    except Exception:
        return case, traceback.format_exc()
    chunk = vllm_config.scheduler_config.max_num_batched_tokens
    made = [(groups_of(pool), pool.num_blocks, bytes_of_pool(pool)) for pool in pools]
    return case, (rank, made, tokens, most, chunk)


def predicting(target, vllm_config):
    """The layer that predicts tokens, as its speculator loads it, which registers its caches beside the model's: bytes of
    parameters that the model does not have."""
    from vllm.model_executor.model_loader.utils import initialize_model
    from vllm.utils.torch_utils import set_default_torch_dtype
    from vllm.v1.worker.gpu.spec_decode.eagle import utils as eagle

    def build(vllm_config, model_config=None, prefix=""):
        config = model_config or vllm_config.model_config
        with set_default_torch_dtype(config.dtype), card.OnMeta(), torch.device("meta"):
            return initialize_model(vllm_config=vllm_config, model_config=config, prefix=prefix)

    eagle.get_model, equal, torch.equal = build, torch.equal, lambda *_: False
    draft = eagle.load_eagle_model(target, vllm_config)
    torch.equal = equal
    return ask.bytes_of([*target.parameters(), *draft.parameters()]) - ask.bytes_of(target.parameters())


def loaded(model):
    """Parameters, their bytes, and tables of sines and cosines."""
    tables = ask.bytes_of(b for name, b in model.named_buffers() if name.endswith("cos_sin_cache"))
    return len({id(p) for p in model.parameters()}), ask.bytes_of(model.parameters()), tables


def shape_of(told):
    keys = SHAPE[1:]
    return [told[key] for key in keys]


def main():
    seed = sys.argv[1] if sys.argv[1:] else None
    rng = random.Random(int(seed) if seed else 4)
    release = version("vllm")
    file = f"{'holdout-' if seed else ''}compressed-{release}.csv"
    out = csv.writer(open(card.HERE / file, "w", encoding="utf-8", buffering=1), lineterminator="\n")
    out.writerow(COLUMNS.split())
    with multiprocessing.get_context("fork").Pool(2, maxtasksperchild=1) as pool:
        for case, answer in pool.imap(ask_one, list(cases(rng)), chunksize=1):
            name, model, told, tp, pp, ahead, whole, arguments, available = case
            if isinstance(answer, str):
                print(name, model, tp, pp, ahead, answer.strip().splitlines()[-1], file=sys.stderr)
                continue
            rank, made, tokens, most, chunk = answer
            ratios = "-".join(map(str, told["compress_ratios"][: told["num_hidden_layers"]]))
            for stage, (held, (groups, blocks, size)) in enumerate(zip(rank, made)):
                out.writerow([release, name, model, ratios, *shape_of(told), tp, pp, stage, ahead, whole, chunk,
                              arguments["max_model_len"], available, groups, blocks, size, tokens, most, *held])


if __name__ == "__main__":
    main()
