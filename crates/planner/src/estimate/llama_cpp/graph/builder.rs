//! What every layer of a micro-batch shares: shape, parameters, inputs.

use super::tensors::{Graph, Usage, Value, WeightName, cube, matrix};
use super::{GraphParams, Stage};
use crate::dtype::KvFormat;
use crate::spec::ModelShape;
use crate::spec::families::{Family, Frequencies, GRAPHS, RopeLayers};

/// Head sizes up to which keys are rotated in one block (`llama_kv_cache::build_input_k_rot`).
const ROTATIONS: [u64; 8] = [8192, 4096, 2048, 1024, 512, 256, 128, 64];

/// A Hadamard rotation: the input that holds it, and its order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rotation {
    /// Nothing where it lies with the cache.
    pub(super) matrix: Option<Value>,
    pub(super) order: u64,
    /// Whether keys are rotated by it, or values.
    pub(super) of_keys: bool,
}

/// The inputs of a batch of tokens and embeddings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mixed {
    /// The ids of the tokens among them.
    pub(super) ids: Value,
    /// Rows of embeddings.
    pub(super) given: Value,
    /// Rows of the token embedding.
    pub(super) looked_up: Value,
    /// Which rows of a batch those are.
    pub(super) slots: Value,
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
    family: &'static Family,
    pub(super) graph: Graph,
    pub(super) positions: Value,
    /// What queries are multiplied by.
    pub(super) query_scale: Option<Value>,
    /// The states that the batch's sequences continue and the others, where those are looked at apart.
    pub(super) state_parts: Option<[Value; 2]>,
    /// What a batch that mixes tokens and embeddings is put together from.
    pub(super) mixed: Option<Mixed>,
    /// What rows of embeddings are multiplied by, where that is an input.
    pub(super) token_scale: Option<Value>,
    pub(super) full: CacheInputs,
    pub(super) windowed: Option<CacheInputs>,
    /// Which recurrent state each sequence continues.
    pub(super) states: Option<Value>,
    pub(super) output_rows: Value,
    /// What the first layer of the stage reads: embeddings, or the hidden state of the layer before.
    pub(super) embeddings: Value,
    /// The same where it was divided by its length already.
    normed: Option<Value>,
    /// The rows of the token embedding that are looked up, in that order, each with the ids of the tokens.
    pub(super) lookups: Vec<[usize; 2]>,
    /// Bytes of the inputs on the host.
    pub(super) host: u64,
    /// Norms of the residual stream in this layer so far.
    pub(super) norms: usize,
    /// The stem of the next norm, where it is none of those.
    pub(super) norm_stem: Option<&'static str>,
    /// Whether the next norm is told of no layer.
    is_apart: bool,
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
        let is_mixed =
            params.version.has_mixed_inputs() && stage.is_first() && !stage.layers.is_empty();
        let mixed = is_mixed.then(|| inputs.mixed(shape, rows));
        let is_head_alone = stage.layers.is_empty();
        let first_rows = if is_head_alone { params.n_outputs } else { rows };
        let embeddings = inputs.embeddings(shape.hidden_size, first_rows);
        // The norm before the head has no layer, so that it is computed where its input is.
        let normed = is_head_alone.then_some(embeddings);
        let family = family_of(shape, params);
        let rope = family.rope;
        let sections = match rope.layers {
            RopeLayers::None => 0,
            _ if rope.sections => 4,
            _ => 1,
        };
        let scaled =
            params.version.has_mixed_inputs() && family.graph.token_scale && stage.is_first();
        let token_scale = scaled.then(|| inputs.add(rows, 4));
        let query_scale = params.scales_queries.then(|| inputs.add(rows, 4));
        let positions = inputs.add(rows.saturating_mul(sections), 4);
        let head_dim = |windowed| head_dim_of(shape, windowed);
        let full = inputs.cache(shape, params, params.cells, head_dim(false));
        let windowed =
            params.window_cells.map(|cells| inputs.cache(shape, params, cells, head_dim(true)));
        let has_states = shape.recurrent.is_some()
            || shape.ssm.is_some()
            || shape.extras.short_convolution.is_some();
        let states = has_states.then(|| inputs.add(params.n_seq, 4));
        let state_parts = inputs.state_parts(shape, params, states);
        let output_rows = inputs.add(params.n_outputs, 4);
        let mut lookups = vec![[embeddings.id, 0]];
        lookups.extend(mixed.map(|mixed| [mixed.looked_up.id, mixed.ids.id]));
        let Inputs { graph, host, .. } = inputs;
        Self {
            shape,
            params,
            stage,
            family,
            graph,
            positions,
            query_scale,
            state_parts,
            mixed,
            token_scale,
            full,
            windowed,
            states,
            output_rows,
            embeddings,
            lookups,
            normed,
            host,
            norms: 0,
            norm_stem: None,
            is_apart: false,
        }
    }

    /// RMS norm with a weight, or `LayerNorm` with weight and perhaps bias.
    pub(super) fn norm(&mut self, x: Value) -> Value {
        let layer_norm = self.family().norms.subtract_mean;
        let stem = self.next_norm();
        let normed = match self.normed.take() {
            Some(normed) => normed,
            None if layer_norm => self.graph.fresh(&[x], x.dims),
            None => self.graph.map(x),
        };
        let is_apart = std::mem::take(&mut self.is_apart);
        self.graph.notes[normed.id].is_norm = self.graph.layer.is_some() && !is_apart;
        let weighted = self.graph.map(normed);
        let weighted = self.graph.follow_rows(weighted, WeightName::weight(stem));
        if !self.shape.norm_bias {
            return weighted;
        }
        let biased = self.graph.map(weighted);
        self.graph.follow_rows(biased, WeightName::bias(stem))
    }

    /// The norm behind an MLP.
    pub(super) fn last_norm(&mut self, x: Value) -> Value {
        self.is_apart = self.family().norms.last_apart;
        self.norm(x)
    }

    /// A norm of this name, which is none of the residual stream.
    pub(super) fn norm_of(&mut self, stem: &'static str, x: Value) -> Value {
        self.norm_stem = Some(stem);
        self.norm(x)
    }

    fn next_norm(&mut self) -> &'static str {
        if let Some(stem) = self.norm_stem.take() {
            return stem;
        }
        if self.graph.layer.is_none() {
            return "output_norm";
        }
        self.norms += 1;
        self.family().norms.stems.get(self.norms - 1).copied().unwrap_or_default()
    }

    /// Rotates queries or keys of layer `index` by their positions, where it does.
    pub(super) fn rope(&mut self, x: Value, index: u64) -> Value {
        if !self.family().rotates(index) {
            return x;
        }
        let rotated = self.graph.elementwise(&[x, self.positions]);
        // With tables of their own, windowed layers read none of the model's.
        let is_apart = self.family().gguf_extras.frequencies == Frequencies::Always;
        if !is_apart || self.shape.window_of(index).is_none() {
            self.graph.notes[rotated.id].beside = Some(WeightName::weight("rope_freqs"));
        }
        rotated
    }

    /// What is particular to the model's family.
    pub(super) const fn family(&self) -> &'static Family {
        self.family
    }

    /// Adds a bias where there is one.
    pub(super) fn biased(&mut self, x: Value, has_bias: bool) -> Value {
        if !has_bias {
            return x;
        }
        let stem = self.graph.stem_of(x);
        let biased = self.graph.map(x);
        self.graph.follow_rows(biased, WeightName::bias(stem))
    }
}

/// What is particular to the graph: of the family, or of the architecture of a file that is none.
pub(super) fn family_of(shape: &ModelShape, params: &GraphParams) -> &'static Family {
    let other = params.other.and_then(|index| GRAPHS.get(index));
    other.map_or_else(|| shape.architecture.family(), |graph| &graph.family)
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

    /// What a batch of tokens and embeddings is put together from.
    fn mixed(&mut self, shape: &ModelShape, rows: u64) -> Mixed {
        let ids = self.add(rows, 4);
        let given = self.add_shaped(matrix(embedding_width(shape), rows), 4);
        let given = self.graph.mark(given, Usage::Activation);
        let looked_up = self.embeddings(shape.hidden_size, rows);
        Mixed { ids, given, looked_up, slots: self.add(rows, 8) }
    }

    /// Rows of the token embedding, looked up on the host.
    fn embeddings(&mut self, hidden_size: u64, rows: u64) -> Value {
        let embeddings = self.add_shaped(matrix(hidden_size, rows), 4);
        self.graph.mark(embeddings, Usage::Activation)
    }

    /// The parts of the list of states that are looked at apart: where the states of the other sequences are gathered too,
    /// and where a scan reads its own in place.
    fn state_parts(
        &mut self,
        shape: &ModelShape,
        params: &GraphParams,
        states: Option<Value>,
    ) -> Option<[Value; 2]> {
        let states = states?;
        let others = match (params.version.has_mixed_inputs(), &shape.ssm) {
            (false, _) => 0,
            (true, Some(_)) => params.n_seq.saturating_sub(1),
            (true, None) => return None,
        };
        Some([params.n_seq, others].map(|count| {
            let part = self.graph.input(matrix(count, 1), 4);
            self.graph.notes[part.id].part_of = Some(states.id);
            part
        }))
    }

    fn cache(
        &mut self,
        shape: &ModelShape,
        params: &GraphParams,
        cells: u64,
        head_dim: u64,
    ) -> CacheInputs {
        let rows = params.rows;
        let latent = shape.mla.is_some_and(|mla| !mla.expanded);
        let has_rows = params.version.has_row_inputs();
        let k_rows = has_rows.then(|| self.add(rows, 8));
        let v_rows = (has_rows && !latent).then(|| {
            // Transposed values are scattered element by element.
            let width = if params.flash { 1 } else { shape.kv_width() };
            self.add(rows.saturating_mul(width), 8)
        });
        let mask = self.mask(cells, params);
        let kept = params.version.caches_rotations();
        let [k_order, v_order] = rotations(shape, params, head_dim);
        let k_rotation = k_order.map(|order| self.rotation(order, kept, true));
        let v_rotation = v_order.map(|order| self.rotation(order, kept, false));
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

    /// The matrix is an input, or lies with the cache.
    fn rotation(&mut self, order: u64, kept: bool, of_keys: bool) -> Rotation {
        let matrix = (!kept).then(|| self.add_shaped(matrix(order, order), 4));
        Rotation { matrix, order, of_keys }
    }
}

/// The orders of the rotations of keys and of values in a quantized cache.
pub(super) fn rotations(
    shape: &ModelShape,
    params: &GraphParams,
    head_dim: u64,
) -> [Option<u64>; 2] {
    if shape.mla.is_some_and(|mla| !mla.expanded) {
        return [None, None];
    }
    rotation_orders(params, [head_dim, head_dim])
}

/// The same for heads of so many elements of keys and of values; 0 where layers differ or none is kept.
pub(super) fn rotation_orders(params: &GraphParams, heads: [u64; 2]) -> [Option<u64>; 2] {
    let rotates = |kv: KvFormat, head: u64| {
        let is_rotated = params.version.plans_fusions() && is_block_format(kv);
        is_rotated && head > 0 && head.is_multiple_of(64)
    };
    let [key, value] = heads;
    let divides = |order: &&u64| key.is_multiple_of(**order);
    let largest = ROTATIONS.iter().find(divides).copied().unwrap_or(64);
    [rotates(params.type_k, key).then_some(largest), rotates(params.type_v, value).then_some(64)]
}

/// Whether a cache holds blocks of GGML.
pub(super) const fn is_block_format(kv: KvFormat) -> bool {
    matches!(kv, KvFormat::Ggml(_))
}

/// Heads of tokens.
pub(super) const fn heads(head_dim: u64, n_heads: u64, rows: u64) -> [u64; 4] {
    cube(head_dim, n_heads, rows)
}
