//! What the engine needs to know about a model beside its tensors.

use super::EngineError;
use super::rope::{Rope, Yarn};
use crate::h2o::to_usize;
use vramplan_planner::estimate::rules::Refusal;
use vramplan_planner::estimate::vramplan::capabilities;
use vramplan_planner::read::gguf::{GgufFile, Value};
use vramplan_planner::spec::{Architecture, ModelShape, ModelSpec, QkNorm, RopePairs};

/// In which order a file has the elements of a head that rotate together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairOrder {
    /// Element `i` with `i + head_dim / 2`.
    Halves,
    /// Element `2i` with `2i + 1`: what llama.cpp's converter makes of Llama's and Mistral's queries
    /// and keys.
    Interleaved,
}

/// A model's numbers, as indices and factors.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Decoder layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Width of the MLP.
    pub ffn: usize,
    /// Rows of the token embedding.
    pub vocab: usize,
    /// What norms add to the mean square.
    pub eps: f32,
    /// Rotary position embedding.
    pub rope: Rope,
    /// The order of rotated pairs in the file.
    pub pairs: PairOrder,
    /// Biases on queries, keys and values.
    pub qkv_bias: bool,
    /// Norms on queries and keys, one weight per element of a head.
    pub qk_norm: bool,
    /// Whether the output head is the token embedding.
    pub tied: bool,
}

impl Config {
    /// Elements of a token's queries.
    pub const fn q_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Elements of a token's keys.
    pub const fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// The numbers of a model of this shape.
    ///
    /// # Errors
    /// For families and features that the engine does not run.
    pub fn new(spec: &ModelSpec, eps: f32, rope: Rope) -> Result<Self, EngineError> {
        let shape = &spec.shape;
        check(spec)?;
        Ok(Self {
            layers: to_usize(shape.n_layers),
            hidden: to_usize(shape.hidden_size),
            heads: to_usize(shape.n_heads),
            kv_heads: to_usize(shape.kv_heads),
            head_dim: to_usize(shape.head_dim),
            ffn: to_usize(shape.ffn_size),
            vocab: to_usize(shape.vocab_size),
            eps,
            rope,
            pairs: pairs(shape.architecture),
            qkv_bias: shape.qkv_bias,
            qk_norm: shape.qk_norm == QkNorm::PerHead,
            tied: shape.tied_embeddings,
        })
    }

    /// The numbers of a GGUF file whose model is `spec`.
    ///
    /// # Errors
    /// As [`Config::new`], and for a kind of `RoPE` scaling that the engine does not know.
    pub fn of_gguf(spec: &ModelSpec, file: &GgufFile) -> Result<Self, EngineError> {
        let keys = Keys { file, prefix: spec.shape.architecture.gguf_name() };
        let eps = keys.float("attention.layer_norm_rms_epsilon")?.unwrap_or(DEFAULT_EPS);
        keys.full_rotation(spec.shape.head_dim)?;
        Self::new(spec, eps, keys.rope(&spec.shape)?)
    }
}

/// What llama.cpp takes where a file is silent.
const DEFAULT_EPS: f32 = 1e-5;
const DEFAULT_BASE: f32 = 10_000.0;

const fn pairs(architecture: Architecture) -> PairOrder {
    match architecture.rope_pairs() {
        RopePairs::Interleaved => PairOrder::Interleaved,
        RopePairs::Halves => PairOrder::Halves,
    }
}

fn check(model: &ModelSpec) -> Result<(), EngineError> {
    match capabilities::refuses_model(model) {
        Some(Refusal { what, expected }) => Err(EngineError::unsupported(what, expected)),
        None => Ok(()),
    }
}

struct Keys<'a> {
    file: &'a GgufFile,
    prefix: &'static str,
}

impl Keys<'_> {
    fn value(&self, key: &str) -> Option<&Value> {
        self.file.metadata.get(&format!("{}.{key}", self.prefix))
    }

    #[allow(clippy::cast_possible_truncation, reason = "files store these as f32")]
    fn float(&self, key: &str) -> Result<Option<f32>, EngineError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Float(n)) if n.is_finite() && *n > 0.0 => Ok(Some(*n as f32)),
            Some(other) => Err(self.refuse(key, other, "a number above 0")),
        }
    }

    fn number(&self, key: &str) -> Result<Option<u64>, EngineError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Unsigned(n)) => Ok(Some(*n)),
            Some(other) => Err(self.refuse(key, other, "a whole number")),
        }
    }

    fn refuse(&self, key: &str, value: &Value, expected: &str) -> EngineError {
        EngineError::unsupported(format!("`{}.{key}` = {value}", self.prefix), expected)
    }

    fn full_rotation(&self, head_dim: u64) -> Result<(), EngineError> {
        const KEY: &str = "rope.dimension_count";
        match self.number(KEY)? {
            Some(n) if n != head_dim => {
                let expected = format!("{head_dim}: every element of a head rotates");
                Err(self.refuse(KEY, &Value::Unsigned(n), &expected))
            }
            _ => Ok(()),
        }
    }

    fn rope(&self, shape: &ModelShape) -> Result<Rope, EngineError> {
        const KIND: &str = "rope.scaling.type";
        let rope = Rope::plain(self.float("rope.freq_base")?.unwrap_or(DEFAULT_BASE));
        let factor = self.float("rope.scaling.factor")?;
        match (self.value(KIND), factor.or(self.float("rope.scale_linear")?)) {
            (None | Some(_), None) if !self.scales()? => Ok(rope),
            (_, None) => Err(EngineError::unsupported(
                "`rope.scaling.type` without a factor",
                format!("`{}.rope.scaling.factor`", self.prefix),
            )),
            (Some(Value::Text(kind)), Some(factor)) if kind == "yarn" => {
                self.yarn(shape, rope, factor)
            }
            (None, Some(factor)) => Ok(Rope { scale: 1.0 / factor, ..rope }),
            (Some(Value::Text(kind)), Some(factor)) if kind == "linear" => {
                Ok(Rope { scale: 1.0 / factor, ..rope })
            }
            (Some(Value::Text(kind)), Some(_)) if kind == "none" => Ok(rope),
            (Some(other), _) => Err(self.refuse(KIND, other, "`none`, `linear` or `yarn`")),
        }
    }

    /// Whether a kind of scaling is named that needs a factor.
    fn scales(&self) -> Result<bool, EngineError> {
        match self.value("rope.scaling.type") {
            None => Ok(false),
            Some(Value::Text(kind)) => Ok(kind != "none"),
            Some(other) => Err(self.refuse("rope.scaling.type", other, "a text")),
        }
    }

    fn yarn(&self, shape: &ModelShape, rope: Rope, factor: f32) -> Result<Rope, EngineError> {
        let original = self.number("rope.scaling.original_context_length")?;
        let attention = self.float("rope.scaling.attn_factor")?.unwrap_or(1.0);
        let head_dim = to_usize(shape.head_dim);
        let original = original.unwrap_or(shape.context_len);
        let yarn = Yarn::new(head_dim, rope.base, original, factor, attention);
        Ok(Rope { scale: 1.0 / factor, yarn: Some(yarn), ..rope })
    }
}
