//! Rehearsals for a repository or an issue.

use std::fmt::Write as _;

use super::text::{kind_title, kinds_of, of_kind};
use super::{PlanDoc, QuestionDoc, RehearsalDoc, RunDoc};
use crate::report::observe::{RowDoc, signed};
use vramplan_planner::render::terminal::range;
use vramplan_planner::text::markdown as cell;

/// The document as Markdown.
pub fn to_markdown(document: &RehearsalDoc) -> String {
    let command = document.command.join(" ").replace('`', "'");
    let mut text = format!(
        "## Rehearsal\n\n**{}**\n\n`{command}`, {}\n\n",
        cell(&document.answer),
        document.tool
    );
    if document.question != QuestionDoc::Once {
        compared(&mut text, &document.runs);
    }
    for line in document.smallest.iter().flat_map(super::found) {
        let _ = writeln!(text, "{}\n", cell(&line));
    }
    if let (QuestionDoc::Once, [run]) = (document.question, document.runs.as_slice()) {
        one(&mut text, run);
    }
    text
}

fn compared(text: &mut String, runs: &[RunDoc]) {
    text.push_str("| | usable | peak | outcome |\n|---|---:|---:|---|\n");
    for run in runs {
        for card in &run.cards {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} |",
                cell(&run.name),
                card.usable,
                card.peak,
                cell(&super::short(run))
            );
        }
    }
    text.push('\n');
}

fn one(text: &mut String, run: &RunDoc) {
    phases(text, run);
    kinds(text, run);
    torch(text, run);
    plan(text, &run.plan);
    text.push_str("Not seen:\n\n");
    for one in &run.unseen {
        let bounds = one
            .bounds
            .map(|bounds| format!(", {}", super::bounds_words(bounds)))
            .unwrap_or_default();
        let _ = writeln!(text, "- {}{bounds}: {}", cell(&one.what), cell(&one.note));
    }
    for remark in &run.remarks {
        let _ = writeln!(text, "- {}", cell(remark));
    }
    for stub in &run.stubs {
        let _ = writeln!(text, "- only succeeded: {}", cell(stub));
    }
}

fn phases(text: &mut String, run: &RunDoc) {
    text.push_str("| phase | card | begins | lasts | at first | peak | at last |\n");
    text.push_str("|---|---:|---:|---:|---:|---:|---:|\n");
    for phase in &run.phases {
        for (at, level) in phase.cards.iter().enumerate() {
            let _ = writeln!(
                text,
                "| {} | {at} | {:.3} s | {:.3} s | {} | {} | {} |",
                cell(&phase.name),
                phase.begins,
                phase.seconds,
                level.begin,
                level.peak,
                level.end
            );
        }
    }
    text.push('\n');
}

fn kinds(text: &mut String, run: &RunDoc) {
    let names: Vec<String> = run.cards.iter().map(|card| cell(&card.name)).collect();
    let _ = writeln!(text, "| at the peak | {} |", names.join(" | "));
    let _ = writeln!(text, "|---|{}", "---:|".repeat(names.len()));
    let mut row = |title: &str, cells: Vec<String>| {
        let _ = writeln!(text, "| {title} | {} |", cells.join(" | "));
    };
    for kind in kinds_of(&run.cards) {
        row(
            kind_title(&kind),
            run.cards.iter().map(|card| of_kind(card, &kind).to_string()).collect(),
        );
    }
    row("**in all**", run.cards.iter().map(|card| card.peak.to_string()).collect());
    row("usable", run.cards.iter().map(|card| card.usable.to_string()).collect());
    text.push('\n');
}

fn torch(text: &mut String, run: &RunDoc) {
    if run.torch.is_empty() {
        return;
    }
    text.push_str("| PyTorch, end of | process | card | requested | allocated | reserved | unused | fragmented |\n");
    text.push_str("|---|---:|---:|---:|---:|---:|---:|---:|\n");
    for doc in &run.torch {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            cell(doc.phase.as_deref().unwrap_or("the run")),
            doc.pid,
            doc.card,
            doc.requested,
            doc.allocated,
            doc.reserved,
            doc.unused,
            doc.fragmented
        );
    }
    text.push('\n');
}

fn plan(text: &mut String, plan: &PlanDoc) {
    if !plan.note.is_empty() {
        let _ = writeln!(text, "{}\n", cell(&plan.note));
    }
    for (at, card) in plan.cards.iter().enumerate() {
        let _ = writeln!(
            text,
            "| plan of card {at} | low – high | expected | rehearsed | difference | |"
        );
        text.push_str("|---|---:|---:|---:|---:|---|\n");
        for group in &card.groups {
            if let Some(stated) = &group.stated {
                row(text, &group.title, stated);
            } else {
                let (range, expected) = (range(group.plan), group.plan.expected);
                let _ = writeln!(text, "| {} | {range} | {expected} | – | | |", group.title);
            }
        }
        for phase in &card.phases {
            row(text, &format!("phase {}", cell(&phase.name)), &phase.row);
        }
        row(text, &format!("**peak ({})**", card.plan.peak_phase.title()), &card.peak);
        text.push('\n');
    }
    if !plan.cards.is_empty() {
        let _ = writeln!(text, "{}\n", super::judgement(plan));
        for outside in &plan.outside {
            let _ = writeln!(text, "- {}", cell(outside));
        }
        text.push('\n');
    }
}

fn row(text: &mut String, name: &str, row: &RowDoc) {
    let _ = writeln!(
        text,
        "| {name} | {} | {} | {} | {} | {} |",
        range(row.plan),
        row.plan.expected,
        row.measured,
        signed(row.difference),
        row.verdict
    );
}
