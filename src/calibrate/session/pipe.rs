//! The pipe on which a program says what it does.
//!
//! It has a name, for programs that close what they inherit, and a number, for those that do not:
//! `VRAMPLAN_PHASE_PATH` and `VRAMPLAN_PHASE_FD`.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::Sender;
use std::thread::{Scope, ScopedJoinHandle};

use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::io::{FdFlags, fcntl_setfd};

use super::News;
use crate::calibrate::marks::parse_line;

/// The longest line that is read.
const LONGEST: u64 = 4096;
/// What ends the reading thread: no line of JSON begins with it.
const END: u8 = 0;

/// A named pipe in a directory of its own, which goes with it.
pub struct PhasePipe {
    path: PathBuf,
    _folder: tempfile::TempDir,
    /// Open for both, so that reading waits instead of ending while nobody writes.
    file: fs_err::File,
}

impl PhasePipe {
    /// Makes the pipe.
    pub fn new() -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("vramplan-").tempdir()?;
        let path = folder.path().join("phase");
        mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR)?;
        let file = fs_err::OpenOptions::new().read(true).write(true).open(&path)?;
        Ok(Self { path, _folder: folder, file })
    }

    /// Names the pipe in the command's environment. What is returned must live until it is started.
    pub fn for_child(&self, command: &mut Command) -> io::Result<OwnedFd> {
        let end = fs_err::OpenOptions::new().write(true).open(&self.path)?;
        let end = OwnedFd::from(end.into_parts().0);
        fcntl_setfd(&end, FdFlags::empty())?;
        command.env("VRAMPLAN_PHASE_PATH", &self.path);
        command.env("VRAMPLAN_PHASE_FD", end.as_raw_fd().to_string());
        Ok(end)
    }

    /// Reads lines in a thread until [`Self::end`].
    pub fn read<'scope>(
        &self,
        scope: &'scope Scope<'scope, '_>,
        sender: Sender<News>,
    ) -> ScopedJoinHandle<'scope, ()> {
        let from = self.file.file().try_clone();
        scope.spawn(move || {
            let Ok(from) = from else { return };
            let mut from = BufReader::new(from);
            while let Some(line) = next_line(&mut from) {
                let news = parse_line(line.trim()).map_or_else(News::Complaint, News::Mark);
                if sender.send(news).is_err() {
                    return;
                }
            }
        })
    }

    /// Ends the reading thread once it has read what was written before.
    pub fn end(&self) {
        // It fails only where the reader is gone.
        let _ = self.file.file().write_all(&[b'\n', END, b'\n']);
    }
}

/// The next line that is not empty, cut to a length fit for memory; none at the end.
fn next_line(from: &mut impl io::BufRead) -> Option<String> {
    loop {
        let mut line = Vec::new();
        from.by_ref().take(LONGEST).read_until(b'\n', &mut line).ok()?;
        match line.first() {
            None | Some(&END) => return None,
            Some(b'\n') => {}
            Some(_) => return Some(String::from_utf8_lossy(&line).into_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_up_to_the_end_mark() {
        let mut from = BufReader::new(&b"{\"phase\":\"a\"}\n\n\xff\n\n\0\nlate\n"[..]);
        assert_eq!(next_line(&mut from).unwrap().trim(), "{\"phase\":\"a\"}");
        assert_eq!(next_line(&mut from).unwrap().trim(), "\u{fffd}");
        assert_eq!(next_line(&mut from), None);
    }
}
