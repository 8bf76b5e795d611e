//! The program that runs the model.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Attention, Bounds, Fact, TransformersStack};
use crate::text::printable;
use crate::units::Bytes;

/// A runtime whose buffers vramplan knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Runtime {
    /// vramplan's own engine: candle, the H2O cache, fused kernels.
    #[serde(rename = "vramplan")]
    Vramplan,
    /// Hugging Face transformers on `PyTorch`.
    #[serde(rename = "transformers")]
    Transformers,
    /// llama.cpp with its CUDA backend, and what is built on it (Ollama).
    #[serde(rename = "llama.cpp")]
    LlamaCpp,
    /// vLLM: paged attention over a pool of cache blocks.
    #[serde(rename = "vllm")]
    Vllm,
}

impl Runtime {
    /// Every runtime.
    pub const ALL: [Self; 4] = [Self::Vramplan, Self::Transformers, Self::LlamaCpp, Self::Vllm];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vramplan => "vramplan",
            Self::Transformers => "transformers",
            Self::LlamaCpp => "llama.cpp",
            Self::Vllm => "vllm",
        }
    }

    /// Whether a conversation cache can be evicted by attention mass there: by vramplan's engine, and
    /// by code on top of transformers; other runtimes shift or stop.
    pub const fn evicts(self) -> bool {
        matches!(self, Self::Vramplan | Self::Transformers)
    }

    /// Whether activations can be captured there.
    pub const fn captures(self) -> bool {
        matches!(self, Self::Vramplan | Self::Transformers)
    }

    /// The attention implementation that it uses unless told otherwise.
    pub const fn default_attention(self) -> Attention {
        match self {
            Self::Vramplan => Attention::Fused,
            Self::Transformers => Attention::Sdpa,
            Self::LlamaCpp | Self::Vllm => Attention::Flash,
        }
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Runtime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = text.to_ascii_lowercase().replace("llamacpp", "llama.cpp");
        Self::ALL.into_iter().find(|runtime| runtime.name() == wanted).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|r| format!("`{r}`")).collect();
            format!("`{}` is no runtime: expected one of {}", printable(text), known.join(", "))
        })
    }
}

/// A runtime's constants, from its profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeSpec {
    /// Which runtime.
    pub runtime: Runtime,
    /// The versions that the profile describes.
    pub version: String,
    /// Which versions of transformers and bitsandbytes, where that is the runtime.
    pub stack: TransformersStack,
    /// Memory beside context and own allocations: module images, libraries' workspaces outside
    /// their allocator, pools.
    pub libraries: Fact<Bounds>,
    /// cuBLAS's workspace on GPUs before compute capability 9.0.
    pub blas_workspace: Fact<Bytes>,
    /// cuBLAS's workspace from compute capability 9.0 on.
    pub blas_workspace_hopper: Fact<Bytes>,
    /// What a small allocation is rounded up to.
    pub allocation_granule: Fact<Bytes>,
    /// What a large allocation is rounded up to.
    pub segment_granule: Fact<Bytes>,
}
