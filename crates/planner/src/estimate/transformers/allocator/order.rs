//! In which order transformers loads tensors: by name, numbers as numbers (`dot_natural_key` in
//! `core_model_loading.py`). Versions before 5 load file by file, of which the head is in the last.

use crate::estimate::weights::Piece;
use crate::spec::families::HfExperts;
use crate::spec::{ModelSpec, Role, TransformersVersion};

use super::load::{How, in_sixteen_bits};

/// What a file of a checkpoint holds at most: most are made of 4 to 5 GB.
const FILE: u64 = 4 << 30;

/// The pieces by the names of their tensors, and by the files that these are in where these are loaded one by one.
pub fn in_order(model: &ModelSpec, pieces: &[Piece], how: How) -> Vec<Piece> {
    // `block_sparse_moe.experts.0.w1`, `w2` and `w3`: gate and up are joined where `w1` is, which is first.
    let is_numbered = model.shape.architecture.family().experts.hf == HfExperts::Plain;
    let is_gated = model.shape.gated_ffn;
    let files = if how.version == TransformersVersion::Current {
        vec![0; pieces.len()]
    } else {
        files(pieces, how)
    };
    let mut pieces: Vec<_> = files.into_iter().zip(pieces.iter().copied()).collect();
    pieces.sort_by_key(|(file, piece)| {
        let layer = match (piece.layer, piece.role) {
            (Some(layer), _) => layer + 1,
            // `lm_head` and `model.embed_tokens` come before `model.layers`, `model.norm` behind.
            (None, Some(Role::TokenEmbedding | Role::OutputHead)) => 0,
            (None, _) => u64::MAX,
        };
        (*file, layer, piece.role.map_or(u32::MAX, |role| place(role, is_numbered, is_gated)))
    });
    pieces.into_iter().map(|(_, piece)| piece).collect()
}

/// The file that each piece is in: they are filled in the order of the model.
fn files(pieces: &[Piece], how: How) -> Vec<u64> {
    let in_model = |piece: &Piece| match (piece.layer, piece.role) {
        (Some(layer), _) => layer + 1,
        (None, Some(Role::TokenEmbedding)) => 0,
        (None, Some(Role::OutputHead)) => u64::MAX,
        (None, _) => u64::MAX - 1,
    };
    let mut order: Vec<_> = (0..pieces.len()).collect();
    order.sort_by_key(|&at| in_model(&pieces[at]));
    let mut files = vec![0; pieces.len()];
    let (mut file, mut held) = (0, 0);
    for at in order {
        let size = pieces[at].modules * in_sixteen_bits(&pieces[at], how.format);
        if held > 0 && held + size > FILE {
            (file, held) = (file + 1, 0);
        }
        held += size;
        files[at] = file;
    }
    files
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::WeightFormat;
    use crate::units::Bytes;

    fn piece(role: Role, layer: Option<u64>, mib: u64) -> Piece {
        let mut held = [Bytes::ZERO; 6];
        held[0] = Bytes::new(mib << 20);
        Piece { role: Some(role), layer, held, moved: Bytes::ZERO, modules: 1, joined: 0 }
    }

    #[test]
    fn the_head_is_in_the_last_file() {
        let pieces = [
            piece(Role::OutputHead, None, 1024),
            piece(Role::TokenEmbedding, None, 1024),
            piece(Role::FfnUp, Some(0), 3000),
            piece(Role::FfnUp, Some(1), 3000),
        ];
        let how = How {
            format: WeightFormat::Bf16,
            version: TransformersVersion::ExpertModules,
            tied: false,
        };
        assert_eq!(files(&pieces, how), [1, 0, 0, 1]);
    }
}
