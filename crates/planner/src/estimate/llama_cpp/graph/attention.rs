//! Attention over cached keys and values: projections, the write to the cache, scores.

use super::builder::{Builder, CacheInputs, Rotation, heads, is_block_format};
use super::metal;
use super::tensors::{Usage, Value, WeightName, matrix};
use crate::dtype::KvFormat;
use crate::spec::QkNorm;
use crate::spec::families::RopeLayers;
use crate::units::Bytes;

/// Queries, keys and values of a micro-batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Projected {
    pub(super) q: Value,
    pub(super) k: Value,
    pub(super) v: Value,
}

/// What attention reads from the cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cached {
    pub(super) key_dim: u64,
    pub(super) value_dim: u64,
    pub(super) n_heads: u64,
    pub(super) kv_heads: u64,
    /// Elements of a head after the latent result is expanded.
    pub(super) expanded_dim: Option<u64>,
}

impl Builder<'_> {
    /// Attention of one layer, its output projection included.
    pub(super) fn attention(&mut self, x: Value, index: u64, is_windowed: bool) -> Value {
        let mut projected = self.project(x, index);
        let by_window = self.family().rope.layers == RopeLayers::Windowed;
        if !by_window || is_windowed || self.windowed.is_none() {
            projected.q = self.rope(projected.q, index);
            projected.k = self.rope(projected.k, index);
        }
        if let Some(scale) = self.query_scale.filter(|_| self.scales_queries(index)) {
            projected.q = self.graph.elementwise(&[projected.q, scale]);
        }
        if self.family().scales.queries {
            projected.q = self.graph.map(projected.q);
        }
        let output = self.attend_cached(projected, index, is_windowed);
        let output = self.graph.product("attn_output", output, self.shape.hidden_size);
        self.biased(output, self.shape.attn_output_bias)
    }

    /// Whether a layer multiplies queries by what grows with their positions: every one (Ministral 3), or those that do
    /// not rotate (Llama 4).
    fn scales_queries(&self, index: u64) -> bool {
        let in_some = matches!(self.family().rope.layers, RopeLayers::AllBut(_));
        !in_some || !self.family().rotates(index)
    }

    /// Writes keys and values to the cache and attends to it: `[n_heads · head_dim, rows]`.
    pub(super) fn attend_cached(
        &mut self,
        projected: Projected,
        index: u64,
        is_windowed: bool,
    ) -> Value {
        let layer = self.shape.layer(index);
        let inputs = self.windowed.filter(|_| is_windowed).unwrap_or(self.full);
        let Projected { q, k, v } = projected;
        let (q, k) = match inputs.k_rotation {
            Some(rotation) => (self.rotate(q, rotation), self.rotate(k, rotation)),
            None => (q, k),
        };
        let v = inputs.v_rotation.map_or(v, |rotation| self.rotate(v, rotation));
        let order = if self.windowed.is_some() { [q, k, v] } else { [q, v, k] };
        for value in order {
            self.graph.expand(value);
        }
        self.store(k, v, layer.kv_width(), &inputs);
        let cached = Cached {
            key_dim: layer.head_dim,
            value_dim: layer.head_dim,
            n_heads: layer.n_heads,
            kv_heads: layer.kv_heads,
            expanded_dim: None,
        };
        let output = self.attend(q, cached, &inputs);
        inputs.v_rotation.map_or(output, |rotation| self.rotate(output, rotation))
    }

    fn project(&mut self, x: Value, index: u64) -> Projected {
        let (shape, layer) = (self.shape, self.shape.layer(index));
        let (rows, q_width, kv_width) = (x.rows(), layer.q_width(), layer.kv_width());
        let split = |value: Value, n| value.view(heads(layer.head_dim, n, rows));
        if shape.fused_projections {
            let width = q_width.saturating_add(kv_width.saturating_mul(2));
            let fused = self.graph.product("attn_qkv", x, width);
            let fused = self.biased(fused, shape.qkv_bias);
            let part = |part, n| fused.part(part, heads(layer.head_dim, n, rows));
            let (q, k) = (part(0, shape.n_heads), part(1, shape.kv_heads));
            let (q, k) = self.normed_heads(q, k);
            return Projected { q, k, v: part(2, shape.kv_heads) };
        }
        let mut project = |stem, width| {
            let projected = self.graph.product(stem, x, width);
            self.biased(projected, shape.qkv_bias)
        };
        let (q, k) = (project("attn_q", q_width), project("attn_k", kv_width));
        let v = if shape.has_values(index) { project("attn_v", kv_width) } else { k };
        let (q, k) = if shape.qk_norm == QkNorm::Full { self.normed(q, k) } else { (q, k) };
        let (q, k) = (split(q, layer.n_heads), split(k, layer.kv_heads));
        let v = split(v, layer.kv_heads);
        let (q, k) = self.normed_heads(q, k);
        Projected { q, k, v: if self.family().norms.values { self.graph.map(v) } else { v } }
    }

    fn normed_heads(&mut self, q: Value, k: Value) -> (Value, Value) {
        if self.shape.qk_norm == QkNorm::PerHead { self.normed(q, k) } else { (q, k) }
    }

    fn normed(&mut self, q: Value, k: Value) -> (Value, Value) {
        (self.norm_of("attn_q_norm", q), self.norm_of("attn_k_norm", k))
    }

    /// Multiplies rows by a Hadamard matrix (`llama_mul_mat_hadamard`).
    pub(super) fn rotate(&mut self, x: Value, rotation: Rotation) -> Value {
        let elements = x.dims.iter().fold(1u64, |product, &n| product.saturating_mul(n));
        let blocks = matrix(rotation.order, elements / rotation.order);
        let rows = if x.is_strided { self.graph.contiguous(x, blocks) } else { x.view(blocks) };
        let sources: Vec<Value> = rotation.matrix.into_iter().chain([rows]).collect();
        let rotated = self.graph.fresh(&sources, blocks);
        if rotation.matrix.is_none() {
            let size = rotation.order.saturating_mul(rotation.order).saturating_mul(4);
            let note = &mut self.graph.notes[rotated.id];
            note.rotation = Some((rotation.of_keys, size));
            note.batch = blocks[1];
        }
        rotated.view(x.dims)
    }

    /// `ggml_set_rows` of keys and of values; without flash attention values are transposed.
    fn store(&mut self, k: Value, v: Value, width: u64, inputs: &CacheInputs) {
        let rows = self.params.rows;
        self.write_rows(k.view(matrix(width, rows)), inputs.k_rows);
        let v = if !self.params.flash && v.is_strided {
            self.graph.contiguous(v, matrix(width, rows))
        } else {
            v
        };
        self.write_rows(v.view(matrix(width, rows)), inputs.v_rows);
    }

    /// Writes to the cache: to the rows that an input lists, or to a view of it.
    pub(super) fn write_rows(&mut self, values: Value, rows: Option<Value>) {
        match rows {
            Some(rows) => self.graph.write(&[values, rows]),
            None => self.graph.write(&[values]),
        }
    }

    /// `build_attn_mha`: `[n_heads · head_dim, rows]`.
    pub(super) fn attend(&mut self, q: Value, cached: Cached, inputs: &CacheInputs) -> Value {
        let output = if self.params.flash {
            self.attend_flash(q, cached, inputs)
        } else {
            self.attend_scores(q, cached, inputs)
        };
        self.graph.expand(output);
        output
    }

    fn attend_flash(&mut self, q: Value, cached: Cached, inputs: &CacheInputs) -> Value {
        let (rows, n_heads) = (self.params.rows, cached.n_heads);
        let q = q.strided(q.dims);
        let mut sources = vec![q, inputs.mask];
        for cast in self.cast_from_f32(cached, inputs) {
            sources.push(cast);
        }
        let output = self.graph.fresh(&sources, heads(cached.value_dim, n_heads, rows));
        self.read_keys_and_values(output, cached, inputs.cells);
        let size = self.graph.size(output);
        let shares = cached.expanded_dim.is_some();
        let end = self.flash_end(size, cached, (inputs.cells, shares));
        let apart = self.flash_end(size, cached, (inputs.cells, false));
        self.graph.overflowed |= end.is_none() || apart.is_none();
        self.graph.extend(output, end.unwrap_or(0));
        let apart = apart.unwrap_or(0).saturating_sub(size);
        self.graph.notes[output.id].workspace_apart = apart;
        let Some(expanded) = cached.expanded_dim else {
            return output.view(matrix(cached.value_dim.saturating_mul(n_heads), rows));
        };
        let (streams, stream_rows) = (self.params.streams, rows / self.params.streams);
        let permuted = output.strided([cached.value_dim, stream_rows, n_heads, streams]);
        let product = self.graph.fresh(&[permuted], [expanded, stream_rows, n_heads, streams]);
        let product = self.graph.follow(product, WeightName::weight("attn_v_b"));
        let dims = heads(expanded, n_heads, rows);
        let output = self.graph.contiguous(product.strided(dims), dims);
        output.view(matrix(expanded.saturating_mul(n_heads), rows))
    }

    /// A cache in f32 is cast to f16 by the graph itself.
    fn cast_from_f32(&mut self, cached: Cached, inputs: &CacheInputs) -> Vec<Value> {
        let mut casts = Vec::new();
        let formats =
            [(self.params.type_k, cached.key_dim), (self.params.type_v, cached.value_dim)];
        for (format, dim) in formats {
            if format == KvFormat::F32 {
                let dims = [dim, inputs.cells, cached.kv_heads, self.params.streams];
                let cast = self.graph.fresh_half(&[], dims);
                let view = self.cache_view(format, dim, cached, inputs.cells);
                self.graph.read_cache(cast, view);
                casts.push(self.graph.mark(cast, Usage::Attention));
            }
        }
        casts
    }

    /// Where the f16 copies of a cache in another format end, behind a result of `size` bytes
    /// (`ggml_cuda_flash_attn_ext_get_alloc_size`; Apple's backend makes none). The vector kernel needs none.
    fn flash_end(&self, size: u64, cached: Cached, (cells, shares): (u64, bool)) -> Option<u64> {
        let params = self.params;
        if params.metal {
            return metal::attention_end(size, cached, (params, cells));
        }
        let copied = |kv: KvFormat| is_block_format(kv) || kv == KvFormat::Bf16;
        let vector = params.rows / params.streams <= params.vector_rows
            && matches!(cached.key_dim, 64 | 128 | 256)
            && params.type_k == params.type_v;
        let mut end = size;
        if vector || !params.version.plans_fusions() {
            return Some(end);
        }
        // Latent values are a view of the keys, and share their copy.
        let values_copied = copied(params.type_v) && !shares;
        for (needed, dim) in
            [(copied(params.type_k), cached.key_dim), (values_copied, cached.value_dim)]
        {
            if needed {
                let elements = dim.checked_mul(cached.kv_heads)?.checked_mul(cells)?;
                let copy = elements.checked_mul(params.streams)?.checked_mul(2)?;
                end = end.checked_next_multiple_of(128)?.checked_add(copy)?;
            }
        }
        Some(end)
    }

    /// What fused attention reads besides queries and mask, where the cache is not cast before.
    fn read_keys_and_values(&mut self, output: Value, cached: Cached, cells: u64) {
        self.graph.notes[output.id].source_first = true;
        let params = self.params;
        for (format, dim) in [(params.type_k, cached.key_dim), (params.type_v, cached.value_dim)] {
            if format != KvFormat::F32 {
                let view = self.cache_view(format, dim, cached, cells);
                self.graph.read_cache(output, view);
            }
        }
        if self.shape.attention_sinks {
            self.graph.notes[output.id].beside = Some(WeightName::weight("attn_sinks"));
        }
    }

    /// Bytes of a view of the layer's keys or values as another backend gets a copy of them.
    fn cache_view(&self, format: KvFormat, dim: u64, cached: Cached, cells: u64) -> u64 {
        let rows = cells.saturating_mul(self.params.streams);
        let row_dim = if cached.expanded_dim.is_some() { cached.key_dim } else { dim };
        let bytes = |elements: u64| format.size_of(1, elements, 1).map_or(0, Bytes::get);
        let row = bytes(row_dim.saturating_mul(cached.kv_heads));
        // Latent values are the beginning of each row of keys.
        let last = bytes(dim.saturating_mul(cached.kv_heads));
        let missing = if is_block_format(format) { dim.next_multiple_of(512) - dim } else { 0 };
        row.saturating_mul(rows.saturating_sub(1)).saturating_add(last) + bytes(missing)
    }

    fn attend_scores(&mut self, q: Value, cached: Cached, inputs: &CacheInputs) -> Value {
        let (n_heads, streams) = (cached.n_heads, self.params.streams);
        let (rows, cells) = (self.params.rows, inputs.cells);
        let stream_rows = rows / streams;
        let mut dims = [cells, stream_rows, n_heads, streams];
        let scores = self.graph.fresh(&[q.strided(q.dims)], dims);
        let keys = self.cache_view(self.params.type_k, cached.key_dim, cached, inputs.cells);
        self.graph.read_cache(scores, keys);
        let mut scores = self.graph.mark(scores, Usage::Attention);
        if self.shape.attention_softcap {
            for _ in ["scale", "tanh", "scale"] {
                scores = self.graph.map(scores);
                scores = self.graph.mark(scores, Usage::Attention);
            }
        }
        let weights = self.graph.elementwise(&[scores, inputs.mask]);
        if self.shape.attention_sinks {
            self.graph.follow_rows(weights, WeightName::weight("attn_sinks"));
        }
        let weights = self.graph.mark(weights, Usage::Attention);
        dims[0] = cached.value_dim;
        let view = self.cache_view(self.params.type_v, cached.value_dim, cached, inputs.cells);
        let mut output = if cached.expanded_dim.is_some() {
            let dims = [cells, cached.value_dim, cached.kv_heads, streams];
            // A copy in the format of the keys, which the values are a part of.
            let values = match self.params.type_k {
                KvFormat::F32 => self.graph.fresh(&[], dims),
                _ => self.graph.fresh_half(&[], dims),
            };
            let values = self.graph.mark(values, Usage::Attention);
            self.graph.read_cache(values, view);
            self.graph.fresh(&[values, weights], [cached.value_dim, stream_rows, n_heads, streams])
        } else {
            let output = self.graph.fresh(&[weights], dims);
            self.graph.read_cache(output, view);
            output
        };
        let mut head_dim = cached.value_dim;
        if let Some(expanded) = cached.expanded_dim {
            head_dim = expanded;
            output = self.graph.fresh(&[output], [expanded, stream_rows, n_heads, streams]);
            output = self.graph.follow(output, WeightName::weight("attn_v_b"));
        }
        let width = matrix(head_dim.saturating_mul(n_heads), rows);
        let output = self.graph.contiguous(output.strided(output.dims), width);
        self.graph.notes[output.id].ends_attention = true;
        output
    }
}
