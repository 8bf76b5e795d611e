//! `vramplan explore`: a plan that follows the keys.
//!
//! ```text
//! keys, plans ─→ update(state) ─→ state ─→ view ─→ terminal
//!                     └─→ effects: plan, copy, end ─→ {worker, screen}
//! ```
//!
//! `fields`, `state`, `update` and `view` are pure; `run` is the rim. Plans are made on a thread of their own
//! (`worker`), the newest question first, so that no key waits for one.

mod clipboard;
mod fields;
mod run;
mod screen;
mod state;
mod update;
mod view;
mod worker;

#[cfg(test)]
mod tests;

pub use run::run;
pub use state::Planned;
pub use worker::Planner;
