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
mod search;
mod tape;
mod widths;

pub use self::caching::{Block, Caching, Full};
pub use self::played::{Played, Question};
pub use self::run::Asked;

use self::load::{How, Load};
use self::order::in_order;
use self::run::{Course, Recorded, record};
use self::search::{Run, Smallest};
use self::tape::Refused;
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
    /// What loading alone reserves.
    pub loading: u64,
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
    let asked = Question::of(scenario, tokens);
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
    let Scenario { model, weights, .. } = scenario;
    let stack = scenario.runtime.options.stack();
    let how = How {
        format: weights.format,
        version: stack.transformers,
        tied: model.shape.tied_embeddings,
    };
    let load = weights.played.load(|| Load::of(&in_order(model, &weights.pieces, how), how));
    let Recorded { tape, asked, kept } = record(scenario, load, &Course::of(scenario)?)?;
    let run = Run { load, requests: &tape, is_expandable: stack.expandable_segments };
    let Smallest { card, allocated, loading } = run.smallest().map_err(|Refused| Overflow)?;
    Ok(Needed { card, allocated, loading, kept, asked })
}
