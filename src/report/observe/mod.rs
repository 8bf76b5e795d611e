//! A measured run, schema `vramplan/observe/v1`: levels, phases, what a plan said, what was noticed.

mod markdown;
mod run_text;
mod steps;
mod timeline;

use serde::{Deserialize, Serialize};

use crate::calibrate::comparison::{Comparison, Place, Row};
use crate::calibrate::diagnosis::{Diagnosis, diagnose};
use crate::calibrate::measurement::{Measurement, PhaseMeasure};
use crate::calibrate::recording::shown;
use crate::calibrate::{Device, PlannedRun};
use vramplan_planner::estimate::Component;
use vramplan_planner::spec::Bounds;
use vramplan_planner::units::Bytes;
use vramplan_planner::units::to_u64;

pub use markdown::to_markdown;
pub use run_text::to_table;
#[cfg(target_os = "linux")]
pub use steps::StepDoc;
pub use steps::{Extras, QualityDoc, StepsDoc};
pub use timeline::to_timeline;

/// The name and version of the schema.
pub const SCHEMA: &str = "vramplan/observe/v1";

/// A measured run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ObserveDoc {
    /// `vramplan/observe/v1`.
    pub schema: String,
    /// What recorded it.
    pub tool: String,
    /// When, in UTC.
    pub started: String,
    /// What was measured.
    pub device: Device,
    /// What the figures are.
    pub figures: String,
    /// The command with its arguments.
    pub command: Vec<String>,
    /// How it ended; nothing where the recording ends before.
    pub exit: Option<ExitDoc>,
    /// How long it ran.
    pub seconds: f64,
    /// How it was sampled.
    pub sampling: SamplingDoc,
    /// What was held before it started, and is deducted.
    pub baseline: Bytes,
    /// The most that it held; nothing where nothing was read.
    pub peak: Option<PeakMeasure>,
    /// What was still held after it.
    pub after: Option<Bytes>,
    /// Every phase, in order of appearance.
    pub phases: Vec<PhaseMeasureDoc>,
    /// How that compares with the plan, where there is one.
    pub comparison: Option<ComparisonDoc>,
    /// What the program counted, such as its allocator's pool: the largest value of each.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub counters: std::collections::BTreeMap<String, u64>,
    /// Sizes of the cache that were run one after the other, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<StepsDoc>,
    /// What eviction loses on a text, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<QualityDoc>,
    /// Other processes that took memory meanwhile.
    pub others: Vec<OtherDoc>,
    /// What was noticed, the gravest first.
    pub diagnoses: Vec<Diagnosis>,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ExitDoc {
    /// Its exit code.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

/// How a run was sampled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SamplingDoc {
    /// Readings while the command ran.
    pub readings: u64,
    /// Readings a second.
    pub rate: f64,
    /// Levels that were kept: changes only.
    pub kept: u64,
}

/// The most that was held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PeakMeasure {
    /// How much.
    pub bytes: Bytes,
    /// Seconds after the start.
    pub at: f64,
    /// In which phase.
    pub phase: Option<String>,
}

/// What a phase held, over all its occurrences.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PhaseMeasureDoc {
    /// Which.
    pub name: String,
    /// How often it occurred.
    pub occurrences: u64,
    /// Seconds after the start at which it first began.
    pub begins: f64,
    /// How long it lasted in all.
    pub seconds: f64,
    /// What was held when it first began.
    pub begin: Bytes,
    /// The most that was held in it.
    pub peak: Bytes,
    /// What was held when it last ended.
    pub end: Bytes,
    /// Readings in it.
    pub readings: u64,
}

/// A measurement beside its plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ComparisonDoc {
    /// The plan.
    pub plan: PlannedRun,
    /// How far outside of the bounds is still inside, in percent of the expected value.
    pub tolerance_percent: f64,
    /// Whether the peak and every phase are.
    pub within: bool,
    /// The peak.
    pub peak: Option<RowDoc>,
    /// Phases that the run marked and the plan knows.
    pub phases: Vec<NamedRow>,
    /// Components of the plan at the peak.
    pub components: Vec<ComponentMeasure>,
    /// Components in every phase in which the program stated them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_phase: Vec<PhaseComponentMeasure>,
    /// What lies outside: components, phases, the peak.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outside: Vec<String>,
    /// What the peak is beyond the sum of the components, each as stated, else as expected.
    pub unexplained: Option<i64>,
}

/// A figure beside its plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RowDoc {
    /// What was planned.
    pub plan: Bounds,
    /// What was measured.
    pub measured: Bytes,
    /// `measured − expected`.
    pub difference: i64,
    /// The same in percent of the expected value; nothing where that is zero.
    pub percent: Option<f64>,
    /// `within`, `below` or `above`.
    pub verdict: String,
}

/// A phase beside its plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NamedRow {
    /// Which.
    pub name: String,
    /// How it compares.
    pub row: RowDoc,
}

/// A component beside its plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ComponentMeasure {
    /// Its stable name.
    pub id: Component,
    /// What was planned for the peak.
    pub plan: Bounds,
    /// How what the program stated compares; nothing where it stated nothing.
    pub stated: Option<RowDoc>,
}

/// A component in a phase beside its plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PhaseComponentMeasure {
    /// The phase, as the run calls it.
    pub phase: String,
    /// The component's stable name.
    pub id: Component,
    /// How what the program stated compares.
    pub stated: RowDoc,
}

/// Another process that took memory meanwhile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OtherDoc {
    /// Which.
    pub pid: u32,
    /// What it held when the command started.
    pub before: Bytes,
    /// The most it held while the command ran.
    pub most: Bytes,
}

impl ObserveDoc {
    /// The document of a measurement.
    pub fn new(measured: &Measurement, compared: Option<(&PlannedRun, &Comparison)>) -> Self {
        let header = &measured.header;
        Self {
            schema: SCHEMA.to_owned(),
            tool: header.tool.clone(),
            started: header.started.clone(),
            device: header.device.clone(),
            figures: figures(measured),
            command: header.command.iter().map(|word| shown(word)).collect(),
            exit: measured
                .exit
                .as_ref()
                .map(|exit| ExitDoc { code: exit.code, signal: exit.signal }),
            seconds: seconds(measured.duration()),
            sampling: SamplingDoc {
                readings: measured.taken,
                rate: measured.rate().round(),
                kept: to_u64(measured.points.len()),
            },
            baseline: measured.baseline,
            peak: measured.peak.as_ref().map(|peak| PeakMeasure {
                bytes: peak.held,
                at: seconds(peak.t.saturating_sub(measured.started)),
                phase: peak.phase.clone(),
            }),
            after: measured.after,
            phases: measured.phases.iter().map(|phase| phase_doc(phase, measured)).collect(),
            comparison: compared.map(|(plan, compared)| comparison_doc(plan, compared)),
            counters: measured.counters.clone(),
            steps: None,
            quality: None,
            others: measured
                .others
                .iter()
                .map(|other| OtherDoc { pid: other.pid, before: other.before, most: other.most })
                .collect(),
            diagnoses: diagnose(measured),
        }
    }

    /// The same with what else was found.
    #[must_use]
    pub fn with(self, extras: Extras) -> Self {
        Self { steps: extras.steps, quality: extras.quality, ..self }
    }

    /// As indented JSON.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|json| json + "\n")
    }
}

/// What the figures are, in words.
fn figures(measured: &Measurement) -> String {
    let figures = measured.header.device.meter.figures();
    if measured.stated.is_empty() {
        return figures.to_owned();
    }
    format!("{figures}; components as the program's own accounting states them")
}

/// Microseconds as seconds, to the millisecond.
#[allow(clippy::cast_precision_loss)]
pub(in crate::report) fn seconds(micros: u64) -> f64 {
    (micros / 1000) as f64 / 1000.0
}

fn phase_doc(phase: &PhaseMeasure, measured: &Measurement) -> PhaseMeasureDoc {
    PhaseMeasureDoc {
        name: phase.name.clone(),
        occurrences: phase.occurrences,
        begins: seconds(phase.start.saturating_sub(measured.started)),
        seconds: seconds(phase.duration),
        begin: phase.begin,
        peak: phase.peak,
        end: phase.end,
        readings: phase.taken,
    }
}

pub(in crate::report) fn row_doc(row: &Row) -> RowDoc {
    let expected = row.plan.expected;
    let ratio = row.measured.as_f64() / expected.as_f64() - 1.0;
    RowDoc {
        plan: row.plan,
        measured: row.measured,
        difference: clamp(row.difference),
        percent: (!expected.is_zero()).then(|| (ratio * 10_000.0).round() / 100.0),
        verdict: row.place.id().to_owned(),
    }
}

/// A difference as 64 bits hold it.
fn clamp(difference: i128) -> i64 {
    let most = i64::try_from(difference);
    most.unwrap_or(if difference < 0 { i64::MIN } else { i64::MAX })
}

fn comparison_doc(plan: &PlannedRun, compared: &Comparison) -> ComparisonDoc {
    ComparisonDoc {
        plan: plan.clone(),
        tolerance_percent: compared.tolerance.percent(),
        within: compared.is_within(),
        peak: compared.peak.as_ref().map(row_doc),
        phases: compared
            .phases
            .iter()
            .map(|(name, row)| NamedRow { name: name.clone(), row: row_doc(row) })
            .collect(),
        components: compared
            .components
            .iter()
            .map(|row| ComponentMeasure {
                id: row.component,
                plan: row.plan,
                stated: row.stated.as_ref().map(row_doc),
            })
            .collect(),
        by_phase: compared
            .by_phase
            .iter()
            .map(|row| PhaseComponentMeasure {
                phase: row.phase.clone(),
                id: row.component,
                stated: row_doc(&row.row),
            })
            .collect(),
        outside: compared.outside().iter().map(|(name, row)| outside(name, row)).collect(),
        // More than 64 bits hold is no difference that anything could have measured.
        unexplained: compared.unexplained.and_then(|difference| i64::try_from(difference).ok()),
    }
}

/// `conversation_cache: 12.00 MiB above 100.00 MiB`, by the bound that was missed.
pub(in crate::report) fn outside(name: &str, row: &Row) -> String {
    let (bound, word) = match row.place {
        Place::Below => (row.plan.low, "below"),
        _ => (row.plan.high, "above"),
    };
    let by = Bytes::new(clamp(row.measured.diff(bound)).unsigned_abs());
    format!("{name}: {by} {word} {bound}")
}

/// A difference with its sign.
pub(in crate::report) fn signed(difference: i64) -> String {
    let size = Bytes::new(difference.unsigned_abs());
    match difference {
        0 => "0 B".to_owned(),
        difference if difference < 0 => format!("−{size}"),
        _ => format!("+{size}"),
    }
}

/// How the command ended, in words.
fn ending(exit: Option<&ExitDoc>) -> String {
    match exit {
        Some(ExitDoc { code: Some(code), .. }) => format!("exit code {code}"),
        Some(ExitDoc { signal: Some(signal), .. }) => format!("ended by signal {signal}"),
        Some(_) => "ended".to_owned(),
        None => "the recording ends before the command".to_owned(),
    }
}
