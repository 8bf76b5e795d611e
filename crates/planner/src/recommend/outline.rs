//! A plan alone, for a picture that follows a slider: the sizes that fit and the advice, which plan again and again, come
//! when it rests.

use super::placement::settle_alone;
use super::{
    Answer, Depth, Limit, RecentWindow, RecommendError, Recommendation, Solver, Speed, Tier,
    TierName, Tiers, answer_placed,
};
use crate::deployment::{CacheSize, Deployment};
use crate::spec::Bounds;
use crate::units::Bytes;

/// The plan of an [`answer`](super::answer), to the byte, without its tiers (all but the balanced one are of no tokens, that
/// too where the cache is given), its shares, its longer placements and its advice. Nothing where a cache that is to be
/// solved leaves no headroom: what is planned then takes the other tiers.
///
/// # Errors
/// As [`answer`](super::answer).
pub fn outline(deployment: &Deployment) -> Result<Option<Answer>, RecommendError> {
    let settlement = settle_alone(deployment)?;
    let found = answer_placed(deployment, settlement, Depth::Outline)?;
    let is_planned = deployment.cache != CacheSize::Solve
        || found.recommendation.tiers.balanced.max_cache_tokens > 0;
    Ok(is_planned.then_some(found))
}

/// Of the tiers the balanced one, where the cache is to be solved.
pub(super) fn balanced_alone(solver: &Solver<'_>) -> Result<Recommendation, RecommendError> {
    let balanced = match solver.deployment.cache {
        CacheSize::Fixed(_) => unknown(TierName::Balanced),
        CacheSize::Solve => solver.tier(TierName::Balanced, 0)?,
    };
    let limited_by = balanced.limited_by;
    let [conservative, aggressive] = [TierName::Conservative, TierName::Aggressive].map(unknown);
    let tiers = Tiers { conservative, balanced, aggressive };
    Ok(Recommendation { tiers, hard_max_cache_tokens: 0, limited_by })
}

/// A tier that was not looked for.
fn unknown(name: TierName) -> Tier {
    Tier {
        name,
        max_cache_tokens: 0,
        recent_window: RecentWindow::none(),
        peak: Bounds::ZERO,
        headroom: Bytes::ZERO,
        decode: Speed { low: 0.0, expected: 0.0, high: 0.0 },
        limited_by: Limit::Vram,
    }
}
