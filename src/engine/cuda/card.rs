//! A GPU as the backend sees it.

#![allow(unsafe_code, reason = "copies and launches are calls into code that Rust does not know")]

use std::sync::Arc;

use candle_core::cuda_backend::cudarc::driver::{
    CudaContext, CudaSlice, CudaStream, DevicePtr as _, DriverError, result, sys,
};

use super::matrix::{self, MatrixLimits};
use super::runner::{CudaError, Runner};
use crate::engine::EngineError;
use crate::engine::gpu::{Device, OnDevice, Product};
use crate::kernels::{Gpu, Launch, Span};
use crate::units::Bytes;

/// An NVIDIA GPU, with a stream of its own.
#[derive(Clone, Debug)]
pub struct Card {
    runner: Arc<Runner>,
    limits: MatrixLimits,
}

/// Memory of a GPU.
#[derive(Debug)]
pub struct Held {
    // Released in the order of the stream when it is dropped.
    _memory: CudaSlice<u8>,
    span: Span,
}

impl OnDevice<Card> {
    /// On the `ordinal`-th GPU, as CUDA counts them.
    ///
    /// # Errors
    /// Where there is no driver or no such GPU, or the driver is older than the kernels.
    pub fn new(ordinal: usize) -> Result<Self, EngineError> {
        Card::open(ordinal).map(Self::with)
    }
}

impl Card {
    fn open(ordinal: usize) -> Result<Self, EngineError> {
        let found = CudaContext::device_count().map_err(unopened)?;
        let found = usize::try_from(found).unwrap_or(0);
        if ordinal >= found {
            let message = format!("there is no GPU {ordinal}: expected one of {found}");
            return Err(EngineError::device("opening a GPU", message));
        }
        let context = CudaContext::new(ordinal).map_err(unopened)?;
        // SAFETY: everything of this context that is ours runs on one stream, in order.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().map_err(unopened)?;
        let runner = Runner::new(stream)?;
        let limits = MatrixLimits::of(&runner)?;
        Ok(Self { runner: Arc::new(runner), limits })
    }

    /// What runs its launches.
    pub fn runner(&self) -> &Runner {
        &self.runner
    }

    pub(super) fn stream(&self) -> &Arc<CudaStream> {
        self.runner.stream()
    }

    pub(super) fn context(&self) -> &Arc<CudaContext> {
        self.stream().context()
    }

    /// Waits until everything queued has run.
    ///
    /// # Errors
    /// Where something queued failed.
    pub fn synchronize(&self) -> Result<(), EngineError> {
        self.stream().synchronize().map_err(|error| refused("waiting for the GPU", error))
    }

    /// Has this thread call the driver for this GPU.
    fn bind(&self) -> Result<sys::CUstream, EngineError> {
        let bound = self.context().bind_to_thread();
        bound.map_err(|error| refused("choosing the GPU", error))?;
        Ok(self.stream().cu_stream())
    }
}

impl Device for Card {
    type Buffer = Held;

    fn gpu(&self) -> Gpu {
        self.runner.gpu()
    }

    fn allocate(&self, bytes: usize) -> Result<Held, EngineError> {
        let memory = self.stream().alloc_zeros::<u8>(bytes.max(1)).map_err(|error| {
            let size = Bytes::new(u64::try_from(bytes).unwrap_or(u64::MAX));
            if error.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
                return EngineError::OutOfMemory { what: format!("{size:#} on the GPU") };
            }
            refused("allocating on the GPU", error)
        })?;
        let (address, order) = memory.device_ptr(self.stream());
        drop(order);
        let span = Span { address, bytes: u64::try_from(bytes).unwrap_or(u64::MAX) };
        Ok(Held { _memory: memory, span })
    }

    fn span(&self, buffer: &Held) -> Span {
        buffer.span
    }

    unsafe fn upload(&self, to: Span, bytes: &[u8]) -> Result<(), EngineError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let stream = self.bind()?;
        // SAFETY: the caller vouches for the span. The driver has copied pageable memory when it returns.
        let copied = unsafe { result::memcpy_htod_async(to.address, bytes, stream) };
        copied.map_err(|error| refused("copying to the GPU", error))
    }

    unsafe fn download(&self, from: Span, into: &mut [u8]) -> Result<(), EngineError> {
        if !into.is_empty() {
            let stream = self.bind()?;
            // SAFETY: the caller vouches for the span; `into` lives until the stream was waited for.
            let copied = unsafe { result::memcpy_dtoh_async(into, from.address, stream) };
            copied.map_err(|error| refused("copying from the GPU", error))?;
        }
        self.synchronize()
    }

    unsafe fn fill(&self, span: Span, byte: u8) -> Result<(), EngineError> {
        if span.bytes == 0 {
            return Ok(());
        }
        let stream = self.bind()?;
        // SAFETY: the caller vouches for the span.
        let filled = unsafe { result::memset_d8_async(span.address, byte, length(span), stream) };
        filled.map_err(|error| refused("writing to the GPU", error))
    }

    unsafe fn copy(&self, from: Span, to: Span) -> Result<(), EngineError> {
        let stream = self.bind()?;
        // SAFETY: the caller vouches for both spans.
        let copied =
            unsafe { result::memcpy_dtod_async(to.address, from.address, length(from), stream) };
        copied.map_err(|error| refused("copying on the GPU", error))
    }

    unsafe fn launch(&self, launch: &Launch) -> Result<(), EngineError> {
        self.bind()?;
        // SAFETY: the caller vouches for the spans; one stream uses them.
        Ok(unsafe { self.runner.launch(launch) }?)
    }

    unsafe fn multiply(&self, product: &Product) -> Result<(), EngineError> {
        let stream = self.bind()?;
        // SAFETY: the caller vouches for the spans; the context is bound and the stream alive.
        unsafe { matrix::multiply(product, &self.limits, stream) }
    }
}

fn length(span: Span) -> usize {
    usize::try_from(span.bytes).unwrap_or(usize::MAX)
}

/// Where no driver is, the functions that the program is linked with say so.
fn unopened(error: DriverError) -> EngineError {
    let message = format!("the CUDA driver says {:?}: expected an NVIDIA GPU with a driver", error.0);
    EngineError::device("opening a GPU", message)
}

pub(super) fn refused(what: &'static str, error: DriverError) -> EngineError {
    if error.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
        return EngineError::OutOfMemory { what: what.to_owned() };
    }
    EngineError::device(what, format!("the CUDA driver says {:?}", error.0))
}

impl From<CudaError> for EngineError {
    fn from(error: CudaError) -> Self {
        match &error {
            CudaError::Driver { source, function }
                if source.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY =>
            {
                Self::OutOfMemory { what: format!("`{function}`") }
            }
            _ => Self::device("running a kernel", error),
        }
    }
}
