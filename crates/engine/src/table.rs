//! The plan's table of buffers, as far as the engine allocates from it.

use vramplan_planner::estimate::BufferId;
use vramplan_planner::estimate::rules::Refusal;
use vramplan_planner::estimate::vramplan::capabilities;
use vramplan_planner::estimate::{Buffer, Component, Life, Moment, Phase, Scenario, buffers};
use vramplan_planner::spec::{Logits, Runtime, Workload};
use vramplan_planner::units::Bytes;

use super::EngineError;

/// What exists only on a GPU, or is another library's own: rows of the table that the engine does
/// not allocate itself. The last four are the workspace of a GPU's backend, which says how large it is.
pub const NOT_OURS: [BufferId; 11] = [
    BufferId::Process,
    BufferId::CudaContext,
    BufferId::Libraries,
    BufferId::BlasWorkspace,
    BufferId::Workspaces,
    BufferId::WeightRounding,
    BufferId::PoolGranularity,
    BufferId::EightBitActivations,
    BufferId::PartialProducts,
    BufferId::NextVictims,
    BufferId::RotationFrequencies,
];

/// The buffers of a scenario of this runtime, and the work that they are for.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// The work.
    pub workload: Workload,
    /// Tokens of the conversation cache.
    pub cache_tokens: u64,
    /// Every buffer that the engine allocates.
    pub buffers: Vec<Buffer>,
}

impl Table {
    /// The table of `scenario`, which the engine can run.
    ///
    /// # Errors
    /// For options that the engine does not have, and where the estimate refuses the scenario.
    pub fn new(scenario: &Scenario<'_>) -> Result<Self, EngineError> {
        check(scenario)?;
        let ours = |buffer: &Buffer| !NOT_OURS.contains(&buffer.id);
        let buffers = buffers(scenario)?.into_iter().filter(ours).collect();
        let Scenario { workload, cache_tokens, .. } = *scenario;
        Ok(Self { workload, cache_tokens, buffers })
    }

    /// The buffer of this name that lives so.
    pub(crate) fn find(
        &self,
        component: Component,
        id: BufferId,
        is_life: impl Fn(Life) -> bool,
    ) -> Bytes {
        let wanted = |buffer: &&Buffer| {
            buffer.component == component && buffer.id == id && is_life(buffer.life)
        };
        self.buffers.iter().find(wanted).map_or(Bytes::ZERO, |buffer| buffer.size.expected)
    }

    /// The largest moment of any phase: what the arena has to hold.
    pub(crate) fn scratch(&self) -> Result<Bytes, EngineError> {
        let mut largest = Bytes::ZERO;
        for phase in Phase::ALL {
            for moment in Moment::ALL {
                let alive = self.buffers.iter().filter(|buffer| match buffer.life {
                    Life::During(of, Moment::Whole) => of == phase,
                    Life::During(of, at) => of == phase && at == moment,
                    Life::From(_) => false,
                });
                largest = largest.max(Bytes::sum(alive.map(|buffer| buffer.size.expected))?);
            }
        }
        Ok(largest)
    }
}

fn check(scenario: &Scenario<'_>) -> Result<(), EngineError> {
    let workload = &scenario.workload;
    let refuse = |what: String, expected: &str| Err(EngineError::unsupported(what, expected));
    if scenario.kind() != Runtime::Vramplan {
        return refuse(format!("plans of the `{}` runtime", scenario.kind()), "`vramplan`");
    }
    if let Some(Refusal { what, expected }) = capabilities::refuses_work(workload, scenario.kv) {
        return refuse(what, &expected);
    }
    if workload.recent_window.is_none() {
        return refuse("a plan without a recent window".into(), "`recent_window` tokens");
    }
    Ok(())
}

/// Whether every position of a chunk gets logits.
pub(crate) fn all_logits(workload: &Workload) -> bool {
    workload.logits == Logits::All
}
