//! What vLLM counts as its own and nobody allocated for it: it takes what is no longer free of the card.

use crate::estimate::{BufferId, Buffers, Component, Formula, Kind, Life, Phase, Scenario};
use crate::spec::{Basis, Bounds, Maker};
use crate::units::Bytes;

/// Lists it.
pub(super) fn push(buffers: &mut Buffers, scenario: &Scenario<'_>) {
    push_shared_memory(buffers, scenario);
    push_slack(buffers, scenario);
}

/// MiB that the free memory of a machine falls by while a server on it loads and profiles, beyond what the server allocates: five
/// starts on GB10s lacked 0.3, 2.4, 3.0 (twice 2.4 to 5.4 by the same command) and 11.5 GiB.
const TAKEN_MEANWHILE: [u64; 3] = [0, 2458, 12_288];

/// What the system takes of a memory that it shares with the GPU, such as pages of the files that are read: vLLM counts what is no
/// longer free.
fn push_shared_memory(buffers: &mut Buffers, scenario: &Scenario<'_>) {
    if !scenario.gpu.unified || !scenario.gpu.maker.is_nvidia() {
        return;
    }
    let kind = Kind {
        component: Component::RuntimeOverhead,
        life: Life::From(Phase::Load),
        basis: Basis::Assumed,
        source: "what pools of five starts on GB10s lack of their share (tests/corpus/vllm_reports.csv)",
    };
    let [low, expected, high] = TAKEN_MEANWHILE.map(|mib| Bytes::new(mib << 20));
    let size = Bounds::new(low, expected, high);
    let formula = Formula::text("constant", &[]);
    buffers.push(kind, BufferId::Other("memory that the system takes meanwhile"), size, formula);
}

/// MiB that loading leaves in the allocator under `ROCm`: 70 to 610 on eleven starts of an R9700.
const SLACK: [u64; 3] = [64, 256, 704];

/// What loading leaves in the allocator where vLLM takes what the card lacks for what it loaded.
fn push_slack(buffers: &mut Buffers, scenario: &Scenario<'_>) {
    if scenario.gpu.maker != Maker::Amd {
        return;
    }
    let kind = Kind {
        component: Component::Fragmentation,
        life: Life::From(Phase::Load),
        basis: Basis::Assumed,
        source: "vLLM platforms/rocm.py, get_current_memory_usage: what starts on an R9700 loaded beyond the weights",
    };
    let [low, expected, high] = SLACK.map(|mib| Bytes::new(mib << 20));
    let size = Bounds::new(low, expected, high);
    let formula = Formula::text("constant", &[]);
    buffers.push(kind, BufferId::Other("what loading leaves in the allocator"), size, formula);
}
