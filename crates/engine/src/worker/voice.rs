//! What the worker says, line by line, each as soon as it is said.

use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::EngineError;
use vramplan_planner::protocol::Stage;
use vramplan_planner::protocol::{FailureKind, Message};

/// How long a stage may go on without a word.
const QUIET: Duration = Duration::from_secs(1);

/// How a worker speaks to the command: one message a line, from any thread, and a sign of life where a stage is long.
pub struct Voice {
    inner: Mutex<Inner>,
}

struct Inner {
    out: Box<dyn Write + Send>,
    last: Instant,
    stage: Stage,
}

impl Voice {
    /// A voice that is heard at `out`.
    pub fn new(out: Box<dyn Write + Send>) -> Self {
        let inner = Inner { out, last: Instant::now(), stage: Stage::Baseline };
        Self { inner: Mutex::new(inner) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says something.
    pub fn say(&self, message: &Message) {
        self.lock().say(message);
    }

    /// The same where this thread may be speaking already.
    pub fn say_at_last(&self, message: &Message) {
        if let Ok(mut inner) = self.inner.try_lock() {
            inner.say(message);
        }
    }

    /// Says that the stage goes on, unless something was said a moment ago.
    pub fn alive(&self) {
        let mut inner = self.lock();
        if inner.last.elapsed() >= QUIET {
            inner.say(&Message::Alive);
        }
    }

    /// Does the work of a stage between its two marks. A stage that fails does not end.
    pub fn stage<T>(
        &self,
        stage: Stage,
        work: impl FnOnce() -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        self.lock().stage = stage;
        self.say(&Message::Begin { phase: stage });
        let outcome = work()?;
        self.say(&Message::End { phase: stage });
        Ok(outcome)
    }

    /// What to say of an error in the stage that is going on.
    pub fn failure(&self, error: &EngineError) -> Message {
        let kind = kind_of(error, self.lock().stage);
        let hint = error.hint().map_or_else(String::new, |hint| format!(" ({hint})"));
        Message::Failed { kind, message: format!("{error}{hint}") }
    }
}

impl Inner {
    fn say(&mut self, message: &Message) {
        self.last = Instant::now();
        // A supervisor that does not listen is gone, and this process with it.
        if let Ok(line) = message.to_line() {
            let _ = self.out.write_all(line.as_bytes());
            let _ = self.out.flush();
        }
    }
}

fn kind_of(error: &EngineError, stage: Stage) -> FailureKind {
    use EngineError as E;
    match error {
        error if error.is_out_of_memory() => FailureKind::OutOfMemory,
        E::Device { .. } if stage <= Stage::Libraries => FailureKind::NoDevice,
        E::Source(_)
        | E::Estimate(_)
        | E::Cache(_)
        | E::Unsupported { .. }
        | E::Tensor { .. }
        | E::Synth(_)
        | E::Tokenizer(_) => FailureKind::Model,
        _ => FailureKind::Other,
    }
}
