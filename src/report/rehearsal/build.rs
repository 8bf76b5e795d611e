//! From a rehearsal to its document.

use super::{
    BesideDoc, CallsDoc, CardDoc, GroupDoc, KindDoc, LevelDoc, MomentDoc, OutcomeDoc, PhaseDoc,
    PlanDoc, RefusedDoc, RunDoc, TorchDoc, UnseenDoc,
};
use crate::calibrate::PlannedRun;
use crate::calibrate::comparison::Tolerance;
use crate::calibrate::measurement::{Measurement, PhaseMeasure, WHOLE_RUN};
use crate::rehearse::beside::{Beside, beside, is_judged};
use crate::rehearse::run::{End, Rehearsed};
use crate::report::observe::{NamedRow, outside, row_doc, seconds};
use vramplan_planner::deployment::{Cards, Question};
use vramplan_planner::spec::RuntimeSpec;
use vramplan_planner::text::printable;
use vramplan_planner::units::{Bytes, Overflow, to_u64};
use vramplan_virtual_gpu::KindBytes;

/// Moments of a card's timeline that a document keeps.
const MOMENTS: usize = 400;

/// Where the plan of a rehearsal comes from.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `given`, `recognised` or `none`.
    pub source: &'static str,
    /// What was recognised, or why there is none.
    pub note: String,
    /// What was planned.
    pub deployment: Option<Question>,
    /// The plan of every card, in their order.
    pub cards: Vec<PlannedRun>,
    /// The runtime that it was planned for.
    pub runtime: Option<RuntimeSpec>,
}

/// What a document says beside what happened.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The cards, as the planner knows them.
    pub cards: &'a Cards,
    /// The plan.
    pub plan: &'a Plan,
    /// How far outside of its bounds is still inside.
    pub tolerance: Tolerance,
}

/// The document of one rehearsal.
///
/// # Errors
/// On sizes that no device has.
pub fn run_doc(name: String, run: &Rehearsed, context: Context<'_>) -> Result<RunDoc, Overflow> {
    let cards: Vec<CardDoc> =
        (0..run.report.cards.len()).map(|at| card(run, context.cards, at)).collect();
    let outcome = outcome(run);
    let answer = answer(run, &cards, &outcome);
    let pinned = run.report.cards.iter().map(|card| card.largest.pinned);
    Ok(RunDoc {
        name,
        answer,
        seconds: seconds(run.duration()),
        engine: run.story.engine.map(|engine| engine.name().to_owned()),
        phases: phases(&run.cards),
        torch: torch(run),
        pinned: Bytes::sum(pinned.map(Bytes::new))?,
        plan: plan(run, context)?,
        unseen: unseen(run, context),
        calls: calls(run),
        stubs: run.report.stubs.iter().map(|stub| printable(stub)).collect(),
        remarks: remarks(run),
        cards,
        outcome,
    })
}

fn card(run: &Rehearsed, cards: &Cards, at: usize) -> CardDoc {
    let (report, virtual_card) = (&run.report.cards[at], &run.machine.cards[at]);
    let measured = run.cards.get(at);
    let peak =
        measured.and_then(|measured| measured.peak.as_ref()).filter(|peak| !peak.held.is_zero());
    let started = measured.map_or(0, |measured| measured.started);
    let name = cards.iter().nth(at).map(|card| card.gpu.name.clone());
    CardDoc {
        name: name.unwrap_or_else(|| report.name.clone()),
        total: Bytes::new(virtual_card.total),
        reserved: Bytes::new(virtual_card.reserved),
        other_use: Bytes::new(virtual_card.used_by_others),
        usable: Bytes::new(report.capacity),
        peak: Bytes::new(report.peak_resident),
        at: peak.map(|peak| seconds(peak.t.saturating_sub(started))),
        phase: peak.and_then(|peak| peak.phase.clone()),
        by_kind: kinds(&report.peak),
        largest: kinds(&report.largest),
        refusals: report.refusals,
        timeline: measured.map_or_else(Vec::new, timeline),
    }
}

/// The kinds of which there is something.
fn kinds(held: &KindBytes) -> Vec<KindDoc> {
    let all = [
        ("context", held.context),
        ("malloc", held.malloc),
        ("pool", held.pool),
        ("virtual", held.r#virtual),
        ("managed", held.managed),
        ("array", held.array),
        ("module", held.module),
        ("library", held.library),
    ];
    let some = all.into_iter().filter(|(_, bytes)| *bytes > 0);
    some.map(|(kind, bytes)| KindDoc { kind: kind.to_owned(), bytes: Bytes::new(bytes) }).collect()
}

/// Of every few moments the one that held the most.
fn timeline(measured: &Measurement) -> Vec<MomentDoc> {
    let inside = |t: u64| t >= measured.started && t <= measured.stopped;
    let points: Vec<_> = measured.points.iter().filter(|point| inside(point.t)).collect();
    let each = points.len().div_ceil(MOMENTS).max(1);
    let largest = points.chunks(each).filter_map(|some| some.iter().max_by_key(|point| point.held));
    largest
        .map(|point| MomentDoc { at: seconds(point.t - measured.started), bytes: point.held })
        .collect()
}

fn phases(cards: &[Measurement]) -> Vec<PhaseDoc> {
    let Some(first) = cards.first() else { return Vec::new() };
    let level = |name: &str| {
        let of = |measured: &Measurement| {
            let phase = measured.phases.iter().find(|phase| phase.name == name);
            phase.map_or(
                LevelDoc { begin: Bytes::ZERO, peak: Bytes::ZERO, end: Bytes::ZERO },
                |phase| LevelDoc { begin: phase.begin, peak: phase.peak, end: phase.end },
            )
        };
        cards.iter().map(of).collect()
    };
    let doc = |phase: &PhaseMeasure| PhaseDoc {
        name: phase.name.clone(),
        occurrences: phase.occurrences,
        begins: seconds(phase.start.saturating_sub(first.started)),
        seconds: seconds(phase.duration),
        cards: level(&phase.name),
    };
    first.phases.iter().map(doc).collect()
}

/// Of each phase, process and card the last word.
fn torch(run: &Rehearsed) -> Vec<TorchDoc> {
    let mut docs: Vec<TorchDoc> = Vec::new();
    for at in &run.story.torch {
        let (stats, size) = (&at.stats, Bytes::new);
        let doc = TorchDoc {
            phase: at.phase.clone(),
            pid: at.pid,
            card: to_u64(stats.card),
            requested: size(stats.requested),
            allocated: size(stats.allocated),
            reserved: size(stats.reserved),
            unused: size(stats.reserved.saturating_sub(stats.allocated)),
            fragmented: size(stats.inactive_split),
            allocated_peak: size(stats.allocated_peak),
            reserved_peak: size(stats.reserved_peak),
            retries: stats.retries,
        };
        let same = |other: &TorchDoc| {
            (&other.phase, other.pid, other.card) == (&doc.phase, doc.pid, doc.card)
        };
        match docs.iter_mut().find(|other| same(other)) {
            Some(known) => *known = doc,
            None => docs.push(doc),
        }
    }
    docs
}

fn outcome(run: &Rehearsed) -> OutcomeDoc {
    let started = run.cards.first().map_or(0, |measured| measured.started);
    let refused = run.refusal().map(|refused| RefusedDoc {
        card: to_u64(refused.card),
        asked: refused.asked,
        free: refused.free,
        kind: kind_name(refused.kind).to_owned(),
        call: printable(&refused.call),
        at: seconds(refused.t.saturating_sub(started)),
        phase: run.phase_at(refused.t).filter(|phase| phase != WHOLE_RUN),
    });
    OutcomeDoc {
        id: run.end.id().to_owned(),
        well: run.end.is_well(),
        code: run.ended.code,
        signal: run.ended.signal,
        refused,
        said: run.story.no_room.clone().or_else(|| run.ended.end.oom_text.clone()),
        last_lines: if run.end.is_well() { Vec::new() } else { run.story.last_lines.clone() },
    }
}

const fn kind_name(kind: vramplan_virtual_gpu::Kind) -> &'static str {
    use vramplan_virtual_gpu::Kind;
    match kind {
        Kind::Context => "context",
        Kind::Malloc => "malloc",
        Kind::Pool => "pool",
        Kind::Virtual => "virtual",
        Kind::Managed => "managed",
        Kind::Array => "array",
        Kind::Module => "module",
        Kind::Library => "library",
        Kind::Pinned => "pinned",
        Kind::Registered => "registered",
    }
}

/// How it ended and what it took, in a sentence.
fn answer(run: &Rehearsed, cards: &[CardDoc], outcome: &OutcomeDoc) -> String {
    let peaks = peaks(cards);
    let how = match &run.end {
        End::OutOfMemory => return out_of_memory(cards, outcome, &peaks),
        End::Ended => "ended".to_owned(),
        End::Ready => "ready to serve, ended as nobody asked".to_owned(),
        End::Stopped(stop) => format!("stopped after {stop}"),
        End::Hung => "hung, and was ended".to_owned(),
        End::Interrupted => "interrupted".to_owned(),
        End::Impossible(reason) => return format!("cannot be rehearsed because {reason}"),
        End::Failed => match (outcome.code, outcome.signal) {
            (Some(code), _) => format!("failed with exit code {code}"),
            (None, Some(signal)) => format!("ended by signal {signal}"),
            (None, None) => "failed".to_owned(),
        },
    };
    format!("{how}: {peaks}")
}

/// What the cards held at most, in words.
fn peaks(cards: &[CardDoc]) -> String {
    if cards.iter().all(|card| card.peak.is_zero()) {
        return "it took no memory of the card".to_owned();
    }
    let of = |(at, card): (usize, &CardDoc)| {
        let number = if cards.len() > 1 { format!(" {at}") } else { String::new() };
        if card.peak.is_zero() {
            return format!("nothing on {}{number}", card.name);
        }
        let phase = in_phase(card.phase.as_deref());
        format!("{} of {} usable{phase} on {}{number}", card.peak, card.usable, card.name)
    };
    let all: Vec<String> = cards.iter().enumerate().map(of).collect();
    format!("peak {}", all.join(", "))
}

/// ` in context`; nothing where the run marks no phases.
fn in_phase(phase: Option<&str>) -> String {
    let named = phase.filter(|phase| *phase != WHOLE_RUN);
    named.map(|phase| format!(" in {phase}")).unwrap_or_default()
}

fn out_of_memory(cards: &[CardDoc], outcome: &OutcomeDoc, peaks: &str) -> String {
    let Some(refused) = &outcome.refused else {
        let said = outcome.said.clone().unwrap_or_else(|| "its engine has too little".to_owned());
        return format!("ran out of memory: {said}; {peaks}");
    };
    let phase = in_phase(refused.phase.as_deref());
    let at = usize::try_from(refused.card).ok().and_then(|at| cards.get(at));
    let (name, usable) = at.map_or_else(Default::default, |card| (card.name.clone(), card.usable));
    format!(
        "ran out of memory{phase} on {name}: {} asked for ({}), {} of {usable} usable free",
        refused.asked, refused.call, refused.free
    )
}

fn plan(run: &Rehearsed, context: Context<'_>) -> Result<PlanDoc, Overflow> {
    let Plan { source, note, deployment, cards, .. } = context.plan;
    let beside = beside(run, cards, context.tolerance)?;
    let judged = is_judged(&run.end) && !beside.is_empty();
    let missed: Vec<String> = beside
        .iter()
        .flat_map(|one| {
            let card =
                if beside.len() > 1 { format!("card {}: ", one.card) } else { String::new() };
            let lines = one
                .outside()
                .into_iter()
                .map(move |(name, row)| outside(&format!("{card}{name}"), &row));
            lines.collect::<Vec<_>>()
        })
        .collect();
    Ok(PlanDoc {
        source: (*source).to_owned(),
        note: note.clone(),
        deployment: deployment.clone(),
        tolerance_percent: context.tolerance.percent(),
        judged,
        within: judged.then_some(missed.is_empty()),
        outside: if judged { missed } else { Vec::new() },
        cards: beside.iter().zip(cards).map(|(one, plan)| beside_doc(one, plan)).collect(),
    })
}

fn beside_doc(one: &Beside, plan: &PlannedRun) -> BesideDoc {
    let named = |(name, row): &(String, _)| NamedRow { name: name.clone(), row: row_doc(row) };
    let group = |row: &crate::rehearse::beside::GroupRow| GroupDoc {
        id: row.group.id().to_owned(),
        title: row.group.title().to_owned(),
        plan: row.plan,
        stated: row.stated.as_ref().map(row_doc),
    };
    BesideDoc {
        plan: plan.clone(),
        peak: row_doc(&one.peak),
        phases: one.phases.iter().map(named).collect(),
        groups: one.groups.iter().map(group).collect(),
    }
}

/// What is not seen, and how it is in the figures all the same, or is not.
fn unseen(run: &Rehearsed, context: Context<'_>) -> Vec<UnseenDoc> {
    let mut unseen: Vec<UnseenDoc> = Vec::new();
    for card in context.cards.iter() {
        let what = format!("context and module images on {}", card.gpu.name);
        if unseen.iter().all(|known| known.what != what) {
            let known = card.gpu.context();
            unseen.push(UnseenDoc {
                what,
                bounds: Some(known.value),
                basis: Some(known.basis),
                note: format!("counted as {} a process: {}", known.value.expected, known.source),
            });
        }
    }
    let libraries = context.plan.runtime.as_ref().map(|runtime| {
        let name = runtime.kind();
        let known = &runtime.libraries;
        let what = format!("libraries and kernels of {name}");
        let note =
            format!("as far as they are not allocated by calls that are seen: {}", known.source);
        UnseenDoc { what, bounds: Some(known.value), basis: Some(known.basis), note }
    });
    unseen.extend(libraries);
    let plain = |what: &str, note: &str| UnseenDoc {
        what: what.to_owned(),
        bounds: None,
        basis: None,
        note: note.to_owned(),
    };
    unseen.push(plain(
        "what the driver takes by itself",
        "local memory of kernels, NCCL's and cuDNN's own buffers",
    ));
    if run.report.launches > 0 {
        unseen.push(plain(
            "values",
            "no kernel ran: what the program decides by computed values may differ",
        ));
    }
    unseen.push(plain("speed", "never: times are those of the program's own host code"));
    unseen
}

fn calls(run: &Rehearsed) -> CallsDoc {
    let report = &run.report;
    CallsDoc {
        calls: report.calls,
        launches: report.launches,
        allocations: report.allocations,
        processes: to_u64(report.processes.len()),
        host_to_device: Bytes::new(report.host_to_device),
        device_to_host: Bytes::new(report.device_to_host),
        events_lost: report.dropped,
    }
}

fn remarks(run: &Rehearsed) -> Vec<String> {
    let mut remarks: Vec<String> = run.report.remarks.iter().map(|text| printable(text)).collect();
    remarks.extend(run.hang.iter().map(|hang| format!("hang: {hang}")));
    if let Some(refused) = run.story.refused.as_ref().filter(|_| run.end != End::OutOfMemory) {
        let refusals: u64 = run.report.cards.iter().map(|card| card.refusals).sum();
        let were = if refusals == 1 { "request was" } else { "requests were" };
        remarks.push(format!(
            "{refusals} {were} refused, the last of {} with {} free; the program went on",
            refused.asked, refused.free
        ));
    }
    let end = &run.ended.end;
    if run.end != End::OutOfMemory
        && let Some(said) = &end.oom_text
    {
        remarks.push(format!("it says: {said}"));
    }
    if end.left > 0 {
        remarks.push(format!("{} processes outlived the command and were ended", end.left));
    }
    remarks.extend(run.story.complaints.iter().chain(&end.complaints).map(|text| printable(text)));
    remarks
}
