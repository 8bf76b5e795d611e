//! What the program is told of the machine: one JSON value in the child's environment.
//!
//! Sizes are bytes. Only a card's name, memory, compute capability and SM count must be given;
//! what else a program may ask follows from the compute capability where it is 0.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// The variable that holds the [`Machine`] as JSON.
pub const MACHINE: &str = "VRAMPLAN_VIRTUAL_GPU";
/// The variable that names the private folder: fakes, events and shared state.
pub const FOLDER: &str = "VRAMPLAN_VIRTUAL_GPU_FOLDER";
/// The stream of events in the private folder, a FIFO.
///
/// A path rather than an inherited descriptor, because Python starts its workers with every
/// descriptor above 2 closed.
pub const EVENTS: &str = "events";
/// The accounting that all processes of a rehearsal share, in the private folder.
pub const STATE: &str = "state";
/// The library with every function, in the private folder; the shims depend on it.
pub const FAKES: &str = "libvramplan_gpu.so";
/// The loader hooks, in the private folder.
pub const HOOKS: &str = "libvramplan_gpu_hooks.so";
/// The folder of Python modules in the private folder.
pub const PYTHON: &str = "python";
/// The unit of the driver's own bookkeeping.
pub const GRANULE: u64 = 2 << 20;
/// The same as a length in memory.
pub const GRANULE_LEN: usize = 2 << 20;

const MIB: u64 = 1 << 20;

/// One virtual card.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// As CUDA and NVML print it, `NVIDIA L4`.
    pub name: String,
    /// What NVML calls total; CUDA's total is `reserved` less.
    pub total: u64,
    /// What driver and firmware keep.
    #[serde(default)]
    pub reserved: u64,
    /// What other programs hold on the card.
    #[serde(default)]
    pub used_by_others: u64,
    /// What one process's context takes.
    #[serde(default)]
    pub context: u64,
    /// Major and minor.
    pub compute_capability: (u32, u32),
    /// Streaming multiprocessors.
    pub sm_count: u32,
    /// Bytes, as the fields below unless their names say otherwise.
    #[serde(default)]
    pub shared_memory_per_sm: u32,
    /// What a kernel may opt in to.
    #[serde(default)]
    pub shared_memory_per_block: u32,
    /// The whole of it.
    #[serde(default)]
    pub l2_cache: u32,
    /// Resident at once.
    #[serde(default)]
    pub threads_per_sm: u32,
    /// Resident at once.
    #[serde(default)]
    pub blocks_per_sm: u32,
    /// Width of the bus to memory.
    #[serde(default)]
    pub memory_bus_bits: u32,
    /// Of the multiprocessors.
    #[serde(default)]
    pub clock_khz: u32,
    /// Of the memory.
    #[serde(default)]
    pub memory_clock_khz: u32,
    /// Device and vendor, `0x27b8_10de`.
    #[serde(default)]
    pub pci_id: u32,
    /// Whether error correction is on.
    #[serde(default)]
    pub ecc: bool,
}

impl Card {
    /// A card that takes nothing for itself.
    pub fn new(
        name: impl Into<String>,
        compute_capability: (u32, u32),
        sm_count: u32,
        total: u64,
    ) -> Self {
        Self {
            name: name.into(),
            total,
            reserved: 0,
            used_by_others: 0,
            context: 0,
            compute_capability,
            sm_count,
            shared_memory_per_sm: 0,
            shared_memory_per_block: 0,
            l2_cache: 0,
            threads_per_sm: 0,
            blocks_per_sm: 0,
            memory_bus_bits: 0,
            clock_khz: 0,
            memory_clock_khz: 0,
            pci_id: 0,
            ecc: false,
        }
    }

    /// The card with `bytes` kept by driver and firmware.
    pub fn reserving(mut self, bytes: u64) -> Self {
        self.reserved = bytes;
        self
    }

    /// The card with contexts of `bytes`.
    pub fn with_context(mut self, bytes: u64) -> Self {
        self.context = bytes;
        self
    }

    /// What CUDA calls total.
    pub fn cuda_total(&self) -> u64 {
        self.total.saturating_sub(self.reserved)
    }

    /// What the rehearsed processes can share, their contexts included.
    pub fn capacity(&self) -> u64 {
        self.cuda_total().saturating_sub(self.used_by_others)
    }

    /// 89 for compute capability 8.9.
    pub fn arch(&self) -> u32 {
        self.compute_capability.0 * 10 + self.compute_capability.1
    }

    /// The card with what was not given filled in for its compute capability, by the tables of the
    /// CUDA programming guide ("Technical Specifications per Compute Capability").
    pub fn completed(mut self) -> Self {
        let kib = |n: u32| n << 10;
        let (per_sm, per_block, threads, blocks) = match self.compute_capability {
            (7, 5) => (kib(64), kib(64), 1024, 16),
            (7, _) => (kib(96), kib(96), 2048, 32),
            (8, 0) => (kib(164), kib(163), 2048, 32),
            (8, 7) => (kib(164), kib(163), 1536, 16),
            (8, 9) | (11 | 12, _) => (kib(100), kib(99), 1536, 24),
            (8, _) => (kib(100), kib(99), 1536, 16),
            (9 | 10, _) => (kib(228), kib(227), 2048, 32),
            _ => (kib(96), kib(48), 2048, 32),
        };
        let or = |field: &mut u32, value: u32| {
            if *field == 0 {
                *field = value;
            }
        };
        or(&mut self.shared_memory_per_sm, per_sm);
        or(&mut self.shared_memory_per_block, per_block);
        or(&mut self.threads_per_sm, threads);
        or(&mut self.blocks_per_sm, blocks);
        or(&mut self.l2_cache, 4 << 20);
        or(&mut self.memory_bus_bits, 256);
        or(&mut self.clock_khz, 1_800_000);
        or(&mut self.memory_clock_khz, 7_000_000);
        or(&mut self.pci_id, 0x2000_10de);
        self
    }
}

/// The machine that a program finds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Machine {
    /// In the order of NVML.
    pub cards: Vec<Card>,
    /// What `cuDriverGetVersion` says: 13020 for CUDA 13.2.
    pub driver_version: u32,
    /// What NVML calls the driver's version.
    pub driver_name: String,
    /// The CUDA major version of a library that is opened without one, `libcudart.so`.
    pub cuda_major: u32,
    /// Whether the cards can read one another's memory.
    pub peer_access: bool,
    /// Whether the driver offers virtual memory management (`cuMemCreate`).
    pub virtual_memory: bool,
    /// In what chunks the driver grows a pool of `cudaMallocAsync`.
    pub pool_chunk: u64,
    /// What cuBLAS takes on a card at the first product of a handle that was given no workspace.
    /// None: 4 MiB, from compute capability 9.0 on 32 MiB.
    pub cublas_workspace: Option<u64>,
    /// Whether a cuBLASLt algorithm asks for all the workspace that the caller allows, or none.
    pub cublaslt_takes_all: bool,
    /// Whether a module's image is charged to the card when its first kernel is launched. Off where
    /// the cards' `context` already holds what a typical program loads.
    pub charge_modules: bool,
    /// Copies up to this size carry their values; of larger ones only what was written before.
    pub copy_limit: u64,
    /// What device memory that was never written reads as.
    pub unwritten: Unwritten,
    /// PyTorch's operations on tensors of up to so many elements are computed on the CPU, so that
    /// values which steer the program are true; 0 for none. A vocabulary of 262,144 fits.
    pub shadow_elements: u64,
    /// How many events one process may send; later it sends only new peaks, refusals and stubs.
    pub event_limit: u64,
}

/// What device memory reads as where nothing was copied to it: no kernel ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unwritten {
    /// All bytes 0.
    #[default]
    Zeros,
    /// 32-bit integers 0, 1, … n−1, 0, …: distinct numbers of experts; as floats all are denormal.
    Counting(u32),
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            cards: Vec::new(),
            driver_version: 13_020,
            driver_name: "590.44.01".to_owned(),
            cuda_major: 12,
            peer_access: false,
            virtual_memory: true,
            pool_chunk: 32 * MIB,
            cublas_workspace: None,
            cublaslt_takes_all: false,
            charge_modules: false,
            copy_limit: MIB,
            unwritten: Unwritten::Zeros,
            shadow_elements: 1 << 18,
            event_limit: 100_000,
        }
    }
}

impl Machine {
    /// A machine with these cards and everything else at its default.
    pub fn of(cards: Vec<Card>) -> Self {
        Self { cards, ..Self::default() }
    }

    /// Reads a machine from its JSON.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        let mut machine: Self = serde_json::from_str(text)?;
        machine.cards = machine.cards.into_iter().map(Card::completed).collect();
        Ok(machine)
    }

    /// The value of [`MACHINE`].
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Where the events of a rehearsal in `folder` go.
pub fn events_path(folder: &Path) -> std::path::PathBuf {
    folder.join(EVENTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_description_is_completed() {
        let json = r#"{"cards": [{"name": "NVIDIA L4", "total": 24152899584, "reserved": 498073600,
            "compute_capability": [8, 9], "sm_count": 58}]}"#;
        let machine = Machine::from_json(json).unwrap();
        assert_eq!(machine.cards[0].cuda_total(), 23_654_825_984);
        assert_eq!(machine.cards[0].shared_memory_per_block, 99 << 10);
        assert_eq!(machine.cards[0].blocks_per_sm, 24);
        assert_eq!(Machine::from_json(&machine.to_json()).unwrap(), machine);
    }

    #[test]
    fn a_misspelled_key_is_refused() {
        let json = r#"{"cards": [], "peer_acess": true}"#;
        assert!(Machine::from_json(json).unwrap_err().to_string().contains("peer_acess"));
    }
}
