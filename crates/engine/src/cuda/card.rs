//! A GPU as the backend sees it.

#![allow(unsafe_code, reason = "copies and launches are calls into code that Rust does not know")]

use std::fmt;
use std::sync::Arc;

use cudarc::driver::{
    CudaContext, CudaGraph, CudaSlice, CudaStream, DevicePtr as _, DriverError, result,
    sys::{self, CUstreamCaptureMode as Mode},
};

use super::matrix::{self, MatrixLimits};
use super::runner::{CudaError, Runner};
use crate::EngineError;
use crate::gpu::{Device, OnDevice, Product};
use crate::h2o::to_usize;
use crate::launch::{Gpu, Launch, Span, ops};
use vramplan_planner::units::to_u64;

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

/// Launches that were recorded on a GPU's stream.
pub struct Graph(CudaGraph);

// SAFETY: a graph may be used by any thread, one at a time: it is not `Sync`.
unsafe impl Send for Graph {}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Graph").finish_non_exhaustive()
    }
}

impl OnDevice<Card> {
    /// On the `ordinal`-th GPU, as CUDA counts them.
    ///
    /// # Errors
    /// Where there is no driver or no such GPU, or the driver is older than the kernels.
    pub fn new(ordinal: usize) -> Result<Self, EngineError> {
        Card::open(ordinal).map(Self::with)
    }

    /// Loads all of our kernels for heads of this size, which otherwise the first step does: what they
    /// hold of the GPU's memory is held before the weights are.
    ///
    /// # Errors
    /// Where the driver refuses: it is older than the kernels, or memory is short.
    pub fn load_kernels(&self, head_dim: usize) -> Result<(), EngineError> {
        let runner = self.device().runner();
        for op in ops(head_dim, runner.gpu()) {
            runner.module(op)?;
        }
        self.device().synchronize()
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
    type Graph = Graph;

    fn gpu(&self) -> Gpu {
        self.runner.gpu()
    }

    fn allocate(&self, bytes: usize) -> Result<Held, EngineError> {
        let memory = self.stream().alloc_zeros::<u8>(bytes.max(1)).map_err(|error| {
            if error.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
                return EngineError::out_of_memory("allocating on the GPU", bytes);
            }
            refused("allocating on the GPU", error)
        })?;
        let (address, order) = memory.device_ptr(self.stream());
        drop(order);
        let span = Span { address, bytes: to_u64(bytes) };
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

    fn record(&self) -> Result<(), EngineError> {
        let begun = self.stream().begin_capture(Mode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
        begun.map_err(|error| refused("recording a step", error))
    }

    fn recorded(&self) -> Result<Graph, EngineError> {
        const WHAT: &str = "recording a step";
        let ended = self.stream().end_capture(sys::CUgraphInstantiate_flags(0));
        let graph = ended.map_err(|error| refused(WHAT, error))?;
        graph.map(Graph).ok_or_else(|| EngineError::device(WHAT, "nothing was recorded"))
    }

    unsafe fn replay(&self, graph: &Graph) -> Result<(), EngineError> {
        graph.0.launch().map_err(|error| refused("replaying a step", error))
    }
}

fn length(span: Span) -> usize {
    to_usize(span.bytes)
}

/// Where no driver is, the functions that the program is linked with say so.
fn unopened(error: DriverError) -> EngineError {
    let message =
        format!("the CUDA driver says {:?}: expected an NVIDIA GPU with a driver", error.0);
    EngineError::device("opening a GPU", message)
}

pub(super) fn refused(what: &'static str, error: DriverError) -> EngineError {
    EngineError::device(what, format!("the CUDA driver says {:?}", error.0))
}

impl From<CudaError> for EngineError {
    fn from(error: CudaError) -> Self {
        match &error {
            CudaError::Driver { source, .. }
                if source.0 == sys::CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION =>
            {
                let message = "the driver is older than the kernels: expected one for CUDA 13";
                Self::device("loading a kernel", message)
            }
            _ => Self::device("running a kernel", error),
        }
    }
}
