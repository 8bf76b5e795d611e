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
mod quantize;
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
use crate::estimate::{Deviation, EstimateError, Scenario};
use crate::units::{Bytes, Overflow};

/// What a run needs of a card, less context and libraries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needed {
    /// The card from which on all requests are granted on every one that was tried: as long as a card has little more
    /// than the weights, transformers' first block is smaller than they are, and what fits behind it is a matter of
    /// luck.
    pub card: u64,
    /// A card that grants this of runs that are a little shorter or longer, too, where that was asked. Where a block lies
    /// is a matter of luck: a few tokens can make a segment of scores useless.
    pub nearby: u64,
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
    let unit = unit(scenario.cache_tokens);
    let tokens = scenario.cache_tokens.next_multiple_of(unit);
    let asked = Question::of(scenario, tokens);
    if let Some(known) = scenario.weights.played.get(&asked) {
        return Ok(known);
    }
    let of = |tokens| Scenario { cache_tokens: tokens, ..scenario.clone() };
    let mut needed = needed(&of(tokens))?;
    for distance in 1..=NEARBY {
        for near in [tokens.saturating_sub(distance * unit), tokens + distance * unit] {
            if near > 0 {
                needed.nearby = needed.nearby.max(of_another(&of(near), needed)?);
            }
        }
    }
    scenario.weights.played.put(asked, needed);
    Ok(needed)
}

/// Lengths in either direction that are played on the card of the high bound.
const NEARBY: u64 = 4;

/// What the last of eight binary digits of this number stands for.
const fn unit(tokens: u64) -> u64 {
    1 << (u64::BITS - tokens.leading_zeros()).saturating_sub(8)
}

/// A constant part of what starts differ by: about a segment of 20 MiB.
const MORE: Bytes = Bytes::new(16 << 20);

/// What a card of this size may be on another start.
///
/// # Errors
/// On sizes that no card has.
pub fn high(card: Bytes) -> Result<Bytes, Overflow> {
    Deviation::SMALLEST_CARD.around(card)?.high.plus(MORE)
}

/// Plays a run of another length on the card of the high bound: that, or what the card has to be more where it is too
/// small, for the length of this run.
fn of_another(scenario: &Scenario<'_>, this: Needed) -> Result<u64, EstimateError> {
    let (load, stack) = (loaded(scenario), scenario.runtime.options.stack());
    let Recorded { tape, kept, .. } = record(scenario, load, &Course::of(scenario)?)?;
    let run = Run { load, requests: &tape, is_expandable: stack.expandable_segments };
    let high = high(Bytes::new(this.card))?.get();
    let card = high.saturating_add(kept).saturating_sub(this.kept);
    let grown = run.grown(card).map_err(|Refused| Overflow)?;
    Ok(high.saturating_add(grown.saturating_sub(card)))
}

/// Plays a scenario's run on ever smaller cards.
///
/// # Errors
/// On sizes that no card has.
pub fn needed(scenario: &Scenario<'_>) -> Result<Needed, EstimateError> {
    let (load, stack) = (loaded(scenario), scenario.runtime.options.stack());
    let Recorded { tape, asked, kept } = record(scenario, load, &Course::of(scenario)?)?;
    let run = Run { load, requests: &tape, is_expandable: stack.expandable_segments };
    let Smallest { card, allocated, loading } = run.smallest().map_err(|Refused| Overflow)?;
    Ok(Needed { card, nearby: card, allocated, loading, kept, asked })
}

/// The loading of its weights.
fn loaded<'s>(scenario: &Scenario<'s>) -> &'s Load {
    let Scenario { model, weights, .. } = scenario;
    let how = How {
        format: weights.format,
        version: scenario.runtime.options.stack().transformers,
        tied: model.shape.tied_embeddings,
    };
    weights.played.load(|| Load::of(&in_order(model, &weights.pieces, how), how))
}
