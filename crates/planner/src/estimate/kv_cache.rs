//! Keys and values: `2 · layers · kv_heads · head_dim · tokens` elements in the cache's format.
//!
//! Grouped-query attention is in `kv_heads`; an explicit `head_dim` wins over the quotient. Layers
//! differ: a windowed layer keeps its window only, a recurrent layer a state of fixed size, and
//! multi-head latent attention one low-rank vector per token in place of keys and values.
//!
//! Sources: DESIGN of each runtime's cache — transformers `cache_utils.py`, llama.cpp
//! `llama-kv-cache.cpp` — and for vramplan's engine one f16 scale per token, head and side, plus one
//! f32 score per KV head and conversation slot.
//!
//! Not counted here: the copies that attention makes of a quantized cache (`attention`).

use crate::estimate::BufferId;
use std::collections::BTreeMap;

use super::{Buffers, Component, EstimateError, Formula, Kind, Life, Phase, Scenario};
use crate::dtype::KvFormat;
use crate::spec::{Basis, Bounds, Compressed, Layer, LayerShape, ModelShape};
use crate::units::{Bytes, Overflow};

/// How many tokens the layers of each kind hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cells {
    /// In a layer that keeps every token.
    pub full: u64,
    /// In a windowed layer.
    pub window: u64,
}

/// Bytes of keys and values of `tokens` tokens in one layer.
pub fn layer_size(shape: &ModelShape, kv: KvFormat, tokens: u64) -> Result<Bytes, Overflow> {
    let keys = kv.size_of(shape.kv_heads, shape.head_dim, tokens)?;
    keys.plus(kv.size_of(shape.kv_heads, shape.value_head_dim(), tokens)?)
}

/// Bytes of keys and values of `tokens` tokens in one layer with these heads.
pub fn heads_size(layer: LayerShape, kv: KvFormat, tokens: u64) -> Result<Bytes, Overflow> {
    let keys = kv.size_of(layer.kv_heads, layer.head_dim, tokens)?;
    keys.plus(kv.size_of(layer.kv_heads, layer.value_head_dim, tokens)?)
}

/// Bytes of what a layer's indexer caches of `tokens` tokens: one key, in the format of the cache. Keys that are pooled are
/// cached before that, with their weights and whether they count (transformers `glm5_next/modeling_glm5_next.py`).
pub fn indexer_size(shape: &ModelShape, kv: KvFormat, tokens: u64) -> Result<Bytes, Overflow> {
    let elements = shape.extras.indexer.as_ref().map_or(0, |indexer| match indexer.pooled {
        Some(_) => 2 * indexer.head_dim + 1,
        None => indexer.head_dim,
    });
    kv.size_of(1, elements, tokens)
}

/// Bytes of the latent vectors of `tokens` tokens in one layer with multi-head latent attention.
pub fn latent_size(shape: &ModelShape, kv: KvFormat, tokens: u64) -> Result<Bytes, Overflow> {
    let width = shape.mla.map_or(0, |mla| mla.kv_lora_rank + mla.qk_rope_head_dim);
    kv.size_of(1, width, tokens)
}

/// Bytes of one recurrent layer's state, for one sequence: the convolution's last inputs and one
/// `key_head_dim × value_head_dim` matrix per value head, in f32.
pub fn recurrent_size(shape: &ModelShape) -> Result<Bytes, Overflow> {
    if let Some(convolution) = shape.extras.short_convolution {
        // In the model's own 16 bits (transformers `lfm2/modeling_lfm2.py`).
        return Bytes::product(&[convolution.kernel, shape.hidden_size, 2]);
    }
    if let Some(ssm) = shape.ssm {
        let convolution = Bytes::product(&[ssm.conv_kernel - 1, ssm.conv_width(), 4])?;
        return convolution.plus(Bytes::product(&[ssm.inner_size, ssm.state_size, 4])?);
    }
    let Some(r) = shape.recurrent else { return Ok(Bytes::ZERO) };
    let channels = 2 * r.key_heads * r.key_head_dim + r.value_heads * r.value_head_dim;
    let convolution = Bytes::product(&[r.conv_kernel - 1, channels, 4])?;
    convolution.plus(Bytes::product(&[r.value_heads, r.key_head_dim, r.value_head_dim, 4])?)
}

/// Elements per token of the larger of the two tensors that a layer caches: keys and values, or the
/// latent vector and the positions beside it.
pub fn widest_tensor(scenario: &Scenario<'_>) -> u64 {
    let shape = &scenario.model.shape;
    shape.mla.map_or(shape.kv_width(), |mla| mla.kv_lora_rank.max(mla.qk_rope_head_dim))
}

/// Bytes of keys and values of `tokens` tokens in one layer. Every runtime keeps latents as they are:
/// transformers 5.23 expands them after the cache (`deepseek_v2/modeling_deepseek_v2.py`).
pub fn per_layer(scenario: &Scenario<'_>, tokens: u64) -> Result<Bytes, Overflow> {
    let shape = &scenario.model.shape;
    if shape.mla.is_some() {
        return latent_size(shape, scenario.kv, tokens);
    }
    layer_size(shape, scenario.kv, tokens)
}

/// The same for layer `index`.
fn layer_bytes(scenario: &Scenario<'_>, index: u64, tokens: u64) -> Result<Bytes, Overflow> {
    if !are_unequal(&scenario.model.shape) {
        return per_layer(scenario, tokens);
    }
    heads_size(scenario.model.shape.layer(index), scenario.kv, tokens)
}

/// Whether layers cache heads of different numbers or sizes: latent vectors are the same in all.
const fn are_unequal(shape: &ModelShape) -> bool {
    shape.per_layer.is_some() && shape.mla.is_none()
}

/// Lists keys and values of `cells` tokens for `sequences` sequences.
pub fn push(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    component: Component,
    cells: Cells,
    sequences: u64,
    from: Phase,
) -> Result<(), EstimateError> {
    let source = format!("{SOURCE}; {}: {}", scenario.kv, scenario.kv.per_element());
    let kind = Kind { component, life: Life::From(from), basis: Basis::Modelled, source: &source };
    push_indexer(buffers, scenario, kind, cells.full, sequences)?;
    if are_unequal(&scenario.model.shape) {
        return push_unequal(buffers, scenario, kind, cells, sequences);
    }
    let mut layers = |name, layers: u64, tokens: u64| -> Result<(), EstimateError> {
        let size = per_layer(scenario, tokens)?.times(layers)?.times(sequences)?;
        let rows = [("layers", layers), ("tokens", tokens), ("sequences", sequences)];
        buffers.push(kind, name, Bounds::exactly(size), formula(scenario, rows, size)?);
        Ok(())
    };
    layers(BufferId::KeysAndValues, scenario.full_layers(), cells.full)?;
    layers(BufferId::WindowKeysAndValues, scenario.window_layers(), cells.window)?;
    Ok(())
}

/// Lists the keys of indexers, one for each token and layer that has one.
fn push_indexer(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    kind: Kind<'_>,
    tokens: u64,
    sequences: u64,
) -> Result<(), EstimateError> {
    let shape = &scenario.model.shape;
    let Some(indexer) = &shape.extras.indexer else { return Ok(()) };
    let has_one = |index: &u64| shape.attends(*index) && indexer.is_in(*index);
    let layers = scenario.indexed_layers().filter(|(index, _)| has_one(index)).count() as u64;
    let token = indexer_size(shape, scenario.kv, 1)?.get();
    let factors =
        [("layers", layers), ("tokens", tokens), ("sequences", sequences), ("B per key", token)];
    Ok(buffers.product(kind, BufferId::IndexerKeys, &factors)?)
}

/// The same where layers differ: those of one kind with the same heads are one buffer.
fn push_unequal(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    kind: Kind<'_>,
    cells: Cells,
    sequences: u64,
) -> Result<(), EstimateError> {
    let mut groups: BTreeMap<(bool, LayerShape), u64> = BTreeMap::new();
    for (index, layer) in scenario.indexed_layers() {
        let heads = scenario.model.shape.layer(index);
        // Only what is cached tells layers apart.
        let heads = LayerShape { n_heads: heads.kv_heads, ffn_size: 0, ..heads };
        let windowed = match layer {
            Layer::Full | Layer::FullAndRecurrent => false,
            Layer::Window { .. } => true,
            Layer::Recurrent | Layer::Nothing => continue,
        };
        *groups.entry((windowed, heads)).or_default() += 1;
    }
    for ((windowed, heads), layers) in groups {
        let (name, tokens) = if windowed {
            (BufferId::WindowKeysAndValues, cells.window)
        } else {
            (BufferId::KeysAndValues, cells.full)
        };
        let LayerShape { kv_heads, head_dim, value_head_dim, .. } = heads;
        let size = heads_size(heads, scenario.kv, tokens)?.times(layers)?.times(sequences)?;
        let mut values = vec![
            ("layers", layers),
            ("tokens", tokens),
            ("sequences", sequences),
            ("kv_heads", kv_heads),
            ("head_dim", head_dim),
        ];
        let formula = if value_head_dim == head_dim {
            "2 · layers · tokens · sequences · kv_heads · head_dim elements"
        } else {
            values.push(("value_head_dim", value_head_dim));
            "layers · tokens · sequences · kv_heads · (head_dim + value_head_dim) elements"
        };
        let formula = Formula::text(formula, &values);
        buffers.push(kind, name, Bounds::exactly(size), formula);
    }
    Ok(())
}

/// Where the formula is written.
const SOURCE: &str = "2 · layers · kv_heads · head_dim · tokens elements";

/// The size as a product of heads where blocks divide a head, of whole tokens where they divide a
/// token, and in words where they run over several tokens.
fn formula(
    scenario: &Scenario<'_>,
    [layers, tokens, sequences]: [(&'static str, u64); 3],
    size: Bytes,
) -> Result<Formula, Overflow> {
    let shape = &scenario.model.shape;
    if shape.mla.is_none() {
        let one_head = ModelShape { kv_heads: 1, ..shape.clone() };
        let head = layer_size(&one_head, scenario.kv, 1)?.get();
        let heads = [("kv_heads", shape.kv_heads), ("B per head, K and V", head)];
        let product = Formula::product(&[layers, tokens, sequences, heads[0], heads[1]]);
        if product.value()? == size {
            return Ok(product);
        }
    }
    let token = ("B per token, K and V", per_layer(scenario, 1)?.get());
    let factors = [layers, tokens, sequences, token];
    let product = Formula::product(&factors);
    if product.value()? == size {
        return Ok(product);
    }
    Ok(Formula::text("blocks of the format over all tokens of a layer", &factors))
}

/// Lists the states of recurrent layers.
pub fn push_recurrent(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    sequences: u64,
    from: Phase,
) -> Result<(), EstimateError> {
    let kind = Kind {
        component: Component::ConversationCache,
        life: Life::From(from),
        basis: Basis::Modelled,
        source: "gated delta-net: f32 state and convolution inputs (llama.cpp llama-memory-recurrent)",
    };
    let state = recurrent_size(&scenario.model.shape)?;
    let layers = scenario.recurrent_layers();
    buffers.product(
        kind,
        BufferId::RecurrentStates,
        &[("layers", layers), ("sequences", sequences), ("B per state", state.get())],
    )?;
    Ok(())
}

/// Lists what H2O eviction keeps per conversation slot: one f32 score per layer and head.
pub fn push_scores(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    heads: u64,
    from: Phase,
) -> Result<(), EstimateError> {
    let kind = Kind {
        component: Component::ConversationCache,
        life: Life::From(from),
        basis: Basis::Modelled,
        source: "H2O: accumulated attention mass per head and slot, f32 (arXiv 2306.14048)",
    };
    let layers = scenario.full_layers() + scenario.window_layers();
    buffers.product(
        kind,
        BufferId::EvictionScores,
        &[
            ("layers", layers),
            ("heads", heads),
            ("slots", scenario.cache_tokens),
            ("sequences", scenario.workload.batch),
            ("B", 4),
        ],
    )?;
    Ok(())
}

/// Bytes of the cache that one generated token reads: every layer's live cells.
pub fn bytes_read_per_token(scenario: &Scenario<'_>, tokens: u64) -> Result<Bytes, Overflow> {
    if let Some(compressed) = &scenario.model.shape.extras.compressed {
        return compressed_bytes_read(scenario, compressed, tokens);
    }
    let mut total = Bytes::ZERO;
    for (index, layer) in scenario.indexed_layers() {
        let cells = match layer {
            Layer::Full | Layer::FullAndRecurrent => tokens,
            Layer::Window { size } => tokens.min(size),
            Layer::Recurrent | Layer::Nothing => continue,
        };
        total = total.plus(layer_bytes(scenario, index, cells)?)?;
    }
    let states = recurrent_size(&scenario.model.shape)?.times(scenario.recurrent_layers())?;
    total.plus(states)
}

/// Keys that an indexer chooses of those that little is compressed to, in the larger of the published models (DeepSeek-V4).
const CHOSEN: u64 = 1024;

/// The same of compressed keys, which serve as values too: a window, and before it all keys, or where there is an indexer all of
/// its keys and those that it chooses.
fn compressed_bytes_read(
    scenario: &Scenario<'_>,
    compressed: &Compressed,
    tokens: u64,
) -> Result<Bytes, Overflow> {
    let shape = &scenario.model.shape;
    let key = |count| scenario.kv.size_of(1, shape.head_dim, count);
    let mut total = Bytes::ZERO;
    for (index, layer) in scenario.indexed_layers() {
        if let Layer::Window { size } = layer {
            total = total.plus(key(tokens.min(size))?)?;
        }
        let Some(ratio) = compressed.ratio(index) else { continue };
        let keys = tokens / ratio;
        total = if compressed.has_indexer(index) {
            total.plus(indexer_size(shape, scenario.kv, keys)?)?.plus(key(keys.min(CHOSEN))?)?
        } else {
            total.plus(key(keys)?)?
        };
    }
    Ok(total)
}

/// Refuses caches of compressed keys where a runtime's are not modelled.
///
/// # Errors
/// For a shape with compressed keys.
pub fn check_caches(shape: &ModelShape, why: &str) -> Result<(), EstimateError> {
    if shape.extras.compressed.is_none() {
        return Ok(());
    }
    let reason = format!("its cache of compressed keys is not modelled: {why}");
    Err(EstimateError::Model { field: "attention", reason })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::samples::{llama_8b, qwen_14b};

    #[test]
    fn a_token_of_qwen_14b_in_int8_is_99840_bytes() {
        let model = qwen_14b();
        let layer = layer_size(&model.shape, KvFormat::Int8, 1).unwrap();
        assert_eq!(layer, Bytes::new(2 * 8 * (128 + 2)));
        assert_eq!(layer.times(48), Ok(Bytes::new(99_840)));
    }

    #[test]
    fn the_seeds_prefix_and_conversation_in_hqq8() {
        let model = qwen_14b();
        let hqq8: KvFormat = "hqq8".parse().unwrap();
        let size = |tokens| layer_size(&model.shape, hqq8, tokens).unwrap().times(48).unwrap();
        assert_eq!(size(6000), Bytes::new(626_688_000));
        assert_eq!(size(7000), Bytes::new(731_136_000));
    }

    #[test]
    fn grouped_query_attention_is_counted() {
        let model = llama_8b();
        let f16 = layer_size(&model.shape, KvFormat::F16, 8192).unwrap().times(32).unwrap();
        assert_eq!(f16, Bytes::mib(1024).unwrap());
    }

    #[test]
    fn a_recurrent_state_matches_a_public_log() {
        // Qwen3.5-27B: 48 recurrent layers, a KV buffer of 181.62 MiB of which 32 MiB are keys and
        // values of 512 tokens.
        let mut shape = llama_8b().shape;
        shape.recurrent = Some(crate::spec::Recurrent {
            full_attention_every: 4,
            key_heads: 16,
            value_heads: 48,
            key_head_dim: 128,
            value_head_dim: 128,
            conv_kernel: 4,
        });
        let states = recurrent_size(&shape).unwrap().times(48).unwrap();
        assert_eq!(format!("{:.2}", states.as_mib()), "149.62");
    }
}
