#!/usr/bin/env python3
"""Asks vLLM how it would cut its cache into blocks and what every rank would load, without a GPU.

    pip install -r requirements.txt
    python ask.py

For every case vLLM makes its own configuration (`EngineArgs.create_engine_config`), builds its own model on the meta
device for every stage of a pipeline, asks the model's layers for their caches (`GPUModelRunner.get_kv_cache_spec`) and
cuts a given memory into blocks (`get_kv_cache_configs`). `card.py` says what stands in for the GPU. Writes

- `kv.csv`: blocks and bytes of the pool, and the tokens that vLLM prints;
- `weights.csv`: bytes of the parameters of a rank, of the matrices that latent attention makes of them, of the tables of
  sines and cosines.
"""

import csv
import json
import logging
import multiprocessing
import re
import sys
import traceback
import types
from importlib.metadata import version

import card
import configs
import torch
from vllm.model_executor.layers.attention import MLAAttention
from vllm.platforms import current_platform
from vllm.v1.core import kv_cache_utils
from vllm.v1.worker.gpu_model_runner import GPUModelRunner

# Not whole blocks of anything.
AVAILABLE = (37 << 30) + 12_345

ATTENTION = [f"self_attn.{name}_proj" for name in "qkvo"]
DENSE = [f"mlp.{name}_proj" for name in ("gate", "up", "down")]
EIGHT_BITS = dict(num_bits=8, type="float", strategy="tensor", symmetric=True, dynamic=False)
# vramplan's name of a format: the `quantization_config` of such checkpoints.
FORMATS = {
    "bf16": None,
    "awq-int4": dict(quant_method="awq", bits=4, group_size=128, zero_point=True, version="gemm"),
    "gptq-int4": dict(
        quant_method="gptq", bits=4, group_size=128, desc_act=False, sym=True,
        modules_in_block_to_quantize=[[name] for name in ATTENTION + DENSE],
    ),
    "fp8": dict(
        quant_method="compressed-tensors", format="float-quantized", quantization_status="compressed", ignore=["lm_head"],
        config_groups=dict(group_0=dict(targets=["Linear"], weights=EIGHT_BITS, input_activations=EIGHT_BITS)),
    ),
    "mxfp4": dict(quant_method="mxfp4"),
}

MODELS = """llama-3.1-8b qwen2.5-7b qwen2.5-14b qwen3-8b deepseek-v2-lite gemma-3-27b gpt-oss-20b qwen3-next-80b-a3b
    granite-4.0-h-1b gemma-2-9b qwen3-30b-a3b mixtral-8x7b phi-3-mini-128k mistral-7b-v0.1 starcoder2-7b olmo-2-7b
    glm-4.5-air qwen1.5-moe-a2.7b gemma-2b llama-3.2-1b command-r-v01 granite-3.1-8b gemma-4-31b deepseek-v3 qwen2.5-0.5b
    phi-4 gemma-3-1b""".split()
QUANTIZED = "qwen2.5-7b llama-3.1-8b qwen3-8b".split()


def cases():
    """Card, model, format of the weights, format of the cache, ranks of tensor and of pipeline parallelism."""
    for model in QUANTIZED:
        for format in ("awq-int4", "gptq-int4", "fp8"):
            for tp in (1, 2):
                yield "h100", model, format, "bf16", tp, 1
    for model in ("deepseek-v2-lite", "qwen3-8b"):
        for name in ("a100-80gb", "l4", "b200"):
            for kv in ("bf16", "fp8"):
                yield name, model, "bf16", kv, 1, 1
    for model in MODELS:
        weights = "mxfp4" if model.startswith("gpt-oss") else "bf16"
        for tp in (1, 2, 4):
            yield "h100", model, weights, "bf16", tp, 1
        yield "h100", model, weights, "fp8", 2, 1
        yield "h100", model, weights, "bf16", 1, 2


def stages(vllm_config):
    """The model of every stage of the pipeline in turn, on its first rank."""
    parallel = vllm_config.parallel_config
    for stage in range(parallel.pipeline_parallel_size):
        with card.ranks(vllm_config, stage * parallel.tensor_parallel_size):
            yield card.build(vllm_config)
        vllm_config.compilation_config.static_forward_context.clear()


def printed_tokens(vllm_config, specs):
    """The pool of every stage, and the tokens that vLLM says it holds."""
    lines = []
    log = logging.getLogger("vllm.v1.core.kv_cache_utils")
    log.setLevel(logging.INFO)
    log.addFilter(lambda record: lines.append(record.getMessage()))
    pools = kv_cache_utils.get_kv_cache_configs(vllm_config, specs, [AVAILABLE] * len(specs))
    found = [match[1] for line in lines if (match := re.match(r"GPU KV cache size: ([\d,]+) tokens", line))]
    return pools, int(found[0].replace(",", ""))


def bytes_of(tensors):
    return sum({t.untyped_storage()._cdata: t.nbytes for t in tensors}.values())


def loaded(model, dtype):
    """Parameters, what latent attention makes of them, and tables of positions."""
    parameters = bytes_of(model.parameters())
    count = len({id(p) for p in model.parameters()})
    made = []
    for layer in (module for module in model.modules() if isinstance(module, MLAAttention)):
        with card.OnMeta(), torch.device("meta"):
            layer.process_weights_after_loading(dtype)
        made += [layer.W_UV, layer.W_UK_T]
    tables = bytes_of(b for name, b in model.named_buffers() if name.endswith("cos_sin_cache"))
    return count, parameters, sum(t.numel() * t.element_size() for t in made), tables


def ask(case):
    name, model, weights, kv, tp, pp = case
    card.insert(name)
    try:
        kind = "auto" if kv == "bf16" else kv
        vllm_config = card.engine(configs.of(model), tp, pp, FORMATS[weights], kv_cache_dtype=kind)
        specs, rank = [], []
        for built in stages(vllm_config):
            current_platform.update_block_size_for_backend(vllm_config)
            runner = types.SimpleNamespace(vllm_config=vllm_config, shared_kv_cache_layers={})
            specs.append(GPUModelRunner.get_kv_cache_spec(runner))
            rank.append(loaded(built, vllm_config.model_config.dtype))
        pools, tokens = printed_tokens(vllm_config, specs)
    except Exception:
        return case, traceback.format_exc()
    scheduler, compilation = vllm_config.scheduler_config, vllm_config.compilation_config
    limits = scheduler.max_num_seqs, scheduler.max_num_batched_tokens, compilation.max_cudagraph_capture_size
    return case, (rank, [pool_of(pool) for pool in pools], tokens, limits)


def pool_of(pool):
    groups = [(len(g.layer_names), g.kv_cache_spec.block_size) for g in pool.kv_cache_groups]
    sizes = [size for _, size in groups]
    # A state's block is as long as a conversation may be.
    return len(groups), max(n for n, _ in groups), min(sizes), pool.num_blocks, sum(t.size for t in pool.kv_cache_tensors)


def writer(name, columns):
    made = csv.writer(open(card.HERE / name, "w", encoding="utf-8", buffering=1), lineterminator="\n")
    made.writerow(columns.split())
    return made


def main():
    kv = writer("kv.csv", "vllm card model kv ranks stages stage available groups group_layers block_tokens blocks bytes tokens max_seqs chunk captured")
    weights = writer("weights.csv", "vllm card model weights ranks stages stage parameters bytes absorbed tables")
    vllm = version("vllm")
    with multiprocessing.get_context("fork").Pool(2, maxtasksperchild=1) as pool:
        for case, answer in pool.imap(ask, list(cases()), chunksize=1):
            name, model, format, cache, tp, pp = case
            if isinstance(answer, str):
                print(*case, answer.strip().splitlines()[-1], file=sys.stderr)
                continue
            rank, pools, tokens, limits = answer
            for stage, (held, blocks) in enumerate(zip(rank, pools)):
                if format in ("bf16", "mxfp4"):
                    kv.writerow([vllm, name, model, cache, tp, pp, stage, AVAILABLE, *blocks, tokens, *limits])
                if name == "h100" and cache == "bf16":
                    weights.writerow([vllm, name, model, format, tp, pp, stage, *held])


if __name__ == "__main__":
    main()
