#!/usr/bin/env python3
"""Asks vLLM what its options add to a rank and to the pool: adapters' slots, draft models, data, expert and context
parallelism, blocks and formats of the cache. Without a GPU, as `ask.py`.

    pip install -r requirements.txt
    python options.py lora|draft|published|parallel|offload|cache [SEED]

Writes `NAME-RELEASE.csv`, or with a seed `holdout-NAME-RELEASE.csv`: models, ranks and sizes drawn by it.
"""

import contextlib
import csv
import multiprocessing
import random
import sys
import traceback
import types
from importlib.metadata import version

import ask
import card
import configs
import torch
from vllm.config import set_current_vllm_config
from vllm.platforms import current_platform
from vllm.v1.attention.backends import flashinfer
from vllm.v1.worker.gpu_model_runner import GPUModelRunner

LORA_MODELS = """llama-3.1-8b qwen2.5-7b qwen3-8b qwen2.5-14b mistral-7b-v0.1 phi-3-mini-128k gemma-2-9b gemma-3-27b
    command-r-v01 granite-3.1-8b starcoder2-7b llama-3.2-1b smollm2-1.7b qwen3-30b-a3b mixtral-8x7b deepseek-v2-lite
    glm-4.5-air gpt-oss-20b qwen3.5-27b qwen3-next-80b-a3b granite-4.0-h-1b phi-4 llama-3.3-70b gemma-2b
    mistral-nemo-2407""".split()
MTP_MODELS = "qwen3.5-27b qwen3.5-35b-a3b qwen3.8-27b deepseek-v3 glm-4.5-air glm-4.5 qwen3-next-80b-a3b".split()
MOE_MODELS = """qwen3-30b-a3b mixtral-8x7b deepseek-v2-lite deepseek-v3 glm-4.5-air gpt-oss-20b gpt-oss-120b
    qwen3.5-35b-a3b qwen3-next-80b-a3b qwen3-235b-a22b qwen1.5-moe-a2.7b""".split()
DENSE_MODELS = "llama-3.1-8b qwen3-8b gemma-3-27b qwen3-32b llama-3.3-70b".split()
DRAFTS = [("llama-3.1-8b", "llama-3.2-1b"), ("llama-3.3-70b", "llama-3.2-1b"), ("llama-3.3-70b", "llama-3.1-8b"),
          ("qwen2.5-14b", "qwen2.5-0.5b"), ("qwen3-32b", "qwen3-8b")]
EAGLES = "llama-3.1-8b llama-3.3-70b qwen3-8b qwen3-32b".split()
RANKS_OF_SLOTS = (8, 16, 64, 256)
# Drafts that are published for a model, by the names of `configs.PUBLISHED`, and the models beside which they are asked.
PUBLISHED = [("qwen3.6-27b", "Qwen3.6-27B-DFlash"), ("qwen3.8-27b", "Qwen3.8-27B-DFlash2"),
             ("qwen3.6-35b-a3b", "Qwen3.6-35B-A3B-DFlash"), ("qwen3.5-9b", "Qwen3.5-9B-DFlash"),
             ("qwen3.5-122b-a10b", "Qwen3.5-122B-A10B-DFlash"), ("qwen3-8b", "Qwen3-8B-DFlash-b16"),
             ("qwen3-4b", "Qwen3-4B-DFlash-b16"), ("gemma-4-31b", "gemma-4-31B-it-assistant")]


def lora_cases(rng):
    if rng:
        for _ in range(40):
            yield (rng.choice(LORA_MODELS), rng.choice((1, 2, 4)), rng.choice((1, 1, 2)),
                   dict(max_loras=rng.randint(1, 16), max_lora_rank=rng.choice((1, 8, 16, 32, 64, 128, 320, 512))))
        return
    for model in LORA_MODELS:
        for tp, pp, slots, rank in ((1, 1, 1, 16), (1, 1, 4, 64), (2, 1, 4, 32), (4, 1, 2, 16), (1, 2, 2, 8)):
            yield model, tp, pp, dict(max_loras=slots, max_lora_rank=rank)


def draft_cases(rng):
    if rng:
        for _ in range(16):
            yield rng.choice(MTP_MODELS), rng.choice((1, 2, 4, 8)), "mtp", rng.randint(1, 4), rng.choice(("auto", "fp8"))
        for _ in range(8):
            model, draft = rng.choice(DRAFTS)
            yield model, rng.choice((1, 2)), draft, rng.randint(1, 7), rng.choice(("auto", "fp8"))
        for _ in range(8):
            yield rng.choice(EAGLES), rng.choice((1, 2, 4)), "eagle3", rng.randint(1, 6), rng.choice(("auto", "fp8"))
        return
    for model in MTP_MODELS:
        for tp, ahead, kv in ((1, 1, "auto"), (2, 1, "auto"), (1, 2, "auto"), (1, 3, "fp8"), (4, 2, "auto")):
            yield model, tp, "mtp", ahead, kv
    for model, draft in DRAFTS:
        for tp, ahead, kv in ((1, 4, "auto"), (2, 2, "auto"), (1, 3, "fp8")):
            yield model, tp, draft, ahead, kv
    for model in EAGLES:
        for kind in ("eagle", "eagle3"):
            for tp, ahead, kv in ((1, 3, "auto"), (2, 2, "auto"), (1, 4, "fp8")):
                yield model, tp, kind, ahead, kv


def published_cases(rng):
    if rng:
        for _ in range(24):
            model, draft = rng.choice(PUBLISHED)
            yield model, rng.choice((1, 2, 4)), draft, rng.randint(1, 15), rng.choice(("auto", "fp8"))
        return
    for model, draft in PUBLISHED:
        for tp, ahead, kv in ((1, 3, "auto"), (2, 7, "auto"), (2, 5, "fp8"), (4, 15, "auto")):
            yield model, tp, draft, ahead, kv


def parallel_cases(rng):
    """Model, ranks of tensor and pipeline parallelism, copies, whether experts are dealt out whole, context ranks."""
    if rng:
        for _ in range(40):
            tp, pp, dp = rng.choice(((1, 1, 2), (2, 1, 2), (4, 1, 2), (1, 1, 8), (2, 2, 1), (4, 2, 1), (2, 1, 4), (8, 1, 1)))
            yield rng.choice(MOE_MODELS), tp, pp, dp, rng.random() < 0.6, 1
        return
    for model in MOE_MODELS:
        for tp, pp, dp, ep in ((1, 1, 2, False), (1, 1, 2, True), (2, 1, 2, False), (2, 1, 2, True), (4, 1, 1, True),
                               (1, 1, 8, True), (2, 2, 1, False), (2, 2, 1, True), (4, 1, 2, True)):
            yield model, tp, pp, dp, ep, 1
    for model in DENSE_MODELS:
        for tp, pp, dp in ((1, 1, 2), (2, 1, 2), (2, 2, 1), (2, 3, 1), (4, 2, 1)):
            yield model, tp, pp, dp, False, 1
    for model, tp, dcp in (("deepseek-v3", 8, 8), ("deepseek-v3", 8, 2), ("deepseek-v2-lite", 2, 2), ("deepseek-v2-lite", 4, 4),
                           ("qwen3-235b-a22b", 8, 2), ("qwen3-30b-a3b", 8, 2), ("glm-4.5-air", 16, 2)):
        yield model, tp, 1, 1, False, dcp


def cache_cases(rng):
    """Card, model, ranks, further arguments."""
    models = "llama-3.1-8b qwen3-8b gemma-3-27b deepseek-v2-lite qwen3-30b-a3b gpt-oss-20b gemma-2-9b qwen3.5-27b".split()
    cards = "h100 l4 b200 a100-80gb".split()
    settings = [dict(block_size=32), dict(block_size=64), dict(block_size=128), dict(kv_cache_dtype="fp8_e4m3"),
                dict(kv_cache_dtype="fp8_e5m2"), dict(kv_cache_dtype="nvfp4"), dict(kv_cache_dtype="int8_per_token_head"),
                dict(kv_cache_dtype="fp8_per_token_head"), dict(kv_cache_dtype="int4_per_token_head"),
                dict(max_cudagraph_capture_size=64), dict(max_cudagraph_capture_size=2048), dict(max_num_seqs=32),
                dict(cudagraph_capture_sizes=[1, 2, 4, 24]), dict(optimization_level=0), dict(optimization_level=1),
                dict(max_num_seqs=2048), dict(max_num_batched_tokens=4096), dict(block_size=32, kv_cache_dtype="fp8")]
    if rng:
        for _ in range(30):
            yield rng.choice(cards), rng.choice(models), rng.choice((1, 2, 4)), rng.choice(settings)
        return
    for model in models:
        for settings_of in settings:
            yield "h100", model, 1, settings_of
        for kind in ("nvfp4", "fp8_e4m3"):
            for name in cards[1:]:
                yield name, model, 1, dict(kv_cache_dtype=kind)


def offload_cases(rng):
    models = """llama-3.1-8b qwen2.5-7b qwen3-8b gemma-3-27b qwen3-30b-a3b mixtral-8x7b deepseek-v2-lite gpt-oss-20b
        glm-4.5-air qwen3.5-27b gemma-2-9b phi-3-mini-128k""".split()
    if rng:
        for _ in range(25):
            yield rng.choice(models), rng.choice((1, 2, 4)), 1, dict(cpu_offload_gb=rng.randint(1, 60) / 4)
        return
    for model in models:
        for tp, pp, size in ((1, 1, 2), (1, 1, 7.5), (2, 1, 3), (1, 2, 1), (1, 1, 500)):
            yield model, tp, pp, dict(cpu_offload_gb=size)


def with_predicting_layer(config):
    """A configuration as it is published, with its layer that predicts tokens."""
    if getattr(config, "topk_method", None) == "noaux_tc":
        import transformers

        made = transformers.DeepseekV3Config(**config.to_dict())
        made.architectures = config.architectures
        config = made
    if hasattr(config, "n_routed_experts"):
        config.num_nextn_predict_layers = 1
    config.mtp_num_hidden_layers = 1
    return config


def engine(model, name="h100", tp=1, pp=1, **told):
    card.insert(name)
    config = configs.of(model)
    if told.get("speculative_config", {}).get("method") == "mtp":
        config = with_predicting_layer(config)
    format = ask.FORMATS["mxfp4" if model.startswith("gpt-oss") else "bf16"]
    return card.engine(config, tp, pp, format, **told)


@contextlib.contextmanager
def groups(vllm_config, stage=0):
    parallel = vllm_config.parallel_config
    with card.ranks(vllm_config, stage * parallel.tensor_parallel_size):
        yield


def stages(vllm_config):
    for stage in range(vllm_config.parallel_config.pipeline_parallel_size):
        with groups(vllm_config, stage):
            yield stage, card.build(vllm_config)
        vllm_config.compilation_config.static_forward_context.clear()


def held(root):
    """Every tensor that modules keep outside of their parameters, by the name of the module."""
    seen, sizes = {p.untyped_storage()._cdata for p in root.parameters()}, {}
    seen |= {b.untyped_storage()._cdata for b in root.buffers()}

    def add(name, value):
        if isinstance(value, torch.Tensor) and value.untyped_storage()._cdata not in seen:
            seen.add(value.untyped_storage()._cdata)
            sizes[name] = sizes.get(name, 0) + value.untyped_storage().nbytes()
        elif isinstance(value, (tuple, list)):
            for one in value:
                add(name, one)

    for name, module in root.named_modules():
        if hasattr(module, "create_lora_weights"):
            for attribute, value in vars(module).items():
                if "lora" in attribute or attribute == "adapter_enabled":
                    add(name.rpartition(".")[-1], value)
            for key in ("sharded_to_full_mapping_gpu",):
                add(name.rpartition(".")[-1], getattr(module, key, None))
    return sizes


def ask_lora(case):
    from vllm.lora.model_manager import LoRAModelManager

    model, tp, pp, told = case
    vllm_config = engine(model, tp=tp, pp=pp, enable_lora=True, **told)
    rows = []
    for stage, built in stages(vllm_config):
        with card.OnMeta(), torch.device("meta"):
            for module in built.modules():
                prepare_experts(module)
            manager = LoRAModelManager(
                built, vllm_config.scheduler_config.max_num_seqs, vllm_config.scheduler_config.max_num_batched_tokens,
                vllm_config.model_config.get_vocab_size(), vllm_config.lora_config, torch.device("meta"), vllm_config,
            )
        sizes = held(built)
        sizes["tables"] = sum(
            t.untyped_storage().nbytes() for w in manager.punica_wrapper_mapping.values() for v in vars(w).values()
            for t in ([v] if isinstance(v, torch.Tensor) else vars(v).values() if hasattr(v, "token_lora_mapping") else [])
            if isinstance(t, torch.Tensor) and t.device.type == "meta"
        )
        for name, size in sorted(sizes.items()):
            rows.append([model, tp, pp, stage, told["max_loras"], told["max_lora_rank"], name, size])
    return rows


def prepare_experts(module):
    """The kernels of experts, as they are chosen after loading."""
    method = getattr(module, "quant_method", None)
    if hasattr(method, "_setup_kernel") and hasattr(module, "w13_weight"):
        method._setup_kernel(module, module.w13_weight, module.w2_weight)


def asked_pool(vllm_config):
    current_platform.update_block_size_for_backend(vllm_config)
    runner = types.SimpleNamespace(vllm_config=vllm_config, shared_kv_cache_layers={})
    spec = GPUModelRunner.get_kv_cache_spec(runner)
    ask.resolve_layout(vllm_config, spec)
    return spec


def limits(vllm_config):
    scheduler, compilation = vllm_config.scheduler_config, vllm_config.compilation_config
    return scheduler.max_num_seqs, scheduler.max_num_batched_tokens, compilation.max_cudagraph_capture_size


def eagle_config(target, kind):
    """A head as they are published for a model: a layer of Llama's, EAGLE-3's with a vocabulary of its own."""
    import transformers

    made = transformers.LlamaConfig(
        vocab_size=target.vocab_size, hidden_size=target.hidden_size, intermediate_size=target.intermediate_size,
        num_hidden_layers=1, num_attention_heads=target.num_attention_heads,
        num_key_value_heads=target.num_key_value_heads, head_dim=getattr(target, "head_dim", None),
        max_position_embeddings=target.max_position_embeddings, tie_word_embeddings=False,
    )
    made.architectures = ["LlamaForCausalLMEagle3" if kind == "eagle3" else "EagleLlamaForCausalLM"]
    if kind == "eagle3":
        made.draft_vocab_size = 32_000
    return made


def ask_draft(case):
    import json
    import pathlib
    import tempfile

    from vllm.v1.worker.gpu.spec_decode.eagle import utils as eagle
    from vllm.v1.worker.gpu.spec_decode.standalone_ar import speculator as standalone

    model, tp, kind, ahead, kv = case
    published = kind in configs.PUBLISHED
    # It is there until this returns: assistants read it once more.
    folder = tempfile.TemporaryDirectory()
    told = dict(num_speculative_tokens=ahead)
    if kind == "mtp":
        told["method"] = "mtp"
    else:
        is_eagle = kind.startswith("eagle")
        if published:
            made = configs.PUBLISHED[kind] | {"dtype": "bfloat16"}
        else:
            config = eagle_config(configs.of(model), kind) if is_eagle else configs.of(kind)
            made = config.to_dict() | {"architectures": [card.architecture(config)], "dtype": "bfloat16"}
        pathlib.Path(folder.name, "config.json").write_text(json.dumps(made, default=str))
        method = ("mtp" if "assistant" in kind else "dflash") if published else kind if is_eagle else "draft_model"
        told |= dict(method=method, model=folder.name)
    vllm_config = engine(model, tp=tp, kv_cache_dtype=kv, speculative_config=told)
    with groups(vllm_config):
        target = card.build(vllm_config)
        before = ask.bytes_of(target.parameters())

        def build(vllm_config, model_config=None, prefix="", **_):
            from vllm.model_executor.model_loader.utils import initialize_model
            from vllm.utils.torch_utils import set_default_torch_dtype

            config = model_config or vllm_config.model_config
            with set_default_torch_dtype(config.dtype), card.OnMeta(), torch.device("meta"):
                made = initialize_model(vllm_config=vllm_config, model_config=config, prefix=prefix)
            if kind == "eagle3":
                # As its checkpoints have a head, and no embedding.
                made.has_own_lm_head = True
            return made

        if published:
            draft = load_published(build, target, vllm_config)
        elif kind == "mtp" or kind.startswith("eagle"):
            eagle.get_model, equal, torch.equal = build, torch.equal, lambda *_: False
            draft = eagle.load_eagle_model(target, vllm_config)
            torch.equal = equal
        else:
            standalone.get_model = build
            part = types.SimpleNamespace(
                speculative_config=vllm_config.speculative_config, vllm_config=vllm_config,
                draft_model_config=vllm_config.speculative_config.draft_model_config,
            )
            draft = standalone.StandaloneARSpeculator.load_draft_model(part, target, set())
        kept = getattr(draft.model, "_fused_kv_weight", None)
        both = ask.bytes_of([*target.parameters(), *draft.parameters(), *([] if kept is None else [kept])])
        buffers = ask.bytes_of(b for n, b in draft.named_buffers() if not n.endswith("cos_sin_cache"))
        spec = asked_pool(vllm_config)
        pools, tokens = ask.printed_tokens(vllm_config, [spec])
        most = ask.longest(vllm_config, [spec])
    return [[model, tp, kind, ahead, "bf16" if kv == "auto" else kv, before, both - before, buffers,
             ask.AVAILABLE, *ask.pool_of(pools[0]), tokens, most, *limits(vllm_config)]]


def load_published(build, target, vllm_config):
    """By the engine's own loaders. What a block's draft keeps of its weights for the keys and values of a context is made, too."""
    from vllm.v1.worker.gpu.spec_decode.dflash import utils as dflash
    from vllm.v1.worker.gpu.spec_decode.gemma4 import speculator as gemma4

    if vllm_config.speculative_config.method == "dflash":
        dflash.get_model = build
        draft = dflash.load_dflash_model(target, vllm_config)
        with card.OnMeta(), torch.device("meta"):
            draft.model._build_fused_kv_buffers()
        return draft
    gemma4.get_model = build
    part = gemma4.Gemma4Speculator.__new__(gemma4.Gemma4Speculator)
    part.vllm_config, part.speculative_config = vllm_config, vllm_config.speculative_config
    # Scales of a cache, which the meta device does not copy.
    gemma4._copy_target_kv_scales = lambda *_: None
    names = {name for name in vllm_config.compilation_config.static_forward_context if "attn" in name}
    return part.load_draft_model(target, names)


def ask_parallel(case):
    model, tp, pp, dp, ep, dcp = case
    vllm_config = engine(
        model, tp=tp, pp=pp, data_parallel_size=dp, enable_expert_parallel=ep, decode_context_parallel_size=dcp,
        # One of several processes would be asked on other machines; here each is one.
        data_parallel_backend="mp",
    )
    rows, specs, ranks = [], [], []
    for stage, built in stages(vllm_config):
        specs.append(asked_pool(vllm_config))
        ranks.append(ask.loaded(built, vllm_config.model_config.dtype))
    pools, tokens = ask.printed_tokens(vllm_config, specs)
    most = ask.longest(vllm_config, specs)
    for stage, (rank, pool) in enumerate(zip(ranks, pools)):
        rows.append([model, tp, pp, stage, dp, int(ep), dcp, *rank, ask.AVAILABLE, *ask.pool_of(pool), tokens, most,
                     *limits(vllm_config)])
    return rows


def ask_offload(case):
    """What stays in main memory, by the engine's own offloader: parameters are moved nowhere, and counted."""
    from vllm.model_executor.offloader import base, uva

    model, tp, pp, told = case
    vllm_config = engine(model, tp=tp, pp=pp, **told)
    uva.get_accelerator_view_from_cpu_tensor = lambda tensor: tensor
    to, torch.Tensor.to = torch.Tensor.to, lambda self, *a, **k: self if k == dict(device="cpu") else to(self, *a, **k)
    rows = []
    said = " ".join(f"{key}={value}" for key, value in told.items())
    for stage in range(pp):
        with groups(vllm_config, stage):
            made = uva.UVAOffloader(int(told["cpu_offload_gb"] * 1024**3))
            made.pin_memory, made.uva_offloading = False, True
            base.set_offloader(made)
            built = card.build(vllm_config)
            rows.append([model, tp, pp, stage, said, ask.bytes_of(built.parameters()), made.cpu_offload_bytes])
        vllm_config.compilation_config.static_forward_context.clear()
    return rows


def ask_cache(case):
    name, model, tp, told = case
    if told.get("kv_cache_dtype") == "nvfp4":
        # Whether kernels for Blackwell are there is asked of a server of NVIDIA's.
        flashinfer.supports_trtllm_attention = lambda *_, **__: True
    vllm_config = engine(model, name, tp=tp, **told)
    with groups(vllm_config):
        card.build(vllm_config)
        spec = asked_pool(vllm_config)
        pools, tokens = ask.printed_tokens(vllm_config, [spec])
        most = ask.longest(vllm_config, [spec])
    said = " ".join(f"{key}={'/'.join(map(str, v)) if isinstance(v, list) else v}" for key, v in told.items())
    mode = vllm_config.compilation_config.cudagraph_mode
    return [[name, model, tp, said, ask.AVAILABLE, *ask.pool_of(pools[0]), tokens, most, *limits(vllm_config),
             mode.name if mode is not None else ""]]


POOL = "available groups group_layers block_tokens blocks bytes tokens longest max_seqs chunk captured"
KINDS = {
    "offload": (offload_cases, ask_offload, "model ranks stages stage told weights offloaded"),
    "lora": (lora_cases, ask_lora, "model ranks stages stage slots rank module bytes"),
    "draft": (draft_cases, ask_draft, "model ranks draft ahead kv weights draft_weights draft_buffers " + POOL),
    "published": (published_cases, ask_draft, "model ranks draft ahead kv weights draft_weights draft_buffers " + POOL),
    "parallel": (parallel_cases, ask_parallel,
                 "model ranks stages stage copies whole_experts context_ranks parameters weights absorbed tables " + POOL),
    "cache": (cache_cases, ask_cache, "card model ranks told " + POOL + " graphs"),
}


def answer(given):
    kind, case = given
    try:
        return case, KINDS[kind][1](case)
    except Exception:
        return case, traceback.format_exc()


def main():
    kind, *seed = sys.argv[1:]
    rng = random.Random(int(seed[0])) if seed else None
    cases, _, columns = KINDS[kind]
    release = version("vllm")
    name = f"{'holdout-' if rng else ''}{kind}-{release}.csv"
    with open(card.HERE / name, "w", encoding="utf-8", buffering=1) as file:
        made = csv.writer(file, lineterminator="\n")
        made.writerow(["vllm", *columns.split()])
        with multiprocessing.get_context("fork").Pool(2, maxtasksperchild=1) as pool:
            for case, rows in pool.imap(answer, [(kind, case) for case in cases(rng)], chunksize=1):
                if isinstance(rows, str):
                    print(*case, rows.strip().splitlines()[-1], file=sys.stderr)
                    continue
                made.writerows([release, *row] for row in rows)


if __name__ == "__main__":
    main()
