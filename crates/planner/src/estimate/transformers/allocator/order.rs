//! In which order transformers loads tensors: by name, numbers as numbers (`dot_natural_key` in
//! `core_model_loading.py`).

use crate::estimate::weights::Piece;
use crate::spec::families::HfExperts;
use crate::spec::{ModelSpec, Role};

/// The pieces by the names of their tensors.
pub fn in_order(model: &ModelSpec, pieces: &[Piece]) -> Vec<Piece> {
    // `block_sparse_moe.experts.0.w1`, `w2` and `w3`: gate and up are joined where `w1` is, which is first.
    let is_numbered = model.shape.architecture.family().experts.hf == HfExperts::Plain;
    let is_gated = model.shape.gated_ffn;
    let mut pieces = pieces.to_vec();
    pieces.sort_by_key(|piece| {
        let layer = match (piece.layer, piece.role) {
            (Some(layer), _) => layer + 1,
            // `lm_head` and `model.embed_tokens` come before `model.layers`, `model.norm` behind.
            (None, Some(Role::TokenEmbedding | Role::OutputHead)) => 0,
            (None, _) => u64::MAX,
        };
        (layer, piece.role.map_or(u32::MAX, |role| place(role, is_numbered, is_gated)))
    });
    pieces
}

/// The place of a layer's tensor: `input_layernorm`, `mlp`, `post_attention_layernorm`, `self_attn`.
const fn place(role: Role, is_numbered: bool, is_gated: bool) -> u32 {
    match role {
        Role::OutputHead => 0,
        Role::TokenEmbedding => 1,
        Role::ExpertDown if !is_numbered => 2,
        Role::ExpertGate => 3,
        Role::ExpertUp => 4,
        Role::ExpertDown => 5,
        Role::FfnDown if is_gated => 6,
        Role::FfnGate | Role::FfnGateUp => 7,
        Role::FfnUp => 8,
        Role::FfnDown => 9,
        Role::Router => 10,
        Role::SharedDown => 11,
        Role::SharedGate => 12,
        Role::SharedUp => 13,
        Role::AttnK => 21,
        Role::MlaKvA => 22,
        Role::MlaKvB => 23,
        Role::AttnOutput => 24,
        Role::MlaQa => 25,
        Role::MlaQb => 26,
        Role::AttnQ | Role::AttnQkv => 27,
        Role::AttnV => 28,
        _ => 20,
    }
}
