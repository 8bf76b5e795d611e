//! The disk behind the planner's readers: [`Disk`] hands out files by ranges, [`catalog`] finds the user's own
//! profiles beside those in the binary.

use std::io;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy as _;
use fs_err::File;
use vramplan_planner::read::{Catalog, Files, Folder, Found, Opened, SourceError, text_bounded};

/// The files of this machine.
///
/// ```
/// use std::path::Path;
/// use vramplan_disk::Disk;
/// use vramplan_planner::read::Files as _;
///
/// let error = Disk.open(Path::new("/no/such/file")).unwrap_err().to_string();
/// assert!(error.contains("/no/such/file"), "{error}");
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Files for Disk {
    fn find(&self, path: &Path) -> Found {
        match fs_err::metadata(path) {
            Ok(found) if found.is_file() => Found::File,
            Ok(found) if found.is_dir() => Found::Folder,
            _ => Found::Neither,
        }
    }

    fn open(&self, path: &Path) -> io::Result<Opened> {
        let file = File::open(path)?;
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

/// The profiles in `extra` directories, in the user's configuration and in the binary; the first that has a
/// name wins.
pub fn catalog(extra: &[PathBuf]) -> Catalog {
    let usual = configured_profiles().map(Folder::usual);
    Catalog::new(Box::new(Disk), extra.iter().map(Folder::asked_for).chain(usual))
}

/// The same without the user's configuration: what a committed table is computed from.
pub fn catalog_without_configuration(extra: &[PathBuf]) -> Catalog {
    Catalog::new(Box::new(Disk), extra.iter().map(Folder::asked_for))
}

/// Where the user's own profiles are kept, where this machine has such a place.
pub fn configured_profiles() -> Option<PathBuf> {
    Some(configuration()?.join("profiles"))
}

/// The folder of the user's configuration, where this machine has such a place.
pub fn configuration() -> Option<PathBuf> {
    let strategy = etcetera::choose_base_strategy().ok()?;
    Some(strategy.config_dir().join("vramplan"))
}

/// Where the user's own records of runs are kept, where this machine has such a place.
pub fn own_records() -> Option<PathBuf> {
    let strategy = etcetera::choose_base_strategy().ok()?;
    Some(strategy.data_dir().join("vramplan").join("evidence"))
}

/// The longest text that is read whole, in bytes.
const LONGEST_TEXT: u64 = 64 << 20;

/// The UTF-8 text of a file or a pipe.
///
/// # Errors
/// Where it cannot be read, is longer than 64 MiB or is not UTF-8.
pub fn text(path: &Path) -> Result<String, SourceError> {
    text_bounded(&Disk, path, LONGEST_TEXT)
}
