//! Versions of transformers.

use std::fmt;
use std::str::FromStr;

/// Versions whose forward passes differ in what they hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransformersVersion {
    /// 4.36 to 4.44: a pass computes the logits of every position and copies them to f32, even where
    /// `generate` reads the last only (issue 30860).
    AllLogits,
    /// From 4.45 on: `generate` asks for the last position (`logits_to_keep`, pull request 31292).
    #[default]
    Current,
}

impl TransformersVersion {
    /// The versions that it stands for.
    pub const fn range(self) -> &'static str {
        match self {
            Self::AllLogits => "4.36 to 4.44",
            Self::Current => "4.45 and later",
        }
    }
}

impl fmt::Display for TransformersVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.range())
    }
}

impl FromStr for TransformersVersion {
    type Err = String;

    /// `latest`, or a version such as `4.44.2`.
    fn from_str(text: &str) -> Result<Self, String> {
        match super::version::parse(text) {
            Some((4, 36..=44)) => Ok(Self::AllLogits),
            Some(super::version::LATEST | (4, 45..=57) | (5, _)) => Ok(Self::Current),
            _ => Err(format!(
                "`{text}` is no version of transformers: expected `4.36` to `4.57`, `5.0` and later, or `latest`"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_belong_to_a_generation() {
        for (text, version) in [
            ("latest", TransformersVersion::Current),
            ("5.23.0", TransformersVersion::Current),
            ("v4.45.0", TransformersVersion::Current),
            ("4.44.2", TransformersVersion::AllLogits),
            ("4.36", TransformersVersion::AllLogits),
        ] {
            assert_eq!(text.parse(), Ok(version), "{text}");
        }
        for text in ["4.35", "4.99", "6.0", "3", "", "five", "4.44x", "4"] {
            assert!(text.parse::<TransformersVersion>().is_err(), "{text}");
        }
    }
}
