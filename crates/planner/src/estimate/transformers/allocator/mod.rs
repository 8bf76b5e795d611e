//! What a card must have for a run of transformers: the run's own requests, in their order, through the rules
//! of `PyTorch`'s caching allocator.
//!
//! What is alive at most is known without it. What a card must have beyond that depends on the order: segments
//! are never joined, a block is not cut where at most 1 MiB would be left, and memory that was in use for
//! scores cannot serve for a larger softmax. `evidence/allocator` has the same of the real allocator.

mod attention;
mod caches;
mod caching;
mod experts;
mod latent;
mod layer;
mod linear;
mod load;
mod norms;
mod order;
mod play;
mod played;
mod run;
mod widths;

pub use self::caching::{Block, Caching, Full};
pub use self::played::{Played, Question};
pub use self::run::Asked;

use self::order::in_order;
use self::play::Play;
use self::run::{Course, play};
use crate::estimate::weights::Piece;
use crate::estimate::{EstimateError, Scenario};
use crate::units::Overflow;

/// What a run needs of a card, less context and libraries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needed {
    /// The card from which on all requests are granted on every one that was tried: as long as a card has little more
    /// than the weights, transformers' first block is smaller than they are, and what fits behind it is a matter of
    /// luck.
    pub card: u64,
    /// The most that is in use at once, rounded as the allocator rounds.
    pub allocated: u64,
    /// The most that is asked for and alive at once after loading, without the workspaces of products.
    pub kept: u64,
    /// What is asked for in each phase.
    pub asked: Asked,
}

/// The same for a number of tokens that is rounded up to eight binary digits, so that a search plays few of them.
///
/// # Errors
/// As [`needed`].
pub fn about_needed(scenario: &Scenario<'_>) -> Result<Needed, EstimateError> {
    let tokens = rounded(scenario.cache_tokens);
    let asked = Question {
        workload: scenario.workload,
        kv: scenario.kv,
        tokens,
        capability: scenario.gpu.compute_capability,
        multiprocessors: scenario.gpu.sm_count.value,
        is_expandable: scenario.runtime.options.stack().expandable_segments,
    };
    if let Some(known) = scenario.weights.played.get(&asked) {
        return Ok(known);
    }
    let needed = needed(&Scenario { cache_tokens: tokens, ..scenario.clone() })?;
    scenario.weights.played.put(asked, needed);
    Ok(needed)
}

/// The next number of at most eight binary digits and zeros behind them.
const fn rounded(tokens: u64) -> u64 {
    let digits = u64::BITS - tokens.leading_zeros();
    let unit = 1 << digits.saturating_sub(8);
    tokens.next_multiple_of(unit)
}

/// Plays a scenario's run on ever smaller cards.
///
/// # Errors
/// On sizes that no card has.
pub fn needed(scenario: &Scenario<'_>) -> Result<Needed, EstimateError> {
    let is_expandable = scenario.runtime.options.stack().expandable_segments;
    let pieces = in_order(scenario.model, &scenario.weights.pieces);
    let search = Search { scenario, pieces, course: Course::of(scenario)?, is_expandable };
    let (first, asked) = search.play(scenario.weights.device.get())?;
    if first.is_too_large() {
        return Err(Overflow.into());
    }
    let allocated = first.allocator().most_allocated();
    let mut high = first.allocator().card();
    // The play of a card that was too small, and grew, is not that of the larger card.
    for _ in 0..STEPS {
        let card = search.grown(high)?;
        if card == high {
            break;
        }
        high = card;
    }
    let card = search.surely(allocated, high)?;
    Ok(Needed { card, allocated, kept: first.most_kept(), asked })
}

/// Plays at most in each part of a search, and how exact it is.
const STEPS: usize = 3;
const GRANULE: u64 = 4 << 20;
/// Parts of what lies between what is in use and the largest card that is tried.
const PARTS: u64 = 8;
/// How much larger than one on which a run ends the largest is: 1/32.
const BEYOND: u64 = 32;

struct Search<'a, 's> {
    scenario: &'a Scenario<'s>,
    pieces: Vec<Piece>,
    course: Course,
    is_expandable: bool,
}

impl Search<'_, '_> {
    fn play(&self, card: u64) -> Result<(Play, Asked), EstimateError> {
        play(self.scenario, &self.pieces, &self.course, Play::new(card, self.is_expandable))
    }

    /// What a card of this size has grown to at the end.
    fn grown(&self, card: u64) -> Result<u64, EstimateError> {
        Ok(self.play(card)?.0.allocator().card())
    }

    /// The card from which on all that are tried are large enough, from the largest down.
    fn surely(&self, allocated: u64, high: u64) -> Result<u64, EstimateError> {
        let top = high.saturating_add(high / BEYOND);
        if self.grown(top)? != top {
            return Ok(top);
        }
        let part = (top.saturating_sub(allocated) / PARTS).max(GRANULE);
        let mut enough = top;
        let mut low = enough.saturating_sub(part).max(allocated);
        while low < enough && self.grown(low)? == low {
            enough = low;
            low = enough.saturating_sub(part).max(allocated);
        }
        for _ in 0..STEPS {
            if enough - low <= GRANULE {
                break;
            }
            let middle = low.midpoint(enough);
            if self.grown(middle)? == middle {
                enough = middle;
            } else {
                low = middle;
            }
        }
        Ok(enough)
    }
}
