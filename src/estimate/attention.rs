//! What attention holds beside keys, values, queries and its output, in one layer at a time.
//!
//! - *eager* materialises the scores: for bf16 the raw scores (2 B), an f32 copy (4 B) and the f32
//!   softmax (4 B) are alive together, `10 · n_heads · rows · S`; for f16 `PyTorch` fuses the cast, 6 B.
//! - *SDPA and flash* hold no scores; where an explicit mask is passed (a chunk behind a past),
//!   transformers expands keys and values to every query head first.
//! - *fused* (vramplan's kernels) keeps one f16 probability per head and conversation slot for the
//!   score update, and the partial results of the split over the cache.
//! - a *quantized cache* is expanded to 16 bits, one layer at a time.
//!
//! Sources: transformers `qwen2/modeling_qwen2.py` (`eager_attention_forward`, `repeat_kv`),
//! `integrations/sdpa_attention.py`, `cache_utils.py` (`QuantizedLayer.update`); `PyTorch`
//! `ATen/native/SoftMax.cpp`. The eager and SDPA peaks were reproduced with a live-storage tracker.

use super::{Buffers, Component, EstimateError, Formula, Kind, Life, Scenario};
use crate::dtype::KvFormat;
use crate::spec::{Basis, Bounds};
use crate::units::{Bytes, Overflow};

const TRANSFORMERS: &str = "transformers modeling_*.py eager_attention_forward, sdpa_attention.py";
const CACHE_UTILS: &str = "transformers cache_utils.py QuantizedLayer.update";

fn kind(life: Life, source: &str) -> Kind<'_> {
    Kind { component: Component::AttentionTransients, life, basis: Basis::Modelled, source }
}

/// Bytes per score of eager attention in bf16: scores, f32 copy, f32 softmax.
const EAGER_SCORE_BYTES: u64 = 10;

/// The score matrix of one layer, materialised.
pub fn eager(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    life: Life,
    rows: u64,
    seen: u64,
) -> Result<(), EstimateError> {
    let formula = Formula::product(&[
        ("n_heads", scenario.model.shape.n_heads),
        ("rows", rows),
        ("S", seen),
        ("B (bf16 + f32 copy + f32 softmax)", EAGER_SCORE_BYTES),
    ]);
    let size = Bounds::within(formula.value()?, 40, 5)?;
    buffers.push(kind(life, TRANSFORMERS), "scores, one layer", size, formula);
    expanded_heads(buffers, scenario, life, seen)
}

/// Keys and values repeated for every query head, one layer.
pub fn expanded_heads(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    life: Life,
    seen: u64,
) -> Result<(), EstimateError> {
    let shape = &scenario.model.shape;
    if shape.gqa_group() == 1 {
        return Ok(());
    }
    buffers.product(
        kind(life, TRANSFORMERS),
        "keys and values for every query head, one layer",
        &[
            ("K and V", 2),
            ("S", seen),
            ("sequences", scenario.workload.batch),
            ("q_width", shape.q_width()),
            ("B", 2),
        ],
    )?;
    Ok(())
}

/// What reading the cache costs: an expanded copy of one layer where it is quantized, and where it
/// grows by concatenation the old and the new copy together.
pub fn cache_copies(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    life: Life,
    seen: u64,
) -> Result<(), EstimateError> {
    let shape = &scenario.model.shape;
    let tensors = match (scenario.kv.is_quantized(), scenario.workload.grown_cache) {
        (true, true) => 4,
        (true, false) => 2,
        (false, true) => 1,
        (false, false) => return Ok(()),
    };
    let name = match tensors {
        4 => "one layer's K and V expanded, and concatenated with the new tokens",
        2 => "one layer's K and V expanded",
        _ => "the old copy of one layer's K or V while it grows",
    };
    let element = if scenario.kv == KvFormat::F32 { 4 } else { 2 };
    let factors = [
        ("tensors", tensors),
        ("S", seen),
        ("sequences", scenario.workload.batch),
        ("kv_width", shape.kv_width()),
        ("B", element),
    ];
    buffers.product(kind(life, CACHE_UTILS), name, &factors)?;
    Ok(())
}

/// Bytes per element of one key tensor while HQQ quantizes it again: the f32 input and the copies of
/// its optimiser.
const HQQ_BYTES: [u64; 3] = [8, 20, 24];

/// The transient of quantizing one layer's keys again when the unquantized residual is full.
pub fn requantization(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    life: Life,
    seen: u64,
) -> Result<(), EstimateError> {
    if !matches!(scenario.kv, KvFormat::Hqq { .. } | KvFormat::Quanto { .. }) {
        return Ok(());
    }
    let width = scenario.model.shape.kv_width();
    let sequences = scenario.workload.batch;
    let size = |bytes| Bytes::product(&[seen, sequences, width, bytes]);
    let [low, expected, high] = HQQ_BYTES;
    let bounds = Bounds::new(size(low)?, size(expected)?, size(high)?);
    let formula = Formula::product(&[
        ("S", seen),
        ("sequences", sequences),
        ("kv_width", width),
        ("B (f32 input and the optimiser's copies)", expected),
    ]);
    let kind = Kind {
        component: Component::AttentionTransients,
        life,
        basis: Basis::Assumed,
        source: "hqq core/quantize.py, core/optimize.py: estimated from the copies it makes",
    };
    buffers.push(kind, "requantization of one layer's keys", bounds, formula);
    Ok(())
}

/// Cached tokens that one block of vramplan's decode kernel reads at a time.
pub const TILE: u64 = 64;
/// Parts into which the decode kernel splits the cache, at most: two blocks for each of 132
/// multiprocessors over 8 KV heads.
pub const MAX_SPLITS: u64 = 33;

const ENGINE: &str = "vramplan engine: split-K decode attention with score tiles";

/// Scratch of vramplan's decode kernels, one layer at a time.
pub fn fused_decode(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    life: Life,
    scored: bool,
) -> Result<(), EstimateError> {
    let shape = &scenario.model.shape;
    let (heads, sequences) = (shape.n_heads, scenario.workload.batch);
    let slots = scenario.workload.cache_tokens;
    let kind = kind(life, ENGINE);
    if scored {
        let p = [("n_heads", heads), ("slots", slots), ("sequences", sequences), ("B", 2)];
        buffers.product(kind, "probabilities for the score update", &p)?;
        let tiles = slots.div_ceil(TILE);
        let max = [("n_heads", heads), ("tiles", tiles), ("sequences", sequences), ("B", 4)];
        buffers.product(kind, "maximum of each tile", &max)?;
    }
    let partial = [
        ("n_heads", heads),
        ("splits", MAX_SPLITS),
        ("head_dim + 2", shape.value_head_dim() + 2),
        ("sequences", sequences),
        ("B", 4),
    ];
    buffers.product(kind, "partial outputs of the split", &partial)?;
    Ok(())
}

/// Scratch of vramplan's chunked-prefill kernels: the log-sum-exp of every row, and the victims.
pub fn fused_prefill(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    life: Life,
    rows: u64,
    scored: bool,
) -> Result<(), EstimateError> {
    let shape = &scenario.model.shape;
    let kind = kind(life, "vramplan engine: chunked-prefill attention with scoring");
    let lse = [("n_heads", shape.n_heads), ("rows", rows), ("B", 4)];
    buffers.product(kind, "log-sum-exp of every row", &lse)?;
    if scored {
        let victims = [("kv_heads", shape.kv_heads), ("rows", rows), ("B", 4)];
        buffers.product(kind, "slots chosen for eviction", &victims)?;
    }
    Ok(())
}

/// Bytes of an eager score matrix, for advice and tests.
pub fn eager_scores(n_heads: u64, rows: u64, seen: u64) -> Result<Bytes, Overflow> {
    Bytes::product(&[n_heads, rows, seen, EAGER_SCORE_BYTES])
}
