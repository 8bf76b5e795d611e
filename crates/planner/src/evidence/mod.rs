//! Evidence: what runs were measured to hold, one format for logs, `observe`, `calibrate` and `rehearse`; what many
//! records say together, and what a plan takes from them.
//!
//! ```text
//! a log, a measured run ─→ Record ─ JSON, schema vramplan/evidence/v1 ─ read ─→ Book ─ summarise ─→ Group
//!                                                                                └─ apply ─→ Deployment
//! ```
//!
//! A record tells of a machine and a run, and of nobody: cards and models are those of built-in profiles, versions and
//! numbers of jobs are digits, hosts and cards are digests. What says anything else is left out where a record is made
//! and refused where one is read.

mod apply;
mod digest;
mod read;
mod record;
mod robust;
mod scrub;
mod summary;
mod words;

pub use apply::Book;
pub use digest::Digest;
pub use read::{MOST_LINES, MOST_RECORD, RecordError, one, several};
pub use record::{
    CardDoc, Ended, EngineDoc, How, LeftOut, ReadIn, Record, SCHEMA, TermDoc, TermId, Where,
};
pub use robust::{Robust, Sample, robust};
pub use scrub::{Scrubbed, card_of, model_of, scrub};
pub use summary::{Group, Key, Outlier, release_of, summarise};
pub use words::{date, driver, job, thread, version};
