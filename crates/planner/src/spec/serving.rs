//! What an engine is told that serves many sequences from one pool of cache blocks (vLLM).

use std::fmt;
use std::str::FromStr;

use super::{GpuSpec, Media, Server, VllmVersion};
use crate::text::printable;
use crate::units::{Bytes, Overflow};

/// A share of the card's memory, in hundredths of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Utilization(u64);

impl Utilization {
    /// So many thousandths.
    pub const fn thousandths(n: u64) -> Self {
        Self(10 * n)
    }

    /// A share that is so many thousandths larger, the whole card at most.
    #[must_use]
    pub const fn plus_thousandths(self, n: u64) -> Self {
        let more = self.0.saturating_add(n.saturating_mul(10));
        Self(if more > 10_000 { 10_000 } else { more })
    }

    /// A share that was reckoned: 0.001 to 1, to four digits.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    pub fn of_share(share: f64) -> Self {
        Self((share * 10_000.0).round().clamp(10.0, 10_000.0) as u64)
    }

    /// vLLM's own (`CacheConfig.gpu_memory_utilization`; logs without the flag show it, too).
    pub const fn default_of(version: VllmVersion) -> Self {
        Self(if version.takes_more() { 9200 } else { 9000 })
    }

    /// This share of a total.
    pub fn of(self, total: Bytes) -> Result<Bytes, Overflow> {
        total.scale(self.0, 10_000)
    }
}

/// A share of the card as it is asked for: given, or solved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedShare {
    /// So much.
    Given(Utilization),
    /// As much as is safe beside what others hold.
    Auto,
}

impl AskedShare {
    /// The share, where it is given.
    pub const fn given(self) -> Option<Utilization> {
        match self {
            Self::Given(share) => Some(share),
            Self::Auto => None,
        }
    }
}

impl fmt::Display for AskedShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(share) => share.fmt(f),
            Self::Auto => f.pad("auto"),
        }
    }
}

impl FromStr for AskedShare {
    type Err = String;

    /// A share such as `0.9`, or `auto`.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("auto") {
            return Ok(Self::Auto);
        }
        text.parse().map(Self::Given).map_err(|error: String| format!("{error}, or `auto`"))
    }
}

impl fmt::Display for Utilization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:04}", self.0 % 10_000);
        let fraction = digits.trim_end_matches('0');
        write!(f, "{}.{}", self.0 / 10_000, if fraction.is_empty() { "0" } else { fraction })
    }
}

impl FromStr for Utilization {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || {
            format!(
                "`{}` is not a share of the card: expected 0.01 to 1, or 1% to 100%",
                printable(text)
            )
        };
        let share = match text.strip_suffix('%') {
            Some(percent) => percent.trim().parse::<f64>().map(|percent| percent / 100.0),
            None => text.parse(),
        };
        let share = share.map_err(|_| malformed())?;
        if !(0.01..=1.0).contains(&share) {
            return Err(malformed());
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let points = (share * 10_000.0).round() as u64;
        Ok(Self(points))
    }
}

/// What an engine is told that serves many sequences from one pool of cache blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serving {
    /// Sequences that it may process together (`max_num_seqs`).
    pub max_seqs: u64,
    /// Share of the card for weights, activations and the pool.
    pub utilization: Utilization,
    /// GPUs that every layer is split over.
    pub ranks: u64,
    /// Which version it is.
    pub version: VllmVersion,
    /// Whether the share is to be solved: what it is until then is the default.
    pub solves_share: bool,
    /// Whether nothing is compiled and no graph is captured (`--enforce-eager`).
    pub eager: bool,
    /// Whether `PyTorch`'s allocator maps pages to segments that grow (`PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True`).
    pub expandable_segments: bool,
    /// The longest sequence that it is told to serve (`--max-model-len`); nothing for the workload's context.
    pub max_model_len: Option<u64>,
    /// Whether it takes the longest sequence that its pool holds, where that one is longer (`--max-model-len auto`).
    pub fits_length: bool,
    /// The longest sequence that every rank's pool was found to hold, where it takes that.
    pub fitted_length: Option<u64>,
    /// Blocks that the pool has at most, because another rank's has no more.
    pub most_blocks: Option<u64>,
    /// What else it is told.
    pub server: Server,
    /// What prompts may have beside text.
    pub media: Media,
}

impl Default for Serving {
    /// The newest, as on a card below 70 GiB.
    fn default() -> Self {
        Self {
            max_seqs: 256,
            utilization: Utilization::default_of(VllmVersion::NEWEST),
            ranks: 1,
            version: VllmVersion::NEWEST,
            solves_share: false,
            eager: false,
            expandable_segments: false,
            max_model_len: None,
            fits_length: false,
            fitted_length: None,
            most_blocks: None,
            server: Server::default(),
            media: Media::default(),
        }
    }
}

impl Serving {
    /// The defaults of a release on a card with this much memory.
    pub fn on(gpu: &GpuSpec, version: VllmVersion) -> Self {
        let default = Self { version, ..Self::default() };
        let max_seqs = if is_large(gpu, version) { 1024 } else { default.max_seqs };
        Self { max_seqs, utilization: Utilization::default_of(version), ..default }
    }

    /// `max_num_batched_tokens` as a server of a release on this card, for a context of so many tokens. Before 0.8 a prompt
    /// is one step, where its context is not long.
    pub fn default_chunk(gpu: &GpuSpec, version: VllmVersion, context: u64) -> u64 {
        if !version.chunks_prompts() {
            let whole = context.max(SMALL_CHUNK);
            let chunk = version.chunk_of_long_contexts().filter(|_| context > LONGEST_WHOLE);
            return chunk.unwrap_or(whole);
        }
        let chunk = if is_huge(gpu, version) {
            16_384
        } else if is_large(gpu, version) {
            8192
        } else {
            SMALL_CHUNK
        };
        chunk.min(context.saturating_mul(Self::on(gpu, version).max_seqs))
    }
}

/// The step of a server on a card below 70 GiB.
const SMALL_CHUNK: u64 = 2048;
/// The longest context whose prompts 0.5 to 0.7 process at once.
const LONGEST_WHOLE: u64 = 32_768;

/// `EngineArgs.get_batch_defaults`: 70 GiB or more, and neither an A100 nor a GB10; from 0.8 on. Where a GPU shares its machine's
/// memory NVML does not say how much there is, and the defaults are those of no memory.
fn is_large(gpu: &GpuSpec, version: VllmVersion) -> bool {
    if gpu.unified && gpu.maker.is_nvidia() {
        return false;
    }
    let is_a100 = version.spares_a100() && gpu.name.to_ascii_lowercase().contains("a100");
    let capability = (gpu.compute_capability.major, gpu.compute_capability.minor);
    let is_gb10 = version.spares_gb10() && capability == (12, 1);
    let has_room = version.chunks_prompts() && gpu.visible() >= Bytes::new(70 << 30);
    (has_room && !is_a100 && !is_gb10) || is_huge(gpu, version)
}

/// The same: 160 GiB or more.
fn is_huge(gpu: &GpuSpec, version: VllmVersion) -> bool {
    let is_told = !gpu.unified || !gpu.maker.is_nvidia();
    is_told && version.knows_huge_cards() && gpu.visible() >= Bytes::new(160 << 30)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utilizations_round_trip_and_others_are_refused() {
        for text in ["0.9", "0.95", "0.8661", "1.0", "0.01"] {
            assert_eq!(text.parse::<Utilization>().unwrap().to_string(), text);
        }
        for text in ["90", "0", "1.01", "NaN", "", "190%"] {
            assert!(text.parse::<Utilization>().is_err(), "{text}");
        }
        assert_eq!("90%".parse::<Utilization>().unwrap().to_string(), "0.9");
    }
}
