//! Everything that a run holds: the buffers of its runtime, and the pool where it has one.

use super::runtimes::rules;
use super::{Buffer, Buffers, EstimateError, Scenario, vision};
use crate::estimate::BufferId;
use crate::spec::Bounds;
use crate::units::Bytes;

/// What an allocator does with memory that a moment no longer needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// Scratch is allocated once, for the largest moment of any phase.
    UpFront,
    /// Scratch is kept for reuse: what one phase needed, later phases still hold.
    HighWater,
}

/// What a runtime that sizes its own cache makes of its share of the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The share that it was given.
    pub limit: Bytes,
    /// What of it is no cache.
    pub fixed: Bounds,
    /// That, and the blocks that the conversations fill.
    pub need: Bounds,
    /// Bytes of a block.
    pub block: Bytes,
    /// Tokens of a layer that a block holds.
    pub block_tokens: u64,
    /// Blocks of the pool, if all is as expected.
    pub blocks: u64,
    /// Tokens that the runtime says those hold.
    pub tokens: u64,
    /// Blocks that one request of the longest kind may hold, where the runtime counts by them how many its pool holds at
    /// once.
    pub of_one: Option<u64>,
    /// Requests that it runs together at most, where that follows from the pool.
    pub requests: Option<u64>,
    /// What it checks before it serves.
    pub start: Start,
    /// Main memory that it pins: weights that stay there, and room for blocks that are moved there.
    pub host: Bytes,
}

/// Sequences that are captured together, each of which has to have a block of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured {
    /// How many (`max_num_seqs`).
    pub sequences: u64,
    /// Bytes of cache that they need.
    pub needs: Bytes,
}

/// What a runtime with a pool checks before it serves: that one sequence of the longest kind has room, and that every
/// sequence that it captures has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Tokens that a sequence may have (`max_model_len`).
    pub context: u64,
    /// Bytes of cache that such a sequence may need; that one token needs where the longest sequence is what fits.
    pub needs: Bytes,
    /// Bytes of cache that there are.
    pub has: Bounds,
    /// The longest context that starts, if all is as expected; 0 where none does.
    pub longest: u64,
    /// The sequences that it captures together, where they need room of their own.
    pub captured: Option<Captured>,
}

impl Start {
    /// Whether it starts, with what there is at this bound.
    pub fn succeeds(&self, bound: impl Fn(Bounds) -> Bytes) -> bool {
        self.least() <= bound(self.has)
    }

    /// Bytes of cache without which it does not start.
    pub fn least(&self) -> Bytes {
        self.needs.max(self.captured.map_or(Bytes::ZERO, |captured| captured.needs))
    }
}

/// Everything that a run holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holdings {
    /// Every buffer.
    pub buffers: Vec<Buffer>,
    /// The pool, where the runtime has one.
    pub pool: Option<Pool>,
}

/// Lists everything that the scenario's run holds.
pub fn buffers(scenario: &Scenario<'_>) -> Result<Vec<Buffer>, EstimateError> {
    Ok(holdings(scenario)?.buffers)
}

/// The same, with the pool.
pub fn holdings(scenario: &Scenario<'_>) -> Result<Holdings, EstimateError> {
    scenario.check()?;
    let mut buffers = Buffers(Vec::with_capacity(40));
    let pool = rules(scenario.kind()).push(&mut buffers, scenario)?;
    Ok(Holdings { buffers: buffers.0, pool })
}

/// Lists the weights, which every runtime loads first and keeps.
pub(crate) fn push_weights(buffers: &mut Buffers, scenario: &Scenario<'_>) {
    use super::{Component, Formula, Kind, Life, Phase};
    let weights = scenario.weights;
    let kind = Kind {
        component: Component::Weights,
        life: Life::From(Phase::Load),
        basis: weights.basis,
        source: &weights.source,
    };
    let formula = Formula::text(
        "Σ over tensors on the GPU of blocks · block bytes",
        &[("tensors", weights.tensors)],
    );
    buffers.push(kind, BufferId::Weights, weights.bounds, formula);
    vision::push_weights(buffers, scenario);
}
