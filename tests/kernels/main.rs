//! The kernels of `kernels/*.cu`, compiled for the CPU against an emulator, beside the CPU's cache.
//!
//! Needs g++. `VRAMPLAN_SEED` repeats a run whose seed was printed.

#![cfg(all(feature = "h2o", target_family = "unix"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "test code")]
#![allow(unsafe_code, reason = "the emulator is a shared library")]

mod attention;
mod committed;
mod decode;
mod device;
mod emulator;
mod faults;
mod layer;
mod ops;
mod random;
mod steps;
