//! What a matrix needs to know of an answer, without the rest of it.

use super::{Limit, RecentWindow, RecommendError, Solver, TierName, window};
use crate::deployment::CacheSize;
use crate::plan::Verdict;
use crate::spec::Bounds;

/// The verdict of a deployment and the size that goes with it: what [`answer`](super::answer) says,
/// without its plan and its advice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Whether it fits: at the size given, or at the balanced size.
    pub verdict: Verdict,
    /// The balanced size; zero where none leaves the headroom free.
    pub max_cache_tokens: u64,
    /// The recent window of a cache of that size.
    pub recent_window: RecentWindow,
    /// The size that was planned: given, balanced, or the largest that has any chance.
    pub cache_tokens: u64,
    /// Sequences that were planned for.
    pub batch: u64,
    /// What the plan at that size takes.
    pub peak: Bounds,
    /// What keeps the balanced size from being larger.
    pub limited_by: Limit,
}

impl Solver<'_> {
    /// The answer in short.
    pub fn summary(&self) -> Result<Summary, RecommendError> {
        let (balanced, limited_by) = self.largest(TierName::Balanced.condition(), 0)?;
        let cache_tokens = match self.deployment.cache {
            CacheSize::Fixed(tokens) => tokens,
            CacheSize::Solve if balanced > 0 => balanced,
            CacheSize::Solve => self.largest_with_a_chance()?,
        };
        self.window(cache_tokens)?;
        let (demand, capacity) = self.binding(cache_tokens)?;
        Ok(Summary {
            verdict: capacity.verdict(demand)?,
            max_cache_tokens: balanced,
            recent_window: self.window(balanced).unwrap_or_else(|_| RecentWindow::none()),
            cache_tokens,
            batch: self.deployment.workload.batch,
            peak: demand.peak,
            limited_by,
        })
    }

    /// The largest cache that fits without headroom or at the low bound, else the smallest that can
    /// work.
    fn largest_with_a_chance(&self) -> Result<u64, RecommendError> {
        let (aggressive, _) = self.largest(TierName::Aggressive.condition(), 0)?;
        if aggressive > 0 {
            return Ok(aggressive);
        }
        let hard = self.hard_max(0)?;
        Ok(if hard > 0 { hard } else { window::smallest_cache(&self.deployment.workload) })
    }
}
