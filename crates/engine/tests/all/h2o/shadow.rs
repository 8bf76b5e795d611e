//! Which token is in which slot: what the cache itself does not store.

use vramplan_engine::h2o::evict::moves;
use vramplan_engine::h2o::{Heads, Policy, Step};

pub struct Shadow {
    /// `[kv_heads][max_cache_tokens]`
    pub slots: Vec<Vec<Option<usize>>>,
}

impl Shadow {
    pub fn new(heads: Heads, policy: Policy) -> Self {
        Self { slots: vec![vec![None; policy.max_cache_tokens()]; heads.kv_heads()] }
    }

    /// Follows a step. Returns the tokens that each head evicted, ascending.
    pub fn advance(&mut self, step: &Step, victims: &[u32]) -> Vec<Vec<usize>> {
        let contenders = step.contenders().len();
        let heads = self.slots.iter_mut().enumerate();
        let evicted = heads.map(|(head, slots)| {
            let victims = &victims[head * contenders..][..contenders];
            let mut all_moves = moves(step, victims);
            for (from, to) in all_moves.by_ref().take(step.fills().len()) {
                assert!(slots[to].is_none(), "slot {to} was free");
                slots[to] = slots[from];
            }
            let slot = |&victim: &u32| step.candidate_slot(victim as usize);
            let mut evicted: Vec<_> = victims.iter().map(|v| slots[slot(v)].unwrap()).collect();
            for (from, to) in all_moves {
                slots[to] = slots[from];
            }
            for index in 0..step.tokens() {
                slots[step.new_slot(index)] = Some(step.written() + index);
            }
            evicted.sort_unstable();
            evicted
        });
        evicted.collect()
    }

    /// The tokens that a head holds, ascending.
    pub fn held(&self, head: usize) -> Vec<usize> {
        let mut tokens: Vec<_> = self.slots[head].iter().flatten().copied().collect();
        tokens.sort_unstable();
        tokens
    }
}
