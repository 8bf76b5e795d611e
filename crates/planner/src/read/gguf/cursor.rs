//! A reader that knows how much is left, and allocates nothing that is not there.

use std::io::{BufReader, Read, Seek};

use crate::read::SourceError;
use crate::read::error::At;
use crate::units::to_u64;

/// Read ahead: large enough that skipping a vocabulary is one pass over memory.
const BUFFER: usize = 256 << 10;

pub(super) struct Cursor<'a, R> {
    pub(super) at: &'a At,
    reader: BufReader<R>,
    position: u64,
    size: u64,
}

impl<'a, R: Read + Seek> Cursor<'a, R> {
    pub(super) fn new(reader: R, size: u64, at: &'a At) -> Self {
        Self { at, reader: BufReader::with_capacity(BUFFER, reader), position: 0, size }
    }

    /// Bytes read or skipped so far.
    pub(super) const fn position(&self) -> u64 {
        self.position
    }

    /// Bytes of the whole file.
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// Fails unless `needed` bytes are left.
    pub(super) fn need(&self, needed: u64, what: &str) -> Result<(), SourceError> {
        let left = self.size - self.position;
        if needed > left {
            return Err(self.at.truncated(what, needed, left));
        }
        Ok(())
    }

    /// Fails unless `count` items of at least `each` bytes can be left.
    pub(super) fn need_items(&self, count: u64, each: u64, what: &str) -> Result<(), SourceError> {
        self.need(count.saturating_mul(each), what)
    }

    pub(super) fn bytes<const N: usize>(&mut self, what: &str) -> Result<[u8; N], SourceError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    pub(super) fn u8(&mut self, what: &str) -> Result<u8, SourceError> {
        Ok(u8::from_le_bytes(self.bytes(what)?))
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, SourceError> {
        Ok(u32::from_le_bytes(self.bytes(what)?))
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, SourceError> {
        Ok(u64::from_le_bytes(self.bytes(what)?))
    }

    /// A text of at most `max` bytes, its length first.
    pub(super) fn text(&mut self, what: &str, max: u64) -> Result<String, SourceError> {
        let length = self.u64(what)?;
        self.need(length, what)?;
        if length > max {
            return Err(self.at.invalid(
                what,
                format!("{length} B long"),
                format!("at most {max} B"),
            ));
        }
        self.text_of(length, what)
    }

    /// A text of `length` bytes, which the caller has bounded.
    pub(super) fn text_of(&mut self, length: u64, what: &str) -> Result<String, SourceError> {
        self.need(length, what)?;
        let length = usize::try_from(length)
            .map_err(|_| self.at.invalid(what, length, "a length that fits in memory"))?;
        let mut bytes = vec![0; length];
        self.fill(&mut bytes, what)?;
        String::from_utf8(bytes).map_err(|error| {
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            self.at.invalid(what, text, "valid UTF-8")
        })
    }

    /// Moves on by `length` bytes.
    pub(super) fn skip(&mut self, length: u64, what: &str) -> Result<(), SourceError> {
        self.need(length, what)?;
        let offset = i64::try_from(length)
            .map_err(|_| self.at.invalid(what, length, "a length below 8 EiB"))?;
        self.reader.seek_relative(offset).map_err(|error| self.at.io(&error))?;
        self.position += length;
        Ok(())
    }

    fn fill(&mut self, bytes: &mut [u8], what: &str) -> Result<(), SourceError> {
        // A slice is never longer than 64 bits can count.
        let length = to_u64(bytes.len());
        self.need(length, what)?;
        self.reader.read_exact(bytes).map_err(|error| self.at.io(&error))?;
        self.position += length;
        Ok(())
    }
}
