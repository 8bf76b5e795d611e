//! The engine on an NVIDIA GPU.

mod runner;

pub use runner::{CudaError, Runner};
