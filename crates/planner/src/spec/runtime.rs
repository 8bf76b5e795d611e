//! The program that runs the model.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{
    AskedShare, Bounds, CheckedLlamaCpp, Fact, Launch, LlamaCppGeneration, LlamaCppVersion,
    OllamaVersion, Serving, SglangVersion, TokenServing, TransformersStack, TransformersVersion,
    Utilization, VllmVersion,
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
    /// llama.cpp with its CUDA backend, and what is built on it.
    #[serde(rename = "llama.cpp")]
    LlamaCpp,
    /// Ollama, which starts llama.cpp's server by rules of its own.
    #[serde(rename = "ollama")]
    Ollama,
    /// vLLM: paged attention over a pool of cache blocks.
    #[serde(rename = "vllm")]
    Vllm,
    /// `SGLang`: a radix tree of prefixes over a pool of tokens.
    #[serde(rename = "sglang")]
    Sglang,
}

impl Runtime {
    /// Every runtime.
    pub const ALL: [Self; 6] = [
        Self::Vramplan,
        Self::Transformers,
        Self::LlamaCpp,
        Self::Ollama,
        Self::Vllm,
        Self::Sglang,
    ];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vramplan => "vramplan",
            Self::Transformers => "transformers",
            Self::LlamaCpp => "llama.cpp",
            Self::Ollama => "ollama",
            Self::Vllm => "vllm",
            Self::Sglang => "sglang",
        }
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Other words for a runtime: other spellings, and programs that run its engine. Written without case, spaces and signs.
const OTHER_WORDS: [(&str, Runtime); 21] = [
    ("llamaserver", Runtime::LlamaCpp),
    ("llamacli", Runtime::LlamaCpp),
    ("llamacpppython", Runtime::LlamaCpp),
    ("gguf", Runtime::LlamaCpp),
    ("ggml", Runtime::LlamaCpp),
    ("lmstudio", Runtime::LlamaCpp),
    ("lms", Runtime::LlamaCpp),
    ("koboldcpp", Runtime::LlamaCpp),
    ("kobold", Runtime::LlamaCpp),
    ("llamafile", Runtime::LlamaCpp),
    ("jan", Runtime::LlamaCpp),
    ("gpt4all", Runtime::LlamaCpp),
    ("ramalama", Runtime::LlamaCpp),
    ("dockermodelrunner", Runtime::LlamaCpp),
    ("hf", Runtime::Transformers),
    ("huggingface", Runtime::Transformers),
    ("hftransformers", Runtime::Transformers),
    ("accelerate", Runtime::Transformers),
    ("bitsandbytes", Runtime::Transformers),
    ("vllmopenai", Runtime::Vllm),
    ("sgl", Runtime::Sglang),
];

/// Engines that people ask for and that are not modelled, by the same spelling.
const NOT_MODELLED: [&str; 18] = [
    "tgi",
    "textgenerationinference",
    "tensorrtllm",
    "trtllm",
    "exllama",
    "exllamav2",
    "exllamav3",
    "exl2",
    "exl3",
    "tabbyapi",
    "mlx",
    "mlxlm",
    "mlc",
    "mlcllm",
    "lmdeploy",
    "ktransformers",
    "iklamacpp",
    "ikllamacpp",
];

impl FromStr for Runtime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '_', '.', ' '], "");
        let wanted = plain(text);
        let own = Self::ALL.into_iter().find(|runtime| plain(runtime.name()) == wanted);
        let other = || OTHER_WORDS.iter().find(|(word, _)| *word == wanted).map(|(_, own)| *own);
        own.or_else(other).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|r| format!("`{r}`")).collect();
            let what = if NOT_MODELLED.contains(&wanted.as_str()) {
                "is not modelled"
            } else {
                "is not a runtime"
            };
            format!("`{}` {what}: expected one of {}", printable(text), known.join(", "))
        })
    }
}

/// Which runtime, and what it is told that no other is: its version where versions differ, and servers' limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "one for each deployment, and copied as a whole")]
pub enum RuntimeOptions {
    /// vramplan's own engine has none.
    Vramplan,
    /// Versions of transformers and bitsandbytes.
    Transformers(TransformersStack),
    /// The generation of llama.cpp.
    LlamaCpp(LlamaCppVersion),
    /// The release of Ollama.
    Ollama(OllamaVersion),
    /// What vLLM's server is told.
    Vllm(Serving),
    /// What `SGLang`'s server is told.
    Sglang(TokenServing),
}

impl RuntimeOptions {
    /// The newest version, and vLLM as on a card below 70 GiB.
    pub fn newest(runtime: Runtime) -> Self {
        match runtime {
            Runtime::Vramplan => Self::Vramplan,
            Runtime::Transformers => Self::Transformers(TransformersStack::default()),
            Runtime::LlamaCpp => Self::LlamaCpp(LlamaCppVersion::default()),
            Runtime::Ollama => Self::Ollama(OllamaVersion::default()),
            Runtime::Vllm => Self::Vllm(Serving::default()),
            Runtime::Sglang => Self::Sglang(TokenServing::default()),
        }
    }

    /// Which runtime has these.
    pub const fn runtime(&self) -> Runtime {
        match self {
            Self::Vramplan => Runtime::Vramplan,
            Self::Transformers(_) => Runtime::Transformers,
            Self::LlamaCpp(_) => Runtime::LlamaCpp,
            Self::Ollama(_) => Runtime::Ollama,
            Self::Vllm(_) => Runtime::Vllm,
            Self::Sglang(_) => Runtime::Sglang,
        }
    }

    /// The versions of transformers and bitsandbytes; the newest under another runtime.
    pub fn stack(&self) -> TransformersStack {
        match self {
            Self::Transformers(stack) => *stack,
            Self::Vramplan
            | Self::LlamaCpp(_)
            | Self::Ollama(_)
            | Self::Vllm(_)
            | Self::Sglang(_) => TransformersStack::default(),
        }
    }

    /// The version of llama.cpp, Ollama's of its release; the newest under another runtime.
    pub fn llama_cpp(&self) -> LlamaCppVersion {
        match self {
            Self::LlamaCpp(version) => *version,
            Self::Ollama(release) => release.llama_cpp(),
            Self::Vramplan | Self::Transformers(_) | Self::Vllm(_) | Self::Sglang(_) => {
                LlamaCppVersion::default()
            }
        }
    }

    /// What is known of the version of llama.cpp. What Ollama computed before it started `llama-server` was by graphs of its own,
    /// for many models in a language of its own, and is between those of llama.cpp as far as is known.
    pub fn checked_llama_cpp(&self) -> CheckedLlamaCpp {
        use LlamaCppGeneration as G;
        let checked = self.llama_cpp().checked();
        match self {
            Self::Ollama(release) if !release.starts_server() => {
                CheckedLlamaCpp { between: [G::Copies, G::HalfMask], ..checked }
            }
            // Of a release that was not read, the build is not known either.
            Self::Ollama(release) if release.is_beyond() => {
                CheckedLlamaCpp { between: [G::HalfMask, G::NEWEST], is_beyond: true, ..checked }
            }
            _ => checked,
        }
    }

    /// The version that is planned, where one can be chosen: vramplan's own has none.
    pub fn version(&self) -> Option<String> {
        match self {
            Self::Vramplan => None,
            Self::Transformers(stack) => Some(stack.to_string()),
            Self::LlamaCpp(build) => Some(build.to_string()),
            Self::Ollama(release) => Some(release.to_string()),
            Self::Vllm(serving) => Some(serving.version.to_string()),
            Self::Sglang(serving) => Some(serving.version.to_string()),
        }
    }

    /// The generations of versions that plans were checked against, the newest last; nothing for vramplan's own.
    pub fn checked_versions(&self) -> Vec<&'static str> {
        match self {
            Self::Vramplan => Vec::new(),
            Self::Transformers(_) => {
                use TransformersVersion as V;
                [V::AllLogits, V::RepeatedHeads, V::ExpertModules, V::Current]
                    .map(V::range)
                    .to_vec()
            }
            Self::LlamaCpp(_) => LlamaCppGeneration::ALL.map(|(name, _)| name).to_vec(),
            Self::Ollama(_) => OllamaVersion::CHECKED.to_vec(),
            Self::Vllm(_) => VllmVersion::CHECKED.to_vec(),
            Self::Sglang(_) => SglangVersion::CHECKED.to_vec(),
        }
    }

    /// What vLLM is told, where that is the runtime.
    pub const fn serving(&self) -> Option<Serving> {
        match self {
            Self::Vllm(serving) => Some(*serving),
            Self::Vramplan
            | Self::Transformers(_)
            | Self::LlamaCpp(_)
            | Self::Ollama(_)
            | Self::Sglang(_) => None,
        }
    }

    /// What `SGLang` is told, where that is the runtime.
    pub const fn token_serving(&self) -> Option<TokenServing> {
        match self {
            Self::Sglang(serving) => Some(*serving),
            Self::Vramplan
            | Self::Transformers(_)
            | Self::LlamaCpp(_)
            | Self::Ollama(_)
            | Self::Vllm(_) => None,
        }
    }

    /// The share of the card, of a runtime that takes one: given, or to be solved.
    pub const fn asked_share(&self) -> Option<AskedShare> {
        let (share, solves) = match self {
            Self::Vllm(serving) => (serving.utilization, serving.solves_share),
            Self::Sglang(serving) => (serving.fraction, serving.solves_fraction),
            Self::Vramplan | Self::Transformers(_) | Self::LlamaCpp(_) | Self::Ollama(_) => {
                return None;
            }
        };
        Some(if solves { AskedShare::Auto } else { AskedShare::Given(share) })
    }

    /// The share that is planned with, which is the default until it is solved.
    pub const fn share(&self) -> Option<Utilization> {
        match self {
            Self::Vllm(serving) => Some(serving.utilization),
            Self::Sglang(serving) => Some(serving.fraction),
            Self::Vramplan | Self::Transformers(_) | Self::LlamaCpp(_) | Self::Ollama(_) => None,
        }
    }

    /// The same with this share; a runtime that takes none is as it was.
    #[must_use]
    pub const fn with_share(self, share: Utilization) -> Self {
        match self {
            Self::Vllm(serving) => {
                Self::Vllm(Serving { utilization: share, solves_share: false, ..serving })
            }
            Self::Sglang(serving) => {
                Self::Sglang(TokenServing { fraction: share, solves_fraction: false, ..serving })
            }
            Self::Vramplan | Self::Transformers(_) | Self::LlamaCpp(_) | Self::Ollama(_) => self,
        }
    }

    /// The same with the longest sequence that its pool was found to hold, where it takes that.
    #[must_use]
    pub const fn with_fitted_length(self, tokens: u64) -> Self {
        match self {
            Self::Vllm(serving) => Self::Vllm(Serving { fitted_length: Some(tokens), ..serving }),
            Self::Sglang(_)
            | Self::Vramplan
            | Self::Transformers(_)
            | Self::LlamaCpp(_)
            | Self::Ollama(_) => self,
        }
    }

    /// The same on so many GPUs that every layer is split over.
    #[must_use]
    pub const fn with_ranks(self, ranks: u64) -> Self {
        match self {
            Self::Vllm(serving) => Self::Vllm(Serving { ranks, ..serving }),
            Self::Sglang(serving) => Self::Sglang(TokenServing { ranks, ..serving }),
            Self::Vramplan | Self::Transformers(_) | Self::LlamaCpp(_) | Self::Ollama(_) => self,
        }
    }

    /// The same without what says how much of a pool is used: what decides how large it is.
    #[must_use]
    pub const fn without_use(self) -> Self {
        match self {
            Self::Vllm(serving) => {
                let serving = Serving { fits_length: false, fitted_length: None, ..serving };
                Self::Vllm(Serving { most_blocks: None, max_model_len: None, ..serving })
            }
            Self::Sglang(serving) => {
                Self::Sglang(TokenServing { most_pages: None, context: None, ..serving })
            }
            Self::Vramplan | Self::Transformers(_) | Self::LlamaCpp(_) | Self::Ollama(_) => self,
        }
    }

    /// The same with pools of at most so many blocks, or pages; nothing changes without a pool.
    #[must_use]
    pub const fn with_most_blocks(self, most: u64) -> Self {
        match self {
            Self::Vllm(serving) => Self::Vllm(Serving { most_blocks: Some(most), ..serving }),
            Self::Sglang(serving) => {
                Self::Sglang(TokenServing { most_pages: Some(most), ..serving })
            }
            Self::Vramplan | Self::Transformers(_) | Self::LlamaCpp(_) | Self::Ollama(_) => self,
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
