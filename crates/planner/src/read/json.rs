//! JSON as configuration files use it: a tree that refuses duplicate keys, and typed access that
//! names the field.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;

use super::SourceError;
use super::error::At;
use crate::text::printable;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
    List(Vec<Self>),
    Object(BTreeMap<String, Self>),
}

/// Up to this every whole number is a float, and every float with no fraction such a number.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

impl Json {
    /// The same value, as it is written again; a number that JSON has no word for is nothing.
    pub(crate) fn to_value(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(value) => (*value).into(),
            Self::Unsigned(value) => (*value).into(),
            Self::Signed(value) => (*value).into(),
            Self::Float(value) => (*value).into(),
            Self::Text(value) => value.as_str().into(),
            Self::List(values) => values.iter().map(Self::to_value).collect(),
            Self::Object(fields) => {
                fields.iter().map(|(key, value)| (key.clone(), value.to_value())).collect()
            }
        }
    }

    /// A whole number, however it is written: `4096`, `4096.0` or `"4096"`.
    pub(crate) fn whole(&self) -> Option<u64> {
        match self {
            Self::Unsigned(n) => Some(*n),
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            Self::Float(n) if n.fract() == 0.0 && (0.0..=MAX_EXACT).contains(n) => Some(*n as u64),
            Self::Text(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok()
            }
            _ => None,
        }
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(flag) => write!(f, "{flag}"),
            Self::Unsigned(n) => write!(f, "{n}"),
            Self::Signed(n) => write!(f, "{n}"),
            Self::Float(n) => write!(f, "{n}"),
            Self::Text(text) => write!(f, "\"{}\"", printable(text)),
            Self::List(list) => write!(f, "a list of {}", list.len()),
            Self::Object(object) => write!(f, "an object of {} keys", object.len()),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Json, E> {
        Ok(Json::Bool(flag))
    }

    fn visit_u64<E>(self, n: u64) -> Result<Json, E> {
        Ok(Json::Unsigned(n))
    }

    fn visit_i64<E>(self, n: i64) -> Result<Json, E> {
        Ok(Json::Signed(n))
    }

    fn visit_f64<E>(self, n: f64) -> Result<Json, E> {
        Ok(Json::Float(n))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = seq.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut object = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(de::Error::custom(format!("`{}` occurs twice", printable(&key))));
            }
            object.insert(key, map.next_value()?);
        }
        Ok(Json::Object(object))
    }
}

/// The numbers that Python writes and JSON does not know, longest first: a text, they are refused by name where a
/// number is read, and do not matter elsewhere.
const NOT_NUMBERS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];

/// The same with what is no number in quotes, outside of texts.
fn quoted(bytes: &[u8]) -> Cow<'_, [u8]> {
    if !NOT_NUMBERS.iter().any(|word| bytes.windows(word.len()).any(|part| part == *word)) {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len() + 64);
    let (mut at, mut in_text) = (0, false);
    while let Some(&byte) = bytes.get(at) {
        let word = NOT_NUMBERS.iter().find(|word| !in_text && bytes[at..].starts_with(word));
        if let Some(word) = word {
            out.extend([b"\"", *word, b"\""].concat());
            at += word.len();
            continue;
        }
        let escape = usize::from(in_text && byte == b'\\' && at + 1 < bytes.len());
        in_text ^= byte == b'"';
        out.extend(&bytes[at..=at + escape]);
        at += 1 + escape;
    }
    Cow::Owned(out)
}

/// Parses a JSON object.
pub(crate) fn object(at: &At, bytes: &[u8]) -> Result<BTreeMap<String, Json>, SourceError> {
    match serde_json::from_slice(&quoted(bytes)) {
        Ok(Json::Object(object)) => Ok(object),
        Ok(other) => Err(at.malformed(format!("{other}: expected a JSON object"))),
        Err(error) if error.is_data() => Err(at.malformed(error)),
        Err(error) => Err(at.malformed(format!("{error}: expected JSON"))),
    }
}

/// The fields of an object in a file.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    pub(crate) at: &'a At,
    /// What leads to the object, such as `text_config.`.
    prefix: &'a str,
    object: &'a BTreeMap<String, Json>,
}

impl<'a> Fields<'a> {
    pub(crate) const fn new(
        at: &'a At,
        prefix: &'a str,
        object: &'a BTreeMap<String, Json>,
    ) -> Self {
        Self { at, prefix, object }
    }

    /// The name of a field in messages.
    pub(crate) fn name(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The object itself.
    pub(crate) const fn object(&self) -> &'a BTreeMap<String, Json> {
        self.object
    }

    /// What leads to it.
    pub(crate) const fn prefix(&self) -> &'a str {
        self.prefix
    }

    /// Every key.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.object.keys().map(String::as_str)
    }

    /// Whether the key is there at all, if only with `null`.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.object.contains_key(key)
    }

    /// The value, unless there is none or it is `null`.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Json> {
        self.object.get(key).filter(|value| **value != Json::Null)
    }

    pub(crate) fn invalid(&self, key: &str, expected: impl Into<String>) -> SourceError {
        let value = self.object.get(key).map_or_else(|| "nothing".to_owned(), Json::to_string);
        self.at.invalid(&self.name(key), value, expected)
    }

    pub(crate) fn missing(&self, key: &str, expected: &str) -> SourceError {
        self.at.missing(&self.name(key), expected)
    }

    pub(crate) fn number(&self, key: &str) -> Result<Option<u64>, SourceError> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match value.whole() {
                Some(n) => Ok(Some(n)),
                None => Err(self.invalid(key, "a whole number, not negative")),
            },
        }
    }

    /// The first of several names that a number goes by.
    pub(crate) fn first_number(&self, keys: &[&str]) -> Result<Option<u64>, SourceError> {
        for key in keys {
            if let Some(n) = self.number(key)? {
                return Ok(Some(n));
            }
        }
        Ok(None)
    }

    /// Numbers, one for each layer, or one for all.
    pub(crate) fn numbers(&self, key: &str) -> Result<Option<Vec<u64>>, SourceError> {
        let numbers = match self.get(key) {
            None => return Ok(None),
            Some(Json::List(list)) => list.iter().map(Json::whole).collect(),
            Some(value) => value.whole().map(|n| vec![n]),
        };
        let expected = "whole numbers, not negative";
        numbers.map(Some).ok_or_else(|| self.invalid(key, expected))
    }

    /// Words, one for each layer.
    pub(crate) fn words(&self, key: &str) -> Result<Option<Vec<&'a str>>, SourceError> {
        let Some(list) = self.list(key)? else { return Ok(None) };
        let word = |item: &'a Json| match item {
            Json::Text(word) => Some(word.as_str()),
            _ => None,
        };
        let words = list.iter().map(word).collect::<Option<Vec<_>>>();
        words.map(Some).ok_or_else(|| self.invalid(key, "a list of texts"))
    }

    pub(crate) fn required(&self, key: &str) -> Result<u64, SourceError> {
        self.number(key)?.ok_or_else(|| self.missing(key, "a whole number"))
    }

    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>, SourceError> {
        match self.get(key) {
            None => Ok(None),
            Some(Json::Bool(flag)) => Ok(Some(*flag)),
            Some(Json::Text(word)) if word.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(Json::Text(word)) if word.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(_) => Err(self.invalid(key, "`true` or `false`")),
        }
    }

    pub(crate) fn text(&self, key: &str) -> Result<Option<&'a str>, SourceError> {
        match self.get(key) {
            None => Ok(None),
            Some(Json::Text(text)) => Ok(Some(text)),
            Some(_) => Err(self.invalid(key, "a text")),
        }
    }

    pub(crate) fn list(&self, key: &str) -> Result<Option<&'a [Json]>, SourceError> {
        match self.get(key) {
            None => Ok(None),
            Some(Json::List(list)) => Ok(Some(list)),
            Some(_) => Err(self.invalid(key, "a list")),
        }
    }

    pub(crate) fn child(
        &self,
        key: &str,
    ) -> Result<Option<&'a BTreeMap<String, Json>>, SourceError> {
        match self.get(key) {
            None => Ok(None),
            Some(Json::Object(object)) => Ok(Some(object)),
            Some(_) => Err(self.invalid(key, "an object")),
        }
    }
}
