//! Where the layers' caches lie in their buffers.
//!
//! A region's buffer has the keys of all layers first, then their values, the scales of keys and those
//! of values: keys and values of every layer start at a multiple of a head's width, whatever the number
//! of tokens. The size is that of the plan.

use crate::backend::CacheShape;
use crate::h2o::Heads;
use crate::h2o::to_usize;
use crate::launch::{LaunchError, LayerMemory, RegionMemory, Span};

const F16: usize = 2;
const F32: usize = 4;

/// The buffers of all layers.
#[derive(Clone, Copy, Debug)]
pub(super) struct CacheSpans {
    pub(super) pinned: Span,
    pub(super) slots: Span,
    pub(super) scores: Span,
    pub(super) smoothing: Span,
}

impl CacheSpans {
    /// The memory of layer `layer`.
    pub(super) fn layer(
        &self,
        shape: CacheShape,
        layer: usize,
    ) -> Result<LayerMemory, LaunchError> {
        let CacheShape { heads, policy } = shape;
        let layers = self.smoothing.bytes / (heads.kv_width() * F32) as u64;
        let layers = to_usize(layers);
        let smoothing = heads.kv_width() * F32;
        Ok(LayerMemory {
            pinned: region(self.pinned, heads, policy.pinned(), (layers, layer))?,
            slots: region(self.slots, heads, policy.max_cache_tokens(), (layers, layer))?,
            scores: self.scores(shape, layer)?,
            smoothing: self.smoothing.part(layer * smoothing, smoothing)?,
        })
    }

    /// The scores of layer `layer`.
    pub(super) fn scores(&self, shape: CacheShape, layer: usize) -> Result<Span, LaunchError> {
        let size = shape.heads.kv_heads() * shape.policy.max_cache_tokens() * F32;
        self.scores.part(layer * size, size)
    }
}

fn region(
    buffer: Span,
    heads: Heads,
    capacity: usize,
    (layers, layer): (usize, usize),
) -> Result<RegionMemory, LaunchError> {
    let rows = heads.kv_width() * capacity;
    let scales = heads.kv_heads() * capacity * F16;
    let scales_start = 2 * layers * rows;
    let keys = |kind: usize| buffer.part((kind * layers + layer) * rows, rows);
    let scale = |kind: usize| buffer.part(scales_start + (kind * layers + layer) * scales, scales);
    Ok(RegionMemory {
        keys: keys(0)?,
        key_scales: scale(0)?,
        values: keys(1)?,
        value_scales: scale(1)?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test code")]
    use super::*;
    use crate::h2o::Policy;

    #[test]
    fn layers_fill_the_plans_buffers_without_gaps() {
        let heads = Heads::new(9, 3, 64).unwrap();
        let policy = Policy::new(13, 101, 37).unwrap();
        let shape = CacheShape { heads, policy };
        let layers = 5;
        let token = layers * heads.kv_heads() * 2 * (heads.head_dim() + F16);
        let mut address = 1 << 20;
        let mut span = |bytes: usize| {
            address += 1 << 20;
            Span { address, bytes: bytes as u64 }
        };
        let spans = CacheSpans {
            pinned: span(token * 13),
            slots: span(token * 101),
            scores: span(layers * heads.kv_heads() * 101 * F32),
            smoothing: span(layers * heads.kv_width() * F32),
        };
        let mut parts = Vec::new();
        for layer in 0..layers {
            let memory = spans.layer(shape, layer).unwrap();
            for region in [memory.pinned, memory.slots] {
                assert!(region.keys.address.is_multiple_of(64));
                assert!(region.values.address.is_multiple_of(64));
                let RegionMemory { keys, key_scales, values, value_scales } = region;
                parts.extend([keys, key_scales, values, value_scales]);
            }
            parts.extend([memory.scores, memory.smoothing]);
        }
        parts.sort_by_key(|span| span.address);
        for whole in [spans.pinned, spans.slots, spans.scores, spans.smoothing] {
            let mut at = whole.address;
            let end = whole.address + whole.bytes;
            for part in parts.iter().filter(|part| (whole.address..end).contains(&part.address)) {
                assert_eq!(part.address, at, "a gap, or an overlap");
                at += part.bytes;
            }
            assert_eq!(at, end);
        }
        assert!(spans.layer(shape, layers).is_err());
    }
}
