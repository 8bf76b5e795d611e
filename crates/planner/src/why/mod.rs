//! Why a run ran out: what the log of an engine says, beside a plan of the same run.
//!
//! ```text
//! bytes ─ lines ─→ grammar/ (one file an engine) ─→ Evidence ─ asked ─→ Question ─ resolve, answer ─→ plan
//!                                                      └──────── cause ──────────────┴── remedy ─→ Finding
//! ```
//!
//! A log is hostile text: lines are read one by one and only so far, nothing is matched by patterns that could take long,
//! and whatever of it is kept was made safe to print.

mod asked;
mod cause;
mod compare;
mod evidence;
mod failure;
mod finding;
mod from_log;
mod grammar;
mod learn;
mod lines;
mod log;
mod printed;
mod remedy;
mod sayings;
mod scan;
mod words;

pub use cause::{Cause, CauseKind, decisive};
pub use compare::Compared;
pub use evidence::{
    CardSeen, Counts, Engine, Episode, Evidence, Failure, FailureKind, Holder, Killed, Killer,
    Place, Term, TermKind, TorchError,
};
pub use finding::{Finding, Planned, Resolve, explain};
pub use learn::{LearnError, learn};
pub use lines::{LONGEST_LINE, MOST_BYTES};
pub use log::Log;
pub use printed::Printed;
pub use remedy::{Checked, Remedy};
