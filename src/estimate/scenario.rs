//! Everything that a plan depends on.

use crate::dtype::KvFormat;
use crate::spec::{
    Attention, GpuSpec, Layer, LayerShape, ModelSpec, Part, Runtime, RuntimeSpec, Workload,
};
use crate::units::Overflow;

use super::weights::Weights;

/// A model on a GPU under a runtime, doing some work. The weights are sized beforehand: they do not
/// change while a search varies the rest.
#[derive(Clone, Debug)]
pub struct Scenario<'a> {
    /// The model.
    pub model: &'a ModelSpec,
    /// The GPU.
    pub gpu: &'a GpuSpec,
    /// The runtime's constants.
    pub runtime: &'a RuntimeSpec,
    /// The model's weights, sized.
    pub weights: &'a Weights,
    /// The format of keys and values.
    pub kv: KvFormat,
    /// The work.
    pub workload: Workload,
}

/// Why buffers cannot be listed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EstimateError {
    /// The runtime has no such option.
    #[error("the `{runtime}` runtime has no {what} `{value}`: expected {expected}")]
    Unsupported {
        /// The runtime.
        runtime: Runtime,
        /// The option: `KV format`, `attention`.
        what: &'static str,
        /// The value given.
        value: String,
        /// What it has.
        expected: &'static str,
    },
    /// The cache format's blocks do not divide a head.
    #[error("a KV cache of `{kv}` needs heads that its blocks divide: `head_dim` is {head_dim}")]
    UnevenBlocks {
        /// The format.
        kv: KvFormat,
        /// Elements of a head.
        head_dim: u64,
    },
    /// A runtime that cannot run this family.
    #[error("`{field}`: {reason}")]
    Model {
        /// The part of the model's shape at fault.
        field: &'static str,
        /// Why it cannot be planned.
        reason: String,
    },
    /// A number too large to be true.
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

impl Scenario<'_> {
    /// Which runtime.
    pub fn kind(&self) -> Runtime {
        self.runtime.runtime
    }

    /// What the GPU has of the model.
    pub const fn part(&self) -> &Part {
        &self.weights.part
    }

    /// What the layers on this GPU keep.
    pub fn layers(&self) -> &[Layer] {
        let layers = match self.kind() {
            Runtime::Vramplan | Runtime::LlamaCpp => &self.model.gguf_layers,
            Runtime::Transformers | Runtime::Vllm => &self.model.layers,
        };
        self.part().layers_of(layers)
    }

    /// The same, each with its index in the model.
    pub fn indexed_layers(&self) -> impl Iterator<Item = (u64, Layer)> + '_ {
        (self.part().layers.start..).zip(self.layers().iter().copied())
    }

    /// The most of `what` that a layer on this GPU has.
    pub fn widest(&self, what: impl Fn(&LayerShape) -> u64) -> u64 {
        let shape = &self.model.shape;
        let run = match shape.per_layer {
            Some(_) => self.part().layers.clone(),
            None => 0..1,
        };
        run.map(|index| what(&shape.layer(index))).max().unwrap_or(0)
    }

    /// Layers on this GPU that keep keys and values of every token.
    pub fn full_layers(&self) -> u64 {
        Layer::full(self.layers())
    }

    /// Layers on this GPU that keep keys and values of a window.
    pub fn window_layers(&self) -> u64 {
        Layer::windowed(self.layers())
    }

    /// Layers on this GPU that keep a recurrent state.
    pub fn recurrent_layers(&self) -> u64 {
        Layer::recurrent(self.layers())
    }

    /// Tokens that attention sees once the conversation cache is full.
    pub fn full_tokens(&self) -> Result<u64, Overflow> {
        self.workload.system_tokens.checked_add(self.workload.cache_tokens).ok_or(Overflow)
    }

    /// Tokens of the first prefill: a chunk of the system prompt.
    pub fn system_chunk(&self) -> u64 {
        self.workload.prefill_chunk.min(self.workload.system_tokens)
    }

    /// Tokens of a later prefill: a chunk of a user's prompt.
    pub fn chunk(&self) -> u64 {
        self.workload.prefill_chunk.min(self.workload.cache_tokens)
    }

    /// Checks options that no formula covers.
    pub fn check(&self) -> Result<(), EstimateError> {
        self.check_attention()?;
        self.check_kv()?;
        self.check_layers()?;
        self.check_family()?;
        super::vision::check(self)
    }

    fn check_attention(&self) -> Result<(), EstimateError> {
        let attention = self.workload.attention;
        let (allowed, expected): (&[Attention], _) = match self.kind() {
            Runtime::Vramplan => (
                &[Attention::Fused, Attention::Flash],
                "`fused` (scores for eviction) or `flash` (no eviction)",
            ),
            Runtime::Transformers => (
                &[Attention::Sdpa, Attention::Flash, Attention::Eager],
                "`sdpa`, `flash` or `eager`",
            ),
            Runtime::LlamaCpp => (&[Attention::Flash, Attention::Eager], "`flash` or `eager`"),
            Runtime::Vllm => (&[Attention::Flash], "`flash`"),
        };
        if allowed.contains(&attention) {
            return Ok(());
        }
        let value = attention.to_string();
        Err(EstimateError::Unsupported { runtime: self.kind(), what: "attention", value, expected })
    }

    /// State-space layers are planned where what their scan takes is known.
    fn check_layers(&self) -> Result<(), EstimateError> {
        let reason = match self.kind() {
            _ if self.model.shape.ssm.is_none() => return Ok(()),
            Runtime::LlamaCpp | Runtime::Vllm => return Ok(()),
            Runtime::Transformers => {
                "transformers' scan of state-space layers takes what its kernels decide, or gigabytes \
                 without them: use `--runtime llama.cpp` or `--runtime vllm`"
            }
            Runtime::Vramplan => {
                "vramplan's engine has no state-space layers: use `--runtime llama.cpp` or \
                 `--runtime vllm`"
            }
        };
        Err(EstimateError::Model { field: "ssm", reason: reason.to_owned() })
    }

    /// Older versions of transformers do not have every family.
    fn check_family(&self) -> Result<(), EstimateError> {
        let (version, family) = (self.runtime.stack.transformers, self.model.shape.architecture);
        if self.kind() != Runtime::Transformers || version.has(family) {
            return Ok(());
        }
        let reason = format!(
            "transformers {version} has no `{family}`: drop `--runtime-version`, or name a later one"
        );
        Err(EstimateError::Model { field: "architecture", reason })
    }

    fn check_kv(&self) -> Result<(), EstimateError> {
        use KvFormat as K;
        let (allowed, expected) = match self.kind() {
            Runtime::Vramplan => (matches!(self.kv, K::Int8 | K::F16), "`int8` or `f16`"),
            Runtime::Transformers => (
                matches!(
                    self.kv,
                    K::F32 | K::F16 | K::Bf16 | K::Fp8 | K::Hqq { .. } | K::Quanto { .. }
                ),
                "`bf16`, `f16`, `f32`, `fp8`, `hqq8`, `hqq4`, `quanto4` or the like",
            ),
            Runtime::LlamaCpp => (
                matches!(self.kv, K::F32 | K::F16 | K::Bf16 | K::Ggml(_)),
                "`f16`, `q8_0`, `q5_1`, `q4_0` or another GGML format",
            ),
            Runtime::Vllm => (
                matches!(self.kv, K::F32 | K::F16 | K::Bf16 | K::Fp8),
                "`bf16`, `f16`, `f32` or `fp8`",
            ),
        };
        if !allowed {
            let value = self.kv.to_string();
            return Err(EstimateError::Unsupported {
                runtime: self.kind(),
                what: "KV format",
                value,
                expected,
            });
        }
        let shape = &self.model.shape;
        if shape.mla.is_some() {
            return Ok(());
        }
        let last = if shape.per_layer.is_some() { shape.n_layers } else { 1 };
        for layer in (0..last).map(|index| shape.layer(index)) {
            if layer.kv_heads > 0 && !self.kv.blocks_divide(layer.kv_heads, layer.head_dim) {
                return Err(EstimateError::UnevenBlocks { kv: self.kv, head_dim: layer.head_dim });
            }
        }
        Ok(())
    }
}
