//! Rehearsals for a terminal of 80 columns: the answer first.

use super::{
    CardDoc, PlanDoc, QuestionDoc, RehearsalDoc, RunDoc, SmallestDoc, TorchDoc, UnseenDoc,
};
use crate::report::observe::{RowDoc, signed};
use vramplan_planner::render::terminal::{WIDTH, finish, range, table};
use vramplan_planner::text::wrap;
use vramplan_planner::units::Bytes;

/// The document as text.
pub fn to_table(document: &RehearsalDoc) -> String {
    let mut sections = vec![heading(document)];
    match (document.question, document.runs.as_slice()) {
        (QuestionDoc::Once, [run]) => sections.extend(sections_of(run)),
        (_, runs) => {
            sections.push(compared(document.question, runs));
            sections.push(last_lines(runs));
            sections.extend(document.smallest.as_ref().map(smallest));
            sections.push(unseen(&everything_unseen(runs)));
        }
    }
    sections.into_iter().filter(|section| !section.is_empty()).collect::<Vec<_>>().join("\n")
}

fn heading(document: &RehearsalDoc) -> String {
    let mut facts = vec![format!("`{}`", document.command.join(" "))];
    if let (QuestionDoc::Once, [run]) = (document.question, document.runs.as_slice()) {
        facts.extend(run.engine.clone());
        facts.push(format!("{:.3} s", run.seconds));
        facts.push(super::exit_words(&run.outcome));
    }
    format!("{}{}", wrap(&document.answer, WIDTH), wrap(&facts.join(" · "), WIDTH))
}

fn sections_of(run: &RunDoc) -> Vec<String> {
    vec![
        phases(run),
        kinds(run),
        torch(&run.torch),
        plan(&run.plan),
        unseen(&run.unseen),
        noticed(run),
    ]
}

fn phases(run: &RunDoc) -> String {
    let several = run.cards.len() > 1;
    let mut header = vec!["phase", "begins", "lasts", "at first", "peak", "at last"];
    if several {
        header.insert(1, "card");
    }
    let right: Vec<usize> = (1..header.len()).collect();
    let mut rows = table(&header, &right);
    for phase in &run.phases {
        let times =
            if phase.occurrences > 1 { format!(" ×{}", phase.occurrences) } else { String::new() };
        for (at, level) in phase.cards.iter().enumerate() {
            let first = at == 0;
            let once = |text: String| if first { text } else { String::new() };
            let mut cells = vec![
                once(format!("{}{times}", phase.name)),
                once(format!("{:.3} s", phase.begins)),
                once(format!("{:.3} s", phase.seconds)),
                level.begin.to_string(),
                level.peak.to_string(),
                level.end.to_string(),
            ];
            if several {
                cells.insert(1, at.to_string());
            }
            rows.add_row(cells);
        }
    }
    finish(&rows)
}

/// What a kind of memory is called.
pub(super) fn kind_title(kind: &str) -> &str {
    match kind {
        "context" => "context (profile's)",
        "malloc" => "cudaMalloc",
        "pool" => "pools (cudaMallocAsync)",
        "virtual" => "virtual memory (cuMemCreate)",
        "managed" => "managed memory",
        "array" => "arrays",
        "module" => "module images",
        "library" => "library workspaces",
        other => other,
    }
}

/// The kinds that any card holds at its peak, in the order of tables.
pub(super) fn kinds_of(cards: &[CardDoc]) -> Vec<String> {
    let mut kinds: Vec<String> = Vec::new();
    for held in cards.iter().flat_map(|card| &card.by_kind) {
        if !kinds.contains(&held.kind) {
            kinds.push(held.kind.clone());
        }
    }
    kinds
}

pub(super) fn of_kind(card: &CardDoc, kind: &str) -> Bytes {
    card.by_kind.iter().find(|held| held.kind == kind).map_or(Bytes::ZERO, |held| held.bytes)
}

/// Cards that a table has room for beside each other.
const ABREAST: usize = 4;

fn kinds(run: &RunDoc) -> String {
    let sections = run.cards.chunks(ABREAST).enumerate().map(|(at, cards)| {
        let several = run.cards.len() > 1;
        let name = |(number, card): (usize, &CardDoc)| {
            let number = at * ABREAST + number;
            if several { format!("{number}: {}", card.name) } else { card.name.clone() }
        };
        let mut header = vec!["at the peak".to_owned()];
        header.extend(cards.iter().enumerate().map(name));
        let header: Vec<&str> = header.iter().map(String::as_str).collect();
        let right: Vec<usize> = (1..header.len()).collect();
        let mut rows = table(&header, &right);
        let mut row = |title: &str, of: &dyn Fn(&CardDoc) -> Bytes| {
            let cells = std::iter::once(title.to_owned());
            rows.add_row(cells.chain(cards.iter().map(|card| of(card).to_string())));
        };
        for kind in kinds_of(cards) {
            row(kind_title(&kind), &|card| of_kind(card, &kind));
        }
        row("in all", &|card| card.peak);
        row("usable", &|card| card.usable);
        row("left", &|card| card.usable.minus_or_zero(card.peak));
        finish(&rows)
    });
    let mut text = sections.collect::<Vec<_>>().join("\n");
    // Less is bookkeeping.
    if run.pinned >= Bytes::MIB {
        text.push_str(&wrap(&format!("page-locked host memory: {} at most", run.pinned), WIDTH));
    }
    text
}

fn torch(docs: &[TorchDoc]) -> String {
    if docs.is_empty() {
        return String::new();
    }
    let header = ["PyTorch, end of", "requested", "allocated", "reserved", "unused", "fragmented"];
    let mut rows = table(&header, &[1, 2, 3, 4, 5]);
    let several = docs.iter().any(|doc| (doc.pid, doc.card) != (docs[0].pid, docs[0].card));
    for doc in docs {
        let phase = doc.phase.as_deref().unwrap_or("the run");
        let whose =
            if several { format!(" ({}, card {})", doc.pid, doc.card) } else { String::new() };
        rows.add_row([
            format!("{phase}{whose}"),
            doc.requested.to_string(),
            doc.allocated.to_string(),
            doc.reserved.to_string(),
            doc.unused.to_string(),
            doc.fragmented.to_string(),
        ]);
    }
    let most = docs.iter().filter(|doc| doc.phase.is_none());
    let lines = most.map(|doc| {
        let retries = match doc.retries {
            0 => String::new(),
            n => format!("; {n} times it emptied its cache and tried again"),
        };
        let whose = if several {
            format!(" of process {} on card {}", doc.pid, doc.card)
        } else {
            String::new()
        };
        let line = format!(
            "largest{whose}: {} allocated, {} reserved{retries}",
            doc.allocated_peak, doc.reserved_peak
        );
        wrap(&line, WIDTH)
    });
    format!("{}{}", finish(&rows), lines.collect::<String>())
}

fn plan(plan: &PlanDoc) -> String {
    if plan.cards.is_empty() {
        return if plan.note.is_empty() { String::new() } else { wrap(&plan.note, WIDTH) };
    }
    let mut text = wrap(&plan.note, WIDTH);
    for (at, card) in plan.cards.iter().enumerate() {
        let title =
            if plan.cards.len() > 1 { format!("plan, card {at}") } else { "plan".to_owned() };
        let mut rows = table(
            &[&title, "low – high", "expected", "rehearsed", "difference", ""],
            &[1, 2, 3, 4],
        );
        for group in &card.groups {
            let cells = match &group.stated {
                Some(row) => cells(group.title.clone(), row),
                None => [
                    group.title.clone(),
                    range(group.plan),
                    group.plan.expected.to_string(),
                    "–".to_owned(),
                    String::new(),
                    String::new(),
                ],
            };
            rows.add_row(cells);
        }
        for phase in &card.phases {
            rows.add_row(cells(format!("phase {}", phase.name), &phase.row));
        }
        rows.add_row(cells(format!("peak ({})", card.plan.peak_phase.title()), &card.peak));
        text.push_str(&finish(&rows));
    }
    text.push_str(&wrap(&super::judgement(plan), WIDTH));
    for outside in &plan.outside {
        text.push_str(&wrap(&format!("- {outside}"), WIDTH));
    }
    text
}

fn cells(name: String, row: &RowDoc) -> [String; 6] {
    let difference = signed(row.difference);
    let verdict = if row.verdict == "within" { String::new() } else { row.verdict.clone() };
    [
        name,
        range(row.plan),
        row.plan.expected.to_string(),
        row.measured.to_string(),
        difference,
        verdict,
    ]
}

fn unseen(unseen: &[UnseenDoc]) -> String {
    let mut text = "not seen:\n".to_owned();
    for one in unseen {
        let bounds = one
            .bounds
            .map(|bounds| format!(", {}", super::bounds_words(bounds)))
            .unwrap_or_default();
        let basis = one.basis.map(|basis| format!(" ({basis})")).unwrap_or_default();
        text.push_str(&wrap(&format!("- {}{bounds}{basis}: {}", one.what, one.note), WIDTH));
    }
    text
}

fn noticed(run: &RunDoc) -> String {
    let mut lines = run.remarks.clone();
    if let Some(said) = run.outcome.said.as_ref().filter(|_| run.outcome.refused.is_some()) {
        lines.push(format!("the program says: {said}"));
    }
    if !run.stubs.is_empty() {
        lines.push(format!("functions that only succeeded: {}", run.stubs.join(", ")));
    }
    if run.calls.events_lost > 0 {
        lines.push(format!(
            "{} events were lost: peaks are exact all the same, phases may not be",
            run.calls.events_lost
        ));
    }
    lines.iter().map(|line| wrap(&format!("- {line}"), WIDTH)).collect()
}

/// Several rehearsals, a line each.
fn compared(question: QuestionDoc, runs: &[RunDoc]) -> String {
    let name = match question {
        QuestionDoc::Sweep => Some("cards"),
        QuestionDoc::Try => Some("setting"),
        // Each is named by what is usable.
        QuestionDoc::Smallest | QuestionDoc::Once => None,
    };
    let header: Vec<&str> = name.into_iter().chain(["usable", "peak", "left", "outcome"]).collect();
    let first = header.len() - 4;
    let mut rows = table(&header, &[first, first + 1, first + 2]);
    for run in runs {
        // Of several cards the one that comes closest to being full.
        let fullest = run.cards.iter().min_by_key(|card| card.usable.minus_or_zero(card.peak));
        let sizes = fullest.map_or_else(Default::default, |card| {
            let left = card.usable.minus_or_zero(card.peak);
            [card.usable, card.peak, left].map(|size| size.to_string())
        });
        let cells = name.map(|_| run.name.clone()).into_iter().chain(sizes);
        rows.add_row(cells.chain([super::short(run)]));
    }
    finish(&rows)
}

/// What is not seen in any of them, each once.
fn everything_unseen(runs: &[RunDoc]) -> Vec<UnseenDoc> {
    let mut all: Vec<UnseenDoc> = Vec::new();
    for one in runs.iter().flat_map(|run| &run.unseen) {
        if all.iter().all(|known| known.what != one.what) {
            all.push(one.clone());
        }
    }
    // What is known of cards first, as in one rehearsal.
    all.sort_by_key(|one| one.bounds.is_none());
    all
}

/// What the first rehearsal that failed printed last: the output is not shown.
fn last_lines(runs: &[RunDoc]) -> String {
    let Some(failed) = runs.iter().find(|run| run.outcome.id == "failed") else {
        return String::new();
    };
    let lines = failed.outcome.last_lines.iter().map(|line| wrap(&format!("  {line}"), WIDTH));
    format!("{}, its last lines:\n{}", failed.name, lines.collect::<String>())
}

fn smallest(smallest: &SmallestDoc) -> String {
    super::found(smallest).iter().map(|line| wrap(line, WIDTH)).collect()
}
