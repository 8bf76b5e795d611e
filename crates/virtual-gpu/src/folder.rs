//! The private folder of one rehearsal: shims, fakes, events, shared state.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::contract::{self, FAKES, HOOKS};
use crate::elf::Shim;
use crate::launch::Libraries;
use crate::python;
use crate::sonames::{self, SONAMES};

const PREFIX: &str = "vramplan-rehearsal-";
/// Locked as long as the owner lives, so that a later rehearsal can tell what was left behind.
const LOCK: &str = "lock";

/// Removed when dropped; what a killed owner left is removed by the next rehearsal.
pub(crate) struct Folder {
    folder: tempfile::TempDir,
    _lock: fs_err::File,
}

impl Folder {
    pub(crate) fn create(libraries: &Libraries, cuda: u32) -> io::Result<Self> {
        let parent = std::env::temp_dir();
        sweep(&parent);
        // 0700: nobody else's program finds the fakes.
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
        let lock = fs_err::File::create(folder.path().join(LOCK))?;
        try_lock(&lock)?;
        let this = Self { folder, _lock: lock };
        this.fill(libraries, cuda)?;
        Ok(this)
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    fn fill(&self, libraries: &Libraries, cuda: u32) -> io::Result<()> {
        let at = |name: &str| self.path().join(name);
        symlink(&libraries.fakes, at(FAKES))?;
        symlink(&libraries.hooks, at(HOOKS))?;
        for soname in SONAMES {
            let shim = Shim { soname: soname.name, needed: FAKES, version: soname.version };
            fs_err::write(at(soname.name), shim.bytes())?;
            let stem = sonames::stem(soname.name);
            let plain = at(&format!("{stem}.so"));
            if let Some(target) = sonames::unversioned(stem, cuda)
                && target == soname
            {
                symlink(soname.name, plain)?;
            }
        }
        python::write(&at(contract::PYTHON))?;
        make_fifo(&contract::events_path(self.path()))
    }
}

fn make_fifo(path: &Path) -> io::Result<()> {
    let name = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path is a C string.
    if unsafe { libc::mkfifo(name.as_ptr(), 0o600) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn try_lock(file: &fs_err::File) -> io::Result<()> {
    // SAFETY: the descriptor is open.
    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Removes the folders of owners that were killed. What cannot be removed stays.
fn sweep(parent: &Path) {
    let Ok(entries) = fs_err::read_dir(parent) else { return };
    let ours = |path: &PathBuf| {
        path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(PREFIX))
    };
    for path in entries.flatten().map(|entry| entry.path()).filter(ours) {
        // A folder without its lock yet is one that is being made.
        if let Ok(lock) = fs_err::File::open(path.join(LOCK))
            && try_lock(&lock).is_ok()
        {
            let _ = fs_err::remove_dir_all(&path);
        }
    }
}
