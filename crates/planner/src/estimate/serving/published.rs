//! The weights of drafts that are published for one model, as vLLM's ranks hold them.
//!
//! Heads and MLPs are split; what joins hidden states, convolutions and codebooks every rank has. Keys' and values' matrices of all
//! layers are kept once more, side by side, for the context is put into the cache in one product
//! (`models/qwen3_dflash.py`, `_build_fused_kv_buffers`), unless they are quantized. An assistant's embedding is its output head,
//! and the model's embedding is what it is given.
//!
//! Sources: vLLM 0.33 `models/qwen3_dflash.py`, `qwen3_dflash2.py`, `gemma4_mtp.py`; to the byte as the engine builds them
//! (`evidence/vllm/published-0.33.0.csv`).

use super::tensors::VOCAB_PADDING;
use crate::spec::{
    Bounds, CONV_GROUP, DraftKind, DraftShape, PublishedDraft, SELECTOR_RANK, TAPS, WIDE_HEAD,
};
use crate::units::{Bytes, Overflow};

/// Bytes of an element that is not quantized.
const ELEMENT: u64 = 2;
/// Weights that share a 16-bit scale where they have 4 bits.
const GROUP: u64 = 128;

/// What becomes of a tensor where linear layers are quantized.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    /// It is.
    Linear,
    /// It may be.
    Joins,
    /// It is not.
    Plain,
    /// It is made of others when they are loaded, and only of 16-bit ones.
    Copy,
}

/// A tensor of a rank.
struct Held {
    sort: Sort,
    elements: u64,
}

impl Held {
    fn new(sort: Sort, factors: &[u64]) -> Result<Self, Overflow> {
        Ok(Self { sort, elements: Bytes::product(factors)?.get() })
    }

    fn bytes(&self, is_quantized: bool) -> Result<Bytes, Overflow> {
        if !is_quantized {
            return Bytes::product(&[self.elements, ELEMENT]);
        }
        let scales = Bytes::product(&[self.elements.div_ceil(GROUP), 2])?;
        Bytes::new(self.elements.div_ceil(2)).plus(scales)
    }
}

/// Bytes of a rank.
///
/// # Errors
/// On sizes that no device has.
pub fn weights(draft: PublishedDraft, ranks: u64) -> Result<Bounds, Overflow> {
    let held = held(draft.shape(), ranks)?;
    let sum = |joins_too: bool| {
        let of = |one: &Held| {
            let is_quantized = match one.sort {
                Sort::Linear => draft.in_four_bits,
                Sort::Joins => draft.in_four_bits && joins_too,
                Sort::Copy if draft.in_four_bits => return Ok(Bytes::ZERO),
                Sort::Plain | Sort::Copy => false,
            };
            one.bytes(is_quantized)
        };
        Bytes::sum(held.iter().map(of).collect::<Result<Vec<_>, _>>()?)
    };
    let [least, most] = [sum(true)?, sum(false)?];
    Ok(Bounds::new(least, least, most))
}

fn held(shape: &DraftShape, ranks: u64) -> Result<Vec<Held>, Overflow> {
    match shape.kind {
        DraftKind::Block { states, selects, .. } => block(shape, ranks, (states, selects)),
        DraftKind::Assistant { backbone, centroids } => {
            assistant(shape, ranks, (backbone, centroids))
        }
    }
}

/// Elements of one rank's heads.
const fn heads_of(heads: u64, head_dim: u64, ranks: u64) -> u64 {
    heads.div_ceil(ranks).saturating_mul(head_dim)
}

fn block(
    shape: &DraftShape,
    ranks: u64,
    (states, selects): (u64, bool),
) -> Result<Vec<Held>, Overflow> {
    let DraftShape { n_layers, hidden_size: hidden, head_dim, vocab_size, .. } = *shape;
    let [q, kv] = shape.heads.map(|heads| heads_of(heads, head_dim, ranks));
    let ffn = shape.ffn_size.div_ceil(ranks);
    let mut all = vec![
        Held::new(Sort::Linear, &[n_layers, 2, hidden, q])?,
        Held::new(Sort::Linear, &[n_layers, 2, hidden, kv])?,
        Held::new(Sort::Linear, &[n_layers, 3, hidden, ffn])?,
        Held::new(Sort::Plain, &[n_layers, 2 * (hidden + head_dim)])?,
        Held::new(Sort::Joins, &[states, hidden, hidden])?,
        // Two norms, and the embedding of what is not known yet.
        Held::new(Sort::Plain, &[3, hidden])?,
        Held::new(Sort::Copy, &[n_layers, 2, hidden, kv])?,
    ];
    if selects {
        let coefficients = 2 * TAPS * hidden;
        all.extend([
            Held::new(Sort::Plain, &[n_layers, 2, coefficients])?,
            Held::new(Sort::Joins, &[n_layers, 2, hidden, coefficients / CONV_GROUP])?,
            Held::new(Sort::Plain, &[2, vocab_size, SELECTOR_RANK])?,
            Held::new(Sort::Plain, &[hidden, SELECTOR_RANK])?,
        ]);
    }
    Ok(all)
}

fn assistant(
    shape: &DraftShape,
    ranks: u64,
    (backbone, centroids): (u64, u64),
) -> Result<Vec<Held>, Overflow> {
    let DraftShape { n_layers, hidden_size: hidden, head_dim, .. } = *shape;
    let windowed = n_layers.saturating_sub(1);
    let q = |head_dim: u64| heads_of(shape.heads[0], head_dim, ranks);
    let rows = shape.vocab_size.next_multiple_of(VOCAB_PADDING).div_ceil(ranks);
    let norms = 4 * n_layers * hidden + windowed * head_dim + WIDE_HEAD + hidden;
    let mut all = vec![
        Held::new(Sort::Plain, &[rows, hidden])?,
        Held::new(Sort::Linear, &[3, backbone, hidden.div_ceil(ranks)])?,
        Held::new(Sort::Linear, &[windowed, 2, hidden, q(head_dim)])?,
        Held::new(Sort::Linear, &[2, hidden, q(WIDE_HEAD)])?,
        Held::new(Sort::Linear, &[n_layers, 3, hidden, shape.ffn_size.div_ceil(ranks)])?,
        Held::new(Sort::Plain, &[norms])?,
    ];
    if centroids > 0 {
        // And which of them every token is near, in 64 bits.
        all.push(Held::new(Sort::Plain, &[centroids, hidden])?);
        all.push(Held::new(Sort::Plain, &[shape.vocab_size, 8 / ELEMENT])?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::PUBLISHED_DRAFTS;

    /// What the repositories have, without what is made of it when it is loaded.
    #[test]
    fn parameters_are_those_that_are_published() {
        for shape in &PUBLISHED_DRAFTS {
            let kept = held(shape, 1).unwrap();
            let all: u64 =
                kept.iter().filter(|one| one.sort != Sort::Copy).map(|one| one.elements).sum();
            let otherwise = match shape.kind {
                DraftKind::Block { .. } => -i128::from(shape.hidden_size),
                // A scalar of every layer; 64 bits of every token are one element.
                DraftKind::Assistant { centroids: 0, .. } => i128::from(shape.n_layers),
                DraftKind::Assistant { .. } => {
                    i128::from(shape.n_layers) - 3 * i128::from(shape.vocab_size)
                }
            };
            assert_eq!(i128::from(all) + otherwise, i128::from(shape.parameters), "{}", shape.name);
        }
    }

    #[test]
    fn linear_layers_in_four_bits_are_a_third_of_a_draft() {
        let draft = PublishedDraft::named("syvai/Qwen3.8-27B-DFlash2-W4A16").unwrap();
        let size = weights(draft, 1).unwrap();
        // Its repository has 1.2 GB.
        assert_eq!(size.expected.get() / 10_000_000, 118);
        assert!(size.high > size.expected);
    }
}
