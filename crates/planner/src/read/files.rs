//! Where readers find files. A disk, a repository behind a network and a table in memory are alike to them:
//! what is at a path, and a range of its bytes.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read, Seek};
use std::path::{Path, PathBuf};

use super::SourceError;
use super::error::At;
use crate::bounded::{self, ReadError};

/// What can be read by ranges.
pub trait ReadSeek: Read + Seek {}

impl<R: Read + Seek> ReadSeek for R {}

/// An open file.
pub struct Opened {
    /// Its bytes. Readers seek rather than read what they do not need.
    pub reader: Box<dyn ReadSeek>,
    /// How many there are, as far as is known without reading them: 0 for a pipe.
    pub size: u64,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("size", &self.size).finish_non_exhaustive()
    }
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A file.
    File,
    /// A folder of files.
    Folder,
    /// Something else, such as a pipe or a device; or nothing.
    Neither,
}

/// Files by path.
///
/// ```
/// use std::path::Path;
/// use vramplan_planner::read::{Files, Found, MemoryFiles};
///
/// let files = MemoryFiles::from([("model/config.json".into(), b"{}".to_vec())]);
/// assert_eq!(files.find(Path::new("model")), Found::Folder);
/// assert_eq!(files.open(Path::new("model/config.json")).unwrap().size, 2);
/// assert_eq!(files.list(Path::new("model")).unwrap().len(), 1);
/// ```
pub trait Files {
    /// What is at `path`.
    fn find(&self, path: &Path) -> Found;

    /// Opens the file at `path`.
    ///
    /// # Errors
    /// Where there is none, or where it cannot be read; the error names the path.
    fn open(&self, path: &Path) -> io::Result<Opened>;

    /// What is in a folder: paths, in any order.
    ///
    /// # Errors
    /// As [`Files::open`].
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;

    /// The same path from the root: a model is called after its folder.
    fn absolute(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }

    /// Whether there is a file at `path`.
    fn is_file(&self, path: &Path) -> bool {
        self.find(path) == Found::File
    }

    /// Whether there is a folder at `path`.
    fn is_folder(&self, path: &Path) -> bool {
        self.find(path) == Found::Folder
    }
}

/// The bytes of a file that has at most `max` of them.
///
/// Of a pipe, whose size nobody knows, one byte more is asked for, so that nothing is cut in silence.
///
/// # Errors
/// Where it cannot be opened or read, or is larger.
pub fn read_bounded(files: &dyn Files, path: &Path, max: u64) -> Result<Vec<u8>, SourceError> {
    let at = At::new(path);
    let Opened { reader, size } = files.open(path).map_err(|error| at.io(&error))?;
    let refuse = |size: String| Err(at.invalid("its size", size, format!("at most {max} B")));
    if size > max {
        return refuse(format!("{size} B"));
    }
    bounded::read(reader, max).or_else(|error| match error {
        ReadError::TooLong { most } => refuse(format!("more than {most} B")),
        ReadError::Io(error) => Err(at.io(&error)),
    })
}

/// The UTF-8 text of a file that has at most `max` bytes.
///
/// # Errors
/// As [`read_bounded`]; also where it is not UTF-8.
pub fn text_bounded(files: &dyn Files, path: &Path, max: u64) -> Result<String, SourceError> {
    String::from_utf8(read_bounded(files, path, max)?)
        .map_err(|_| At::new(path).malformed("it is not UTF-8: expected a text"))
}

/// Files in memory, by path: for tests, and where files come from elsewhere, as in a browser.
#[derive(Clone, Debug, Default)]
pub struct MemoryFiles(BTreeMap<PathBuf, Vec<u8>>);

impl<const N: usize> From<[(PathBuf, Vec<u8>); N]> for MemoryFiles {
    fn from(files: [(PathBuf, Vec<u8>); N]) -> Self {
        Self(files.into())
    }
}

impl Files for MemoryFiles {
    fn find(&self, path: &Path) -> Found {
        if self.0.contains_key(path) {
            return Found::File;
        }
        let is_folder = self.0.keys().any(|file| file.starts_with(path));
        if is_folder { Found::Folder } else { Found::Neither }
    }

    fn open(&self, path: &Path) -> io::Result<Opened> {
        let bytes = self.0.get(path).ok_or(io::ErrorKind::NotFound)?.clone();
        Ok(Opened { size: bytes.len() as u64, reader: Box::new(Cursor::new(bytes)) })
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let inside = self.0.keys().filter(|file| file.parent() == Some(folder));
        Ok(inside.cloned().collect())
    }
}

/// No files at all: only what is embedded can be named.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFiles;

impl Files for NoFiles {
    fn find(&self, _path: &Path) -> Found {
        Found::Neither
    }

    fn open(&self, _path: &Path) -> io::Result<Opened> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn list(&self, _folder: &Path) -> io::Result<Vec<PathBuf>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pipe: its size is not known before it was read.
    struct Pipe(Vec<u8>);

    impl Files for Pipe {
        fn find(&self, _path: &Path) -> Found {
            Found::Neither
        }

        fn open(&self, _path: &Path) -> io::Result<Opened> {
            Ok(Opened { reader: Box::new(Cursor::new(self.0.clone())), size: 0 })
        }

        fn list(&self, _folder: &Path) -> io::Result<Vec<PathBuf>> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn what_comes_through_a_pipe_is_refused_rather_than_cut() {
        let path = Path::new("pipe");
        assert_eq!(read_bounded(&Pipe(vec![7; 8]), path, 8).unwrap(), [7; 8]);
        let error = read_bounded(&Pipe(vec![7; 9]), path, 8).unwrap_err().to_string();
        assert_eq!(error, "`pipe`: `its size` = more than 8 B: expected at most 8 B");
    }
}
