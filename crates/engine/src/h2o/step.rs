//! A layer's part of a forward pass: pinning a system prompt, and a step of a conversation.

use super::attend::decode::{Decode, Work, prepare_queries};
use super::attend::prefill::{Prefill, worker_len};
use super::error::exactly;
use super::evict::evict;
use super::place::place;
use super::store::{Pinned, RowsMut, Slots};
use super::{CacheError, Heads, Policy, Scratch, ScratchSize};

/// The queries, keys and values of new tokens, after RoPE at their original positions.
#[derive(Clone, Copy, Debug)]
pub struct Tokens<'a> {
    /// `[tokens, query_heads, head_dim]`, as the projection leaves them.
    pub queries: &'a [f32],
    /// `[tokens, kv_heads, head_dim]`
    pub keys: &'a [f32],
    /// `[tokens, kv_heads, head_dim]`
    pub values: &'a [f32],
}

impl Tokens<'_> {
    /// How many tokens these are.
    fn count(&self, heads: Heads, output: &[f32]) -> Result<usize, CacheError> {
        let tokens = self.keys.len() / heads.kv_width();
        exactly("keys", self.keys, tokens * heads.kv_width())?;
        exactly("values", self.values, tokens * heads.kv_width())?;
        exactly("queries", self.queries, tokens * heads.query_width())?;
        exactly("output", output, tokens * heads.query_width())?;
        Ok(tokens)
    }
}

/// One layer's rules.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// The layer's heads.
    pub heads: Heads,
    /// The cache's policy.
    pub policy: Policy,
    /// Smoothing factors of the keys, `[kv_heads, head_dim]`, the same from the first token to the last.
    pub smoothing: &'a [f32],
}

impl Layer<'_> {
    /// Pins a chunk of the system prompt behind `len` pinned tokens and attends to all of them,
    /// causally. `output` is `[tokens, query_heads, head_dim]`.
    ///
    /// # Errors
    /// Where a slice has another length than its shape says, the chunk does not fit, or scratch is
    /// short.
    pub fn pin(
        &self,
        rows: &mut RowsMut<'_>,
        len: usize,
        new: Tokens<'_>,
        output: &mut [f32],
        scratch: &mut Scratch<'_>,
    ) -> Result<(), CacheError> {
        let Self { heads, policy, smoothing } = *self;
        let tokens = new.count(heads, output)?;
        rows.as_rows().check(heads, policy.pinned())?;
        exactly("smoothing", smoothing, heads.kv_width())?;
        let room = policy.pinned().saturating_sub(len);
        if tokens == 0 || tokens > room {
            let hint = "`pinned` of the policy is the length of the system prompt";
            let expected = format!("1 to {room} (pinned {len} of {})", policy.pinned());
            return Err(CacheError::parameter("tokens to pin", tokens, expected, hint));
        }
        scratch.check(ScratchSize { indices: 0, ..ScratchSize::prefill(heads, tokens, 1) })?;
        let row = &mut scratch.floats[..heads.head_dim()];
        place(heads, rows, |index| len + index, smoothing, (new.keys, new.values), row);
        let prefill = Prefill::of_pinned(heads, rows.as_rows(), len, smoothing, new.queries);
        let (sums, workers) = self.prefill_scratch(tokens, scratch.floats);
        prefill.attend(output, sums, workers);
        Ok(())
    }

    /// One step of a conversation of which `written` tokens are written: evicts, writes, attends,
    /// scores. One token goes the way of decode, more that of prefill.
    ///
    /// # Errors
    /// Where a slice has another length than its shape says, the step does not fit the recent window,
    /// or scratch is short.
    pub fn step(
        &self,
        pinned: Pinned<'_>,
        slots: &mut Slots<'_>,
        written: usize,
        new: Tokens<'_>,
        output: &mut [f32],
        scratch: &mut Scratch<'_>,
    ) -> Result<(), CacheError> {
        let Self { heads, policy, smoothing } = *self;
        let tokens = new.count(heads, output)?;
        let step = policy.step(written, tokens)?;
        self.check(pinned, slots)?;
        scratch.check(if tokens == 1 {
            ScratchSize::decode(heads, &policy)
        } else {
            ScratchSize::prefill(heads, tokens, 1)
        })?;
        evict(heads, &step, slots, scratch.indices);
        let row = &mut scratch.floats[..heads.head_dim()];
        let place_at = |index| step.new_slot(index);
        place(heads, &mut slots.rows, place_at, smoothing, (new.keys, new.values), row);
        for scores in slots.scores.chunks_exact_mut(policy.max_cache_tokens()) {
            (0..tokens).for_each(|index| scores[step.new_slot(index)] = 0.0);
        }
        let decay = decay_over(&policy, tokens);
        let rows = slots.rows.as_rows();
        if tokens == 1 {
            let mut work = Work::new(heads, &policy, scratch.floats);
            prepare_queries(heads, new.queries, smoothing, work.queries);
            let decode = Decode { heads, pinned, slots: rows, live: &step.live() };
            decode.attend(&mut work, output, decay, slots.scores);
        } else {
            let prefill = Prefill::of_step(heads, pinned, rows, &step, smoothing, new.queries);
            let (sums, workers) = self.prefill_scratch(tokens, scratch.floats);
            prefill.attend(output, sums, workers);
            prefill.score(sums, decay, slots.scores, workers);
        }
        Ok(())
    }

    fn check(&self, pinned: Pinned<'_>, slots: &Slots<'_>) -> Result<(), CacheError> {
        pinned.rows.check(self.heads, self.policy.pinned())?;
        slots.check(self.heads, &self.policy)?;
        exactly("smoothing", self.smoothing, self.heads.kv_width())?;
        if pinned.len > self.policy.pinned() {
            let expected = format!("at most {}", self.policy.pinned());
            let hint = "`pinned` of the policy is the length of the system prompt";
            return Err(CacheError::parameter("pinned tokens", pinned.len, expected, hint));
        }
        Ok(())
    }

    /// The rows' log-sum-exp, and as many workers' scratch as there are threads and memory for.
    fn prefill_scratch<'s>(
        &self,
        tokens: usize,
        floats: &'s mut [f32],
    ) -> (&'s mut [f32], &'s mut [f32]) {
        let (sums, rest) = floats.split_at_mut(tokens * self.heads.query_heads());
        let workers = (rest.len() / worker_len(self.heads)).min(rayon::current_num_threads());
        (sums, &mut rest[..workers * worker_len(self.heads)])
    }
}

/// What `decay` makes of a score over `tokens` tokens.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a factor below 1")]
pub fn decay_over(policy: &Policy, tokens: usize) -> f32 {
    policy.decay().powf(tokens as f64) as f32
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "exact")]
mod tests {
    use super::*;
    use crate::h2o::OwnedCache;

    #[test]
    fn one_token_attends_to_itself() {
        let heads = Heads::new(2, 1, 8).unwrap();
        let mut cache = OwnedCache::new(heads, Policy::new(4, 8, 4).unwrap(), 4);
        let mut output = [0.0; 16];
        let values = [1.0, -2.0, 3.0, 0.5, 0.0, 1.0, 127.0, 4.0];
        let new = Tokens { queries: &[1.0; 16], keys: &[1.0; 8], values: &values };
        cache.step(new, &mut output).unwrap();
        assert_eq!(output[..8], [1.0, -2.0, 3.0, 0.0, 0.0, 1.0, 127.0, 4.0]);
        assert_eq!(output[8..], output[..8]);
        assert_eq!(cache.scores(), [0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn lengths_are_checked() {
        let heads = Heads::new(2, 1, 8).unwrap();
        let mut cache = OwnedCache::new(heads, Policy::new(4, 8, 4).unwrap(), 4);
        let new = Tokens { queries: &[1.0; 16], keys: &[1.0; 8], values: &[1.0; 16] };
        let error = cache.step(new, &mut [0.0; 16]).unwrap_err();
        assert_eq!(error.to_string(), "`values` has 16 elements: expected 8");
        let new = Tokens { queries: &[1.0; 80], keys: &[1.0; 40], values: &[1.0; 40] };
        let error = cache.pin(new, &mut [0.0; 80]).unwrap_err();
        assert_eq!(error.to_string(), "`tokens to pin` = 5: expected 1 to 4 (pinned 0 of 4)");
        let error = cache.step(new, &mut [0.0; 80]).unwrap_err();
        let expected = "`tokens of a step` = 5: expected 1 to `recent_window` = 4";
        assert_eq!(error.to_string(), expected);
    }
}
