//! What the model is asked to do.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text::printable;
use crate::units::{Bytes, Overflow, ParseBytesError};

/// More sequences than any scheduler is given.
pub const MOST_SEQUENCES: u64 = 1 << 20;

/// How attention is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Attention {
    /// vramplan's kernels: int8 is read directly and attention mass per slot is kept for eviction.
    Fused,
    /// Fused attention without scores (`FlashAttention`, llama.cpp's `-fa`).
    Flash,
    /// `PyTorch`'s `scaled_dot_product_attention`.
    Sdpa,
    /// The score matrix is materialised.
    Eager,
}

impl Attention {
    /// Every implementation.
    pub const ALL: [Self; 4] = [Self::Fused, Self::Flash, Self::Sdpa, Self::Eager];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fused => "fused",
            Self::Flash => "flash",
            Self::Sdpa => "sdpa",
            Self::Eager => "eager",
        }
    }
}

impl fmt::Display for Attention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Attention {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = text.to_ascii_lowercase();
        Self::ALL.into_iter().find(|attention| attention.name() == wanted).ok_or_else(|| {
            format!(
                "`{}` is not a kind of attention: expected `fused`, `flash`, `sdpa` or `eager`",
                printable(text)
            )
        })
    }
}

/// For which positions logits are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Logits {
    /// The last position of a sequence.
    #[default]
    Last,
    /// Every position of a chunk.
    All,
}

impl FromStr for Logits {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "last" => Ok(Self::Last),
            "all" => Ok(Self::All),
            _ => Err(format!(
                "`{}` is not a choice of logits: expected `last` or `all`",
                printable(text)
            )),
        }
    }
}

impl fmt::Display for Logits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(if *self == Self::All { "all" } else { "last" })
    }
}

/// Activations kept while the model looks at itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Capture {
    /// Layers whose output is captured.
    pub layers: u64,
    /// Tokens of the captured pass.
    pub tokens: u64,
    /// Whether attention weights are captured too, which takes the materialised score matrix.
    pub attention: bool,
    /// Whether captures stay on the GPU until the pass ends, instead of moving to the host layer by
    /// layer.
    pub keep: bool,
}

/// Memory to leave unused.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Headroom {
    /// A fixed size.
    Size(Bytes),
    /// Hundredths of a percent of the card's total.
    BasisPoints(u64),
    /// 3% of the total, at least 512 MiB.
    Default,
}

/// The default share of the total, in hundredths of a percent, and its floor.
const DEFAULT_BASIS_POINTS: u64 = 300;
const DEFAULT_FLOOR: Bytes = Bytes::new(512 << 20);

impl Headroom {
    /// The headroom on a card with this total.
    pub fn of(self, total: Bytes) -> Result<Bytes, Overflow> {
        match self {
            Self::Size(size) => Ok(size),
            Self::BasisPoints(points) => total.scale(points, 10_000),
            Self::Default => Ok(total.scale(DEFAULT_BASIS_POINTS, 10_000)?.max(DEFAULT_FLOOR)),
        }
    }
}

impl fmt::Display for Headroom {
    /// As it is read: a size to the byte, a percentage, or `default`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(size) => write!(f, "{size:#}"),
            Self::BasisPoints(points) => {
                #[allow(clippy::cast_precision_loss, reason = "at most 10,000")]
                let percent = *points as f64 / 100.0;
                write!(f, "{percent}%")
            }
            Self::Default => f.write_str("default"),
        }
    }
}

/// Why a text is no headroom.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadroomError {
    /// Not a share of the card.
    #[error("`{}` is not a share of the card: expected 0% or more, and less than 100%", printable(.text))]
    Percentage {
        /// The text as given.
        text: String,
    },
    /// Not a size.
    #[error(transparent)]
    Size(#[from] ParseBytesError),
}

impl FromStr for Headroom {
    type Err = HeadroomError;

    /// `512 MiB`, a percentage of the total such as `5%`, or `default`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().eq_ignore_ascii_case("default") {
            return Ok(Self::Default);
        }
        let Some(percent) = text.trim().strip_suffix('%') else {
            return Ok(Self::Size(text.parse()?));
        };
        let wrong = || HeadroomError::Percentage { text: text.to_owned() };
        let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
        if !(0.0..100.0).contains(&percent) {
            return Err(wrong());
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let points = (percent * 100.0).round() as u64;
        Ok(Self::BasisPoints(points))
    }
}

/// What is asked of the model: what is cached beside the conversation, how it is processed, and what else needs room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Tokens of the pinned system prompt.
    pub system_tokens: u64,
    /// Tokens that are never evicted because they are recent; nothing: the rule decides.
    pub recent_window: Option<u64>,
    /// Tokens that a prefill step processes at once.
    pub prefill_chunk: u64,
    /// Sequences processed together, each with its own conversation cache.
    pub batch: u64,
    /// Positions available: the model's, or more where `RoPE` is scaled.
    pub context: u64,
    /// How attention is computed.
    pub attention: Attention,
    /// Activation capture, if any.
    pub capture: Option<Capture>,
    /// For which positions logits are computed.
    pub logits: Logits,
    /// Whether caches grow by concatenation instead of being allocated at full size.
    pub grown_cache: bool,
    /// Images of a prompt that the runtime is set up for; nothing: what the runtime does by itself.
    pub images: Option<u64>,
}
