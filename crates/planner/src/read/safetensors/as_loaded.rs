//! Weights as runtimes of `PyTorch` hold them, where that is not how the files store them.
//!
//! Source: transformers 5.24 `modeling_utils.py` (`from_pretrained` with its default `dtype="auto"`).

use crate::dtype::WeightFormat;
use crate::spec::{ModelSpec, OwnFormat, Role, StoredTensor, StoredWeights};
use crate::units::Bytes;

/// What is loaded of a checkpoint: in the type that `dtype` of its configuration names, with an embedding and a head
/// where the files leave out the one that is made of the other, without tensors that the model has no place for.
///
/// A quantized checkpoint is loaded as it is stored.
pub(super) fn as_loaded(mut stored: StoredWeights, model: &ModelSpec) -> StoredWeights {
    if stored.prequantized {
        return stored;
    }
    if explains(&stored, model) {
        stored.tensors.retain(|tensor| tensor.role.is_some());
    }
    complete(&mut stored.tensors, model);
    if let Some(OwnFormat::Named(format)) = &model.own_format {
        let bytes = match format {
            WeightFormat::F32 => 4,
            WeightFormat::Bf16 | WeightFormat::F16 => 2,
            _ => return stored,
        };
        for tensor in &mut stored.tensors {
            tensor.size = Bytes::new(tensor.elements.saturating_mul(bytes));
        }
    }
    stored
}

/// Whether the tensors whose roles are known are at least all that the shape implies, but for one that is tied.
fn explains(stored: &StoredWeights, model: &ModelSpec) -> bool {
    let known = stored.tensors.iter().filter(|tensor| tensor.role.is_some());
    let known: u64 = known.map(|tensor| tensor.elements).sum();
    let embedding = model.shape.hidden_size.saturating_mul(model.shape.vocab_size);
    let all = model.parameters() + model.vision_parameters();
    known >= all || known + embedding == all
}

/// Adds the embedding or the head that the files do not have.
fn complete(tensors: &mut Vec<StoredTensor>, model: &ModelSpec) {
    let has = |role| tensors.iter().any(|tensor| tensor.role == Some(role));
    let (embedding, head) = (has(Role::TokenEmbedding), has(Role::OutputHead));
    let missing = match (embedding, head, model.shape.tied_embeddings) {
        (true, false, false) => Role::OutputHead,
        _ => return,
    };
    let Some(like) = tensors.iter().find(|tensor| tensor.role == Some(Role::TokenEmbedding)) else {
        return;
    };
    let added = StoredTensor { role: Some(missing), ..like.clone() };
    tensors.push(added);
}

#[cfg(test)]
#[path = "as_loaded_tests.rs"]
mod tests;
