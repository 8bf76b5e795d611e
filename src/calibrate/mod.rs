//! The measuring side: runs a program, reads the memory of its device meanwhile, and compares that
//! with a plan. It never opens a CUDA context, so that it is not in what it measures.
//!
//! ```text
//! meter ─ sampler ─┐
//! phase marks ─────┼─→ recorder ─→ recording ─→ measurement ─→ comparison with a plan, diagnoses
//! the command ─────┘   (a file, line by line; replayed later)
//! ```

mod clock;
pub mod comparison;
#[cfg(target_os = "linux")]
mod cpu;
pub mod devices;
pub mod diagnosis;
pub mod fit;
pub mod host;
#[cfg(target_os = "linux")]
mod lock;
pub mod marks;
pub mod measurement;
mod meter;
#[cfg(all(feature = "nvml", target_os = "linux"))]
mod nvml;
mod planned;
mod record_file;
mod recorder;
pub mod recording;
#[cfg(target_os = "linux")]
mod sampler;
#[cfg(target_os = "linux")]
pub mod session;
pub mod supervisor;
#[cfg(target_os = "linux")]
mod tree;

pub use clock::now;
#[cfg(target_os = "linux")]
pub use cpu::CpuMeter;
#[cfg(target_os = "linux")]
pub use lock::{DeviceLock, LockError};
pub use meter::{Device, Holder, Meter, MeterError, MeterKind, Reading};
#[cfg(all(feature = "nvml", target_os = "linux"))]
pub use nvml::{DeviceError, NvmlMeter, inventory};
pub use planned::{PlannedComponent, PlannedPhase, PlannedRun};
pub use record_file::{RecordFailure, RecordFile, beside};
pub use recorder::Recorder;
#[cfg(target_os = "linux")]
pub use tree::cpu_time;
