//! Streams, events, capture.

use std::ffi::{c_int, c_uint, c_void};

use super::current;
use crate::call::{Handle, Out, Unused, api, runtime};
use crate::core::{context, streams};
use crate::error::{Code, Result};
use crate::machine::{device_of, runtime_major};

/// `cudaStreamCaptureStatusActive`.
const ACTIVE: c_int = 1;

type HostFunction = extern "C" fn(*mut c_void);
type Callback = extern "C" fn(Handle, c_int, *mut c_void);

fn new_stream(out: Out<Handle>, flags: c_uint, priority: c_int) -> Result {
    let card = current()?;
    context::enter(card)?;
    out.set(streams::create(card, flags, priority))
}

fn new_event(out: Out<Handle>) -> Result {
    context::enter(current()?)?;
    out.set(streams::create_event())
}

/// The results of `cudaStreamGetCaptureInfo` in its different forms.
pub(crate) struct CaptureOut {
    pub(crate) status: Out<c_int>,
    pub(crate) id: Out<u64>,
    pub(crate) graph: Option<Out<Handle>>,
    pub(crate) dependencies: Option<Out<Unused>>,
    pub(crate) count: Option<Out<usize>>,
}

pub(crate) fn capture_info(stream: Handle, card: usize, out: &CaptureOut) -> Result {
    let info = streams::capture_of(stream, card)?;
    out.status.set(if info.is_some() { ACTIVE } else { 0 })?;
    let Some(info) = info else { return Ok(()) };
    out.id.maybe(info.id as u64);
    if let Some(graph) = out.graph {
        graph.maybe(info.graph);
    }
    if let Some(count) = out.count {
        count.maybe(usize::from(info.last_node.is_some()));
    }
    if let Some(dependencies) = out.dependencies {
        dependencies.maybe(one_node(info.last_node));
    }
    Ok(())
}

/// The last node of a capture, where a program may look for it until its next call.
fn one_node(node: Option<usize>) -> Unused {
    thread_local! {
        static NODE: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }
    NODE.with(|cell| {
        cell.set(node.unwrap_or(0));
        cell.as_ptr().cast_const().cast()
    })
}

api! { runtime;
    fn cudaStreamCreate(out: Out<Handle>) { new_stream(out, 0, 0) }
    fn cudaStreamCreateWithFlags(out: Out<Handle>, flags: c_uint) { new_stream(out, flags, 0) }
    fn cudaStreamCreateWithPriority(out: Out<Handle>, flags: c_uint, priority: c_int) {
        new_stream(out, flags, priority)
    }
    fn cudaStreamDestroy(stream: Handle) { streams::destroy(stream) }
    fn cudaStreamSynchronize(stream: Handle) { streams::synchronize(stream, current()?) }
    fn cudaStreamQuery(stream: Handle) { streams::get(stream, current()?).map(|_| ()) }
    fn cudaStreamGetPriority(stream: Handle, out: Out<c_int>) {
        out.set(streams::get(stream, current()?)?.priority)
    }
    fn cudaStreamGetFlags(stream: Handle, out: Out<c_uint>) {
        out.set(streams::get(stream, current()?)?.flags)
    }
    fn cudaStreamGetId(stream: Handle, out: Out<u64>) {
        out.set(streams::get(stream, current()?)?.id as u64)
    }
    fn cudaStreamGetDevice(stream: Handle, out: Out<c_int>) {
        out.set(device_of(streams::get(stream, current()?)?.card))
    }
    fn cudaStreamCopyAttributes(to: Handle, from: Handle) { Ok(()) }
    fn cudaStreamGetAttribute(stream: Handle, attribute: c_int, value: Out<[u64; 8]>) { value.set([0; 8]) }
    fn cudaStreamSetAttribute(stream: Handle, attribute: c_int, value: Unused) { Ok(()) }
    fn cudaCtxResetPersistingL2Cache() { Ok(()) }
    fn cudaStreamAttachMemAsync(stream: Handle, at: Unused, bytes: usize, flags: c_uint) { Ok(()) }
    fn cudaStreamWaitEvent(stream: Handle, event: Handle, flags: c_uint) {
        streams::wait(stream, event, current()?)
    }
    fn cudaStreamBeginCapture(stream: Handle, mode: c_int) {
        streams::begin_capture(stream, current()?, None)
    }
    fn cudaStreamBeginCaptureToGraph(
        stream: Handle, graph: Handle, dependencies: Unused, edges: Unused, count: usize, mode: c_int,
    ) { streams::begin_capture(stream, current()?, Some(graph)) }
    fn cudaStreamEndCapture(stream: Handle, graph: Out<Handle>) {
        graph.set(streams::end_capture(stream, current()?)?)
    }
    fn cudaStreamIsCapturing(stream: Handle, status: Out<c_int>) {
        let capture = streams::get(stream, current()?)?.capture;
        status.set(if capture.is_some() { ACTIVE } else { 0 })
    }
    // Three parameters in CUDA 11, six in 12, seven in 13.
    fn cudaStreamGetCaptureInfo(
        stream: Handle, status: Out<c_int>, id: Out<u64>, graph: Out<Handle>,
        dependencies: Out<Unused>, fifth: Out<usize>, sixth: Out<usize>,
    ) {
        let major = runtime_major();
        let long = major >= 12;
        let count = if major >= 13 { sixth } else { fifth };
        if major >= 13 {
            fifth.maybe(0); // edges
        }
        let graph = long.then_some(graph);
        let dependencies = long.then_some(dependencies);
        let count = long.then_some(count);
        capture_info(stream, current()?, &CaptureOut { status, id, graph, dependencies, count })
    }
    fn cudaStreamGetCaptureInfo_v2(
        stream: Handle, status: Out<c_int>, id: Out<u64>, graph: Out<Handle>,
        dependencies: Out<Unused>, count: Out<usize>,
    ) {
        let (graph, dependencies, count) = (Some(graph), Some(dependencies), Some(count));
        capture_info(stream, current()?, &CaptureOut { status, id, graph, dependencies, count })
    }
    fn cudaStreamGetCaptureInfo_v3(
        stream: Handle, status: Out<c_int>, id: Out<u64>, graph: Out<Handle>,
        dependencies: Out<Unused>, edges: Out<usize>, count: Out<usize>,
    ) {
        edges.maybe(0);
        let (graph, dependencies, count) = (Some(graph), Some(dependencies), Some(count));
        capture_info(stream, current()?, &CaptureOut { status, id, graph, dependencies, count })
    }
    fn cudaStreamUpdateCaptureDependencies(stream: Handle, nodes: Unused, count: usize, flags: c_uint) {
        Ok(())
    }
    fn cudaThreadExchangeStreamCaptureMode(mode: Out<c_int>) { mode.set(0) }
    fn cudaLaunchHostFunc(stream: Handle, function: Option<HostFunction>, data: *mut c_void) {
        let function = function.ok_or(Code::INVALID_VALUE)?;
        if !streams::note_work(stream, current()?)? {
            function(data);
        }
        Ok(())
    }
    fn cudaStreamAddCallback(
        stream: Handle, function: Option<Callback>, data: *mut c_void, flags: c_uint,
    ) {
        let function = function.ok_or(Code::INVALID_VALUE)?;
        streams::get(stream, current()?)?;
        function(stream, 0, data);
        Ok(())
    }

    fn cudaEventCreate(out: Out<Handle>) { new_event(out) }
    fn cudaEventCreateWithFlags(out: Out<Handle>, flags: c_uint) { new_event(out) }
    fn cudaEventDestroy(event: Handle) { streams::destroy_event(event) }
    fn cudaEventRecord(event: Handle, stream: Handle) { streams::record(event, stream, current()?) }
    fn cudaEventRecordWithFlags(event: Handle, stream: Handle, flags: c_uint) {
        streams::record(event, stream, current()?)
    }
    fn cudaEventQuery(event: Handle) { streams::has_event(event) }
    fn cudaEventSynchronize(event: Handle) {
        streams::has_event(event)?;
        crate::core::pools::settle();
        Ok(())
    }
    fn cudaEventElapsedTime(ms: Out<f32>, start: Handle, end: Handle) {
        ms.set(streams::elapsed(start, end)?)
    }
    fn cudaEventElapsedTime_v2(ms: Out<f32>, start: Handle, end: Handle) {
        ms.set(streams::elapsed(start, end)?)
    }
    fn cudaIpcGetEventHandle(handle: Out<[u64; 8]>, event: Handle) { handle.set([0; 8]) }
    fn cudaIpcOpenEventHandle(event: Out<Handle>, handle: super::memory::IpcHandle) { event.set(streams::create_event()) }
}
