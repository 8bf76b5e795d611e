//! A model without a file: the tensors of a shape, with random weights of any type.
//!
//! For tests of every family and head layout, and for runs whose memory matters and whose words do
//! not. The same shape and seed give the same weights.

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};

use super::EngineError;
use super::config::Config;
use super::rope::Rope;
use super::source::Source;
use crate::dtype::GgmlType;
use crate::source::gguf::{GgufTensor, stored};
use crate::spec::{ModelShape, ModelSpec, QkNorm, StoredWeights};

/// Random weights in the shape of a model.
#[derive(Debug)]
pub struct SyntheticSource {
    spec: ModelSpec,
    config: Config,
    tensors: Vec<GgufTensor>,
    seed: u64,
}

const EPS: f32 = 1e-5;

impl SyntheticSource {
    /// A model of this shape with matrices of type `ty`.
    ///
    /// # Errors
    /// For shapes that the engine does not run, and where the type's blocks do not divide a row.
    pub fn new(shape: ModelShape, ty: GgmlType, seed: u64) -> Result<Self, EngineError> {
        Self::with_rope(shape, ty, seed, Rope::plain(10_000.0))
    }

    /// The same with this rotary position embedding.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_rope(
        shape: ModelShape,
        ty: GgmlType,
        seed: u64,
        rope: Rope,
    ) -> Result<Self, EngineError> {
        let tensors = tensors(&shape, ty)?;
        let mut spec = ModelSpec::new("synthetic", shape, "random weights")
            .map_err(|error| EngineError::unsupported(error.to_string(), "a model's shape"))?;
        let config = Config::new(&spec, EPS, rope)?;
        spec.stored = Some(StoredWeights {
            label: ty.name().to_ascii_lowercase(),
            source: "random weights".to_owned(),
            tensors: stored(&tensors),
            prequantized: false,
        });
        Ok(Self { spec, config, tensors, seed })
    }

    /// The weights of a tensor before they are quantized: norms around 1, everything else around 0
    /// and as wide as keeps activations from growing.
    #[allow(clippy::cast_precision_loss, reason = "a spread need not be exact")]
    fn values(&self, tensor: &GgufTensor) -> Vec<f32> {
        let name = &tensor.name;
        let (mean, spread) = match name.rsplit('.').next() {
            _ if name.ends_with("norm.weight") => (1.0, 0.1),
            Some("bias") => (0.0, 0.5),
            _ if name == "token_embd.weight" => (0.0, 1.0),
            _ => (0.0, 1.0 / (tensor.row() as f32).sqrt()),
        };
        let mut random = Random::new(self.seed, name);
        (0..tensor.elements()).map(|_| mean + spread * random.normal()).collect()
    }
}

impl Source for SyntheticSource {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn config(&self) -> &Config {
        &self.config
    }

    fn tensors(&self) -> &[GgufTensor] {
        &self.tensors
    }

    fn read(&mut self, tensor: &GgufTensor, bytes: &mut [u8]) -> Result<(), EngineError> {
        let refuse = |error| EngineError::device("quantizing random weights", error);
        let values = self.values(tensor);
        let dims = (values.len() / number(tensor.row()), number(tensor.row()));
        let values = Tensor::from_vec(values, dims, &Device::Cpu).map_err(refuse)?;
        let quantized = QTensor::quantize(&values, dtype(tensor.ty)?).map_err(refuse)?;
        let data = quantized.data().map_err(refuse)?;
        if data.len() != bytes.len() {
            let found = format!("{} B", data.len());
            return Err(EngineError::tensor(&tensor.name, found, format!("{} B", bytes.len())));
        }
        bytes.copy_from_slice(&data);
        Ok(())
    }
}

fn number(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// What candle calls a type.
pub(super) fn dtype(ty: GgmlType) -> Result<GgmlDType, EngineError> {
    Ok(match ty {
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
        other => {
            let what = format!("matrices of type {other}");
            return Err(EngineError::unsupported(what, "a type that candle multiplies with"));
        }
    })
}

/// The tensors of a plain decoder under the names of GGUF files.
fn tensors(shape: &ModelShape, ty: GgmlType) -> Result<Vec<GgufTensor>, EngineError> {
    let (hidden, vocab, ffn) = (shape.hidden_size, shape.vocab_size, shape.ffn_size);
    let (q, kv) = (shape.q_width(), shape.kv_width());
    let mut list = List { ty, offset: 0, tensors: Vec::new() };
    list.add("token_embd.weight".to_owned(), &[hidden, vocab])?;
    for layer in 0..shape.n_layers {
        let mut add = |stem: &str, dims: &[u64]| list.add(format!("blk.{layer}.{stem}"), dims);
        add("attn_norm.weight", &[hidden])?;
        for (stem, width) in [("attn_q", q), ("attn_k", kv), ("attn_v", kv)] {
            add(&format!("{stem}.weight"), &[hidden, width])?;
            if shape.qkv_bias {
                add(&format!("{stem}.bias"), &[width])?;
            }
        }
        if shape.qk_norm == QkNorm::PerHead {
            add("attn_q_norm.weight", &[shape.head_dim])?;
            add("attn_k_norm.weight", &[shape.head_dim])?;
        }
        add("attn_output.weight", &[q, hidden])?;
        add("ffn_norm.weight", &[hidden])?;
        add("ffn_gate.weight", &[hidden, ffn])?;
        add("ffn_up.weight", &[hidden, ffn])?;
        add("ffn_down.weight", &[ffn, hidden])?;
    }
    list.add("output_norm.weight".to_owned(), &[hidden])?;
    if !shape.tied_embeddings {
        list.add("output.weight".to_owned(), &[hidden, vocab])?;
    }
    Ok(list.tensors)
}

struct List {
    ty: GgmlType,
    offset: u64,
    tensors: Vec<GgufTensor>,
}

impl List {
    /// Alignment of tensors in a file.
    const ALIGNMENT: u64 = 32;

    fn add(&mut self, name: String, dims: &[u64]) -> Result<(), EngineError> {
        let ty = if dims.len() == 1 { GgmlType::F32 } else { self.ty };
        let row = dims.first().copied().unwrap_or(1);
        if !ty.layout().divides(row) {
            let expected = format!("rows of whole {ty} blocks");
            return Err(EngineError::tensor(&name, format!("{dims:?}"), expected));
        }
        let size = ty.layout().size_of(row)?.times(dims.iter().skip(1).product())?;
        let offset = self.offset;
        self.offset = (offset + size.get()).next_multiple_of(Self::ALIGNMENT);
        self.tensors.push(GgufTensor { name, dims: dims.to_vec(), ty, offset, size, part: 0 });
        Ok(())
    }
}

/// A small generator (`SplitMix64`), started by a seed and a name.
struct Random(u64);

impl Random {
    fn new(seed: u64, name: &str) -> Self {
        // FNV-1a.
        let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self(name.bytes().fold(0xcbf2_9ce4_8422_2325 ^ seed, hash))
    }

    #[allow(clippy::cast_precision_loss, reason = "24 bits fit an f32")]
    fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u32 << 24) as f32
    }

    /// Nearly normal, never beyond ±3.5: the sum of twelve uniform numbers is a normal one with a
    /// variance of 1; four stretched ones are enough here.
    fn normal(&mut self) -> f32 {
        let sum = self.uniform() + self.uniform() + self.uniform() + self.uniform();
        (sum - 2.0) * 3.0f32.sqrt()
    }
}
