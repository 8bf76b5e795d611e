//! Where tokens live: pure arithmetic on counters. No position is stored.
//!
//! A token enters the ring. When the ring comes round to its slot it *leaves*: it moves to the slot of
//! its own number while that is free, and competes with the heavy hitters once all are taken.

use std::ops::Range;

use super::{CacheError, Policy};

/// A step: `tokens` tokens are about to follow `written` tokens of the conversation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    policy: Policy,
    written: usize,
    tokens: usize,
}

impl Policy {
    /// The first slot of the recent window: `max_cache_tokens − recent_window`.
    pub const fn ring_start(&self) -> usize {
        self.max_cache_tokens() - self.recent_window()
    }

    /// The slot that token `token` of the conversation is written to.
    pub const fn ring_slot(&self, token: usize) -> usize {
        self.ring_start() + token % self.recent_window()
    }

    /// Slots that compete by score.
    pub const fn heavy(&self) -> Range<usize> {
        self.sinks()..self.ring_start()
    }

    /// Live slots after `written` tokens: those that leavers filled, and those of the ring.
    pub fn live(&self, written: usize) -> [Range<usize>; 2] {
        let start = self.ring_start();
        let filled = written.saturating_sub(self.recent_window()).min(start);
        [0..filled, start..start + written.min(self.recent_window())]
    }

    /// A step of `tokens` tokens after `written`.
    ///
    /// # Errors
    /// Where the step is empty or does not fit the recent window.
    pub fn step(&self, written: usize, tokens: usize) -> Result<Step, CacheError> {
        if tokens == 0 || tokens > self.recent_window() {
            let expected = format!("1 to `recent_window` = {}", self.recent_window());
            let hint = "a `prefill_chunk` must fit the recent window";
            return Err(CacheError::parameter("tokens of a step", tokens, expected, hint));
        }
        Ok(Step { policy: *self, written, tokens })
    }
}

impl Step {
    /// The policy that it follows.
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Tokens of the conversation before it.
    pub const fn written(&self) -> usize {
        self.written
    }

    /// Tokens that it adds.
    pub const fn tokens(&self) -> usize {
        self.tokens
    }

    /// Tokens whose slots in the ring it overwrites.
    pub fn leavers(&self) -> Range<usize> {
        let window = self.policy.recent_window();
        let end = (self.written + self.tokens).saturating_sub(window);
        self.written.saturating_sub(window)..end
    }

    /// Leavers that move to the free slot of their own number.
    pub fn fills(&self) -> Range<usize> {
        let Range { start, end } = self.leavers();
        start.min(self.policy.ring_start())..end.min(self.policy.ring_start())
    }

    /// Leavers that find no free slot and compete with the heavy hitters: as many tokens are evicted
    /// per head.
    pub fn contenders(&self) -> Range<usize> {
        let Range { start, end } = self.leavers();
        start.max(self.policy.ring_start())..end.max(self.policy.ring_start())
    }

    /// The score of candidate `candidate`: heavy slots come first, contenders behind them.
    ///
    /// `scores` are those of one head, `[max_cache_tokens]`.
    pub fn candidate_slot(&self, candidate: usize) -> usize {
        let heavy = self.policy.heavy();
        if candidate < heavy.len() {
            return heavy.start + candidate;
        }
        self.policy.ring_slot(self.contenders().start + candidate - heavy.len())
    }

    /// Tokens that compete, per head.
    pub fn candidates(&self) -> usize {
        self.policy.heavy().len() + self.contenders().len()
    }

    /// The slot that token `index` of the step is written to.
    pub const fn new_slot(&self, index: usize) -> usize {
        self.policy.ring_slot(self.written + index)
    }

    /// Live slots once the step's tokens are written.
    pub fn live(&self) -> [Range<usize>; 2] {
        self.policy.live(self.written + self.tokens)
    }

    /// The slots of the step's own tokens in at most two runs, each with the index of its first
    /// token: the ring may come round inside a step.
    pub fn new_runs(&self) -> [(Range<usize>, usize); 2] {
        let start = self.new_slot(0);
        let before_end = self.tokens.min(self.policy.max_cache_tokens() - start);
        let ring = self.policy.ring_start();
        [(start..start + before_end, 0), (ring..ring + self.tokens - before_end, before_end)]
    }

    /// Slots of the ring whose tokens are older than the step, in at most two runs.
    pub fn old_ring_runs(&self) -> [Range<usize>; 2] {
        let [_, ring] = self.live();
        let [(first, _), (wrapped, _)] = self.new_runs();
        let before = wrapped.end.min(first.start)..first.start;
        let after = first.end..ring.end.max(first.end);
        [before, after]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy::new(0, 10, 4).unwrap().with_sinks(2).unwrap()
    }

    #[test]
    fn a_token_enters_the_ring_and_fills_the_slot_of_its_number() {
        let step = policy().step(0, 3).unwrap();
        assert_eq!((step.new_slot(0), step.new_slot(2)), (6, 8));
        assert_eq!((step.leavers(), step.live()), (0..0, [0..0, 6..9]));
        let step = policy().step(3, 3).unwrap();
        assert_eq!((step.leavers(), step.fills(), step.contenders().len()), (0..2, 0..2, 0));
        assert_eq!(step.live(), [0..2, 6..10]);
    }

    #[test]
    fn leavers_compete_when_no_slot_is_free() {
        let step = policy().step(9, 3).unwrap();
        assert_eq!((step.fills(), step.contenders()), (5..6, 6..8));
        assert_eq!(step.candidates(), 4 + 2);
        let slots: Vec<_> = (0..6).map(|candidate| step.candidate_slot(candidate)).collect();
        assert_eq!(slots, [2, 3, 4, 5, 8, 9]);
        assert_eq!(step.live(), [0..6, 6..10]);
    }

    #[test]
    fn a_step_may_wrap_around_the_ring() {
        let step = policy().step(6, 3).unwrap();
        assert_eq!(step.new_runs(), [(8..10, 0), (6..7, 2)]);
        assert_eq!(step.old_ring_runs(), [7..8, 10..10]);
        let step = policy().step(5, 2).unwrap();
        assert_eq!(step.new_runs(), [(7..9, 0), (6..6, 2)]);
        assert_eq!(step.old_ring_runs(), [6..7, 9..10]);
        let step = policy().step(1, 2).unwrap();
        assert_eq!(step.old_ring_runs(), [6..7, 9..9]);
    }

    #[test]
    fn a_step_fits_the_window() {
        assert!(policy().step(0, 4).is_ok());
        let error = policy().step(0, 5).unwrap_err();
        let expected = "`tokens of a step` = 5: expected 1 to `recent_window` = 4";
        assert_eq!(error.to_string(), expected);
        assert!(policy().step(0, 0).is_err());
    }
}
