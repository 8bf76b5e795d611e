//! The file of a recording: whole lines only, also when the disk is full.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use vramplan_planner::text::printable_path;

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
    path: PathBuf,
    /// None until there is a run to record.
    file: Option<fs_err::File>,
    waiting: Vec<u8>,
    written: u64,
}

impl RecordFile {
    /// Makes sure that the file can be made. A record that is there already stays as it is until
    /// [`Self::begin`].
    ///
    /// # Errors
    /// Where no file can be made there.
    pub fn create(path: &Path) -> io::Result<Self> {
        // A link leads to the file that is meant.
        let path = fs_err::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let there = fs_err::metadata(&path).ok();
        if there.is_some() {
            fs_err::OpenOptions::new().write(true).open(&path)?;
        }
        // What is no file, such as a pipe, has no contents to keep.
        let file = match there.filter(|there| !there.is_file()) {
            Some(_) => Some(fs_err::File::create(path.clone())?),
            None => beside(&path).map(|_| None)?,
        };
        Ok(Self { path, file, waiting: Vec::with_capacity(COLLECTED), written: 0 })
    }

    /// Makes the file, in the place of one that is there.
    ///
    /// # Errors
    /// Where it cannot be made after all.
    pub fn begin(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            let file = beside(&self.path)?.persist(&self.path).map_err(|error| error.error)?;
            self.file = Some(fs_err::File::from_parts(file, self.path.clone()));
        }
        Ok(())
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
        let Some(file) = &mut self.file else { return Ok(()) };
        let outcome = file.write_all(&self.waiting).and_then(|()| file.flush());
        match outcome {
            Ok(()) => self.written += self.waiting.len() as u64,
            // Not a regular file: there is nothing to take back.
            Err(_) => drop(file.set_len(self.written)),
        }
        self.waiting.clear();
        outcome
    }
}

/// A new file in the same directory, with the permissions of any new file, or of the one that it is to
/// take the place of.
pub fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut builder = tempfile::Builder::new();
    builder.prefix(".vramplan-").suffix(".part");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let file = builder.tempfile_in(folder.unwrap_or(Path::new("."))).map_err(|error| {
        io::Error::new(error.kind(), format!("`{}` cannot be made: {error}", printable_path(path)))
    })?;
    if let Ok(there) = fs_err::metadata(path) {
        file.as_file().set_permissions(there.permissions())?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_is_there_stays_until_there_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.jsonl");
        fs_err::write(&path, "old\n").unwrap();
        let names = || fs_err::read_dir(folder.path()).unwrap().count();
        drop(RecordFile::create(&path).unwrap());
        assert_eq!((fs_err::read_to_string(&path).unwrap().as_str(), names()), ("old\n", 1));
        let mut file = RecordFile::create(&path).unwrap();
        file.push("new").unwrap();
        assert_eq!(fs_err::read_to_string(&path).unwrap(), "old\n");
        file.begin().unwrap();
        file.push("newer").unwrap();
        file.flush().unwrap();
        assert_eq!((fs_err::read_to_string(&path).unwrap().as_str(), names()), ("new\nnewer\n", 1));
    }

    #[test]
    #[cfg(unix)]
    fn a_link_is_followed_and_permissions_stay() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("run.jsonl"), folder.path().join("link"));
        fs_err::write(&path, "old\n").unwrap();
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let mut file = RecordFile::create(&link).unwrap();
        file.begin().unwrap();
        file.push("new").unwrap();
        file.flush().unwrap();
        assert_eq!(fs_err::read_to_string(&path).unwrap(), "new\n");
        assert!(fs_err::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs_err::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
