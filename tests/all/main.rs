//! The command as users run it: real processes, and a fake driver where a GPU is needed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

mod cli;
mod emit;
mod fuzz_seeds;
mod generated;
mod hostile;
mod installed;
mod observe;
#[path = "../support/skip.rs"]
mod skip;
#[path = "../support/smollm2.rs"]
mod smollm2;
mod tables;
mod worker;
