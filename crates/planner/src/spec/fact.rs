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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Bounds {
    /// Hardly ever less than this.
    pub low: Bytes,
    /// The best single estimate.
    pub expected: Bytes,
    /// Hardly ever more than this.
    pub high: Bytes,
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
