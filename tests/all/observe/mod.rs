//! `observe` and `doctor` as users run them: real processes, and a fake driver where a GPU is needed.

#![cfg(target_os = "linux")]
#![cfg_attr(not(feature = "nvml"), allow(dead_code, reason = "the fake driver needs `nvml`"))]

mod calibrate;
mod cpu;
mod doctor;
mod ends;
#[cfg(feature = "nvml")]
mod gpu;
mod limits;
mod replay;
pub mod support;
