//! What the engine's pool takes beyond what it hands out: measured, or assumed.

use crate::estimate::BufferId;
use crate::estimate::fragmentation::{kind, mib, push_rounding};
use crate::estimate::{Buffers, Formula, Scenario};
use crate::spec::Basis;

/// Lists it, on a GPU.
pub fn push(buffers: &mut Buffers, scenario: &Scenario<'_>) {
    if scenario.gpu.is_main_memory() {
        return;
    }
    push_rounding(buffers, scenario);
    push_pool(buffers, scenario);
}

fn push_pool(buffers: &mut Buffers, scenario: &Scenario<'_>) {
    const NAME: BufferId = BufferId::PoolGranularity;
    if let Some(slack) = &scenario.gpu.calibrated.slack {
        let formula = Formula::text("measured on this card: taken by the pool − handed out", &[]);
        buffers.push(kind(slack.basis, &slack.source), NAME, slack.value, formula);
        return;
    }
    buffers.push(
        kind(Basis::Assumed, "cudaMallocAsync pools grow in chunks of 2 to 32 MiB"),
        NAME,
        mib(0, 16, 64),
        Formula::text("half a chunk; two at most", &[]),
    );
}
