//! One measured run a device: a second one would be in the figures of the first.
//!
//! The lock is the kernel's, on a file that names its holder; it ends with the process that holds it,
//! so that a file that was left behind locks nothing.

use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use vramplan_planner::text::printable;

/// A device that is reserved for this process until it is dropped.
#[derive(Debug)]
pub struct DeviceLock {
    _file: fs_err::File,
}

/// Why a device cannot be reserved.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another run measures it.
    #[error("`{device}` is being measured by another run: {holder}")]
    Held {
        /// The device.
        device: String,
        /// Process and command, as the file says.
        holder: String,
    },
    /// The file cannot be made.
    #[error("`{device}` cannot be reserved")]
    Io {
        /// The device.
        device: String,
        /// What the system said, with the path.
        #[source]
        cause: std::io::Error,
    },
    /// The directory is another user's.
    #[error("`{0}` belongs to another user")]
    Foreign(PathBuf),
}

impl DeviceLock {
    /// Reserves the device of this UUID.
    pub fn acquire(uuid: &str) -> Result<Self, LockError> {
        let folder = runtime_folder();
        Self::acquire_in(&folder, uuid)
    }

    fn acquire_in(folder: &Path, uuid: &str) -> Result<Self, LockError> {
        let failed = |cause| LockError::Io { device: uuid.to_owned(), cause };
        make_private(folder).map_err(failed)?;
        let owner = fs_err::metadata(folder).map_err(failed)?.uid();
        if owner != rustix::process::geteuid().as_raw() {
            return Err(LockError::Foreign(folder.to_owned()));
        }
        let path = folder.join(format!("device-{}.lock", file_name(uuid)));
        let mut options = fs_err::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        options.options_mut().mode(0o600);
        let mut file = options.open(path).map_err(failed)?;
        if flock(file.file(), FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            // Who holds it is a help, no more.
            let _ = (&mut file).take(512).read_to_string(&mut holder);
            let holder = printable(holder.trim());
            return Err(LockError::Held { device: uuid.to_owned(), holder });
        }
        write_holder(&mut file).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

fn write_holder(file: &mut fs_err::File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    let command: Vec<_> =
        std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    writeln!(file, "process {}, `{}`", std::process::id(), command.join(" "))
}

fn make_private(folder: &Path) -> std::io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Per user: `$XDG_RUNTIME_DIR/vramplan`, else a directory of its own where temporary files are.
fn runtime_folder() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
        Some(folder) if folder.is_dir() => folder.join("vramplan"),
        _ => std::env::temp_dir().join(format!("vramplan-{}", rustix::process::geteuid().as_raw())),
    }
}

/// A UUID as part of a file's name.
fn file_name(uuid: &str) -> String {
    uuid.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_reserved_once_and_free_again_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("vramplan");
        let lock = DeviceLock::acquire_in(&folder, "GPU-1").unwrap();
        let held = DeviceLock::acquire_in(&folder, "GPU-1").unwrap_err();
        let process = format!("process {}", std::process::id());
        assert!(held.to_string().contains(&process), "{held}");
        DeviceLock::acquire_in(&folder, "GPU-2").unwrap();
        drop(lock);
        DeviceLock::acquire_in(&folder, "GPU-1").unwrap();
    }

    #[test]
    fn a_file_that_was_left_behind_locks_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join("device-GPU-1.lock");
        fs_err::write(&left, "process 1, `vramplan observe`\n").unwrap();
        DeviceLock::acquire_in(folder.path(), "GPU-1").unwrap();
        let text = fs_err::read_to_string(&left).unwrap();
        assert!(text.starts_with(&format!("process {}", std::process::id())));
    }

    #[test]
    fn a_uuid_stays_in_its_folder() {
        assert_eq!(file_name("../GPU/1"), "___GPU_1");
    }
}
