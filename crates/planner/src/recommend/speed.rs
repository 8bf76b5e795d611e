//! How fast tokens can be generated: the roofline of reading every byte once.
//!
//! One step reads the weights once and every sequence's cache: `bandwidth / (weights + sequences ·
//! cache)` steps a second at most, each giving every sequence one token. Real engines reach a part of
//! it: 81% was published for bf16 models of 7 to 8 billion parameters on an L4, 27% on an H100, where
//! launch costs weigh more.
//!
//! Of several GPUs each reads what it has: one after the other where they have layers, all at once
//! where they have parts of every layer, and the slowest counts.

use crate::estimate::{Scenario, kv_cache};
use crate::spec::Split;
use crate::units::{Bytes, Overflow};

/// Share of the roofline reached, in the worst published case and typically.
const REACHED: (f64, f64) = (0.27, 0.6);

/// Tokens a second for one sequence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed {
    /// The worst share of the roofline that was published.
    pub low: f64,
    /// A typical share.
    pub expected: f64,
    /// The roofline itself: physics allows no more.
    pub high: f64,
}

/// The decode speed with the cache full; a scenario for each GPU.
pub fn decode_speed(scenarios: &[Scenario<'_>]) -> Result<Speed, Overflow> {
    let mut roofline = f64::INFINITY;
    for scenario in scenarios {
        let own = scenario.gpu.bandwidth.value.as_f64() / bytes_read(scenario)?.as_f64();
        roofline = match scenario.part().split {
            Split::Tensor => roofline.min(own),
            Split::Layer if roofline.is_infinite() => own,
            Split::Layer => (roofline.recip() + own.recip()).recip(),
        };
    }
    let (low, expected) = REACHED;
    Ok(Speed { low: roofline * low, expected: roofline * expected, high: roofline })
}

/// Bytes that one GPU reads for a step.
fn bytes_read(scenario: &Scenario<'_>) -> Result<Bytes, Overflow> {
    let cache = kv_cache::bytes_read_per_token(scenario, scenario.full_tokens()?)?;
    let (kv_heads, ranks) = (scenario.model.shape.kv_heads, scenario.part().ranks());
    let is_split = ranks > 1 && scenario.model.shape.mla.is_none();
    let cache = if is_split { cache.scale(kv_heads.div_ceil(ranks), kv_heads)? } else { cache };
    scenario.weights.per_token.plus(cache.times(scenario.workload.batch)?)
}
