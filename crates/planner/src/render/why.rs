//! Why a run ran out, for people and for programs: schema `vramplan/why/v1`.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

use super::format::{Format, Printers};
use super::terminal::{WIDTH, finish, range, table};
use crate::deployment::Question;
use crate::plan::Verdict;
use crate::spec::Bounds;
use crate::text::{printable, printable_message, wrap};
use crate::units::Bytes;
use crate::why::{
    CauseKind, Checked, Compared, Engine, Evidence, Finding, Holder, Place, Planned, Term, TermKind,
};

/// The name and version of the schema.
pub const SCHEMA: &str = "vramplan/why/v1";

/// The formats of the answer.
pub const WHY: Printers<WhyDoc, fmt::Error> = Printers(&[
    (Format::Table, |document| Ok(to_text(document))),
    (Format::Json, |document| {
        serde_json::to_string_pretty(document).map(|json| json + "\n").map_err(|_| fmt::Error)
    }),
]);

/// Rows of a table that are shown; JSON has all.
const MOST_ROWS: usize = 24;

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
        model: evidence.models.first().cloned(),
        format: evidence.format.clone(),
        settings: safe(evidence.run.question.clone()),
        lines: evidence.lines,
        cut_lines: evidence.cut_lines,
        cut: evidence.cut,
        earlier_failures: evidence.earlier,
        recovered_in: evidence.recovered,
    }
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

fn short_plan(plan: &Planned) -> PlanDoc {
    PlanDoc {
        question: safe(plan.answer.planned(&plan.deployment).resolved()),
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

/// The answer for a terminal of 80 columns; readable without colour.
fn to_text(document: &WhyDoc) -> String {
    let sections = [
        heading(document),
        terms(document),
        beside(document),
        others(document),
        remedies(document),
        notes(document),
    ];
    sections.into_iter().filter(|section| !section.is_empty()).collect::<Vec<_>>().join("\n")
}

fn heading(document: &WhyDoc) -> String {
    let CauseDoc { sentence, line, short_by, because, .. } = &document.cause;
    let at = line.map(|line| format!(" (line {line})")).unwrap_or_default();
    let mut text = wrap(&format!("{sentence}{at}"), WIDTH);
    if let Some(short) = short_by {
        let _ = writeln!(text, "short by {short}");
    }
    for why in because {
        text.push_str(&wrap(why, WIDTH));
    }
    text.push_str(&wrap(&source(document), WIDTH));
    text
}

/// What wrote the log, of which model, on which cards.
fn source(document: &WhyDoc) -> String {
    let log = &document.log;
    let mut parts = Vec::new();
    parts.push(match (log.engine, &log.version) {
        (Some(engine), Some(version)) => format!("{} {version}", engine.name()),
        (Some(engine), None) => engine.name().to_owned(),
        (None, _) => "no engine recognised".to_owned(),
    });
    if let Some(model) = &log.model {
        let name = model.rsplit(['/', '\\']).next().unwrap_or(model);
        let name = if model.starts_with(['/', '.', '~']) || model.contains('\\') { name } else { model };
        parts.push(name.to_owned());
    }
    parts.extend(log.format.clone());
    for card in document.cards.iter().take(4) {
        let name = card.name.clone().unwrap_or_else(|| format!("card {}", card.index));
        let total = card.total.map(|total| format!(", {total}")).unwrap_or_default();
        let free = card.free.map(|free| format!(", {free} free at the start")).unwrap_or_default();
        parts.push(format!("{name}{total}{free}"));
    }
    let mut text = parts.join(" · ");
    if let Some(line) = log.recovered_in {
        let _ = write!(text, " · a later run, from line {line} on, went well");
    } else if log.earlier_failures > 0 {
        let runs = if log.earlier_failures == 1 { "run" } else { "runs" };
        let _ = write!(text, " · {} {runs} before failed too", log.earlier_failures);
    }
    text
}

fn terms(document: &WhyDoc) -> String {
    if document.terms.is_empty() {
        return String::new();
    }
    let mut rows = table(&["the log states", "where", "size", "line"], &[2, 3]);
    for term in document.terms.iter().take(MOST_ROWS) {
        let place = match (term.host, term.card) {
            (true, _) => "main memory".to_owned(),
            (false, Some(card)) => format!("card {card}"),
            (false, None) => "card".to_owned(),
        };
        let estimate = if term.estimated { " (its estimate)" } else { "" };
        rows.add_row([
            format!("{}{estimate}", term.kind.title()),
            place,
            term.size.to_string(),
            term.line.to_string(),
        ]);
    }
    let more = document.terms.len().saturating_sub(MOST_ROWS);
    let more = if more > 0 { format!("… and {more} more, see `--json`\n") } else { String::new() };
    finish(&rows) + &more
}

fn beside(document: &WhyDoc) -> String {
    let Some(plan) = &document.plan else { return String::new() };
    let asked = &plan.question;
    let shown = |value: Option<String>| value.unwrap_or_default();
    let title = format!(
        "planned: {} · {} weights · {} KV · {} tokens · {} · {}",
        shown(asked.model.clone()),
        shown(asked.weights.map(|weights| weights.to_string())),
        shown(asked.kv.map(|kv| kv.to_string())),
        shown(asked.cache_tokens.map(|tokens| tokens.to_string())),
        shown(asked.runtime.map(|runtime| runtime.to_string())),
        cards(asked),
    );
    let peak = format!(
        "peak {} ({}) of {}: {}",
        plan.peak.expected,
        range(plan.peak),
        plan.usable,
        plan.verdict.words()
    );
    let mut text = wrap(&title, WIDTH) + &wrap(&peak.replace(" ()", ""), WIDTH);
    if document.compared.is_empty() {
        return text;
    }
    let mut rows = table(&["", "measured", "planned", "low – high", ""], &[1, 2]);
    for row in document.compared.iter().take(MOST_ROWS) {
        let card = row.card.map(|card| format!(" on card {card}")).unwrap_or_default();
        let refused = if row.refused { ", refused" } else { "" };
        rows.add_row([
            format!("{}{card}{refused}", row.group),
            row.measured.to_string(),
            row.planned.expected.to_string(),
            range(row.planned),
            if row.within { "as planned".to_owned() } else { "outside".to_owned() },
        ]);
    }
    text.push_str(&finish(&rows));
    text
}

/// The cards of a question, several of one name as `2 × L4`.
fn cards(question: &Question) -> String {
    let gpu = question.gpu.clone().unwrap_or_default();
    match question.gpus.filter(|gpus| *gpus > 1) {
        Some(gpus) => format!("{gpus} × {gpu}"),
        None => gpu,
    }
}

fn others(document: &WhyDoc) -> String {
    if document.holders.is_empty() {
        return String::new();
    }
    let mut text = "also on the card:\n".to_owned();
    for holder in document.holders.iter().take(MOST_ROWS) {
        let name = holder.name.clone().unwrap_or_else(|| "process".to_owned());
        let pid = holder.pid.map(|pid| format!(" {pid}")).unwrap_or_default();
        text.push_str(&wrap(&format!("- {name}{pid}: {}", holder.size), WIDTH));
    }
    text
}

fn remedies(document: &WhyDoc) -> String {
    if document.remedies.is_empty() {
        return String::new();
    }
    let mut text = "what mends it:\n".to_owned();
    for remedy in &document.remedies {
        let how = match remedy.checked {
            Checked::ByLog => " (by the log's figures)",
            Checked::Unchecked => " (not checked)",
            Checked::Fits | Checked::Tight | Checked::Covers | Checked::NotEnough => "",
        };
        text.push_str(&wrap(&format!("- {}{how}", remedy.text), WIDTH));
    }
    text
}

fn notes(document: &WhyDoc) -> String {
    let lines = document.notes.iter().map(|note| wrap(&format!("note: {note}"), WIDTH));
    lines.collect()
}
