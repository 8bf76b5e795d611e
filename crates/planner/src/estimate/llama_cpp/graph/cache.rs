//! The KV cache and the recurrent states (`llama-kv-cache.cpp`, `llama-memory-recurrent.cpp`).
//!
//! One tensor per layer for keys and one for values: `streams · cells` rows, plus once the padding of a
//! quantized row to 512 elements, rounded up to 128 bytes.

use std::ops::Range;

use super::builder::{is_block_format, rotation_orders, rotations};
use super::compressed::Compressing;
use super::{Context, GraphParams};
use crate::dtype::{GgmlType, KvFormat};
use crate::spec::{CachedLayer, FileCaches, Layer, ModelShape, ModelSpec};
use crate::units::{Bytes, Overflow};

/// Alignment of the CUDA buffer type.
const ALIGNMENT: Bytes = Bytes::new(128);
/// Elements to which the CUDA backend pads quantized rows.
const ROW_PADDING: u64 = 512;

/// Bytes of a context's caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSizes {
    /// Layers that keep every token.
    pub full: Bytes,
    /// Windowed layers.
    pub window: Bytes,
    /// Recurrent layers.
    pub recurrent: Bytes,
}

impl CacheSizes {
    const NONE: Self = Self { full: Bytes::ZERO, window: Bytes::ZERO, recurrent: Bytes::ZERO };

    fn plus(self, other: Self) -> Result<Self, Overflow> {
        Ok(Self {
            full: self.full.plus(other.full)?,
            window: self.window.plus(other.window)?,
            recurrent: self.recurrent.plus(other.recurrent)?,
        })
    }
}

/// What a layer of a shape compresses, if it does.
fn compressing(shape: &ModelShape, index: u64, layer: Layer) -> Option<Compressing> {
    let compressed = shape.extras.compressed.as_ref()?;
    let indexer = shape.extras.indexer.as_ref();
    Some(Compressing {
        ratio: compressed.ratio(index).unwrap_or(0),
        head: shape.layer(index).kv_width(),
        index: indexer.map_or(0, |indexer| indexer.head_dim),
        window: match layer {
            Layer::Window { size } => size,
            _ => shape.window.as_ref().map_or(0, |window| window.size),
        },
    })
}

/// Sizes the caches of a context, of the layers of a run.
pub fn caches_of(
    model: &ModelSpec,
    run: &Range<u64>,
    context: &Context,
) -> Result<CacheSizes, Overflow> {
    caches_where(model, context, &GPU, |index| run.contains(&index))
}

/// The same of the layers that are on a device.
pub fn caches_where(
    model: &ModelSpec,
    context: &Context,
    layout: &Layout,
    is_here: impl Fn(u64) -> bool,
) -> Result<CacheSizes, Overflow> {
    match &model.file_caches {
        Some(file) => file_cache_sizes(file, context, layout, is_here),
        None => cache_sizes_where(&model.shape, &model.gguf_layers, context, layout, is_here),
    }
}

/// The same for a file of any architecture.
fn file_cache_sizes(
    file: &FileCaches,
    context: &Context,
    layout: &Layout,
    is_here: impl Fn(u64) -> bool,
) -> Result<CacheSizes, Overflow> {
    let graph = &context.graph;
    let mut sizes = CacheSizes::NONE;
    for (_, layer) in (0..).zip(&file.layers).filter(|(index, _)| is_here(*index)) {
        if let Some(ratio) = layer.compresses {
            let (head, index) = (layer.keys, layer.index_keys);
            let window = file.window.unwrap_or(0);
            let of_layer = Compressing { ratio, head, index, window };
            sizes = sizes.plus(of_layer.sizes(graph, layout)?)?;
            continue;
        }
        let cells = if layer.windowed { graph.window_cells.unwrap_or(0) } else { graph.cells };
        let rows = cells.checked_mul(graph.streams).ok_or(Overflow)?;
        let kept = kept_of(file, layer, graph, (rows, layout))?;
        let sum = if layer.windowed { &mut sizes.window } else { &mut sizes.full };
        *sum = sum.plus(kept)?;
        for elements in [layer.inputs, layer.state] {
            let size = Bytes::product(&[elements, graph.n_seq, 4])?.round_up(layout.alignment)?;
            sizes.recurrent = sizes.recurrent.plus(size)?;
        }
    }
    Ok(sizes)
}

fn kept_of(
    file: &FileCaches,
    layer: &CachedLayer,
    graph: &GraphParams,
    (rows, layout): (u64, &Layout),
) -> Result<Bytes, Overflow> {
    let values = match layer.values {
        0 => 0,
        own if graph.flash => own,
        _ => file.widest_values(),
    };
    let size = |kv: KvFormat, width: u64| match width {
        0 => Ok(Bytes::ZERO),
        width => tensor_size(kv, width, rows, layout),
    };
    let keys = size(graph.type_k, layer.keys)?.plus(size(graph.type_k, layer.index_keys)?)?;
    let both = keys.plus(size(graph.type_v, values)?)?;
    let both = both.plus(size(graph.type_v, layer.index_values)?)?;
    let kept = layer.keys > 0;
    let value_head = if layer.values > 0 { layer.value_head } else { 0 };
    let orders = rotation_orders(graph, [layer.key_head, value_head]);
    let orders = orders.map(|order| order.filter(|_| kept));
    let both = both.plus(kept_rotations(orders, graph)?)?;
    both.plus(index_rotation(file, layer, graph)?)
}

/// The matrix for an indexer's keys, which DeepSeek's rotate in any format.
fn index_rotation(
    file: &FileCaches,
    layer: &CachedLayer,
    graph: &GraphParams,
) -> Result<Bytes, Overflow> {
    let always = matches!(
        file.architecture.as_str(),
        "deepseek32" | "deepseek4" | "glm-dsa" | "dots3note" | "mistral-large4"
    );
    let kv = if always { KvFormat::Ggml(GgmlType::Q8_0) } else { graph.type_k };
    let as_rotated = GraphParams { type_k: kv, ..*graph };
    let [order, _] = rotation_orders(&as_rotated, [layer.index_keys, 0]);
    kept_rotations([order, None], graph)
}

/// Sizes the caches of a context, of the layers of a run; `layers` are the model's as llama.cpp caches
/// them ([`crate::spec::ModelSpec::gguf_layers`]).
pub fn cache_sizes(
    shape: &ModelShape,
    layers: &[Layer],
    run: &Range<u64>,
    context: &Context,
) -> Result<CacheSizes, Overflow> {
    cache_sizes_where(shape, layers, context, &GPU, |index| run.contains(&index))
}

/// How a device lays tensors out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    alignment: Bytes,
    row_padding: u64,
}

impl Layout {
    /// What tensors' sizes are rounded up to.
    pub(super) const fn alignment(&self) -> Bytes {
        self.alignment
    }
}

/// The CUDA backend's.
pub const GPU: Layout = Layout { alignment: ALIGNMENT, row_padding: ROW_PADDING };

/// Main memory's (`TENSOR_ALIGNMENT` in `ggml-impl.h`).
pub const HOST: Layout = Layout { alignment: Bytes::new(32), row_padding: 1 };

/// The same of the layers that are on a device.
pub fn cache_sizes_where(
    shape: &ModelShape,
    layers: &[Layer],
    context: &Context,
    layout: &Layout,
    is_here: impl Fn(u64) -> bool,
) -> Result<CacheSizes, Overflow> {
    let graph = &context.graph;
    let mut sizes = CacheSizes::NONE;
    let of_layer = |index, cells| layer_size(shape, index, graph, (cells, layout));
    for (index, layer) in (0..).zip(layers).filter(|(index, _)| is_here(*index)) {
        if let Some(of_layer) = compressing(shape, index, *layer) {
            sizes = sizes.plus(of_layer.sizes(graph, layout)?)?;
            continue;
        }
        match layer {
            Layer::Full => sizes.full = sizes.full.plus(of_layer(index, graph.cells)?)?,
            Layer::Window { .. } => {
                let cells = graph.window_cells.unwrap_or(0);
                sizes.window = sizes.window.plus(of_layer(index, cells)?)?;
            }
            Layer::Nothing => {}
            Layer::FullAndRecurrent => {
                sizes.full = sizes.full.plus(of_layer(index, graph.cells)?)?;
                let state = state_size(shape, graph.n_seq, layout)?;
                sizes.recurrent = sizes.recurrent.plus(state)?;
            }
            Layer::Recurrent => {
                let state = state_size(shape, graph.n_seq, layout)?;
                sizes.recurrent = sizes.recurrent.plus(state)?;
            }
        }
    }
    Ok(sizes)
}

/// Bytes of one layer's keys and values. Where values are transposed, every layer has room for those of
/// the widest.
fn layer_size(
    shape: &ModelShape,
    index: u64,
    graph: &GraphParams,
    (cells, layout): (u64, &Layout),
) -> Result<Bytes, Overflow> {
    let rows = cells.checked_mul(graph.streams).ok_or(Overflow)?;
    if let Some(mla) = shape.mla.filter(|mla| mla.expanded) {
        let size = |kv, head: u64| {
            let width = head.checked_mul(shape.n_heads).ok_or(Overflow)?;
            tensor_size(kv, width, rows, layout)
        };
        let key = mla.qk_nope_head_dim.checked_add(mla.qk_rope_head_dim).ok_or(Overflow)?;
        let both = size(graph.type_k, key)?.plus(size(graph.type_v, mla.v_head_dim)?)?;
        return both.plus(kept_rotations(rotation_orders(graph, [key, mla.v_head_dim]), graph)?);
    }
    if let Some(mla) = shape.mla {
        let width = mla.kv_lora_rank.checked_add(mla.qk_rope_head_dim).ok_or(Overflow)?;
        // A rotation lies with the cache, though nothing reads it.
        let kept = kept_rotations(rotation_orders(graph, [width, 0]), graph)?;
        return tensor_size(graph.type_k, width, rows, layout)?.plus(kept);
    }
    let width = shape.layer(index).kv_width();
    let values = if graph.flash { width } else { shape.kv_width() };
    let keys = tensor_size(graph.type_k, width, rows, layout)?;
    let both = keys.plus(tensor_size(graph.type_v, values, rows, layout)?)?;
    both.plus(kept_rotations(rotations(shape, graph, shape.layer(index).head_dim), graph)?)
}

/// The matrices that a quantized cache keeps for a layer's keys and values, in f32.
pub(super) fn kept_rotations(
    orders: [Option<u64>; 2],
    graph: &GraphParams,
) -> Result<Bytes, Overflow> {
    let kept = orders.into_iter().flatten().filter(|_| graph.version.caches_rotations());
    Bytes::sum(kept.map(|order| Bytes::new(order * order * 4)))
}

pub(super) fn tensor_size(
    kv: KvFormat,
    width: u64,
    rows: u64,
    layout: &Layout,
) -> Result<Bytes, Overflow> {
    let missing = match width % layout.row_padding {
        0 => 0,
        _ if !is_block_format(kv) => 0,
        rest => layout.row_padding - rest,
    };
    let padding = kv.size_of(1, missing, 1)?;
    kv.size_of(1, width, 1)?.times(rows)?.plus(padding)?.round_up(layout.alignment)
}

/// Bytes of one recurrent layer's states, in f32: the last inputs of the convolution, and one
/// `key_head_dim × value_head_dim` matrix per value head.
fn state_size(shape: &ModelShape, n_seq: u64, layout: &Layout) -> Result<Bytes, Overflow> {
    let alignment = layout.alignment;
    if let Some(ssm) = shape.ssm {
        let history = ssm.conv_kernel.saturating_sub(1);
        let convolution = Bytes::product(&[history, ssm.conv_width(), n_seq, 4])?;
        let state = Bytes::product(&[ssm.inner_size, ssm.state_size, n_seq, 4])?;
        return convolution.round_up(alignment)?.plus(state.round_up(alignment)?);
    }
    let Some(r) = shape.recurrent else { return Ok(Bytes::ZERO) };
    let keys = Bytes::product(&[2, r.key_heads, r.key_head_dim])?;
    let channels = keys.plus(Bytes::product(&[r.value_heads, r.value_head_dim])?)?.get();
    let history = r.conv_kernel.saturating_sub(1);
    let convolution = Bytes::product(&[history, channels, n_seq, 4])?.round_up(alignment)?;
    let state = [r.value_heads, r.key_head_dim, r.value_head_dim, n_seq, 4];
    convolution.plus(Bytes::product(&state)?.round_up(alignment)?)
}
