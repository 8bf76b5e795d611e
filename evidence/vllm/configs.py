"""transformers' configurations of vramplan's profiles, those that `../transformers/track.py` makes and further families."""

import track
from shapes import common, profile
import transformers


def of(name):
    """The configuration of a profile."""
    shape = profile(name)
    made = FURTHER.get(shape["architecture"], track.config)(shape)
    made.initializer_range = 0.02
    return made


def experts(shape):
    moe = shape["moe"]
    return dict(
        num_experts=moe["n_experts"],
        num_experts_per_tok=moe["n_experts_used"],
        moe_intermediate_size=moe["expert_ffn_size"],
        shared_expert_intermediate_size=moe.get("shared_ffn_size", 0),
    )


def delta_net(shape):
    """Gated delta-net layers, every n-th with attention instead."""
    recurrent = shape["recurrent"]
    every = recurrent["full_attention_every"]
    kinds = ["linear_attention" if (index + 1) % every else "full_attention" for index in range(shape["n_layers"])]
    return dict(
        layer_types=kinds,
        full_attention_interval=every,
        linear_num_key_heads=recurrent["key_heads"],
        linear_num_value_heads=recurrent["value_heads"],
        linear_key_head_dim=recurrent["key_head_dim"],
        linear_value_head_dim=recurrent["value_head_dim"],
        linear_conv_kernel_dim=recurrent["conv_kernel"],
    )


def qwen3_5(shape):
    """Qwen3.5's language model alone, dense or of experts."""
    told = common(shape) | delta_net(shape) | dict(attn_output_gate=shape["attention_output_gate"])
    told |= dict(rope_parameters=dict(rope_type="default", rope_theta=1e7, partial_rotary_factor=0.25))
    # As their `config.json` say it.
    told |= dict(mamba_ssm_dtype="float32")
    told.pop("full_attention_interval")
    if moe := shape.get("moe"):
        made = transformers.Qwen3_5MoeTextConfig(**told, **experts(shape))
        made.shared_expert_intermediate_size = moe["shared_ffn_size"]
    else:
        made = transformers.Qwen3_5TextConfig(**told)
    made.architectures = ["Qwen3_5MoeForCausalLM" if moe else "Qwen3_5ForCausalLM"]
    return made


def granite_hybrid(shape):
    ssm, heads = shape["ssm"], shape["per_layer"]["kv_heads"]
    return transformers.GraniteMoeHybridConfig(
        **common(shape),
        layer_types=["attention" if count else "mamba" for count in heads],
        shared_intermediate_size=shape["ffn_size"],
        num_local_experts=0,
        mamba_n_heads=ssm["n_heads"],
        mamba_d_head=ssm["inner_size"] // ssm["n_heads"],
        mamba_d_state=ssm["state_size"],
        mamba_n_groups=ssm["n_groups"],
        mamba_d_conv=ssm["conv_kernel"],
        mamba_conv_bias=ssm["conv_bias"],
        mamba_expand=ssm["inner_size"] // shape["hidden_size"],
    )


def gemma4(shape):
    lists, every = shape["per_layer"], shape["window"]["full_every"]
    full = range(every - 1, shape["n_layers"], every)
    kinds = ["full_attention" if index in full else "sliding_attention" for index in range(shape["n_layers"])]
    return transformers.Gemma4TextConfig(
        **common(shape),
        layer_types=kinds,
        sliding_window=shape["window"]["size"],
        global_head_dim=lists["head_dim"][full[0]],
        num_global_key_value_heads=lists["kv_heads"][full[0]],
        attention_k_eq_v=shape["keys_are_values"],
        hidden_size_per_layer_input=0,
        num_kv_shared_layers=0,
        use_double_wide_mlp=False,
    )


def glm4_moe(shape):
    moe = shape["moe"]
    return transformers.Glm4MoeConfig(
        **common(shape),
        n_routed_experts=moe["n_experts"],
        num_experts_per_tok=moe["n_experts_used"],
        moe_intermediate_size=moe["expert_ffn_size"],
        n_shared_experts=moe["shared_ffn_size"] // moe["expert_ffn_size"],
        first_k_dense_replace=moe["leading_dense_layers"],
        attention_bias=shape.get("qkv_bias", False),
        use_qk_norm=shape.get("qk_norm") == "per_head",
    )


def deepseek(shape):
    made = track.config(shape)
    made.n_group = made.topk_group = 1
    made.architectures = ["DeepseekV3ForCausalLM" if shape["moe"].get("router_bias") else "DeepseekV2ForCausalLM"]
    if shape["moe"].get("router_bias"):
        made.topk_method = "noaux_tc"
    return made


FURTHER = {
    "gemma": lambda shape: transformers.GemmaConfig(**common(shape)),
    "cohere": lambda shape: transformers.CohereConfig(**common(shape)),
    "qwen2_moe": lambda shape: transformers.Qwen2MoeConfig(**common(shape), **experts(shape)),
    "qwen3_next": lambda shape: transformers.Qwen3NextConfig(**common(shape), **experts(shape), **delta_net(shape)),
    "granite_hybrid": granite_hybrid,
    "gemma4": gemma4,
    "glm4_moe": glm4_moe,
    "deepseek2": deepseek,
    "qwen3_5": qwen3_5,
    "qwen3_5_moe": qwen3_5,
}


def block(layers, windowed, window, hidden, ffn, states, heads=(32, 8, 128), vocab=248_320, **further):
    """A draft that predicts a block from hidden states of the model (`DFlashDraftModel`)."""
    kinds = ["sliding_attention"] * windowed + ["full_attention"] * (layers - windowed)
    return dict(
        architectures=["DFlash2DraftModel" if further else "DFlashDraftModel"], model_type="qwen3", hidden_size=hidden,
        intermediate_size=ffn, num_hidden_layers=layers, num_attention_heads=heads[0], num_key_value_heads=heads[1],
        head_dim=heads[2], vocab_size=vocab, layer_types=kinds, sliding_window=window, use_sliding_window=window is not None,
        max_position_embeddings=262_144, rms_norm_eps=1e-6, tie_word_embeddings=False, block_size=16,
        rope_parameters=dict(rope_type="default", rope_theta=1e7),
        dflash_config=dict(mask_token_id=vocab - 1, target_layer_ids=list(range(1, states + 1))) | further,
    )


def assistant(backbone, hidden, ffn, heads, kv_heads, full_kv_heads, window):
    """A draft of Gemma 4's, which reads the model's own cache (`Gemma4AssistantForCausalLM`)."""
    kinds = ["sliding_attention"] * 3 + ["full_attention"]
    rope = dict(sliding_attention=dict(rope_type="default", rope_theta=1e4),
                full_attention=dict(rope_type="proportional", rope_theta=1e6, partial_rotary_factor=0.25))
    return dict(
        architectures=["Gemma4AssistantForCausalLM"], model_type="gemma4_assistant", backbone_hidden_size=backbone,
        use_ordered_embeddings=False, num_centroids=2048, centroid_intermediate_top_k=32, tie_word_embeddings=True,
        text_config=dict(
            model_type="gemma4_text", hidden_size=hidden, intermediate_size=ffn, num_hidden_layers=4,
            num_attention_heads=heads, num_key_value_heads=kv_heads, num_global_key_value_heads=full_kv_heads,
            attention_k_eq_v=True, head_dim=256, global_head_dim=512, num_kv_shared_layers=4,
            hidden_size_per_layer_input=0, layer_types=kinds, sliding_window=window, vocab_size=262_144,
            vocab_size_per_layer_input=0, rope_parameters=rope, max_position_embeddings=262_144, tie_word_embeddings=True,
        ),
    )


# As their repositories' `config.json` have them, as public programs and lists quote them: `drafts.rs` says which.
SELECTS = dict(conv_kernel_size=2, conv_group_size=16, selector_rank=256, selector_top_k=16)
PUBLISHED = {
    "Qwen3.6-27B-DFlash": block(5, 4, 2048, 5120, 17408, 5),
    "Qwen3.8-27B-DFlash2": block(5, 5, 2048, 5120, 17408, 5, **SELECTS),
    "Qwen3.6-35B-A3B-DFlash": block(6, 5, 4096, 2048, 6144, 8),
    "Qwen3.5-9B-DFlash": block(6, 5, 4096, 4096, 12288, 8),
    "Qwen3.5-122B-A10B-DFlash": block(6, 5, 4096, 3072, 9216, 8),
    "Qwen3-8B-DFlash-b16": block(5, 0, None, 4096, 12288, 5, vocab=151_936),
    "Qwen3-4B-DFlash-b16": block(5, 0, None, 2560, 9728, 5, vocab=151_936),
    "gemma-4-31B-it-assistant": assistant(5376, 1024, 8192, 32, 16, 4, 1024),
}
