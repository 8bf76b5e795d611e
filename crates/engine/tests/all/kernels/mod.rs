//! The kernels of `kernels/*.cu`, compiled for the CPU against an emulator, beside the CPU's cache.
//!
//! Needs g++. `VRAMPLAN_SEED` repeats a run whose seed was printed. With `--features cuda`,
//! `cargo test -p vramplan-engine --test all kernels:: -- --ignored --test-threads 1` runs the same on a GPU.

#![cfg(target_family = "unix")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "test code")]
#![allow(unsafe_code, reason = "the emulator is a shared library, a GPU more so")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "small numbers, and random bits"
)]

mod attention;
mod committed;
#[cfg(feature = "cuda")]
mod cuda;
mod decode;
mod device;
mod emulator;
mod engine;
mod faults;
mod layer;
mod look;
#[cfg(feature = "cuda")]
mod matrices;
mod ops;
mod prefill;
mod random;
mod steps;
