//! The date of a recording, without a time zone's rules: UTC.

use jiff::Timestamp;

/// Now, to the second, as RFC 3339 writes it: `2026-03-01T12:00:00Z`.
pub fn now() -> String {
    to_the_second(Timestamp::now())
}

fn to_the_second(time: Timestamp) -> String {
    // Whole seconds of a time are a time.
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_of_a_second_is_left_out() {
        for (nanoseconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399_999_999_999, "2000-02-28T23:59:59Z"),
            (951_782_400_000_000_001, "2000-02-29T00:00:00Z"),
            (4_107_542_400_000_000_000, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(to_the_second(Timestamp::from_nanosecond(nanoseconds).unwrap()), text);
        }
    }
}
