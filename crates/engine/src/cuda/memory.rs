//! What a GPU's memory holds, as its driver says.

#![allow(unsafe_code, reason = "attributes of a pool are read through a pointer")]

use std::sync::Arc;

use cudarc::driver::sys::{CUmemPool_attribute as Attribute, CUresult};
use cudarc::driver::{CudaContext, result};

use super::card::{Card, refused};
use crate::EngineError;
use crate::gpu::OnDevice;
use vramplan_planner::units::Bytes;
use vramplan_planner::units::to_u64;

impl OnDevice<Card> {
    /// The most that was ever used and reserved of the pool that this process allocates from; nothing
    /// where allocations do not go through one.
    ///
    /// # Errors
    /// Where the driver refuses.
    pub fn pool(&self) -> Result<Option<(Bytes, Bytes)>, EngineError> {
        let card = self.device();
        if !card.context().has_async_alloc() {
            return Ok(None);
        }
        let failed = |error| refused("reading the memory pool", error);
        // SAFETY: the device is that of a live context.
        let pool = unsafe { result::device::get_default_mem_pool(card.context().cu_device()) };
        let pool = pool.map_err(failed)?;
        let read = |attribute| {
            let mut value = 0_u64;
            // SAFETY: these attributes are 64-bit numbers, and the pool is the driver's own.
            unsafe { result::mem_pool::get_attribute(pool, attribute, (&raw mut value).cast()) }
                .map(|()| Bytes::new(value))
                .map_err(failed)
        };
        let used = read(Attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH)?;
        let reserved = read(Attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH)?;
        Ok(Some((used, reserved)))
    }

    /// Free and total memory of the GPU, whoever uses it.
    ///
    /// # Errors
    /// Where the driver refuses.
    pub fn memory_info(&self) -> Result<(Bytes, Bytes), EngineError> {
        let info = self.device().context().mem_get_info();
        let (free, total) = info.map_err(|error| refused("reading the GPU's memory", error))?;
        let bytes = |n: usize| Bytes::new(to_u64(n));
        Ok((bytes(free), bytes(total)))
    }
}

/// Memory that is only held. It is not from the pool, whose marks it leaves alone, and nobody has written
/// to it.
#[derive(Debug)]
pub struct Ballast {
    address: u64,
    context: Arc<CudaContext>,
}

impl OnDevice<Card> {
    /// Holds `bytes` of the GPU's memory.
    ///
    /// # Errors
    /// Where there are no more, [`EngineError::is_out_of_memory`].
    pub fn ballast(&self, bytes: usize) -> Result<Ballast, EngineError> {
        const WHAT: &str = "holding ballast on the GPU";
        let context = Arc::clone(self.device().context());
        context.bind_to_thread().map_err(|error| refused(WHAT, error))?;
        // SAFETY: the memory is never read.
        match unsafe { result::malloc_sync(bytes.max(1)) } {
            Ok(address) => Ok(Ballast { address, context }),
            Err(error) if error.0 == CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
                Err(EngineError::out_of_memory(WHAT, bytes))
            }
            Err(error) => Err(refused(WHAT, error)),
        }
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        // SAFETY: allocated by `ballast`, in this context, and freed once. A driver that is shutting down
        // has freed it already.
        let _ =
            self.context.bind_to_thread().and_then(|()| unsafe { result::free_sync(self.address) });
    }
}
