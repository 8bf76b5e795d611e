//! The KV cache and the recurrent states (`llama-kv-cache.cpp`, `llama-memory-recurrent.cpp`).
//!
//! One tensor per layer for keys and one for values: `streams · cells` rows, plus once the padding of a
//! quantized row to 512 elements, rounded up to 128 bytes.

use std::ops::Range;

use super::builder::is_block_format;
use super::{Context, GraphParams};
use crate::dtype::KvFormat;
use crate::spec::{Layer, ModelShape};
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

/// Sizes the caches of a context, of the layers of a run; `layers` are the model's as llama.cpp caches
/// them ([`crate::spec::ModelSpec::gguf_layers`]).
pub fn cache_sizes(
    shape: &ModelShape,
    layers: &[Layer],
    run: &Range<u64>,
    context: &Context,
) -> Result<CacheSizes, Overflow> {
    let graph = &context.graph;
    let mut sizes = CacheSizes { full: Bytes::ZERO, window: Bytes::ZERO, recurrent: Bytes::ZERO };
    for (index, layer) in (0..).zip(layers).filter(|(index, _)| run.contains(index)) {
        match layer {
            Layer::Full => {
                sizes.full = sizes.full.plus(layer_size(shape, index, graph, graph.cells)?)?;
            }
            Layer::Window { .. } => {
                let cells = graph.window_cells.unwrap_or(0);
                sizes.window = sizes.window.plus(layer_size(shape, index, graph, cells)?)?;
            }
            Layer::Recurrent => {
                sizes.recurrent = sizes.recurrent.plus(state_size(shape, graph.n_seq)?)?;
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
    cells: u64,
) -> Result<Bytes, Overflow> {
    let rows = cells.checked_mul(graph.streams).ok_or(Overflow)?;
    if let Some(mla) = shape.mla {
        let width = mla.kv_lora_rank.checked_add(mla.qk_rope_head_dim).ok_or(Overflow)?;
        return tensor_size(graph.type_k, width, rows);
    }
    let width = shape.layer(index).kv_width();
    let values = if graph.flash { width } else { shape.kv_width() };
    let keys = tensor_size(graph.type_k, width, rows)?;
    keys.plus(tensor_size(graph.type_v, values, rows)?)
}

fn tensor_size(kv: KvFormat, width: u64, rows: u64) -> Result<Bytes, Overflow> {
    let missing = match width % ROW_PADDING {
        0 => 0,
        _ if !is_block_format(kv) => 0,
        rest => ROW_PADDING - rest,
    };
    let padding = kv.size_of(1, missing, 1)?;
    kv.size_of(1, width, 1)?.times(rows)?.plus(padding)?.round_up(ALIGNMENT)
}

/// Bytes of one recurrent layer's states, in f32: the last inputs of the convolution, and one
/// `key_head_dim × value_head_dim` matrix per value head.
fn state_size(shape: &ModelShape, n_seq: u64) -> Result<Bytes, Overflow> {
    if let Some(ssm) = shape.ssm {
        let history = ssm.conv_kernel.saturating_sub(1);
        let convolution = Bytes::product(&[history, ssm.conv_width(), n_seq, 4])?;
        let state = Bytes::product(&[ssm.inner_size, ssm.state_size, n_seq, 4])?;
        return convolution.round_up(ALIGNMENT)?.plus(state.round_up(ALIGNMENT)?);
    }
    let Some(r) = shape.recurrent else { return Ok(Bytes::ZERO) };
    let keys = Bytes::product(&[2, r.key_heads, r.key_head_dim])?;
    let channels = keys.plus(Bytes::product(&[r.value_heads, r.value_head_dim])?)?.get();
    let history = r.conv_kernel.saturating_sub(1);
    let convolution = Bytes::product(&[history, channels, n_seq, 4])?.round_up(ALIGNMENT)?;
    let state = [r.value_heads, r.key_head_dim, r.value_head_dim, n_seq, 4];
    convolution.plus(Bytes::product(&state)?.round_up(ALIGNMENT)?)
}
