//! What a log teaches: a record of the sizes that it states.

use super::Printed;
use super::evidence::{Engine, FailureKind, Place, Term, TermKind, TorchError};
use super::finding::Finding;
use crate::deployment::Question;
use crate::evidence::{
    CardDoc, Ended, EngineDoc, How, ReadIn, Record, SCHEMA, TermDoc, TermId, Where, card_of,
    driver, scrub, version,
};
use crate::units::Bytes;

/// Why a log teaches nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LearnError {
    /// Nobody knows what ran.
    #[error("no engine that is planned is recognised in the log")]
    NoEngine,
    /// Nobody knows on what.
    #[error("the log names no card, and `--gpu` is not given")]
    NoCard,
    /// It states no size that was allocated or measured.
    #[error("the log states no size that was allocated or measured")]
    NoTerms,
}

/// The record of a log: every size that it states as allocated or measured, of the run that it tells of. What the user
/// says of the run wins over what the log does.
///
/// # Errors
/// Where the log does not say enough.
pub fn learn(finding: &Finding, user: &Question) -> Result<Record, LearnError> {
    let evidence = &finding.evidence;
    let (engine, _) = evidence.engine.ok_or(LearnError::NoEngine)?;
    let runtime = engine.runtime().and_then(|name| name.parse().ok());
    let runtime = runtime.ok_or(LearnError::NoEngine)?;
    let terms = terms(finding, engine);
    if terms.is_empty() {
        return Err(LearnError::NoTerms);
    }
    let card = card(finding, user).ok_or(LearnError::NoCard)?;
    let deployment = match &finding.plan {
        Some(plan) => plan.answer.planned(&plan.deployment).resolved(),
        None => user.clone().or(evidence.run.question.clone()),
    };
    let failed = evidence.run.failures.iter().any(|failure| !failure.went_on);
    let scrubbed = scrub(&Question { runtime: Some(runtime), ..deployment });
    Ok(Record {
        schema: SCHEMA.to_owned(),
        how: How::Log,
        date: None,
        thread: None,
        ended: match (failed, evidence.run.serves) {
            (true, _) => Ended::Failed,
            (false, Some(_)) => Ended::Well,
            (false, None) => Ended::Unknown,
        },
        engine: EngineDoc { runtime, version: evidence.version.as_deref().and_then(version) },
        card,
        driver: evidence.driver.as_deref().and_then(driver),
        deployment: scrubbed.deployment,
        left_out: scrubbed.left_out,
        terms,
        host: None,
        gpu: None,
        job: None,
    })
}

/// The card: that of the plan, or the one that the user names, or the first that the log does.
fn card(finding: &Finding, user: &Question) -> Option<CardDoc> {
    let seen = &finding.evidence.cards;
    let total = seen.iter().find_map(|card| card.total);
    if let Some(plan) = &finding.plan {
        let cards = &plan.deployment.cards;
        let name = card_of(&cards.first().gpu.name, Some(cards.first().gpu.total.value))?;
        return Some(CardDoc { name, total, count: cards.len() as u64 });
    }
    let said = user.gpu.as_deref().and_then(|name| card_of(name, None));
    let named = || seen.iter().find_map(|card| card_of(card.name.as_deref()?, card.total));
    let name = said.or_else(named).or_else(|| card_of("", total))?;
    let count = u64::try_from(seen.len()).ok()?.clamp(1, crate::deployment::MOST_GPUS);
    Some(CardDoc { name, total, count })
}

fn terms(finding: &Finding, engine: Engine) -> Vec<TermDoc> {
    let evidence = &finding.evidence;
    let stated = evidence.run.terms.iter().filter(|term| !term.estimated);
    let mut terms: Vec<TermDoc> = stated.filter_map(|term| stated_term(term, engine)).collect();
    // A line about nothing measures nothing.
    terms.retain(|term| !term.size.is_zero() || term.term == TermId::Unallocated);
    // What a program that is no known model's holds beside PyTorch may be anything.
    if engine == Engine::PyTorch && finding.plan.is_some() {
        terms.extend(evidence.run.failures.iter().filter_map(|failure| match &failure.kind {
            FailureKind::Torch(error) => Some(TermDoc {
                line: Some(failure.line),
                at: failure.place.map_or(Where::Card, place),
                ..overhead(error)?
            }),
            _ => None,
        }));
    }
    terms
}

fn stated_term(term: &Term, engine: Engine) -> Option<TermDoc> {
    Some(TermDoc {
        term: id(term.kind, engine)?,
        size: term.size.bytes,
        within: term.size.within,
        at: place(term.place),
        read: ReadIn::Log,
        line: Some(term.line),
    })
}

/// What a process holds beside `PyTorch`'s allocator: `this process has 21.9 GiB in use. Of the allocated memory 21.1 GiB
/// is allocated by PyTorch, and 0.5 GiB is reserved by PyTorch but unallocated`.
fn overhead(error: &TorchError) -> Option<TermDoc> {
    let (process, allocated) = (error.process?, error.allocated?);
    if error.overcommitted {
        return None;
    }
    let reserved = match (error.reserved, error.unallocated) {
        (Some(reserved), _) => reserved,
        (None, Some(unallocated)) => sum(allocated, unallocated)?,
        (None, None) => return None,
    };
    Some(TermDoc {
        term: TermId::Overhead,
        size: process.bytes.minus(reserved.bytes)?,
        within: process.within.plus(reserved.within).ok()?,
        at: Where::Card,
        read: ReadIn::LogDifference,
        line: None,
    })
}

fn sum(a: Printed, b: Printed) -> Option<Printed> {
    let bytes: Bytes = a.bytes.plus(b.bytes).ok()?;
    Some(Printed { bytes, within: a.within.plus(b.within).ok()? })
}

const fn place(place: Place) -> Where {
    match place {
        Place::Card(card) => Where::CardOf(card),
        Place::Cards => Where::Card,
        Place::Host => Where::Host,
    }
}

/// A term by its name in records. What a server of pages calls its cache is its pool.
const fn id(kind: TermKind, engine: Engine) -> Option<TermId> {
    Some(match kind {
        TermKind::Weights => TermId::Weights,
        TermKind::Cache => match engine {
            Engine::Vllm => TermId::Pool,
            _ => TermId::Cache,
        },
        TermKind::State => TermId::State,
        TermKind::Compute => TermId::Compute,
        TermKind::Output => TermId::Output,
        TermKind::Encoder => TermId::Encoder,
        TermKind::Activations => TermId::Activations,
        TermKind::NonTorch => TermId::NonTorch,
        // Two terms at once.
        TermKind::Consumed => return None,
        TermKind::Graphs => TermId::Graphs,
        TermKind::Allocated => TermId::Allocated,
        TermKind::Unallocated => TermId::Unallocated,
        TermKind::PrivatePools => TermId::PrivatePools,
    })
}
