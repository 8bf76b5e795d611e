//! A record: schema `vramplan/evidence/v1`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Digest;
use crate::deployment::Question;
use crate::spec::Runtime;
use crate::units::Bytes;

/// The name and version of the schema.
pub const SCHEMA: &str = "vramplan/evidence/v1";

/// What a run was measured to hold, and what run it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// `vramplan/evidence/v1`.
    pub schema: String,
    /// How it was measured.
    pub how: How,
    /// When, in UTC to the second, where that is known: a log does not say its time zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// The public thread that the figures are from, of records in a repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
    /// How the run ended.
    pub ended: Ended,
    /// The engine.
    pub engine: EngineDoc,
    /// The card.
    pub card: CardDoc,
    /// The driver's version, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// What was run: the flags of `budget`.
    pub deployment: Question,
    /// What of the deployment is left out, as it may name somebody.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub left_out: BTreeSet<LeftOut>,
    /// What was measured.
    pub terms: Vec<TermDoc>,
    /// The host, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Digest>,
    /// The card's UUID, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<Digest>,
    /// The scheduler's number of the job, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
}

/// How a run was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// By the engine itself, which logged it.
    Log,
    /// By `observe`.
    Observed,
    /// By `calibrate`.
    Calibrated,
    /// On a virtual card: no constant of a real one is learned from it.
    Rehearsed,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// As it was to.
    Well,
    /// With a failure; what was measured before it counts all the same, where it was then complete.
    Failed,
    /// It is not known.
    Unknown,
}

/// The engine of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct EngineDoc {
    /// The runtime that plans it.
    pub runtime: Runtime,
    /// Its version, where that is known: numbers alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// The card of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CardDoc {
    /// The name of its profile; of a card without one, its size.
    pub name: String,
    /// All of its memory, where that was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Bytes>,
    /// How many of them the run was on.
    pub count: u64,
}

/// A part of a deployment that may name somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LeftOut {
    /// A model without a built-in profile.
    Model,
    /// A card without a built-in profile.
    Gpu,
    /// A model that drafts, without a built-in profile.
    Draft,
    /// The file of an encoder.
    Mmproj,
    /// Files of adapters.
    Lora,
    /// Patterns of tensors.
    OverrideTensor,
    /// A version that is no number.
    RuntimeVersion,
}

/// A measured size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TermDoc {
    /// What for.
    pub term: TermId,
    /// How much, of one card.
    pub size: Bytes,
    /// How far that may be off, as it was printed with so many digits.
    #[serde(default, skip_serializing_if = "is_exact")]
    pub within: Bytes,
    /// In which memory.
    #[serde(default, skip_serializing_if = "Where::is_any_card")]
    pub at: Where,
    /// Where it was read.
    pub read: ReadIn,
    /// In which line of a log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_exact(within: &Bytes) -> bool {
    within.is_zero()
}

/// In which memory something was held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Where {
    /// On a card, or on each of them.
    #[default]
    Card,
    /// On the card of this number.
    CardOf(u64),
    /// In main memory.
    Host,
}

impl Where {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    const fn is_any_card(&self) -> bool {
        matches!(self, Self::Card)
    }
}

/// Where a size was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ReadIn {
    /// In a line of the engine's log.
    Log,
    /// In a line that states what it is the difference of.
    LogDifference,
    /// From the driver, while the run went on.
    Nvml,
    /// From the driver, less what the program's own allocator held.
    NvmlLessPool,
    /// From the program's own accounting.
    Program,
    /// From the system, as resident memory.
    Resident,
    /// From a virtual card.
    VirtualCard,
}

/// What memory was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum TermId {
    /// What a process held once the device was open.
    Context,
    /// What loading libraries added.
    Libraries,
    /// What came beside the allocator's pool later.
    Workspaces,
    /// All that a process held beside its allocator's pool.
    Overhead,
    /// What the allocator's pool took beyond what it handed out.
    Slack,
    /// What vLLM calls non-torch memory: beside its context and PyTorch's allocator.
    NonTorch,
    /// CUDA graphs.
    Graphs,
    /// The pool of cache blocks.
    Pool,
    /// Weights.
    Weights,
    /// Keys and values.
    Cache,
    /// States of recurrent layers.
    State,
    /// What a pass computes.
    Compute,
    /// Logits and embeddings that are handed out.
    Output,
    /// An encoder of images.
    Encoder,
    /// The peak of a profile run's activations.
    Activations,
    /// Tensors of PyTorch.
    Allocated,
    /// What PyTorch keeps and does not use.
    Unallocated,
    /// Pools of CUDA graphs within what is allocated.
    PrivatePools,
    /// The most that was held at once.
    Peak,
}

impl TermId {
    /// Every term.
    pub const ALL: [Self; 19] = [
        Self::Context,
        Self::Libraries,
        Self::Workspaces,
        Self::Overhead,
        Self::Slack,
        Self::NonTorch,
        Self::Graphs,
        Self::Pool,
        Self::Weights,
        Self::Cache,
        Self::State,
        Self::Compute,
        Self::Output,
        Self::Encoder,
        Self::Activations,
        Self::Allocated,
        Self::Unallocated,
        Self::PrivatePools,
        Self::Peak,
    ];

    /// The name in files.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Context => "context",
            Self::Libraries => "libraries",
            Self::Workspaces => "workspaces",
            Self::Overhead => "overhead",
            Self::Slack => "slack",
            Self::NonTorch => "non_torch",
            Self::Graphs => "graphs",
            Self::Pool => "pool",
            Self::Weights => "weights",
            Self::Cache => "cache",
            Self::State => "state",
            Self::Compute => "compute",
            Self::Output => "output",
            Self::Encoder => "encoder",
            Self::Activations => "activations",
            Self::Allocated => "allocated",
            Self::Unallocated => "unallocated",
            Self::PrivatePools => "private_pools",
            Self::Peak => "peak",
        }
    }

    /// Whether it is one of a card and a runtime, whatever the model and its work.
    pub const fn is_constant(self) -> bool {
        matches!(
            self,
            Self::Context
                | Self::Libraries
                | Self::Workspaces
                | Self::Overhead
                | Self::Slack
                | Self::NonTorch
        )
    }

    /// Whether releases of a runtime differ in it.
    pub const fn is_of_a_release(self) -> bool {
        !matches!(
            self,
            Self::Context | Self::Libraries | Self::Workspaces | Self::Overhead | Self::Slack
        )
    }
}

impl Record {
    /// What it is known by: equal records are one.
    pub fn id(&self) -> Digest {
        // Every value of a record has a form in JSON.
        Digest::of("record", self.to_line().as_bytes())
    }

    /// As one line of JSON.
    pub fn to_line(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What a term was measured to take of the fullest card.
    pub fn largest(&self, term: TermId) -> Option<TermDoc> {
        let on_card = |found: &&TermDoc| found.term == term && found.at != Where::Host;
        self.terms.iter().filter(on_card).max_by_key(|found| (found.size, found.within)).copied()
    }

    /// Whether constants of a real card can be learned from it.
    pub const fn is_of_a_card(&self) -> bool {
        !matches!(self.how, How::Rehearsed)
    }

    /// Orders records as they were made; those of which that is not known come first.
    pub fn made(&self) -> (Option<&str>, Digest) {
        (self.date.as_deref(), self.id())
    }
}
