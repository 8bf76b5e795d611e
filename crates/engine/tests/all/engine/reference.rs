//! A decoder in plain f64 arithmetic: no cache, no quantization, no scratch.

use std::collections::HashMap;

use candle_core::Device;
use candle_core::quantized::GgmlDType;
use candle_core::quantized::ggml_file::qtensor_from_ggml;
use vramplan_engine::{Config, PairOrder, Source};
use vramplan_planner::dtype::GgmlType;
use vramplan_planner::read::gguf::GgufTensor;

/// A model's tensors by name, row-major.
pub struct Reference {
    config: Config,
    tensors: HashMap<String, Vec<f64>>,
}

impl Reference {
    /// Reads the tensors of a source, as candle expands their blocks.
    pub fn new(source: &mut dyn Source) -> Self {
        let mut tensors = HashMap::new();
        for tensor in source.tensors().to_vec() {
            let mut bytes = vec![0; usize::try_from(tensor.size.get()).unwrap()];
            source.read(&tensor, &mut bytes).unwrap();
            let floats = expanded(&tensor, &bytes).into_iter().map(f64::from).collect();
            tensors.insert(tensor.name.clone(), floats);
        }
        Self { config: source.config().clone(), tensors }
    }

    /// Logits that follow each of `ids`.
    pub fn logits(&self, ids: &[u32]) -> Vec<Vec<f32>> {
        let hidden = self.config.hidden;
        let embedding = &self.tensors["token_embd.weight"];
        let row = |id: u32| embedding[id as usize * hidden..][..hidden].to_vec();
        let mut x: Vec<Vec<f64>> = ids.iter().map(|&id| row(id)).collect();
        for layer in 0..self.config.layers {
            self.layer(layer, &mut x);
        }
        let head = if self.config.tied { "token_embd.weight" } else { "output.weight" };
        x.iter()
            .map(|x| self.linear(head, &self.norm("output_norm.weight", x)))
            .map(|logits| logits.into_iter().map(|x| x as f32).collect())
            .collect()
    }

    fn layer(&self, layer: usize, x: &mut [Vec<f64>]) {
        let name = |stem: &str| format!("blk.{layer}.{stem}");
        let normed: Vec<_> = x.iter().map(|x| self.norm(&name("attn_norm.weight"), x)).collect();
        let project = |stem: &str, heads: usize, rotated: bool| -> Vec<Vec<f64>> {
            let rows = normed.iter().enumerate();
            rows.map(|(t, x)| self.project(layer, stem, (t, x), heads, rotated)).collect()
        };
        let q = project("attn_q", self.config.heads, true);
        let k = project("attn_k", self.config.kv_heads, true);
        let v = project("attn_v", self.config.kv_heads, false);
        for t in 0..x.len() {
            let attended = self.attend(&q[t], &k[..=t], &v[..=t]);
            add(&mut x[t], &self.linear(&name("attn_output.weight"), &attended));
            let normed = self.norm(&name("ffn_norm.weight"), &x[t]);
            let gate = self.linear(&name("ffn_gate.weight"), &normed);
            let up = self.linear(&name("ffn_up.weight"), &normed);
            let inner: Vec<_> =
                gate.iter().zip(&up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
            add(&mut x[t], &self.linear(&name("ffn_down.weight"), &inner));
        }
    }

    fn project(
        &self,
        layer: usize,
        stem: &str,
        (t, x): (usize, &[f64]),
        heads: usize,
        rotated: bool,
    ) -> Vec<f64> {
        let name = |kind: &str| format!("blk.{layer}.{stem}{kind}");
        let mut out = self.linear(&name(".weight"), x);
        if let Some(bias) = self.tensors.get(&name(".bias")) {
            add(&mut out, bias);
        }
        let dim = self.config.head_dim;
        assert_eq!(out.len(), heads * dim);
        for head in out.chunks_exact_mut(dim) {
            if rotated && self.config.qk_norm {
                head.copy_from_slice(&self.norm(&name("_norm.weight"), head));
            }
            if rotated {
                self.rotate(head, t);
            }
        }
        out
    }

    fn rotate(&self, head: &mut [f64], position: usize) {
        let half = head.len() / 2;
        for i in 0..half {
            let frequency = self.config.rope.frequency(i, head.len(), 1.0);
            let (sin, cos) = (position as f64 * f64::from(frequency)).sin_cos();
            let m = f64::from(self.config.rope.magnitude());
            let (a, b) = match self.config.pairs {
                PairOrder::Halves => (i, i + half),
                PairOrder::Interleaved => (2 * i, 2 * i + 1),
            };
            (head[a], head[b]) =
                ((head[a] * cos - head[b] * sin) * m, (head[a] * sin + head[b] * cos) * m);
        }
    }

    fn attend(&self, q: &[f64], k: &[Vec<f64>], v: &[Vec<f64>]) -> Vec<f64> {
        let Config { heads, kv_heads, head_dim, .. } = self.config;
        let mut out = vec![0.0; heads * head_dim];
        for (h, out) in out.chunks_exact_mut(head_dim).enumerate() {
            let at = h / (heads / kv_heads) * head_dim;
            let q = &q[h * head_dim..][..head_dim];
            let dot = |k: &Vec<f64>| -> f64 { q.iter().zip(&k[at..]).map(|(a, b)| a * b).sum() };
            let scores: Vec<_> = k.iter().map(|k| dot(k) / (head_dim as f64).sqrt()).collect();
            let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = scores.iter().map(|s| (s - top).exp()).sum();
            for (s, v) in scores.iter().zip(v) {
                let p = (s - top).exp() / total;
                out.iter_mut().zip(&v[at..]).for_each(|(out, v)| *out += p * v);
            }
        }
        out
    }

    fn norm(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
        let scale = 1.0 / (mean + f64::from(self.config.eps)).sqrt();
        x.iter().zip(&self.tensors[name]).map(|(x, w)| x * scale * w).collect()
    }

    fn linear(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let rows = self.tensors[name].chunks_exact(x.len());
        rows.map(|row| row.iter().zip(x).map(|(a, b)| a * b).sum()).collect()
    }
}

/// What the blocks of a tensor mean.
fn expanded(tensor: &GgufTensor, bytes: &[u8]) -> Vec<f32> {
    let dims = tensor.dims.iter().rev().map(|&dim| usize::try_from(dim).unwrap()).collect();
    let expanded = qtensor_from_ggml(dtype(tensor.ty), bytes, dims, &Device::Cpu)
        .and_then(|tensor| tensor.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1());
    expanded.unwrap()
}

/// What candle calls a type.
fn dtype(ty: GgmlType) -> GgmlDType {
    match ty {
        GgmlType::F32 => GgmlDType::F32,
        GgmlType::F16 => GgmlDType::F16,
        GgmlType::Bf16 => GgmlDType::BF16,
        GgmlType::Q4_0 => GgmlDType::Q4_0,
        GgmlType::Q4_1 => GgmlDType::Q4_1,
        GgmlType::Q5_0 => GgmlDType::Q5_0,
        GgmlType::Q5_1 => GgmlDType::Q5_1,
        GgmlType::Q8_0 => GgmlDType::Q8_0,
        GgmlType::Q2K => GgmlDType::Q2K,
        GgmlType::Q3K => GgmlDType::Q3K,
        GgmlType::Q4K => GgmlDType::Q4K,
        GgmlType::Q5K => GgmlDType::Q5K,
        GgmlType::Q6K => GgmlDType::Q6K,
        other => panic!("matrices of type {other}"),
    }
}

fn add(to: &mut [f64], from: &[f64]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
}
