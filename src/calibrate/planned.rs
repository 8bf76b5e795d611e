//! A plan as a recording keeps it: what each phase and component was to hold.

use serde::{Deserialize, Serialize};

use vramplan_planner::deployment::Question;
use vramplan_planner::estimate::{Component, Phase};
use vramplan_planner::plan::Plan;
use vramplan_planner::protocol::Stage;
use vramplan_planner::render::{ComponentDoc, Document, PhaseDoc};
use vramplan_planner::spec::Bounds;
use vramplan_planner::text::printable;
use vramplan_planner::units::Overflow;

/// What a run was planned to hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PlannedRun {
    /// What was planned, with every key that counts.
    pub deployment: Question,
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
    pub fn new(plan: &Plan, deployment: Question) -> Result<Self, Overflow> {
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
            deployment,
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

    /// The part of a document that a measurement is compared with.
    pub fn of(document: &Document) -> Self {
        let phase =
            |row: &PhaseDoc| PlannedPhase { id: row.id, total: row.total, components: Vec::new() };
        let component = |row: &ComponentDoc| PlannedComponent {
            id: row.id,
            at_peak: Bounds { low: row.low, expected: row.expected, high: row.high },
        };
        Self {
            deployment: document.deployment.resolved.clone(),
            peak_phase: document.peak.phase,
            peak: document.peak.total,
            phases: document.phases.iter().map(phase).collect(),
            components: document.held().map(component).collect(),
        }
    }

    /// Every size with its bounds.
    pub(crate) fn bounds(&self) -> impl Iterator<Item = Bounds> + '_ {
        let phases = self.phases.iter().map(|row| row.total);
        let components = self.components.iter().map(|row| row.at_peak);
        std::iter::once(self.peak).chain(phases).chain(components)
    }

    /// The same with every text made safe to print.
    pub(crate) fn cleaned(self) -> Self {
        let clean = |text: Option<String>| text.as_deref().map(printable);
        let Question { gpu, model, runtime_version, .. } = self.deployment.clone();
        let deployment = Question {
            gpu: clean(gpu),
            model: clean(model),
            runtime_version: clean(runtime_version),
            ..self.deployment
        };
        Self { deployment, ..self }
    }
}
