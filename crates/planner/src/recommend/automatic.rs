//! The batch that a program chooses by the context, where the context is solved.

use std::borrow::Cow;

use super::{LEAST_CONTEXT, RecommendError, Solver, outline};
use crate::deployment::{CacheSize, Deployment};

/// The deployment with the batch that the program chooses for the context that fits: one that it chooses for a short context
/// decides what fits, since no longer batch is chosen where little is left.
///
/// # Errors
/// Where the model cannot be planned so.
pub fn settle(deployment: Cow<'_, Deployment>) -> Result<Cow<'_, Deployment>, RecommendError> {
    if deployment.cache != CacheSize::Solve {
        return Ok(deployment);
    }
    let Some(first) = deployment.automatic(LEAST_CONTEXT) else { return Ok(deployment) };
    let first = deployment.into_owned().with_automatic_batch(first);
    let solver = Solver::new(&first)?;
    let tokens = solver.planned_tokens(&outline::balanced_alone(&solver)?);
    let settled = first.automatic(tokens);
    drop(solver);
    Ok(Cow::Owned(match settled {
        Some(settled) => first.with_automatic_batch(settled),
        None => first,
    }))
}
