//! What a policy would have kept, from one head's attention with a full cache: no model runs again.

use super::error::exactly;
use super::{CacheError, Policy};

/// What part of the attention stays inside a cache of `policy`, on average over the queries that come
/// once it is full; 1 where it never is. What is pinned is no part of it.
///
/// `attention` are one head's probabilities `[tokens, tokens]`, a row per query. This is an estimate:
/// later layers would have seen other keys. The L1 change of the output is bounded by a multiple of what is
/// lost (Ada-KV, arXiv 2407.11550).
///
/// # Errors
/// Where `attention` is not square.
pub fn replay(attention: &[f32], tokens: usize, policy: &Policy) -> Result<f64, CacheError> {
    exactly("attention", attention, tokens * tokens)?;
    let mut scores = vec![0.0; tokens];
    let mut live: Vec<usize> = Vec::with_capacity(policy.max_cache_tokens() + 1);
    let (mut sum, mut queries) = (0.0, 0_u32);
    for (token, row) in attention.chunks_exact(tokens.max(1)).enumerate() {
        if live.len() >= policy.max_cache_tokens() {
            evict(&mut live, &scores, token, policy);
        }
        live.push(token);
        let mass: f64 = live.iter().map(|&kept| f64::from(row[kept])).sum();
        for score in &mut scores {
            *score *= policy.decay();
        }
        for &kept in &live {
            scores[kept] += f64::from(row[kept]) / mass;
        }
        if token >= policy.max_cache_tokens() {
            sum += mass;
            queries += 1;
        }
    }
    Ok(if queries > 0 { sum / f64::from(queries) } else { 1.0 })
}

/// Drops the lowest score among those that are neither sinks nor will be recent with `token`.
fn evict(live: &mut Vec<usize>, scores: &[f64], token: usize, policy: &Policy) {
    let oldest_recent = token + 1 - policy.recent_window().min(token + 1);
    let rivals = live.iter().enumerate();
    let rivals = rivals.filter(|&(_, &kept)| kept >= policy.sinks() && kept < oldest_recent);
    let lowest = rivals.min_by(|a, b| scores[*a.1].total_cmp(&scores[*b.1]));
    if let Some(at) = lowest.map(|(at, _)| at) {
        live.remove(at);
    }
}
