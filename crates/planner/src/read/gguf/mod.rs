//! GGUF headers: what is in a file, without reading its weights.
//!
//! Format: `docs/gguf.md` of ggml, versions 2 and 3. Nothing that a file claims is believed before it
//! is compared with what the file has left, and vocabularies are skipped, not kept.

mod beside;
mod caches;
mod cursor;
mod metadata;
mod model;
mod payload;
mod roles;
mod tensor_table;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod unknown;
mod write;

use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

pub use self::beside::{adapter, encoder};
use self::cursor::Cursor;
pub use self::metadata::{Metadata, Value};
pub use self::model::{file_type_id, model, spec, stored};
pub use self::payload::Payload;
pub use self::tensor_table::GgufTensor;
pub use self::write::{Field, aligned, header as header_bytes};
use super::SourceError;
use super::error::At;
use super::files::{Files, Opened};

use crate::text::printable_path;
use crate::units::Bytes;
use crate::units::to_u64;

/// The header of a GGUF file, or of all files of a split one.
#[derive(Clone, Debug, PartialEq)]
pub struct GgufFile {
    /// The format's version.
    pub version: u32,
    /// Scalars and short values; of everything else the length. Of a split file, the first part's.
    pub metadata: Metadata,
    /// Every tensor.
    pub tensors: Vec<GgufTensor>,
    /// Every file of it, in order.
    pub parts: Vec<GgufPart>,
}

/// One file of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GgufPart {
    /// Where it is.
    pub path: PathBuf,
    /// Its size on the disk.
    pub size: Bytes,
    /// Where the data of its tensors begins.
    pub data_start: u64,
}

const MAGIC: [u8; 4] = *b"GGUF";
const DEFAULT_ALIGNMENT: u64 = 32;
const MAX_ALIGNMENT: u64 = 1 << 20;

/// Reads the header of a GGUF file; of a split one, of any of its parts, the headers of all.
pub fn read(files: &dyn Files, path: &Path) -> Result<GgufFile, SourceError> {
    let file = read_part(files, path, 0)?;
    match split_count(&At::new(path), &file)? {
        Some(count) if count > 1 => read_split(files, path, count),
        _ => Ok(file),
    }
}

/// Reads a header from memory: that of a file of `size` bytes which is nowhere, called `name`.
pub fn read_header(header_bytes: &[u8], size: Bytes, name: &Path) -> Result<GgufFile, SourceError> {
    header(std::io::Cursor::new(header_bytes), size.get(), name, 0)
}

fn read_part(files: &dyn Files, path: &Path, part: u64) -> Result<GgufFile, SourceError> {
    let Opened { reader, size } = files.open(path).map_err(|error| At::new(path).io(&error))?;
    header(reader, size, path, part)
}

fn header<R: Read + Seek>(
    reader: R,
    size: u64,
    path: &Path,
    part: u64,
) -> Result<GgufFile, SourceError> {
    let at = At::new(path);
    let mut cursor = Cursor::new(reader, size, &at);
    let (version, [tensor_count, pairs]) = opening(&mut cursor)?;
    let metadata = metadata::read(&mut cursor, pairs)?;
    let alignment = alignment(&at, &metadata)?;
    let tensors = tensor_table::read(&mut cursor, tensor_count, part)?;
    let data_start = cursor.position().next_multiple_of(alignment);
    tensor_table::check(&at, &tensors, cursor.size().saturating_sub(data_start), alignment)?;
    let part = GgufPart { path: path.to_owned(), size: Bytes::new(size), data_start };
    Ok(GgufFile { version, metadata, tensors, parts: vec![part] })
}

/// The version, and how many tensors and pairs of metadata there are.
fn opening<R: Read + Seek>(cursor: &mut Cursor<'_, R>) -> Result<(u32, [u64; 2]), SourceError> {
    Ok((version(cursor)?, [cursor.u64("tensor_count")?, cursor.u64("metadata_kv_count")?]))
}

/// Reads the metadata once more, of which the tokenizer's lists and long texts are kept this time:
/// `Value::Texts`, `Value::Floats` and `Value::Numbers` of up to 4 Mi elements, texts of up to 1 MiB.
///
/// # Errors
/// As [`read`]; also where all of it takes more than 256 MiB.
pub fn read_tokenizer(files: &dyn Files, header: &GgufFile) -> Result<Metadata, SourceError> {
    let Some(part) = header.parts.first() else {
        return Err(At::named("GGUF file").missing("split.count", "at least 1"));
    };
    let at = At::new(&part.path);
    let Opened { reader, size } = files.open(&part.path).map_err(|error| at.io(&error))?;
    let mut cursor = Cursor::new(reader, size, &at);
    let (_, [_, pairs]) = opening(&mut cursor)?;
    metadata::read_tokenizer(&mut cursor, pairs)
}

fn version<R: Read + Seek>(cursor: &mut Cursor<'_, R>) -> Result<u32, SourceError> {
    let magic: [u8; 4] = cursor.bytes("the magic number")?;
    if magic != MAGIC {
        let found = String::from_utf8_lossy(&magic).into_owned();
        return Err(cursor.at.invalid("magic", format!("\"{found}\""), "`GGUF`: a GGUF file"));
    }
    let version = cursor.u32("version")?;
    let refuse =
        |what: &str| Err(cursor.at.unsupported(what, "GGUF version 2 or 3, little-endian"));
    match version {
        2 | 3 => Ok(version),
        1 => refuse("a GGUF file of version 1"),
        _ if matches!(version.swap_bytes(), 1..=3) => refuse("a big-endian GGUF file"),
        _ => refuse(&format!("a GGUF file of version {version}")),
    }
}

fn alignment(at: &At, metadata: &Metadata) -> Result<u64, SourceError> {
    const KEY: &str = "general.alignment";
    match metadata.get(KEY) {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(Value::Unsigned(n)) if n.is_power_of_two() && *n <= MAX_ALIGNMENT => Ok(*n),
        Some(other) => Err(at.invalid(KEY, other, format!("a power of two up to {MAX_ALIGNMENT}"))),
    }
}

/// `split.count`, where it is stated.
fn split_count(at: &At, file: &GgufFile) -> Result<Option<u64>, SourceError> {
    count(at, file, "split.count")
}

fn count(at: &At, file: &GgufFile, key: &str) -> Result<Option<u64>, SourceError> {
    match file.metadata.get(key) {
        None => Ok(None),
        Some(Value::Unsigned(n)) => Ok(Some(*n)),
        Some(Value::Signed(n)) => u64::try_from(*n)
            .map(Some)
            .map_err(|_| at.invalid(key, n, "a whole number, not negative")),
        Some(other) => Err(at.invalid(key, other, "a whole number")),
    }
}

fn read_split(files: &dyn Files, path: &Path, parts: u64) -> Result<GgufFile, SourceError> {
    let at = At::new(path);
    let paths = siblings(files, &at, path, parts)?;
    let mut whole: Option<GgufFile> = None;
    for (index, part_path) in (0u64..).zip(&paths) {
        let part = read_part(files, part_path, index)?;
        check_part(&At::new(part_path), &part, index, parts)?;
        match &mut whole {
            None => whole = Some(part),
            Some(whole) => {
                whole.tensors.extend(part.tensors);
                whole.parts.extend(part.parts);
            }
        }
    }
    let whole = whole.ok_or_else(|| at.invalid("split.count", parts, "at least 1"))?;
    tensor_table::unique(&at, &whole.tensors)?;
    check_total(&at, &whole)?;
    Ok(whole)
}

fn check_part(at: &At, part: &GgufFile, index: u64, parts: u64) -> Result<(), SourceError> {
    for (key, expected) in [("split.no", index), ("split.count", parts)] {
        let found = count(at, part, key)?
            .ok_or_else(|| at.missing(key, format!("{expected}, as the name of the file says")))?;
        if found != expected {
            return Err(at.invalid(
                key,
                found,
                format!("{expected}, as the name of the file says"),
            ));
        }
    }
    Ok(())
}

fn check_total(at: &At, whole: &GgufFile) -> Result<(), SourceError> {
    const KEY: &str = "split.tensors.count";
    let found = to_u64(whole.tensors.len());
    match count(at, whole, KEY)? {
        Some(stated) if stated != found => {
            Err(at.invalid(KEY, stated, format!("{found}, the tensors that the files hold")))
        }
        _ => Ok(()),
    }
}

/// The files of a split model, all of which must be there.
fn siblings(
    files: &dyn Files,
    at: &At,
    path: &Path,
    parts: u64,
) -> Result<Vec<PathBuf>, SourceError> {
    const MAX_PARTS: u64 = 99_999;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let stem = split_stem(name, parts);
    let Some(stem) = stem.filter(|_| parts <= MAX_PARTS) else {
        let expected = format!("the name of such a file to end in `-NNNNN-of-{parts:05}.gguf`");
        return Err(at.invalid("split.count", parts, expected));
    };
    let paths: Vec<_> = (1..=parts)
        .map(|number| path.with_file_name(format!("{stem}-{number:05}-of-{parts:05}.gguf")))
        .collect();
    let missing: Vec<_> =
        paths.iter().filter(|path| !files.is_file(path)).map(|path| printable_path(path)).collect();
    if missing.is_empty() {
        return Ok(paths);
    }
    Err(SourceError::MissingParts { path: at.path().to_owned(), count: parts, missing })
}

/// `model` of `model-00002-of-00003.gguf`.
fn split_stem(name: &str, parts: u64) -> Option<&str> {
    let stem = name.strip_suffix(&format!("-of-{parts:05}.gguf"))?;
    let (stem, number) = stem.rsplit_once('-')?;
    let is_number = number.len() == 5 && number.bytes().all(|b| b.is_ascii_digit());
    (is_number && !stem.is_empty()).then_some(stem)
}
