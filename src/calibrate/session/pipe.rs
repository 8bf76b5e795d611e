//! The pipe on which a program says what it does.
//!
//! It has a name, for programs that close what they inherit, and a number, for those that do not:
//! `VRAMPLAN_PHASE_PATH` and `VRAMPLAN_PHASE_FD`.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread::{Builder, Scope, ScopedJoinHandle};

use rustix::fs::{CWD, Mode, OFlags, fcntl_getfl, fcntl_setfl, mkfifoat};
use rustix::io::{FdFlags, fcntl_setfd};

use super::News;
use crate::calibrate::marks::parse_line;

/// The longest line that is read.
const LONGEST: u64 = 4096;
/// Bytes that are read once the command has ended: as many as a pipe holds by default at most, so that all
/// is read that was said before, and no process that is left can go on for ever.
const LAST: usize = 1 << 20;

/// A named pipe in a directory of its own, which goes with it.
pub struct PhasePipe {
    path: PathBuf,
    _folder: tempfile::TempDir,
    /// Open for both, so that reading waits instead of ending while nobody writes.
    file: fs_err::File,
    /// Whether the command has ended. Nothing that could be written into the pipe may say so: its other
    /// end is the command's.
    ended: Arc<AtomicBool>,
}

impl PhasePipe {
    /// Makes the pipe.
    pub fn new() -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("vramplan-").tempdir()?;
        let path = folder.path().join("phase");
        mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR)?;
        let file = fs_err::OpenOptions::new().read(true).write(true).open(&path)?;
        Ok(Self { path, _folder: folder, file, ended: Arc::default() })
    }

    /// Names the pipe in the command's environment, or another that is read elsewhere. What is returned must
    /// live until it is started.
    pub fn for_child(&self, command: &mut Command, other: Option<&Path>) -> io::Result<OwnedFd> {
        let path = other.unwrap_or(&self.path);
        let end = fs_err::OpenOptions::new().write(true).open(path)?;
        let end = OwnedFd::from(end.into_parts().0);
        fcntl_setfd(&end, FdFlags::empty())?;
        command.env("VRAMPLAN_PHASE_PATH", path);
        command.env("VRAMPLAN_PHASE_FD", end.as_raw_fd().to_string());
        Ok(end)
    }

    /// Reads lines in a thread until [`Self::end`].
    pub fn read<'scope>(
        &self,
        scope: &'scope Scope<'scope, '_>,
        sender: SyncSender<News>,
    ) -> io::Result<ScopedJoinHandle<'scope, ()>> {
        let mut from = BufReader::new(self.file.file().try_clone()?);
        let ended = Arc::clone(&self.ended);
        Builder::new().spawn_scoped(scope, move || {
            let mut left = LAST;
            while let Some(line) = next_line(&mut from) {
                if ended.load(Ordering::Acquire) {
                    left = left.saturating_sub(line.len());
                }
                let text = String::from_utf8_lossy(&line);
                let text = text.trim();
                let news = || parse_line(text).map_or_else(News::Complaint, News::Mark);
                if (!text.is_empty() && sender.send(news()).is_err()) || left == 0 {
                    return;
                }
            }
        })
    }

    /// Ends the reading thread once it has read what was written before; never waits.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
        let file = self.file.file();
        // From here on reading an empty pipe is its end. A reader that waits already is woken by a line;
        // where there is no room for one, there is something to read.
        let flags = fcntl_getfl(file).unwrap_or(OFlags::RDWR);
        let _ = fcntl_setfl(file, flags | OFlags::NONBLOCK);
        let mut file = file;
        let _ = file.write(b"\n");
    }
}

/// The next line, cut to a length fit for memory; none where nothing is left.
fn next_line(from: &mut impl io::BufRead) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    // An error, such as that nothing is there, may come after a part of a line.
    let _ = from.by_ref().take(LONGEST).read_until(b'\n', &mut line);
    (!line.is_empty()).then_some(line)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    /// What is heard of a pipe into which `before` is written, and then `during` once it has ended.
    fn heard(before: &[u8], during: &[u8]) -> Vec<String> {
        let (sender, news) = sync_channel(1);
        let pipe = PhasePipe::new().unwrap();
        let mut child =
            fs_err::OpenOptions::new().write(true).open(&pipe.path).unwrap().into_parts().0;
        child.write_all(before).unwrap();
        std::thread::scope(|scope| {
            let reader = pipe.read(scope, sender).unwrap();
            pipe.end();
            let _ = child.write_all(during);
            let told = news.into_iter().map(|news| match news {
                News::Complaint(text) => text,
                News::Mark(_) => "mark".to_owned(),
                _ => panic!("neither a mark nor a complaint"),
            });
            let told = told.collect();
            reader.join().unwrap();
            told
        })
    }

    #[test]
    fn all_that_was_said_is_heard_whatever_it_is() {
        let told = heard(b"{\"phase\":\"a\"}\n\n\xff\n\0\n\n{\"phase\":\"b\"}", b"");
        assert_eq!(told.len(), 4, "{told:?}");
        assert_eq!([&told[0], &told[3]], ["mark", "mark"]);
        assert!(told[2].starts_with("`\\u{0}` is not a phase line"), "{told:?}");
    }

    #[test]
    fn a_full_pipe_is_ended_without_waiting() {
        // As much as a pipe holds, whose last line is cut off.
        let full = b"{\"phase\":\"a\"}\n".repeat((1 << 16) / 14);
        let told = heard(&full, b"");
        assert!(told.len() >= (1 << 16) / 14, "{}", told.len());
        assert!(told.iter().all(|told| told == "mark"));
    }

    #[test]
    fn who_goes_on_after_the_end_is_not_heard_for_ever() {
        let (sender, news) = sync_channel(1);
        let pipe = PhasePipe::new().unwrap();
        let mut child =
            fs_err::OpenOptions::new().write(true).open(&pipe.path).unwrap().into_parts().0;
        let stop = AtomicBool::new(false);
        let stop = &stop;
        std::thread::scope(|scope| {
            let reader = pipe.read(scope, sender).unwrap();
            pipe.end();
            scope.spawn(move || {
                let flags = fcntl_getfl(&child).unwrap();
                fcntl_setfl(&child, flags | OFlags::NONBLOCK).unwrap();
                while !stop.load(Ordering::Acquire) {
                    let _ = child.write(&b"{\"phase\":\"a\"}\n".repeat(256));
                }
            });
            let told = news.into_iter().count();
            reader.join().unwrap();
            stop.store(true, Ordering::Release);
            assert!(told <= LAST / 14 + 1, "{told}");
        });
    }

    #[test]
    fn a_line_is_cut_to_a_length_fit_for_memory() {
        let long = vec![b'x'; 10_000];
        assert_eq!(next_line(&mut &long[..]).unwrap().len(), 4096);
        assert_eq!(next_line(&mut &b""[..]), None);
    }
}
