//! Versions of bitsandbytes.

use std::fmt;
use std::str::FromStr;

use super::version;

use crate::text::printable;

/// Versions whose matrix products differ in what they hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BitsandbytesVersion {
    /// 0.41 to 0.49: 4-bit weights are multiplied as they are with a single row (`gemv_4bit`), and
    /// expanded to 16 bits as a whole for more (`autograd/_functions.py`, `matmul_4bit`).
    SingleRow,
    /// From 0.50 on: a kernel of its own multiplies few rows, or many where that is faster
    /// (`backends/cuda/ops.py`, `gemm_4bit`).
    #[default]
    Current,
}

impl BitsandbytesVersion {
    /// The versions that it stands for.
    pub const fn range(self) -> &'static str {
        match self {
            Self::SingleRow => "0.41 to 0.49",
            Self::Current => "0.50 and later",
        }
    }
}

impl fmt::Display for BitsandbytesVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.range())
    }
}

/// The oldest minor version of 0.x that transformers 5 takes (`utils/import_utils.py`,
/// `BITSANDBYTES_MIN_VERSION` 0.46.1).
pub(super) const OLDEST_OF_TRANSFORMERS_5: u64 = 46;

/// The generation, and the minor version of 0.x.
pub(super) fn parse(text: &str) -> Result<(BitsandbytesVersion, u64), String> {
    match version::parse(text) {
        Some((0, minor @ 41..=49)) => Ok((BitsandbytesVersion::SingleRow, minor)),
        Some((0, minor @ 50..)) => Ok((BitsandbytesVersion::Current, minor)),
        Some(version::LATEST) => Ok((BitsandbytesVersion::Current, u64::MAX)),
        _ => Err(format!(
            "`{}` is not a version of bitsandbytes: expected `0.41` or later, such as `0.49.2`, or `latest`",
            printable(text)
        )),
    }
}

impl FromStr for BitsandbytesVersion {
    type Err = String;

    /// `latest`, or a version such as `0.49.2`.
    fn from_str(text: &str) -> Result<Self, String> {
        parse(text).map(|(version, _)| version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_belong_to_a_generation() {
        for (text, version) in [
            ("latest", BitsandbytesVersion::Current),
            ("0.50.2", BitsandbytesVersion::Current),
            ("0.49.2", BitsandbytesVersion::SingleRow),
            ("v0.41", BitsandbytesVersion::SingleRow),
        ] {
            assert_eq!(text.parse(), Ok(version), "{text}");
        }
        for text in ["0.40.2", "1.0", "50", "", "0.x"] {
            assert!(text.parse::<BitsandbytesVersion>().is_err(), "{text}");
        }
    }
}
