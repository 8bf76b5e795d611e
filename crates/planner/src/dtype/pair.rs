//! Keys and values in formats of their own.

use std::fmt;
use std::str::FromStr;

use super::{KvFormat, UnknownFormat};

/// The format of keys, and of values where that is another: `q8_0`, or `q8_0/q4_0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvPair {
    /// The format of keys.
    pub keys: KvFormat,
    /// The format of values, where it is another.
    pub values: Option<KvFormat>,
}

impl From<KvFormat> for KvPair {
    fn from(keys: KvFormat) -> Self {
        Self { keys, values: None }
    }
}

impl fmt::Display for KvPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.values {
            Some(values) => f.pad(&format!("{}/{values}", self.keys)),
            None => self.keys.fmt(f),
        }
    }
}

impl FromStr for KvPair {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((keys, values)) = text.split_once('/') else {
            return text.parse().map(|keys| Self { keys, values: None });
        };
        let (keys, values): (KvFormat, KvFormat) = (keys.parse()?, values.parse()?);
        Ok(Self { keys, values: (values != keys).then_some(values) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_round_trip() {
        for text in ["f16", "q8_0/q4_0", "f16/q8_0"] {
            assert_eq!(text.parse::<KvPair>().unwrap().to_string(), text);
        }
        assert_eq!("q8_0/q8_0".parse::<KvPair>().unwrap().to_string(), "q8_0");
        for text in ["/", "q8_0/", "q8_0/q4_0/q4_0", ""] {
            assert!(text.parse::<KvPair>().is_err(), "{text}");
        }
    }
}
