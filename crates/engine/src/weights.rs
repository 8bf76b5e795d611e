//! The model's tensors on the device.
//!
//! Every tensor of the source is loaded and has a place; one that has none is an error, as in
//! llama.cpp. Queries and keys whose rotated pairs are interleaved in the file are put in halves
//! while they are read: whole rows change places, so that quantized weights stay as they are.

use std::collections::BTreeMap;

use super::EngineError;
use super::backend::Backend;
use super::config::{Config, PairOrder};
use super::source::Source;
use crate::h2o::to_usize;
use vramplan_planner::dtype::GgmlType;
pub use vramplan_planner::estimate::vramplan::capabilities::MATRIX_TYPES;
use vramplan_planner::read::gguf::GgufTensor;

/// A decoder layer.
#[derive(Debug)]
pub struct Layer<W> {
    /// `attn_norm`, f32 `[hidden]`.
    pub attn_norm: W,
    /// `attn_q`, `[q_width, hidden]`.
    pub q: Linear<W>,
    /// `attn_k`, `[kv_width, hidden]`.
    pub k: Linear<W>,
    /// `attn_v`, `[kv_width, hidden]`.
    pub v: Linear<W>,
    /// `attn_q_norm` and `attn_k_norm`, f32 `[head_dim]`.
    pub qk_norm: Option<(W, W)>,
    /// `attn_output`, `[hidden, q_width]`.
    pub attn_output: W,
    /// `ffn_norm`, f32 `[hidden]`.
    pub ffn_norm: W,
    /// `ffn_gate`, `[ffn, hidden]`.
    pub gate: W,
    /// `ffn_up`, `[ffn, hidden]`.
    pub up: W,
    /// `ffn_down`, `[hidden, ffn]`.
    pub down: W,
}

/// A linear layer that may have a bias.
#[derive(Debug)]
pub struct Linear<W> {
    /// `[out, in]`.
    pub weight: W,
    /// f32 `[out]`.
    pub bias: Option<W>,
}

/// A model on the device.
#[derive(Debug)]
pub struct Weights<W> {
    /// `token_embd`, `[vocab, hidden]`.
    pub embedding: W,
    /// `output`, `[vocab, hidden]`; nothing where the embedding serves.
    pub head: Option<W>,
    /// `output_norm`, f32 `[hidden]`.
    pub norm: W,
    /// `rope_freqs`, f32 `[head_dim / 2]`.
    pub rope_divisors: Option<W>,
    /// The layers in order.
    pub layers: Vec<Layer<W>>,
    /// Bytes of all tensors.
    pub bytes: usize,
    /// On the host, for each layer the bias of its keys; empty without one.
    pub key_biases: Vec<Vec<f32>>,
}

impl<W> Weights<W> {
    /// Loads every tensor of `source`.
    pub(super) fn load<B: Backend<Weight = W>>(
        backend: &B,
        source: &mut dyn Source,
    ) -> Result<Self, EngineError> {
        let config = source.config().clone();
        let named = source.tensors().iter().map(|tensor| (tensor.name.clone(), tensor.clone()));
        let tensors = named.collect();
        let mut loader =
            Loader { backend, source, config: &config, tensors, bytes: 0, host: Vec::new() };
        loader.model()
    }
}

struct Loader<'a, B> {
    backend: &'a B,
    source: &'a mut dyn Source,
    config: &'a Config,
    /// What is still to be loaded.
    tensors: BTreeMap<String, GgufTensor>,
    bytes: usize,
    /// The data of the vector that was loaded last.
    host: Vec<f32>,
}

impl<B: Backend> Loader<'_, B> {
    fn model(&mut self) -> Result<Weights<B::Weight>, EngineError> {
        let Config { hidden, vocab, layers, head_dim, .. } = *self.config;
        let embedding = self.matrix("token_embd.weight", hidden, vocab)?;
        let mut key_biases = Vec::new();
        let mut all = Vec::new();
        for index in 0..layers {
            all.push(self.layer(index, &mut key_biases)?);
        }
        let norm = self.vector("output_norm.weight", hidden)?;
        let head = if self.config.tied {
            None
        } else {
            Some(self.matrix("output.weight", hidden, vocab)?)
        };
        let rope_divisors = if self.tensors.contains_key("rope_freqs.weight") {
            Some(self.vector("rope_freqs.weight", head_dim / 2)?)
        } else {
            None
        };
        if let Some(name) = self.tensors.keys().next() {
            let expected = "the tensors of a plain decoder, nothing else";
            return Err(EngineError::tensor(name, "a tensor without a place", expected));
        }
        let bytes = self.bytes;
        Ok(Weights { embedding, head, norm, rope_divisors, layers: all, bytes, key_biases })
    }

    fn layer(
        &mut self,
        index: usize,
        key_biases: &mut Vec<Vec<f32>>,
    ) -> Result<Layer<B::Weight>, EngineError> {
        let Config { hidden, ffn, head_dim, qk_norm, .. } = *self.config;
        let (q_width, kv_width) = (self.config.q_width(), self.config.kv_width());
        let name = |stem: &str| format!("blk.{index}.{stem}.weight");
        let qk_norm = if qk_norm {
            Some((
                self.vector(&name("attn_q_norm"), head_dim)?,
                self.vector(&name("attn_k_norm"), head_dim)?,
            ))
        } else {
            None
        };
        let k = self.projection(&format!("blk.{index}.attn_k"), kv_width, true)?;
        key_biases.push(if k.bias.is_some() { self.host.clone() } else { Vec::new() });
        Ok(Layer {
            attn_norm: self.vector(&name("attn_norm"), hidden)?,
            q: self.projection(&format!("blk.{index}.attn_q"), q_width, true)?,
            k,
            v: self.projection(&format!("blk.{index}.attn_v"), kv_width, false)?,
            qk_norm,
            attn_output: self.matrix(&name("attn_output"), q_width, hidden)?,
            ffn_norm: self.vector(&name("ffn_norm"), hidden)?,
            gate: self.matrix(&name("ffn_gate"), hidden, ffn)?,
            up: self.matrix(&name("ffn_up"), hidden, ffn)?,
            down: self.matrix(&name("ffn_down"), ffn, hidden)?,
        })
    }

    /// A projection of queries, keys or values, with rotated pairs in halves.
    fn projection(
        &mut self,
        stem: &str,
        width: usize,
        is_rotated: bool,
    ) -> Result<Linear<B::Weight>, EngineError> {
        let head = match (is_rotated, self.config.pairs) {
            (true, PairOrder::Interleaved) => Some(self.config.head_dim),
            _ => None,
        };
        let hidden = self.config.hidden;
        let weight = self.tensor(&format!("{stem}.weight"), &[hidden, width], head)?;
        let bias = if self.config.qkv_bias {
            Some(self.tensor(&format!("{stem}.bias"), &[width], head)?)
        } else {
            None
        };
        Ok(Linear { weight, bias })
    }

    fn matrix(&mut self, name: &str, row: usize, rows: usize) -> Result<B::Weight, EngineError> {
        self.tensor(name, &[row, rows], None)
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<B::Weight, EngineError> {
        self.tensor(name, &[len], None)
    }

    /// Loads the tensor `name`, which has these dimensions; with `head`, the rows of every head that
    /// wide are put in halves.
    fn tensor(
        &mut self,
        name: &str,
        dims: &[usize],
        head: Option<usize>,
    ) -> Result<B::Weight, EngineError> {
        let tensor = self.tensors.remove(name).ok_or_else(|| {
            EngineError::tensor(name, "not in the file", format!("a tensor of {dims:?}"))
        })?;
        check(&tensor, dims)?;
        self.bytes += to_usize(tensor.size.get());
        let (source, host) = (&mut *self.source, &mut self.host);
        self.backend.weight(&tensor, &mut |bytes| {
            source.read(&tensor, bytes)?;
            if let Some(head) = head {
                let rows = dims.last().copied().unwrap_or(1);
                halve(bytes, bytes.len() / rows, head);
            }
            if dims.len() == 1 {
                *host = bytes.chunks_exact(4).map(float).collect();
            }
            Ok(())
        })
    }
}

fn float(bytes: &[u8]) -> f32 {
    bytes.try_into().map_or(0.0, f32::from_le_bytes)
}

fn check(tensor: &GgufTensor, dims: &[usize]) -> Result<(), EngineError> {
    let found: Vec<_> = tensor.dims.iter().map(|&dim| usize::try_from(dim).ok()).collect();
    let expected: Vec<_> = dims.iter().map(|&dim| Some(dim)).collect();
    if found != expected {
        let found = format!("{:?}", tensor.dims);
        return Err(EngineError::tensor(&tensor.name, found, format!("{dims:?}")));
    }
    let is_vector = dims.len() == 1;
    let is_known =
        if is_vector { tensor.ty == GgmlType::F32 } else { MATRIX_TYPES.contains(&tensor.ty) };
    if is_known {
        return Ok(());
    }
    let expected =
        if is_vector { "F32".to_owned() } else { MATRIX_TYPES.map(GgmlType::name).join(", ") };
    Err(EngineError::tensor(&tensor.name, format!("of type {}", tensor.ty), expected))
}

/// Puts row `2i + j` of every head of `head` rows behind the `i` rows of half `j`: the inverse of
/// `permute` in llama.cpp's `convert_hf_to_gguf.py`.
fn halve(bytes: &mut [u8], row: usize, head: usize) {
    let mut before = vec![0; row * head];
    for rows in bytes.chunks_exact_mut(row * head) {
        before.copy_from_slice(rows);
        for (index, from) in before.chunks_exact(row).enumerate() {
            let to = index / 2 + index % 2 * (head / 2);
            rows[to * row..][..row].copy_from_slice(from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interleaved_rows_are_put_in_halves() {
        // Two heads of four rows of two bytes.
        let mut bytes: Vec<u8> = (0..8).flat_map(|row| [row, row]).collect();
        halve(&mut bytes, 2, 4);
        let rows: Vec<_> = bytes.chunks(2).map(|row| row[0]).collect();
        assert_eq!(rows, [0, 2, 1, 3, 4, 6, 5, 7]);
    }
}
