//! A directory of records: a file for each, named by what it holds, so that any number of writers can write at once and
//! equal records are one file. Files appear whole or not at all.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::convert::of_text;
use crate::calibrate::beside;
use vramplan_planner::bounded;
use vramplan_planner::evidence::{Book, MOST_LINES, Record, several};
use vramplan_planner::fleet::{JOB_SCHEMA, JobMark, Merged};
use vramplan_planner::text::printable_path;

/// The variable that names a directory with records, beside `--evidence`.
const VARIABLE: &str = "VRAMPLAN_EVIDENCE";

/// Most files that a directory may have.
const MOST_FILES: usize = 100_000;
/// How deep directories are searched.
const DEEPEST: u32 = 4;
/// The longest report that is read.
const MOST_REPORT: u64 = 16 << 20;

/// Why records cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system's word.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// There is more than is read.
    #[error("`{0}` has more than {MOST_FILES} files")]
    TooMany(String),
    /// Nowhere is known.
    #[error("this machine says nowhere where data is kept")]
    Nowhere,
}

/// Where records are looked for, and where new ones are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    folders: Vec<PathBuf>,
    /// Whether these were asked for: then they have to be there.
    asked_for: bool,
}

/// Where a record is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its file.
    pub path: PathBuf,
    /// Whether it was not there before.
    pub new: bool,
}

impl Store {
    /// The directories that were named; else the one of `VRAMPLAN_EVIDENCE`, else the user's own.
    pub fn new(named: &[PathBuf]) -> Self {
        if !named.is_empty() {
            return Self { folders: named.to_vec(), asked_for: true };
        }
        let variable = std::env::var_os(VARIABLE).filter(|path| !path.is_empty());
        let folder = variable.map(PathBuf::from).or_else(vramplan_disk::own_records);
        Self { folders: folder.into_iter().collect(), asked_for: false }
    }

    /// No directory.
    pub const fn none() -> Self {
        Self { folders: Vec::new(), asked_for: false }
    }

    /// Whether its directories were named.
    pub const fn is_asked_for(&self) -> bool {
        self.asked_for
    }

    /// The directories.
    pub fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Every record and mark of a job in them, and what could not be read.
    ///
    /// # Errors
    /// Where a directory that was asked for is not there, or cannot be listed.
    pub fn read(&self) -> Result<Merged, StoreError> {
        let mut there = self.folders.iter().filter(|folder| self.asked_for || folder.exists());
        there.try_fold(Merged::default(), |merged, folder| Ok(merged.and(gather(folder)?)))
    }

    /// The records, to be planned with.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub fn book(&self) -> Result<Book, StoreError> {
        Ok(self.read()?.book())
    }

    /// Makes the first of the directories, where it does not exist.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn make(&self) -> Result<(), StoreError> {
        Ok(fs_err::create_dir_all(self.folders.first().ok_or(StoreError::Nowhere)?)?)
    }

    /// Keeps a record in the first of the directories, which is made where it does not exist.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn keep(&self, record: &Record) -> Result<Kept, StoreError> {
        self.make()?;
        let folder = self.folders.first().ok_or(StoreError::Nowhere)?;
        let path = folder.join(format!("{}.json", record.id()));
        if path.exists() {
            return Ok(Kept { path, new: false });
        }
        let text = serde_json::to_string_pretty(record).map_err(std::io::Error::from)? + "\n";
        let mut file = beside(&path)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        match file.persist_noclobber(&path) {
            Ok(_) => Ok(Kept { path, new: true }),
            // Another wrote the same meanwhile.
            Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => {
                Ok(Kept { path, new: false })
            }
            Err(error) => Err(error.error.into()),
        }
    }
}

/// Reads a file, or every file of a directory and those below it: records, reports that records are made of, marks of
/// jobs. What is none of these is told and left out.
///
/// # Errors
/// Where the directory cannot be listed, or has too many files.
pub fn gather(path: &Path) -> Result<Merged, StoreError> {
    let mut files = Vec::new();
    if fs_err::metadata(path)?.is_dir() {
        list(path, 0, &mut files)?;
    } else {
        files.push(path.to_owned());
    }
    files.sort();
    let mut merged = Merged::default();
    for file in &files {
        read_into(file, &mut merged);
    }
    Ok(merged)
}

fn list(folder: &Path, depth: u32, files: &mut Vec<PathBuf>) -> Result<(), StoreError> {
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let kind = entry.file_type()?;
        if name.starts_with('.') {
            continue;
        }
        if kind.is_dir() && depth < DEEPEST {
            list(&path, depth + 1, files)?;
        }
        let is_ours = name.ends_with(".json") || name.ends_with(".jsonl");
        // A link out of the directory is not followed.
        if kind.is_file() && is_ours {
            files.push(path);
        }
        if files.len() > MOST_FILES {
            return Err(StoreError::TooMany(printable_path(folder)));
        }
    }
    Ok(())
}

fn read_into(path: &Path, merged: &mut Merged) {
    let lines = path.extension().is_some_and(|ending| ending == "jsonl");
    let name = printable_path(path);
    let text = match text(path, if lines { MOST_LINES } else { MOST_REPORT }) {
        Ok(text) => text,
        Err(why) => return merged.refuse(name, why),
    };
    if lines {
        // A recording of `observe` is told from records by its first line.
        for (line, record) in several(&text) {
            match record {
                Ok(record) => merged.record(record),
                Err(error) => merged.refuse(format!("{name}:{line}"), error.to_string()),
            }
        }
        return;
    }
    if text.contains(JOB_SCHEMA) {
        match JobMark::read(&text) {
            Ok(mark) => merged.job(mark),
            Err(why) => merged.refuse(name, why),
        }
        return;
    }
    match of_text(&text) {
        Ok(records) => records.into_iter().for_each(|record| merged.record(record)),
        Err(why) => merged.refuse(name, why),
    }
}

fn text(path: &Path, most: u64) -> Result<String, String> {
    let file = fs_err::File::open(path).map_err(|error| error.to_string())?;
    let bytes = bounded::read(file, most).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())
}
