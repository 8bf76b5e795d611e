//! What allocators round up and cannot use: the padding and rounding of every weight, exact, here; what a
//! runtime's own allocator loses beside it in that runtime's room.

use super::{Buffers, Component, Formula, Kind, Life, Phase, Scenario};
use crate::estimate::BufferId;
use crate::spec::{Basis, Bounds};
use crate::units::Bytes;

/// A loss from loading on.
pub(super) fn kind(basis: Basis, source: &str) -> Kind<'_> {
    Kind { component: Component::Fragmentation, life: Life::From(Phase::Load), basis, source }
}

/// So many MiB, low, expected and high.
pub(super) fn mib(low: u64, expected: u64, high: u64) -> Bounds {
    let mib = |n: u64| Bytes::new(n << 20);
    Bounds::new(mib(low), mib(expected), mib(high))
}

/// Lists what the allocator adds to every weight.
pub fn push_rounding(buffers: &mut Buffers, scenario: &Scenario<'_>) {
    buffers.push(
        kind(scenario.weights.basis, "padding and rounding of each tensor"),
        BufferId::WeightRounding,
        Bounds::exactly(scenario.weights.rounding),
        Formula::text(
            "Σ over tensors of their padded size − their size",
            &[("tensors", scenario.weights.tensors)],
        ),
    );
}
