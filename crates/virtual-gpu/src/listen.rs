//! Reads the events of a rehearsal until it is told to stop.

use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::event::Event;
use crate::report::{Gatherer, Observer};

const WAIT_MS: i32 = 20;

/// The thread that reads.
pub(crate) struct Listener {
    gatherer: Arc<Mutex<Gatherer>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    pub(crate) fn start(path: &Path, gatherer: Gatherer) -> io::Result<Self> {
        // Opened for writing too: else the stream would end with the first process that closes it.
        let mut stream = fs_err::OpenOptions::new();
        stream
            .options_mut()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC);
        let stream = stream.open(path)?;
        let gatherer = Arc::new(Mutex::new(gatherer));
        let stop = Arc::new(AtomicBool::new(false));
        let (theirs, flag) = (Arc::clone(&gatherer), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("rehearsal-events".to_owned())
            .spawn(move || listen(stream, &theirs, &flag))?;
        Ok(Self { gatherer, stop, thread: Some(thread) })
    }

    pub(crate) fn observe(&self, observer: Observer) {
        self.gatherer.lock().unwrap_or_else(PoisonError::into_inner).observe(observer);
    }

    /// Looks at what was gathered so far.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Gatherer) -> T) -> T {
        look(&self.gatherer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads what was written so far, then stops.
    pub(crate) fn stop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop();
    }
}

fn listen(mut stream: fs_err::File, gatherer: &Mutex<Gatherer>, stop: &AtomicBool) {
    let mut buffer = vec![0; 1 << 16];
    let mut rest = Vec::new();
    loop {
        // Asked before reading: what was written before the request to stop is still read.
        let last = stop.load(Relaxed);
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    rest.extend_from_slice(&buffer[..n]);
                    take_lines(&mut rest, gatherer);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        if last {
            return;
        }
        let mut poll = libc::pollfd { fd: stream.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one descriptor, which is open.
        unsafe { libc::poll(&raw mut poll, 1, WAIT_MS) };
    }
}

fn take_lines(rest: &mut Vec<u8>, gatherer: &Mutex<Gatherer>) {
    let Some(end) = rest.iter().rposition(|&byte| byte == b'\n') else {
        // No line is this long: whoever wrote it is not one of ours.
        if rest.len() > 1 << 20 {
            rest.clear();
        }
        return;
    };
    let mut gatherer = gatherer.lock().unwrap_or_else(PoisonError::into_inner);
    for line in rest[..end].split(|&byte| byte == b'\n') {
        match Event::parse(line) {
            Some(event) => gatherer.take(event),
            None => gatherer.line(line),
        }
    }
    rest.drain(..=end);
}
