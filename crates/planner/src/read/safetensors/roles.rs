//! What the tensors of transformers checkpoints are for, by name (`models/*/modeling_*.py`).

use crate::spec::{ModelShape, Role};

/// What it is for; nothing where the name is none of the known ones, as of packed weights and their
/// scales.
pub(super) fn role(name: &str) -> Option<Role> {
    if is_vision(name) {
        return Some(vision(name));
    }
    if name == "lm_head.weight" || name == "language_model.lm_head.weight" {
        return Some(Role::OutputHead);
    }
    let rest = text_model(name)?;
    match rest.strip_prefix("layers.").and_then(|rest| rest.split_once('.')) {
        Some((layer, rest)) if layer.parse::<u64>().is_ok() => in_layer(rest),
        _ => Some(match rest {
            "embed_tokens.weight" => Role::TokenEmbedding,
            "norm.weight" => Role::Norm,
            "norm.bias" => Role::Bias,
            _ => return None,
        }),
    }
}

/// Whether it belongs to a vision tower or the projector behind it.
fn is_vision(name: &str) -> bool {
    let name = name.strip_prefix("model.").unwrap_or(name);
    ["visual.", "vision_tower.", "multi_modal_projector.", "embed_vision.", "vision_model."]
        .into_iter()
        .any(|prefix| name.starts_with(prefix))
}

/// Matrices of linear layers are those of blocks, mergers and projectors, but for Gemma 3's projection,
/// which is a bare parameter; the rest is convolutions, positions, norms and biases.
fn vision(name: &str) -> Role {
    let of_block = ["blocks.", "layers.", "merger", "linear_1", "linear_2", "_proj", "projection."];
    let not_linear = ["norm", "ln_", "patch_embed.proj", "patch_conv", "embedding"];
    let is_linear = name.ends_with(".weight")
        && of_block.into_iter().any(|part| name.contains(part))
        && !not_linear.into_iter().any(|part| name.contains(part));
    if is_linear { Role::VisionLinear } else { Role::VisionOther }
}

/// The name within the language model.
fn text_model(name: &str) -> Option<&str> {
    ["language_model.model.", "model.language_model.", "model."]
        .into_iter()
        .find_map(|prefix| name.strip_prefix(prefix))
}

/// Whether runtimes load it to generate text: not the layers that predict tokens ahead, nor an output
/// head that is the token embedding, nor the tables of old checkpoints.
pub(super) fn is_loaded(name: &str, shape: &ModelShape) -> bool {
    let is_state = name.contains(".quant_state.bitsandbytes__");
    if name.starts_with("mtp.") || name.ends_with(".rotary_emb.inv_freq") || is_state {
        return false;
    }
    if shape.tied_embeddings && role(name) == Some(Role::OutputHead) {
        return false;
    }
    layer(name).is_none_or(|layer| layer < shape.n_layers)
}

/// The decoder layer that a tensor belongs to.
pub(super) fn layer(name: &str) -> Option<u64> {
    let rest = text_model(name)?.strip_prefix("layers.")?;
    rest.split_once('.')?.0.parse().ok()
}

fn in_layer(rest: &str) -> Option<Role> {
    // gpt-oss: experts are parameters, not modules.
    match rest {
        "mlp.experts.gate_up_proj" => return Some(Role::ExpertUp),
        "mlp.experts.down_proj" => return Some(Role::ExpertDown),
        "mlp.experts.gate_up_proj_bias"
        | "mlp.experts.down_proj_bias"
        | "mlp.gate.e_score_correction_bias" => return Some(Role::Bias),
        "self_attn.sinks" => return Some(Role::Sinks),
        "linear_attn.dt_bias"
        | "linear_attn.A_log"
        | "mamba.dt_bias"
        | "mamba.A_log"
        | "mamba.D" => return Some(Role::RecurrentVector),
        "layer_scalar" => return Some(Role::Norm),
        _ => {}
    }
    let (module, parameter) = rest.rsplit_once('.')?;
    let role = attention(module).or_else(|| feed_forward(module))?;
    match parameter {
        "weight" => Some(role),
        "bias" => Some(Role::Bias),
        _ => None,
    }
}

fn attention(module: &str) -> Option<Role> {
    Some(match module {
        "self_attn.q_proj" => Role::AttnQ,
        "self_attn.k_proj" => Role::AttnK,
        "self_attn.v_proj" => Role::AttnV,
        "self_attn.qkv_proj" => Role::AttnQkv,
        "self_attn.o_proj" => Role::AttnOutput,
        "self_attn.q_a_proj" => Role::MlaQa,
        "self_attn.q_b_proj" => Role::MlaQb,
        "self_attn.kv_a_proj_with_mqa" => Role::MlaKvA,
        "self_attn.kv_b_proj" => Role::MlaKvB,
        "linear_attn.in_proj_qkvz" | "linear_attn.in_proj_qkv" => Role::RecurrentQkv,
        "linear_attn.in_proj_z" => Role::RecurrentGate,
        "linear_attn.in_proj_ba" | "linear_attn.in_proj_b" | "linear_attn.in_proj_a" => {
            Role::RecurrentBetaAlpha
        }
        "mamba.in_proj" => Role::SsmIn,
        "linear_attn.conv1d" | "mamba.conv1d" => Role::RecurrentConv,
        "linear_attn.out_proj" | "mamba.out_proj" => Role::RecurrentOutput,
        "linear_attn.norm"
        | "mamba.norm"
        | "self_attn.q_norm"
        | "self_attn.k_norm"
        | "self_attn.q_a_layernorm"
        | "self_attn.kv_a_layernorm"
        | "input_layernorm"
        | "post_attention_layernorm"
        | "pre_feedforward_layernorm"
        | "post_feedforward_layernorm" => Role::Norm,
        _ => return None,
    })
}

fn feed_forward(module: &str) -> Option<Role> {
    Some(match module {
        "mlp.gate_proj" => Role::FfnGate,
        "mlp.up_proj" | "mlp.c_fc" => Role::FfnUp,
        "mlp.gate_up_proj" | "shared_mlp.input_linear" => Role::FfnGateUp,
        "mlp.down_proj" | "mlp.c_proj" | "shared_mlp.output_linear" => Role::FfnDown,
        "mlp.gate" | "mlp.router" | "block_sparse_moe.gate" | "block_sparse_moe.router.layer" => {
            Role::Router
        }
        "block_sparse_moe.input_linear" => Role::ExpertUp,
        "block_sparse_moe.output_linear" => Role::ExpertDown,
        "mlp.shared_expert_gate" => Role::SharedRouter,
        "mlp.shared_expert.gate_proj" | "mlp.shared_experts.gate_proj" => Role::SharedGate,
        "mlp.shared_expert.up_proj" | "mlp.shared_experts.up_proj" => Role::SharedUp,
        "mlp.shared_expert.down_proj" | "mlp.shared_experts.down_proj" => Role::SharedDown,
        _ => return expert(module),
    })
}

/// `mlp.experts.7.up_proj`, or Mixtral's `block_sparse_moe.experts.7.w3`.
fn expert(module: &str) -> Option<Role> {
    let rest = ["mlp.experts.", "block_sparse_moe.experts."]
        .into_iter()
        .find_map(|prefix| module.strip_prefix(prefix))?;
    let (number, projection) = rest.split_once('.')?;
    number.parse::<u64>().ok()?;
    Some(match projection {
        "gate_proj" | "w1" => Role::ExpertGate,
        "up_proj" | "w3" => Role::ExpertUp,
        "down_proj" | "w2" => Role::ExpertDown,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_roles() {
        for (name, expected) in [
            ("model.embed_tokens.weight", Some(Role::TokenEmbedding)),
            ("model.language_model.embed_tokens.weight", Some(Role::TokenEmbedding)),
            ("language_model.model.layers.3.mlp.up_proj.weight", Some(Role::FfnUp)),
            ("lm_head.weight", Some(Role::OutputHead)),
            ("model.norm.weight", Some(Role::Norm)),
            ("model.layers.0.self_attn.q_proj.weight", Some(Role::AttnQ)),
            ("model.layers.0.self_attn.q_proj.bias", Some(Role::Bias)),
            ("model.layers.0.self_attn.q_proj.qweight", None),
            ("model.layers.0.self_attn.q_proj.weight.absmax", None),
            ("model.layers.0.block_sparse_moe.experts.7.w2.weight", Some(Role::ExpertDown)),
            ("model.layers.0.mlp.experts.gate_up_proj_blocks", None),
            ("model.layers.0.mlp.gate.e_score_correction_bias", Some(Role::Bias)),
            ("model.layers.0.linear_attn.A_log", Some(Role::RecurrentVector)),
            ("model.layers.0.self_attn.rotary_emb.inv_freq", None),
            ("model.visual.blocks.0.norm1.weight", Some(Role::VisionOther)),
            ("model.visual.blocks.0.attn.qkv.weight", Some(Role::VisionLinear)),
            ("visual.patch_embed.proj.weight", Some(Role::VisionOther)),
            ("vision_tower.layers.0.mlp.up_proj.weight", Some(Role::VisionLinear)),
            ("multi_modal_projector.mm_input_projection_weight", Some(Role::VisionOther)),
            ("", None),
        ] {
            assert_eq!(role(name), expected, "{name}");
        }
    }
}
