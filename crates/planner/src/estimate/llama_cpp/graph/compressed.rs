//! What llama.cpp keeps for DeepSeek-V4 (`llama-kv-cache-dsv4.cpp`): a window of every layer's keys, which are its values, too;
//! a key for every few tokens before it; an indexer's; and, in f32, what the next of them is made of.
//!
//! Each sequence has cells of its own, also where those of other models are one pool.

use super::cache::{CacheSizes, Layout, kept_rotations, tensor_size};
use super::{GraphParams, builder::rotation_orders, context::padded};
use crate::dtype::{GgmlType, KvFormat};
use crate::units::{Bytes, Overflow};

/// Tokens of a key where compression overlaps and an indexer chooses (`DSV4_CSA_RATIO`).
const LITTLE: u64 = 4;
/// And where it does not (`DSV4_HCA_RATIO`).
const MUCH: u64 = 128;

/// One layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Compressing {
    /// Tokens that become one key; 0 in a layer with the window alone.
    pub(super) ratio: u64,
    /// Elements of a key.
    pub(super) head: u64,
    /// Elements of an indexer's key.
    pub(super) index: u64,
    /// Tokens of the window.
    pub(super) window: u64,
}

impl Compressing {
    /// Bytes of the layer's caches.
    pub(super) fn sizes(
        self,
        graph: &GraphParams,
        layout: &Layout,
    ) -> Result<CacheSizes, Overflow> {
        let mut full = Bytes::ZERO;
        let mut recurrent = Bytes::ZERO;
        let state = |rows: u64, width: u64| {
            let one =
                Bytes::product(&[rows, width, graph.n_seq, 4])?.round_up(layout.alignment())?;
            // Keys, and the scores that they are weighted by.
            one.times(2)
        };
        if self.ratio == LITTLE {
            full = self.keys(self.head, graph.type_k, graph, layout)?;
            // An indexer's keys are rotated in any format.
            let rotated = KvFormat::Ggml(GgmlType::Q8_0);
            full = full.plus(self.keys(self.index, rotated, graph, layout)?)?;
            recurrent = state(2 * LITTLE, self.head.checked_mul(2).ok_or(Overflow)?)?;
            let of_index = state(2 * LITTLE, self.index.checked_mul(2).ok_or(Overflow)?)?;
            recurrent = recurrent.plus(of_index)?;
        } else if self.ratio == MUCH {
            full = self.keys(self.head, graph.type_k, graph, layout)?;
            recurrent = state(MUCH, self.head)?;
        }
        Ok(CacheSizes { full, window: self.windowed(graph, layout)?, recurrent })
    }

    fn windowed(self, graph: &GraphParams, layout: &Layout) -> Result<Bytes, Overflow> {
        let is_whole = graph.window_cells == Some(graph.cells);
        let wanted = self.window.checked_add(graph.rows).ok_or(Overflow)?;
        let cells = if is_whole { graph.cells } else { padded(graph.cells.min(wanted))? };
        kept(self.head, (cells, graph.type_k), graph, layout)
    }

    /// A key for every few tokens, in a format that decides whether it is rotated.
    fn keys(
        self,
        width: u64,
        rotated: KvFormat,
        graph: &GraphParams,
        layout: &Layout,
    ) -> Result<Bytes, Overflow> {
        let cells = padded(graph.cells.div_ceil(self.ratio.max(1)).max(1))?;
        kept(width, (cells, rotated), graph, layout)
    }
}

fn kept(
    width: u64,
    (cells, rotated): (u64, KvFormat),
    graph: &GraphParams,
    layout: &Layout,
) -> Result<Bytes, Overflow> {
    let rows = cells.checked_mul(graph.n_seq).ok_or(Overflow)?;
    let as_rotated = GraphParams { type_k: rotated, ..*graph };
    let rotations = kept_rotations(rotation_orders(&as_rotated, [width, 0]), graph)?;
    tensor_size(graph.type_k, width, rows, layout)?.plus(rotations)
}
