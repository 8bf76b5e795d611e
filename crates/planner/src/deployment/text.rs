//! Values that are written as the command line writes them: a text, or a number where it looks like one.

use std::fmt::Display;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serializer};

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
