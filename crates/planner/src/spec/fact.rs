//! Values that know where they come from.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::units::{Bytes, Overflow};

/// How a figure is known, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// Read from a file, or integer arithmetic on what was read.
    Exact,
    /// Measured by `calibrate` on a card of this kind.
    Calibrated,
    /// Computed from the architecture by a formula with a source.
    Modelled,
    /// Taken over from similar hardware or software, or from memory.
    Assumed,
}

impl Basis {
    /// The word used in every output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Calibrated => "calibrated",
            Self::Modelled => "modelled",
            Self::Assumed => "assumed",
        }
    }
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A value with its basis and its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact<T> {
    /// The value.
    pub value: T,
    /// How it is known.
    pub basis: Basis,
    /// Where it is written or was measured.
    pub source: String,
}

impl<T> Fact<T> {
    /// `value`, known as `basis` says, from `source`.
    pub fn new(value: T, basis: Basis, source: impl Into<String>) -> Self {
        Self { value, basis, source: source.into() }
    }
}

/// A size with its uncertainty: `low ≤ expected ≤ high`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Bounds {
    /// Hardly ever less than this.
    pub low: Bytes,
    /// The best single estimate.
    pub expected: Bytes,
    /// Hardly ever more than this.
    pub high: Bytes,
}

/// Reports and recordings come from elsewhere: sizes that are out of order would be compared as if they said something.
impl<'de> Deserialize<'de> for Bounds {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename = "Bounds")]
        struct Written {
            low: Bytes,
            expected: Bytes,
            high: Bytes,
        }
        let Written { low, expected, high } = Written::deserialize(deserializer)?;
        if low > expected || expected > high {
            let message = format!(
                "`low` = {low}, `expected` = {expected}, `high` = {high}: expected `low` ≤ `expected` ≤ `high`"
            );
            return Err(serde::de::Error::custom(message));
        }
        Ok(Self { low, expected, high })
    }
}

impl Bounds {
    /// Nothing, for certain.
    pub const ZERO: Self = Self::exactly(Bytes::ZERO);

    /// A size without uncertainty.
    pub const fn exactly(size: Bytes) -> Self {
        Self { low: size, expected: size, high: size }
    }

    /// Three sizes, put in order should a rounding have upset it.
    pub fn new(low: Bytes, expected: Bytes, high: Bytes) -> Self {
        Self { low: low.min(expected), expected, high: high.max(expected) }
    }

    /// Sum, bound by bound: the worst cases are taken to coincide.
    pub fn plus(self, other: Self) -> Result<Self, Overflow> {
        Ok(Self {
            low: self.low.plus(other.low)?,
            expected: self.expected.plus(other.expected)?,
            high: self.high.plus(other.high)?,
        })
    }

    /// Larger of each bound.
    pub fn max(self, other: Self) -> Self {
        Self {
            low: self.low.max(other.low),
            expected: self.expected.max(other.expected),
            high: self.high.max(other.high),
        }
    }

    /// Whether there is nothing even at the high bound.
    pub const fn is_zero(self) -> bool {
        self.high.is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_from_elsewhere_are_in_order() {
        let read = |low: u64, expected: u64, high: u64| {
            let text = format!(r#"{{"low": {low}, "expected": {expected}, "high": {high}}}"#);
            serde_json::from_str::<Bounds>(&text).map_err(|error| error.to_string())
        };
        assert_eq!(read(1, 2, 2), Ok(Bounds::new(Bytes::new(1), Bytes::new(2), Bytes::new(2))));
        for (low, expected, high) in [(3, 2, 4), (1, 5, 4), (9, 5, 1)] {
            let error = read(low, expected, high).unwrap_err();
            assert!(error.contains("expected `low` ≤ `expected` ≤ `high`"), "{error}");
        }
    }
}
