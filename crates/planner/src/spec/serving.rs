//! What an engine is told that serves many sequences from one pool of cache blocks (vLLM).

use std::fmt;
use std::str::FromStr;

use super::GpuSpec;
use crate::text::printable;
use crate::units::{Bytes, Overflow};

/// A share of the card's memory, in hundredths of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Utilization(u64);

impl Utilization {
    /// vLLM's own (`CacheConfig.gpu_memory_utilization`; a log without the flag shows it, too).
    pub const DEFAULT: Self = Self(9000);

    /// This share of a total.
    pub fn of(self, total: Bytes) -> Result<Bytes, Overflow> {
        total.scale(self.0, 10_000)
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
        let malformed =
            || format!("`{}` is no share of the card: expected 0.01 to 1", printable(text));
        let share: f64 = text.parse().map_err(|_| malformed())?;
        if !(0.01..=1.0).contains(&share) {
            return Err(malformed());
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let points = (share * 10_000.0).round() as u64;
        Ok(Self(points))
    }
}

/// Versions of vLLM whose profile runs differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VllmVersion {
    /// Up to 0.15: the vocabulary is sorted to filter logits, experts' workspaces are freed.
    Sorting,
    /// A Triton kernel searches the pivot (pull request 33538, February 2026), experts' workspaces
    /// are kept.
    #[default]
    Current,
}

impl VllmVersion {
    /// The versions that it stands for.
    pub const fn range(self) -> &'static str {
        match self {
            Self::Sorting => "0.6 to 0.15",
            Self::Current => "0.16 and later",
        }
    }
}

impl fmt::Display for VllmVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.range())
    }
}

impl FromStr for VllmVersion {
    type Err = String;

    /// `latest`, or a version such as `0.11.2`.
    fn from_str(text: &str) -> Result<Self, String> {
        match super::version::parse(text) {
            Some((0, 6..=15)) => Ok(Self::Sorting),
            Some(super::version::LATEST | (0, 16..)) => Ok(Self::Current),
            _ => Err(format!(
                "`{}` is no version of vLLM: expected `0.6` or later, such as `0.11.2`, or `latest`",
                printable(text)
            )),
        }
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
    /// Blocks that the pool has at most, because another rank's has no more.
    pub most_blocks: Option<u64>,
}

impl Default for Serving {
    /// As on a card below 70 GiB.
    fn default() -> Self {
        Self {
            max_seqs: 256,
            utilization: Utilization::DEFAULT,
            ranks: 1,
            version: VllmVersion::default(),
            most_blocks: None,
        }
    }
}

impl Serving {
    /// vLLM's defaults on a card with this much memory: `max_num_seqs`.
    pub fn on(gpu: &GpuSpec) -> Self {
        let default = Self::default();
        let max_seqs = if is_large(gpu) { 1024 } else { default.max_seqs };
        Self { max_seqs, ..default }
    }

    /// vLLM's `max_num_batched_tokens` as a server on this card.
    pub fn default_chunk(gpu: &GpuSpec) -> u64 {
        if is_large(gpu) { 8192 } else { 2048 }
    }
}

/// `EngineArgs.get_batch_defaults`: 70 GiB or more, and no A100.
fn is_large(gpu: &GpuSpec) -> bool {
    let is_a100 = gpu.name.to_ascii_lowercase().contains("a100");
    gpu.visible() >= Bytes::new(70 << 30) && !is_a100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_belong_to_a_generation() {
        for (text, version) in [
            ("latest", VllmVersion::Current),
            ("0.28", VllmVersion::Current),
            ("v0.16.0", VllmVersion::Current),
            ("0.14.0rc1.dev2+g7d9f6663a", VllmVersion::Sorting),
            ("0.6.3.post1", VllmVersion::Sorting),
        ] {
            assert_eq!(text.parse(), Ok(version), "{text}");
        }
        for text in ["0.5", "1.0", "19", "", "0.x"] {
            assert!(text.parse::<VllmVersion>().is_err(), "{text}");
        }
    }

    #[test]
    fn utilizations_round_trip_and_others_are_refused() {
        for text in ["0.9", "0.95", "0.8661", "1.0", "0.01"] {
            assert_eq!(text.parse::<Utilization>().unwrap().to_string(), text);
        }
        for text in ["90", "0", "1.01", "NaN", "", "90%"] {
            assert!(text.parse::<Utilization>().is_err(), "{text}");
        }
    }
}
