"""The configurations of transformers for the shapes that vramplan's profiles state."""

import pathlib
import tomllib

import transformers

ROOT = pathlib.Path(__file__).resolve().parents[2]


# The classes of their configurations, of which older versions have some only.
CONFIGS = {
    "llama": "LlamaConfig",
    "mistral": "MistralConfig",
    "mixtral": "MixtralConfig",
    "qwen2": "Qwen2Config",
    "qwen3": "Qwen3Config",
    "qwen2_moe": "Qwen2MoeConfig",
    "qwen3_moe": "Qwen3MoeConfig",
    "gemma2": "Gemma2Config",
    "gemma3": "Gemma3TextConfig",
    "phi3": "Phi3Config",
    "gpt_oss": "GptOssConfig",
    "deepseek2": "DeepseekV2Config",
    "granite": "GraniteConfig",
    "olmo2": "Olmo2Config",
    "starcoder2": "Starcoder2Config",
}


def profile(name):
    """The shape of a model, as vramplan's profiles state it."""
    with open(ROOT / "profiles" / "models" / f"{name}.toml", "rb") as file:
        return tomllib.load(file)["shape"]


def common(shape):
    """What every family's configuration is told."""
    return dict(
        vocab_size=shape["vocab_size"],
        hidden_size=shape["hidden_size"],
        num_hidden_layers=shape["n_layers"],
        num_attention_heads=shape["n_heads"],
        num_key_value_heads=shape["kv_heads"],
        head_dim=shape["head_dim"],
        intermediate_size=shape["ffn_size"],
        max_position_embeddings=shape["context_len"],
        tie_word_embeddings=shape["tied_embeddings"],
    )


def config(shape):
    """The transformers configuration of a shape."""
    window, moe, mla = shape.get("window"), shape.get("moe"), shape.get("mla")
    told = common(shape) | dict(pad_token_id=0, bos_token_id=0, eos_token_id=0)
    if window:
        told["sliding_window"] = window["size"]
    if window and "full_every" in window:
        full = range(window["full_every"] - 1, shape["n_layers"], window["full_every"])
        told["layer_types"] = [
            "full_attention" if index in full else "sliding_attention" for index in range(shape["n_layers"])
        ]
    if moe:
        told |= dict(
            num_experts_per_tok=moe["n_experts_used"],
            moe_intermediate_size=moe["expert_ffn_size"],
            num_local_experts=moe["n_experts"],
        )
    architecture = shape["architecture"]
    if architecture == "mistral" and not window:
        told["sliding_window"] = None
    if architecture in ("qwen2_moe", "qwen3_moe"):
        told["num_experts"] = moe["n_experts"]
    if architecture == "qwen2_moe":
        told["shared_expert_intermediate_size"] = moe["shared_ffn_size"]
    if architecture == "deepseek2":
        told |= dict(
            n_routed_experts=moe["n_experts"],
            n_shared_experts=moe["shared_ffn_size"] // moe["expert_ffn_size"],
            first_k_dense_replace=moe["leading_dense_layers"],
            q_lora_rank=mla.get("q_lora_rank"),
            **{key: mla[key] for key in ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")},
        )
        told.pop("head_dim")
    return getattr(transformers, CONFIGS[architecture])(**told)
