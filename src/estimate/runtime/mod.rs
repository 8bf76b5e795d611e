//! Which buffers each runtime has, and when. One file per runtime.

mod llama_cpp;
mod transformers;
mod vramplan;

use super::{Buffer, Buffers, EstimateError, Scenario};
use crate::spec::Runtime;

pub use llama_cpp::padded_context;

/// What an allocator does with memory that a moment no longer needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// Scratch is allocated once, for the largest moment of any phase.
    UpFront,
    /// Scratch is kept for reuse: what one phase needed, later phases still hold.
    HighWater,
}

/// How a runtime keeps its scratch memory.
pub const fn retention(runtime: Runtime) -> Retention {
    match runtime {
        Runtime::Vramplan | Runtime::LlamaCpp => Retention::UpFront,
        Runtime::Transformers => Retention::HighWater,
    }
}

/// Lists everything that the scenario's run holds.
pub fn buffers(scenario: &Scenario<'_>) -> Result<Vec<Buffer>, EstimateError> {
    scenario.check()?;
    let mut buffers = Buffers(Vec::with_capacity(40));
    match scenario.kind() {
        Runtime::Vramplan => vramplan::push(&mut buffers, scenario)?,
        Runtime::Transformers => transformers::push(&mut buffers, scenario)?,
        Runtime::LlamaCpp => llama_cpp::push(&mut buffers, scenario)?,
    }
    Ok(buffers.0)
}

/// Lists the weights, which every runtime loads first and keeps.
fn push_weights(buffers: &mut Buffers, scenario: &Scenario<'_>) {
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
    buffers.push(kind, "weights", weights.bounds, formula);
}
