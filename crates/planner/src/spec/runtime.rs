//! The program that runs the model.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{
    Bounds, Fact, Launch, LlamaCppGeneration, LlamaCppVersion, Serving, TransformersStack,
    TransformersVersion, VllmVersion,
};
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
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Other words for a runtime: other spellings, and programs that run its engine.
const OTHER_WORDS: [(&str, &str); 9] = [
    ("llamacpp", "llama.cpp"),
    ("llama-cpp", "llama.cpp"),
    ("llama_cpp", "llama.cpp"),
    ("llama-server", "llama.cpp"),
    ("ollama", "llama.cpp"),
    ("lmstudio", "llama.cpp"),
    ("lm-studio", "llama.cpp"),
    ("hf", "transformers"),
    ("huggingface", "transformers"),
];

impl FromStr for Runtime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = text.to_ascii_lowercase();
        let wanted =
            OTHER_WORDS.iter().find(|(word, _)| *word == wanted).map_or(&*wanted, |(_, name)| name);
        Self::ALL.into_iter().find(|runtime| runtime.name() == wanted).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|r| format!("`{r}`")).collect();
            format!("`{}` is no runtime: expected one of {}", printable(text), known.join(", "))
        })
    }
}

/// Which runtime, and what it is told that no other is: its version where versions differ, and vLLM's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "one for each deployment, and copied as a whole")]
pub enum RuntimeOptions {
    /// vramplan's own engine has none.
    Vramplan,
    /// Versions of transformers and bitsandbytes.
    Transformers(TransformersStack),
    /// The generation of llama.cpp.
    LlamaCpp(LlamaCppVersion),
    /// What vLLM's server is told.
    Vllm(Serving),
}

impl RuntimeOptions {
    /// The newest version, and vLLM as on a card below 70 GiB.
    pub fn newest(runtime: Runtime) -> Self {
        match runtime {
            Runtime::Vramplan => Self::Vramplan,
            Runtime::Transformers => Self::Transformers(TransformersStack::default()),
            Runtime::LlamaCpp => Self::LlamaCpp(LlamaCppVersion::default()),
            Runtime::Vllm => Self::Vllm(Serving::default()),
        }
    }

    /// Which runtime has these.
    pub const fn runtime(&self) -> Runtime {
        match self {
            Self::Vramplan => Runtime::Vramplan,
            Self::Transformers(_) => Runtime::Transformers,
            Self::LlamaCpp(_) => Runtime::LlamaCpp,
            Self::Vllm(_) => Runtime::Vllm,
        }
    }

    /// The versions of transformers and bitsandbytes; the newest under another runtime.
    pub fn stack(&self) -> TransformersStack {
        match self {
            Self::Transformers(stack) => *stack,
            Self::Vramplan | Self::LlamaCpp(_) | Self::Vllm(_) => TransformersStack::default(),
        }
    }

    /// The generation of llama.cpp; the newest under another runtime.
    pub fn llama_cpp(&self) -> LlamaCppVersion {
        match self {
            Self::LlamaCpp(version) => *version,
            Self::Vramplan | Self::Transformers(_) | Self::Vllm(_) => LlamaCppVersion::default(),
        }
    }

    /// The version that is planned, where one can be chosen: vramplan's own has none.
    pub fn version(&self) -> Option<String> {
        match self {
            Self::Vramplan => None,
            Self::Transformers(stack) => Some(stack.to_string()),
            Self::LlamaCpp(build) => Some(build.to_string()),
            Self::Vllm(serving) => Some(serving.version.to_string()),
        }
    }

    /// The generations of versions that plans were checked against, the newest last; nothing for vramplan's own.
    pub fn checked_versions(&self) -> Vec<&'static str> {
        match self {
            Self::Vramplan => Vec::new(),
            Self::Transformers(_) => {
                use TransformersVersion as V;
                [V::AllLogits, V::ExpertModules, V::Current].map(V::range).to_vec()
            }
            Self::LlamaCpp(_) => LlamaCppGeneration::ALL.map(|(name, _)| name).to_vec(),
            Self::Vllm(_) => VllmVersion::CHECKED.to_vec(),
        }
    }

    /// What vLLM is told, where that is the runtime.
    pub const fn serving(&self) -> Option<Serving> {
        match self {
            Self::Vllm(serving) => Some(*serving),
            Self::Vramplan | Self::Transformers(_) | Self::LlamaCpp(_) => None,
        }
    }
}

/// A runtime as it is set up: its options, and its constants from its profile.
#[derive(Clone, Debug, PartialEq)]
pub struct RuntimeSpec {
    /// Which runtime, and its options.
    pub options: RuntimeOptions,
    /// What a llama.cpp server is told besides.
    pub launch: Launch,
    /// The versions that the profile describes.
    pub version: String,
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

impl RuntimeSpec {
    /// Which runtime.
    pub const fn kind(&self) -> Runtime {
        self.options.runtime()
    }
}
