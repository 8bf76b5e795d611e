//! Which term was short, by how much, and why.

mod allocation;
mod other;
mod torch;

pub use torch::beside;

use super::Printed;
use super::evidence::{Engine, Evidence, Failure, FailureKind, Killer, Place, TermKind};
use super::finding::Planned;
use crate::plan::Verdict;
use crate::units::Bytes;

/// Why a run failed, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CauseKind {
    /// The weights do not fit what was free.
    Weights,
    /// Keys and values, or recurrent states, do not.
    Cache,
    /// What a pass computes does not.
    Compute,
    /// The encoder of images does not.
    Encoder,
    /// An allocation, of what is not told.
    Allocation,
    /// Memory is there, but in pieces.
    Fragmentation,
    /// Others hold what is short.
    OtherProcesses,
    /// A single request is larger than the card.
    Request,
    /// The run itself holds the card.
    CardFull,
    /// Nothing is left of the engine's share for its cache.
    NoCache,
    /// The cache does not hold one request of the longest kind.
    ContextTooLong,
    /// More sequences are to be captured than the cache has states for.
    MoreThanStates,
    /// Less of the card is free than the engine is told to take.
    ShareNotFree,
    /// The static share does not hold weights and a cache.
    StaticShare,
    /// No room was left for graphs.
    GraphCapture,
    /// Weights were put into main memory.
    Offloaded,
    /// Fitting by the engine found no way.
    Unfit,
    /// The cache had no room for the requests that ran.
    CacheFull,
    /// Main memory ran out, and not the card's.
    MainMemory,
    /// The card or its driver failed, not for want of memory.
    DeviceFault,
    /// A line speaks of memory that ran out, in words that are not known.
    Unknown,
    /// The log tells of no failure.
    None,
}

/// What ran out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// In a word.
    pub kind: CauseKind,
    /// In a sentence.
    pub sentence: String,
    /// Which term it was, where that is told.
    pub term: Option<TermKind>,
    /// In which line.
    pub line: Option<u64>,
    /// By how much it was short.
    pub short_by: Option<Bytes>,
    /// Why, in further sentences.
    pub because: Vec<String>,
}

impl Cause {
    fn new(kind: CauseKind, sentence: String, failure: &Failure) -> Self {
        Self {
            kind,
            sentence,
            term: None,
            line: Some(failure.line),
            short_by: None,
            because: Vec::new(),
        }
    }

    fn because(mut self, why: impl Into<String>) -> Self {
        self.because.push(why.into());
        self
    }
}

/// What ran out, by what a log says and what the plan of it expects.
pub fn cause(evidence: &Evidence, plan: Option<&Planned>) -> Cause {
    let Some(failure) = decisive(evidence) else {
        return started(none(evidence), evidence, plan);
    };
    if let Some(cause) = other::other(evidence, failure) {
        return cause;
    }
    match &failure.kind {
        FailureKind::Allocation(term) => allocation::allocation(evidence, plan, failure, *term),
        FailureKind::Torch(error) => torch::torch(evidence, failure, error),
        FailureKind::Runtime => allocation::runtime(evidence, failure),
        FailureKind::NoCache => no_cache(evidence, failure, plan),
        FailureKind::ContextTooLong { .. } => context(evidence, failure),
        FailureKind::MoreThanStates { asked, states } => states_short(failure, *asked, *states),
        FailureKind::ShareNotFree { .. } => share(failure),
        FailureKind::StaticShare => static_share(evidence, failure),
        FailureKind::Capture { memory } => capture(evidence, failure, *memory),
        FailureKind::Dispatched => dispatched(failure),
        FailureKind::Unfit(why) => {
            let why = if why.is_empty() { String::new() } else { format!(": {why}") };
            let is_ollama = evidence.engine.is_some_and(|(engine, _)| engine == Engine::Ollama);
            let whose = if is_ollama { "Ollama" } else { "llama.cpp" };
            let sentence = format!("{whose}'s own fitting found no way{why}");
            Cause::new(CauseKind::Unfit, sentence, failure)
        }
        FailureKind::Refused { needs, has, host } => refused(failure, (*needs, *has), *host),
        FailureKind::DeviceFault(code) => fault(failure, *code),
        _ => none(evidence),
    }
}

/// A server that ran is no failure where the plan of it says that it does not fit.
fn started(cause: Cause, evidence: &Evidence, plan: Option<&Planned>) -> Cause {
    let runs = evidence.run.serves.is_some() || evidence.counts.cache_tokens.is_some();
    match plan {
        Some(plan) if runs && plan.answer.verdict == Verdict::DoesNotFit => cause.because(
            "it started, though the plan says that it does not fit: the plan takes something for granted that is otherwise here",
        ),
        _ => cause,
    }
}

/// The failure that ended the run: what is told most particularly, the first of its kind.
pub fn decisive(evidence: &Evidence) -> Option<&Failure> {
    let failures = evidence.run.failures.iter().filter(|failure| !failure.went_on);
    failures.min_by_key(|failure| (rank(&failure.kind), failure.line))
}

/// How particular a failure is: the least counts.
fn rank(kind: &FailureKind) -> u8 {
    match kind {
        FailureKind::StaticShare
        | FailureKind::ContextTooLong { .. }
        | FailureKind::MoreThanStates { .. }
        | FailureKind::NoCache
        | FailureKind::ShareNotFree { .. }
        | FailureKind::Unbalanced(_)
        | FailureKind::Profiled(..) => 0,
        FailureKind::Capture { memory: true }
        | FailureKind::Warmup { .. }
        | FailureKind::Mistaken(_) => 1,
        FailureKind::Allocation(Some(_))
        | FailureKind::Sampler(_)
        | FailureKind::Collectives
        | FailureKind::Woken
        | FailureKind::Split
        | FailureKind::BufferLimit(_)
        | FailureKind::Torch(_) => 2,
        FailureKind::HostKilled(killed) if killed.by == Killer::Force => 7,
        FailureKind::HostKilled(_) | FailureKind::HostAllocation(_) | FailureKind::Dispatched => 3,
        FailureKind::Allocation(None) | FailureKind::Build | FailureKind::Refused { .. } => 4,
        FailureKind::Runtime => 5,
        FailureKind::Unfit(_) => 6,
        FailureKind::DeviceError(_) | FailureKind::Capture { memory: false } => 8,
        FailureKind::DeviceFault(_) => 9,
        FailureKind::CacheFull { .. } | FailureKind::NoSlots { .. } => 10,
        FailureKind::PartlyOffloaded
        | FailureKind::LayersOnHost { .. }
        | FailureKind::NoCard { .. } => 11,
        FailureKind::Untold => 12,
    }
}

/// That the engine failed by something else than memory, where a line says so.
fn stopped(evidence: &Evidence) -> Option<String> {
    let said = evidence.run.stopped.as_deref()?.trim_end_matches('.');
    Some(format!("the log tells of no failure of memory: the engine stopped by another, `{said}`"))
}

/// A line that speaks of memory, where no failure is known and nothing ran on behind it.
fn hinted(evidence: &Evidence) -> Option<Cause> {
    let run = &evidence.run;
    let (line, text) = run.hinted.as_ref()?;
    let ran_on = run.serves.is_some_and(|serves| serves > *line);
    if ran_on || !run.failures.is_empty() || run.stopped.is_some() {
        return None;
    }
    let sentence = format!(
        "the log tells of no failure that vramplan knows, but a line speaks of memory that ran out: `{text}`"
    );
    let cause = Cause {
        kind: CauseKind::Unknown,
        sentence,
        term: None,
        line: Some(*line),
        short_by: None,
        because: Vec::new(),
    };
    Some(cause.because(
        "what was asked for, and what was free, is read of the engines that `docs/why.md` lists, from their own lines: \
         the whole log says more than one line of it",
    ))
}

fn none(evidence: &Evidence) -> Cause {
    if let Some(cause) = hinted(evidence) {
        return cause;
    }
    let sentence = if evidence.run.failures.is_empty() {
        stopped(evidence).unwrap_or_else(|| "the log tells of no failure".to_owned())
    } else {
        "the log tells of failures after which the run went on".to_owned()
    };
    let stopped = evidence.run.stopped_in;
    let line = evidence.run.failures.first().map(|failure| failure.line).or(stopped);
    Cause { kind: CauseKind::None, sentence, term: None, line, short_by: None, because: Vec::new() }
}

fn place(place: Place) -> String {
    match place {
        Place::Card(index) => format!(" on card {index}"),
        Place::Cards => String::new(),
        Place::Host => " in main memory".to_owned(),
    }
}

fn no_cache(evidence: &Evidence, failure: &Failure, plan: Option<&Planned>) -> Cause {
    let left = evidence.counts.cache_left;
    let how = match left {
        Some((size, true)) => format!("take {} more than its share of the card", size.bytes),
        Some((size, false)) => format!("leave {} of its share of the card", size.bytes),
        None => "fill its share of the card".to_owned(),
    };
    let sentence = format!("vLLM found no room for its cache: weights and activations {how}");
    let mut cause = Cause::new(CauseKind::NoCache, sentence, failure);
    cause.term = Some(TermKind::Cache);
    cause.short_by = left.filter(|(_, negative)| *negative).map(|(size, _)| size.bytes);
    let pool = plan.and_then(|plan| plan.answer.plan.pool).map(|pool| pool.start.has.low);
    match pool.filter(|pool| !pool.is_zero()) {
        Some(pool) => cause.because(format!(
            "the plan leaves {pool} of this share to the cache: something else held memory of the card, which vLLM may have counted as its own"
        )),
        None => cause,
    }
}

fn context(evidence: &Evidence, failure: &Failure) -> Cause {
    let FailureKind::ContextTooLong { context, needs, has, longest } = &failure.kind else {
        return none(evidence);
    };
    let what = context.map(|context| format!(" of {context} tokens")).unwrap_or_default();
    let sizes = match (needs, has) {
        (Some(needs), Some(has)) => {
            format!(" needs {} of cache, {} are there", needs.bytes, has.bytes)
        }
        _ => " does not fit its cache".to_owned(),
    };
    let longest = longest.map(|longest| format!("; {longest} tokens would")).unwrap_or_default();
    let sentence = format!("vLLM will not start: one request{what}{sizes}{longest}");
    let mut cause = Cause::new(CauseKind::ContextTooLong, sentence, failure);
    cause.term = Some(TermKind::Cache);
    cause.short_by = needs.zip(*has).map(|(needs, has)| needs.bytes.minus_or_zero(has.bytes));
    cause
}

fn states_short(failure: &Failure, asked: Option<u64>, states: Option<u64>) -> Cause {
    let asked =
        asked.map_or_else(|| "its sequences".to_owned(), |asked| format!("{asked} sequences"));
    let states =
        states.map_or_else(|| "its blocks".to_owned(), |states| format!("{states} blocks"));
    let sentence = format!(
        "vLLM will not start: {asked} are captured together, and its cache has {states} for their states"
    );
    let mut cause = Cause::new(CauseKind::MoreThanStates, sentence, failure);
    cause.term = Some(TermKind::State);
    cause.because(
        "layers that keep a state need a block of the cache for each sequence of a captured step",
    )
}

fn share(failure: &Failure) -> Cause {
    let FailureKind::ShareNotFree { free, total, share, wanted } = &failure.kind else {
        return Cause::new(CauseKind::ShareNotFree, failure.text.clone(), failure);
    };
    let share = share.as_deref().unwrap_or("its share");
    let sentence = format!(
        "vLLM will not start: its share of {share} is {}, and {} of {} are free",
        wanted.bytes, free.bytes, total.bytes
    );
    let mut cause = Cause::new(CauseKind::ShareNotFree, sentence, failure);
    cause.short_by = Some(wanted.bytes.minus_or_zero(free.bytes));
    let held = total.bytes.minus_or_zero(free.bytes);
    cause.because(format!("other processes and the driver hold {held} of the card"))
}

fn static_share(evidence: &Evidence, failure: &Failure) -> Cause {
    let share = evidence.static_share.as_deref();
    let of = share.map(|share| format!(" of {share}")).unwrap_or_default();
    let sentence = format!(
        "SGLang found no room for its cache: its static share{of} does not hold weights and one token"
    );
    let mut cause = Cause::new(CauseKind::StaticShare, sentence, failure);
    cause.term = Some(TermKind::Cache);
    let counts = evidence.counts;
    if let (Some(before), Some(after)) = (counts.free_before, counts.free_after) {
        cause = cause.because(format!(
            "{} were free before weights were loaded, {} after; what the share leaves out is kept for passes and graphs",
            before.bytes, after.bytes
        ));
        if let Some(reserved) = share.and_then(|share| reserved(before.bytes, share)) {
            cause.short_by = Some(reserved.minus_or_zero(after.bytes));
        }
    }
    cause
}

/// What of the card a static share leaves out: `total · (1 − share)` (`model_runner.py`, `profile_max_num_token`).
pub fn reserved(before: Bytes, share: &str) -> Option<Bytes> {
    let thousandths = thousandths(share)?;
    before.scale(1000u64.checked_sub(thousandths)?, 1000).ok()
}

/// `0.84` in thousandths.
pub fn thousandths(share: &str) -> Option<u64> {
    let share = Printed::parse(share.trim(), Bytes::new(1000))?.bytes.get();
    (1..=1000).contains(&share).then_some(share)
}

fn capture(evidence: &Evidence, failure: &Failure, memory: bool) -> Cause {
    let torch = evidence.run.failures.iter().find_map(|failure| match &failure.kind {
        FailureKind::Torch(error) => Some(error),
        _ => None,
    });
    if !memory {
        let sentence =
            "CUDA graphs could not be captured, for another reason than memory".to_owned();
        return Cause::new(CauseKind::DeviceFault, sentence, failure);
    }
    let sizes = torch.and_then(|error| Some((error.asked?, error.free?)));
    let how =
        sizes.map(|(asked, free)| format!(": {} were asked for, {} free", asked.bytes, free.bytes));
    let sentence = format!("no room was left for CUDA graphs{}", how.unwrap_or_default());
    let mut cause = Cause::new(CauseKind::GraphCapture, sentence, failure);
    cause.term = Some(TermKind::Graphs);
    cause.short_by = sizes.map(|(asked, free)| asked.bytes.minus_or_zero(free.bytes));
    cause.because("graphs are captured after weights and cache have taken the engine's share")
}

fn dispatched(failure: &Failure) -> Cause {
    let sentence = "the weights do not fit the card: accelerate put some modules on the CPU or the disk, which the quantization does not allow";
    let mut cause = Cause::new(CauseKind::Offloaded, sentence.to_owned(), failure);
    cause.term = Some(TermKind::Weights);
    cause.because("accelerate counts what is free when it loads, weights in their own format, and keeps some of the card back")
}

fn refused(
    failure: &Failure,
    (needs, has): (Option<Printed>, Option<Printed>),
    host: bool,
) -> Cause {
    let needs_text = needs.map(|needs| format!(": it needs {}", needs.bytes)).unwrap_or_default();
    let has_text = has.map(|has| format!(", {} are there", has.bytes)).unwrap_or_default();
    let (kind, whose) = if host {
        (CauseKind::MainMemory, "main memory, beside what fits the card")
    } else {
        (CauseKind::CardFull, "memory by the engine's own estimate")
    };
    let sentence = format!("the engine refused to load for want of {whose}{needs_text}{has_text}");
    let mut cause = Cause::new(kind, sentence, failure);
    cause.short_by = needs.zip(has).map(|(needs, has)| needs.bytes.minus_or_zero(has.bytes));
    cause
}

fn fault(failure: &Failure, code: u64) -> Cause {
    let what = match code {
        13 | 31 => ": a kernel of the program reached for memory that is not its own",
        43 | 45 => ": the driver ended a program",
        48 | 63 | 64 | 94 | 95 => ": an error of the card's memory",
        74 | 79 => ": the card fell off the bus",
        _ => "",
    };
    let sentence =
        format!("the driver tells of a fault (Xid {code}){what}: it is not want of memory");
    Cause::new(CauseKind::DeviceFault, sentence, failure)
}
