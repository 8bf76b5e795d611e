//! The supervisor's side of the protocol: what a worker may say when, and what its end means.
//!
//! ```text
//! waiting ─hello→ idle ─begin→ in a phase ─end→ idle … ─done→ done
//!    any state ─failed→ failed; anything else, or silence, ends the worker
//! ```

use std::time::Duration;

use super::recorder::Recorder;
use super::recording::By;
use vramplan_planner::protocol::Stage;
use vramplan_planner::protocol::{FailureKind, Message, PROTOCOL};
use vramplan_planner::text::{printable, printable_message};

/// How long a worker may take to say hello.
const HELLO: Duration = Duration::from_secs(60);

/// Where a worker is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Idle,
    In(Stage),
    Done,
    Failed(FailureKind, String),
}

/// Follows what a worker says.
#[derive(Debug)]
pub struct Supervisor {
    state: State,
    /// The last stage that began.
    phase: Option<Stage>,
    failed_in_phase: bool,
    patience: Duration,
    quality: Option<Quality>,
}

/// What a worker measured of eviction.
#[derive(Clone, Debug, PartialEq)]
pub struct Quality {
    /// Schema `vramplan/quality/v1`.
    pub report: serde_json::Value,
    /// The same for reading.
    pub text: String,
    /// The recent window that loses least.
    pub recent_window: u64,
}

/// What came of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerOutcome {
    /// It did everything.
    Done,
    /// It said that it cannot go on.
    Failed(FailureKind, String),
    /// The supervisor ended it, and why.
    Ended(String),
    /// It ended before it was done.
    Died,
}

impl Supervisor {
    /// A supervisor that bears this much silence.
    pub const fn new(patience: Duration) -> Self {
        Self { state: State::Waiting, phase: None, failed_in_phase: false, patience, quality: None }
    }

    /// What it measured of eviction, where it was asked to.
    pub const fn quality(&self) -> Option<&Quality> {
        self.quality.as_ref()
    }

    /// Where the worker got to, in words.
    pub fn place(&self) -> String {
        match (&self.state, self.phase) {
            (State::Waiting, _) => "before it said hello".to_owned(),
            (State::In(phase), _) => format!("in phase `{phase}`"),
            (State::Failed(..), Some(phase)) if self.failed_in_phase => {
                format!("in phase `{phase}`")
            }
            (_, Some(phase)) => format!("after phase `{phase}`"),
            (_, None) => "before its first phase".to_owned(),
        }
    }

    /// What a message changes; nothing else may come in this state.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn take(&mut self, message: &Message) -> Result<(), String> {
        let next = match (&self.state, message) {
            (State::Waiting, Message::Hello { protocol, version }) if *protocol != PROTOCOL => {
                let version = printable(version);
                return Err(format!(
                    "the worker (version {version}) speaks protocol {protocol}, not {PROTOCOL}"
                ));
            }
            (State::Waiting, Message::Hello { .. }) => State::Idle,
            (State::Idle, Message::Begin { phase }) => {
                self.phase = Some(*phase);
                State::In(*phase)
            }
            (State::In(open), Message::End { phase }) if open == phase => State::Idle,
            (State::Idle, Message::Done) => State::Done,
            (State::Done | State::Failed(..), _) => {
                return Err("the worker went on after its last word".to_owned());
            }
            (state, Message::Failed { kind, message }) => {
                self.failed_in_phase = matches!(state, State::In(_));
                State::Failed(*kind, printable_message(message))
            }
            (
                State::Idle | State::In(_),
                Message::Holds { .. }
                | Message::Pool { .. }
                | Message::Speed { .. }
                | Message::Count { .. }
                | Message::Quality { .. },
            )
            | (_, Message::Alive) => return Ok(()),
            _ => return Err(format!("the worker said `{}` out of turn", name_of(message))),
        };
        self.state = next;
        Ok(())
    }

    /// What came of the worker, which has ended; `killed` is why the supervisor ended it.
    pub fn outcome(&self, killed: Option<&str>) -> WorkerOutcome {
        match (&self.state, killed) {
            (State::Failed(kind, message), _) => WorkerOutcome::Failed(*kind, message.clone()),
            (_, Some(reason)) => WorkerOutcome::Ended(reason.to_owned()),
            (State::Done, None) => WorkerOutcome::Done,
            _ => WorkerOutcome::Died,
        }
    }

    /// How long silence may last now.
    pub const fn patience_now(&self) -> Duration {
        match self.state {
            State::Waiting if HELLO.as_secs() < self.patience.as_secs() => HELLO,
            _ => self.patience,
        }
    }

    /// Why a silent worker is ended.
    pub fn silence(&self) -> String {
        format!("the worker was silent for {} s", self.patience_now().as_secs())
    }

    /// Reads a line, and writes down what it says.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn line(&mut self, line: &[u8], recorder: &Recorder) -> Result<(), String> {
        let garbage = || {
            let text = printable(&String::from_utf8_lossy(line));
            format!("the worker said `{text}`, which is not a message")
        };
        let message: Message = serde_json::from_slice(line).map_err(|_| garbage())?;
        self.take(&message)?;
        if let Message::Quality { report, text, recent_window } = &message {
            let text: String = text.lines().map(|line| printable_message(line) + "\n").collect();
            let report = report.clone();
            self.quality = Some(Quality { report, text, recent_window: *recent_window });
        }
        write_down(&message, recorder);
        Ok(())
    }
}

#[cfg(target_os = "linux")]
impl super::session::Watch for Supervisor {
    fn line(&mut self, line: &[u8], recorder: &Recorder) -> super::session::Verdict {
        use super::session::Verdict;
        Self::line(self, line, recorder).map_or_else(Verdict::Kill, |()| Verdict::Continue)
    }

    fn patience(&self) -> Duration {
        self.patience_now()
    }

    fn silent(&mut self) -> String {
        self.silence()
    }
}

const fn name_of(message: &Message) -> &'static str {
    match message {
        Message::Hello { .. } => "hello",
        Message::Begin { .. } => "begin",
        Message::End { .. } => "end",
        Message::Holds { .. } => "holds",
        Message::Pool { .. } => "pool",
        Message::Speed { .. } => "speed",
        Message::Count { .. } => "count",
        Message::Quality { .. } => "quality",
        Message::Alive => "alive",
        Message::Failed { .. } => "failed",
        Message::Done => "done",
    }
}

fn write_down(message: &Message, recorder: &Recorder) {
    match message {
        Message::Begin { phase } => recorder.phase(Some(phase.id().to_owned()), By::Pipe),
        Message::End { .. } => recorder.phase(None, By::Pipe),
        Message::Holds { component, bytes } => recorder.holds(*component, *bytes),
        Message::Pool { used, reserved } => {
            recorder.counter("pool_used_bytes".to_owned(), used.get());
            recorder.counter("pool_reserved_bytes".to_owned(), reserved.get());
        }
        Message::Speed { phase, tokens, milliseconds } => {
            recorder.counter(format!("{}_tokens", phase.id()), *tokens);
            recorder.counter(format!("{}_milliseconds", phase.id()), *milliseconds);
        }
        Message::Count { name, value } => recorder.counter(printable(name), *value),
        Message::Hello { .. }
        | Message::Quality { .. }
        | Message::Alive
        | Message::Failed { .. }
        | Message::Done => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vramplan_planner::estimate::Component;
    use vramplan_planner::units::Bytes;

    fn hello() -> Message {
        Message::Hello { protocol: PROTOCOL, version: "0".to_owned() }
    }

    fn after(messages: &[Message]) -> (Supervisor, Result<(), String>) {
        let mut supervisor = Supervisor::new(Duration::from_secs(9));
        let outcome = messages.iter().try_for_each(|message| supervisor.take(message));
        (supervisor, outcome)
    }

    #[test]
    fn a_whole_run_is_done() {
        let holds = Message::Holds { component: Component::Weights, bytes: Bytes::KIB };
        let (supervisor, outcome) = after(&[
            Message::Alive,
            hello(),
            Message::Begin { phase: Stage::Weights },
            holds,
            Message::End { phase: Stage::Weights },
            Message::Begin { phase: Stage::Decode },
            Message::Speed { phase: Stage::Decode, tokens: 3, milliseconds: 1000 },
            Message::End { phase: Stage::Decode },
            Message::Pool { used: Bytes::KIB, reserved: Bytes::MIB },
            Message::Done,
        ]);
        assert_eq!(outcome, Ok(()));
        assert_eq!(supervisor.outcome(None), WorkerOutcome::Done);
        assert_eq!(supervisor.place(), "after phase `decode`");
    }

    #[test]
    fn what_is_said_out_of_turn_is_refused() {
        let begin = |phase| Message::Begin { phase };
        for (messages, error) in [
            (vec![begin(Stage::Weights)], "`begin` out of turn"),
            (vec![hello(), hello()], "`hello` out of turn"),
            (vec![hello(), Message::End { phase: Stage::Weights }], "`end` out of turn"),
            (vec![hello(), begin(Stage::Weights), begin(Stage::Decode)], "`begin` out of turn"),
            (
                vec![hello(), begin(Stage::Weights), Message::End { phase: Stage::Decode }],
                "`end` out of turn",
            ),
            (vec![hello(), begin(Stage::Weights), Message::Done], "`done` out of turn"),
            (vec![hello(), Message::Done, Message::Alive], "after its last word"),
            (
                vec![Message::Hello { protocol: 9, version: "7".to_owned() }],
                "version 7) speaks protocol 9, not 3",
            ),
        ] {
            let (_, outcome) = after(&messages);
            let told = outcome.unwrap_err();
            assert!(told.contains(error), "{told}");
        }
    }

    #[test]
    fn an_end_is_judged_by_what_came_before_it() {
        let loading = [hello(), Message::Begin { phase: Stage::Weights }];
        let (supervisor, _) = after(&loading);
        assert_eq!(supervisor.outcome(None), WorkerOutcome::Died);
        assert_eq!(supervisor.place(), "in phase `weights`");
        let killed = WorkerOutcome::Ended("silent".to_owned());
        assert_eq!(supervisor.outcome(Some("silent")), killed);
        let failed =
            Message::Failed { kind: FailureKind::OutOfMemory, message: "\u{1b}".to_owned() };
        let (supervisor, _) = after(&[&loading[..], &[failed]].concat());
        let said = WorkerOutcome::Failed(FailureKind::OutOfMemory, "\\u{1b}".to_owned());
        assert_eq!(supervisor.outcome(None), said);
        let (supervisor, _) = after(&[]);
        assert_eq!(supervisor.place(), "before it said hello");
        assert_eq!(supervisor.silence(), "the worker was silent for 9 s");
    }
}
