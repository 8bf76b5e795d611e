//! Sizes as programs print them: rounded.

use crate::units::Bytes;

/// A size as it was printed: rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Printed {
    /// What it stands for.
    pub bytes: Bytes,
    /// How far the exact size may be away, up or down.
    pub within: Bytes,
}

/// Digits before and behind the point that a size has at most.
const MOST_WHOLE: usize = 13;
const MOST_DECIMALS: usize = 6;

impl Printed {
    /// A size that was printed to the byte.
    pub const fn exactly(bytes: Bytes) -> Self {
        Self { bytes, within: Bytes::ZERO }
    }

    /// Whether a size is printed so.
    pub fn is(self, exact: Bytes) -> bool {
        self.bytes.max(exact).minus_or_zero(self.bytes.min(exact)) <= self.within
    }

    /// The sum of two.
    pub fn plus(self, other: Self) -> Option<Self> {
        let bytes = self.bytes.plus(other.bytes).ok()?;
        Some(Self { bytes, within: self.within.plus(other.within).ok()? })
    }

    /// `13.50` in units of `unit`; nothing of what is no number, or more than any memory has.
    pub fn parse(text: &str, unit: Bytes) -> Option<Self> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        if decimals.len() > MOST_DECIMALS || whole.len() > MOST_WHOLE {
            return None;
        }
        let scale = 10u64.checked_pow(u32::try_from(decimals.len()).ok()?)?;
        let digits: u64 = format!("{whole}{decimals}").parse().ok()?;
        let bytes = unit.scale(digits, scale).ok()?;
        // Half of the last digit, and a byte for rounding here; a whole number of bytes is exact.
        let within = if unit == Bytes::new(1) && decimals.is_empty() {
            Bytes::ZERO
        } else {
            unit.scale(1, 2 * scale).ok()?.plus(Bytes::new(1)).ok()?
        };
        Some(Self { bytes, within })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_size_stands_for_all_that_are_rounded_to_it() {
        let size = Printed::parse("14.25", Bytes::GIB).unwrap();
        assert!(size.is(Bytes::GIB.scale(14_254, 1000).unwrap()));
        assert!(!size.is(Bytes::GIB.scale(14_256, 1000).unwrap()));
        assert_eq!(Printed::parse("12", Bytes::new(1)), Some(Printed::exactly(Bytes::new(12))));
        for wrong in ["", ".", "1.2345678", "99999999999999", "1e3", "-1", "0x1"] {
            assert_eq!(Printed::parse(wrong, Bytes::GIB), None, "{wrong}");
        }
        assert_eq!(Printed::parse("9999999999999", Bytes::GIB), None);
    }
}
