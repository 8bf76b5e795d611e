//! The command as users run it: real processes, and a fake driver where a GPU is needed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

mod cli;
mod emit;
#[cfg(unix)]
mod explore;
#[cfg(feature = "hub")]
#[path = "../support/fake_hub.rs"]
mod fake_hub;
mod first_minute;
mod fleet;
mod fuzz_seeds;
mod generated;
mod hostile;
mod installed;
#[cfg(feature = "hub")]
#[path = "../support/loopback.rs"]
mod loopback;
mod mcp;
mod observe;
mod rehearse;
#[path = "../support/skip.rs"]
mod skip;
#[path = "../support/smollm2.rs"]
mod smollm2;
#[cfg(feature = "hub")]
mod sources;
mod tables;
mod worker;
