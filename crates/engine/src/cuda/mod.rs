//! The engine on an NVIDIA GPU.
//!
//! Our kernels run as PTX that the driver translates; products with quantized matrices run in candle's
//! kernels, called on our memory: no step allocates, and neither cuBLAS nor cuRAND is opened.

mod card;
mod matrix;
mod memory;
mod runner;

pub use card::{Card, Graph, Held};
pub use memory::Ballast;
pub use runner::{CudaError, Runner};

use super::gpu::OnDevice;

/// The engine's backend on an NVIDIA GPU.
pub type Cuda = OnDevice<Card>;
