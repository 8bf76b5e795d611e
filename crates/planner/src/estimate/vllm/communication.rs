//! What a process takes beside `PyTorch`'s allocations: libraries, ranks that talk to each other, and what one family was seen to.
//!
//! To 0.26 the pool is less by that and by what is allocated; from 0.27 on by what the driver gave out, parts of segments that
//! nothing is in among it, which logs do not tell from the rest.
//!
//! Groups are formed before vLLM looks at the card for the first time: what NCCL takes then is outside its share, with the
//! context. What comes later is counted as non-torch memory. On cards of compute capability 9 and 10, which data centres
//! join by `NVLink` and switches, that is NCCL's multicast buffers, symmetric memory and the workspaces of fused all-reduce.
//! Other cards have none of the three (`symm_mem.py`, `SYMM_MEM_ALL_REDUCE_MAX_SIZES`; `config/vllm.py`,
//! `enable_allreduce_rms_fusion`); whether they have peer access is not known, so their bounds are wide.

use crate::estimate::{
    BufferId, Buffers, Component, Formula, Kind, Life, Phase, Scenario, overhead,
};
use crate::spec::{Basis, Bounds, Grid, Serving};
use crate::units::Bytes;

/// What Granite takes beside `PyTorch`'s allocations, more than any other model that was seen.
const GRANITE: Bytes = Bytes::new(215 << 20);

/// MiB that libraries take on cards other than those of data centres, where nothing but them is counted.
const LIBRARIES_OF_OTHERS: [u64; 3] = [20, 90, 300];
const LIBRARIES_OF_OTHERS_SEEN: &str = "what public logs of vLLM 0.19 to 0.25 leave beside weights, activations and graphs: 0.10 \
    GiB on an L40S, 0.08 on 2 x RTX 3090 (noonghunna/club-3090#594), 0.05 to 0.16 on 2 x RTX 5090 (#851), ranks included";

/// Lists what libraries take.
pub fn push_libraries(buffers: &mut Buffers, scenario: &Scenario<'_>, serving: Serving) {
    let is_measured =
        scenario.gpu.is_calibrated() || scenario.gpu.calibrated.libraries.as_ref().is_some();
    if is_measured || is_switched(scenario) || !serving.version.counts_what_is_allocated() {
        overhead::push_libraries(buffers, scenario);
        return;
    }
    let kind = Kind {
        component: Component::RuntimeOverhead,
        life: Life::From(Phase::Load),
        basis: Basis::Assumed,
        source: LIBRARIES_OF_OTHERS_SEEN,
    };
    let [low, expected, high] = LIBRARIES_OF_OTHERS.map(|n| Bytes::new(n << 20));
    let size = Bounds::new(low, expected, high);
    buffers.push(kind, BufferId::Libraries, size, Formula::text("constant of the runtime", &[]));
}

/// Lists what one family takes more.
pub fn push_granite(buffers: &mut Buffers, scenario: &Scenario<'_>) {
    let takes_more = scenario.model.shape.architecture.family().vllm.takes_more;
    if !takes_more || scenario.gpu.is_calibrated() {
        return;
    }
    let kind = Kind {
        component: Component::RuntimeOverhead,
        life: Life::From(Phase::Load),
        basis: Basis::Assumed,
        source: "2 public logs of vLLM 0.19: 0.46 GiB of non-torch memory, 0.21 GiB more than any other model; why is not known",
    };
    let size = Bounds::new(Bytes::ZERO, GRANITE, GRANITE);
    buffers.push(kind, BufferId::FamilyExtra, size, Formula::text("constant", &[]));
}

/// MiB that a rank takes after vLLM's first look at the card, and where that was read.
struct Seen {
    mib: [u64; 3],
    basis: Basis,
    source: &'static str,
}

/// Joined by switches: seen between 0.3 GiB (0.6) and 2.0 GiB (0.19).
const SWITCHED: Seen = Seen {
    mib: [300, 1870, 2080],
    basis: Basis::Modelled,
    source: "11 public logs of vLLM 0.19 on two and four H100: 2.06 to 2.21 GiB of non-torch memory, less that of one",
};

/// Of other cards.
const OTHERS: Seen = Seen {
    mib: [0, 100, 700],
    basis: Basis::Assumed,
    source: "public reports of non-torch memory, libraries included: 0.25 GiB on 2 x RTX 4090 (0.7, vllm-project/vllm#13061), \
             0.39 on 2 x 16 GB (0.6.4, #11251), 0.37 on 2 x RTX 5090 (0.27, noonghunna/club-3090#1087); peer access not known",
};

/// The same of releases that take it before they look at the card.
const OTHERS_BEFORE: Seen = Seen {
    mib: [0, 0, 400],
    basis: Basis::Assumed,
    source: "public logs of vLLM 0.20 to 0.25 on 2 and 4 x RTX 3090 and 2 x RTX 5090, none of which has any beside what libraries \
             take (noonghunna/club-3090#104, #127, #594, #851)",
};

/// Stages of a pipeline have not met yet when the pool is sized: as little as on one GPU was seen.
const PIPELINE_BUFFERS: &str = "public logs with two and four stages: 0.07 GiB of non-torch memory under vLLM 0.19, 0.33 on \
    2 x RTX 5090 under 0.8 (vllm-project/vllm#14452); high bound as the least seen of ranks";

/// The compute capabilities of cards that switches join.
const SWITCHED_CAPABILITIES: [u32; 2] = [9, 10];

/// Lists what a rank, or a stage, takes for the others.
pub fn push_ranks(buffers: &mut Buffers, scenario: &Scenario<'_>, serving: Serving) {
    let ranks = serving.ranks.max(scenario.part().of);
    if ranks < 2 {
        return;
    }
    let mib = |n: u64| Bytes::new(n << 20);
    let Seen { mib: [low, expected, high], basis, source } = if is_switched(scenario) {
        SWITCHED
    } else if serving.version.counts_what_is_allocated() {
        OTHERS_BEFORE
    } else {
        OTHERS
    };
    let kind = Kind {
        component: Component::RuntimeOverhead,
        life: Life::From(Phase::Load),
        basis,
        source,
    };
    // Engines that share experts talk as ranks do.
    let together = serving.server.grid.map_or(serving.ranks, Grid::experts);
    if together < 2 {
        let kind = Kind { source: PIPELINE_BUFFERS, basis: Basis::Assumed, ..kind };
        let formula = Formula::text("nothing yet while the pool is sized", &[("stages", ranks)]);
        let bounds = Bounds::new(Bytes::ZERO, Bytes::ZERO, mib(SWITCHED.mib[0]));
        buffers.push(kind, "NCCL between stages", bounds, formula);
        return;
    }
    let formula = Formula::text("constant for two ranks and more", &[("ranks", ranks)]);
    let size = Bounds::new(mib(low), mib(expected), mib(high));
    buffers.push(kind, BufferId::RankCommunication, size, formula);
}

fn is_switched(scenario: &Scenario<'_>) -> bool {
    SWITCHED_CAPABILITIES.contains(&scenario.gpu.compute_capability.major)
}
