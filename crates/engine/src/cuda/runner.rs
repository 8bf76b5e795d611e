//! Runs launches on a stream. Modules are loaded at their first use; the driver translates their PTX then,
//! and keeps the result in its cache on disk.

#![allow(unsafe_code, reason = "launching a kernel is a call into code that Rust does not know")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::{
    CudaFunction, CudaModule, CudaStream, DriverError, LaunchConfig, PushKernelArg as _, sys,
};
use cudarc::nvrtc::Ptx;

use crate::launch::{Gpu, Launch, Op, ptx};

/// Dynamic shared memory that a kernel has without asking, in bytes.
const SHARED_WITHOUT_ASKING: u32 = 48 << 10;

/// Why a launch failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CudaError {
    /// The GPU is older than the kernel.
    #[error("`{function}` does not run on compute capability {}.{}: expected a newer GPU", .gpu.0, .gpu.1)]
    TooOld {
        /// The kernel.
        function: &'static str,
        /// The GPU's compute capability.
        gpu: (u32, u32),
    },
    /// The driver refused.
    #[error("`{function}`: the CUDA driver says {source:?}")]
    Driver {
        /// The kernel.
        function: &'static str,
        /// What it said.
        source: DriverError,
    },
}

/// A stream of a GPU, and the kernels loaded there.
#[derive(Debug)]
pub struct Runner {
    stream: Arc<CudaStream>,
    gpu: Gpu,
    modules: Mutex<HashMap<Op, Arc<CudaModule>>>,
    functions: Mutex<HashMap<&'static str, HashMap<Op, CudaFunction>>>,
}

impl Runner {
    /// On this stream.
    ///
    /// # Errors
    /// Where the driver does not tell what the GPU is.
    pub fn new(stream: Arc<CudaStream>) -> Result<Self, CudaError> {
        let failed = |source| CudaError::Driver { function: "querying the GPU", source };
        let context = stream.context();
        let count = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
        let multiprocessors = context.attribute(count).map_err(failed)?.unsigned_abs();
        let (major, minor) = context.compute_capability().map_err(failed)?;
        let gpu = Gpu { multiprocessors, capability: (major.unsigned_abs(), minor.unsigned_abs()) };
        Ok(Self { stream, gpu, modules: Mutex::default(), functions: Mutex::default() })
    }

    /// What launches depend on of this GPU.
    pub const fn gpu(&self) -> Gpu {
        self.gpu
    }

    /// The stream.
    pub const fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    /// Queues a launch. Its first launch loads a kernel, which a stream that is being captured forbids.
    ///
    /// # Errors
    /// Where the GPU is too old for the kernel, or the driver refuses.
    ///
    /// # Safety
    /// Every span of the launch is alive on this GPU until the stream has run it, and no other stream
    /// uses it meanwhile.
    pub unsafe fn launch(&self, launch: &Launch) -> Result<(), CudaError> {
        let function = self.function(launch)?;
        let [x, y, z] = launch.grid;
        let config = LaunchConfig {
            grid_dim: (x, y, z),
            block_dim: (launch.block, 1, 1),
            shared_mem_bytes: launch.shared_bytes,
        };
        let mut builder = self.stream.launch_builder(&function);
        for address in launch.arguments.addresses() {
            // SAFETY: the address is of a word of `launch.arguments`, alive and aligned; the driver reads
            // as many bytes from there as the kernel's parameter has.
            builder.arg(unsafe { &*address });
        }
        // SAFETY: the grid and the arguments are what `crate::launch` made for this kernel; the
        // caller vouches for the memory.
        let launched = unsafe { builder.launch(config) };
        launched.map(|_| ()).map_err(|source| driver(launch, source))
    }

    /// The kernel, loaded.
    fn function(&self, launch: &Launch) -> Result<CudaFunction, CudaError> {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        let of_name = functions.entry(launch.function).or_default();
        if let Some(function) = of_name.get(&launch.op) {
            return Ok(function.clone());
        }
        let module = self.module(launch.op)?;
        let function =
            module.load_function(launch.function).map_err(|source| driver(launch, source))?;
        if launch.shared_bytes > SHARED_WITHOUT_ASKING {
            let most =
                sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            let bytes = launch.shared_bytes.cast_signed();
            function.set_attribute(most, bytes).map_err(|source| driver(launch, source))?;
        }
        of_name.insert(launch.op, function.clone());
        Ok(function)
    }

    /// Loads a kernel's module unless it is loaded, which takes memory of the GPU.
    ///
    /// # Errors
    /// Where the GPU is too old for it, or the driver refuses.
    pub fn module(&self, op: Op) -> Result<Arc<CudaModule>, CudaError> {
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = modules.get(&op) {
            return Ok(Arc::clone(module));
        }
        let (function, gpu) = (op.name, self.gpu.capability);
        let text = ptx(op, self.gpu).ok_or(CudaError::TooOld { function, gpu })?;
        let module = self.stream.context().load_module(Ptx::from_src(text));
        let module = module.map_err(|source| CudaError::Driver { function, source })?;
        modules.insert(op, Arc::clone(&module));
        Ok(module)
    }
}

fn driver(launch: &Launch, source: DriverError) -> CudaError {
    CudaError::Driver { function: launch.function, source }
}
