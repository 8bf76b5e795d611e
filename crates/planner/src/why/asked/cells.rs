//! How long a context was of which only the refused cache is told.

use crate::deployment::{Deployment, Question};
use crate::estimate::Group;
use crate::recommend::answer;
use crate::units::Bytes;
use crate::why::compare::planned;
use crate::why::evidence::{Evidence, FailureKind, TermKind};
use crate::why::finding::Resolve;

/// The context by which a cache's size is found.
const TRIED: u64 = 32_768;

/// A refused cache of 2 GiB at 64 KiB a token is one of 32768 tokens: the question with these, where nothing else says the context and
/// a plan of it has a cache of that size.
pub(super) fn of_refused(
    evidence: &Evidence,
    question: Question,
    deployment: Deployment,
    notes: &mut Vec<String>,
    resolve: Resolve<'_>,
) -> (Question, Deployment) {
    let places = crate::estimate::rules(deployment.kind()).places_tensors();
    let is_open = question.cache_tokens.is_none() && question.context.is_none();
    let one = deployment.cards.len() == 1;
    let asked = refused(evidence).filter(|_| places && is_open && one);
    let Some((changed, again)) = asked.and_then(|asked| found(asked, &question, resolve)) else {
        return (question, deployment);
    };
    if let Some(cells) = changed.cache_tokens {
        notes.push(format!(
            "the log does not say the context: the cache that was refused is one of {cells} tokens"
        ));
    }
    (changed, again)
}

/// The cache that was refused.
fn refused(evidence: &Evidence) -> Option<Bytes> {
    let failure = crate::why::cause::decisive(evidence)?;
    let is_cache = failure.kind == FailureKind::Allocation(Some(TermKind::Cache));
    failure.asked.filter(|_| is_cache).map(|asked| asked.bytes)
}

fn found(
    asked: Bytes,
    question: &Question,
    resolve: Resolve<'_>,
) -> Option<(Question, Deployment)> {
    let (_, _, tried) = of(TRIED, question, resolve)?;
    let cells = Bytes::new(TRIED).scale(asked.get(), tried.get().max(1)).ok()?.get();
    // What is refused is that of whole cells of 256.
    let cells = cells.checked_add(128)? / 256 * 256;
    let (changed, deployment, size) = of(cells, question, resolve).filter(|_| cells > 0)?;
    let away = size.diff(asked).unsigned_abs();
    (away <= u128::from(asked.get() / 100)).then_some((changed, deployment))
}

/// The cache of a context.
fn of(
    cells: u64,
    question: &Question,
    resolve: Resolve<'_>,
) -> Option<(Question, Deployment, Bytes)> {
    let (cache_tokens, context) = (Some(cells), Some(cells));
    let changed = Question { cache_tokens, context, ..question.clone() };
    let deployment = resolve(&changed).ok()?;
    let size = planned(&answer(&deployment).ok()?.plan, Group::Caches).ok()?.expected;
    Some((changed, deployment, size))
}
