//! Passes a command's output through, byte by byte, and looks at its lines on the way.

use std::io::{self, Read, Write as _};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::{Builder, Scope, ScopedJoinHandle};

use super::News;
use crate::calibrate::marks::{Pattern, says_out_of_memory};

use vramplan_planner::text::printable;

/// Bytes that are read at once.
const CHUNK: usize = 1 << 16;
/// Bytes of a line that are looked at.
const LONGEST: usize = 1 << 16;

/// Where output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// To standard output.
    Stdout,
    /// To standard error.
    Stderr,
    /// To the supervisor, line by line, and nowhere else.
    Lines,
    /// Nowhere.
    Nowhere,
}

/// What sees every line of a program's output on its way. Threads call it, one for each stream.
pub type Tap = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// Where the output of a program goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// Where this process's goes.
    Through,
    /// All of it to standard error: standard output is for something else.
    ToStderr,
    /// Nowhere.
    Hidden,
}

/// What follows a program's output.
#[derive(Clone)]
pub struct Reader {
    /// Phases by its lines.
    pub patterns: Vec<Pattern>,
    /// What else sees them.
    pub tap: Option<Tap>,
    /// Where the supervisor hears of them.
    pub sender: SyncSender<News>,
}

/// A thread that passes output through.
pub struct Copy<'scope> {
    thread: ScopedJoinHandle<'scope, ()>,
}

impl<'scope> Copy<'scope> {
    /// Starts to copy.
    pub fn start(
        scope: &'scope Scope<'scope, '_>,
        from: impl Read + Send + 'scope,
        which: Which,
        reader: Reader,
    ) -> io::Result<Self> {
        let thread = Builder::new().spawn_scoped(scope, move || {
            let mut lines = Lines { which, reader, line: Vec::new() };
            copy(from, &mut lines);
        })?;
        Ok(Self { thread })
    }

    /// Whether all of it was copied.
    pub fn is_done(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until the writer has closed its end and all that it wrote is passed on.
    pub fn join(self) {
        // A panic is a defect; the scope passes it on.
        let _ = self.thread.join();
    }
}

/// Copies until either side is closed; a command whose reader is gone notices as it would alone.
fn copy(mut from: impl Read, lines: &mut Lines) {
    let Ok(mut to) = target(lines.which) else { return };
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let bytes = &chunk[..read];
        if to.as_mut().is_some_and(|to| to.write_all(bytes).is_err()) {
            break;
        }
        lines.take(bytes);
    }
    lines.end();
}

/// The stream itself, without a buffer.
fn target(which: Which) -> io::Result<Option<std::fs::File>> {
    let stream = match which {
        Which::Stdout => io::stdout().as_fd().try_clone_to_owned()?,
        Which::Stderr => io::stderr().as_fd().try_clone_to_owned()?,
        Which::Lines | Which::Nowhere => return Ok(None),
    };
    Ok(Some(stream.into()))
}

/// Cuts output into lines; a carriage return ends one too, as progress bars do.
struct Lines {
    which: Which,
    reader: Reader,
    line: Vec<u8>,
}

impl Lines {
    fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            let whole = piece.ends_with(b"\n") || piece.ends_with(b"\r");
            let text = if whole { &piece[..piece.len() - 1] } else { piece };
            let room = LONGEST.saturating_sub(self.line.len());
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            if whole {
                self.end();
            }
        }
    }

    fn end(&mut self) {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return;
        }
        let sender = &self.reader.sender;
        // The receiver outlives this thread.
        if self.which == Which::Lines {
            let _ = sender.send(News::Line(line));
            return;
        }
        if says_out_of_memory(&line) {
            let text = printable(&String::from_utf8_lossy(&line));
            let _ = sender.send(News::OutOfMemory(text));
        }
        let marks = self.reader.patterns.iter().filter_map(|pattern| pattern.matches(&line));
        for mark in marks {
            let _ = sender.send(News::Mark(mark));
        }
        if let Some(tap) = &self.reader.tap {
            tap(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    fn lines_of(chunks: &[&[u8]]) -> Vec<String> {
        let (sender, news) = sync_channel(16);
        let reader = Reader { patterns: Vec::new(), tap: None, sender };
        let mut lines = Lines { which: Which::Lines, reader, line: Vec::new() };
        for chunk in chunks {
            lines.take(chunk);
        }
        lines.end();
        drop(lines);
        let text = |news| match news {
            News::Line(line) => String::from_utf8_lossy(&line).into_owned(),
            _ => panic!("no line"),
        };
        news.into_iter().map(text).collect()
    }

    #[test]
    fn lines_are_whole_however_they_come() {
        assert_eq!(lines_of(&[b"ab", b"c\nd\r", b"\n\ne"]), ["abc", "d", "e"]);
        let long = vec![b'x'; 3 * LONGEST];
        assert_eq!(lines_of(&[&long, b"\ny\n"]), ["x".repeat(LONGEST).as_str(), "y"]);
    }
}
