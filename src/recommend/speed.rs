//! How fast tokens can be generated: the roofline of reading every byte once.
//!
//! One step reads the weights once and every sequence's cache: `bandwidth / (weights + sequences ·
//! cache)` steps a second at most, each giving every sequence one token. Real engines reach a part of
//! it: 81% was published for bf16 models of 7 to 8 billion parameters on an L4, 27% on an H100, where
//! launch costs weigh more.

use crate::estimate::{Scenario, kv_cache};
use crate::units::Overflow;

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

/// The decode speed with the scenario's cache full.
pub fn decode_speed(scenario: &Scenario<'_>) -> Result<Speed, Overflow> {
    let cache = kv_cache::bytes_read_per_token(scenario, scenario.full_tokens()?)?;
    let step = scenario.weights.per_token.plus(cache.times(scenario.workload.batch)?)?;
    let roofline = scenario.gpu.bandwidth.value.as_f64() / step.as_f64();
    let (low, expected) = REACHED;
    Ok(Speed { low: roofline * low, expected: roofline * expected, high: roofline })
}
