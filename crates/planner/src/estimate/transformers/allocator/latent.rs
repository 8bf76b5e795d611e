//! Multi-head latent attention (`deepseek_v2/modeling_deepseek_v2.py`): latents are cached, and expanded to keys
//! and values of every head afterwards.

use super::attention::{Attended, Sight, core};
use super::caches::Cache;
use super::linear::{Linear, linear};
use super::norms::norm;
use super::play::Play;
use super::widths::Widths;
use crate::spec::{LayerShape, Mla};

/// Attention of one layer over a normed input, which stays with the caller.
pub fn attend_latent(
    play: &mut Play,
    widths: &Widths<'_>,
    mla: Mla,
    sight: Sight,
    cache: &mut Cache,
) -> Attended {
    let shape = widths.shape;
    let (rows, seen) = (sight.all_rows(), sight.all_seen());
    let (heads, hidden) = (shape.n_heads, shape.hidden_size);
    let queries_width = heads * (mla.qk_nope_head_dim + mla.qk_rope_head_dim);
    let project = |play: &mut Play, from, to| linear(play, widths, Linear::new(from, to), rows);
    let queries = match mla.q_lora_rank {
        Some(rank) => {
            let low = project(play, hidden, rank);
            let normed = norm(play, widths.norm, rows * rank, rank);
            play.give(low);
            let queries = project(play, rank, queries_width);
            play.give(normed);
            queries
        }
        None => project(play, hidden, queries_width),
    };
    let latent = project(play, hidden, mla.kv_lora_rank + mla.qk_rope_head_dim);
    let normed = norm(play, widths.norm, rows * mla.kv_lora_rank, mla.kv_lora_rank);
    let positions = widths.rows(rows, heads * mla.qk_rope_head_dim);
    let wide = play.take(2 * positions);
    play.touch(positions);
    let rotated = play.take(positions);
    play.give(wide);
    let rotated_keys = play.take(widths.rows(rows, mla.qk_rope_head_dim));
    cache.append(play, sight, [normed, rotated_keys]);
    let joined = play.take(queries.bytes());
    let expanded = heads * (mla.qk_nope_head_dim + mla.v_head_dim);
    let both = linear(play, widths, Linear::new(mla.kv_lora_rank, expanded), seen);
    let keys = play.take(widths.rows(seen, queries_width));
    let head_dim = mla.v_head_dim;
    let head = LayerShape {
        n_heads: heads,
        kv_heads: heads,
        head_dim,
        value_head_dim: head_dim,
        ffn_size: shape.ffn_size,
    };
    let Attended { output: attended, weights } = core(play, widths, head, sight);
    play.give(keys);
    play.give(both);
    let output = linear(play, widths, Linear::new(heads * mla.v_head_dim, hidden), rows);
    cache.attended(play);
    play.give_all([attended, joined, rotated, latent, queries]);
    Attended { output, weights }
}
