//! What a vLLM server is told besides its limits: adapters, tokens predicted ahead, main memory, how ranks share layers, and
//! how its cache is cut.

use std::fmt;
use std::str::FromStr;

use super::PublishedDraft;
use crate::text::printable;
use crate::units::Bytes;

/// A size that vLLM's flags say in GiB: `4`, `7.5`, or with a unit as other sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gibibytes(pub Bytes);

/// More than any host has: a million GiB.
const MOST_GIB: f64 = 1e6;

impl FromStr for Gibibytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Ok(number) = text.trim().parse::<f64>() else {
            let wrong = |_| {
                format!("`{}` is not a size: expected GiB, such as `4` or `7.5`", printable(text))
            };
            return text.parse().map(Self).map_err(wrong);
        };
        if !(0.0..=MOST_GIB).contains(&number) {
            return Err(format!("`{}` is not a size: expected GiB, 0 to 1000000", printable(text)));
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 2^50")]
        let bytes = (number * f64::from(1u32 << 30)) as u64;
        Ok(Self(Bytes::new(bytes)))
    }
}

impl fmt::Display for Gibibytes {
    /// To the byte, with a unit.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

/// Slots for adapters of low rank that requests may name (`--enable-lora --max-loras --max-lora-rank`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoraSlots {
    /// Adapters in one batch.
    pub slots: u64,
    /// The largest rank of any.
    pub rank: u64,
}

impl LoraSlots {
    /// Ranks that slots may have (`config/lora.py`, `MaxLoRARanks`).
    pub const RANKS: [u64; 9] = [1, 8, 16, 32, 64, 128, 256, 320, 512];
    /// The rank where none is given.
    pub const DEFAULT_RANK: u64 = 16;
    /// Slots where none are given.
    pub const DEFAULT_SLOTS: u64 = 1;
}

/// How the ranks of several GPUs share layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// GPUs that every dense matrix is split over (`--tensor-parallel-size`).
    pub tensor: u64,
    /// Runs of layers (`--pipeline-parallel-size`).
    pub stages: u64,
    /// Engines that each have all dense matrices (`--data-parallel-size`).
    pub copies: u64,
    /// Whether experts are dealt out whole (`--enable-expert-parallel`); otherwise each is split.
    pub whole_experts: bool,
}

impl Grid {
    /// GPUs that the experts of a layer are spread over, however they are: those of all copies.
    pub const fn experts(self) -> u64 {
        self.tensor.saturating_mul(self.copies)
    }

    /// All GPUs.
    pub const fn gpus(self) -> u64 {
        self.experts().saturating_mul(self.stages)
    }

    /// Whether it is more than one of tensor and pipeline parallelism says.
    pub const fn is_mixed(self) -> bool {
        self.copies > 1 || self.whole_experts || (self.tensor > 1 && self.stages > 1)
    }
}

/// What predicts tokens ahead (`--speculative-config`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Drafter {
    /// A layer of the model's own (method `mtp`).
    #[default]
    Layer,
    /// An EAGLE head.
    Eagle,
    /// An EAGLE-3 head.
    Eagle3,
    /// A smaller model (method `draft_model`).
    Model,
    /// One that is published for the model (methods `dflash` and, for Gemma 4, `mtp`).
    Published(PublishedDraft),
    /// Words of the prompt are looked up: it has neither weights nor a cache (methods `ngram` and `suffix`).
    Lookup,
    /// One whose sizes are not known.
    Unknown,
}

impl Drafter {
    /// What `--draft` names, where that is no model.
    pub fn named(name: &str) -> Option<Self> {
        let is = |word: &str| name.eq_ignore_ascii_case(word);
        match () {
            () if is("eagle") => Some(Self::Eagle),
            () if is("eagle3") => Some(Self::Eagle3),
            () if is(Self::LOOKUP) => Some(Self::Lookup),
            () if is(Self::UNKNOWN) => Some(Self::Unknown),
            () => PublishedDraft::named(name).map(Self::Published),
        }
    }

    /// What `--draft` says of words that are looked up.
    pub const LOOKUP: &str = "ngram";
    /// What it says of one that is not known.
    pub const UNKNOWN: &str = "unknown";
}

/// What graphs are captured, by the level of optimization (`config/vllm.py`, `OptimizationLevel`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Optimization {
    /// None, and nothing is compiled (`-O0`).
    None,
    /// Steps piece by piece (`-O1`).
    Pieces,
    /// Those, and whole steps of sequences that decode.
    #[default]
    Whole,
}

/// What a server is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// Slots for adapters.
    pub lora: Option<LoraSlots>,
    /// Tokens that a layer of the model, a head or a draft model predicts ahead (`num_speculative_tokens`); 0 for none.
    pub ahead: u64,
    /// What predicts them.
    pub drafter: Drafter,
    /// Weights of every rank that stay in main memory (`--cpu-offload-gb`).
    pub cpu_offload: Bytes,
    /// Main memory that blocks are moved to, of all GPUs together (`--kv-offloading-size`).
    pub kv_offload: Bytes,
    /// Main memory for every GPU that sequences are swapped to (`--swap-space`).
    pub swap: Option<Bytes>,
    /// How much is compiled and captured (`-O`).
    pub optimization: Optimization,
    /// Bytes of the pool where they are given, in place of a share (`--kv-cache-memory-bytes`).
    pub cache_bytes: Option<Bytes>,
    /// Whether prompts that begin alike share their blocks, where that is said (`--enable-prefix-caching`).
    pub shares_prefixes: Option<bool>,
    /// Tokens of a block where they are given (`--block-size`).
    pub block_tokens: Option<u64>,
    /// Tokens of vLLM's largest captured step, or requests of `SGLang`'s largest captured batch, where they are given
    /// (`--max-cudagraph-capture-size`, `--cuda-graph-max-bs`).
    pub most_captured: Option<u64>,
    /// Ranks over which the tokens of a cache are dealt out (`--decode-context-parallel-size`).
    pub context_ranks: u64,
    /// How GPUs share layers where that is more than `--split` says.
    pub grid: Option<Grid>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            lora: None,
            ahead: 0,
            drafter: Drafter::Layer,
            cpu_offload: Bytes::ZERO,
            kv_offload: Bytes::ZERO,
            swap: None,
            optimization: Optimization::Whole,
            cache_bytes: None,
            block_tokens: None,
            shares_prefixes: None,
            most_captured: None,
            context_ranks: 1,
            grid: None,
        }
    }
}
