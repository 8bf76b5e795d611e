#!/usr/bin/env python3
"""Asks vLLM how it would cut its cache into blocks and what every rank would load, without a GPU.

    pip install -r requirements.txt
    python ask.py [MODEL...]

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
from vllm.v1.attention.backends import utils as backends
from vllm.v1.core import kv_cache_utils
from vllm.v1.worker.worker_base import WorkerBase
from vllm.v1.worker.gpu_model_runner import GPUModelRunner

try:  # From 0.31 on.
    from vllm.v1.core import kv_cache_planning as planning
except ImportError:
    planning = kv_cache_utils

# Not whole blocks of anything.
AVAILABLE = (37 << 30) + 12_345
# A context that most caches of this size do not hold.
LITTLE, LONG = (1 << 30) + 12_345, 1 << 20

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
    phi-4 gemma-3-1b qwen3.5-27b qwen3.5-35b-a3b qwen3.8-27b qwen3-32b mistral-nemo-2407 qwen3-coder-30b-a3b gpt-oss-120b
    llama-3.3-70b qwen3-235b-a22b glm-4.5 mistral-small-24b-2501 phi-3-medium-4k smollm2-1.7b gemma-2-27b""".split()
QUANTIZED = "qwen2.5-7b llama-3.1-8b qwen3-8b".split()


def cases():
    """Card, model, format of the weights, format of the cache, ranks of tensor and of pipeline parallelism."""
    kinds = ("bf16", 1, 1), ("fp8", 2, 1), ("bf16", 4, 1), ("bf16", 1, 2), ("bf16", 2, 1)
    for kv, tp, pp in kinds:
        for model in MODELS:
            yield "h100", model, "mxfp4" if model.startswith("gpt-oss") else "bf16", kv, tp, pp
    for model in ("deepseek-v2-lite", "qwen3-8b", "gemma-3-27b"):
        for name in ("a100-80gb", "l4", "b200"):
            for kv in ("bf16", "fp8"):
                yield name, model, "bf16", kv, 1, 1
    for model in QUANTIZED:
        for format in ("awq-int4", "gptq-int4", "fp8"):
            for tp in (1, 2):
                yield "h100", model, format, "bf16", tp, 1


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
    pools = pools_of(vllm_config, specs, AVAILABLE)
    if hasattr(kv_cache_utils, "get_kv_cache_capacity"):
        made = kv_cache_utils.generate_scheduler_kv_cache_config(pools)
        return pools, kv_cache_utils.get_kv_cache_capacity(vllm_config, made)[0]
    found = [match[1] for line in lines if (match := re.match(r"GPU KV cache size: ([\d,]+) tokens", line))]
    return pools, int(found[0].replace(",", ""))


def resolve_layout(vllm_config, spec):
    """How blocks lie in memory, as the engine's core decides before it cuts them; not before 0.33."""
    if not hasattr(backends, "resolve_kv_cache_layout"):
        return
    worker = types.SimpleNamespace(vllm_config=vllm_config)
    names = WorkerBase.get_supported_kv_cache_layouts(worker)
    backends.resolve_kv_cache_layout(vllm_config, [names], list(spec.values()))


def pools_of(vllm_config, specs, available):
    """The pools that so many bytes become on every stage."""
    given = [dict(spec) for spec in specs], [available] * len(specs)
    if hasattr(planning, "get_global_kv_cache_groups"):
        groups = planning.get_global_kv_cache_groups(vllm_config, given[0])
        return planning.get_kv_cache_configs(vllm_config, *given, groups)
    return planning.get_kv_cache_configs(vllm_config, *given)


def longest(vllm_config, specs):
    """The longest context that vLLM says it could serve from little memory, by the error that it ends with."""
    config = vllm_config.model_config
    before, config.max_model_len = config.max_model_len, LONG
    try:
        pools_of(vllm_config, specs, LITTLE)
    except ValueError as error:
        found = re.search(r"estimated maximum model length is (\d+)", str(error))
        return int(found[1]) if found else 0
    finally:
        config.max_model_len = before
    return LONG


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
            resolve_layout(vllm_config, specs[-1])
            rank.append(loaded(built, vllm_config.model_config.dtype))
        pools, tokens = printed_tokens(vllm_config, specs)
        most = longest(vllm_config, specs)
    except Exception:
        return case, traceback.format_exc()
    scheduler, compilation = vllm_config.scheduler_config, vllm_config.compilation_config
    limits = scheduler.max_num_seqs, scheduler.max_num_batched_tokens, compilation.max_cudagraph_capture_size
    return case, (rank, [pool_of(pool) for pool in pools], (tokens, most), limits)


def pool_of(pool):
    groups = [(len(g.layer_names), g.kv_cache_spec.block_size) for g in pool.kv_cache_groups]
    sizes = [size for _, size in groups]
    # A state's block is as long as a conversation may be.
    return len(groups), max(n for n, _ in groups), min(sizes), pool.num_blocks, bytes_of_pool(pool.kv_cache_tensors)


def bytes_of_pool(tensors):
    """Tensors of their own, or from 0.31 on places in one allocation, whose size each of them states."""
    if planning is not kv_cache_utils:
        return tensors[0].size
    return sum(tensor.size for tensor in tensors)


def writer(name, columns):
    """A file with these columns; where models are named, their rows come behind what there is."""
    mode = "a" if sys.argv[1:] else "w"
    made = csv.writer(open(card.HERE / name, mode, encoding="utf-8", buffering=1), lineterminator="\n")
    if mode == "w":
        made.writerow(columns.split())
    return made


def main():
    release = version("vllm")
    kv = writer(f"kv-{release}.csv", "vllm card model kv ranks stages stage available groups group_layers block_tokens blocks bytes tokens longest max_seqs chunk captured")
    weights = writer(f"weights-{release}.csv", "vllm card model weights ranks stages stage parameters bytes absorbed tables")
    with multiprocessing.get_context("fork").Pool(2, maxtasksperchild=1) as pool:
        asked = [case for case in cases() if not sys.argv[1:] or case[1] in sys.argv[1:]]
        for case, answer in pool.imap(ask, asked, chunksize=1):
            name, model, format, cache, tp, pp = case
            if isinstance(answer, str):
                print(*case, answer.strip().splitlines()[-1], file=sys.stderr)
                continue
            rank, pools, tokens, limits = answer
            for stage, (held, blocks) in enumerate(zip(rank, pools)):
                if format in ("bf16", "mxfp4"):
                    kv.writerow([release, name, model, cache, tp, pp, stage, AVAILABLE, *blocks, *tokens, *limits])
                if name == "h100" and cache == "bf16":
                    weights.writerow([release, name, model, format, tp, pp, stage, *held])


if __name__ == "__main__":
    main()
