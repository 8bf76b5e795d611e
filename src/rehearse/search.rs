//! The smallest capacity on which a program still ends well, between two that were tried.

use vramplan_planner::units::Bytes;

/// The unit in which drivers give memory out, below which no bracket makes sense.
pub const GRANULE: Bytes = Bytes::new(2 << 20);
/// Tries that a search takes at most: 2⁴⁰ granules are more than any card has.
const TRIES: usize = 64;

/// What a search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bracket {
    /// The largest capacity that was tried and is too small; none where none was.
    pub too_small: Option<Bytes>,
    /// The smallest that was tried and is enough.
    pub enough: Bytes,
}

/// Searches below `enough`, at which the program took `peak`, until what is enough and what is not are
/// `within` of each other. `ends_well` tries a capacity, and says whether the program ended well and what it
/// took. A program that ends well on a card is taken to do so on every larger one.
///
/// # Errors
/// Those of a try.
pub fn smallest<E>(
    enough: Bytes,
    peak: Bytes,
    within: Bytes,
    mut ends_well: impl FnMut(Bytes) -> Result<Option<Bytes>, E>,
) -> Result<Bracket, E> {
    let within = within.max(GRANULE);
    let mut bracket = Bracket { too_small: None, enough };
    // Most programs need what they took, and what is `within` less is too small.
    let mut next = Some(peak).filter(|peak| *peak < enough);
    let mut last_took = peak;
    for _ in 0..TRIES {
        let floor = bracket.too_small.unwrap_or(Bytes::ZERO);
        let gap = bracket.enough.minus_or_zero(floor);
        if gap <= within {
            break;
        }
        let middle = Bytes::new(floor.get() + gap.get() / 2 / GRANULE.get() * GRANULE.get());
        let inside = |at: &Bytes| *at > floor && *at < bracket.enough;
        let at = next.take().filter(inside).unwrap_or(middle);
        if !inside(&at) {
            break;
        }
        match ends_well(at)? {
            Some(took) => {
                bracket.enough = at;
                // What it took there it needs, unless it takes whatever there is.
                let is_need = took >= last_took.minus_or_zero(within);
                last_took = took;
                let below = at.min(took).minus_or_zero(within);
                next = Some(below).filter(|_| is_need && bracket.too_small.is_none());
            }
            None => bracket.too_small = Some(at),
        }
    }
    Ok(bracket)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn search(need: u64, takes: impl Fn(u64) -> u64, within: u64) -> (Bracket, usize) {
        let mut tries = 0;
        let enough = 24_000 * MIB;
        let found =
            smallest(Bytes::new(enough), Bytes::new(takes(enough)), Bytes::new(within), |at| {
                tries += 1;
                Ok::<_, ()>((at.get() >= need).then(|| Bytes::new(takes(at.get()))))
            });
        (found.unwrap(), tries)
    }

    #[test]
    fn a_program_that_needs_what_it_takes_is_found_in_two_tries() {
        let need = 5_430 * MIB + 12_345;
        let (found, tries) = search(need, |_| need, 32 * MIB);
        assert_eq!((found.enough.get(), tries), (need, 2));
        assert!(found.too_small.unwrap().get() < need);
        assert!(need - found.too_small.unwrap().get() <= 32 * MIB);
    }

    #[test]
    fn one_that_takes_nine_tenths_of_whatever_there_is_is_found_by_halves() {
        for need in [3, 700, 9_001, 23_999] {
            let (found, tries) = search(need * MIB, |card| card / 10 * 9, 16 * MIB);
            assert!(found.enough.get() >= need * MIB, "{need}");
            let floor = found.too_small.map_or(0, Bytes::get);
            assert!(
                floor < need * MIB && found.enough.get() - floor <= 16 * MIB,
                "{need}: {found:?}"
            );
            assert!(tries <= 30, "{need}: {tries}");
        }
    }

    #[test]
    fn a_bracket_is_at_least_a_granule_and_the_search_ends() {
        let (found, tries) = search(1, |_| 1, 0);
        assert!(found.enough.get() <= 2 * MIB && tries < 64, "{found:?} {tries}");
        let (found, _) = search(24_000 * MIB, |card| card, 0);
        assert_eq!(found.enough.get(), 24_000 * MIB);
    }
}
