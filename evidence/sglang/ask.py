#!/usr/bin/env python3
"""Asks SGLang's own functions what share of a card it takes and how many tokens its pool has, without a GPU.

    python ask.py WHEELS

`WHEELS` has a folder for each version, the unpacked wheel. Writes, next to this file, `pools.csv` (memory before and after
loading, and what the engine makes of it) and `shares.csv` (a card, and the defaults that follow). Configurations are random, the
same in every run.
"""

import csv
import math
import random
import sys
from pathlib import Path

import models
from wheel import BF16, FP8, LOGGER, LOGGING, NS, TORCH, U8, Wheel

VERSIONS = "0.5.5 0.5.9 0.5.15 0.5.23".split()
GIB = 1 << 30
# MiB that nvidia-smi says of a card.
CARDS = {
    "RTX 4090": 24564, "RTX 3090": 24576, "L4": 23034, "RTX 5090": 32607, "L40S": 46068, "A100-40GB": 40960,
    "A100-80GB": 81920, "H100": 81559, "H200": 143771, "B200": 183359, "T4": 15360, "A10": 23028,
}
MODELS = """llama-3.1-8b qwen2.5-7b qwen3-8b qwen3-14b qwen3-30b-a3b mixtral-8x7b gemma-2-9b gemma-3-27b gpt-oss-20b gpt-oss-120b
    deepseek-v2-lite deepseek-v3 deepseek-v3.2 qwen3-next-80b-a3b qwen3.5-27b nemotron-3-nano-30b-a3b granite-4.0-h-1b
    gemma-4-31b mimo-v2-flash llama-4-maverick mistral-nemo-2407 phi-4 glm-4.5-air""".split()
# The release from which on SGLang has the model's class.
SINCE = {"deepseek-v3.2": (5, 5), "qwen3.5-27b": (5, 10), "granite-4.0-h-1b": (5, 9), "gemma-4-31b": (5, 11), "mimo-v2-flash": (5, 9)}
STATEFUL = {"qwen3-next-80b-a3b", "qwen3.5-27b", "nemotron-3-nano-30b-a3b", "granite-4.0-h-1b"}
DISABLED = {"gemma-2-9b", "gemma-3-27b"}


# As NumPy's.
np = NS(prod=math.prod, sum=sum)


class Refused(Exception):
    """What the engine says where it does not start."""


def state_bytes(wheel, config, tp):
    """A request's states by the engine's own shapes, f32 matrices and 16-bit inputs of the convolution."""
    dtype = NS(conv=BF16, temporal=TORCH.float32)
    space = wheel.take(
        "configs/mamba_utils.py", "extra_groups_for_head_shards", "Mamba2StateShape",
        divide=lambda n, by: exact(n, by), List=list, np=np,
    )
    hf, create = config.hf_config, space["Mamba2StateShape"].create
    if hasattr(hf, "mamba2"):
        shape, layers = create(tp_world_size=tp, **hf.mamba2), hf.mamba_layer_ids
    else:
        kinds = NS(full_attention=NS(value="full"), linear_attention=NS(value="linear"))
        parts = wheel.take(
            "configs/qwen3_next.py", "Qwen3NextConfig.layers_block_type", "Qwen3NextConfig.linear_layer_ids",
            "Qwen3NextConfig.full_attention_layer_ids", HybridLayerType=kinds,
        )
        get = lambda name: parts[name].fget(hf) if isinstance(parts[name], property) else parts[name](hf)
        hf.layers_block_type = get("layers_block_type")
        layers, hf.full_attention_layer_ids = get("linear_layer_ids"), get("full_attention_layer_ids")
        shape = create(
            tp_world_size=tp, intermediate_size=hf.linear_value_head_dim * hf.linear_num_value_heads,
            n_groups=hf.linear_num_key_heads, num_heads=hf.linear_num_value_heads, head_dim=hf.linear_value_head_dim,
            state_size=hf.linear_key_head_dim, conv_kernel=hf.linear_conv_kernel_dim,
        )
    params = wheel.take("configs/mamba_utils.py", base_of(wheel), np=np, mamba2_state_dtype=lambda *_: dtype)
    per_request = params[base_of(wheel).split(".")[-1]]
    per_request = per_request.fget if isinstance(per_request, property) else per_request
    hf.mamba2_cache_params = NS(
        mamba_cache_per_req=per_request(NS(shape=shape, dtype=dtype, layers=layers)), layers=layers
    )


def base_of(wheel):
    text = (wheel.root / "configs/mamba_utils.py").read_text()
    name = "BaseLinearStateParams" if "class BaseLinearStateParams" in text else "Mamba2CacheParams"
    return f"{name}.mamba_cache_per_req"


def exact(n, by):
    assert n % by == 0, (n, by)
    return n // by


def prepared(wheel, name, tp):
    """The engine's ModelConfig, as far as its arithmetic asks it."""
    config = models.config(name)
    space = wheel.take(
        "configs/model_config.py", "ModelConfig.get_total_num_kv_heads", "ModelConfig.get_num_kv_heads",
        *optional(wheel, "configs/model_config.py", "ModelConfig.get_swa_num_kv_heads"),
    )
    config.get_total_num_kv_heads = lambda: space["get_total_num_kv_heads"](config)
    config.get_num_kv_heads = lambda tp, *rest: space["get_num_kv_heads"](config, tp, *rest)
    if "get_swa_num_kv_heads" in space:
        config.get_swa_num_kv_heads = lambda tp: space["get_swa_num_kv_heads"](config, tp)
    split_windows(wheel, config)
    if name in STATEFUL:
        state_bytes(wheel, config, tp)
    return config


def optional(wheel, file, name):
    try:
        wheel.take(file, name)
    except (KeyError, NameError):
        return []
    return [name]


def split_windows(wheel, config):
    """Which layers have a pool of windows."""
    config.is_hybrid_swa, file = False, "configs/model_config.py"
    if config.name in DISABLED:
        return
    if wheel.version < (5, 8):
        config.is_hybrid_swa = config.window > 0 and "Llama4" not in config.hf_config.architectures[0]
        return
    constants = [n for n in ("SWA_SINK_ARCHS", "MIMO_V2_MODEL_ARCHS") if optional(wheel, file, n)]
    space = wheel.take(file, *constants, "is_hybrid_swa_model", "get_hybrid_layer_ids")
    ask = space["is_hybrid_swa_model"]
    architectures = config.hf_config.architectures
    config.is_hybrid_swa = ask(architectures, config.hf_config) if ask.__code__.co_argcount > 1 else ask(architectures)
    if config.is_hybrid_swa:
        ids = space["get_hybrid_layer_ids"](architectures, config.hf_config)
        config.swa_attention_layer_ids, config.full_attention_layer_ids = ids


def asked_055(wheel, config, ask):
    """0.5.5: everything is the runner's."""
    file = "model_executor/model_runner.py"
    space = wheel.take(
        file, "ModelRunner.profile_max_num_token", "ModelRunner.handle_max_mamba_cache", "ModelRunner.set_num_token_hybrid",
        get_available_gpu_memory=lambda *_, **__: ask.available, get_world_group=lambda: NS(world_size=ask.tp, cpu_group=None),
        get_attention_tp_size=lambda: ask.tp // ask.dp, is_float4_e2m1fn_x2=lambda _: False, is_deepseek_nsa=lambda _: config.indexed,
        get_nsa_index_head_dim=lambda hf: hf.index_head_dim,
        NSATokenToKVPool=NS(quant_block_size=128, index_k_with_scale_buffer_dtype=U8),
        MAMBA_CACHE_SIZE_MAX_RUNNING_REQUESTS_RATIO=3,
    )
    runner = common(config, ask)
    runner.is_hybrid, runner.mambaish_config = config.is_hybrid_swa, stateful(config)
    runner.hybrid_gdn_config = None
    layer = lambda i, kind: NS(
        layer_id=i, self_attn=NS(attn=NS(sliding_window_size=config.window if kind == "sliding_attention" else -1))
    )
    runner.model = NS(model=NS(layers=[layer(i, kind) for i, kind in enumerate(config.hf_config.layer_types)]))
    return tokens_first(wheel, file, "ModelRunner.init_memory_pool", space, runner, ask, "set_num_token_hybrid")


def asked_059(wheel, config, ask):
    file = "model_executor/model_runner_kv_cache_mixin.py"
    cls = "ModelRunnerKVCacheMixin"
    space = wheel.take(
        file, *(f"{cls}.{name}" for name in (
            "get_cell_size_per_token", "profile_max_num_token", "handle_max_mamba_cache", "set_num_tokens_hybrid_swa")),
        "MAMBA_CACHE_SIZE_MAX_RUNNING_REQUESTS_RATIO",
        get_available_gpu_memory=lambda *_, **__: ask.available, get_world_group=lambda: NS(world_size=ask.tp, cpu_group=None),
        get_attention_tp_size=lambda: ask.tp // ask.dp, is_float4_e2m1fn_x2=lambda _: False, is_deepseek_nsa=lambda _: config.indexed,
        get_nsa_index_head_dim=lambda hf: hf.index_head_dim,
        NSATokenToKVPool=NS(quant_block_size=128, index_k_with_scale_buffer_dtype=U8),
    )
    runner = common(config, ask)
    runner.is_hybrid_swa, runner.mambaish_config = config.is_hybrid_swa, stateful(config)
    runner.get_cell_size_per_token = lambda n: space["get_cell_size_per_token"](runner, n)
    return tokens_first(wheel, file, f"{cls}.init_memory_pool", space, runner, ask, "set_num_tokens_hybrid_swa")


def stateful(config):
    return config.hf_config if config.name in STATEFUL else None


def common(config, ask):
    return NS(
        device="cuda", gpu_id=0, model_config=config, is_draft_worker=False, num_effective_layers=config.num_hidden_layers,
        start_layer=0, end_layer=config.num_hidden_layers, use_mla_backend=config.mla, kv_cache_dtype=ask.dtype, page_size=ask.page,
        mem_fraction_static=ask.fraction, sliding_window_size=config.window or None, pp_size=1, dp_size=ask.dp, attn_dp_size=ask.dp,
        spec_algorithm=NS(is_none=lambda: not ask.verify, is_eagle=lambda: bool(ask.verify), is_standalone=lambda: False, is_dflash_family=lambda: False, is_dflash=lambda: False),
        server_args=NS(
            page_size=ask.page, swa_full_tokens_ratio=0.8, disable_radix_cache=False, max_mamba_cache_size=None,
            mamba_full_memory_ratio=0.9, max_running_requests=ask.requests, speculative_num_draft_tokens=ask.verify or None, dp_size=ask.dp,
            enable_dp_attention=ask.dp > 1, max_total_tokens=None, enable_mamba_extra_buffer=lambda: False, enable_hisparse=False,
            mem_fraction_static=ask.fraction, nsa_prefill_backend=None, nsa_decode_backend=None,
        ),
    )


def tokens_first(wheel, file, function, space, runner, ask, windows):
    """Releases that size the pool for all layers, and then what windows have of it."""
    runner.handle_max_mamba_cache = lambda rest: space["handle_max_mamba_cache"](runner, rest)
    runner.max_total_num_tokens = space["profile_max_num_token"](runner, ask.pre)
    limits = wheel.ifs(file, function, "max_num_reqs is None", "self.mambaish_config is not None")
    there = dict(space, self=runner, max_num_reqs=ask.requests)
    wheel.run(limits, there)
    runner.max_total_num_tokens = runner.max_total_num_tokens // ask.page * ask.page
    if runner.model_config.is_hybrid_swa:
        space[windows](runner)
    if runner.max_total_num_tokens <= 0:
        raise Refused
    return runner.max_total_num_tokens, runner.server_args.max_mamba_cache_size, there["max_num_reqs"]


POOLS = "model_executor/pool_configurator.py"


def pool_classes(wheel, config, **given):
    names = ["MemoryPoolConfig", "MemoryPoolConfigurator", "DefaultPoolConfigurator", "HybridSWAPoolConfigurator"]
    for more in ("_dflash_draft_cell_size", "_get_dsa_cache_layer_ids"):
        names += optional(wheel, POOLS, more)
    space = wheel.take(POOLS, *names, is_float4_e2m1fn_x2=lambda _: False, is_minimax_sparse=lambda _: False, **given)
    return space["HybridSWAPoolConfigurator" if config.is_hybrid_swa else "DefaultPoolConfigurator"]


def asked_0515(wheel, config, ask):
    file, cls = "model_executor/model_runner_kv_cache_mixin.py", "ModelRunnerKVCacheMixin"
    runner = common(config, ask)
    runner.is_hybrid_swa, runner.mambaish_config = config.is_hybrid_swa, stateful(config)
    runner.eagle_draft_num_layers = ask.draft_layers or None
    runner.eagle_draft_swa_num_layers = None
    runner.calculate_mla_kv_cache_dim = lambda: latent(wheel, config, ask, file, f"{cls}.calculate_mla_kv_cache_dim", runner)
    made = pool_classes(
        wheel, config, get_attention_tp_size=lambda: ask.tp // ask.dp, is_deepseek_dsa=lambda _: config.indexed,
        is_deepseek_nsa=lambda _: config.indexed, get_dsa_index_head_dim=lambda hf: hf.index_head_dim,
        get_glm_dsa_layer_split_effective_num_layers=lambda _, n: n, calculate_mla_kv_cache_dim=lambda *a, **k: runner.calculate_mla_kv_cache_dim(),
        DSATokenToKVPool=NS(quant_block_size=128, index_k_with_scale_buffer_dtype=U8, rope_storage_dtype=BF16),
        mambaish_config=lambda _: stateful(config), envs=NS(SGLANG_NPU_ENABLE_SPARSE_KV_OFFLOAD=NS(get=lambda: False)),
        get_server_args=lambda: runner.server_args,
    )(runner)
    runner.server_args.enable_mamba_extra_buffer = lambda: config.name != "granite-4.0-h-1b" or True
    space = wheel.take(
        file, *(f"{cls}.{n}" for n in ("_profile_available_bytes", "handle_max_mamba_cache", "_calculate_mamba_ratio", "_resolve_max_num_reqs")),
        *(c for c in ("MAMBA_CACHE_SIZE_MAX_RUNNING_REQUESTS_RATIO", "MAMBA_CACHE_V2_ADDITIONAL_RATIO_OVERLAP",
                      "MAMBA_CACHE_V2_ADDITIONAL_RATIO_NO_OVERLAP", "MAMBA_CACHE_V2_ADDITIONAL_RATIO_OVERLAP_LAZY") if optional(wheel, file, c)),
        get_available_gpu_memory=lambda *_, **__: ask.available, get_world_group=lambda: NS(world_size=ask.tp, cpu_group=None),
    )
    runner.server_args.enable_mamba_extra_buffer_lazy = lambda: False
    runner.server_args.disable_overlap_schedule = False
    bind(runner, space, "handle_max_mamba_cache", "_calculate_mamba_ratio")
    pool = made.calculate_pool_sizes(refusing(space["_profile_available_bytes"], runner, ask.pre), ask.page)
    requests = refusing(space["_resolve_max_num_reqs"], runner, pool.max_total_num_tokens)
    return pool.max_total_num_tokens, runner.server_args.max_mamba_cache_size, requests


def refusing(function, *arguments):
    try:
        return function(*arguments)
    except (ValueError, RuntimeError) as error:
        raise Refused from error


def bind(target, space, *names):
    for name in names:
        setattr(target, name, lambda *a, _f=space[name], **k: _f(target, *a, **k))


def latent(wheel, config, ask, file, name, runner=None):
    backend = "trtllm" if ask.capability >= 10 and ask.dtype is FP8 else "flashmla_kv"
    space = wheel.take(
        file, name, is_deepseek_dsa=lambda _: config.indexed, is_deepseek_nsa=lambda _: config.indexed,
        get_server_args=lambda: NS(dsa_prefill_backend=backend, dsa_decode_backend=backend),
        DSATokenToKVPool=NS(quant_block_size=128, rope_storage_dtype=BF16),
        NSATokenToKVPool=NS(quant_block_size=128, rope_storage_dtype=BF16),
        get_disagg=lambda: NS(disaggregation_mode="null"),
        get_exec=lambda: NS(kernel=NS(dsa_prefill_backend=backend, dsa_decode_backend=backend)),
    )
    function = space[name.split(".")[-1]]
    if runner is None:
        return function(model_config=config, kv_cache_dtype=ask.dtype)
    runner.server_args.dsa_prefill_backend = runner.server_args.dsa_decode_backend = backend
    runner.server_args.nsa_prefill_backend = runner.server_args.nsa_decode_backend = backend
    return function(runner)


def asked_0523(wheel, config, ask):
    file, cls = "mem_cache/kv_cache_configurator.py", "KVCacheConfigurator"
    schedule = NS(
        mem_fraction_static=ask.fraction, max_total_tokens=None, swa_full_tokens_ratio=0.8, max_running_requests=ask.requests,
        max_mamba_cache_size=None, mamba_full_memory_ratio=0.9, page_size=ask.page, prefill_max_requests=None,
        disable_overlap_schedule=False, chunked_prefill_size=8192,
    )
    parallel = NS(attn_tp_size=ask.tp // ask.dp, attn_dcp_size=1, launch_world_size=ask.tp, world_group=NS(cpu_group=None), pp_size=1)
    memory = NS(enable_unified_memory=False, enable_hisparse=False, disable_radix_cache=False)
    mamba = NS(enable_mamba_extra_buffer=True, enable_mamba_extra_buffer_lazy=False, enable_linear_replayssm_spec=False)
    graph = NS(cuda_graph_config=NS(prefill=NS(full_prefill_max_req=None, backend="breakable")))
    given = dict(
        get_schedule=lambda: schedule, get_parallel=lambda: parallel, get_memory=lambda: memory,
        get_exec=lambda: NS(mamba=mamba, graph=graph), get_disagg=lambda: NS(disaggregation_mode="null"),
        get_context=lambda: NS(override=lambda _, **values: vars(schedule).update(values)), Backend=NS(FULL="full"),
        envs=NS(
            SGLANG_OPT_MAMBA_SKIP_DECODE_LOCK=NS(get=lambda: False), SGLANG_NPU_ENABLE_SPARSE_KV_OFFLOAD=NS(get=lambda: False),
        ),
    )
    runner = common(config, ask)
    windows = getattr(config, "swa_attention_layer_ids", None) or []
    runner.layer_info = NS(
        start_layer=0, end_layer=config.num_hidden_layers, num_effective_layers=config.num_hidden_layers,
        full_attention_layer_ids=getattr(config, "full_attention_layer_ids", None), swa_attention_layer_ids=windows,
    )
    runner.kv_cache_dtype_str, runner.fused_entry_bytes = "auto", lambda _: None
    runner.mambaish_config, runner.post_capture_kv_active = stateful(config), False
    runner.hybrid_gdn_config = runner.hybrid_kda_config = None
    runner.extra_mamba_cache_bytes_per_req = 0
    runner.spec_aux_config = NS(eagle_draft_num_layers=ask.draft_layers or None, eagle_draft_swa_num_layers=None)
    made = pool_classes(
        wheel, config, **given, mambaish_config=lambda _: stateful(config), compute_page_shard_scratch_bytes=lambda *_, **__: 0,
        get_glm_dsa_layer_split_effective_num_layers=lambda _, n: n, is_deepseek_dsa=lambda _: config.indexed,
        get_dsa_index_head_dim=lambda hf: hf.index_head_dim, get_dsa_index_kpool=lambda _: 1,
        ceil_div=lambda n, by: -(-n // by), _should_elide_dsa_index_k=lambda **_: False, parse_qsa_profile=lambda _: None,
        QSATokenToKVPool=None, resolve_qsa_indexer_dtype=None, AttentionArch=NS(MLA="mla"),
        DSATokenToKVPool=NS(quant_block_size=128, index_k_with_scale_buffer_dtype=U8, rope_storage_dtype=BF16),
        calculate_mla_kv_cache_dim=lambda **_: latent(wheel, config, ask, file, "calculate_mla_kv_cache_dim"),
    )
    config.attention_arch = "mla" if config.mla else "mha"
    space = wheel.take(
        file, *(f"{cls}.{n}" for n in (
            "_profile_available_bytes", "_handle_max_mamba_cache", "_calculate_mamba_ratio", "resolve_max_num_reqs")),
        "MAMBA_CACHE_SIZE_MAX_RUNNING_REQUESTS_RATIO", "MAMBA_CACHE_BASE_RATIO_DROP_ON_SKIP",
        "MAMBA_CACHE_V2_ADDITIONAL_RATIO_NO_BUFFER", **given, gc=NS(collect=lambda: None),
        get_available_gpu_memory=lambda *_, **__: ask.available, get_mm=lambda: NS(mm_feature_transport="cpu"),
        mm_runtime_reservation_gb=lambda **_: 0.0, _pd_prefill_skips_mamba_spec_state=lambda: False, get_spec=lambda: NS(speculative_num_draft_tokens=ask.verify or None),
        **wheel.take("mem_cache/allocation_sizing.py", "get_mamba_tracking_slots"),
    )
    config.is_multimodal = False
    bind(runner, space, "_handle_max_mamba_cache", "_calculate_mamba_ratio")
    pool = refusing(made(runner).calculate_pool_sizes, refusing(space["_profile_available_bytes"], runner, ask.pre), ask.page)
    requests = refusing(space["resolve_max_num_reqs"], runner, pool.max_total_num_tokens)
    return pool.max_total_num_tokens, schedule.max_mamba_cache_size, requests


ASKED = {"0.5.5": asked_055, "0.5.9": asked_059, "0.5.15": asked_0515, "0.5.23": asked_0523}
COLUMNS = "sglang,card,model,kv,tp,page,fraction,pre_bytes,available_bytes,max_requests,tokens,states,requests".split(",")


def pools(wheels, seed=20):
    random.seed(seed)
    for version in VERSIONS:
        wheel = Wheel(wheels, version)
        for _ in range(140):
            card = random.choice(sorted(CARDS))
            name = random.choice(MODELS)
            if SINCE.get(name, (0, 0)) > wheel.version:
                continue
            capability = {"H100": 9, "H200": 9, "B200": 10}.get(card, 8)
            kv, tp = random.choice(["bf16", "fp8"]), random.choice([1, 1, 2, 4, 8])
            indexed = name == "deepseek-v3.2"
            large = capability == 10 and wheel.version >= (5, 7) and not models.config(name).mla
            large = large or (capability == 10 and name.startswith("gpt-oss"))
            pre = int((CARDS[card] - random.randint(400, 1500)) * (1 << 20))
            fraction = round(random.uniform(0.3, 0.95), 3)
            available = int(pre * random.uniform(max(0.06, 1 - fraction - 0.05), 0.97))
            ask = NS(
                tp=tp, page=64 if large or indexed else 1, dtype=FP8 if kv == "fp8" else BF16, fraction=fraction,
                pre=pre / GIB, available=available / GIB, requests=random.choice([None, None, 1, 64, 5000]), capability=capability,
                dp=1, verify=0, draft_layers=0,
            )
            try:
                config = prepared(wheel, name, tp)
            except AssertionError:  # heads do not divide
                continue
            try:
                tokens, held, requests = ASKED[version](wheel, config, ask)
                if requests <= 0 or tokens <= 0:  # Nothing checks it before 0.5.16.
                    raise Refused
            except Refused:
                tokens, held, requests = 0, "", ""
            yield [version, card, name, kv, tp, ask.page, fraction, pre, available, ask.requests or "", tokens, held or "", requests]


def shares(wheels, seed=21):
    """The defaults that follow from a card."""
    random.seed(seed)
    for version in ["0.5.2", *VERSIONS]:
        wheel = Wheel(wheels, version)
        for _ in range(60):
            card, mla = random.choice(sorted(CARDS)), random.random() < 0.3
            tp, pp = random.choice([1, 1, 2, 4, 8]), random.choice([1, 1, 1, 2])
            chunk, requests = random.choice([None, None, 1024, 4096, 16384]), random.choice([None, None, 4, 100])
            tower = random.choice([None, None, None, (27, 1152), (24, 1024), (48, 3200)])
            eager = random.random() < 0.2
            found = DEFAULTS(wheel, NS(card=CARDS[card], mla=mla, tp=tp, pp=pp, chunk=chunk, requests=requests, tower=tower, eager=eager, dp=1, drafter=None))
            layers, hidden = tower or ("", "")
            yield [version, card, int(mla), tp, pp, chunk or "", requests or "", layers, hidden, int(eager), *found]


SHARES = "sglang,card,latent,tp,pp,chunk,max_requests,tower_layers,tower_hidden,eager,step,largest_batch,batches,fraction".split(",")


def DEFAULTS(wheel, ask):
    args = NS(
        chunked_prefill_size=ask.chunk, cuda_graph_max_bs=None, cuda_graph_bs=None, mem_fraction_static=None, tp_size=ask.tp,
        pp_size=ask.pp, dp_size=ask.dp, enable_dp_attention=ask.dp > 1, speculative_algorithm=ask.drafter, max_prefill_tokens=16384, device="cuda",
        piecewise_cuda_graph_tokens=None, piecewise_cuda_graph_max_tokens=None, enable_piecewise_cuda_graph=False,
        language_only=False, language_model_only=False, disaggregation_mode="null", max_running_requests=ask.requests,
        disable_cuda_graph_padding=False, enable_symm_mem=False, page_size=1, max_total_tokens=None, model_path="model",
        context_length=None, speculative_num_draft_tokens=None, use_mla_backend=lambda: ask.mla, attn_dp_size=ask.dp, disable_cuda_graph=ask.eager,
        torch_compile_max_bs=32,
    )
    vision = NS(num_hidden_layers=ask.tower[0], hidden_size=ask.tower[1]) if ask.tower else None
    model = NS(is_multimodal=bool(ask.tower), hf_config=NS(vision_config=vision))
    args.get_model_config = lambda: model
    if wheel.version < (5, 3):
        return defaults_052(wheel, args, model, ask)
    if wheel.version < (5, 14):
        return defaults_059(wheel, args, model, ask)
    return defaults_later(wheel, args, model, ask)


def defaults_052(wheel, args, model, ask):
    file = "server_args.py"
    space = wheel.take(file, "ServerArgs.adjust_mem_fraction_for_vlm", logger=LOGGER)
    bind(args, space, "adjust_mem_fraction_for_vlm")
    nodes = wheel.ifs(file, "ServerArgs.__post_init__", "self.mem_fraction_static is None", "self.chunked_prefill_size is None", "self.cuda_graph_max_bs is None")
    wheel.run(nodes, dict(space, self=args, gpu_mem=float(ask.card), ModelConfig=NS(from_server_args=lambda _: model)))
    return args.chunked_prefill_size, args.cuda_graph_max_bs or "", "", f"{args.mem_fraction_static:.6f}"


def defaults_059(wheel, args, model, ask):
    file, cls = "server_args.py", "ServerArgs"
    methods = "_handle_gpu_memory_settings", "_generate_cuda_graph_batch_sizes", "_generate_piecewise_cuda_graph_tokens", "adjust_mem_fraction_for_vlm"
    args.piecewise_cuda_graph_max_tokens = args.piecewise_cuda_graph_max_tokens or (4096 if wheel.version < (5, 8) else None)
    space = wheel.take(file, *(f"{cls}.{name}" for name in methods), is_npu=lambda: False, envs=None, logger=LOGGER)
    bind(args, space, *methods)
    args._handle_gpu_memory_settings(float(ask.card))
    return args.chunked_prefill_size, args.cuda_graph_max_bs, len(args.cuda_graph_bs), f"{args.mem_fraction_static:.6f}"


def defaults_later(wheel, args, model, ask):
    """0.5.15 and later: graphs have a configuration of their own, without steps of prompts where those are not captured."""
    backend = NS(DISABLED="disabled", BREAKABLE="breakable", FULL="full")
    phase = lambda on: NS(backend="breakable" if on else "disabled", max_bs=None, bs=None)
    args.cuda_graph_config = NS(
        decode=phase(not ask.eager), prefill=phase(not ask.eager and ask.pp == 1 and not ask.tower)
    )
    args._cuda_graph_config_locked = set()
    view = NS(enable_dp_attention=ask.dp > 1, moe_a2a_backend="none")
    if (wheel.root / "arg_groups/memory_hook.py").exists():
        graphs = "arg_groups/cuda_graph_hook.py"
        made = wheel.take(
            graphs, "generate_decode_cuda_graph_batch_sizes", "generate_prefill_cuda_graph_batch_sizes", resolving_view=lambda args: args
        )
        space = wheel.take(
            "arg_groups/memory_hook.py", "handle_gpu_memory_settings", "reserve_for_graph_mb", "reserve_for_deepep_a2a_mb",
            "adjust_mem_fraction_for_vlm", "_DEFAULT_PP_PREFILL_CUDA_GRAPH_MAX_TOKENS", resolving_view=lambda args: args,
            get_device_memory_capacity=lambda _: float(ask.card), declare_resolution=lambda args, _, **new: vars(args).update(new),
            use_mla_backend=lambda _: ask.mla, model_config_of=lambda _: model, Backend=backend, Phase=NS(PREFILL="prefill"),
            post_capture_kv_sizing_planned=lambda _: False, attn_dp_enabled_of=lambda _: ask.dp > 1, resolved_view=lambda _: view,
            get_platform=lambda: NS(is_xpu=False), expand_multimodal_decode_graph_to_running_limit=lambda *_: None,
            generate_cpu_graph_batch_sizes=None, **{name: made[name] for name in list(made) if name.startswith("generate")},
        )
        space["handle_gpu_memory_settings"](args)
    else:
        cls = "ServerArgs"
        methods = "_handle_gpu_memory_settings", "_generate_decode_cuda_graph_batch_sizes", "_generate_prefill_cuda_graph_batch_sizes", "adjust_mem_fraction_for_vlm"
        space = wheel.take("server_args.py", *(f"{cls}.{name}" for name in methods), Backend=backend, envs=None, resolved_view=lambda _: view, logger=LOGGER)
        bind(args, space, *methods)
        args._resolved = lambda: view
        args._handle_gpu_memory_settings(float(ask.card))
    decode = args.cuda_graph_config.decode
    return args.chunked_prefill_size, decode.max_bs, len(decode.bs), f"{args.mem_fraction_static:.6f}"


OPTIONS = "sglang,card,model,kv,tp,dp,page,verify,draft_layers,fraction,pre_bytes,available_bytes,max_requests,tokens,states,requests".split(",")


def options(wheels, seed=22):
    """Pools of servers that predict tokens, have copies of attention, or pages of a chosen size."""
    random.seed(seed)
    for version in VERSIONS:
        wheel = Wheel(wheels, version)
        for _ in range(110):
            card, name = random.choice(sorted(CARDS)), random.choice(MODELS)
            kv, tp = random.choice(["bf16", "fp8"]), random.choice([1, 2, 4, 8])
            dp = random.choice([1, 1, *(n for n in (2, 4, 8) if tp % n == 0)])
            verify, layers = random.choice([(0, 0), (2, 1), (4, 1), (8, 1), (4, 6)])
            page = random.choice([1, 16, 32, 64, 128])
            fraction = round(random.uniform(0.4, 0.95), 3)
            pre = int((CARDS[card] - random.randint(400, 1500)) * (1 << 20))
            available = int(pre * random.uniform(max(0.06, 1 - fraction - 0.05), 0.97))
            requests = random.choice([None, 64, 256])
            if SINCE.get(name, (0, 0)) > wheel.version or name == "deepseek-v3.2":
                continue
            capability = {"H100": 9, "H200": 9, "B200": 10}.get(card, 8)
            ask = NS(
                tp=tp, page=page, dtype=FP8 if kv == "fp8" else BF16, fraction=fraction, pre=pre / GIB, available=available / GIB,
                requests=requests or (48 if verify else None), capability=capability, dp=dp, verify=verify, draft_layers=layers,
            )
            try:
                config = prepared(wheel, name, tp // dp)
            except AssertionError:  # heads do not divide
                continue
            try:
                tokens, held, running = ASKED[version](wheel, config, ask)
                if running <= 0 or tokens <= 0:
                    raise Refused
            except Refused:
                tokens, held, running = 0, "", ""
            yield [version, card, name, kv, tp, dp, page, verify, layers, fraction, pre, available, requests or "", tokens, held or "", running]


MORE = "sglang,card,latent,tp,dp,drafter,chunk,fraction".split(",")


def more_shares(wheels, seed=23):
    """The default share with copies of attention, and of servers that predict."""
    random.seed(seed)
    for version in VERSIONS:
        wheel = Wheel(wheels, version)
        for _ in range(40):
            card, mla, tp = random.choice(sorted(CARDS)), random.random() < 0.5, random.choice([1, 2, 4, 8])
            dp = random.choice([n for n in (1, 2, 4, 8) if tp % n == 0])
            drafter, chunk = random.choice([None, "EAGLE", "EAGLE3", "STANDALONE"]), random.choice([None, 4096])
            ask = NS(
                card=CARDS[card], mla=mla, tp=tp, pp=1, chunk=chunk, requests=48 if drafter else None, tower=None, eager=False,
                dp=dp, drafter=drafter,
            )
            yield [version, card, int(mla), tp, dp, drafter or "", chunk or "", DEFAULTS(wheel, ask)[-1]]


def write(name, columns, rows):
    rows = list(rows)
    with open(Path(__file__).with_name(name), "w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(columns)
        out.writerows(rows)
    print(f"{name}: {len(rows)} rows")


if __name__ == "__main__":
    write("shares.csv", SHARES, shares(sys.argv[1]))
    write("pools.csv", COLUMNS, pools(sys.argv[1]))
    write("options.csv", OPTIONS, options(sys.argv[1]))
    write("options_shares.csv", MORE, more_shares(sys.argv[1]))
