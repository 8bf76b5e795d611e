"""What SGLang's `ModelConfig` says of vramplan's profiles."""

import tomllib
from pathlib import Path

from wheel import NS

PROFILES = Path(__file__).parents[2] / "profiles" / "models"

# The class that a checkpoint's `config.json` names, where SGLang's arithmetic asks for it.
CLASSES = dict(
    gpt_oss="GptOssForCausalLM", gemma2="Gemma2ForCausalLM", gemma3="Gemma3ForConditionalGeneration",
    gemma4="Gemma4ForConditionalGeneration", llama4="Llama4ForConditionalGeneration",
    mimo_v2_flash="MiMoV2FlashForCausalLM", step3p7="Step3p7ForConditionalGeneration",
    deepseek_v32="DeepseekV32ForCausalLM", deepseek2="DeepseekV3ForCausalLM", qwen3_next="Qwen3NextForCausalLM",
    nemotron_h="NemotronHForCausalLM", granite_hybrid="GraniteMoeHybridForCausalLM",
    qwen3_5="Qwen3_5ForConditionalGeneration", qwen3_5_moe="Qwen3_5MoeForConditionalGeneration",
)


def profile(name):
    return tomllib.loads((PROFILES / f"{name}.toml").read_text())["shape"]


def windows(shape):
    """The window of every layer, 0 for none."""
    if lists := shape.get("per_layer", {}).get("window"):
        return lists
    window = shape.get("window")
    if not window:
        return [0] * shape["n_layers"]
    every = window.get("full_every")
    return [window["size"] if not every or (i + 1) % every else 0 for i in range(shape["n_layers"])]


def heads_of(shape, layer):
    lists = shape.get("per_layer", {})
    at = lambda key, otherwise: lists[key][layer] if key in lists else otherwise
    head = at("head_dim", shape["head_dim"])
    return at("kv_heads", shape["kv_heads"]), head, shape.get("extras", {}).get("value_head_dim", head)


def config(name):
    """Facts of a profile under the names of `config.json` and `ModelConfig`."""
    shape = profile(name)
    kinds = windows(shape)
    full = [i for i, window in enumerate(kinds) if not window]
    windowed = [i for i, window in enumerate(kinds) if window]
    mixers = shape.get("per_layer", {}).get("mixers")
    attends = [i for i in full if heads_of(shape, i)[0] and (not mixers or mixers[i] == "attention")] or windowed
    heads, head, value = heads_of(shape, attends[0])
    swa = heads_of(shape, windowed[0]) if windowed else (heads, head, value)
    mla = shape.get("mla")
    hf = NS(
        architectures=[CLASSES.get(shape["architecture"], "LlamaForCausalLM")], model_type=shape["architecture"],
        num_hidden_layers=shape["n_layers"], num_attention_heads=shape["n_heads"], num_key_value_heads=heads,
        layer_types=["sliding_attention" if window else "full_attention" for window in kinds],
        hybrid_layer_pattern=[int(bool(window)) for window in kinds],
        index_head_dim=shape.get("extras", {}).get("indexer", {}).get("head_dim"),
    )
    if swa[0] != heads:
        hf.swa_num_key_value_heads = swa[0]
    states(hf, shape)
    return NS(
        name=name, shape=shape, hf_config=hf, hf_text_config=hf, context_len=shape["context_len"],
        num_hidden_layers=shape["n_layers"], head_dim=head, v_head_dim=value, swa_head_dim=swa[1], swa_v_head_dim=swa[2],
        kv_lora_rank=mla and mla["kv_lora_rank"], qk_rope_head_dim=mla and mla["qk_rope_head_dim"], mla=bool(mla),
        window=max(kinds), is_draft_model=False, quantization=None, indexed=hf.index_head_dim is not None,
    )


def states(hf, shape):
    """What recurrent layers are told."""
    if recurrent := shape.get("recurrent"):
        hf.full_attention_interval = recurrent["full_attention_every"]
        hf.linear_num_key_heads, hf.linear_num_value_heads = recurrent["key_heads"], recurrent["value_heads"]
        hf.linear_key_head_dim, hf.linear_value_head_dim = recurrent["key_head_dim"], recurrent["value_head_dim"]
        hf.linear_conv_kernel_dim = recurrent["conv_kernel"]
    if ssm := shape.get("ssm"):
        lists = shape["per_layer"]
        mixers = lists.get("mixers") or ["attention" if heads else "recurrent" for heads in lists["kv_heads"]]
        hf.layer_types = mixers
        hf.full_attention_layer_ids = [i for i, mixer in enumerate(mixers) if mixer == "attention"]
        hf.mamba_layer_ids = [i for i, mixer in enumerate(mixers) if mixer == "recurrent"]
        hf.mamba2 = dict(
            intermediate_size=ssm["inner_size"], n_groups=ssm["n_groups"], num_heads=ssm["n_heads"],
            head_dim=ssm["inner_size"] // ssm["n_heads"], state_size=ssm["state_size"], conv_kernel=ssm["conv_kernel"],
        )
