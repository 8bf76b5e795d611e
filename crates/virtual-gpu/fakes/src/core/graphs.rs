//! Graphs: how many nodes they have, and how often they are launched.

use std::collections::BTreeMap;

use super::{fresh_handle, world};
use crate::error::{Code, Result};

/// A graph, or an executable one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Graph {
    nodes: Vec<usize>,
}

impl Graph {
    pub(crate) fn add_node(&mut self) -> usize {
        let node = fresh_handle();
        self.nodes.push(node);
        node
    }

    pub(crate) fn last(&self) -> Option<usize> {
        self.nodes.last().copied()
    }
}

/// The graphs of this process.
#[derive(Default)]
pub(crate) struct Graphs {
    graphs: BTreeMap<usize, Graph>,
}

impl Graphs {
    pub(crate) fn create(&mut self) -> usize {
        let handle = fresh_handle();
        self.graphs.insert(handle, Graph::default());
        handle
    }

    pub(crate) fn get_mut(&mut self, handle: usize) -> Option<&mut Graph> {
        self.graphs.get_mut(&handle)
    }
}

pub(crate) fn create() -> usize {
    world().graphs.create()
}

/// Copies a graph, to be executed or changed.
pub(crate) fn copy(handle: usize) -> Result<usize> {
    let mut world = world();
    let graph = world.graphs.graphs.get(&handle).cloned().ok_or(Code::INVALID_HANDLE)?;
    let copy = fresh_handle();
    world.graphs.graphs.insert(copy, graph);
    Ok(copy)
}

pub(crate) fn destroy(handle: usize) -> Result {
    world().graphs.graphs.remove(&handle).map(|_| ()).ok_or(Code::INVALID_HANDLE)
}

pub(crate) fn add_node(handle: usize) -> Result<usize> {
    world().graphs.get_mut(handle).map(Graph::add_node).ok_or(Code::INVALID_HANDLE)
}

pub(crate) fn nodes(handle: usize) -> Result<Vec<usize>> {
    let world = world();
    world.graphs.graphs.get(&handle).map(|graph| graph.nodes.clone()).ok_or(Code::INVALID_HANDLE)
}
