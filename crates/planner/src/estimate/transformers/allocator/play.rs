//! Requests played through the allocator, on a card that is as large as it has to be.

use super::caching::{Block, Caching, Full};

/// Requests below this are counted, but not played: they share a few segments of 2 MiB.
const LEAST: u64 = 64 << 10;
/// What no card holds: more is counted, but not played.
const MOST: u64 = 1 << 50;

/// Memory that was asked for.
#[derive(Debug)]
#[must_use = "memory that is not given back stays"]
pub struct Held {
    block: Option<Block>,
    bytes: u64,
}

impl Held {
    /// Nothing.
    pub const NOTHING: Self = Self { block: None, bytes: 0 };

    /// Bytes asked for.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// The allocator, and what was asked of it.
#[derive(Debug)]
pub struct Play {
    allocator: Caching,
    asked: u64,
    most_asked: u64,
    most_kept: u64,
    is_too_large: bool,
}

impl Play {
    /// With a card that has so many bytes for the allocator; where they are not enough it grows.
    pub fn new(card: u64, is_expandable: bool) -> Self {
        Self {
            allocator: Caching::new(card.min(MOST), is_expandable),
            asked: 0,
            most_asked: 0,
            most_kept: 0,
            is_too_large: false,
        }
    }

    /// Asks for memory.
    pub fn take(&mut self, bytes: u64) -> Held {
        if bytes == 0 {
            return Held::NOTHING;
        }
        self.count(bytes);
        self.most_kept = self.most_kept.max(self.asked);
        self.block(bytes)
    }

    /// Asks for a library's workspace, and gives it back at once.
    pub fn workspace(&mut self, bytes: u64) {
        if bytes > 0 {
            self.count(bytes);
            let held = self.block(bytes);
            self.give(held);
        }
    }

    fn count(&mut self, bytes: u64) {
        self.asked = self.asked.saturating_add(bytes);
        self.is_too_large |= self.asked > MOST;
        self.most_asked = self.most_asked.max(self.asked);
    }

    fn block(&mut self, bytes: u64) -> Held {
        if bytes < LEAST || self.is_too_large {
            return Held { block: None, bytes };
        }
        loop {
            match self.allocator.take(bytes) {
                Ok(block) => return Held { block: Some(block), bytes },
                Err(Full { missing: 0 }) => {
                    // It is not the card that is too small: a larger one would not help either.
                    self.is_too_large = true;
                    return Held { block: None, bytes };
                }
                Err(Full { missing }) => self.allocator.grow_card(missing),
            }
        }
    }

    /// Gives memory back.
    #[allow(clippy::needless_pass_by_value, reason = "what was given back is gone")]
    pub fn give(&mut self, held: Held) {
        self.asked = self.asked.saturating_sub(held.bytes);
        if let Some(block) = held.block {
            self.allocator.give(block);
        }
    }

    /// Gives all of it back, in this order.
    pub fn give_all(&mut self, held: impl IntoIterator<Item = Held>) {
        held.into_iter().for_each(|held| self.give(held));
    }

    /// Asks for memory and gives it back at once.
    pub fn touch(&mut self, bytes: u64) {
        let held = self.take(bytes);
        self.give(held);
    }

    /// Asks for `bytes` in place of what is held, which is given back afterwards.
    pub fn replace(&mut self, held: &mut Held, bytes: u64) {
        let new = self.take(bytes);
        let old = std::mem::replace(held, new);
        self.give(old);
    }

    /// Begins another count of the most that is asked for.
    pub fn begin_phase(&mut self) {
        self.most_asked = self.asked;
    }

    /// Whether more was asked for than any card holds.
    pub const fn is_too_large(&self) -> bool {
        self.is_too_large
    }

    /// Begins the count of what is alive without workspaces.
    pub fn begin_run(&mut self) {
        self.most_kept = self.asked;
    }

    /// The most that was asked for and alive since the phase began.
    pub const fn most_asked(&self) -> u64 {
        self.most_asked
    }

    /// The most that was asked for and alive since the run began, without workspaces.
    pub const fn most_kept(&self) -> u64 {
        self.most_kept
    }

    /// The allocator.
    pub const fn allocator(&self) -> &Caching {
        &self.allocator
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_of_petabytes_ends() {
        for is_expandable in [false, true] {
            let mut play = Play::new(1 << 30, is_expandable);
            let held: Vec<_> = (0..3).map(|_| play.take(100 << 40)).collect();
            assert!(!play.is_too_large(), "{is_expandable}");
            assert!(play.allocator().card() >= 300 << 40, "{is_expandable}");
            play.give_all(held);
        }
    }
}
