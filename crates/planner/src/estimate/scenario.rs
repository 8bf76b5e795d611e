//! Everything that a plan depends on.

use crate::dtype::KvFormat;
use crate::spec::{
    GpuSpec, Layer, LayerShape, Logits, MeasuredServer, ModelSpec, Part, Runtime, RuntimeSpec,
    Workload,
};
use crate::units::Overflow;

use super::runtimes::rules;
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
    /// Tokens of the conversation cache (`max_cache_tokens`).
    pub cache_tokens: u64,
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
        self.runtime.kind()
    }

    /// What the GPU has of the model.
    pub const fn part(&self) -> &Part {
        &self.weights.part
    }

    /// What a server in this setting was measured to take of this card, where it was.
    pub fn measured_server(&self) -> Option<&MeasuredServer> {
        let measured = self.gpu.calibrated.served.as_deref()?;
        let is_same = measured.model == self.model.name
            && measured.weights == self.weights.format
            && measured.kv == self.kv
            && measured.prefill_chunk == self.workload.prefill_chunk
            && measured.images == self.workload.images
            && measured.options == self.runtime.options.without_use();
        is_same.then_some(measured)
    }

    /// What the layers on this GPU keep.
    pub fn layers(&self) -> &[Layer] {
        self.part().layers_of(rules(self.kind()).layers(self.model))
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
        self.workload.system_tokens.checked_add(self.cache_tokens).ok_or(Overflow)
    }

    /// Tokens of the first prefill: a chunk of the system prompt.
    pub fn system_chunk(&self) -> u64 {
        self.workload.prefill_chunk.min(self.workload.system_tokens)
    }

    /// Tokens of a later prefill: a chunk of a user's prompt.
    pub fn chunk(&self) -> u64 {
        self.workload.prefill_chunk.min(self.cache_tokens)
    }

    /// Positions that get logits in a step of `rows` tokens of `sequences` sequences.
    pub fn logit_positions(&self, rows: u64, sequences: u64) -> u64 {
        if self.workload.logits == Logits::All { rows } else { sequences.min(rows) }
    }

    /// Checks options that no formula covers.
    ///
    /// # Errors
    /// With the option at fault, its value and what was expected.
    pub fn check(&self) -> Result<(), EstimateError> {
        let rules = rules(self.kind());
        self.check_architecture()?;
        let attention = rules.attention();
        if !attention.allowed.contains(&self.workload.attention) {
            let value = self.workload.attention.to_string();
            return Err(self.unsupported("attention", value, attention.expected));
        }
        if !rules.takes_kv(self.kv) {
            return Err(self.unsupported("KV format", self.kv.to_string(), rules.expected_kv()));
        }
        self.check_blocks()?;
        rules.check(self)?;
        super::vision::check(self)
    }

    /// A file of an architecture that is no family here can be planned where the library that reads such files
    /// runs it.
    fn check_architecture(&self) -> Result<(), EstimateError> {
        match &self.model.file_caches {
            Some(file) if !rules(self.kind()).runs_every_file() => {
                let expected = "one of the families that `vramplan profiles list models` shows, or \
                    `--runtime llama.cpp`";
                Err(self.unsupported("family", file.architecture.clone(), expected))
            }
            _ => Ok(()),
        }
    }

    /// An option that the runtime does not have.
    pub fn unsupported(
        &self,
        what: &'static str,
        value: String,
        expected: &'static str,
    ) -> EstimateError {
        EstimateError::Unsupported { runtime: self.kind(), what, value, expected }
    }

    /// The blocks of a cache's format have to divide a head.
    fn check_blocks(&self) -> Result<(), EstimateError> {
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
