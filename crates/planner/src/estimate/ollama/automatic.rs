//! What Ollama settles before it starts `llama-server`: the batch, and whether one card of several is enough
//! (`server/sched.go`, `applyAutomaticGenerationBatch` and `selectLlamaServerPlacement`, 0.30.0 to 0.32.15).

use crate::estimate::rules::{Automatic, AutomaticAsked};
use crate::spec::{Attention, GpuSpec, ModelSpec};
use crate::units::Bytes;

const GIB: u64 = 1 << 30;
/// Percent of what is free that Ollama's own prediction may take.
const THRESHOLD: u64 = 80;

/// A batch of tokens that Ollama may choose.
struct Batch {
    tokens: u64,
    /// It is tried for contexts beyond this.
    beyond: u64,
    /// What it is said to take besides.
    surcharge: u64,
    /// Percent of what is free that the rest may take.
    most: u64,
}

const SMALLEST: u64 = 512;
const LARGER: [Batch; 2] = [
    Batch { tokens: 2048, beyond: 32_768, surcharge: 2 * GIB, most: 60 },
    Batch { tokens: 1024, beyond: 4096, surcharge: 768 << 20, most: 75 },
];

/// The batch of a context beyond [`SHORT`] without fused attention on CUDA cards with at most [`SMALL_CARD`].
const CONSTRAINED: u64 = 256;
const SMALL_CARD: u64 = 8 * GIB;
const SHORT: u64 = 4096;

/// What it settles.
pub(super) fn of(asked: &AutomaticAsked<'_>) -> Automatic {
    let predicted = predicted(asked.model, asked.file, asked.context);
    let free = || asked.cards.iter().map(|card| card.1.get());
    let enough = |free: u64| predicted <= free / 100 * THRESHOLD;
    let largest = free().enumerate().max_by_key(|(index, free)| (*free, usize::MAX - index));
    let card = largest.filter(|(_, free)| asked.cards.len() > 1 && enough(*free));
    let available = card.map_or_else(|| free().sum(), |(_, free)| free);
    Automatic { batch: batch(asked, predicted, available), card: card.map(|(index, _)| index) }
}

fn batch(asked: &AutomaticAsked<'_>, predicted: u64, available: u64) -> u64 {
    let is_cuda = |(gpu, _): &(&GpuSpec, Bytes)| gpu.maker.is_nvidia();
    if asked.attention != Attention::Flash && asked.cards.iter().any(is_cuda) {
        let is_small = |card: &(&GpuSpec, Bytes)| is_cuda(card) && card.1.get() <= SMALL_CARD;
        let is_constrained = asked.context > SHORT && asked.cards.iter().any(is_small);
        return if is_constrained { CONSTRAINED } else { SMALLEST };
    }
    let left = (available / 100 * THRESHOLD).checked_sub(predicted);
    let fits = |batch: &&Batch| {
        asked.context > batch.beyond
            && predicted <= available / 100 * batch.most
            && left.is_some_and(|left| batch.surcharge <= left)
    };
    LARGER.iter().find(fits).map_or(SMALLEST, |batch| batch.tokens)
}

/// What Ollama itself takes a model for (`PredictServerVRAM`): its file, and keys and values of all layers in f16.
fn predicted(model: &ModelSpec, file: Bytes, context: u64) -> u64 {
    let shape = &model.shape;
    let heads = shape.n_heads.max(1);
    let kv_heads = shape.kv_heads.max(1);
    let a_token = 4u64.saturating_mul(shape.n_layers).saturating_mul(kv_heads);
    let cache = a_token.saturating_mul(shape.hidden_size / heads).saturating_mul(context);
    file.get().saturating_add(cache)
}
