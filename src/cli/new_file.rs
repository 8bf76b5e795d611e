//! A large file that appears whole or not at all.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use fs_err::File;
use signal_hook::consts::signal::{SIGINT, SIGTERM};
use signal_hook::flag;
use tempfile::NamedTempFile;

use super::problem::Problem;

use vramplan_planner::text::printable;
use vramplan_planner::units::Bytes;

/// Where a file is to be.
#[derive(Clone, Copy, Debug)]
pub struct NewFile<'a> {
    path: &'a Path,
    overwrite: bool,
}

impl<'a> NewFile<'a> {
    /// A file at `path`, which may exist only if it may be overwritten.
    pub fn at(path: &'a Path, overwrite: bool) -> anyhow::Result<Self> {
        let file = Self { path, overwrite };
        if path.is_dir() || path.file_name().is_none() {
            let message = format!("`{}` is a directory: expected the name of a file", file.shown());
            return Err(Problem::new(message).into());
        }
        if !overwrite && path.try_exists().unwrap_or(true) {
            return Err(file.exists().into());
        }
        Ok(file)
    }

    /// Has `write` write the file beside where it will be, then puts it in place.
    ///
    /// The disk must have `needed` bytes left. What a failure, Ctrl-C or `SIGTERM` interrupts leaves
    /// nothing behind; `write` has to ask its second argument now and then whether to go on.
    pub fn write(
        self,
        needed: Bytes,
        write: impl FnOnce(&mut File, &dyn Fn() -> io::Result<()>) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new("."));
        self.check_space(folder, needed)?;
        let interrupted = Interrupted::watch()?;
        let temporary = temporary_in(folder).with_context(|| self.cannot_write())?;
        let mut file = File::from_parts(temporary.as_file().try_clone()?, temporary.path());
        write(&mut file, &|| interrupted.check()).with_context(|| self.cannot_write())?;
        self.place(temporary)
    }

    fn place(self, temporary: NamedTempFile) -> anyhow::Result<()> {
        let placed = if self.overwrite {
            temporary.persist(self.path)
        } else {
            temporary.persist_noclobber(self.path)
        };
        match placed {
            Ok(_) => Ok(()),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                Err(self.exists().into())
            }
            Err(error) => Err(error.error).with_context(|| self.cannot_write()),
        }
    }

    fn check_space(self, folder: &Path, needed: Bytes) -> anyhow::Result<()> {
        let free = available_space(folder).with_context(|| self.cannot_write())?;
        let Some(free) = free.filter(|free| needed > *free) else { return Ok(()) };
        let message = format!("`{}` needs {needed}, and its disk has {free} left", self.shown());
        Err(Problem::new(message).hint("write it to another disk, or name a smaller format").into())
    }

    fn exists(self) -> Problem {
        let message = format!("`{}` exists already", self.shown());
        Problem::new(message).hint("`--force` overwrites it")
    }

    fn cannot_write(self) -> String {
        format!("`{}` cannot be written", self.shown())
    }

    fn shown(self) -> String {
        printable(&self.path.to_string_lossy())
    }
}

/// What an ordinary user may still write to the disk of a directory.
#[cfg(unix)]
fn available_space(folder: &Path) -> io::Result<Option<Bytes>> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(Bytes::new(disk.f_frsize).times(disk.f_bavail).ok())
}

/// It is not asked for: a full disk is noticed where it fills up.
#[cfg(not(unix))]
fn available_space(_folder: &Path) -> io::Result<Option<Bytes>> {
    Ok(None)
}

/// A file that is removed when it is dropped, with the permissions of any new file.
fn temporary_in(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".vramplan-").suffix(".part");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

/// Whether the user has asked to stop.
struct Interrupted {
    flag: Arc<AtomicBool>,
    signals: Vec<signal_hook::SigId>,
}

impl Interrupted {
    fn watch() -> io::Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        let signals =
            [SIGINT, SIGTERM].into_iter().map(|signal| flag::register(signal, Arc::clone(&flag)));
        Ok(Self { signals: signals.collect::<Result<_, _>>()?, flag })
    }

    fn check(&self) -> io::Result<()> {
        // Not `Interrupted`, which means that the call should be repeated.
        let stop = || io::Error::other("interrupted");
        if self.flag.load(Ordering::Relaxed) { Err(stop()) } else { Ok(()) }
    }
}

impl Drop for Interrupted {
    fn drop(&mut self) {
        for &signal in &self.signals {
            signal_hook::low_level::unregister(signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs_err::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_appears_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let new = NewFile::at(&path, false).unwrap();
        new.write(Bytes::new(1), |file, _| file.write_all(b"whole")).unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), b"whole");
        let error = NewFile::at(&path, false).unwrap_err();
        assert!(error.to_string().ends_with("exists already"), "{error}");
        let new = NewFile::at(&path, true).unwrap();
        new.write(Bytes::new(1), |file, _| file.write_all(b"again")).unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), b"again");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn nothing_is_left_of_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let new = NewFile::at(&path, false).unwrap();
        let failed = new.write(Bytes::new(1), |file, _| {
            file.write_all(b"half")?;
            Err(io::Error::other("enough"))
        });
        assert!(format!("{:#}", failed.unwrap_err()).ends_with("cannot be written: enough"));
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn a_file_that_came_meanwhile_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let new = NewFile::at(&path, false).unwrap();
        let failed = new.write(Bytes::new(1), |_, _| fs_err::write(&path, "other"));
        assert!(failed.unwrap_err().to_string().ends_with("exists already"));
        assert_eq!(fs_err::read(&path).unwrap(), b"other");
    }

    #[test]
    fn a_disk_that_is_too_small_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let new = NewFile::at(&path, false).unwrap();
        let error = new.write(Bytes::new(u64::MAX), |_, _| Ok(())).unwrap_err();
        assert!(error.to_string().contains("and its disk has"), "{error}");
        let error = NewFile::at(folder.path(), true).unwrap_err();
        assert!(error.to_string().contains("is a directory"), "{error}");
    }
}
