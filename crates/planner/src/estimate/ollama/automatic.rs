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

/// Without fused attention, on CUDA cards with at most 8 GiB and a context beyond this, the batch is smaller.
const CONSTRAINED: (u64, u64, u64) = (256, 8 * GIB, 4096);

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
        let (tokens, memory, beyond) = CONSTRAINED;
        let is_small = |card: &&(&GpuSpec, Bytes)| is_cuda(card) && card.1.get() <= memory;
        let is_constrained =
            asked.context > beyond && asked.cards.iter().filter(is_small).count() > 0;
        return if is_constrained { tokens } else { SMALLEST };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::Catalog;
    use crate::spec::{OllamaVersion, RuntimeOptions};

    /// The batch and the card of `qwen3-8b` with a file of 5 GiB.
    fn of_qwen(context: u64, cards: &[&str], attention: Attention) -> (u64, Option<usize>) {
        let catalog = Catalog::built_in();
        let model = catalog.model("qwen3-8b").unwrap();
        let gpus: Vec<_> = cards.iter().map(|name| catalog.gpu(name).unwrap()).collect();
        let cards: Vec<_> = gpus.iter().map(|gpu| (gpu, gpu.total.value)).collect();
        let options = RuntimeOptions::Ollama(OllamaVersion::default());
        let file = Bytes::new(5 * GIB);
        let found = of(&AutomaticAsked {
            options: &options,
            model: &model,
            file,
            context,
            attention,
            cards: &cards,
        });
        (found.batch, found.card)
    }

    #[test]
    fn longer_contexts_have_larger_batches_where_there_is_room() {
        let on = |card, context| of_qwen(context, &[card], Attention::Flash).0;
        assert_eq!(
            [4096, 4097, 32_768, 32_769].map(|n| on("RTX 4090", n)),
            [512, 1024, 1024, 2048]
        );
        // 5 GiB and 4.5 of the cache are more than 75% of 12 GiB.
        assert_eq!([8192, 32_768].map(|n| on("RTX 3060", n)), [1024, 512]);
    }

    #[test]
    fn without_fused_attention_they_are_small() {
        let on = |card, context| of_qwen(context, &[card], Attention::Eager).0;
        assert_eq!(on("RTX 4090", 65_536), 512);
        assert_eq!([4096, 8192].map(|n| on("RTX 3060 Ti", n)), [512, 256]);
    }

    #[test]
    fn one_card_is_taken_where_it_is_enough() {
        let on = |context| of_qwen(context, &["RTX 3060", "RTX 4090"], Attention::Flash).1;
        assert_eq!((on(8192), on(131_072)), (Some(1), None));
        assert_eq!(of_qwen(8192, &["RTX 4090"], Attention::Flash).1, None);
    }
}
