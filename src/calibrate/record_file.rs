//! The file of a recording: whole lines only, also when the disk is full.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Bytes that are collected before they are written.
const COLLECTED: usize = 1 << 16;

/// Why a recording is not complete on the disk.
#[derive(Debug, thiserror::Error)]
#[error("the record cannot be written in phase `{phase}`, and ends before it: {cause}")]
pub struct RecordFailure {
    /// The phase that the run was in.
    pub phase: String,
    /// What the system said, with the path.
    pub cause: io::Error,
}

/// A file to which lines are appended.
#[derive(Debug)]
pub struct RecordFile {
    file: fs_err::File,
    waiting: Vec<u8>,
    written: u64,
}

impl RecordFile {
    /// Makes the file, or empties it.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = fs_err::File::create(PathBuf::from(path))?;
        Ok(Self { file, waiting: Vec::with_capacity(COLLECTED), written: 0 })
    }

    /// Appends a line, which reaches the disk at the next [`Self::flush`] at the latest.
    pub fn push(&mut self, line: &str) -> io::Result<()> {
        self.waiting.extend_from_slice(line.as_bytes());
        self.waiting.push(b'\n');
        if self.waiting.len() < COLLECTED {
            return Ok(());
        }
        self.flush()
    }

    /// Hands over what waits. What could be written in part is taken back: lines are whole.
    pub fn flush(&mut self) -> io::Result<()> {
        let outcome = self.file.write_all(&self.waiting).and_then(|()| self.file.flush());
        match outcome {
            Ok(()) => self.written += self.waiting.len() as u64,
            // Not a regular file: there is nothing to take back.
            Err(_) => drop(self.file.set_len(self.written)),
        }
        self.waiting.clear();
        outcome
    }
}
