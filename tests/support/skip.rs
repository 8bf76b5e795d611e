//! Tests that cannot run here say so where `.ci/run` counts them.

use std::fmt::Display;
use std::io::Write as _;

/// Says on the terminal, past what the test runner captures, that the present test does not run, and why.
pub fn skipped(why: impl Display) {
    let thread = std::thread::current();
    let line = format!("SKIPPED: {why} ({})\n", thread.name().unwrap_or("?"));
    let _ = std::io::stderr().write_all(line.as_bytes());
}
