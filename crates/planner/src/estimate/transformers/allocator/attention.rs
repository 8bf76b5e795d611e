//! What a layer's attention asks for, in the order of transformers' `modeling_*.py`, `cache_utils.py`,
//! `integrations/sdpa_attention.py` and `PyTorch`'s `ATen/native/transformers/attention.cpp`.

use super::caches::Cache;
use super::linear::{Linear, linear};
use super::norms::norm;
use super::play::{Held, Library, Play};
use super::widths::Widths;
use crate::spec::{Attention, LayerShape, QkNorm, TransformersVersion};

/// Widest head for which the memory-efficient kernel keeps its output in registers.
const EFFICIENT_MAX_HEAD: u64 = 128;
/// Elements to a multiple of which it wants the rows of its mask.
const MASK_ALIGNMENT: u64 = 8;

/// What a layer attends to.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// New tokens of a sequence.
    pub rows: u64,
    /// Sequences.
    pub sequences: u64,
    /// Tokens of a sequence before.
    pub past: u64,
    /// Keys that attention sees.
    pub seen: u64,
    /// Whether SDPA is given a mask.
    pub masked: bool,
    /// Whether SDPA is given keys and values repeated for every query head.
    pub repeats: bool,
    /// The version of transformers.
    pub version: TransformersVersion,
}

impl Sight {
    pub const fn all_rows(self) -> u64 {
        self.rows * self.sequences
    }

    pub const fn all_seen(self) -> u64 {
        self.seen * self.sequences
    }
}

/// What attention leaves: its output, and the weights that live until the layer ends.
pub struct Attended {
    pub output: Held,
    pub weights: Held,
}

/// Attention of one layer over a normed input, which stays with the caller.
pub fn attend(
    play: &mut Play,
    widths: &Widths<'_>,
    layer: LayerShape,
    sight: Sight,
    cache: &mut Cache,
) -> Attended {
    let shape = widths.shape;
    let rows = sight.all_rows();
    let (q, kv) = (layer.q_width(), layer.kv_width());
    let hidden = shape.hidden_size;
    let gate = if shape.attention_output_gate { 2 } else { 1 };
    let biased = |matrix: Linear| matrix.biased(shape.qkv_bias);
    let project =
        |play: &mut Play, width| linear(play, widths, biased(Linear::new(hidden, width)), rows);
    let (fused, queries, keys, values) = if shape.fused_projections {
        let fused = project(play, q + 2 * kv);
        (fused, Held::NOTHING, Held::NOTHING, Held::NOTHING)
    } else {
        let mut queries = project(play, gate * q);
        normed(play, widths, &mut queries, rows, q, layer);
        let mut keys = project(play, kv);
        normed(play, widths, &mut keys, rows, kv, layer);
        let values = project(play, kv);
        (Held::NOTHING, queries, keys, values)
    };
    let (queries, keys) = rotate(play, widths, layer, rows, (queries, keys));
    cache.append(play, sight, [keys, values]);
    let Attended { output: attended, weights } = core(play, widths, layer, sight);
    let output = linear(play, widths, Linear::new(q, hidden).biased(shape.attn_output_bias), rows);
    cache.attended(play);
    play.give(attended);
    play.give(queries);
    play.give(fused);
    Attended { output, weights }
}

/// The norm of queries or keys, in place of them.
fn normed(
    play: &mut Play,
    widths: &Widths<'_>,
    projected: &mut Held,
    rows: u64,
    width: u64,
    layer: LayerShape,
) {
    let row = match widths.shape.qk_norm {
        QkNorm::None => return,
        QkNorm::PerHead => layer.head_dim,
        QkNorm::Full => width,
    };
    let result = norm(play, widths.norm, rows * width, row);
    play.give(std::mem::replace(projected, result));
}

/// Rotated queries and keys, in place of those that were projected.
fn rotate(
    play: &mut Play,
    widths: &Widths<'_>,
    layer: LayerShape,
    rows: u64,
    (queries, keys): (Held, Held),
) -> (Held, Held) {
    let rotated = widths.shape.rotated(layer.head_dim);
    let rotate = |play: &mut Play, width: u64| {
        let heads = width / layer.head_dim.max(1);
        one_rotation(play, widths, rows * heads * rotated, rows * width)
    };
    if widths.shape.architecture.family().rope.in_f32 {
        let rotated_queries = rotate(play, layer.q_width());
        let rotated_keys = rotate(play, layer.kv_width());
        let rounded_queries = play.take(widths.rows(rows, layer.q_width()));
        let rounded_keys = play.take(widths.rows(rows, layer.kv_width()));
        play.give_all([rotated_queries, rotated_keys, queries, keys]);
        return (rounded_queries, rounded_keys);
    }
    let rotated_queries = rotate(play, layer.q_width());
    let rotated_keys = rotate(play, layer.kv_width());
    play.give(queries);
    play.give(keys);
    (rotated_queries, rotated_keys)
}

/// `x · cos + rotate_half(x) · sin` of so many elements, and all of them joined where some are not rotated.
fn one_rotation(play: &mut Play, widths: &Widths<'_>, elements: u64, all: u64) -> Held {
    let wide = if widths.shape.architecture.family().rope.in_f32 { 4 } else { 2 };
    let cosines = play.take(wide * elements);
    let negated = play.take(elements);
    let halves = play.take(2 * elements);
    play.give(negated);
    let sines = play.take(wide * elements);
    play.give(halves);
    let sum = play.take(wide * elements);
    play.give(cosines);
    play.give(sines);
    if elements == all && !widths.shape.fused_projections {
        return sum;
    }
    let joined = play.take(2 * all);
    play.give(sum);
    joined
}

const NO_COPIES: [Held; 2] = [Held::NOTHING; 2];

/// Keys and values for every query head, where a view does not do.
fn repeated(play: &mut Play, widths: &Widths<'_>, layer: LayerShape, sight: Sight) -> [Held; 2] {
    let group = layer.n_heads / layer.kv_heads.max(1);
    let is_copied = widths.attention == Attention::Eager && sight.sequences > 1;
    let copies = group > 1 && (layer.kv_heads > 1 || is_copied);
    let size = if copies { widths.rows(sight.all_seen(), layer.q_width()) } else { 0 };
    [play.take(size), play.take(size)]
}

pub fn core(play: &mut Play, widths: &Widths<'_>, layer: LayerShape, sight: Sight) -> Attended {
    match widths.attention {
        Attention::Eager => eager(play, widths, layer, sight),
        Attention::Sdpa if sight.masked => masked(play, widths, layer, sight),
        method => {
            let repeats = method == Attention::Sdpa && sight.repeats;
            let copies = if repeats { repeated(play, widths, layer, sight) } else { NO_COPIES };
            let output = play.take(widths.rows(sight.all_rows(), layer.q_width()));
            play.touch(4 * sight.all_rows() * layer.n_heads);
            play.give_all(copies);
            Attended { output, weights: Held::NOTHING }
        }
    }
}

/// The memory-efficient kernel, with a mask in 16 bits.
fn masked(play: &mut Play, widths: &Widths<'_>, layer: LayerShape, sight: Sight) -> Attended {
    let copies = if sight.repeats { repeated(play, widths, layer, sight) } else { NO_COPIES };
    let rows = sight.all_rows();
    let mut mask = play.take(widths.rows(rows, sight.seen));
    if !sight.seen.is_multiple_of(MASK_ALIGNMENT) {
        let padded = sight.seen.next_multiple_of(MASK_ALIGNMENT);
        play.replace(&mut mask, widths.rows(rows, padded));
    }
    let output = play.take(widths.rows(rows, layer.q_width()));
    if layer.head_dim > EFFICIENT_MAX_HEAD {
        play.touch(2 * output.bytes());
    }
    play.give(mask);
    play.give_all(copies);
    Attended { output, weights: Held::NOTHING }
}

/// Rotated queries are a view with heads and tokens exchanged: a product of several sequences copies them. What is
/// joined is a copy already.
fn copied_queries(play: &mut Play, widths: &Widths<'_>, layer: LayerShape, sight: Sight) -> Held {
    let shape = widths.shape;
    let is_joined = shape.mla.is_some()
        || shape.fused_projections
        || shape.rotated(layer.head_dim) != layer.head_dim;
    if sight.sequences == 1 || is_joined {
        return Held::NOTHING;
    }
    play.take(widths.rows(sight.all_rows(), layer.q_width()))
}

/// Scores, scaled, capped and masked one after the other, their softmax in f32, and its product with the values.
fn eager(play: &mut Play, widths: &Widths<'_>, layer: LayerShape, sight: Sight) -> Attended {
    let copies = repeated(play, widths, layer, sight);
    let rows = sight.all_rows();
    let all = rows * layer.n_heads * sight.seen;
    let queries = copied_queries(play, widths, layer, sight);
    let mut scores = play.take(2 * all);
    play.workspace(Library::Blas, widths.workspace);
    play.give(queries);
    let steps = if widths.shape.attention_softcap { 5 } else { 2 };
    for _ in 0..steps {
        play.replace(&mut scores, 2 * all);
    }
    let (weights, kept) = if widths.shape.attention_sinks {
        let joined = play.take(2 * rows * layer.n_heads * (sight.seen + 1));
        let less = play.take(joined.bytes());
        play.give(joined);
        let weights = play.take(less.bytes());
        play.give(scores);
        (weights, less)
    } else {
        let wide = play.take(4 * all);
        let softmax = play.take(4 * all);
        play.give(wide);
        let weights = play.take(2 * all);
        play.give(softmax);
        play.give(scores);
        (weights, Held::NOTHING)
    };
    let product = play.take(widths.rows(rows, layer.q_width()));
    play.workspace(Library::Blas, widths.workspace);
    let output = play.take(product.bytes());
    play.give(product);
    play.give_all(copies);
    play.give(kept);
    Attended { output, weights }
}
