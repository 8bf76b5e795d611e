//! The `vramplan` command: parses, reads, runs programs and prints. What it computes is the planner's.
//!
//! ```text
//! cli ─→ evidence ─→ {rehearse, calibrate, report, local, mcp, explore} ─→ vramplan_planner, vramplan_disk, vramplan_virtual_gpu
//! ```
//!
//! `calibrate` runs programs and reads what they hold; `rehearse` runs them on cards that are not there; `report`
//! shows it; `local` asks this machine's cards; `mcp` is a protocol, and knows no planner;
//! `explore` is a page in the terminal.

pub mod calibrate;
pub mod cli;
mod evidence;
mod explore;
mod local;
mod mcp;
#[cfg(target_os = "linux")]
mod rehearse;
mod report;
