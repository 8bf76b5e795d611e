//! What a llama.cpp server is told besides its version: where weights and caches are, and how slots share a cache.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Beside;
use crate::dtype::KvFormat;
use crate::text::printable;

/// How many layers, or who decides: `25`, `all` or `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// As many as the fastest placement that fits has.
    Auto,
    /// All of them.
    All,
    /// This many.
    Some(u64),
}

impl Count {
    /// The number that was asked for, `all` being `most`; nothing where it is to be solved.
    pub const fn of(self, most: u64) -> Option<u64> {
        match self {
            Self::Auto => None,
            Self::All => Some(most),
            Self::Some(count) => Some(count),
        }
    }
}

impl FromStr for Count {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            // llama.cpp's own idiom for all of them.
            "all" | "-1" => Ok(Self::All),
            number => number.parse().map(Self::Some).map_err(|_| {
                format!(
                    "`{}` is not a number of layers: expected a number, `all` or `auto`",
                    printable(text)
                )
            }),
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::All => f.write_str("all"),
            Self::Some(count) => write!(f, "{count}"),
        }
    }
}

/// `--split-mode` of llama.cpp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum SplitMode {
    /// One GPU: that of `--main-gpu`.
    None,
    /// Every GPU has a run of whole layers.
    Layer,
    /// Matrices are cut by rows.
    Row,
}

/// Tensors whose name a pattern finds, and the device that they go to: `exps=CPU` (`--override-tensor`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorOverride {
    /// A regular expression that is searched for in the names of tensors.
    pub pattern: String,
    /// The name of the device: `CPU`, or `CUDA0` and so on.
    pub device: String,
}

impl FromStr for TensorOverride {
    type Err = String;

    /// llama.cpp takes what is before the first `=` as the pattern.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((pattern, device)) if !pattern.is_empty() && !device.is_empty() => {
                Ok(Self { pattern: pattern.to_owned(), device: device.to_owned() })
            }
            _ => Err(format!(
                "`{}` overrides no tensor: expected `PATTERN=DEVICE`, such as `exps=CPU`",
                printable(text)
            )),
        }
    }
}

impl fmt::Display for TensorOverride {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.pattern, self.device)
    }
}

/// What of each GPU's proportion llama.cpp deals layers by (`--tensor-split`), in thousandths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TensorSplit(pub Vec<u64>);

/// More than any proportion says.
const MOST_SHARE: f64 = 1e9;

impl TensorSplit {
    /// Whole numbers, such as of layers.
    pub fn of_counts(counts: &[u64]) -> Self {
        Self(counts.iter().map(|count| count.saturating_mul(1000)).collect())
    }

    /// The proportions in single precision, as llama.cpp reads them.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "llama.cpp computes in single precision"
    )]
    pub fn shares(&self) -> impl Iterator<Item = f32> + '_ {
        self.0.iter().map(|thousandths| (*thousandths as f64 / 1000.0) as f32)
    }
}

impl FromStr for TensorSplit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || {
            format!(
                "`{}` is not a split: expected a proportion for every GPU, such as `3,1`",
                printable(text)
            )
        };
        let share = |part: &str| -> Result<u64, String> {
            let share: f64 = part.trim().parse().map_err(|_| malformed())?;
            if !(0.0..MOST_SHARE).contains(&share) {
                return Err(malformed());
            }
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let thousandths = (share * 1000.0).round() as u64;
            Ok(thousandths)
        };
        let shares: Vec<u64> = text.split([',', '/']).map(share).collect::<Result<_, _>>()?;
        if shares.iter().all(|share| *share == 0) {
            return Err(malformed());
        }
        Ok(Self(shares))
    }
}

impl fmt::Display for TensorSplit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, thousandths) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let fraction = format!("{:03}", thousandths % 1000);
            let fraction = fraction.trim_end_matches('0');
            let dot = if fraction.is_empty() { "" } else { "." };
            write!(f, "{comma}{}{dot}{fraction}", thousandths / 1000)?;
        }
        Ok(())
    }
}

/// What a llama.cpp server is told besides its version.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// Layers on GPUs, the output head being one more (`-ngl`).
    pub gpu_layers: Option<Count>,
    /// Layers whose experts stay in main memory, the first of the model (`--n-cpu-moe`).
    pub cpu_moe: Option<Count>,
    /// Where tensors go whatever else is said (`-ot`), in the order in which they are tried.
    pub overrides: Vec<TensorOverride>,
    /// The proportions by which layers are dealt out (`-ts`).
    pub tensor_split: Option<TensorSplit>,
    /// Whether caches are where their layers are; otherwise in main memory (`--no-kv-offload`).
    pub offloads_cache: bool,
    /// Whether products of large batches run on the GPU though their weights are in main memory
    /// (`--no-op-offload`).
    pub offloads_operations: bool,
    /// Tokens of a batch (`-b`).
    pub batch: Option<u64>,
    /// Whether slots share the cache's cells (`--kv-unified`).
    pub unified: bool,
    /// Whether windowed layers cache every token (`--swa-full`).
    pub full_window: bool,
    /// Whether the build and the driver have virtual memory management (`VMM: yes` in the log).
    pub virtual_memory: bool,
    /// The format of values, where it is another than that of keys.
    pub values: Option<KvFormat>,
    /// Whether main memory is planned although everything is on GPUs: its size was given.
    pub plans_host: bool,
    /// What is loaded and run beside the model.
    pub beside: Option<Arc<Beside>>,
}

impl Default for Launch {
    fn default() -> Self {
        Self {
            gpu_layers: None,
            cpu_moe: None,
            overrides: Vec::new(),
            tensor_split: None,
            offloads_cache: true,
            offloads_operations: true,
            batch: None,
            unified: false,
            full_window: false,
            virtual_memory: true,
            values: None,
            plans_host: false,
            beside: None,
        }
    }
}

impl Launch {
    /// Whether a placement is to be solved where everything does not fit on GPUs: neither layers nor experts
    /// were placed by hand.
    pub fn is_free(&self) -> bool {
        let auto = |count: Option<Count>| matches!(count, Some(Count::Auto));
        let no_experts = matches!(self.cpu_moe, None | Some(Count::Some(0)));
        let silent = self.gpu_layers.is_none() && no_experts && self.overrides.is_empty();
        auto(self.gpu_layers) || auto(self.cpu_moe) || silent
    }

    /// Whether anything but llama.cpp's own default decides where tensors and caches are.
    pub fn places(&self) -> bool {
        self.gpu_layers.is_some_and(|count| count != Count::All && count != Count::Auto)
            || self.cpu_moe.is_some_and(|count| count != Count::Some(0) && count != Count::Auto)
            || !self.overrides.is_empty()
            || !self.offloads_cache
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_round_trip_and_others_are_refused() {
        for text in ["3,1", "0.5,2.25,0", "1"] {
            assert_eq!(text.parse::<TensorSplit>().unwrap().to_string(), text);
        }
        assert_eq!("3/1".parse::<TensorSplit>().unwrap().to_string(), "3,1");
        for text in ["", "0,0", "a", "1,", "-1,2", "NaN", "1e12"] {
            assert!(text.parse::<TensorSplit>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_override_is_cut_at_the_first_equals_sign() {
        let found: TensorOverride = "blk\\.1\\.=CUDA0".parse().unwrap();
        assert_eq!((found.pattern.as_str(), found.device.as_str()), ("blk\\.1\\.", "CUDA0"));
        for text in ["exps", "=CPU", "exps=", ""] {
            assert!(text.parse::<TensorOverride>().is_err(), "{text}");
        }
    }

    #[test]
    fn counts_are_numbers_or_words() {
        assert_eq!("auto".parse(), Ok(Count::Auto));
        assert_eq!("ALL".parse(), Ok(Count::All));
        assert_eq!("7".parse(), Ok(Count::Some(7)));
        assert_eq!("-1".parse(), Ok(Count::All));
        assert!("-2".parse::<Count>().is_err());
        assert_eq!(Count::Some(7).to_string(), "7");
    }
}
