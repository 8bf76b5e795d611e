//! What every layer of a micro-batch shares: shape, parameters, inputs.

use super::tensors::{Graph, Usage, Value, cube, matrix};
use super::{GraphParams, Stage};
use crate::dtype::KvFormat;
use crate::spec::ModelShape;
use crate::spec::families::{Family, RopeLayers};

/// Head sizes up to which keys are rotated in one block (`llama_kv_cache::build_input_k_rot`).
const ROTATIONS: [u64; 8] = [8192, 4096, 2048, 1024, 512, 256, 128, 64];

/// A Hadamard rotation: the input that holds it, and its order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rotation {
    pub(super) matrix: Value,
    pub(super) order: u64,
}

/// The inputs that belong to one KV cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct CacheInputs {
    /// Cells of a stream.
    pub(super) cells: u64,
    /// The rows of the cache that keys go to; nothing in builds that copy.
    pub(super) k_rows: Option<Value>,
    /// The rows, or elements, of the cache that values go to; nothing where keys hold them.
    pub(super) v_rows: Option<Value>,
    pub(super) mask: Value,
    pub(super) k_rotation: Option<Rotation>,
    pub(super) v_rotation: Option<Rotation>,
}

/// Builds the graph of one micro-batch.
#[derive(Debug)]
pub(super) struct Builder<'a> {
    pub(super) shape: &'a ModelShape,
    pub(super) params: &'a GraphParams,
    pub(super) stage: &'a Stage,
    pub(super) graph: Graph,
    pub(super) positions: Value,
    pub(super) full: CacheInputs,
    pub(super) windowed: Option<CacheInputs>,
    /// Which recurrent state each sequence continues.
    pub(super) states: Option<Value>,
    pub(super) output_rows: Value,
    /// What the first layer of the stage reads: embeddings, or the hidden state of the layer before.
    pub(super) embeddings: Value,
    /// The same where it was divided by its length already.
    normed: Option<Value>,
    /// Bytes of the inputs on the host.
    pub(super) host: u64,
}

impl<'a> Builder<'a> {
    /// The inputs, in llama.cpp's order.
    pub(super) fn new(shape: &'a ModelShape, params: &'a GraphParams, stage: &'a Stage) -> Self {
        let graph = Graph::with_capacity(2048);
        let mut inputs = Inputs { graph, host: 0, is_first: stage.is_first() };
        let rows = params.rows;
        // Token ids and, where embeddings are given instead, those: the input has room for both.
        inputs.add(rows, 4);
        if params.version.has_embedding_input() {
            inputs.add(rows.saturating_mul(embedding_width(shape)), 4);
        }
        let is_head_alone = stage.layers.is_empty();
        let first_rows = if is_head_alone { params.n_outputs } else { rows };
        let embeddings = inputs.embeddings(shape.hidden_size, first_rows);
        // The norm before the head has no layer, so that it is computed where its input is.
        let normed = is_head_alone.then_some(embeddings);
        let rope = shape.architecture.family().rope;
        let sections = match rope.layers {
            RopeLayers::None => 0,
            _ if rope.sections => 4,
            _ => 1,
        };
        let positions = inputs.add(rows.saturating_mul(sections), 4);
        let head_dim = |windowed| head_dim_of(shape, windowed);
        let full = inputs.cache(shape, params, params.cells, head_dim(false));
        let windowed =
            params.window_cells.map(|cells| inputs.cache(shape, params, cells, head_dim(true)));
        let has_states = shape.recurrent.is_some() || shape.ssm.is_some();
        let states = has_states.then(|| inputs.add(params.n_seq, 4));
        let output_rows = inputs.add(params.n_outputs, 4);
        let Inputs { graph, host, .. } = inputs;
        Self {
            shape,
            params,
            stage,
            graph,
            positions,
            full,
            windowed,
            states,
            output_rows,
            embeddings,
            normed,
            host,
        }
    }

    /// RMS norm with a weight, or `LayerNorm` with weight and perhaps bias.
    pub(super) fn norm(&mut self, x: Value) -> Value {
        let layer_norm = self.family().norms.subtract_mean;
        let normed = match self.normed.take() {
            Some(normed) => normed,
            None if layer_norm => self.graph.fresh(&[x], x.dims),
            None => self.graph.map(x),
        };
        let weighted = self.graph.map(normed);
        if self.shape.norm_bias { self.graph.map(weighted) } else { weighted }
    }

    /// Rotates queries or keys of layer `index` by their positions, where it does.
    pub(super) fn rope(&mut self, x: Value, index: u64) -> Value {
        if !self.family().rotates(index) {
            return x;
        }
        self.graph.elementwise(&[x, self.positions])
    }

    /// What is particular to the model's family.
    pub(super) const fn family(&self) -> &'static Family {
        self.shape.architecture.family()
    }

    /// Adds a bias where there is one.
    pub(super) fn biased(&mut self, x: Value, has_bias: bool) -> Value {
        if has_bias { self.graph.map(x) } else { x }
    }
}

/// Elements of a row of embeddings that are given: those of an image for further layers come behind. Token
/// embeddings are padded to it.
pub(super) fn embedding_width(shape: &ModelShape) -> u64 {
    shape.hidden_size.saturating_mul(1 + shape.architecture.family().image_layers)
}

/// Elements of a head in the layers of one of the caches.
fn head_dim_of(shape: &ModelShape, windowed: bool) -> u64 {
    let attends = |index: &u64| {
        shape.layer(*index).kv_heads > 0 && shape.window_of(*index).is_some() == windowed
    };
    let last = if shape.per_layer.is_some() { shape.n_layers } else { 0 };
    let first = (0..last).find(attends).unwrap_or(0);
    shape.layer(first).head_dim
}

/// Collects inputs: on the host each takes a multiple of 32 bytes.
struct Inputs {
    graph: Graph,
    host: u64,
    /// Whether what is computed from inputs alone is computed here; other stages get a copy of it.
    is_first: bool,
}

/// Alignment of the host's buffers (`TENSOR_ALIGNMENT` in `ggml-impl.h`).
const HOST_ALIGNMENT: u64 = 32;

impl Inputs {
    fn add(&mut self, elements: u64, element: u64) -> Value {
        self.add_shaped(matrix(elements, 1), element)
    }

    fn add_shaped(&mut self, dims: [u64; 4], element: u64) -> Value {
        let input = self.graph.input(dims, element);
        let size = self.graph.size(input).checked_next_multiple_of(HOST_ALIGNMENT);
        let total = size.and_then(|size| self.host.checked_add(size));
        self.graph.overflowed |= total.is_none();
        self.host = total.unwrap_or(0);
        input
    }

    /// Rows of the token embedding, looked up on the host.
    fn embeddings(&mut self, hidden_size: u64, rows: u64) -> Value {
        let embeddings = self.add_shaped(matrix(hidden_size, rows), 4);
        self.graph.mark(embeddings, Usage::Activation)
    }

    fn cache(
        &mut self,
        shape: &ModelShape,
        params: &GraphParams,
        cells: u64,
        head_dim: u64,
    ) -> CacheInputs {
        let rows = params.rows;
        let latent = shape.mla.is_some();
        let has_rows = params.version.has_row_inputs();
        let k_rows = has_rows.then(|| self.add(rows, 8));
        let v_rows = (has_rows && !latent).then(|| {
            // Transposed values are scattered element by element.
            let width = if params.flash { 1 } else { shape.kv_width() };
            self.add(rows.saturating_mul(width), 8)
        });
        let mask = self.mask(cells, params);
        let rotates = params.version.plans_fusions() && !latent && head_dim.is_multiple_of(64);
        let k_rotation = (rotates && is_block_format(params.type_k)).then(|| {
            let divides = |order: &&u64| head_dim.is_multiple_of(**order);
            self.rotation(ROTATIONS.iter().find(divides).copied().unwrap_or(64))
        });
        let v_rotation = (rotates && is_block_format(params.type_v)).then(|| self.rotation(64));
        CacheInputs { cells, k_rows, v_rows, mask, k_rotation, v_rotation }
    }

    fn mask(&mut self, cells: u64, params: &GraphParams) -> Value {
        let elements = cells.saturating_mul(params.rows);
        if params.flash && params.version.has_half_mask() {
            return self.add(elements, 2);
        }
        let mask = self.add(elements, 4);
        if !params.flash {
            return mask;
        }
        if !self.is_first {
            return self.graph.input(matrix(elements, 1), 2);
        }
        let cast = self.graph.fresh_half(&[mask], matrix(elements, 1));
        self.graph.mark(cast, Usage::Input)
    }

    fn rotation(&mut self, order: u64) -> Rotation {
        Rotation { matrix: self.add_shaped(matrix(order, order), 4), order }
    }
}

/// Whether a cache holds blocks of GGML.
pub(super) const fn is_block_format(kv: KvFormat) -> bool {
    matches!(kv, KvFormat::Ggml(_))
}

/// Heads of tokens.
pub(super) const fn heads(head_dim: u64, n_heads: u64, rows: u64) -> [u64; 4] {
    cube(head_dim, n_heads, rows)
}
