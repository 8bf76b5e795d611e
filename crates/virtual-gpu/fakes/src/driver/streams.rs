//! Streams, events, capture, graphs.

use std::ffi::{c_int, c_uint, c_void};

use crate::call::{Handle, Out, Unused, api, driver};
use crate::core::{context, graphs, pools, process, streams};
use crate::error::{Code, Result};
use crate::runtime::current;
use crate::runtime::graphs::list;
use crate::runtime::streams::{CaptureOut, capture_info};

type HostFunction = extern "C" fn(*mut c_void);

fn new_stream(out: Out<Handle>, flags: c_uint, priority: c_int) -> Result {
    let card = current()?;
    context::ensure(card)?;
    out.set(streams::create(card, flags, priority))
}

api! { driver;
    fn cuStreamCreate(out: Out<Handle>, flags: c_uint) { new_stream(out, flags, 0) }
    fn cuStreamCreateWithPriority(out: Out<Handle>, flags: c_uint, priority: c_int) {
        new_stream(out, flags, priority)
    }
    fn cuStreamDestroy_v2(stream: Handle) { streams::destroy(stream) }
    fn cuStreamSynchronize(stream: Handle) { streams::synchronize(stream, current()?) }
    fn cuStreamQuery(stream: Handle) { streams::get(stream, current()?).map(|_| ()) }
    fn cuStreamGetPriority(stream: Handle, out: Out<c_int>) {
        out.set(streams::get(stream, current()?)?.priority)
    }
    fn cuStreamGetFlags(stream: Handle, out: Out<c_uint>) { out.set(streams::get(stream, current()?)?.flags) }
    fn cuStreamGetId(stream: Handle, out: Out<u64>) { out.set(streams::get(stream, current()?)?.id as u64) }
    fn cuStreamGetCtx(stream: Handle, out: Out<Handle>) {
        out.set(context::primary(streams::get(stream, current()?)?.card))
    }
    fn cuStreamGetCtx_v2(stream: Handle, out: Out<Handle>, green: Out<Handle>) {
        green.maybe(0);
        out.set(context::primary(streams::get(stream, current()?)?.card))
    }
    fn cuStreamGetDevice(stream: Handle, out: Out<c_int>) {
        out.set(crate::machine::device_of(streams::get(stream, current()?)?.card))
    }
    fn cuStreamWaitEvent(stream: Handle, event: Handle, flags: c_uint) {
        streams::wait(stream, event, current()?)
    }
    fn cuStreamBeginCapture_v2(stream: Handle, mode: c_int) {
        streams::begin_capture(stream, current()?, None)
    }
    fn cuStreamEndCapture(stream: Handle, graph: Out<Handle>) {
        graph.set(streams::end_capture(stream, current()?)?)
    }
    fn cuStreamIsCapturing(stream: Handle, status: Out<c_int>) {
        let capture = streams::get(stream, current()?)?.capture;
        status.set(c_int::from(capture.is_some()))
    }
    fn cuStreamGetCaptureInfo(stream: Handle, status: Out<c_int>, id: Out<u64>) {
        let (graph, dependencies, count) = (None, None, None);
        capture_info(stream, current()?, &CaptureOut { status, id, graph, dependencies, count })
    }
    fn cuStreamGetCaptureInfo_v2(
        stream: Handle, status: Out<c_int>, id: Out<u64>, graph: Out<Handle>,
        dependencies: Out<Unused>, count: Out<usize>,
    ) {
        let (graph, dependencies, count) = (Some(graph), Some(dependencies), Some(count));
        capture_info(stream, current()?, &CaptureOut { status, id, graph, dependencies, count })
    }
    fn cuStreamGetCaptureInfo_v3(
        stream: Handle, status: Out<c_int>, id: Out<u64>, graph: Out<Handle>,
        dependencies: Out<Unused>, edges: Out<usize>, count: Out<usize>,
    ) {
        edges.maybe(0);
        let (graph, dependencies, count) = (Some(graph), Some(dependencies), Some(count));
        capture_info(stream, current()?, &CaptureOut { status, id, graph, dependencies, count })
    }
    fn cuThreadExchangeStreamCaptureMode(mode: Out<c_int>) { mode.set(0) }
    fn cuLaunchHostFunc(stream: Handle, function: Option<HostFunction>, data: *mut c_void) {
        let function = function.ok_or(Code::INVALID_VALUE)?;
        if !streams::note_work(stream, current()?)? {
            function(data);
        }
        Ok(())
    }
    fn cuEventCreate(out: Out<Handle>, flags: c_uint) { out.set(streams::create_event()) }
    fn cuEventDestroy_v2(event: Handle) { streams::destroy_event(event) }
    fn cuEventRecord(event: Handle, stream: Handle) { streams::record(event, stream, current()?) }
    fn cuEventRecordWithFlags(event: Handle, stream: Handle, flags: c_uint) {
        streams::record(event, stream, current()?)
    }
    fn cuEventQuery(event: Handle) { streams::has_event(event) }
    fn cuEventSynchronize(event: Handle) {
        streams::has_event(event)?;
        pools::settle();
        Ok(())
    }
    fn cuEventElapsedTime(ms: Out<f32>, start: Handle, end: Handle) { ms.set(streams::elapsed(start, end)?) }
    fn cuEventElapsedTime_v2(ms: Out<f32>, start: Handle, end: Handle) { ms.set(streams::elapsed(start, end)?) }

    fn cuGraphCreate(graph: Out<Handle>, flags: c_uint) { graph.set(graphs::create()) }
    fn cuGraphDestroy(graph: Handle) { graphs::destroy(graph) }
    fn cuGraphInstantiateWithFlags(out: Out<Handle>, graph: Handle, flags: u64) {
        out.set(graphs::copy(graph)?)
    }
    fn cuGraphInstantiate_v2(out: Out<Handle>, graph: Handle, node: Unused, log: Unused, bytes: usize) {
        out.set(graphs::copy(graph)?)
    }
    fn cuGraphExecDestroy(graph: Handle) { graphs::destroy(graph) }
    fn cuGraphExecUpdate_v2(executable: Handle, graph: Handle, result: Out<c_int>) {
        result.maybe(0);
        Ok(())
    }
    fn cuGraphLaunch(graph: Handle, stream: Handle) {
        graphs::nodes(graph)?;
        process::note_launch();
        Ok(())
    }
    fn cuGraphGetNodes(graph: Handle, nodes: Out<Handle>, count: Out<usize>) { list(graph, nodes, count) }
}
