//! What the end of a worker means.

use crate::calibrate::session::Ended;
use crate::calibrate::supervisor::{Supervisor, WorkerOutcome};
use crate::cli::problem::Problem;
use vramplan_planner::protocol::FailureKind;

/// How a run ended.
#[derive(Debug)]
pub enum End {
    /// The worker did everything.
    Done,
    /// The user asked for an end.
    Interrupted,
    /// Memory was exhausted: where, and what was said.
    Exhausted(String),
    /// Anything else went wrong.
    Failed(Problem),
}

impl End {
    /// An error, unless everything was done or the user asked for an end.
    pub fn check(self) -> anyhow::Result<()> {
        match self {
            Self::Done | Self::Interrupted => Ok(()),
            Self::Exhausted(message) => {
                let hint =
                    "plan a smaller cache, weights in fewer bits, or a smaller prefill chunk";
                Err(Problem::new(message).hint(hint).into())
            }
            Self::Failed(problem) => Err(problem.into()),
        }
    }
}

/// Whether the worker did everything; if not, where it got to and what can be done.
pub fn judge(supervisor: &Supervisor, ended: &Ended) -> End {
    let place = supervisor.place();
    let failed = |message: String, hint: &str| End::Failed(Problem::new(message).hint(hint));
    match supervisor.outcome(ended.killed.as_deref()) {
        _ if ended.interrupted => End::Interrupted,
        WorkerOutcome::Done if ended.code == Some(0) => End::Done,
        WorkerOutcome::Failed(FailureKind::OutOfMemory, message) => {
            End::Exhausted(format!("memory was exhausted {place}: {message}"))
        }
        WorkerOutcome::Failed(kind, message) => {
            let hint = match kind {
                FailureKind::NoDevice => "see `vramplan doctor` for what is missing",
                FailureKind::Model => {
                    "`vramplan profiles import FILE` says what a file holds; `--synthetic` makes \
                     weights up"
                }
                _ => "what was measured until then is in the report",
            };
            failed(format!("the worker failed {place}: {message}"), hint)
        }
        WorkerOutcome::Ended(reason) => failed(
            format!("the worker was ended {place}: {reason}"),
            "its own words are above; give it longer with `--patience SECONDS` where it is slow",
        ),
        WorkerOutcome::Done | WorkerOutcome::Died => died(ended, &place),
    }
}

fn died(ended: &Ended, place: &str) -> End {
    if let Some(text) = &ended.end.oom_text {
        return End::Exhausted(format!("memory was exhausted {place}: {text}"));
    }
    let how = match (ended.code, ended.signal) {
        (Some(code), _) => format!("with exit code {code}"),
        (_, Some(signal)) => format!("by signal {signal}"),
        _ => "for an unknown reason".to_owned(),
    };
    let killed = ended.signal == Some(9) && ended.end.oom_kills.is_some_and(|kills| kills > 0);
    let hint = if killed {
        "the kernel killed it because main memory ran out: give it more"
    } else {
        "its own words are above; what was measured until then is in the report"
    };
    End::Failed(Problem::new(format!("the worker ended {place} {how}")).hint(hint))
}
