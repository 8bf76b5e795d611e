//! Values that are written as the command line writes them: a text, or a number where it looks like one.

use std::fmt::Display;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serializer};

use super::vllm_numbers::vllm_number;
use crate::units::Bytes;

/// What a value is read from.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged, expecting = "expected a text or a number")]
pub(super) enum Scalar {
    Text(String),
    Number(u64),
    Fraction(f64),
}

pub(super) fn deserialize<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr,
    T::Err: Display,
{
    let text = match Scalar::deserialize(deserializer)? {
        Scalar::Text(text) => text,
        Scalar::Number(number) => number.to_string(),
        Scalar::Fraction(fraction) => fraction.to_string(),
    };
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

/// A number of tokens as people write it: `8192`, `8_192`, `8,192`, `8k` for 8 × 1,024 and `1M` for 1,024 × 1,024, as
/// model cards mean it.
#[cfg(feature = "cli")]
pub(super) fn tokens(text: &str) -> Result<u64, String> {
    let wrong = || "expected a whole number of tokens, such as `8192` or `8k`".to_owned();
    let text = text.trim().replace('_', "");
    let (digits, factor) = match (text.strip_suffix(['k', 'K']), text.strip_suffix(['m', 'M'])) {
        (Some(thousands), _) => (thousands, 1 << 10),
        (None, Some(millions)) => (millions, 1 << 20),
        (None, None) => (&*text, 1),
    };
    let digits = if is_grouped(digits) { digits.replace(',', "") } else { digits.to_owned() };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(wrong)
}

/// A size, or a number of bytes as vLLM's `--kv-cache-memory-bytes` takes it: `36G` are 36 × 2³⁰, `36g` 36 × 10⁹.
pub(super) fn bytes(text: &str) -> Result<Bytes, String> {
    match vllm_number(text) {
        Ok(bytes) => Ok(Bytes::new(bytes)),
        Err(_) => text.parse::<Bytes>().map_err(|error| error.to_string()),
    }
}

pub(super) fn deserialize_bytes<'de, D>(deserializer: D) -> Result<Option<Bytes>, D::Error>
where
    D: Deserializer<'de>,
{
    let read = match Scalar::deserialize(deserializer)? {
        Scalar::Text(text) => bytes(&text),
        Scalar::Number(number) => Ok(Bytes::new(number)),
        Scalar::Fraction(fraction) => bytes(&fraction.to_string()),
    };
    read.map(Some).map_err(serde::de::Error::custom)
}

/// Whether digits are in groups of three, with commas between them.
#[cfg(feature = "cli")]
fn is_grouped(digits: &str) -> bool {
    let mut groups = digits.split(',');
    let first = groups.next().unwrap_or_default();
    (1..=3).contains(&first.len()) && groups.all(|group| group.len() == 3)
}

/// Sizes are written to the byte, and what reads as a number is one.
#[allow(clippy::ref_option, reason = "serde's signature")]
pub(super) fn serialize<S, T>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error>
where
    S: Serializer,
    T: Display,
{
    let Some(value) = value else { return serializer.serialize_none() };
    let text = format!("{value:#}");
    if let Ok(number) = text.parse::<u64>() {
        return serializer.serialize_u64(number);
    }
    match text.parse::<f64>() {
        Ok(fraction) => serializer.serialize_f64(fraction),
        Err(_) => serializer.serialize_str(&text),
    }
}

/// The same for lists.
pub(super) mod list {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(in super::super) fn deserialize<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
    where
        D: Deserializer<'de>,
        T: FromStr,
        T::Err: Display,
    {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let parsed = texts.iter().map(|text| text.parse());
        parsed.collect::<Result<_, _>>().map_err(serde::de::Error::custom)
    }

    pub(in super::super) fn serialize<S, T>(values: &[T], serializer: S) -> Result<S::Ok, S::Error>
    where
        S: Serializer,
        T: Display,
    {
        serializer.collect_seq(values.iter().map(ToString::to_string))
    }
}

#[cfg(all(test, feature = "cli"))]
mod tests {
    use super::tokens;

    #[test]
    fn tokens_are_read_as_people_write_them() {
        assert_eq!(tokens("8192"), Ok(8192));
        assert_eq!(tokens("8_192"), Ok(8192));
        assert_eq!(tokens("8k"), Ok(8192));
        assert_eq!(tokens("128K"), Ok(131_072));
        assert_eq!(tokens("1M"), Ok(1_048_576));
        assert_eq!(tokens("32,768"), Ok(32_768));
        for wrong in [
            "",
            "k",
            "-5",
            "1.5k",
            "8kk",
            "1e5",
            "99999999999999999999",
            "18446744073709551615k",
            "32.768",
            "3,27",
            "1,2345",
        ] {
            assert!(tokens(wrong).unwrap_err().contains("whole number of tokens"), "{wrong}");
        }
    }
}
