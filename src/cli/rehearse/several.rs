//! Several rehearsals of one program: the smallest capacity, other cards, settings.

use std::io::{IsTerminal as _, Write as _};

use super::asked::{Asked, Target};
use super::live::{Reporter, document, go, outcome, setup};
use crate::calibrate::session::Show;
use crate::cli::Outcome;
use crate::cli::problem::Problem;
use crate::rehearse::cards;
use crate::rehearse::run::{End, Rehearsed, Setup};
use crate::rehearse::search;
use crate::report::rehearsal::{QuestionDoc, RunDoc, SmallestDoc};
use vramplan_planner::read::{Catalog, Kind};
use vramplan_planner::units::Bytes;

/// What PyTorch reads its allocator's settings from.
const ALLOCATOR: &str = "PYTORCH_CUDA_ALLOC_CONF";

/// A rehearsal among others, whose output is not shown.
struct Tried {
    rehearsed: Rehearsed,
    doc: RunDoc,
}

fn attempt(
    reporter: &Reporter<'_>,
    name: String,
    target: &Target,
    machine: &vramplan_virtual_gpu::Machine,
    change: impl FnOnce(&mut Setup),
) -> anyhow::Result<Tried> {
    say(&name);
    let mut setup = setup(reporter.args, Show::Hidden, true);
    change(&mut setup);
    let rehearsed = go(machine, &setup)?;
    if rehearsed.end == End::Interrupted {
        return Err(Problem::new("interrupted").into());
    }
    let doc = reporter.doc(name, &rehearsed, target)?;
    Ok(Tried { rehearsed, doc })
}

/// Says on a terminal what goes on.
fn say(name: &str) {
    if std::io::stderr().is_terminal() {
        let _ = writeln!(anstream::stderr(), "rehearsing: {name}");
    }
}

/// `--smallest`.
pub fn smallest(asked: &Asked, reporter: &Reporter<'_>) -> anyhow::Result<Outcome> {
    let target = asked.target(None)?;
    let first = &target.cards.first().gpu.name;
    if target.cards.iter().any(|card| card.gpu.name != *first) {
        return Err(Problem::new("`--smallest` makes every card smaller alike, and these differ")
            .hint("name equal cards, such as `--gpu 2xL4`")
            .into());
    }
    let usable = target.cards.first().capacity.usable;
    let whole =
        attempt(reporter, usable.to_string(), &target, &cards::machine(&target.cards), |_| {})?;
    let mut last = outcome(&whole.rehearsed, &whole.doc, false);
    let mut runs = vec![whole.doc];
    let took = |rehearsed: &Rehearsed| {
        let peaks = rehearsed.report.cards.iter().map(|card| card.peak_resident);
        Bytes::new(peaks.max().unwrap_or(0))
    };
    let mut found = None;
    if whole.rehearsed.end.is_well() {
        last = Outcome::Done;
        let peak = took(&whole.rehearsed);
        found = Some(search::smallest(usable, peak, reporter.args.within, |at| {
            let machine = cards::machine_of(&target.cards, at);
            let tried = attempt(reporter, at.to_string(), &target, &machine, |_| {})?;
            runs.push(tried.doc);
            let well = tried.rehearsed.end.is_well();
            Ok::<_, anyhow::Error>(well.then(|| took(&tried.rehearsed)))
        })?);
    }
    let answer = match &found {
        Some(found) => {
            let each = if target.cards.len() > 1 { " of each card" } else { "" };
            let mib = found.enough.get().div_ceil(Bytes::MIB.get());
            format!("ends well with {mib} MiB usable{each}, {}", found.enough)
        }
        None => format!("does not end well on {}: {}", target.name, runs[0].answer),
    };
    let mut document = document(&whole.rehearsed, answer, QuestionDoc::Smallest, runs);
    if let Some(found) = found {
        let cards = large_enough(&asked.catalog, found.enough)?;
        let (enough, too_small) = (found.enough, found.too_small);
        document.smallest = Some(SmallestDoc { enough, too_small, cards });
    }
    reporter.write(&document, None)?;
    Ok(last)
}

/// How many cards are named that have enough.
const NAMED: usize = 3;

/// The smallest known cards of which so much is usable.
fn large_enough(catalog: &Catalog, enough: Bytes) -> anyhow::Result<Vec<String>> {
    let mut known = Vec::new();
    for name in catalog.names(Kind::Gpu)? {
        let gpu = catalog.gpu(name)?;
        if gpu.visible() >= enough {
            known.push((gpu.visible(), gpu.name));
        }
    }
    known.sort();
    Ok(known.into_iter().take(NAMED).map(|(usable, name)| format!("{name} ({usable})")).collect())
}

/// `--sweep`.
pub fn sweep(asked: &Asked, reporter: &Reporter<'_>) -> anyhow::Result<Outcome> {
    // All of them are looked for before anything runs.
    let names = reporter.args.sweep.iter().map(|name| asked.target(Some(name)));
    let targets: Vec<Target> = names.collect::<anyhow::Result<_>>()?;
    let mut tried = Vec::new();
    for target in &targets {
        let machine = cards::machine(&target.cards);
        tried.push(attempt(reporter, target.name.clone(), target, &machine, |_| {})?);
    }
    let well = tried.iter().filter(|one| one.rehearsed.end.is_well());
    let well: Vec<&str> = well.map(|one| one.doc.name.as_str()).collect();
    let answer = match well.len() {
        0 => "ends well on none of the cards".to_owned(),
        n if n == tried.len() => "ends well on every card".to_owned(),
        _ => format!("ends well on {}", well.join(", ")),
    };
    finish(reporter, answer, QuestionDoc::Sweep, tried)?;
    Ok(Outcome::Done)
}

/// `--try`.
pub fn attempts(asked: &Asked, reporter: &Reporter<'_>) -> anyhow::Result<Outcome> {
    let target = asked.target(None)?;
    let machine = cards::machine(&target.cards);
    let mut tried = vec![attempt(reporter, "as it is".to_owned(), &target, &machine, |_| {})?];
    for setting in &reporter.args.attempts {
        let value = setting.variable();
        let own = std::env::var(ALLOCATOR).ok().filter(|own| !own.is_empty());
        let value = own.map_or_else(|| value.to_owned(), |own| format!("{own},{value}"));
        let name = setting.variable().to_owned();
        let change = |setup: &mut Setup| setup.variables.push((ALLOCATOR.to_owned(), value));
        tried.push(attempt(reporter, name, &target, &machine, change)?);
    }
    let answer = difference(&tried);
    // What was tried last is what would be run.
    let last = tried.last().map(|one| outcome(&one.rehearsed, &one.doc, false));
    finish(reporter, answer, QuestionDoc::Try, tried)?;
    Ok(last.unwrap_or(Outcome::Done))
}

/// What settings change, in a sentence.
fn difference(tried: &[Tried]) -> String {
    let peak = |one: &Tried| one.doc.cards.iter().map(|card| card.peak).max().unwrap_or_default();
    let [base, others @ ..] = tried else { return String::new() };
    let one = |other: &Tried| {
        let name = &other.doc.name;
        match (base.rehearsed.end.is_well(), other.rehearsed.end.is_well()) {
            (false, true) => format!("`{name}` makes it end well: peak {}", peak(other)),
            (true, false) => format!("`{name}` makes it fail: {}", other.doc.answer),
            (false, false) => format!("`{name}` does not help: {}", other.doc.answer),
            (true, true) if peak(other) < peak(base) => {
                format!(
                    "`{name}` saves {} of {}",
                    peak(base).minus_or_zero(peak(other)),
                    peak(base)
                )
            }
            (true, true) if peak(other) > peak(base) => {
                format!("`{name}` takes {} more", peak(other).minus_or_zero(peak(base)))
            }
            (true, true) => format!("`{name}` changes nothing: peak {}", peak(base)),
        }
    };
    others.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn finish(
    reporter: &Reporter<'_>,
    answer: String,
    question: QuestionDoc,
    tried: Vec<Tried>,
) -> anyhow::Result<()> {
    let Some(first) = tried.first() else { return Ok(()) };
    let mut document = document(&first.rehearsed, answer, question, Vec::new());
    document.runs = tried.into_iter().map(|one| one.doc).collect();
    reporter.write(&document, None)
}
