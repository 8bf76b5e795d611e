//! A plan as a recording keeps it: what each phase and component was to hold.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::estimate::{Component, Phase};
use crate::plan::Plan;
use crate::source::printable;
use crate::spec::Bounds;

/// What a run was planned to hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PlannedRun {
    /// What was planned: GPU, model, runtime and so on, as resolved.
    pub inputs: BTreeMap<String, String>,
    /// The largest phase.
    pub peak_phase: Phase,
    /// What it holds.
    pub peak: Bounds,
    /// What each phase holds.
    pub phases: Vec<PlannedPhase>,
    /// What each component holds at the peak.
    pub components: Vec<PlannedComponent>,
}

/// What a phase was planned to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PlannedPhase {
    /// Which.
    pub id: Phase,
    /// How much.
    #[serde(flatten)]
    pub total: Bounds,
}

/// What a component was planned to hold at the peak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PlannedComponent {
    /// Which.
    pub id: Component,
    /// How much.
    #[serde(flatten)]
    pub at_peak: Bounds,
}

impl PlannedRun {
    /// The part of a plan that a measurement is compared with.
    pub fn new(plan: &Plan, inputs: BTreeMap<String, String>) -> Self {
        let phase = |row: &crate::plan::PhaseRow| PlannedPhase { id: row.phase, total: row.total };
        let component = |row: &crate::plan::ComponentRow| PlannedComponent {
            id: row.component,
            at_peak: row.at_peak,
        };
        Self {
            inputs,
            peak_phase: plan.peak_phase,
            peak: plan.peak,
            phases: plan.phases.iter().map(phase).collect(),
            components: plan.components.iter().map(component).collect(),
        }
    }

    /// The phase that the plan calls `name`, `-`, `_` and spaces alike.
    pub fn phase(&self, name: &str) -> Option<&PlannedPhase> {
        let wanted = name.to_ascii_lowercase().replace(['-', ' '], "_");
        self.phases.iter().find(|phase| phase.id.id() == wanted)
    }

    /// The same with every text made safe to print.
    pub(super) fn cleaned(self) -> Self {
        let clean = |(key, value): (String, String)| (printable(&key), printable(&value));
        Self { inputs: self.inputs.into_iter().map(clean).collect(), ..self }
    }
}
