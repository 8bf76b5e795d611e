//! Searches over numbers of tokens.

use std::ops::Range;

use crate::units::Bytes;

/// The largest value of `low..high` that `accepts`, given that it rejects `high` and that whatever
/// it rejects, it rejects above too. Zero stands for none.
pub fn bisect<E>(
    mut low: u64,
    mut high: u64,
    accepts: impl Fn(u64) -> Result<bool, E>,
) -> Result<u64, E> {
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if accepts(middle)? {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// The largest value of `low..high` whose size is within `room`, given that the size of `high` is not
/// and that sizes never shrink; `low` where none is.
///
/// Sizes are nearly linear, so that the line through both ends finds the value in a few steps; where
/// a step does not halve what is left, the next one does.
pub fn largest_within<E>(
    room: Bytes,
    Range { start: low, end: high }: Range<u64>,
    size: impl Fn(u64) -> Result<Bytes, E>,
) -> Result<u64, E> {
    let mut low = (low, size(low)?);
    let mut high = (high, size(high)?);
    if low.1 > room {
        return Ok(low.0);
    }
    let mut halve = false;
    while high.0 - low.0 > 1 {
        let span = high.0 - low.0;
        let guess = if halve { low.0 + span / 2 } else { between(low, high, room) };
        let found = (guess, size(guess)?);
        if found.1 <= room {
            low = found;
        } else {
            high = found;
        }
        halve = high.0 - low.0 > span / 2;
    }
    Ok(low.0)
}

/// Where the line through two sizes crosses `room`: strictly between them.
fn between(low: (u64, Bytes), high: (u64, Bytes), room: Bytes) -> u64 {
    let span = high.0 - low.0;
    let rise = high.1.minus_or_zero(low.1);
    let part = room.minus_or_zero(low.1);
    let step = Bytes::new(span).scale(part.get(), rise.get()).map_or(0, Bytes::get);
    low.0 + step.clamp(1, span - 1)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn bisection_finds_the_last_accepted_value() {
        for limit in [0u64, 1, 2, 63, 64, 99] {
            let found: Result<u64, ()> = bisect(0, 100, |n| Ok(n <= limit));
            assert_eq!(found, Ok(limit));
        }
    }

    fn search(room: u64, high: u64, size: impl Fn(u64) -> u64) -> (u64, u64) {
        let calls = Cell::new(0);
        let counted = |n| -> Result<Bytes, ()> {
            calls.set(calls.get() + 1);
            Ok(Bytes::new(size(n)))
        };
        (largest_within(Bytes::new(room), 0..high, counted).unwrap(), calls.get())
    }

    #[test]
    fn any_growing_size_is_searched_right() {
        let stairs = |n: u64| 1000 + (n * 37).next_multiple_of(512);
        let bent = |n: u64| if n < 700 { n } else { 700 + (n - 700) * 50 };
        for room in (0..60_000).step_by(777) {
            for size in [&stairs as &dyn Fn(u64) -> u64, &bent, &|n| n * n / 20, &|_| 60_001] {
                if size(1000) > room {
                    let expected = (0..1000).rev().find(|&n| size(n) <= room).unwrap_or(0);
                    assert_eq!(search(room, 1000, size).0, expected, "room {room}");
                }
            }
        }
    }

    #[test]
    fn a_line_is_searched_in_a_few_steps() {
        let (found, calls) = search(5_000_000_000, 130_000, |n| 1_000_000 + n * 99_840);
        assert_eq!(found, (5_000_000_000 - 1_000_000) / 99_840);
        assert!(calls <= 6, "{calls} calls");
    }
}
