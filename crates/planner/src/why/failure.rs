//! How a run failed, as a log tells it.

use super::Printed;
use super::evidence::{Place, TermKind};
use crate::units::Bytes;

/// What `PyTorch` says where it runs out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TorchError {
    /// What was asked for.
    pub asked: Option<Printed>,
    /// What the card has.
    pub total: Option<Printed>,
    /// What was free.
    pub free: Option<Printed>,
    /// What this process holds, its context included.
    pub process: Option<Printed>,
    /// What tensors hold.
    pub allocated: Option<Printed>,
    /// What the allocator holds for them in all.
    pub reserved: Option<Printed>,
    /// What it holds and does not use.
    pub unallocated: Option<Printed>,
    /// Of the tensors, what pools of CUDA graphs hold.
    pub private: Option<Printed>,
    /// What the process may take (`set_per_process_memory_fraction`).
    pub allowed: Option<Printed>,
    /// Whether a card is said to hold more than it has: Windows, which moves memory to the host.
    pub overcommitted: bool,
}

/// How a run failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// An allocation on a card; of this, where that is told.
    Allocation(Option<TermKind>),
    /// `PyTorch` ran out.
    Torch(Box<TorchError>),
    /// The driver had nothing left while a pass ran.
    Runtime,
    /// Nothing is left of the engine's share for a cache; how much less than nothing, where that is told.
    NoCache,
    /// The cache does not hold one request of the longest kind.
    ContextTooLong {
        /// The length that was asked for.
        context: Option<u64>,
        /// What such a request needs.
        needs: Option<Printed>,
        /// What there is.
        has: Option<Printed>,
        /// The longest that the engine says would do.
        longest: Option<u64>,
    },
    /// Less of the card is free than the engine is told to take.
    ShareNotFree {
        /// What was free.
        free: Printed,
        /// What the card has.
        total: Printed,
        /// The share.
        share: Option<String>,
        /// What that is.
        wanted: Printed,
    },
    /// `SGLang`'s static share does not hold weights and one token of cache.
    StaticShare,
    /// Graphs could not be captured; for want of memory, where that is told.
    Capture {
        /// Whether memory was the reason.
        memory: bool,
    },
    /// Weights were put into main memory, which the quantization does not allow.
    Dispatched,
    /// llama.cpp's own fitting found no way.
    Unfit(String),
    /// The engine refused to load: it needs this much, and this much is there.
    Refused {
        /// What it needs.
        needs: Option<Printed>,
        /// What there is.
        has: Option<Printed>,
        /// Whether that is main memory.
        host: bool,
    },
    /// An allocation in main memory.
    HostAllocation,
    /// The kernel ended a process for want of main memory.
    HostKilled {
        /// Which.
        process: Option<String>,
        /// What it held.
        held: Option<Bytes>,
        /// Whether a limit of its group was reached, and not the machine's.
        group: bool,
    },
    /// The driver told of a fault of the card or of a program.
    DeviceFault(u64),
}

/// A failure that a log tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How.
    pub kind: FailureKind,
    /// Where.
    pub place: Option<Place>,
    /// What was asked for.
    pub asked: Option<Printed>,
    /// In which line.
    pub line: u64,
    /// What the line says, safe to print.
    pub text: String,
    /// Which context of the run it was for: 0 while weights are loaded, 1 for the first, 2 for one beside it.
    pub context: u64,
    /// Whether the engine said that it goes on.
    pub went_on: bool,
}
