//! Attention over the evicting cache, as `h2o` has it, on the engine's memory.

use std::ops::Range;

use half::f16;
use rayon::prelude::*;

use super::Buffer;
use super::blocks::Quantized;
use super::buffer::zeros;
use crate::EngineError;
use crate::backend::{AttentionSpans, CacheShape, Caches, LayerStep, Target};
use crate::h2o::{
    Layer, Pinned, Policy, Rows, RowsMut, Scratch, ScratchSize, Slots, Tokens, rows_size, to_usize,
};
use crate::memory::Span;
use vramplan_planner::units::Bytes;

/// Scratch of the kernels on the CPU, which keep probabilities in f32 where those of a GPU keep them
/// in f16: it lies beside the plan's table.
#[derive(Debug)]
pub struct Workspace {
    floats: Vec<f32>,
    indices: Vec<u32>,
    /// 8-bit activations, grown to the most that a matrix needed.
    pub(super) quantized: Quantized,
}

impl Workspace {
    /// For steps of up to `rows` rows.
    pub(super) fn new(shape: CacheShape, rows: usize) -> Result<(Self, Bytes), EngineError> {
        let decode = ScratchSize::decode(shape.heads, &shape.policy);
        let size =
            decode.max(ScratchSize::prefill(shape.heads, rows, rayon::current_num_threads()));
        let (floats, indices) = (zeros(size.floats)?, zeros(size.indices)?);
        Ok((Self { floats, indices, quantized: Quantized::default() }, size.bytes()?))
    }
}

/// One layer's attention.
pub(super) fn attend(
    arena: &mut Buffer,
    workspace: &mut Workspace,
    caches: &mut Caches<Buffer>,
    shape: CacheShape,
    LayerStep { layer, target }: LayerStep,
    spans: AttentionSpans,
) -> Result<(), EngineError> {
    let CacheShape { heads, policy } = shape;
    let [queries, keys, values, output] = arena
        .parts::<f32, 4>([spans.q, spans.k, spans.v, spans.out].map(crate::memory::Span::range));
    let new = Tokens { queries, keys, values };
    let mut scratch = Scratch { floats: &mut workspace.floats, indices: &mut workspace.indices };
    let smoothing = caches.smoothing.part(of_layer(layer, heads.kv_width() * size_of::<f32>()));
    let rules = Layer { heads, policy, smoothing };
    let pinned = Region::new(shape, policy.pinned(), layer)?;
    match target {
        Target::Pinned { before } => {
            let mut rows = pinned.rows_mut(&mut caches.pinned);
            rules.pin(&mut rows, before, new, output, &mut scratch)
        }
        Target::Conversation { pinned: len, before } => {
            let pinned = Pinned { rows: pinned.rows(&caches.pinned), len };
            let slots = Region::new(shape, policy.max_cache_tokens(), layer)?;
            let scores = heads.kv_heads() * policy.max_cache_tokens() * size_of::<f32>();
            let [scores] = caches.scores.parts([of_layer(layer, scores)]);
            let mut slots = Slots { rows: slots.rows_mut(&mut caches.slots), scores };
            rules.step(pinned, &mut slots, before, new, output, &mut scratch)
        }
    }
    .map_err(EngineError::from)
}

/// The scores of one layer, `[kv_heads, max_cache_tokens]`.
pub(super) fn scores(caches: &Caches<Buffer>, shape: CacheShape, layer: usize) -> &[f32] {
    let size = shape.heads.kv_heads() * shape.policy.max_cache_tokens() * size_of::<f32>();
    caches.scores.part(of_layer(layer, size))
}

/// The attention weights of the step that was attended last, row by row, from what the cache holds.
pub(super) fn weights(
    arena: &mut Buffer,
    caches: &Caches<Buffer>,
    shape: CacheShape,
    LayerStep { layer, target }: LayerStep,
    (queries, out): (Span, Span),
) -> Result<(), EngineError> {
    let CacheShape { heads, policy } = shape;
    let [queries, out] = arena.parts::<f32, 2>([queries.range(), out.range()]);
    let tokens = queries.len() / heads.query_width();
    let smoothing = caches.smoothing.part(of_layer(layer, heads.kv_width() * size_of::<f32>()));
    let pinned = Region::new(shape, policy.pinned(), layer)?.rows(&caches.pinned);
    let slots = Region::new(shape, policy.max_cache_tokens(), layer)?.rows(&caches.slots);
    let since = since(&policy, target, tokens)?;
    let rows = out.par_chunks_exact_mut(since.len()).enumerate();
    rows.for_each(|(row, weights)| {
        let (head, token) = (row / tokens, row % tokens);
        let kv_head = head / heads.gqa_group();
        let dim = heads.head_dim();
        let smoothing: &[f32] = &smoothing[kv_head * dim..][..dim];
        let query = &queries[(token * heads.query_heads() + head) * dim..][..dim];
        let query: Vec<f32> = query.iter().zip(smoothing).map(|(q, factor)| q * factor).collect();
        let (of_pinned, of_slots) = weights.split_at_mut(policy.pinned());
        for (rows, logits) in [(pinned, of_pinned), (slots, of_slots)] {
            if !logits.is_empty() {
                let rows = rows.head(heads, kv_head);
                dot_products(&query, rows.keys, rows.key_scales, logits);
            }
        }
        softmax(weights, &since, token);
    });
    Ok(())
}

/// From which token of the step on each column is seen, pinned ones first.
fn since(policy: &Policy, target: Target, tokens: usize) -> Result<Vec<usize>, EngineError> {
    let room = policy.pinned();
    let mut since = vec![usize::MAX; room + policy.max_cache_tokens()];
    match target {
        Target::Pinned { before } => {
            since[..before].fill(0);
            for token in 0..tokens {
                since[before + token] = token;
            }
        }
        Target::Conversation { pinned, before } => {
            since[..pinned].fill(0);
            let step = policy.step(before, tokens)?;
            for live in step.live() {
                since[room + live.start..room + live.end].fill(0);
            }
            for token in 0..tokens {
                since[room + step.new_slot(token)] = token;
            }
        }
    }
    Ok(since)
}

fn dot_products(query: &[f32], keys: &[i8], scales: &[f16], logits: &mut [f32]) {
    #[allow(clippy::cast_precision_loss, reason = "a head has at most 4096 elements")]
    let root = (query.len() as f32).sqrt();
    for ((key, scale), logit) in keys.chunks_exact(query.len()).zip(scales).zip(logits) {
        let product: f32 = key.iter().zip(query).map(|(&k, q)| f32::from(k) * q).sum();
        *logit = product * scale.to_f32() / root;
    }
}

/// Of what `token` sees.
fn softmax(logits: &mut [f32], since: &[usize], token: usize) {
    let seen = |first: usize| first <= token;
    let visible = logits.iter().zip(since).filter(|(_, first)| seen(**first));
    let top = visible.map(|(logit, _)| *logit).fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for (logit, &first) in logits.iter_mut().zip(since) {
        *logit = if seen(first) { (*logit - top).exp() } else { 0.0 };
        sum += *logit;
    }
    for weight in logits {
        *weight /= sum;
    }
}

/// The bytes of layer `layer` where every layer has `size`.
const fn of_layer(layer: usize, size: usize) -> Range<usize> {
    layer * size..(layer + 1) * size
}

/// A layer's keys, values and their scales in a buffer of all layers.
struct Region {
    start: usize,
    keys: usize,
    scales: usize,
}

impl Region {
    fn new(shape: CacheShape, capacity: usize, layer: usize) -> Result<Self, EngineError> {
        let size = rows_size(shape.heads, capacity)?.get();
        let size = to_usize(size);
        Ok(Self {
            start: layer * size,
            keys: shape.heads.kv_width() * capacity,
            scales: shape.heads.kv_heads() * capacity * size_of::<f16>(),
        })
    }

    /// Keys, values, scales of keys, scales of values.
    fn ranges(&self) -> [Range<usize>; 4] {
        let mut start = self.start;
        [self.keys, self.keys, self.scales, self.scales].map(|size| {
            start += size;
            start - size..start
        })
    }

    fn rows<'a>(&self, buffer: &'a Buffer) -> Rows<'a> {
        let [keys, values, key_scales, value_scales] = self.ranges();
        Rows {
            keys: buffer.part(keys),
            key_scales: buffer.part(key_scales),
            values: buffer.part(values),
            value_scales: buffer.part(value_scales),
        }
    }

    fn rows_mut<'a>(&self, buffer: &'a mut Buffer) -> RowsMut<'a> {
        let [keys, values, key_scales, value_scales] = buffer.parts::<u8, 4>(self.ranges());
        RowsMut {
            keys: bytemuck::cast_slice_mut(keys),
            key_scales: bytemuck::cast_slice_mut(key_scales),
            values: bytemuck::cast_slice_mut(values),
            value_scales: bytemuck::cast_slice_mut(value_scales),
        }
    }
}
