//! Attention over cached keys and values: projections, the write to the cache, scores.

use super::builder::{Builder, CacheInputs, Rotation, heads, is_block_format};
use super::tensors::{Usage, Value, matrix};
use crate::dtype::KvFormat;
use crate::spec::QkNorm;

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
        projected.q = self.rope(projected.q, index);
        projected.k = self.rope(projected.k, index);
        if self.family().scales.queries {
            projected.q = self.graph.map(projected.q);
        }
        let output = self.attend_cached(projected, index, is_windowed);
        let output = self.graph.linear(output, self.shape.hidden_size);
        self.biased(output, self.shape.attn_output_bias)
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
            let fused = self.graph.linear(x, q_width.saturating_add(kv_width.saturating_mul(2)));
            let fused = self.biased(fused, shape.qkv_bias);
            let part = |n| fused.strided(heads(layer.head_dim, n, rows));
            let (q, k) = (part(shape.n_heads), part(shape.kv_heads));
            let (q, k) = self.normed_heads(q, k);
            return Projected { q, k, v: part(shape.kv_heads) };
        }
        let mut project = |width| {
            let projected = self.graph.linear(x, width);
            self.biased(projected, shape.qkv_bias)
        };
        let (q, k) = (project(q_width), project(kv_width));
        let v = if shape.has_values(index) { project(kv_width) } else { k };
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
        (self.norm(q), self.norm(k))
    }

    /// Multiplies rows by a Hadamard matrix (`llama_mul_mat_hadamard`).
    fn rotate(&mut self, x: Value, rotation: Rotation) -> Value {
        let elements = x.dims.iter().fold(1u64, |product, &n| product.saturating_mul(n));
        let blocks = matrix(rotation.order, elements / rotation.order);
        let rows = if x.is_strided { self.graph.contiguous(x, blocks) } else { x.view(blocks) };
        self.graph.fresh(&[rotation.matrix, rows], blocks).view(x.dims)
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
        let end = self.flash_end(self.graph.size(output), cached, inputs.cells);
        self.graph.overflowed |= end.is_none();
        self.graph.extend(output, end.unwrap_or(0));
        let Some(expanded) = cached.expanded_dim else {
            return output.view(matrix(cached.value_dim.saturating_mul(n_heads), rows));
        };
        let dims = heads(expanded, rows, n_heads);
        let permuted = output.strided(heads(cached.value_dim, rows, n_heads));
        let product = self.graph.fresh(&[permuted], dims);
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
                casts.push(self.graph.mark(cast, Usage::Attention));
            }
        }
        casts
    }

    /// Where the f16 copies of a cache in another format end, behind a result of `size` bytes
    /// (`ggml_cuda_flash_attn_ext_get_alloc_size`). The vector kernel needs none.
    fn flash_end(&self, size: u64, cached: Cached, cells: u64) -> Option<u64> {
        let params = self.params;
        let copied = |kv: KvFormat| is_block_format(kv) || kv == KvFormat::Bf16;
        let vector = params.rows / params.streams <= params.vector_rows
            && matches!(cached.key_dim, 64 | 128 | 256)
            && params.type_k == params.type_v;
        let mut end = size;
        if vector || !params.version.plans_fusions() {
            return Some(end);
        }
        // Latent values are a view of the keys, and share their copy.
        let values_copied = copied(params.type_v) && cached.expanded_dim.is_none();
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

    fn attend_scores(&mut self, q: Value, cached: Cached, inputs: &CacheInputs) -> Value {
        let (n_heads, streams) = (cached.n_heads, self.params.streams);
        let (rows, cells) = (self.params.rows, inputs.cells);
        let stream_rows = rows / streams;
        let mut dims = [cells, stream_rows, n_heads, streams];
        let scores = self.graph.fresh(&[q.strided(q.dims)], dims);
        let mut scores = self.graph.mark(scores, Usage::Attention);
        if self.shape.attention_softcap {
            for _ in ["scale", "tanh", "scale"] {
                scores = self.graph.map(scores);
                scores = self.graph.mark(scores, Usage::Attention);
            }
        }
        let weights = self.graph.elementwise(&[scores, inputs.mask]);
        let weights = self.graph.mark(weights, Usage::Attention);
        dims[0] = cached.value_dim;
        let mut output = if cached.expanded_dim.is_some() {
            let dims = [cells, cached.value_dim, cached.kv_heads, streams];
            let values = self.graph.fresh_half(&[], dims);
            let values = self.graph.mark(values, Usage::Attention);
            self.graph.fresh(&[values, weights], [cached.value_dim, stream_rows, n_heads, streams])
        } else {
            self.graph.fresh(&[weights], dims)
        };
        let mut head_dim = cached.value_dim;
        if let Some(expanded) = cached.expanded_dim {
            head_dim = expanded;
            output = self.graph.fresh(&[output], [expanded, stream_rows, n_heads, streams]);
        }
        let width = matrix(head_dim.saturating_mul(n_heads), rows);
        self.graph.contiguous(output.strided(output.dims), width)
    }
}
