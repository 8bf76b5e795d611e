//! Writing tokens into a cache, and moving them inside it.

use super::quant::quantize;
use super::{Heads, RowsMut};

/// Quantizes new tokens into their slots.
///
/// `keys` and `values` are `[tokens, kv_heads, head_dim]`, keys after RoPE; `smoothing` is
/// `[kv_heads, head_dim]`; `slot_of` says where token `index` goes; `row` is scratch of `head_dim`
/// elements.
///
/// # Panics
/// When a slot is out of range, or a slice is shorter than its shape.
pub fn place(
    heads: Heads,
    rows: &mut RowsMut<'_>,
    slot_of: impl Fn(usize) -> usize,
    smoothing: &[f32],
    (keys, values): (&[f32], &[f32]),
    row: &mut [f32],
) {
    let dim = heads.head_dim();
    let capacity = rows.key_scales.len() / heads.kv_heads();
    let tokens = keys.chunks_exact(heads.kv_width()).zip(values.chunks_exact(heads.kv_width()));
    for (index, (keys, values)) in tokens.enumerate() {
        for head in 0..heads.kv_heads() {
            let part = head * dim..(head + 1) * dim;
            let at = head * capacity + slot_of(index);
            let slot = at * dim..(at + 1) * dim;
            let factors = &smoothing[part.clone()];
            for ((smooth, key), factor) in row.iter_mut().zip(&keys[part.clone()]).zip(factors) {
                *smooth = key / factor;
            }
            rows.key_scales[at] = quantize(&row[..dim], &mut rows.keys[slot.clone()]);
            rows.value_scales[at] = quantize(&values[part], &mut rows.values[slot]);
        }
    }
}

/// Copies one token of one head, bit by bit. Other heads stay.
pub fn relocate(heads: Heads, rows: &mut RowsMut<'_>, head: usize, from: usize, to: usize) {
    let dim = heads.head_dim();
    let first = head * (rows.key_scales.len() / heads.kv_heads());
    let (from, to) = (first + from, first + to);
    rows.keys.copy_within(from * dim..(from + 1) * dim, to * dim);
    rows.values.copy_within(from * dim..(from + 1) * dim, to * dim);
    rows.key_scales[to] = rows.key_scales[from];
    rows.value_scales[to] = rows.value_scales[from];
}
