//! The key-value pairs of a GGUF header: scalars and short values are kept, the rest is skipped.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Seek};

use super::cursor::Cursor;
use crate::read::SourceError;
use crate::text::printable;
use crate::units::to_u64;

/// A value of the metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// An unsigned integer of any width.
    Unsigned(u64),
    /// A signed integer of any width.
    Signed(i64),
    /// A float of any width.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A text of at most 4 KiB.
    Text(String),
    /// An array of at most 4096 integers or truth values (0 and 1), such as one number per layer.
    Numbers(Vec<i64>),
    /// A list of texts of a tokenizer, where its whole lists are asked for.
    Texts(Vec<String>),
    /// A list of floats of a tokenizer, likewise.
    Floats(Vec<f32>),
    /// A longer text, or an array of anything else, which was skipped.
    Skipped {
        /// Bytes of the text, or elements of the array.
        len: u64,
    },
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned(n) => write!(f, "{n}"),
            Self::Signed(n) => write!(f, "{n}"),
            Self::Float(n) => write!(f, "{n}"),
            Self::Bool(flag) => write!(f, "{flag}"),
            Self::Text(text) => write!(f, "\"{}\"", printable(text)),
            Self::Numbers(numbers) => write!(f, "{:?}", &numbers[..numbers.len().min(16)]),
            Self::Texts(texts) => write!(f, "{} elements", texts.len()),
            Self::Floats(floats) => write!(f, "{} elements", floats.len()),
            Self::Skipped { len } => write!(f, "{len} elements"),
        }
    }
}

/// The metadata by key.
pub type Metadata = BTreeMap<String, Value>;

/// The shortest pair: a key of one byte and a value of one.
const PAIR: u64 = 8 + 1 + 4 + 1;
const MAX_PAIRS: u64 = 1 << 16;
const MAX_KEY: u64 = 1 << 10;
const MAX_TEXT: u64 = 4 << 10;
const MAX_NUMBERS: u64 = 4 << 10;
const MAX_STRINGS: u64 = 1 << 24;
/// What all kept keys and values may take together.
const MAX_KEPT: u64 = 16 << 20;

/// Of a tokenizer that is asked for: its longest text, a chat template, and its longest list.
const MAX_TEMPLATE: u64 = 1 << 20;
const MAX_TOKENS: u64 = 1 << 22;
const MAX_TOKENIZER: u64 = 256 << 20;

/// How much of a value is kept.
#[derive(Clone, Copy)]
struct Limits {
    text: u64,
    numbers: u64,
    /// Elements of a list of texts or floats; 0: they are skipped.
    list: u64,
}

/// What a plan needs.
const SHORT: Limits = Limits { text: MAX_TEXT, numbers: MAX_NUMBERS, list: 0 };
/// What a tokenizer needs.
const WHOLE: Limits = Limits { text: MAX_TEMPLATE, numbers: MAX_TOKENS, list: MAX_TOKENS };

/// Reads `count` pairs.
pub(super) fn read<R: Read + Seek>(
    cursor: &mut Cursor<'_, R>,
    count: u64,
) -> Result<Metadata, SourceError> {
    pairs(cursor, count, MAX_KEPT, |_| SHORT)
}

/// Reads `count` pairs, those of the tokenizer with their long texts and lists.
pub(super) fn read_tokenizer<R: Read + Seek>(
    cursor: &mut Cursor<'_, R>,
    count: u64,
) -> Result<Metadata, SourceError> {
    let limits = |key: &str| if key.starts_with("tokenizer.") { WHOLE } else { SHORT };
    pairs(cursor, count, MAX_TOKENIZER, limits)
}

fn pairs<R: Read + Seek>(
    cursor: &mut Cursor<'_, R>,
    count: u64,
    most: u64,
    limits: impl Fn(&str) -> Limits,
) -> Result<Metadata, SourceError> {
    cursor.need_items(count, PAIR, "metadata")?;
    if count > MAX_PAIRS {
        return Err(cursor.at.invalid("metadata_kv_count", count, format!("at most {MAX_PAIRS}")));
    }
    let mut metadata = Metadata::new();
    let mut kept = 0;
    for _ in 0..count {
        let key = cursor.text("a metadata key", MAX_KEY)?;
        let value = value(cursor, &key, limits(&key))?;
        kept += footprint(&key, &value);
        if kept > most {
            let expected = format!("at most {most} B of keys and values");
            return Err(cursor.at.invalid("metadata", format!("more than {most} B"), expected));
        }
        if metadata.contains_key(&key) {
            return Err(cursor.at.duplicate(&key));
        }
        metadata.insert(key, value);
    }
    Ok(metadata)
}

fn footprint(key: &str, value: &Value) -> u64 {
    let bytes = match value {
        Value::Text(text) => text.len(),
        Value::Numbers(numbers) => size_of_val(&numbers[..]),
        Value::Floats(floats) => size_of_val(&floats[..]),
        Value::Texts(texts) => {
            size_of_val(&texts[..]) + texts.iter().map(String::len).sum::<usize>()
        }
        _ => 0,
    };
    to_u64(key.len() + bytes).saturating_add(128)
}

fn value<R: Read + Seek>(
    cursor: &mut Cursor<'_, R>,
    key: &str,
    limits: Limits,
) -> Result<Value, SourceError> {
    match cursor.u32(key)? {
        8 => text(cursor, key, limits.text),
        9 => array(cursor, key, limits),
        ty => scalar(cursor, key, ty),
    }
}

fn text<R: Read + Seek>(
    cursor: &mut Cursor<'_, R>,
    key: &str,
    most: u64,
) -> Result<Value, SourceError> {
    let len = cursor.u64(key)?;
    if len > most {
        cursor.skip(len, key)?;
        return Ok(Value::Skipped { len });
    }
    cursor.text_of(len, key).map(Value::Text)
}

fn scalar<R: Read + Seek>(
    cursor: &mut Cursor<'_, R>,
    key: &str,
    ty: u32,
) -> Result<Value, SourceError> {
    Ok(match ty {
        0 => Value::Unsigned(cursor.u8(key)?.into()),
        1 => Value::Signed(i8::from_le_bytes(cursor.bytes(key)?).into()),
        2 => Value::Unsigned(u16::from_le_bytes(cursor.bytes(key)?).into()),
        3 => Value::Signed(i16::from_le_bytes(cursor.bytes(key)?).into()),
        4 => Value::Unsigned(cursor.u32(key)?.into()),
        5 => Value::Signed(i32::from_le_bytes(cursor.bytes(key)?).into()),
        6 => Value::Float(f32::from_le_bytes(cursor.bytes(key)?).into()),
        7 => Value::Bool(boolean(cursor, key)?),
        10 => Value::Unsigned(cursor.u64(key)?),
        11 => Value::Signed(i64::from_le_bytes(cursor.bytes(key)?)),
        12 => Value::Float(f64::from_le_bytes(cursor.bytes(key)?)),
        _ => return Err(unknown_type(cursor, key, ty)),
    })
}

fn boolean<R: Read + Seek>(cursor: &mut Cursor<'_, R>, key: &str) -> Result<bool, SourceError> {
    match cursor.u8(key)? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(cursor.at.invalid(key, other, "a truth value, 0 or 1")),
    }
}

fn unknown_type<R: Read + Seek>(cursor: &Cursor<'_, R>, key: &str, ty: u32) -> SourceError {
    cursor.at.invalid(key, format!("a value of type {ty}"), "a value type from 0 to 12")
}

/// Bytes of a scalar of type `ty`.
const fn width(ty: u32) -> Option<u64> {
    match ty {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

fn array<R: Read + Seek>(
    cursor: &mut Cursor<'_, R>,
    key: &str,
    limits: Limits,
) -> Result<Value, SourceError> {
    let ty = cursor.u32(key)?;
    let len = cursor.u64(key)?;
    match (ty, width(ty)) {
        (8, _) if len <= limits.list => texts(cursor, key, len),
        (8, _) => skip_strings(cursor, key, len),
        (9, _) => Err(cursor.at.invalid(key, "an array of arrays", "an array of scalars or texts")),
        (6, Some(width)) if len <= limits.list => floats(cursor, key, len, width),
        (6 | 12, Some(width)) => skip_scalars(cursor, key, len, width),
        (_, Some(width)) if len > limits.numbers => skip_scalars(cursor, key, len, width),
        (_, Some(width)) => numbers(cursor, key, ty, len, width),
        _ => Err(unknown_type(cursor, key, ty)),
    }
}

fn skip_scalars<R: Read + Seek>(
    cursor: &mut Cursor<'_, R>,
    key: &str,
    len: u64,
    width: u64,
) -> Result<Value, SourceError> {
    cursor.need_items(len, width, key)?;
    cursor.skip(len * width, key)?;
    Ok(Value::Skipped { len })
}

fn skip_strings<R: Read + Seek>(
    cursor: &mut Cursor<'_, R>,
    key: &str,
    len: u64,
) -> Result<Value, SourceError> {
    cursor.need_items(len, 8, key)?;
    if len > MAX_STRINGS {
        return Err(cursor.at.invalid(key, len, format!("at most {MAX_STRINGS} texts")));
    }
    for _ in 0..len {
        let length = cursor.u64(key)?;
        cursor.skip(length, key)?;
    }
    Ok(Value::Skipped { len })
}

fn texts<R: Read + Seek>(
    cursor: &mut Cursor<'_, R>,
    key: &str,
    len: u64,
) -> Result<Value, SourceError> {
    cursor.need_items(len, 8, key)?;
    let mut texts = Vec::new();
    for _ in 0..len {
        texts.push(cursor.text(key, MAX_TEXT)?);
    }
    Ok(Value::Texts(texts))
}

fn floats<R: Read + Seek>(
    cursor: &mut Cursor<'_, R>,
    key: &str,
    len: u64,
    width: u64,
) -> Result<Value, SourceError> {
    cursor.need_items(len, width, key)?;
    let mut floats = Vec::new();
    for _ in 0..len {
        floats.push(f32::from_le_bytes(cursor.bytes(key)?));
    }
    Ok(Value::Floats(floats))
}

fn numbers<R: Read + Seek>(
    cursor: &mut Cursor<'_, R>,
    key: &str,
    ty: u32,
    len: u64,
    width: u64,
) -> Result<Value, SourceError> {
    cursor.need_items(len, width, key)?;
    let mut numbers = Vec::new();
    for _ in 0..len {
        let number = match scalar(cursor, key, ty)? {
            Value::Unsigned(n) => i64::try_from(n)
                .map_err(|_| cursor.at.invalid(key, n, format!("at most {}", i64::MAX)))?,
            Value::Signed(n) => n,
            Value::Bool(flag) => i64::from(flag),
            _ => return Err(unknown_type(cursor, key, ty)),
        };
        numbers.push(number);
    }
    Ok(Value::Numbers(numbers))
}
