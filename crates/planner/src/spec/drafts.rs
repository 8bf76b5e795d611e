//! Drafts that are published for one model, and read what it leaves: its hidden states, or its cache.
//!
//! - *A block's draft* (`DFlashDraftModel`, `DFlash2DraftModel`): layers of Qwen3's shape behind a matrix that joins hidden
//!   states of the model, all tokens ahead in one pass. Embedding and output head are the model's. The second kind has two
//!   convolutions a layer, and two codebooks by which it chooses between candidates.
//! - *An assistant* (`Gemma4AssistantForCausalLM`): four narrow layers with queries alone, which read keys and values of the
//!   model's last layers, and an output head of their own width.
//!
//! Parameters of every row are those that the Hub counts, as llmfit-core 1.1.18, `data/hf_models.json` lists them; so are widths,
//! heads and layers. Windows and hidden states are `config.json`'s, as public programs quote it: `1Cat-vLLM`'s
//! `test_dflash_checkpoint_config_layouts` (Qwen3.6, Qwen3.5-122B), tables of published heads (Qwen3.5-9B), mlx-swift-lm's
//! `testDFlash2ConfigurationDecodesReleaseCheckpoint` (Qwen3.8). Assistants: tests of mlx-swift-lm and of public Rust programs that
//! quote theirs; their parameters come out to the last.

use super::ModelSpec;
use crate::dtype::WeightFormat;

/// What a draft is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DraftKind {
    /// It predicts a block from hidden states of the model.
    Block {
        /// Hidden states that it reads.
        states: u64,
        /// Layers that keep a window, and the window; the others keep every token.
        windowed: (u64, u64),
        /// Whether it convolves and chooses between candidates.
        selects: bool,
    },
    /// It reads the model's cache.
    Assistant {
        /// The model's hidden size.
        backbone: u64,
        /// Centroids by which it skips most of its vocabulary; 0 for none.
        centroids: u64,
    },
}

/// A draft as it is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DraftShape {
    /// Its name, without whose it is.
    pub name: &'static str,
    /// What it is.
    pub kind: DraftKind,
    /// Layers.
    pub n_layers: u64,
    /// Hidden size.
    pub hidden_size: u64,
    /// Width of the MLP.
    pub ffn_size: u64,
    /// Heads of queries, and of keys and values.
    pub heads: [u64; 2],
    /// Width of a head.
    pub head_dim: u64,
    /// Tokens of the vocabulary, which is the model's.
    pub vocab_size: u64,
    /// Parameters that are published.
    pub parameters: u64,
}

/// Taps of the convolutions, channels that share a coefficient, and the rank of the codebooks: of every one that is published.
pub const TAPS: u64 = 2;
/// See [`TAPS`].
pub const CONV_GROUP: u64 = 16;
/// See [`TAPS`].
pub const SELECTOR_RANK: u64 = 256;
/// Width of the heads of an assistant's layer that keeps every token, its last.
pub const WIDE_HEAD: u64 = 512;

const fn block(
    name: &'static str,
    (n_layers, windowed): (u64, (u64, u64)),
    [hidden_size, ffn_size, vocab_size]: [u64; 3],
    (states, selects): (u64, bool),
    parameters: u64,
) -> DraftShape {
    let kind = DraftKind::Block { states, windowed, selects };
    let (heads, head_dim) = ([32, 8], 128);
    DraftShape {
        name,
        kind,
        n_layers,
        hidden_size,
        ffn_size,
        heads,
        head_dim,
        vocab_size,
        parameters,
    }
}

const fn assistant(
    name: &'static str,
    (backbone, centroids): (u64, u64),
    [hidden_size, ffn_size]: [u64; 2],
    heads: [u64; 2],
    parameters: u64,
) -> DraftShape {
    DraftShape {
        name,
        kind: DraftKind::Assistant { backbone, centroids },
        n_layers: 4,
        hidden_size,
        ffn_size,
        heads,
        head_dim: 256,
        vocab_size: 262_144,
        parameters,
    }
}

const QWEN: u64 = 248_320;

/// Those that are known.
pub const PUBLISHED: [DraftShape; 12] = [
    block("qwen3.6-27b-dflash", (5, (4, 2048)), [5120, 17_408, QWEN], (5, false), 1_730_213_120),
    block("qwen3.8-27b-dflash2", (5, (5, 2048)), [5120, 17_408, QWEN], (5, true), 1_924_404_480),
    block("qwen3.6-35b-a3b-dflash", (6, (5, 4096)), [2048, 6144, QWEN], (8, false), 385_906_176),
    block("qwen3.5-9b-dflash", (6, (5, 4096)), [4096, 12_288, QWEN], (8, false), 1_291_904_512),
    block("qwen3.5-122b-a10b-dflash", (6, (5, 4096)), [3072, 9216, QWEN], (8, false), 773_893_632),
    block("qwen3-8b-dflash-b16", (5, (0, 0)), [4096, 12_288, 151_936], (5, false), 1_048_626_432),
    block("qwen3-4b-dflash-b16", (5, (0, 0)), [2560, 9728, 151_936], (5, false), 537_427_200),
    assistant("gemma-4-31b-it-assistant", (5376, 0), [1024, 8192], [32, 16], 469_518_596),
    assistant("gemma-4-26b-a4b-it-assistant", (2816, 0), [1024, 8192], [16, 8], 419_711_236),
    assistant("gemma-4-12b-it-assistant", (3840, 0), [1024, 8192], [16, 8], 422_856_964),
    assistant("gemma-4-e4b-it-assistant", (2560, 2048), [256, 2048], [4, 2], 78_779_908),
    assistant("gemma-4-e2b-it-assistant", (1536, 2048), [256, 2048], [4, 1], 77_993_476),
];

/// A draft, and how its linear layers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishedDraft {
    /// Which of [`PUBLISHED`] it is: what a server is told is copied often.
    at: u8,
    /// Whether its linear layers are in 4 bits with a scale for every 128 (`W4A16`); otherwise all is in 16 bits.
    pub in_four_bits: bool,
}

impl PublishedDraft {
    /// By the last part of a name: a repository's, or a folder's that is called like one.
    pub fn named(name: &str) -> Option<Self> {
        let last = name.trim_end_matches('/').rsplit(['/', '\\']).next().unwrap_or(name);
        let lower = last.to_ascii_lowercase();
        let (base, in_four_bits) = match lower.strip_suffix("-w4a16") {
            Some(base) => (base, true),
            None => (lower.strip_suffix("-bf16").unwrap_or(&lower), false),
        };
        let base = base.replace("-it-qat-q4_0-unquantized-assistant", "-it-assistant");
        let at = PUBLISHED.iter().position(|shape| shape.name == base)?;
        Some(Self { at: u8::try_from(at).ok()?, in_four_bits })
    }

    /// Its shape.
    pub fn shape(self) -> &'static DraftShape {
        PUBLISHED.get(usize::from(self.at)).unwrap_or(&PUBLISHED[0])
    }

    /// Whether it is for this model: of its hidden size, and its vocabulary but for padding.
    pub fn is_for(self, model: &ModelSpec) -> bool {
        let DraftShape { kind, hidden_size, vocab_size, .. } = *self.shape();
        let reads = match kind {
            DraftKind::Block { .. } => hidden_size,
            DraftKind::Assistant { backbone, .. } => backbone,
        };
        reads == model.shape.hidden_size && vocab_size == model.shape.vocab_size
    }

    /// The format that its linear layers are in.
    pub const fn format(self) -> WeightFormat {
        if self.in_four_bits { WeightFormat::W4A16 } else { WeightFormat::Bf16 }
    }

    /// Layers that have keys and values of their own: those that keep every token, and those that keep a window, with the window.
    pub fn cached_layers(self) -> (u64, (u64, u64)) {
        match self.shape().kind {
            DraftKind::Block { windowed, .. } => {
                (self.shape().n_layers.saturating_sub(windowed.0), windowed)
            }
            DraftKind::Assistant { .. } => (0, (0, 0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_repositories_name_drafts() {
        for (name, shape, in_four_bits) in [
            ("z-lab/Qwen3.6-27B-DFlash", "qwen3.6-27b-dflash", false),
            ("/root/.cache/huggingface/qwen3.6-27b-dflash", "qwen3.6-27b-dflash", false),
            ("syvai/Qwen3.8-27B-DFlash2-W4A16", "qwen3.8-27b-dflash2", true),
            ("incoai/Qwen3.8-27B-DFlash2", "qwen3.8-27b-dflash2", false),
            ("google/gemma-4-31b-it-assistant", "gemma-4-31b-it-assistant", false),
            ("mlx-community/gemma-4-E4B-it-assistant-bf16/", "gemma-4-e4b-it-assistant", false),
            (
                "google/gemma-4-26B-A4B-it-qat-q4_0-unquantized-assistant",
                "gemma-4-26b-a4b-it-assistant",
                false,
            ),
        ] {
            let found = PublishedDraft::named(name).unwrap();
            assert_eq!((found.shape().name, found.in_four_bits), (shape, in_four_bits), "{name}");
        }
        for name in ["z-lab/Kimi-K3-DFlash", "llama-3.2-1b", "", "eagle3", "-w4a16"] {
            assert_eq!(PublishedDraft::named(name), None, "{name}");
        }
    }
}
