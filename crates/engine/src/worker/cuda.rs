//! An NVIDIA GPU: ballast is an allocation beside the engine's pool.

use super::device::{Device, Pool, Restricted};
use crate::cuda::{Ballast, Cuda};
use crate::h2o::to_usize;
use crate::{Config, EngineError};
use vramplan_planner::units::Bytes;

/// The one GPU that `CUDA_VISIBLE_DEVICES` leaves visible.
pub fn open() -> Result<Cuda, EngineError> {
    Cuda::new(0)
}

impl Device for Cuda {
    type Ballast = Ballast;

    fn load_libraries(&self, config: &Config) -> Result<(), EngineError> {
        self.load_kernels(config.head_dim)
    }

    fn pool(&self) -> Result<Option<Pool>, EngineError> {
        Ok(Self::pool(self)?.map(|(used, reserved)| Pool { used, reserved }))
    }

    fn restrict(&self, capacity: Bytes) -> Result<Restricted<Ballast>, EngineError> {
        let (_, total) = self.memory_info()?;
        let held = total.minus(capacity).ok_or_else(|| {
            let message = format!("the GPU has {total}: expected at least {capacity}");
            EngineError::device("holding ballast", message)
        })?;
        let ballast = self.ballast(to_usize(held.get()))?;
        Ok(Restricted { ballast, held })
    }
}
