//! Graphs.

use std::ffi::{c_int, c_uint};

use super::current;
use crate::call::{Handle, In, Out, Unused, api, runtime};
use crate::core::{graphs, process, streams};
use crate::error::{Code, Result};

/// `cudaGraphNodeTypeKernel`.
const KERNEL_NODE: c_int = 0;

fn add(node: Out<Handle>, graph: Handle) -> Result {
    node.set(graphs::add_node(graph)?)
}

/// The nodes of a graph as `cudaGraphGetNodes` gives them: all, or as many as there is room for.
pub(crate) fn list(graph: Handle, out: Out<Handle>, count: Out<usize>) -> Result {
    let nodes = graphs::nodes(graph)?;
    if !out.is_null() {
        for (at, node) in nodes.iter().take(count.get()?).enumerate() {
            out.nth(at).set(*node)?;
        }
    }
    count.set(nodes.len())
}

api! { runtime;
    fn cudaGraphCreate(graph: Out<Handle>, flags: c_uint) { graph.set(graphs::create()) }
    fn cudaGraphDestroy(graph: Handle) { graphs::destroy(graph) }
    fn cudaGraphClone(clone: Out<Handle>, graph: Handle) { clone.set(graphs::copy(graph)?) }
    // Five parameters in CUDA 11, three since: the first two are the same.
    fn cudaGraphInstantiate(executable: Out<Handle>, graph: Handle, flags: u64) {
        executable.set(graphs::copy(graph)?)
    }
    fn cudaGraphInstantiateWithFlags(executable: Out<Handle>, graph: Handle, flags: u64) {
        executable.set(graphs::copy(graph)?)
    }
    fn cudaGraphInstantiateWithParams(executable: Out<Handle>, graph: Handle, params: Unused) {
        executable.set(graphs::copy(graph)?)
    }
    fn cudaGraphExecDestroy(executable: Handle) { graphs::destroy(executable) }
    // The third is a node in CUDA 11, `cudaGraphExecUpdateResultInfo` since: 0 is success in both.
    fn cudaGraphExecUpdate(executable: Handle, graph: Handle, result: Out<c_int>) {
        graphs::nodes(graph)?;
        result.maybe(0);
        Ok(())
    }
    fn cudaGraphUpload(executable: Handle, stream: Handle) { graphs::nodes(executable).map(|_| ()) }
    fn cudaGraphLaunch(executable: Handle, stream: Handle) {
        graphs::nodes(executable)?;
        streams::get(stream, current()?)?;
        process::note_launch();
        Ok(())
    }
    fn cudaGraphGetNodes(graph: Handle, nodes: Out<Handle>, count: Out<usize>) {
        list(graph, nodes, count)
    }
    fn cudaGraphGetRootNodes(graph: Handle, nodes: Out<Handle>, count: Out<usize>) {
        let first = graphs::nodes(graph)?.first().copied();
        if let (Some(node), false) = (first, nodes.is_null()) {
            nodes.set(node)?;
        }
        count.set(usize::from(first.is_some()))
    }
    fn cudaGraphNodeGetType(node: Handle, kind: Out<c_int>) { kind.set(KERNEL_NODE) }
    // Nodes form a chain of which no edge is remembered; CUDA 13's has one more parameter.
    fn cudaGraphNodeGetDependencies(node: Handle, nodes: Out<Handle>, third: Out<usize>, fourth: Out<usize>) {
        let count = if crate::machine::runtime_major() >= 13 { fourth } else { third };
        count.set(0)
    }
    fn cudaGraphAddKernelNode(node: Out<Handle>, graph: Handle, deps: Unused, n: usize, params: Unused) {
        add(node, graph)
    }
    fn cudaGraphAddMemcpyNode(node: Out<Handle>, graph: Handle, deps: Unused, n: usize, params: Unused) {
        add(node, graph)
    }
    fn cudaGraphAddMemsetNode(node: Out<Handle>, graph: Handle, deps: Unused, n: usize, params: Unused) {
        add(node, graph)
    }
    fn cudaGraphAddHostNode(node: Out<Handle>, graph: Handle, deps: Unused, n: usize, params: Unused) {
        add(node, graph)
    }
    fn cudaGraphAddEmptyNode(node: Out<Handle>, graph: Handle, deps: Unused, n: usize) {
        add(node, graph)
    }
    fn cudaGraphAddChildGraphNode(node: Out<Handle>, graph: Handle, deps: Unused, n: usize, child: Handle) {
        add(node, graph)
    }
    fn cudaGraphAddNode(node: Out<Handle>, graph: Handle, deps: Unused, n: usize, params: Unused) {
        add(node, graph)
    }
    fn cudaGraphConditionalHandleCreate(handle: Out<u64>, graph: Handle, value: c_uint, flags: c_uint) {
        handle.set(crate::core::fresh_handle() as u64)
    }
    fn cudaUserObjectCreate(object: Out<Handle>, at: Unused, destroy: Unused, count: c_uint, flags: c_uint) {
        object.set(crate::core::fresh_handle())
    }
    fn cudaGraphRetainUserObject(graph: Handle, object: Handle, count: c_uint, flags: c_uint) {
        // Kept alive with the graph: nothing here uses it, so nothing ends it early.
        Ok(())
    }
    fn cudaUserObjectRelease(object: Handle, count: c_uint) { Ok(()) }
    fn cudaGraphKernelNodeGetParams(node: Handle, params: Out<[u64; 8]>) { Err(Code::NOT_SUPPORTED) }
    fn cudaGraphDebugDotPrint(graph: Handle, path: In<u8>, flags: c_uint) { Ok(()) }
}
