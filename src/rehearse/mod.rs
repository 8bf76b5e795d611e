//! The user's own program on cards that are not there: what it allocates, when, and where it runs out.
//!
//! ```text
//! the virtual GPU's events ─┐                       ┌─ per card: a recording, its measurement
//! what Python says ─────────┼─→ trace ─→ rehearsed ─┤
//! the program's output ─────┘   (guard: stop, hang) └─ peaks by kind, refusals: the shared books
//! ```

pub mod beside;
pub mod cards;
pub mod engine;
pub mod guard;
pub mod run;
pub mod search;
pub mod trace;
