//! Files of plain text.

use std::path::Path;

use super::SourceError;
use super::error::At;
use super::json::read_bytes;

/// The longest text that is read, in bytes.
const MOST: u64 = 64 << 20;

/// The text of a file.
///
/// # Errors
/// Where it cannot be read, is too long or is not UTF-8.
pub fn text_file(path: &Path) -> Result<String, SourceError> {
    text_of_at_most(path, MOST)
}

/// The text of a file of at most so many bytes.
///
/// # Errors
/// Where it cannot be read, is longer or is not UTF-8.
pub fn text_of_at_most(path: &Path, most: u64) -> Result<String, SourceError> {
    let bytes = read_bytes(path, most)?;
    String::from_utf8(bytes)
        .map_err(|_| At::new(path).malformed("it is not UTF-8: expected a text"))
}
