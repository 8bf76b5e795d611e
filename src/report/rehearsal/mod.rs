//! Rehearsals, schema `vramplan/rehearsal/v1`: how each ended, peaks by kind of memory, phases, the plan beside
//! it, and what is not seen.

mod build;
mod html;
mod markdown;
mod text;

use serde::{Deserialize, Serialize};

use super::observe::RowDoc;
use crate::calibrate::PlannedRun;
use vramplan_planner::deployment::Question;
use vramplan_planner::spec::{Basis, Bounds};
use vramplan_planner::units::Bytes;

pub use build::{Context, Plan, run_doc};
pub use html::to_html;
pub use markdown::to_markdown;
pub use text::to_table;

/// The name and version of the schema.
pub const SCHEMA: &str = "vramplan/rehearsal/v1";

/// One rehearsal, or several of one program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RehearsalDoc {
    /// `vramplan/rehearsal/v1`.
    pub schema: String,
    /// What rehearsed it.
    pub tool: String,
    /// When, in UTC.
    pub started: String,
    /// The command with its arguments.
    pub command: Vec<String>,
    /// The answer in a sentence.
    pub answer: String,
    /// Why there are several rehearsals, if there are.
    pub question: QuestionDoc,
    /// The rehearsals: one, or in the order in which they were asked for.
    pub runs: Vec<RunDoc>,
    /// The smallest capacity on which it ends well, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smallest: Option<SmallestDoc>,
}

/// Why there are several rehearsals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum QuestionDoc {
    /// There is one.
    Once,
    /// On capacities between which the smallest lies.
    Smallest,
    /// On different cards.
    Sweep,
    /// With and without a setting.
    Try,
}

/// The smallest capacity on which a program ends well: between two that were tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SmallestDoc {
    /// The smallest usable memory of each card that was tried and is enough.
    pub enough: Bytes,
    /// The largest that was tried and is too small; nothing where none was.
    pub too_small: Option<Bytes>,
    /// The smallest cards of which profiles are known that have it.
    pub cards: Vec<String>,
}

/// One rehearsal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RunDoc {
    /// What tells it from the others: its cards, its capacity, or its setting.
    pub name: String,
    /// How it ended, in a sentence.
    pub answer: String,
    /// How it ended.
    pub outcome: OutcomeDoc,
    /// How long it took.
    pub seconds: f64,
    /// The engine, where its output tells.
    pub engine: Option<String>,
    /// The cards, in their order.
    pub cards: Vec<CardDoc>,
    /// Phases, in the order in which they began.
    pub phases: Vec<PhaseDoc>,
    /// What PyTorch's allocator said, at the end of each phase and at last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub torch: Vec<TorchDoc>,
    /// Host memory that was page-locked, at most.
    pub pinned: Bytes,
    /// What was planned, and how it compares.
    pub plan: PlanDoc,
    /// What a rehearsal does not see.
    pub unseen: Vec<UnseenDoc>,
    /// What the program asked of the card.
    pub calls: CallsDoc,
    /// Functions that only succeeded: what they should have done did not happen.
    pub stubs: Vec<String>,
    /// What else the reader should know.
    pub remarks: Vec<String>,
}

/// How a rehearsal ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OutcomeDoc {
    /// `ended`, `out_of_memory`, `failed`, `stopped`, `ready`, `hung`, `interrupted` or `impossible`.
    pub id: String,
    /// Whether the program did what it was to do.
    pub well: bool,
    /// The program's exit code.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The request that was refused last, where memory ran out.
    pub refused: Option<RefusedDoc>,
    /// How the program, or its engine, said that memory ran out.
    pub said: Option<String>,
    /// The last lines that the program printed, where it did not end well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_lines: Vec<String>,
}

/// A request that a card refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RefusedDoc {
    /// The card's number.
    pub card: u64,
    /// How much was asked for.
    pub asked: Bytes,
    /// What was free.
    pub free: Bytes,
    /// For what kind of memory.
    pub kind: String,
    /// The function that was called.
    pub call: String,
    /// Seconds after the start.
    pub at: f64,
    /// In which phase.
    pub phase: Option<String>,
}

/// A card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CardDoc {
    /// Its short name.
    pub name: String,
    /// What NVML calls total.
    pub total: Bytes,
    /// What the driver keeps.
    pub reserved: Bytes,
    /// What others hold.
    pub other_use: Bytes,
    /// `total − reserved − other_use`.
    pub usable: Bytes,
    /// The most that was held at once.
    pub peak: Bytes,
    /// When, in seconds after the start; nothing where the card was not used.
    pub at: Option<f64>,
    /// In which phase.
    pub phase: Option<String>,
    /// What held it then.
    pub by_kind: Vec<KindDoc>,
    /// The most that each kind held at any time.
    pub largest: Vec<KindDoc>,
    /// Requests that were refused.
    pub refusals: u64,
    /// What was held over time, thinned without losing the largest.
    pub timeline: Vec<MomentDoc>,
}

/// A kind of memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct KindDoc {
    /// `context`, `malloc`, `pool`, `virtual`, `managed`, `array`, `module` or `library`.
    pub kind: String,
    /// How much.
    pub bytes: Bytes,
}

/// What a card held at a time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MomentDoc {
    /// Seconds after the start.
    pub at: f64,
    /// How much, from then on.
    pub bytes: Bytes,
}

/// A phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PhaseDoc {
    /// Its name.
    pub name: String,
    /// How often it occurred.
    pub occurrences: u64,
    /// Seconds after the start at which it first began.
    pub begins: f64,
    /// How long it lasted in all. The card's own time is not in it: no kernel ran.
    pub seconds: f64,
    /// What each card held, in their order.
    pub cards: Vec<LevelDoc>,
}

/// What a card held in a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LevelDoc {
    /// When it first began.
    pub begin: Bytes,
    /// At most.
    pub peak: Bytes,
    /// When it last ended.
    pub end: Bytes,
}

/// What PyTorch's allocator said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TorchDoc {
    /// The phase at whose end; nothing for the last word.
    pub phase: Option<String>,
    /// The process.
    pub pid: i32,
    /// The card's number.
    pub card: u64,
    /// What tensors asked for.
    pub requested: Bytes,
    /// That, in the allocator's blocks.
    pub allocated: Bytes,
    /// What it took from the card.
    pub reserved: Bytes,
    /// `reserved − allocated`: cached, or in pieces that nothing fits into.
    pub unused: Bytes,
    /// Of that, free pieces of blocks in use: what cannot be given back.
    pub fragmented: Bytes,
    /// The most that was allocated at once.
    pub allocated_peak: Bytes,
    /// The most that was reserved at once.
    pub reserved_peak: Bytes,
    /// Times that it emptied its cache and tried again.
    pub retries: u64,
}

/// What was planned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PlanDoc {
    /// `given`, `recognised` or `none`.
    pub source: String,
    /// What was recognised, or why there is no plan.
    pub note: String,
    /// The deployment that was planned.
    pub deployment: Option<Question>,
    /// How far outside of the bounds is still inside, in percent of the expected value.
    pub tolerance_percent: f64,
    /// Whether the run came as far as the plan goes, so that it can be judged by it.
    pub judged: bool,
    /// Whether all lies inside, where it is judged.
    pub within: Option<bool>,
    /// What lies outside.
    pub outside: Vec<String>,
    /// Each card beside its plan.
    pub cards: Vec<BesideDoc>,
}

/// A card beside its plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BesideDoc {
    /// The plan.
    pub plan: PlannedRun,
    /// The peak.
    pub peak: RowDoc,
    /// Phases that both know.
    pub phases: Vec<super::observe::NamedRow>,
    /// Groups of components.
    pub groups: Vec<GroupDoc>,
}

/// A group of components beside its plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GroupDoc {
    /// `weights`, `caches`, `computed` or `overhead`.
    pub id: String,
    /// As tables name it.
    pub title: String,
    /// What was planned for the peak.
    pub plan: Bounds,
    /// What the engine, or PyTorch, said that it holds; nothing where neither did.
    pub stated: Option<RowDoc>,
}

/// What a rehearsal does not see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct UnseenDoc {
    /// What.
    pub what: String,
    /// How much it may be, where that is known; nothing where it is not.
    pub bounds: Option<Bounds>,
    /// How that is known.
    pub basis: Option<Basis>,
    /// In what way it is in the figures, and where it was read.
    pub note: String,
}

/// What the program asked of the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CallsDoc {
    /// Functions called.
    pub calls: u64,
    /// Kernels and graphs launched; none was run.
    pub launches: u64,
    /// Times that memory was taken or given back.
    pub allocations: u64,
    /// Processes that used a card.
    pub processes: u64,
    /// Bytes copied to cards.
    pub host_to_device: Bytes,
    /// Bytes copied back.
    pub device_to_host: Bytes,
    /// Events that were lost. Peaks are exact all the same, phases and timelines may not be.
    pub events_lost: u64,
}

impl RehearsalDoc {
    /// As indented JSON.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|json| json + "\n")
    }
}

/// How the program itself ended, in words.
fn exit_words(outcome: &OutcomeDoc) -> String {
    match (outcome.code, outcome.signal) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// How a rehearsal ended, short enough for a table.
fn short(run: &RunDoc) -> String {
    let outcome = &run.outcome;
    match (&outcome.refused, outcome.id.as_str()) {
        (Some(refused), _) => {
            let phase =
                refused.phase.as_ref().map(|phase| format!(" in {phase}")).unwrap_or_default();
            format!("out of memory{phase}: {} more", refused.asked)
        }
        (None, "out_of_memory") => "out of memory".to_owned(),
        (None, "failed") => exit_words(outcome),
        (None, id) => id.to_owned(),
    }
}

/// Bounds, also where there is no doubt.
fn bounds_words(bounds: Bounds) -> String {
    if bounds.low == bounds.high {
        return bounds.expected.to_string();
    }
    vramplan_planner::render::terminal::range(bounds)
}

/// Whether a rehearsal is as planned, in a sentence.
fn judgement(plan: &PlanDoc) -> String {
    let percent = plan.tolerance_percent;
    match plan.within {
        Some(true) => format!("within {percent}% of the plan's bounds"),
        Some(false) => format!("outside {percent}% of the plan's bounds"),
        None => "not judged: the run did not come as far as the plan goes".to_owned(),
    }
}

/// A capacity to the MiB, rounded up, so that it is enough.
fn to_the_mib(size: Bytes) -> String {
    let mib = size.get().div_ceil(Bytes::MIB.get());
    format!("{mib} MiB ({size})")
}

/// What a search found, in sentences.
fn found(smallest: &SmallestDoc) -> Vec<String> {
    let enough = to_the_mib(smallest.enough);
    let mut lines = vec![match smallest.too_small {
        Some(small) => {
            format!("it ends well with {enough} usable, and not with {}", to_the_mib(small))
        }
        None => format!("it ends well with {enough} usable, the least that was tried"),
    }];
    if !smallest.cards.is_empty() {
        lines.push(format!("the smallest known cards that have it: {}", smallest.cards.join(", ")));
    }
    lines
}
