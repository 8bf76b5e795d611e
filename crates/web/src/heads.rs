//! Files of which only the beginning is at hand: what a page was handed, or read from a server by ranges.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde::Serialize;
use vramplan_planner::read::{Files, Found, Opened};
use vramplan_planner::text::printable_path;

use crate::Problem;

/// No header is longer: one with a vocabulary of 256,000 words takes 20 MiB.
const LONGEST_HEAD: u64 = 256 << 20;
/// No model has more files.
const MOST_FILES: usize = 4096;

/// What a reader asked for that is not at hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// The file.
    pub path: String,
    /// Bytes of it that are at hand.
    pub from: u64,
    /// The first byte that is not needed yet.
    pub until: u64,
}

/// A file's beginning, and how large all of it is.
struct Head {
    size: u64,
    bytes: Rc<RefCell<Vec<u8>>>,
}

/// Files by their beginnings.
#[derive(Clone, Default)]
pub struct Heads {
    files: Rc<RefCell<BTreeMap<PathBuf, Head>>>,
    missing: Rc<RefCell<Option<Missing>>>,
}

impl Heads {
    /// Adds bytes behind those that are at hand of a file; with none, the file is known to be there.
    ///
    /// # Errors
    /// Where there is a gap between them, the file ends before them, or it is too much.
    pub fn add(&self, path: &str, size: u64, from: u64, bytes: &[u8]) -> Result<(), Problem> {
        let mut files = self.files.borrow_mut();
        if files.len() >= MOST_FILES && !files.contains_key(Path::new(path)) {
            return Err(Problem::new(format!("more than {MOST_FILES} files")));
        }
        let head = files.entry(PathBuf::from(path)).or_insert_with(|| {
            let bytes = Rc::default();
            Head { size, bytes }
        });
        let mut known = head.bytes.borrow_mut();
        let until = from.checked_add(bytes.len() as u64);
        let fits = until.is_some_and(|until| until <= size && until <= LONGEST_HEAD);
        if from != known.len() as u64 || head.size != size || !fits {
            return Err(Problem::new(format!(
                "`{path}` changed while it was read: drop or read it again"
            )));
        }
        known.extend_from_slice(bytes);
        Ok(())
    }

    /// Forgets every file.
    pub fn clear(&self) {
        self.files.borrow_mut().clear();
        self.missing.take();
    }

    /// What was asked for since, and is not at hand.
    pub fn take_missing(&self) -> Option<Missing> {
        self.missing.take()
    }
}

impl Files for Heads {
    fn find(&self, path: &Path) -> Found {
        let files = self.files.borrow();
        if files.contains_key(path) {
            return Found::File;
        }
        let below = |file: &PathBuf| path != Path::new("") && file.starts_with(path);
        if files.keys().any(below) { Found::Folder } else { Found::Neither }
    }

    fn open(&self, path: &Path) -> io::Result<Opened> {
        let files = self.files.borrow();
        let head = files.get(path).ok_or_else(|| {
            let message = format!("`{}` was not handed to this page", printable_path(path));
            io::Error::new(io::ErrorKind::NotFound, message)
        })?;
        let reader = Reader {
            path: path.to_string_lossy().into_owned(),
            size: head.size,
            at: 0,
            bytes: Rc::clone(&head.bytes),
            missing: Rc::clone(&self.missing),
        };
        Ok(Opened { reader: Box::new(reader), size: head.size })
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let files = self.files.borrow();
        Ok(files.keys().filter(|file| file.parent() == Some(folder)).cloned().collect())
    }
}

/// Reads what is at hand, and notes what is not.
struct Reader {
    path: String,
    size: u64,
    at: u64,
    bytes: Rc<RefCell<Vec<u8>>>,
    missing: Rc<RefCell<Option<Missing>>>,
}

impl Reader {
    fn needs(&self, until: u64, from: u64) -> io::Error {
        if until > LONGEST_HEAD {
            let message = format!("a header of more than {LONGEST_HEAD} B is not read here");
            return io::Error::new(io::ErrorKind::InvalidData, message);
        }
        *self.missing.borrow_mut() = Some(Missing { path: self.path.clone(), from, until });
        io::Error::other("more of the file is needed")
    }
}

impl Read for Reader {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let left = self.size.saturating_sub(self.at);
        let wanted = left.min(to.len() as u64);
        if wanted == 0 {
            return Ok(0);
        }
        let bytes = self.bytes.borrow();
        let known = bytes.len() as u64;
        let from = usize::try_from(self.at).unwrap_or(usize::MAX);
        let Some(rest) = bytes.get(from..).filter(|rest| !rest.is_empty()) else {
            return Err(self.needs(self.at.saturating_add(wanted), known));
        };
        let length = rest.len().min(usize::try_from(wanted).unwrap_or(usize::MAX));
        if let (Some(to), Some(rest)) = (to.get_mut(..length), rest.get(..length)) {
            to.copy_from_slice(rest);
        }
        self.at = self.at.saturating_add(length as u64);
        Ok(length)
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_at_hand_is_asked_for() {
        let heads = Heads::default();
        heads.add("m/a.gguf", 100, 0, b"GGUF").unwrap();
        let path = Path::new("m/a.gguf");
        assert_eq!(heads.find(Path::new("m")), Found::Folder);
        assert_eq!(heads.find(Path::new("")), Found::Neither);
        let mut reader = heads.open(path).unwrap().reader;
        let mut bytes = [0; 8];
        assert!(reader.read_exact(&mut bytes).is_err());
        let missing = Missing { path: "m/a.gguf".into(), from: 4, until: 8 };
        assert_eq!(heads.take_missing(), Some(missing));
        assert_eq!(heads.take_missing(), None);
        heads.add("m/a.gguf", 100, 4, &[7; 96]).unwrap();
        reader.seek(SeekFrom::End(-4)).unwrap();
        reader.read_exact(&mut bytes[..4]).unwrap();
        assert_eq!(bytes[..4], [7; 4]);
        assert_eq!(reader.read(&mut bytes).unwrap(), 0);
    }

    #[test]
    fn what_does_not_follow_is_refused() {
        let heads = Heads::default();
        heads.add("a", 10, 0, &[0; 4]).unwrap();
        for (size, from, length) in [(10, 5, 1), (10, 4, 7), (11, 4, 1), (10, u64::MAX, 1)] {
            let error = heads.add("a", size, from, &vec![0; length]).unwrap_err();
            assert!(error.message.contains("changed while it was read"), "{error:?}");
        }
        heads.add("huge", u64::MAX, 0, &[]).unwrap();
        let mut reader = heads.open(Path::new("huge")).unwrap().reader;
        reader.seek(SeekFrom::Start(LONGEST_HEAD)).unwrap();
        let error = reader.read(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(heads.take_missing(), None);
    }
}
