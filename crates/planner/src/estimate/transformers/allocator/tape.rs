//! Requests as a list: they do not depend on the card, so that they are written down once and asked of ever smaller ones.

use super::caching::{Block, Caching, Full};

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Memory, which is held in a place.
    Take { place: u32, bytes: u64 },
    /// What is held in a place is given back.
    Give { place: u32 },
    /// Memory that is given back at once.
    Touch { bytes: u64 },
}

/// What becomes of a card that is too small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooSmall {
    /// It grows by what is missing.
    Grows,
    /// The run ends.
    Ends,
}

/// A request was not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// Requests in their order.
#[derive(Clone, Debug, Default)]
pub struct Tape {
    requests: Vec<Request>,
    /// Places that nothing is held in.
    vacant: Vec<u32>,
    places: u32,
}

impl Tape {
    /// Writes down that memory is asked for; returns the place that it is held in.
    pub fn take(&mut self, bytes: u64) -> u32 {
        let place = self.vacant.pop().unwrap_or_else(|| {
            self.places += 1;
            self.places - 1
        });
        self.requests.push(Request::Take { place, bytes });
        place
    }

    /// Writes down that what is held in a place is given back.
    pub fn give(&mut self, place: u32) {
        self.requests.push(Request::Give { place });
        self.vacant.push(place);
    }

    /// Writes down that memory is asked for and given back at once.
    pub fn touch(&mut self, bytes: u64) {
        self.requests.push(Request::Touch { bytes });
    }

    /// Asks an allocator for all of it.
    ///
    /// # Errors
    /// Where a card that does not grow is too small, or growing does not help.
    pub fn ask(&self, allocator: &mut Caching, too_small: TooSmall) -> Result<(), Refused> {
        let mut held = vec![Block::NONE; self.places as usize];
        for &request in &self.requests {
            match request {
                Request::Take { place, bytes } => {
                    held[place as usize] =
                        granted(allocator, too_small, |allocator| allocator.take(bytes))?;
                }
                Request::Give { place } => allocator.give(held[place as usize]),
                Request::Touch { bytes } => {
                    granted(allocator, too_small, |allocator| allocator.touch(bytes))?;
                }
            }
        }
        Ok(())
    }
}

/// What is asked for, once the card has room for it.
pub fn granted<T>(
    allocator: &mut Caching,
    too_small: TooSmall,
    mut ask: impl FnMut(&mut Caching) -> Result<T, Full>,
) -> Result<T, Refused> {
    loop {
        match ask(allocator) {
            Ok(given) => return Ok(given),
            // Where nothing is missing it is not the card that is too small: a larger one would not help either.
            Err(Full { missing }) if missing > 0 && too_small == TooSmall::Grows => {
                allocator.grow_card(missing);
            }
            Err(_) => return Err(Refused),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn tape() -> Tape {
        let mut tape = Tape::default();
        let first = tape.take(40 * MIB);
        let second = tape.take(40 * MIB);
        tape.give(first);
        tape.touch(60 * MIB);
        tape.give(second);
        tape
    }

    #[test]
    fn a_card_grows_by_what_is_missing_or_ends_the_run() {
        let mut grown = Caching::new(MIB, false);
        tape().ask(&mut grown, TooSmall::Grows).unwrap();
        assert_eq!(grown.card(), 100 * MIB);
        for (card, ends) in [(100, Ok(())), (99, Err(Refused))] {
            let mut fixed = Caching::new(card * MIB, false);
            assert_eq!(tape().ask(&mut fixed, TooSmall::Ends), ends);
        }
    }

    #[test]
    fn places_are_used_again() {
        let mut tape = Tape::default();
        for _ in 0..100 {
            let place = tape.take(MIB);
            tape.give(place);
        }
        assert_eq!(tape.places, 1);
    }
}
