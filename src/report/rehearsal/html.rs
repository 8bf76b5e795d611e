//! Rehearsals as one page that needs nothing else.
//!
//! Every text goes through [`text::html`](vramplan_planner::text::html): names come from programs, and programs from anywhere.

use std::fmt::Write as _;

use super::text::{kind_title, kinds_of, of_kind};
use super::{CardDoc, PlanDoc, QuestionDoc, RehearsalDoc, RunDoc, UnseenDoc};
use crate::report::observe::signed;
use vramplan_planner::render::terminal::range;
use vramplan_planner::text::html as escaped;

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:15px/1.5 system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;max-width:60rem;\
margin:2rem auto;padding:0 1rem}\
h1{font-size:1.4rem;overflow-wrap:anywhere}h2{font-size:1.1rem;margin-top:2rem}\
.lead{color:#777;overflow-wrap:anywhere}\
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%}\
th,td{padding:.3rem .6rem;border-bottom:1px solid #8884;text-align:right;vertical-align:top;\
font-variant-numeric:tabular-nums}th:first-child,td:first-child{text-align:left}\
svg{max-width:100%;height:auto}.curve{fill:#0072b233;stroke:#0072b2;stroke-width:1.5}\
.usable{stroke:#b03a00;stroke-dasharray:5 3}text{font-size:12px;fill:currentColor}";

/// The document as a page.
pub fn to_html(document: &RehearsalDoc) -> String {
    let title = escaped(&document.answer);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    );
    let command = escaped(&document.command.join(" ")).into_owned();
    let _ = writeln!(
        page,
        "<p class=\"lead\"><code>{command}</code> · {}</p>",
        escaped(&document.tool)
    );
    if document.question != QuestionDoc::Once {
        compared(&mut page, &document.runs);
    }
    for line in document.smallest.iter().flat_map(super::found) {
        let _ = writeln!(page, "<p>{}</p>", escaped(&line));
    }
    if let (QuestionDoc::Once, [run]) = (document.question, document.runs.as_slice()) {
        one(&mut page, run);
    }
    page + "</body>\n</html>\n"
}

fn rows(page: &mut String, title: &str, header: &[String], rows: &[Vec<String>]) {
    let cells = |row: &[String], tag: &str| {
        let cell = |text: &String| format!("<{tag}>{}</{tag}>", escaped(text));
        row.iter().map(cell).collect::<String>()
    };
    let _ = writeln!(page, "<h2>{}</h2>\n<div class=\"scroll\"><table>", escaped(title));
    let _ = writeln!(page, "<tr>{}</tr>", cells(header, "th"));
    for row in rows {
        let _ = writeln!(page, "<tr>{}</tr>", cells(row, "td"));
    }
    page.push_str("</table></div>\n");
}

fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

fn compared(page: &mut String, runs: &[RunDoc]) {
    let row = |run: &RunDoc, card: &CardDoc| {
        vec![run.name.clone(), card.usable.to_string(), card.peak.to_string(), super::short(run)]
    };
    let all = runs.iter().flat_map(|run| run.cards.iter().map(move |card| row(run, card)));
    rows(page, "Rehearsals", &words(["", "usable", "peak", "outcome"]), &all.collect::<Vec<_>>());
}

fn one(page: &mut String, run: &RunDoc) {
    for card in &run.cards {
        picture(page, card, run.seconds);
    }
    let mut phases = Vec::new();
    for phase in &run.phases {
        for (at, level) in phase.cards.iter().enumerate() {
            phases.push(vec![
                phase.name.clone(),
                at.to_string(),
                format!("{:.3} s", phase.begins),
                format!("{:.3} s", phase.seconds),
                level.begin.to_string(),
                level.peak.to_string(),
                level.end.to_string(),
            ]);
        }
    }
    let header = words(["phase", "card", "begins", "lasts", "at first", "peak", "at last"]);
    rows(page, "Phases", &header, &phases);
    kinds(page, run);
    torch(page, run);
    plan(page, &run.plan);
    unseen(page, &run.unseen);
    let notes: Vec<&String> = run.remarks.iter().chain(&run.stubs).collect();
    for note in notes {
        let _ = writeln!(page, "<p>{}</p>", escaped(note));
    }
}

/// Memory over time as a staircase below what is usable.
fn picture(page: &mut String, card: &CardDoc, seconds: f64) {
    let (width, height) = (800.0, 200.0);
    let most = card.usable.max(card.peak).as_f64().max(1.0);
    let y = |bytes: f64| (height - bytes / most * (height - 20.0)).round();
    let x = |at: f64| (at / seconds.max(0.001) * width).clamp(0.0, width).round();
    let mut path = format!("M0 {height}");
    for moment in &card.timeline {
        let _ = write!(path, "H{}V{}", x(moment.at), y(moment.bytes.as_f64()));
    }
    let _ = write!(path, "H{width}V{height}Z");
    let line = y(card.usable.as_f64());
    let label = format!("{}: peak {} of {} usable", card.name, card.peak, card.usable);
    let label = escaped(&label);
    let _ = writeln!(
        page,
        "<figure><svg viewBox=\"0 0 {width} {height}\"><path class=\"curve\" d=\"{path}\"/>\
         <line class=\"usable\" x1=\"0\" x2=\"{width}\" y1=\"{line}\" y2=\"{line}\"/>\
         <text x=\"4\" y=\"14\">{label}</text></svg></figure>"
    );
}

fn kinds(page: &mut String, run: &RunDoc) {
    let mut header = words(["at the peak"]);
    header.extend(run.cards.iter().map(|card| card.name.clone()));
    let row = |title: &str, of: &dyn Fn(&CardDoc) -> String| {
        let mut cells = vec![title.to_owned()];
        cells.extend(run.cards.iter().map(of));
        cells
    };
    let mut all: Vec<Vec<String>> = kinds_of(&run.cards)
        .iter()
        .map(|kind| row(kind_title(kind), &|card| of_kind(card, kind).to_string()))
        .collect();
    all.push(row("in all", &|card| card.peak.to_string()));
    all.push(row("usable", &|card| card.usable.to_string()));
    rows(page, "By kind of memory", &header, &all);
}

fn torch(page: &mut String, run: &RunDoc) {
    if run.torch.is_empty() {
        return;
    }
    let row = |doc: &super::TorchDoc| {
        let phase = doc.phase.clone().unwrap_or_else(|| "the run".to_owned());
        let sizes = [doc.requested, doc.allocated, doc.reserved, doc.unused, doc.fragmented];
        let mut cells = vec![phase, doc.pid.to_string(), doc.card.to_string()];
        cells.extend(sizes.map(|size| size.to_string()));
        cells
    };
    let header = words([
        "end of",
        "process",
        "card",
        "requested",
        "allocated",
        "reserved",
        "unused",
        "fragmented",
    ]);
    rows(page, "PyTorch's allocator", &header, &run.torch.iter().map(row).collect::<Vec<_>>());
}

fn plan(page: &mut String, plan: &PlanDoc) {
    for (at, card) in plan.cards.iter().enumerate() {
        let groups = card.groups.iter().map(|group| {
            let stated = group.stated.as_ref();
            vec![
                group.title.clone(),
                range(group.plan),
                group.plan.expected.to_string(),
                stated.map_or_else(|| "–".to_owned(), |row| row.measured.to_string()),
                stated.map(|row| signed(row.difference)).unwrap_or_default(),
                stated.map(|row| row.verdict.clone()).unwrap_or_default(),
            ]
        });
        let peak = &card.peak;
        let peak = vec![
            "peak".to_owned(),
            range(peak.plan),
            peak.plan.expected.to_string(),
            peak.measured.to_string(),
            signed(peak.difference),
            peak.verdict.clone(),
        ];
        let all: Vec<_> = groups.chain(std::iter::once(peak)).collect();
        let header = words(["", "low – high", "expected", "rehearsed", "difference", ""]);
        rows(page, &format!("Beside the plan of card {at}"), &header, &all);
    }
    if !plan.cards.is_empty() {
        let _ = writeln!(page, "<p>{}</p>", escaped(&super::judgement(plan)));
    }
    if !plan.note.is_empty() {
        let _ = writeln!(page, "<p>{}</p>", escaped(&plan.note));
    }
}

fn unseen(page: &mut String, unseen: &[UnseenDoc]) {
    let row = |one: &UnseenDoc| {
        vec![
            one.what.clone(),
            one.bounds.map(super::bounds_words).unwrap_or_default(),
            one.note.clone(),
        ]
    };
    rows(
        page,
        "Not seen",
        &words(["what", "how much", ""]),
        &unseen.iter().map(row).collect::<Vec<_>>(),
    );
}
