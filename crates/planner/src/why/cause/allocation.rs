//! Allocations that llama.cpp was refused.

use super::{Cause, CauseKind, place};
use crate::plan::Verdict;
use crate::units::Bytes;
use crate::why::compare::sum;
use crate::why::evidence::{Engine, Evidence, Failure, Place, Term, TermKind};
use crate::why::finding::Planned;

/// Lines within which one failure is told.
const NEAR: u64 = 8;

/// What of a card was left before an allocation: what was free at the beginning, less what the run has stated since.
fn left(evidence: &Evidence, failure: &Failure) -> Option<Bytes> {
    let Some(Place::Card(index)) = failure.place else { return None };
    let card = evidence.cards.iter().find(|card| card.index == index)?;
    let free = card.free?;
    let before = |term: &&Term| {
        term.place == Place::Card(index) && term.line < failure.line && !term.estimated
    };
    let held = sum(evidence.run.terms.iter().filter(before)).map_or(Bytes::ZERO, |sum| sum.bytes);
    Some(free.minus_or_zero(held))
}

pub(super) fn allocation(
    evidence: &Evidence,
    plan: Option<&Planned>,
    failure: &Failure,
    term: Option<TermKind>,
) -> Cause {
    let loading = failure.context == 0 && evidence.run.loads;
    let term = term.or(loading.then_some(TermKind::Weights));
    let (kind, when) = match term {
        Some(TermKind::Weights) => (CauseKind::Weights, "while weights were loaded"),
        Some(TermKind::Cache | TermKind::State) => (CauseKind::Cache, "while the context was made"),
        Some(TermKind::Compute) => (CauseKind::Compute, "while buffers for prefill were reserved"),
        Some(TermKind::Encoder) => (CauseKind::Encoder, "while the image encoder was loaded"),
        _ => (CauseKind::Allocation, "while the run was set up"),
    };
    let what = term.map_or("an allocation", TermKind::title);
    let size = failure.asked.map(|asked| format!(" of {}", asked.bytes)).unwrap_or_default();
    let whose =
        if failure.context > 1 { " for a context beside the first (draft, MTP)" } else { "" };
    let place = failure.place.map(place).unwrap_or_default();
    let left = left(evidence, failure);
    let free = left.map(|left| format!(", {left} were left")).unwrap_or_default();
    let sentence = format!("out of memory {when}: {what}{size}{whose}{place}{free}");
    let mut cause = Cause::new(kind, sentence, failure);
    cause.term = term;
    let question = &evidence.run.question;
    if let (Some(slots), Some(cells)) = (question.parallel, question.cache_tokens) {
        cause = cause.because(format!(
            "{slots} slots share {cells} tokens of cache, {} each",
            cells / slots.max(1)
        ));
    }
    if let (Some(asked), Some(left)) = (failure.asked, left) {
        cause.short_by = Some(asked.bytes.minus_or_zero(left)).filter(|short| !short.is_zero());
        if cause.short_by.is_none() {
            cause = cause.because(
                "by the log's own figures there was room: something else took memory meanwhile, or the driver could not give it in one piece",
            );
        }
    }
    if let Some(asked) = failure.asked
        && let Some(total) = total(evidence, failure.place)
        && asked.bytes > total
    {
        cause = cause.because(format!("it alone is larger than the card, which has {total}"));
    }
    if evidence.run.over_limit.is_some_and(|line| line.abs_diff(failure.line) <= NEAR) {
        cause = cause.because(
            "Vulkan's driver gives no single buffer as large as this, however much of the card is free: it has to be made smaller",
        );
    }
    expected(evidence, plan, cause)
}

/// Says where the plan knew.
fn expected(evidence: &Evidence, plan: Option<&Planned>, cause: Cause) -> Cause {
    let Some(Planned { answer, .. }) = plan else { return cause };
    let (peak, usable) = (answer.plan.peak, answer.plan.capacity.usable);
    let _ = evidence;
    match answer.verdict {
        Verdict::DoesNotFit => {
            let short = answer.plan.short_by;
            cause.because(format!(
                "the plan expects it: {} of {usable}, {short} short",
                peak.expected
            ))
        }
        Verdict::Tight => cause.because(format!(
            "the plan expects it to be tight: {} of {usable}, up to {}",
            peak.expected, peak.high
        )),
        Verdict::Fits => cause.because(format!(
            "the plan expects {} of {usable}: what it does not know of held the rest",
            peak.expected
        )),
    }
}

fn total(evidence: &Evidence, place: Option<Place>) -> Option<Bytes> {
    let Some(Place::Card(index)) = place else { return None };
    evidence.cards.iter().find(|card| card.index == index)?.total
}

/// Keys and values that were stated last before a failure: some drivers give an address for them, and the memory only as
/// they are cleared.
fn cleared<'a>(evidence: &'a Evidence, failure: &Failure) -> Option<&'a Term> {
    let terms = evidence.run.terms.iter().filter(|term| !term.estimated);
    let last = terms.filter(|term| term.line < failure.line).max_by_key(|term| term.line)?;
    let is_cache = matches!(last.kind, TermKind::Cache | TermKind::State);
    let is_near = failure.line - last.line <= NEAR;
    (is_cache && is_near && last.place != Place::Host).then_some(last)
}

fn clearing(evidence: &Evidence, failure: &Failure, term: &Term) -> Cause {
    let sentence = format!(
        "out of memory while the context was made: {} of {}{} were not all there when they were cleared",
        term.kind.title(),
        term.size.bytes,
        place(term.place),
    );
    let mut cause = Cause::new(CauseKind::Cache, sentence, failure);
    cause.term = Some(term.kind);
    match evidence.run.question.cache_tokens {
        Some(cells) => cause.because(format!("they are for {cells} tokens, and grow with them")),
        None => cause.because("they grow with the context"),
    }
}

pub(super) fn runtime(evidence: &Evidence, failure: &Failure) -> Cause {
    let is_llama = evidence
        .engine
        .is_some_and(|(engine, _)| engine == Engine::LlamaCpp || engine >= Engine::KoboldCpp);
    if let Some(term) = cleared(evidence, failure)
        && is_llama
        && evidence.run.serves.is_none()
    {
        return clearing(evidence, failure, term);
    }
    let when = match (evidence.run.serves, failure.context) {
        (Some(_), _) => " in a pass, after the model was loaded",
        (None, 0) if evidence.run.loads => " before a context was made",
        // A message alone does not tell what was done before.
        (None, 0) => "",
        (None, _) => " in the first pass",
    };
    let place = failure.place.map(place).unwrap_or_default();
    let sentence = format!("out of memory{when}: the driver had nothing left{place}");
    let mut cause = Cause::new(CauseKind::CardFull, sentence, failure);
    if let Some((given, most)) = evidence.run.working_set
        && given.bytes > most.bytes
    {
        cause.short_by = Some(given.bytes.minus_or_zero(most.bytes));
        cause = cause.because(format!(
            "{} are allocated, and Metal recommends {} at most",
            given.bytes, most.bytes
        ));
    }
    if let Some(asked) = failure.asked {
        return cause.because(format!("{} were asked for", asked.bytes));
    }
    cause.because(if is_llama {
        "the message does not say what was asked for: pools and workspaces grow beside the buffers that are reserved beforehand"
    } else {
        "the message does not say what was asked for"
    })
}
