//! What vLLM counts as its own and nobody allocated for it: it takes what is no longer free of the card.

use crate::estimate::{BufferId, Buffers, Component, Formula, Kind, Life, Phase, Scenario};
use crate::spec::{Basis, Bounds, Maker};
use crate::units::Bytes;

/// MiB that the free memory of a machine falls by while a server on it loads and profiles, beyond what the server allocates. Four
/// starts on one GB10 each lacked 0.3, 2.0, 2.4 and 5.4 GiB of what their share should have left; the high bound is about twice the
/// most. A pair of GB10s lacked 17, and what took them is not known.
const TAKEN_MEANWHILE: [u64; 3] = [0, 2458, 12_288];

/// MiB that loading leaves in the allocator under `ROCm`: 70 to 610 on eleven starts of an R9700.
const SLACK: [u64; 3] = [64, 256, 704];

/// Lists it.
pub(super) fn push(buffers: &mut Buffers, scenario: &Scenario<'_>) {
    let gpu = scenario.gpu;
    let mut constant = |component, what: &'static str, source, mib: [u64; 3]| {
        let (life, basis) = (Life::From(Phase::Load), Basis::Assumed);
        let [low, expected, high] = mib.map(|mib| Bytes::new(mib << 20));
        let size = Bounds::new(low, expected, high);
        let kind = Kind { component, life, basis, source };
        buffers.push(kind, BufferId::Other(what), size, Formula::text("constant", &[]));
    };
    // Such as pages of the files that are read: they are of the memory that the GPU has, too.
    if gpu.unified && gpu.maker.is_nvidia() {
        constant(
            Component::RuntimeOverhead,
            "memory that the system takes meanwhile",
            "what pools of four starts on a GB10 lack of their share",
            TAKEN_MEANWHILE,
        );
    }
    if gpu.maker == Maker::Amd {
        constant(
            Component::Fragmentation,
            "what loading leaves in the allocator",
            "vLLM platforms/rocm.py, get_current_memory_usage: what starts on an R9700 loaded beyond the weights",
            SLACK,
        );
    }
}
