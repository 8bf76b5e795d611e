//! What this process tells the rehearsal, without ever holding the program up.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use vramplan_virtual_gpu::contract;
use vramplan_virtual_gpu::event::{Change, Event, What};
use vramplan_virtual_gpu::shared::count;

use super::process;
use crate::machine::machine;

/// How long a full stream is waited for. The reader empties it every few milliseconds.
const PATIENCE_MS: i32 = 200;
/// Our descriptor is moved above those that programs give out, to survive their housekeeping.
const HIGH: i32 = 500;

struct Stream {
    file: File,
    /// Device and inode: a program that closed our descriptor may have its own under the number.
    identity: (u64, u64),
}

static STREAM: Mutex<Option<Stream>> = Mutex::new(None);
static SENT: AtomicU64 = AtomicU64::new(0);
static SAID: Mutex<Option<HashSet<String>>> = Mutex::new(None);

/// A forked child counts its own events.
pub(crate) fn forget_count() {
    SENT.store(0, Relaxed);
}

/// Memory was taken; `rises` says whether it made a new peak, which is told even where a process has
/// sent its share of events.
pub(crate) fn took(change: Change, rises: bool) {
    if within_limit() || rises {
        send(What::Take(change));
    }
}

/// Memory was given back.
pub(crate) fn gave(change: Change) {
    if within_limit() {
        send(What::Give(change));
    }
}

fn within_limit() -> bool {
    count(&process::shared().counters().allocations, 1);
    let within = SENT.fetch_add(1, Relaxed) < machine().event_limit;
    if !within {
        count(&process::shared().counters().dropped, 1);
    }
    within
}

/// Something worth a line in the report, once.
pub(crate) fn remark(text: &str) {
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if said.get_or_insert_default().insert(text.to_owned()) {
        drop(said);
        send(What::Remark { text: text.to_owned() });
    }
}

/// Writes an event, or counts that it was lost.
pub(crate) fn send(what: What) {
    if process::folder().is_none() {
        return;
    }
    let event = Event { pid: process::pid(), t: process::shared().micros(), what };
    let sent = event.line().is_some_and(|line| write(&line));
    if !sent {
        count(&process::shared().counters().dropped, 1);
    }
}

fn write(line: &[u8]) -> bool {
    let mut stream = STREAM.lock().unwrap_or_else(PoisonError::into_inner);
    if stream.as_ref().is_none_or(|s| !s.is_ours()) {
        if let Some(closed) = stream.take() {
            // The descriptor is not ours any more: it must not be closed.
            std::mem::forget(closed.file);
        }
        *stream = Stream::open();
    }
    stream.as_mut().is_some_and(|stream| stream.write(line))
}

impl Stream {
    fn open() -> Option<Self> {
        let path = contract::events_path(&process::folder()?);
        let flags = libc::O_NONBLOCK | libc::O_CLOEXEC;
        let low = std::fs::OpenOptions::new().write(true).custom_flags(flags).open(path).ok()?;
        // SAFETY: the descriptor is open; the new one is owned by nobody else.
        let high = unsafe { libc::fcntl(low.as_raw_fd(), libc::F_DUPFD_CLOEXEC, HIGH) };
        // SAFETY: as above.
        let file = if high >= 0 { unsafe { File::from_raw_fd(high) } } else { low };
        let found = file.metadata().ok()?;
        Some(Self { file, identity: (found.dev(), found.ino()) })
    }

    fn is_ours(&self) -> bool {
        self.file.metadata().is_ok_and(|found| (found.dev(), found.ino()) == self.identity)
    }

    fn write(&mut self, line: &[u8]) -> bool {
        for _ in 0..2 {
            // A pipe takes a line of this length whole or not at all.
            match self.file.write(line) {
                Ok(n) => return n == line.len(),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    let mut poll = libc::pollfd {
                        fd: self.file.as_raw_fd(),
                        events: libc::POLLOUT,
                        revents: 0,
                    };
                    // SAFETY: one descriptor, which is open.
                    unsafe { libc::poll(&raw mut poll, 1, PATIENCE_MS) };
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        false
    }
}
