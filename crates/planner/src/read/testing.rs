//! What only tests read.

use std::io;
use std::path::{Path, PathBuf};

use super::{Files, Found, Opened};

/// The disk, for the tests in this crate; elsewhere it is `vramplan_disk::Disk`.
pub(crate) struct TestDisk;

impl Files for TestDisk {
    fn find(&self, path: &Path) -> Found {
        match fs_err::metadata(path) {
            Ok(found) if found.is_file() => Found::File,
            Ok(found) if found.is_dir() => Found::Folder,
            _ => Found::Neither,
        }
    }

    fn open(&self, path: &Path) -> io::Result<Opened> {
        let file = fs_err::File::open(path)?;
        let size = file.metadata()?.len();
        Ok(Opened { reader: Box::new(file), size })
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        fs_err::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
    }

    fn absolute(&self, path: &Path) -> PathBuf {
        std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
    }
}
