//! The smallest card on which a run ends.

use super::caching::Caching;
use super::load::Load;
use super::play::MOST;
use super::tape::{Refused, Tape, TooSmall};

/// Plays at most in each part of a search, and how exact it is.
const STEPS: usize = 3;
const GRANULE: u64 = 4 << 20;
/// Parts of what lies between what is in use and the largest card that is tried.
const PARTS: u64 = 8;
/// How much larger than one on which a run ends the largest is: 1/32.
const BEYOND: u64 = 32;

/// A run on cards of any size.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// Its weights.
    pub load: &'a Load,
    /// What it asks for behind them.
    pub requests: &'a Tape,
    /// Whether segments grow.
    pub is_expandable: bool,
}

/// The card that is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Smallest {
    /// From it on all that were tried do.
    pub card: u64,
    /// The most that is in use at once, rounded as the allocator rounds.
    pub allocated: u64,
    /// What loading reserves of a card that is never full.
    pub loading: u64,
}

impl Run<'_> {
    /// The smallest card.
    ///
    /// # Errors
    /// Where no card is large enough.
    pub fn smallest(self) -> Result<Smallest, Refused> {
        let mut plenty = self.load.on(MOST, self.is_expandable, TooSmall::Ends)?;
        let loading = plenty.most_reserved();
        self.requests.ask(&mut plenty, TooSmall::Ends)?;
        let search = Search {
            run: self,
            allocated: plenty.most_allocated(),
            plenty: plenty.most_reserved().max(self.load.warm_from()),
        };
        let high = search.high()?;
        Ok(Smallest { card: search.surely(high), allocated: search.allocated, loading })
    }

    /// This card, or what it has to be where it is too small.
    ///
    /// # Errors
    /// Where no card is large enough.
    pub fn grown(self, card: u64) -> Result<u64, Refused> {
        Ok(self.play(card, TooSmall::Grows)?.card())
    }

    fn play(self, card: u64, too_small: TooSmall) -> Result<Caching, Refused> {
        let mut allocator = self.load.on(card, self.is_expandable, too_small)?;
        self.requests.ask(&mut allocator, too_small)?;
        Ok(allocator)
    }
}

/// What one play on a card that is never full says of all others.
struct Search<'a> {
    run: Run<'a>,
    /// The most that is in use: a card has to have as much.
    allocated: u64,
    /// From this card on nothing is ever refused, so that every play is that one.
    plenty: u64,
}

impl Search<'_> {
    /// A card on which the run ends: one that is too small, grown by what is missing again and again.
    fn high(&self) -> Result<u64, Refused> {
        let mut high = self.allocated;
        // The play of a card that was too small, and grew, is not that of the larger card.
        for _ in 0..=STEPS {
            let card = self.run.play(high, TooSmall::Grows)?.card();
            if card >= self.plenty {
                return Ok(self.plenty);
            }
            if card == high {
                break;
            }
            high = card;
        }
        Ok(high)
    }

    /// Whether a card of this size grants all of it.
    fn grants(&self, card: u64) -> bool {
        card >= self.plenty || self.run.play(card, TooSmall::Ends).is_ok()
    }

    /// The card from which on all that are tried are large enough, from the largest down.
    fn surely(&self, high: u64) -> u64 {
        let top = high.saturating_add(high / BEYOND);
        if !self.grants(top) {
            return top;
        }
        let part = (top.saturating_sub(self.allocated) / PARTS).max(GRANULE);
        let below = |card: u64| card.saturating_sub(part).max(self.allocated);
        let (mut low, mut enough) = (below(top), top);
        while low < enough && self.grants(low) {
            (low, enough) = (below(low), low);
        }
        for _ in 0..STEPS {
            if enough - low <= GRANULE {
                break;
            }
            let middle = low.midpoint(enough);
            if self.grants(middle) {
                enough = middle;
            } else {
                low = middle;
            }
        }
        enough
    }
}
