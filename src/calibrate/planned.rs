//! A plan as a recording keeps it: what each phase and component was to hold.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use vramplan_planner::estimate::{Component, Phase};
use vramplan_planner::plan::Plan;
use vramplan_planner::protocol::Stage;

use vramplan_planner::spec::Bounds;
use vramplan_planner::text::printable;
use vramplan_planner::units::Overflow;

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PlannedPhase {
    /// Which.
    pub id: Phase,
    /// How much.
    #[serde(flatten)]
    pub total: Bounds,
    /// What each component holds in its largest moment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<PlannedComponent>,
}

/// What a component was planned to hold: at the peak, or in a phase.
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
    ///
    /// # Errors
    /// On sizes that no device has.
    pub fn new(plan: &Plan, inputs: BTreeMap<String, String>) -> Result<Self, Overflow> {
        let phase = |row: &vramplan_planner::plan::PhaseRow| {
            let components = plan.components_in(row.phase)?.into_iter();
            let components = components.map(|(id, at_peak)| PlannedComponent { id, at_peak });
            Ok(PlannedPhase { id: row.phase, total: row.total, components: components.collect() })
        };
        let component = |row: &vramplan_planner::plan::ComponentRow| PlannedComponent {
            id: row.component,
            at_peak: row.at_peak,
        };
        Ok(Self {
            inputs,
            peak_phase: plan.peak_phase,
            peak: plan.peak,
            phases: plan.phases.iter().map(phase).collect::<Result<_, _>>()?,
            components: plan.components.iter().map(component).collect(),
        })
    }

    /// The phase that the plan calls `name`, `-`, `_` and spaces alike.
    pub fn phase(&self, name: &str) -> Option<&PlannedPhase> {
        let wanted = name.to_ascii_lowercase().replace(['-', ' '], "_");
        // A worker loads its weights in a stage of their own.
        let stage = Stage::from_id(&wanted).and_then(Stage::phase);
        let wanted = stage.map_or(wanted, |phase| phase.id().to_owned());
        self.phases.iter().find(|phase| phase.id.id() == wanted)
    }

    /// The same with every text made safe to print.
    pub(crate) fn cleaned(self) -> Self {
        let clean = |(key, value): (String, String)| (printable(&key), printable(&value));
        Self { inputs: self.inputs.into_iter().map(clean).collect(), ..self }
    }
}
