//! The `vramplan` command: parses, reads, runs programs and prints. What it computes is the planner's.
//!
//! ```text
//! cli ─→ {calibrate, report, local} ─→ vramplan_planner, vramplan_disk
//! ```
//!
//! `calibrate` runs programs and reads what they hold; `report` shows it; `local` asks this machine's cards.

pub mod calibrate;
pub mod cli;
mod local;
mod report;
