//! Which token lies in which slot.
//!
//! No device stores positions: eviction and the ring follow from counters and scores alone. Whoever wants
//! to know repeats what the cache did, on the host, from the scores by which it evicted.

use crate::h2o::evict::{moves, select};
use crate::h2o::{CacheError, Heads, Policy};

/// The tokens of one layer's slots.
#[derive(Clone, Debug, PartialEq)]
pub struct Positions {
    heads: Heads,
    policy: Policy,
    written: usize,
    tokens: Vec<u32>,
    scores: Vec<f32>,
    victims: Vec<u32>,
}

impl Positions {
    /// What an empty slot holds.
    pub const EMPTY: u32 = u32::MAX;

    /// Of an empty cache.
    pub fn new(heads: Heads, policy: Policy) -> Self {
        let slots = policy.max_cache_tokens();
        Self {
            heads,
            policy,
            written: 0,
            tokens: vec![Self::EMPTY; heads.kv_heads() * slots],
            scores: vec![0.0; slots],
            victims: Vec::new(),
        }
    }

    /// Repeats a step of `tokens` tokens, from the scores that the layer had before it,
    /// `[kv_heads, max_cache_tokens]`.
    ///
    /// # Errors
    /// Where the step does not fit the recent window.
    pub fn advance(&mut self, tokens: usize, scores: &[f32]) -> Result<(), CacheError> {
        let step = self.policy.step(self.written, tokens)?;
        let slots = self.policy.max_cache_tokens();
        self.victims.resize(step.contenders().len(), 0);
        for head in 0..self.heads.kv_heads() {
            let held = &mut self.tokens[head * slots..][..slots];
            self.scores.copy_from_slice(&scores[head * slots..][..slots]);
            for token in step.fills() {
                let from = self.policy.ring_slot(token);
                held[token] = held[from];
                self.scores[token] = self.scores[from];
            }
            if !self.victims.is_empty() {
                select(&step, &self.scores, &mut self.victims);
                for (from, to) in moves(&step, &self.victims).skip(step.fills().len()) {
                    held[to] = held[from];
                }
            }
            for index in 0..tokens {
                let token = u32::try_from(self.written + index).unwrap_or(Self::EMPTY);
                held[step.new_slot(index)] = token;
            }
        }
        self.written += tokens;
        Ok(())
    }

    /// The number in the conversation of the token in each slot of a key head, `[max_cache_tokens]`.
    pub fn of_head(&self, kv_head: usize) -> &[u32] {
        let slots = self.policy.max_cache_tokens();
        &self.tokens[kv_head * slots..][..slots]
    }

    /// Key and value heads.
    pub const fn kv_heads(&self) -> usize {
        self.heads.kv_heads()
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small numbers of a test"
    )]

    use super::*;
    use crate::h2o::{OwnedCache, Tokens};

    /// Values that say which token they are of: the largest of them is its number.
    fn marked(first: usize, tokens: usize, kv_heads: usize) -> Vec<f32> {
        let value = |token: usize| [(token + 1) as f32, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        (first..first + tokens).flat_map(|token| value(token).repeat(kv_heads)).collect()
    }

    #[test]
    fn slots_hold_the_tokens_that_they_are_said_to_hold() {
        let heads = Heads::new(4, 2, 8).unwrap();
        for (pinned, slots, window, steps) in [
            (0, 16, 5, vec![1; 60]),
            (4, 12, 6, vec![5, 1, 6, 3, 6, 6, 2, 1, 6, 4]),
            (0, 9, 5, vec![3; 9]),
        ] {
            let policy = Policy::new(pinned, slots, window).unwrap();
            let mut cache = OwnedCache::new(heads, policy, 8);
            let mut positions = Positions::new(heads, policy);
            let mut random = 1u32;
            for tokens in steps {
                let first = cache.written();
                let mut noise = |n: usize| -> Vec<f32> {
                    let mut next = || {
                        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        (random >> 8) as f32 / (1 << 24) as f32 * 4.0 - 2.0
                    };
                    (0..n).map(|_| next()).collect()
                };
                let (queries, keys) = (noise(tokens * 32), noise(tokens * 16));
                let values = marked(first, tokens, 2);
                positions.advance(tokens, cache.scores()).unwrap();
                let mut output = vec![0.0; tokens * 32];
                let new = Tokens { queries: &queries, keys: &keys, values: &values };
                cache.step(new, &mut output).unwrap();
                for head in 0..2 {
                    let rows = cache.slots().rows();
                    let rows = rows.head(heads, head);
                    for (slot, &token) in positions.of_head(head).iter().enumerate() {
                        let value =
                            f32::from(rows.values[slot * 8]) * rows.value_scales[slot].to_f32();
                        let held = if token == Positions::EMPTY { 0 } else { token + 1 };
                        assert_eq!(value.round() as u32, held, "slot {slot} of head {head}");
                    }
                }
            }
        }
    }
}
