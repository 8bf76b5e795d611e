//! Quantities of memory.
//!
//! [`Bytes`] is the only type in which vramplan holds a size. It has no arithmetic operators: every
//! sum and product is checked, because a size read from a hostile file must not wrap around into a
//! plan that fits.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::text::printable;

/// An arithmetic result that does not fit in 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a size is larger than 16 EiB")]
pub struct Overflow;

// A length in memory is a count of 64 bits, here and on machines of 32.
const _: () = assert!(usize::BITS <= u64::BITS);

/// A length as a count.
#[must_use]
pub const fn to_u64(length: usize) -> u64 {
    length as u64
}

/// A count as a length or an index.
///
/// # Errors
/// [`Overflow`] where this machine cannot hold so many: one of 32 bits, such as `wasm32`.
///
/// ```
/// use vramplan_planner::units::to_usize;
/// assert_eq!(to_usize(7), Ok(7));
/// ```
pub fn to_usize(count: u64) -> Result<usize, Overflow> {
    usize::try_from(count).map_err(|_| Overflow)
}

/// A count as an index into something that has `most` elements: `most` where it is more.
///
/// ```
/// use vramplan_planner::units::at_most;
/// assert_eq!([at_most(3, 5), at_most(u64::MAX, 5)], [3, 5]);
/// ```
#[must_use]
pub fn at_most(count: u64, most: usize) -> usize {
    to_usize(count).map_or(most, |count| count.min(most))
}

/// A size in bytes, printed in IEC units.
///
/// ```
/// use vramplan_planner::units::Bytes;
/// let card: Bytes = "23034 MiB".parse()?;
/// assert_eq!(card.get(), 23_034 * 1024 * 1024);
/// assert_eq!(card.to_string(), "22.49 GiB");
/// assert_eq!(format!("{card:#}"), "24152899584 B");
/// assert!("24G".parse::<Bytes>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(description = "A size in bytes.")
)]
pub struct Bytes(u64);

impl Bytes {
    /// No bytes.
    pub const ZERO: Self = Self(0);
    /// 1024 bytes.
    pub const KIB: Self = Self(1 << 10);
    /// 1024² bytes.
    pub const MIB: Self = Self(1 << 20);
    /// 1024³ bytes.
    pub const GIB: Self = Self(1 << 30);

    /// A size of exactly `n` bytes.
    pub const fn new(n: u64) -> Self {
        Self(n)
    }

    /// A size of `n` MiB.
    ///
    /// ```
    /// # use vramplan_planner::units::{Bytes, Overflow};
    /// assert_eq!(Bytes::mib(2), Ok(Bytes::new(2_097_152)));
    /// assert_eq!(Bytes::mib(u64::MAX), Err(Overflow));
    /// ```
    pub const fn mib(n: u64) -> Result<Self, Overflow> {
        Self::MIB.times(n)
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whether this is no memory at all.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// `self + other`.
    pub const fn plus(self, other: Self) -> Result<Self, Overflow> {
        match self.0.checked_add(other.0) {
            Some(n) => Ok(Self(n)),
            None => Err(Overflow),
        }
    }

    /// `self × n`.
    pub const fn times(self, n: u64) -> Result<Self, Overflow> {
        match self.0.checked_mul(n) {
            Some(n) => Ok(Self(n)),
            None => Err(Overflow),
        }
    }

    /// `self − other`, or nothing when that would be negative.
    pub const fn minus(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(n) => Some(Self(n)),
            None => None,
        }
    }

    /// `self − other`, or zero when that would be negative.
    pub const fn minus_or_zero(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// `self − other` as a signed number of bytes.
    pub fn diff(self, other: Self) -> i128 {
        i128::from(self.0) - i128::from(other.0)
    }

    /// The product of factors, the last of which is usually bytes per element.
    ///
    /// ```
    /// # use vramplan_planner::units::Bytes;
    /// // Keys and values of one token of Qwen2.5-14B in bf16: 2 · layers · kv_heads · head_dim · 2 B.
    /// assert_eq!(Bytes::product(&[2, 48, 8, 128, 2])?, Bytes::new(196_608));
    /// # Ok::<(), vramplan_planner::units::Overflow>(())
    /// ```
    pub fn product(factors: &[u64]) -> Result<Self, Overflow> {
        factors.iter().try_fold(Self(1), |product, &factor| product.times(factor))
    }

    /// The sum of sizes.
    pub fn sum(sizes: impl IntoIterator<Item = Self>) -> Result<Self, Overflow> {
        sizes.into_iter().try_fold(Self::ZERO, Self::plus)
    }

    /// The smallest multiple of `granule` that is not below `self`; a zero granule changes nothing.
    ///
    /// ```
    /// # use vramplan_planner::units::Bytes;
    /// assert_eq!(Bytes::new(513).round_up(Bytes::new(512))?, Bytes::new(1024));
    /// # Ok::<(), vramplan_planner::units::Overflow>(())
    /// ```
    pub const fn round_up(self, granule: Self) -> Result<Self, Overflow> {
        if granule.0 == 0 {
            return Ok(self);
        }
        match self.0.checked_next_multiple_of(granule.0) {
            Some(n) => Ok(Self(n)),
            None => Err(Overflow),
        }
    }

    /// `self × numerator / denominator`, rounded down, exact in between.
    ///
    /// # Panics
    /// When `denominator` is zero.
    pub fn scale(self, numerator: u64, denominator: u64) -> Result<Self, Overflow> {
        let scaled = u128::from(self.0) * u128::from(numerator) / u128::from(denominator);
        u64::try_from(scaled).map(Self).map_err(|_| Overflow)
    }

    /// The size as a float: for ratios and for display, never for sums.
    #[allow(clippy::cast_precision_loss)]
    pub fn as_f64(self) -> f64 {
        self.0 as f64
    }

    /// The size in MiB as a float, for display.
    pub fn as_mib(self) -> f64 {
        self.as_f64() / Self::MIB.as_f64()
    }
}

impl fmt::Display for Bytes {
    /// IEC units with two digits (or the precision asked for); `{:#}` prints the exact number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let aligned = |f: &mut fmt::Formatter<'_>, text: &str| {
            // `Formatter::pad` would cut the text to the precision.
            write!(f, "{text:>width$}", width = f.width().unwrap_or(0))
        };
        if f.alternate() {
            return aligned(f, &format!("{} B", self.0));
        }
        let units = [(Self::GIB, "GiB"), (Self::MIB, "MiB"), (Self::KIB, "KiB")];
        let precision = f.precision().unwrap_or(2);
        // 1023.996 MiB would print as "1024.00 MiB": step up a unit where the rounding does.
        let half_step = 0.5 * 10f64.powi(-i32::try_from(precision).unwrap_or(0));
        for (unit, name) in units {
            if self.as_f64() / unit.as_f64() + half_step / 1024.0 >= 1.0 {
                let number = self.as_f64() / unit.as_f64();
                return aligned(f, &format!("{number:.precision$} {name}"));
            }
        }
        aligned(f, &format!("{} B", self.0))
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} B ({self})", self.0)
    }
}

/// Why a text is not a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseBytesError {
    /// No unit, or a unit such as `G` that means 1000³ to some and 1024³ to others.
    #[error("`{}` is ambiguous: write `GiB` (1024³) or `GB` (1000³), `MiB` or `MB`", printable(.text))]
    Ambiguous {
        /// The text as given.
        text: String,
    },
    /// Not a number followed by a unit.
    #[error("`{}` is not a size: expected a number and a unit, such as `512 MiB` or `1.5 GiB`", printable(.text))]
    Malformed {
        /// The text as given.
        text: String,
    },
    /// More than 64 bits can hold.
    #[error("`{}` is larger than 16 EiB", printable(.text))]
    TooLarge {
        /// The text as given.
        text: String,
    },
}

/// The unit names that are accepted, with their size in bytes.
const UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KIB", 1 << 10),
    ("MIB", 1 << 20),
    ("GIB", 1 << 30),
    ("TIB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

impl FromStr for Bytes {
    type Err = ParseBytesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || ParseBytesError::Malformed { text: text.to_owned() };
        let trimmed = text.trim();
        let split = trimmed
            .find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_')
            .unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(split);
        let number = number.replace('_', "");
        if number.is_empty() {
            return Err(malformed());
        }
        let unit = unit.trim().to_ascii_uppercase();
        if unit.is_empty() && number.chars().all(|digit| digit == '0') {
            return Ok(Self::ZERO);
        }
        if matches!(unit.as_str(), "" | "K" | "M" | "G" | "T") {
            return Err(ParseBytesError::Ambiguous { text: text.to_owned() });
        }
        let factor =
            UNITS.iter().find(|(name, _)| *name == unit).map(|(_, n)| *n).ok_or_else(malformed)?;
        decimal_times(&number, factor).map_err(|error| match error {
            DecimalError::Malformed => malformed(),
            DecimalError::TooLarge => ParseBytesError::TooLarge { text: text.to_owned() },
        })
    }
}

enum DecimalError {
    Malformed,
    TooLarge,
}

/// `number × factor` in integers, rounded down: no float ever touches a size that is read.
fn decimal_times(number: &str, factor: u64) -> Result<Bytes, DecimalError> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > 18 || (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(DecimalError::Malformed);
    }
    let parse = |digits: &str| -> Result<u128, DecimalError> {
        if digits.is_empty() {
            return Ok(0);
        }
        digits.parse().map_err(|_| DecimalError::TooLarge)
    };
    let scale = 10u128.pow(u32::try_from(fraction.len()).map_err(|_| DecimalError::Malformed)?);
    let digits = parse(whole)?
        .checked_mul(scale)
        .and_then(|n| n.checked_add(parse(fraction).ok()?))
        .ok_or(DecimalError::TooLarge)?;
    let bytes = digits.checked_mul(u128::from(factor)).ok_or(DecimalError::TooLarge)? / scale;
    u64::try_from(bytes).map(Bytes::new).map_err(|_| DecimalError::TooLarge)
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    /// An exact integer (JSON), or a text with a unit (TOML).
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number of bytes, or a size with a unit such as \"24 GiB\"")
            }
            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Bytes, E> {
                Ok(Bytes::new(n))
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Bytes, E> {
                u64::try_from(n).map(Bytes::new).map_err(|_| E::custom("a size is negative"))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_every_unit_exactly() {
        for (text, expected) in [
            ("0 B", 0),
            ("512MiB", 512 << 20),
            ("1.5 GiB", 3 << 29),
            ("24 GB", 24_000_000_000),
            ("0.1 KiB", 102),
            ("23_034 mib", 23_034 << 20),
            (".5 GiB", 1 << 29),
            ("18446744073709551615 B", u64::MAX),
            ("0", 0),
        ] {
            assert_eq!(text.parse::<Bytes>(), Ok(Bytes::new(expected)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_ambiguous_malformed_or_too_large() {
        for text in ["24G", "24", "24 m", "1.5t"] {
            assert!(
                matches!(text.parse::<Bytes>(), Err(ParseBytesError::Ambiguous { .. })),
                "{text}"
            );
        }
        for text in ["", "GiB", "1.2.3 GiB", "-1 GiB", "1e9 B", "1 GiBB", ". GiB"] {
            assert!(
                matches!(text.parse::<Bytes>(), Err(ParseBytesError::Malformed { .. })),
                "{text}"
            );
        }
        for text in ["18446744073709551616 B", "99999999999 GiB"] {
            assert!(
                matches!(text.parse::<Bytes>(), Err(ParseBytesError::TooLarge { .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn prints_the_next_unit_where_rounding_reaches_it() {
        assert_eq!(Bytes::new(1023).to_string(), "1023 B");
        assert_eq!(Bytes::new((1 << 20) - 1).to_string(), "1.00 MiB");
        assert_eq!(Bytes::new((1 << 30) - 1).to_string(), "1.00 GiB");
        assert_eq!(format!("{:.1}", Bytes::new(1 << 29)), "512.0 MiB");
    }

    #[test]
    fn arithmetic_is_checked() {
        let max = Bytes::new(u64::MAX);
        assert_eq!(max.plus(Bytes::new(1)), Err(Overflow));
        assert_eq!(Bytes::product(&[1 << 40, 1 << 40]), Err(Overflow));
        assert_eq!(max.round_up(Bytes::KIB), Err(Overflow));
        assert_eq!(Bytes::ZERO.minus(Bytes::new(1)), None);
        assert_eq!(max.scale(1, 2), Ok(Bytes::new(u64::MAX / 2)));
    }
}
