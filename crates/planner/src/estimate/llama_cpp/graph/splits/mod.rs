//! The compute buffers of every device where a graph runs on several: `ggml_backend_sched` in
//! `ggml-backend.cpp`, and ggml-alloc with a buffer for each backend.
//!
//! Operations follow their weights, large batches go to the GPU whose weights are in main memory, what is between
//! goes with its neighbours ([`assign`]). The graph is then cut where the device changes, and where it reads weights
//! from elsewhere; what a part reads from another device is copied before it runs ([`program`]). Every device
//! has a buffer of its own, in which copies are placed like results ([`place`]).
//!
//! Where all layers of several GPUs are on them, llama.cpp keeps inputs in copies for a pipeline: [`super::stage_buffer`] is
//! that for layers which follow each other. The states of a layer's recurrence are gathered before the layer before it is
//! done, so that stages with state-space layers change hands more than once: they are placed here.

mod assign;
mod place;
mod program;
mod repeat;

use super::alloc::Peak;
use super::builder::{Builder, family_of};
use super::selection::Selection;
use super::stage::PIPELINE_COPIES;
use super::tensors::{Note, Usage, WeightName};
use super::{ComputeBuffer, Gates, GraphParams, Stage};
use crate::spec::{Home, Layer, ModelShape, Placed};
use crate::units::{Bytes, Overflow};

/// Where a weight is, and what a copy of it takes on a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightAt {
    /// The device.
    pub home: Home,
    /// Bytes of a copy.
    pub copy: u64,
}

/// Finds a weight by layer, stem and ending; nothing where the model has none of that name.
pub type FindWeight<'a> = dyn Fn(Option<u64>, &str, &str) -> Option<WeightAt> + 'a;

/// What a graph runs on.
struct Backends<'a> {
    placed: &'a Placed,
    find: &'a FindWeight<'a>,
    /// The weights that each operation reads, found once: the one that it follows, and the one beside.
    read: Vec<[Option<WeightAt>; 2]>,
    /// Whether llama.cpp asks for a layer's device for its norms.
    places_norms: bool,
    flash: bool,
    /// Whether the types of the weights let a shared expert be computed with the chosen ones.
    joins: bool,
}

impl Backends<'_> {
    /// The backend of main memory: the last.
    const fn host(&self) -> usize {
        self.placed.gpus
    }

    const fn count(&self) -> usize {
        self.placed.gpus + 1
    }

    const fn of(&self, home: Home) -> usize {
        home.index(self.placed.gpus)
    }

    /// The weight that an operation follows.
    fn weight(&self, id: usize) -> Option<WeightAt> {
        self.read[id][0]
    }

    /// The weight that it reads without following it.
    fn beside(&self, id: usize) -> Option<WeightAt> {
        self.read[id][1]
    }
}

/// Rows from which on a GPU runs what main memory has weights for (`op_offload_min_batch_size` in
/// `ggml-cuda.cu`).
const OFFLOADED_ROWS: u64 = 32;

/// The compute buffers of every GPU, and of main memory behind them, for the graph of a micro-batch and that of one
/// token of every sequence: buffers only ever grow.
pub fn split_buffers(
    shape: &ModelShape,
    layers: &[Layer],
    params: &GraphParams,
    placed: &Placed,
    find: &FindWeight<'_>,
) -> Result<Vec<ComputeBuffer>, Overflow> {
    let step = GraphParams {
        rows: params.n_seq,
        n_outputs: params.n_seq.min(params.n_outputs.max(1)),
        ..*params
    };
    let mut buffers = graph_buffers(shape, layers, params, placed, find)?;
    for (buffer, other) in
        buffers.iter_mut().zip(graph_buffers(shape, layers, &step, placed, find)?)
    {
        if other.device > buffer.device {
            *buffer = other;
        }
    }
    Ok(buffers)
}

fn graph_buffers(
    shape: &ModelShape,
    layers: &[Layer],
    params: &GraphParams,
    placed: &Placed,
    find: &FindWeight<'_>,
) -> Result<Vec<ComputeBuffer>, Overflow> {
    let stage = Stage::all(shape);
    // Operations are moved after the graph was cut into parts.
    let joins = params.gates.shared_with_routed;
    let gates = Gates { shared_with_routed: false, ..params.gates };
    let params = &GraphParams { gates, ..*params };
    let family = family_of(shape, params);
    let mut peaks = Vec::new();
    for selection in repeat::selections(shape, layers, placed, |index| family.rotates(index)) {
        let asked = Asked { shape, layers, params, placed, find, joins };
        let (found, is_steady) = asked.place(&stage, &selection)?;
        peaks = found;
        if is_steady {
            break;
        }
    }
    Ok(peaks.into_iter().map(buffer).collect())
}

/// A graph, and what it runs on.
struct Asked<'a> {
    shape: &'a ModelShape,
    layers: &'a [Layer],
    params: &'a GraphParams,
    placed: &'a Placed,
    find: &'a FindWeight<'a>,
    joins: bool,
}

impl Asked<'_> {
    /// Places the layers of a selection; the buffers are the model's only if they are in the same state before and
    /// behind the layers that each gap is compared with.
    fn place(&self, stage: &Stage, selection: &Selection) -> Result<(Vec<Peak>, bool), Overflow> {
        let Self { shape, layers, params, placed, find, joins } = *self;
        let mut builder = Builder::new(shape, params, stage);
        let boundaries = builder.model(layers, selection);
        let graph = &builder.graph;
        if graph.overflowed {
            return Err(Overflow);
        }
        let places_norms = placed.is_full || params.rows < OFFLOADED_ROWS;
        let read = graph.notes.iter().map(|note| weights_read(note, find)).collect();
        let backends = Backends { placed, find, read, places_norms, flash: params.flash, joins };
        let assigned = assign::assign(graph, &backends, &builder.lookups);
        let program = program::program(graph, (&backends, &assigned), &boundaries);
        let copies = if placed.is_pipeline() { PIPELINE_COPIES } else { 1 };
        place::place(graph, (&program, &boundaries), (backends.count(), copies))
    }
}

/// Tables of frequencies belong to no layer, and every device has one: none has to be copied.
fn weights_read(note: &Note, find: &FindWeight<'_>) -> [Option<WeightAt>; 2] {
    let found = |name: WeightName| find(note.layer, name.stem, name.kind);
    [note.weight, note.beside].map(|name| name.and_then(found))
}

fn buffer(peak: Peak) -> ComputeBuffer {
    let alive = |usage: Usage| peak.alive[usage.index()];
    let [attention, logits, inputs] = [Usage::Attention, Usage::Logits, Usage::Input].map(alive);
    ComputeBuffer {
        device: Bytes::new(peak.size),
        attention_transients: Bytes::new(attention),
        activations: Bytes::new(peak.size - attention - logits - inputs),
        logits: Bytes::new(logits),
        small_buffers: Bytes::new(inputs),
        host: Bytes::ZERO,
    }
}

#[cfg(test)]
mod tests;
