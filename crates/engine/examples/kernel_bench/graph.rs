//! Timing launches as one CUDA graph.

#![allow(unsafe_code, reason = "launches take addresses")]

use anyhow::{Context as _, Result};
use candle_core::cuda_backend::cudarc::driver::sys::{
    CUevent_flags, CUgraphInstantiate_flags, CUstreamCaptureMode,
};
use vramplan_engine::cuda::Cuda;
use vramplan_engine::gpu::Device as _;
use vramplan_engine::launch::{Launch, Span};

/// Microseconds of each replay, in ascending order.
#[derive(Debug)]
pub struct Times(Vec<f64>);

impl Times {
    pub fn median(&self) -> f64 {
        self.0[self.0.len() / 2]
    }

    pub fn least(&self) -> f64 {
        self.0[0]
    }

    pub fn most(&self) -> f64 {
        self.0[self.0.len() - 1]
    }
}

/// Replays before any is timed: clocks rise, modules are loaded.
const WARM: usize = 3;

/// Times `launches`, all of them in order.
pub fn time(cuda: &Cuda, launches: &[Launch], replays: usize) -> Result<Times> {
    let device = cuda.device();
    let run = || -> Result<()> {
        // SAFETY: the spans lie in buffers of the cache, which outlives its launches.
        Ok(launches.iter().try_for_each(|launch| unsafe { device.launch(launch) })?)
    };
    run()?;
    device.synchronize()?;
    let stream = device.runner().stream();
    stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)?;
    let queued = run();
    let graph = stream.end_capture(CUgraphInstantiate_flags(0))?.context("nothing was captured")?;
    queued?;
    graph.upload()?;
    replay(cuda, replays, || Ok(graph.launch()?))
}

/// Times copying a span to another: bytes read and written are twice its size.
pub fn time_copy(cuda: &Cuda, from: Span, to: Span, replays: usize) -> Result<Times> {
    // SAFETY: both spans are of buffers that the caller keeps, of one length.
    replay(cuda, replays, || Ok(unsafe { cuda.device().copy(from, to) }?))
}

fn replay(cuda: &Cuda, replays: usize, mut run: impl FnMut() -> Result<()>) -> Result<Times> {
    let stream = cuda.device().runner().stream();
    let mut all = Vec::new();
    for index in 0..WARM + replays.max(1) {
        let before = stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT))?;
        run()?;
        let after = stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT))?;
        let elapsed = f64::from(before.elapsed_ms(&after)?) * 1e3;
        if index >= WARM {
            all.push(elapsed);
        }
    }
    all.sort_by(f64::total_cmp);
    Ok(Times(all))
}
