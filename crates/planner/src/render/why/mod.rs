//! Why a run ran out, for people and for programs: schema `vramplan/why/v1`.

mod text;

use super::format::{Format, Printers};
use crate::deployment::Question;
use crate::dtype::WeightFormat;
use crate::plan::Verdict;
use crate::spec::Bounds;
use crate::text::{printable, printable_message};
use crate::units::Bytes;
use crate::why::{
    CauseKind, Checked, Compared, Engine, Evidence, Finding, Holder, Place, Planned, Term, TermKind,
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The name and version of the schema.
pub const SCHEMA: &str = "vramplan/why/v1";

/// The formats of the answer.
pub const WHY: Printers<WhyDoc, fmt::Error> = Printers(&[
    (Format::Table, |document| Ok(text::to_text(document))),
    (Format::Json, |document| {
        serde_json::to_string_pretty(document).map(|json| json + "\n").map_err(|_| fmt::Error)
    }),
]);

/// Why a run ran out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WhyDoc {
    /// `vramplan/why/v1`.
    pub schema: String,
    /// What ran out, and why.
    pub cause: CauseDoc,
    /// What wrote the log.
    pub log: LogDoc,
    /// Every size that the log states.
    pub terms: Vec<TermDoc>,
    /// The cards that it names.
    pub cards: Vec<CardDoc>,
    /// Processes that hold memory of them.
    pub holders: Vec<HolderDoc>,
    /// The plan of the run, in short; none where the log does not say enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanDoc>,
    /// What is stated beside what is planned.
    pub compared: Vec<ComparedDoc>,
    /// What mends it, the surest first.
    pub remedies: Vec<RemedyDoc>,
    /// What is missing for a plan, or what the plan takes for granted.
    pub notes: Vec<String>,
}

/// What ran out, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CauseDoc {
    /// In a word.
    pub kind: CauseKind,
    /// In a sentence.
    pub sentence: String,
    /// The term that was short, where that is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<TermKind>,
    /// The line that tells it, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// By how much it was short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub short_by: Option<Bytes>,
    /// Why, in further sentences.
    pub because: Vec<String>,
}

/// What wrote the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LogDoc {
    /// The program; none where no line is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<Engine>,
    /// Its version, as it prints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The model, as it is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The format of its weights, as it is printed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// What is known of its settings.
    pub settings: Question,
    /// Lines that were read.
    pub lines: u64,
    /// Lines of which only the beginning was looked at.
    pub cut_lines: u64,
    /// Whether there was more than is read.
    pub cut: bool,
    /// Runs before the one that is told of, which failed too.
    pub earlier_failures: u64,
    /// A later run, which did not fail, begins in this line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered_in: Option<u64>,
}

/// A size that a log states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TermDoc {
    /// What for.
    pub kind: TermKind,
    /// On which card; none on the host, or where that is not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<u64>,
    /// Whether it is in main memory.
    pub host: bool,
    /// How much.
    pub size: Bytes,
    /// How far that may be off, as it is printed with so many digits.
    pub within: Bytes,
    /// Whether the engine only expects it.
    pub estimated: bool,
    /// In which line.
    pub line: u64,
}

/// A card as a log names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CardDoc {
    /// Its number.
    pub index: u64,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Bytes>,
    /// What was free when the run began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free: Option<Bytes>,
    /// What was in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Bytes>,
}

/// A process that holds memory of a card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HolderDoc {
    /// Its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u64>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Of which card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<u64>,
    /// How much.
    pub size: Bytes,
    /// In which line.
    pub line: u64,
}

/// The plan of the run, in short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PlanDoc {
    /// What was planned: `--scenario` of `budget` reads it back.
    pub question: Question,
    /// Whether it fits.
    pub verdict: Verdict,
    /// What it takes at its peak.
    pub peak: Bounds,
    /// What the run can take of the card.
    pub usable: Bytes,
    /// How much is missing.
    pub short_by: Bytes,
}

/// A group of what is stated beside what is planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ComparedDoc {
    /// The group: weights, caches, or what a pass computes.
    pub group: String,
    /// On which of several cards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<u64>,
    /// What the log states.
    pub measured: Bytes,
    /// Whether a part of it was asked for and refused.
    pub refused: bool,
    /// What is planned.
    pub planned: Bounds,
    /// Whether that is within the plan's bounds, as far as it is printed.
    pub within: bool,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RemedyDoc {
    /// A stable name.
    pub code: String,
    /// The flag or setting in the engine's own words; empty where it is none.
    pub flags: String,
    /// What it frees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frees: Option<Bytes>,
    /// How sure it is that it mends.
    pub checked: Checked,
    /// In a sentence.
    pub text: String,
}

impl WhyDoc {
    /// The document of what was found.
    pub fn new(finding: &Finding) -> Self {
        let Finding { evidence, cause, plan, notes, compared, remedies } = finding;
        Self {
            schema: SCHEMA.to_owned(),
            cause: CauseDoc {
                kind: cause.kind,
                sentence: printable_message(&cause.sentence),
                term: cause.term,
                line: cause.line,
                short_by: cause.short_by,
                because: cause.because.iter().map(|why| printable_message(why)).collect(),
            },
            log: log(evidence),
            terms: evidence.run.terms.iter().map(term).collect(),
            cards: evidence.cards.iter().map(card).collect(),
            holders: evidence.holders.iter().map(holder).collect(),
            plan: plan.as_ref().map(short_plan),
            compared: compared.iter().map(compared_doc).collect(),
            remedies: remedies.iter().map(remedy).collect(),
            notes: notes.iter().map(|note| printable_message(note)).collect(),
        }
    }
}

fn log(evidence: &Evidence) -> LogDoc {
    LogDoc {
        engine: evidence.engine.map(|(engine, _)| engine),
        version: evidence.version.clone(),
        model: named_best(&evidence.models),
        format: evidence.format.clone(),
        settings: safe(evidence.run.question.clone()),
        lines: evidence.lines,
        cut_lines: evidence.cut_lines,
        cut: evidence.cut,
        earlier_failures: evidence.earlier,
        recovered_in: evidence.recovered,
    }
}

/// The surest name that says something: not that of a blob, where there is another.
fn named_best(models: &[String]) -> Option<String> {
    let is_blob = |name: &&String| !name.contains("sha256-");
    models.iter().find(is_blob).or_else(|| models.first()).cloned()
}

/// A question whose texts are safe to print.
fn safe(question: Question) -> Question {
    let text = |text: Option<String>| text.map(|text| printable(&text));
    Question {
        gpu: text(question.gpu),
        model: text(question.model),
        runtime_version: text(question.runtime_version),
        mmproj: text(question.mmproj),
        draft: text(question.draft),
        ..question
    }
}

fn term(term: &Term) -> TermDoc {
    let card = match term.place {
        Place::Card(card) => Some(card),
        Place::Cards | Place::Host => None,
    };
    TermDoc {
        kind: term.kind,
        card,
        host: term.place == Place::Host,
        size: term.size.bytes,
        within: term.size.within,
        estimated: term.estimated,
        line: term.line,
    }
}

fn card(card: &crate::why::CardSeen) -> CardDoc {
    CardDoc {
        index: card.index,
        name: card.name.clone(),
        total: card.total,
        free: card.free,
        used: card.used,
    }
}

fn holder(holder: &Holder) -> HolderDoc {
    HolderDoc {
        pid: holder.pid,
        name: holder.name.clone(),
        card: holder.card,
        size: holder.size,
        line: holder.line,
    }
}

/// The question with the type of a file that is planned as it is stored, where the log tells it.
fn named(plan: &Planned, question: Question) -> Question {
    let weights = match question.weights {
        Some(WeightFormat::AsStored) => plan.question.weights.or(question.weights),
        weights => weights,
    };
    Question { weights, ..question }
}

fn short_plan(plan: &Planned) -> PlanDoc {
    PlanDoc {
        question: named(plan, safe(plan.answer.planned(&plan.deployment).resolved())),
        verdict: plan.answer.verdict,
        peak: plan.answer.plan.peak,
        usable: plan.answer.plan.capacity.usable,
        short_by: plan.answer.plan.short_by,
    }
}

fn compared_doc(row: &Compared) -> ComparedDoc {
    ComparedDoc {
        group: row.group.id().to_owned(),
        card: row.card,
        measured: row.measured.bytes,
        refused: row.refused,
        planned: row.planned,
        within: row.is_within(),
    }
}

fn remedy(remedy: &crate::why::Remedy) -> RemedyDoc {
    RemedyDoc {
        code: remedy.code.to_owned(),
        flags: printable_message(&remedy.flags),
        frees: remedy.frees,
        checked: remedy.checked,
        text: printable_message(&remedy.text),
    }
}
