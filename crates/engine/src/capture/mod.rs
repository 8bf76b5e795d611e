//! Looking into a forward pass: the hidden states behind chosen layers, and what they attended to.
//!
//! A capture is a pass of its own, in the buffers that the plan lists for it: on the device it holds one
//! layer's states and weights, which move to the host before the next layer's, or those of all chosen
//! layers until the pass ends (`Capture::keep`).

mod dump;
mod pass;

use super::positions::Positions;

pub(super) use pass::{CapturePass, CaptureSpans};

/// What one layer showed.
#[derive(Clone, Debug, PartialEq)]
pub struct CapturedLayer {
    /// The layer.
    pub layer: usize,
    /// Its output, f32 `[tokens, hidden]`.
    pub hidden: Vec<f32>,
    /// What its query heads attended to, f32 `[query_heads, tokens, columns]`: probabilities, 0 where a
    /// column holds nothing or a later token; empty where they were not asked for.
    pub attention: Vec<f32>,
    /// The position of each column, `[kv_heads, columns]`, [`Captured::NO_POSITION`] where it holds
    /// nothing; empty unless positions were tracked.
    pub positions: Vec<i64>,
}

/// What a pass showed.
#[derive(Clone, Debug, PartialEq)]
pub struct Captured {
    /// The position of its first token.
    pub first: usize,
    /// Its tokens.
    pub tokens: usize,
    /// Columns of the attention weights: room for the system prompt, then the conversation's slots.
    pub columns: usize,
    /// The chosen layers, in the order of the model.
    pub layers: Vec<CapturedLayer>,
    /// Logits of all its tokens where the plan has them, otherwise of the last, `[rows, vocab]`.
    pub logits: Vec<f32>,
}

impl Captured {
    /// The position of a column that holds no token.
    pub const NO_POSITION: i64 = -1;
}

/// The position of each column of a layer, `[kv_heads, room + max_cache_tokens]`, where `pinned` tokens
/// of the system prompt stand in the first `room` columns.
pub(super) fn columns(positions: &Positions, room: usize, pinned: usize) -> Vec<i64> {
    let signed = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let of_system = |column: usize| {
        if column < pinned { signed(column) } else { Captured::NO_POSITION }
    };
    let of_slot = |&token: &u32| match token {
        Positions::EMPTY => Captured::NO_POSITION,
        token => signed(pinned) + i64::from(token),
    };
    let heads = 0..positions.kv_heads();
    heads
        .flat_map(|head| {
            (0..room).map(of_system).chain(positions.of_head(head).iter().map(of_slot))
        })
        .collect()
}
