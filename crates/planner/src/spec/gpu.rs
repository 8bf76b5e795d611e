//! A GPU: what fits on it and how fast it reads.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::{Basis, Bounds, Fact, RuntimeOptions};
use crate::dtype::{KvFormat, WeightFormat};
use crate::text::printable;
use crate::units::Bytes;

/// CUDA's compute capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComputeCapability {
    /// Before the dot.
    pub major: u32,
    /// After the dot.
    pub minor: u32,
}

impl fmt::Display for ComputeCapability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for ComputeCapability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || {
            format!("`{}` is not a compute capability: expected one such as `8.9`", printable(text))
        };
        let (major, minor) = text.split_once('.').ok_or_else(malformed)?;
        let number = |digits: &str| digits.parse().map_err(|_| malformed());
        Ok(Self { major: number(major)?, minor: number(minor)? })
    }
}

/// Whether error correction costs memory, and whether `total` is with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ecc {
    /// The card has none, or it cannot be switched.
    None,
    /// In-band (GDDR): one sixteenth is lost while it is on, and it is on in `total`.
    InbandOn,
    /// In-band (GDDR): one sixteenth would be lost; it is off in `total`.
    InbandOff,
    /// In HBM's own extra bits: it costs nothing.
    Sideband,
}

impl Ecc {
    /// The word used in profiles.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::InbandOn => "inband-on",
            Self::InbandOff => "inband-off",
            Self::Sideband => "sideband",
        }
    }

    /// The note that `profiles show` prints.
    pub const fn note(self) -> &'static str {
        match self {
            Self::None => "no ECC",
            Self::InbandOn => "ECC on, which costs 1/16; without it the total is 16/15 of this",
            Self::InbandOff => "ECC off; switching it on costs 1/16 of the total",
            Self::Sideband => "ECC on, in memory of its own: no cost",
        }
    }
}

/// Who makes a GPU: whose engines run on it, and how much of what is known holds there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Maker {
    /// CUDA.
    #[default]
    Nvidia,
    /// `ROCm`.
    Amd,
    /// `SYCL` and Vulkan.
    Intel,
    /// Metal; its memory is the machine's.
    Apple,
}

impl Maker {
    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nvidia => "NVIDIA",
            Self::Amd => "AMD",
            Self::Intel => "Intel",
            Self::Apple => "Apple",
        }
    }

    /// Whether it is the one whose cards plans were checked on.
    pub const fn is_nvidia(self) -> bool {
        matches!(self, Self::Nvidia)
    }
}

/// A GPU that can be planned for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuSpec {
    /// The short name, such as `L4` or `RTX 4090`.
    pub name: String,
    /// Other names, NVML's among them.
    pub aliases: Vec<String>,
    /// Who makes it.
    pub maker: Maker,
    /// What NVML reports as the total; of memory that a GPU shares with the machine, all of it.
    pub total: Fact<Bytes>,
    /// What the driver keeps for itself (NVML's `reserved`); of memory that a machine shares, what its system holds.
    pub reserved: Fact<Bytes>,
    /// The least and the most of that which machines were seen to hold, where they differ.
    pub reserved_range: Option<[Bytes; 2]>,
    /// CUDA's compute capability.
    pub compute_capability: ComputeCapability,
    /// Streaming multiprocessors.
    pub sm_count: Fact<u64>,
    /// Peak memory bandwidth, bytes a second.
    pub bandwidth: Fact<Bytes>,
    /// Error correction.
    pub ecc: Ecc,
    /// Memory of a process beyond its allocations (context, module images), where it was observed.
    /// Where it is calibrated, what of libraries and workspaces was not told apart is in it.
    pub context: Option<Fact<Bounds>>,
    /// Whether its memory is the machine's main memory: what one takes the other has not.
    pub unified: bool,
    /// What else `calibrate` measured on this card of the runtime that is planned.
    pub calibrated: CalibratedParts,
}

/// What a process of a runtime was measured to hold on a card, told apart as far as runs did. What was
/// not is in [`GpuSpec::context`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CalibratedParts {
    /// Libraries, loaded before anything is allocated.
    pub libraries: Option<Fact<Bounds>>,
    /// What came beside the allocator's pool later: workspaces of libraries, kernels loaded at their
    /// first use.
    pub workspaces: Option<Fact<Bounds>>,
    /// What the allocator's pool took beyond what it handed out.
    pub slack: Option<Fact<Bounds>>,
    /// What a server was measured to take in one setting.
    pub served: Option<Arc<MeasuredServer>>,
}

/// What a server of a model was measured to take of a card, and in which setting: in no other it says anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeasuredServer {
    /// The model's name.
    pub model: String,
    /// The format of its weights.
    pub weights: WeightFormat,
    /// The format of keys and values.
    pub kv: KvFormat,
    /// Tokens of a step.
    pub prefill_chunk: u64,
    /// Images of a prompt.
    pub images: Option<u64>,
    /// The runtime's options, [without their use](RuntimeOptions::without_use).
    pub options: RuntimeOptions,
    /// What its graphs took.
    pub graphs: Option<Fact<Bounds>>,
    /// How large its pool was.
    pub pool: Option<Fact<Bounds>>,
}

/// Context per multiprocessor where a card was never observed: the observed cards lie between
/// 2.8 (RTX 5090) and 4.9 MiB (V100), about 4.
const CONTEXT_PER_SM: [u64; 3] = [27, 40, 50];

/// More multiprocessors than any card has (the largest have 188): above it a number is a slip of the pen.
pub const MOST_MULTIPROCESSORS: u64 = 4096;

/// More memory than any machine has: what stands for main memory whose size is not known.
pub const LARGEST_MEMORY: Bytes = Bytes::new(1 << 50);

impl GpuSpec {
    /// Main memory as something to plan for, of this size, with what a process of the engine holds
    /// there beside its buffers.
    pub fn main_memory(total: Bytes, process: Fact<Bounds>) -> Self {
        let none = |source| Fact::new(Bytes::ZERO, Basis::Exact, source);
        Self {
            name: "CPU".to_owned(),
            aliases: Vec::new(),
            maker: Maker::Nvidia,
            total: Fact::new(total, Basis::Exact, "main memory"),
            reserved: none("no driver"),
            reserved_range: None,
            compute_capability: ComputeCapability { major: 0, minor: 0 },
            sm_count: Fact::new(0, Basis::Exact, "no GPU"),
            bandwidth: none("not known"),
            ecc: Ecc::None,
            context: Some(process),
            unified: false,
            calibrated: CalibratedParts::default(),
        }
    }

    /// A card of which only the size is known: what else of it matters lies between the observed cards of its size.
    /// Its bandwidth is zero, which stands for an unknown one.
    ///
    /// Sources: the reserves and contexts of the built-in profiles (0.4 to 5.6 % of the total; 120 to 700 MiB).
    pub fn of_size(name: &str, total: Bytes) -> Self {
        const SOURCE: &str = "between the observed cards: only the size of this one is known";
        const MIB: u64 = 1 << 20;
        // The line through the observed Ampere and Ada cards: 285 MiB and 7.2 MiB a GiB.
        let growing = total.scale(72, 10 * 1024).unwrap_or(Bytes::ZERO).get();
        let reserved = (285 * MIB).saturating_add(growing);
        let context =
            Bounds::new(Bytes::new(120 * MIB), Bytes::new(350 * MIB), Bytes::new(700 * MIB));
        Self {
            name: name.to_owned(),
            aliases: Vec::new(),
            maker: Maker::Nvidia,
            total: Fact::new(
                total,
                Basis::Assumed,
                "the size as given; the rest as observed cards have it",
            ),
            reserved: Fact::new(Bytes::new(reserved), Basis::Assumed, SOURCE),
            reserved_range: None,
            compute_capability: ComputeCapability { major: 8, minor: 6 },
            sm_count: Fact::new(82, Basis::Assumed, SOURCE),
            bandwidth: Fact::new(Bytes::ZERO, Basis::Assumed, "not known"),
            ecc: Ecc::None,
            context: Some(Fact::new(context, Basis::Assumed, SOURCE)),
            unified: false,
            calibrated: CalibratedParts::default(),
        }
    }

    /// Whether its size is one that a machine has, rather than what stands for an unknown one.
    pub const fn has_known_size(&self) -> bool {
        self.total.value.get() < LARGEST_MEMORY.get()
    }

    /// Whether it is main memory: no context, no libraries of a GPU.
    pub const fn is_main_memory(&self) -> bool {
        self.compute_capability.major == 0
    }

    /// What CUDA says that a card has, and what shares are of: what a process can take when nothing else runs. Of memory that
    /// a machine shares CUDA says all, whatever the system keeps of it.
    pub fn visible(&self) -> Bytes {
        if self.unified && self.maker.is_nvidia() {
            return self.total.value;
        }
        self.free()
    }

    /// What is free when nothing else runs.
    pub fn free(&self) -> Bytes {
        self.total.value.minus_or_zero(self.reserved.value)
    }

    /// Whether the context was measured with everything that a runtime holds beside its allocations.
    pub fn is_calibrated(&self) -> bool {
        self.context.as_ref().is_some_and(|context| context.basis == Basis::Calibrated)
    }

    /// Memory of a process beyond its own allocations: observed, or derived from the number of
    /// multiprocessors, by which contexts grow.
    pub fn context(&self) -> Fact<Bounds> {
        if let Some(context) = &self.context {
            return context.clone();
        }
        // Profiles state no more; a `GpuSpec` that is put together elsewhere may.
        let multiprocessors = self.sm_count.value.min(MOST_MULTIPROCESSORS);
        let [low, expected, high] = CONTEXT_PER_SM
            .map(|tenths| Bytes::new(Bytes::MIB.get() * tenths * multiprocessors / 10));
        Fact::new(
            Bounds::new(low, expected, high),
            Basis::Assumed,
            "2.7–5.0 MiB per multiprocessor, the range over the cards that were observed",
        )
    }
}
