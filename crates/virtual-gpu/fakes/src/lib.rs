//! The CUDA runtime, driver, NVML and math libraries of a GPU that is not there.
//!
//! One shared library holds every function; shims that carry the sonames depend on it. Memory is
//! accounted for as the described card would (`core`), streams and graphs keep the order that
//! programs can observe, copies of up to a MiB carry values, and no kernel runs. Written against the
//! public headers and manuals.
#![cfg(target_os = "linux")]

mod call;
mod core;
mod driver;
mod error;
mod fatbin;
mod libraries;
mod machine;
mod nvml;
mod runtime;
mod shadow;
mod stubs;
