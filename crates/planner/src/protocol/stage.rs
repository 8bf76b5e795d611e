//! What a worker does, in this order.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::estimate::Phase;

/// A stage of a worker's run. Finer than the phases of a plan, so that what each step takes is told
/// apart by when it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The process alone, with the model's header read.
    Baseline,
    /// The device is opened: on a GPU its context, on the CPU the threads.
    Context,
    /// The libraries that the engine computes with are loaded.
    Libraries,
    /// Weights are read and placed.
    Weights,
    /// Caches, tables and scratch are allocated.
    Caches,
    /// The system prompt is pinned.
    SystemPrefill,
    /// The conversation's cache is filled.
    Prefill,
    /// Tokens are generated, each of which evicts one once the cache is full.
    Decode,
    /// The model looks at its own activations.
    Capture,
    /// What eviction loses is measured instead.
    Quality,
    /// Everything was given back.
    Released,
}

impl Stage {
    /// Every stage of a whole run.
    pub const ALL: [Self; 11] = [
        Self::Baseline,
        Self::Context,
        Self::Libraries,
        Self::Weights,
        Self::Caches,
        Self::SystemPrefill,
        Self::Prefill,
        Self::Decode,
        Self::Capture,
        Self::Quality,
        Self::Released,
    ];

    /// The name in JSON and in reports.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Context => "context",
            Self::Libraries => "libraries",
            Self::Weights => "weights",
            Self::Caches => "caches",
            Self::SystemPrefill => "system_prefill",
            Self::Prefill => "prefill",
            Self::Decode => "decode",
            Self::Capture => "capture",
            Self::Quality => "quality",
            Self::Released => "released",
        }
    }

    /// The phase of a plan that it is, if it is one.
    pub const fn phase(self) -> Option<Phase> {
        match self {
            Self::Weights => Some(Phase::Load),
            Self::SystemPrefill => Some(Phase::SystemPrefill),
            Self::Prefill => Some(Phase::Prefill),
            Self::Decode => Some(Phase::Decode),
            Self::Capture => Some(Phase::Capture),
            _ => None,
        }
    }

    /// The stage that reports call `name`.
    pub fn from_id(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.id() == name)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_protocol_and_lead_back() {
        for stage in Stage::ALL {
            assert_eq!(serde_json::to_string(&stage).unwrap(), format!("\"{stage}\""));
            assert_eq!(Stage::from_id(stage.id()), Some(stage));
        }
        assert!(Stage::ALL.is_sorted());
    }
}
