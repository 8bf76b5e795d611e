//! Whether a runtime with a pool starts, and the shares of the card between which it does.
//!
//! vLLM refuses to serve where its pool does not hold one request of the longest kind, and where less of the card is free
//! than it is told to take. `SGLang` refuses where its weights leave nothing for a pool, and runs out of memory while it captures
//! graphs or works on a prompt where too little is left beside it. Both depend on the share, so that there is a smallest that
//! starts and a largest that is safe.

use std::borrow::Cow;

use super::devices::Device;
use super::search::bisect;
use super::{Condition, RecommendError, Solver};
use crate::deployment::Deployment;
use crate::plan::{Demand, Verdict};
use crate::spec::{AskedShare, RuntimeOptions, Utilization};

/// Shares are searched in thousandths.
const WHOLE: u64 = 1000;

/// Between which shares of the card a runtime starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// The smallest that starts, if all is as expected; nothing where none does.
    pub smallest: Option<Utilization>,
    /// The largest that the card has room for even at the high bound.
    pub largest: Option<Utilization>,
}

impl Shares {
    /// The one to take: the largest that is safe, where that starts.
    pub fn best(&self) -> Option<Utilization> {
        self.largest.filter(|largest| self.smallest.is_some_and(|smallest| smallest <= *largest))
    }
}

/// Whether the pools of all cards hold one request of the longest kind, if all is as expected.
pub(super) fn starts(demands: &[Demand]) -> bool {
    let succeeds = |demand: &Demand| {
        demand.pool.is_none_or(|pool| pool.start.succeeds(|bounds| bounds.expected))
    };
    demands.iter().all(succeeds)
}

/// A verdict, and what a runtime checks besides before it serves: what it refuses does not fit, and what it may refuse is
/// tight.
pub(super) fn with_start(verdict: Verdict, demands: &[Demand]) -> Verdict {
    if !starts(demands) {
        return Verdict::DoesNotFit;
    }
    let surely =
        |demand: &Demand| demand.pool.is_none_or(|pool| pool.start.succeeds(|bounds| bounds.low));
    if verdict == Verdict::Fits && !demands.iter().all(surely) { Verdict::Tight } else { verdict }
}

impl Solver<'_> {
    /// The shares between which it starts; nothing for a runtime that takes no share.
    ///
    /// # Errors
    /// On sizes that no device has.
    pub fn shares(&self) -> Result<Option<Shares>, RecommendError> {
        if self.deployment.options().share().is_none() {
            return Ok(None);
        }
        let starts = |thousandths| self.with_share(thousandths, |_, demands| Ok(starts(demands)));
        let smallest = if starts(WHOLE)? {
            let below = bisect(0, WHOLE, |n| Ok::<_, RecommendError>(n == 0 || !starts(n)?))?;
            Some(Utilization::thousandths(below + 1))
        } else {
            None
        };
        let safe = |thousandths| {
            self.with_share(thousandths, |devices, demands| {
                let fits = |(device, demand): (&Device<'_>, &Demand)| {
                    Condition::SAFE.room(&device.card.capacity).map(|room| demand.peak.high <= room)
                };
                devices.iter().zip(demands).map(fits).try_fold(true, |all, one| Ok(all && one?))
            })
        };
        let largest = bisect(0, WHOLE + 1, |n| if n > WHOLE { Ok(false) } else { safe(n.max(1)) })?;
        let largest = (largest > 0).then(|| Utilization::thousandths(largest));
        Ok(Some(Shares { smallest, largest }))
    }

    /// Asks what all cards are asked for with another share and an empty cache.
    fn with_share(
        &self,
        thousandths: u64,
        ask: impl Fn(&[Device<'_>], &[Demand]) -> Result<bool, RecommendError>,
    ) -> Result<bool, RecommendError> {
        let mut changed = self.deployment.clone();
        let share = Utilization::thousandths(thousandths);
        changed.set_options(changed.options().with_share(share));
        let solver = self.varied(&changed);
        let demands = solver.demands(1)?;
        ask(&solver.devices, &demands)
    }
}

/// The deployment with a share that is solved where it asks for that: the largest that is safe and starts; the smallest that
/// starts where none is safe; else the default.
///
/// # Errors
/// Where the model cannot be planned so.
pub fn settle(deployment: &Deployment) -> Result<Cow<'_, Deployment>, RecommendError> {
    let options = deployment.options();
    let Some(default) = options.share().filter(|_| options.asked_share() == Some(AskedShare::Auto))
    else {
        return with_fitted_length(Cow::Borrowed(deployment));
    };
    let shares = Solver::new(deployment)?.shares()?;
    let found = shares.and_then(|shares| shares.best().or(shares.smallest));
    let mut settled = deployment.clone();
    settled.set_options(options.with_share(found.unwrap_or(default)));
    with_fitted_length(Cow::Owned(settled))
}

/// The deployment with the longest sequence that every card's pool holds, where the runtime is to take that.
fn with_fitted_length(
    deployment: Cow<'_, Deployment>,
) -> Result<Cow<'_, Deployment>, RecommendError> {
    if !deployment.options().serving().is_some_and(|serving| serving.fits_length) {
        return Ok(deployment);
    }
    let demands = Solver::new(&deployment)?.demands(1)?;
    let lengths = demands.iter().filter_map(|demand| Some(demand.pool?.start.context));
    let Some(fitted) = lengths.min() else { return Ok(deployment) };
    let mut settled = deployment.into_owned();
    settled.set_fitted_length(fitted);
    Ok(Cow::Owned(settled))
}

/// What is said of a longest sequence that was asked for as whatever fits.
pub fn fitted_length(deployment: &Deployment, options: RuntimeOptions) -> Option<String> {
    let fitted = options.serving()?.fitted_length?;
    let (runtime, own) = (deployment.kind(), deployment.model.shape.context_len);
    Some(if fitted < own {
        format!(
            "`--max-model-len auto`: {runtime} takes {fitted} tokens, the longest request for which its pool has room; \
             the model's own context is {own}"
        )
    } else {
        format!(
            "`--max-model-len auto`: {runtime} takes the model's own {own} tokens, for which its pool has room"
        )
    })
}
