//! The engine on whatever runs launches of [`crate::launch`]: an NVIDIA GPU, or in tests an emulator.
//!
//! ```text
//! forward ─ Backend ─→ OnDevice: what to launch, on which memory ─ Device ─→ memory, launches, products
//! ```
//!
//! Nothing here allocates during a step. What changes from token to token, the clock and the ids, is
//! written by [`Backend::begin`](super::Backend::begin) and read by the kernels from the device's memory:
//! the launches of all decode steps are the same, so that one is recorded and replayed.

mod attention;
mod backend;
mod device;
mod layout;
mod queue;
mod workspace;

pub use device::{Device, Product};
pub use workspace::Workspace;

use vramplan_planner::dtype::GgmlType;

/// An engine's device.
#[derive(Clone, Debug)]
pub struct OnDevice<D> {
    device: D,
}

impl<D> OnDevice<D> {
    /// On this device.
    pub const fn with(device: D) -> Self {
        Self { device }
    }

    /// The device.
    pub const fn device(&self) -> &D {
        &self.device
    }
}

/// A tensor of the model, as its file stores it.
#[derive(Debug)]
pub struct Weight<B> {
    ty: GgmlType,
    /// Elements of a row.
    width: usize,
    rows: usize,
    /// Of the data, without what kernels may read behind it.
    bytes: usize,
    data: B,
}
