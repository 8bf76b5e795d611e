//! What a matrix needs to know of an answer, without the rest of it.

use super::{Limit, RecentWindow, RecommendError, Solver, TierName, window};
use crate::deployment::CacheSize;
use crate::plan::Verdict;
use crate::spec::Bounds;

/// Whether a deployment fits, and what it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// Whether it fits: at the size given, or at the balanced size.
    pub verdict: Verdict,
    /// The size that was planned: given, balanced, or the largest that has any chance.
    pub cache_tokens: u64,
    /// Sequences that were planned for.
    pub batch: u64,
    /// What the plan at that size takes.
    pub peak: Bounds,
}

/// The largest cache that leaves the headroom free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Largest {
    /// The balanced size; zero where none leaves the headroom free.
    pub max_cache_tokens: u64,
    /// The recent window of a cache of that size.
    pub recent_window: RecentWindow,
    /// What keeps the balanced size from being larger.
    pub limited_by: Limit,
}

/// The verdict of a deployment and the size that goes with it: what [`answer`](super::answer) says,
/// without its plan and its advice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Whether it fits.
    pub fit: Fit,
    /// What would.
    pub largest: Largest,
}

impl Solver<'_> {
    /// The answer in short.
    ///
    /// # Errors
    /// Where a size cannot be planned.
    pub fn summary(&self) -> Result<Summary, RecommendError> {
        let largest = self.balanced()?;
        let fit = self.fit_at(match self.deployment.cache {
            CacheSize::Fixed(tokens) => tokens,
            CacheSize::Solve if largest.max_cache_tokens > 0 => largest.max_cache_tokens,
            CacheSize::Solve => self.largest_with_a_chance()?,
        })?;
        Ok(Summary { fit, largest })
    }

    /// Whether it fits at the size that is given, without a search for one that does; nothing where none is given.
    ///
    /// # Errors
    /// Where that size cannot be planned.
    pub fn fit_as_given(&self) -> Result<Option<Fit>, RecommendError> {
        self.deployment.cache.fixed().map(|tokens| self.fit_at(tokens)).transpose()
    }

    fn balanced(&self) -> Result<Largest, RecommendError> {
        let (max_cache_tokens, limited_by) = self.largest(TierName::Balanced.condition(), 0)?;
        let window = self.window(max_cache_tokens);
        let recent_window = window.unwrap_or_else(|_| RecentWindow::none());
        Ok(Largest { max_cache_tokens, recent_window, limited_by })
    }

    fn fit_at(&self, cache_tokens: u64) -> Result<Fit, RecommendError> {
        self.window(cache_tokens)?;
        let (demand, capacity) = self.binding(cache_tokens)?;
        Ok(Fit {
            verdict: capacity.verdict(demand)?,
            cache_tokens,
            batch: self.deployment.workload.batch,
            peak: demand.peak,
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
