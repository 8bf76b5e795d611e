//! An NVIDIA GPU: ballast is an allocation beside the engine's.

use super::device::{Device, Pool, Restricted};
use crate::engine::cuda::Cuda;
use crate::engine::{Backend, EngineError};
use crate::units::Bytes;

/// The one GPU that `CUDA_VISIBLE_DEVICES` leaves visible.
pub fn open() -> Result<Cuda, EngineError> {
    Cuda::new(0)
}

impl Device for Cuda {
    type Ballast = Option<<Self as Backend>::Buffer>;

    fn load_libraries(&self) -> Result<(), EngineError> {
        Ok(())
    }

    fn pool(&self) -> Result<Option<Pool>, EngineError> {
        Ok(Self::pool(self)?.map(|(used, reserved)| Pool { used, reserved }))
    }

    fn restrict(&self, capacity: Bytes) -> Result<Restricted<Self::Ballast>, EngineError> {
        let (_, total) = self.memory_info()?;
        let held = total.minus(capacity).ok_or_else(|| {
            let message = format!("the GPU has {total}: expected more than {capacity}");
            EngineError::device("holding ballast", message)
        })?;
        let ballast = self.allocate(usize::try_from(held.get()).unwrap_or(usize::MAX))?;
        Ok(Restricted { ballast: Some(ballast), held })
    }
}
