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
    /// Whether less is counted for this process than `PyTorch` holds: the driver of WSL and of virtual cards does not know.
    pub uncounted: bool,
    /// Whether it is of a Mac, whose card has no memory of its own.
    pub metal: bool,
    /// On a Mac, what the process holds of Metal outside of the tensors.
    pub other: Option<Printed>,
}

impl TorchError {
    /// With what another reading of the same message found where this one did not.
    #[must_use]
    pub fn or(self, other: &Self) -> Self {
        Self {
            asked: self.asked.or(other.asked),
            total: self.total.or(other.total),
            free: self.free.or(other.free),
            process: self.process.or(other.process),
            allocated: self.allocated.or(other.allocated),
            reserved: self.reserved.or(other.reserved),
            unallocated: self.unallocated.or(other.unallocated),
            private: self.private.or(other.private),
            allowed: self.allowed.or(other.allowed),
            overcommitted: self.overcommitted || other.overcommitted,
            uncounted: self.uncounted || other.uncounted,
            metal: self.metal || other.metal,
            other: self.other.or(other.other),
        }
    }

    /// What the allocator holds of the card, in use or not.
    pub fn held(&self) -> Option<Bytes> {
        if let Some(reserved) = self.reserved {
            return Some(reserved.bytes);
        }
        let kept = self.unallocated.map_or(Bytes::ZERO, |kept| kept.bytes);
        self.allocated?.bytes.plus(kept).ok()
    }

    /// Whether the message is of `PyTorch` 2.0 or older, which says what is reserved in all.
    pub const fn is_old(&self) -> bool {
        self.reserved.is_some()
    }

    /// What of the card is neither free nor this allocator's: contexts and other processes.
    pub fn outside(&self) -> Option<Bytes> {
        let rest = self.total?.bytes.minus_or_zero(self.free?.bytes);
        Some(rest.minus_or_zero(self.held()?))
    }
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
    /// More sequences are to be captured than the cache has states for.
    MoreThanStates {
        /// The sequences.
        asked: Option<u64>,
        /// The states.
        states: Option<u64>,
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
    /// An allocation in main memory; of this, where that is told.
    HostAllocation(Option<TermKind>),
    /// A process was ended for want of main memory.
    HostKilled(Box<Killed>),
    /// The driver told of a fault of the card or of a program (Xid).
    DeviceFault(u64),
    /// A call to the card failed for another reason than memory.
    DeviceError(&'static str),
    /// The cache had no room for what ran: so many tokens were asked for, so many left.
    CacheFull {
        /// Tokens that were asked for.
        asked: Option<u64>,
        /// Tokens that were left.
        left: Option<u64>,
    },
    /// vLLM's sampler was tried with so many requests.
    Sampler(Option<u64>),
    /// vLLM woke from its sleep mode, and what it had given back was taken.
    Woken,
    /// What was free changed while vLLM measured: before, and after.
    Profiled(Printed, Printed),
    /// `SGLang`'s cards have unequal room: the least of them, and the one that says so.
    Unbalanced(Option<(Printed, Printed)>),
    /// TGI's warm-up: so many tokens, of its cache or of prefill.
    Warmup {
        /// How many.
        tokens: u64,
        /// Whether the cache is meant.
        of_cache: bool,
    },
    /// `ExLlama` found no split of weights and cache over the cards.
    Split,
    /// An engine of `TensorRT-LLM` could not be built.
    Build,
    /// One buffer is larger than Metal gives at all.
    BufferLimit(Printed),
    /// accelerate put a part of the weights into main memory, and goes on.
    PartlyOffloaded,
    /// Ollama put a part of the layers into main memory by its own estimate, and goes on.
    LayersOnHost {
        /// Layers on cards.
        on_gpu: u64,
        /// Of so many.
        of: u64,
        /// What all of them would need, where that is told.
        needs: Option<Printed>,
    },
    /// Ollama found no card, and runs all of so many layers in main memory.
    NoCard {
        /// Layers.
        of: u64,
        /// What they need of main memory.
        needs: Option<Printed>,
        /// What of it is free.
        has: Option<Printed>,
    },
    /// NCCL, by which cards talk to each other, had no room for its buffers.
    Collectives,
    /// `SGLang` had no slot for a request: so many were to run, so many slots were left.
    NoSlots {
        /// Requests that were to run.
        asked: Option<u64>,
        /// Slots that were left.
        left: Option<u64>,
    },
    /// What only looks like want of memory: a bug of the program, or a limit of the driver.
    Mistaken(&'static str),
    /// The engine stopped, and the log does not say why.
    Untold,
}

/// Who ended a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Killer {
    /// The kernel.
    Kernel,
    /// systemd's watcher of memory, before the kernel had to.
    Oomd,
    /// Ray's, when the node has hardly any left.
    Ray,
    /// It is only told that it was ended by force: exit code 137.
    Force,
}

/// A process that was ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Killed {
    /// By whom.
    pub by: Killer,
    /// Which.
    pub process: Option<String>,
    /// What it held.
    pub held: Option<Bytes>,
    /// Whether a limit of its group was reached, and not the machine's.
    pub group: bool,
    /// What the machine used, of what it has.
    pub used: Option<(Printed, Printed)>,
}

impl Killed {
    /// Nothing is known but by whom.
    pub const fn by(by: Killer) -> Self {
        Self { by, process: None, held: None, group: false, used: None }
    }
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
