//! How many recent tokens eviction spares.
//!
//! With plain accumulated scores the only published split is half: half of the cache for the most
//! recent tokens, half for those that attracted most attention (H2O, arXiv 2306.14048). It is never
//! below a prefill chunk (a chunk must survive until the next one has been scored) nor below 64
//! tokens, and four slots stay free for attention sinks where no system prompt is pinned.

use crate::estimate::rules;
use crate::spec::{Runtime, Workload};

/// Below this, published runs freeze on the prompt.
const FLOOR: u64 = 64;
/// Slots for attention sinks where nothing is pinned.
const SINKS: u64 = 4;

/// Where a recent window comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowBasis {
    /// Given on the command line.
    Given,
    /// H2O's published half.
    PublishedHalf,
    /// The floor: half of the cache would be less.
    Floor,
    /// The runtime does not evict.
    NoEviction,
    /// Nothing fits.
    None,
}

impl WindowBasis {
    /// The words in every output.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::PublishedHalf => {
                "half of the cache, as in the H2O paper; not measured on your text"
            }
            Self::Floor => "the floor of one prefill chunk and 64 tokens",
            Self::NoEviction => "this runtime does not evict",
            Self::None => "nothing fits",
        }
    }
}

/// A recent window and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecentWindow {
    /// Tokens.
    pub tokens: u64,
    /// Where it comes from.
    pub basis: WindowBasis,
}

impl RecentWindow {
    /// The window of a cache that does not exist.
    pub const fn none() -> Self {
        Self { tokens: 0, basis: WindowBasis::None }
    }
}

/// A window that the cache cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// The cache is too small for any window.
    #[error(
        "a cache of {cache_tokens} tokens is too small: its recent window must hold {floor} tokens, and {sinks} slots are for attention sinks"
    )]
    CacheTooSmall {
        /// Tokens of the cache.
        cache_tokens: u64,
        /// The smallest window.
        floor: u64,
        /// Slots for sinks.
        sinks: u64,
    },
    /// A window for a runtime without eviction.
    #[error("the `{runtime}` runtime does not evict: it has no recent window")]
    NoEviction {
        /// The runtime.
        runtime: Runtime,
    },
    /// The window given is out of range.
    #[error("a recent window of {given} tokens is out of range: expected {floor} to {most}")]
    OutOfRange {
        /// The window given.
        given: u64,
        /// The smallest.
        floor: u64,
        /// The largest.
        most: u64,
    },
}

impl WindowError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::CacheTooSmall { floor, sinks, .. } => Some(format!(
                "use at least `--cache-tokens {}`, or a smaller `--prefill-chunk`",
                floor + sinks
            )),
            Self::OutOfRange { floor, .. } if *floor > FLOOR => {
                Some("a smaller `--prefill-chunk` lowers the floor".into())
            }
            Self::NoEviction { .. } => Some("drop `--recent-window`".into()),
            Self::OutOfRange { .. } => None,
        }
    }
}

/// The smallest window and the slots for sinks.
fn floor(workload: &Workload) -> (u64, u64) {
    let sinks = if workload.system_tokens >= SINKS { 0 } else { SINKS };
    (workload.prefill_chunk.max(FLOOR), sinks)
}

/// The smallest cache that can have a window.
pub fn smallest_cache(workload: &Workload) -> u64 {
    let (floor, sinks) = floor(workload);
    let context = workload.context.saturating_sub(workload.system_tokens);
    (floor + sinks).min(context)
}

/// The recent window of a cache of `cache_tokens`. Only vramplan's engine evicts with these
/// rules; for other runtimes the floor is no error.
///
/// # Errors
/// Where the window given, or any, does not fit the cache.
pub fn recent_window(
    runtime: Runtime,
    workload: &Workload,
    cache_tokens: u64,
) -> Result<RecentWindow, WindowError> {
    let rules = rules(runtime);
    if !rules.evicts() {
        return match workload.recent_window {
            Some(_) => Err(WindowError::NoEviction { runtime }),
            None => Ok(RecentWindow { tokens: 0, basis: WindowBasis::NoEviction }),
        };
    }
    let needs_window = rules.needs_window_of_chunk();
    let (floor, sinks) = floor(workload);
    let most = cache_tokens.saturating_sub(sinks);
    if let Some(given) = workload.recent_window {
        let floor = if needs_window { floor } else { 1 };
        if given < floor || given > most {
            return Err(WindowError::OutOfRange { given, floor, most });
        }
        return Ok(RecentWindow { tokens: given, basis: WindowBasis::Given });
    }
    let half = cache_tokens / 2;
    if half >= floor {
        return Ok(RecentWindow { tokens: half, basis: WindowBasis::PublishedHalf });
    }
    if floor > most && needs_window {
        return Err(WindowError::CacheTooSmall { cache_tokens, floor, sinks });
    }
    Ok(RecentWindow { tokens: floor.min(most), basis: WindowBasis::Floor })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Attention, Logits};

    fn workload(recent_window: Option<u64>) -> Workload {
        Workload {
            system_tokens: 0,
            recent_window,
            prefill_chunk: 512,
            batch: 1,
            context: 32_768,
            attention: Attention::Fused,
            capture: None,
            images: None,
            logits: Logits::Last,
            grown_cache: false,
        }
    }

    fn window(cache_tokens: u64, given: Option<u64>) -> Result<(u64, WindowBasis), WindowError> {
        let window = recent_window(Runtime::Vramplan, &workload(given), cache_tokens)?;
        Ok((window.tokens, window.basis))
    }

    #[test]
    fn half_unless_the_floor_is_more() {
        assert_eq!(window(7000, None), Ok((3500, WindowBasis::PublishedHalf)));
        assert_eq!(window(1000, None), Ok((512, WindowBasis::Floor)));
        assert_eq!(window(516, None), Ok((512, WindowBasis::Floor)));
        let too_small = WindowError::CacheTooSmall { cache_tokens: 515, floor: 512, sinks: 4 };
        assert_eq!(window(515, None), Err(too_small));
    }

    #[test]
    fn a_given_window_must_fit() {
        assert_eq!(window(7000, Some(1000)), Ok((1000, WindowBasis::Given)));
        let error = WindowError::OutOfRange { given: 100, floor: 512, most: 6996 };
        assert_eq!(window(7000, Some(100)), Err(error));
        assert!(window(7000, Some(6997)).is_err());
    }
}
