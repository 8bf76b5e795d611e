//! The answer for a terminal of 80 columns; readable without colour.

use std::fmt::Write as _;

use super::{CauseDoc, WhyDoc};
use crate::deployment::Question;
use crate::render::terminal::{WIDTH, finish, range, table};
use crate::text::{printable, wrap};
use crate::why::Checked;

/// Rows of a table that are shown; JSON has all.
const MOST_ROWS: usize = 24;

/// The answer for a terminal of 80 columns; readable without colour.
pub(super) fn to_text(document: &WhyDoc) -> String {
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
        // What Ollama calls its version has its name in it.
        (Some(engine), Some(version)) => match version.strip_prefix("Ollama ") {
            Some(own) => format!("ollama {own}"),
            None => format!("{} {version}", engine.name()),
        },
        (Some(engine), None) => engine.name().to_owned(),
        (None, _) => "no engine recognised".to_owned(),
    });
    if let Some(model) = &log.model {
        parts.push(printable(short_name(model)));
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

/// The last of a path; of the hub's cache, where that is a snapshot's hash, the folder of the repository.
fn short_name(model: &str) -> &str {
    let whole = model.trim_end_matches(['/', '\\']);
    if !whole.starts_with(['/', '.', '~'])
        && !whole.contains('\\')
        && whole.matches('/').count() < 2
    {
        return whole;
    }
    let mut parts = whole.rsplit(['/', '\\']);
    let last = parts.next().unwrap_or(whole);
    if parts.next() == Some("snapshots") { parts.next().unwrap_or(last) } else { last }
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
    let more =
        if more > 0 { format!("… and {more} more, see `--json`\n") } else { String::new() };
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
        shown(asked.max_model_len.or(asked.cache_tokens).map(|tokens| tokens.to_string())),
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
