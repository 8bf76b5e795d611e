//! How fast tokens can be generated: the roofline of reading every byte once.
//!
//! One step reads the weights once and every sequence's cache: `bandwidth / (weights + sequences ·
//! cache)` steps a second at most, each giving every sequence one token. Real engines reach a part of
//! it: 81% was published for bf16 models of 7 to 8 billion parameters on an L4, 27% on an H100, where
//! launch costs weigh more.
//!
//! Main memory is read at its own bandwidth, of which a CPU reaches another part, and every crossing from one device
//! to the other and back costs time of its own.
//!
//! Of several GPUs each reads what it has: one after the other where they have layers, all at once
//! where they have parts of every layer, and the slowest counts.

use crate::estimate::weights::Weights;
use crate::estimate::{Scenario, kv_cache};
use crate::spec::{Home, Part, Placed, Split};
use crate::units::{Bytes, Overflow};

/// Share of the roofline reached, in the worst published case and typically.
const REACHED: (f64, f64) = (0.27, 0.6);

/// The same of main memory, read by a CPU.
const REACHED_ON_HOST: (f64, f64) = (0.3, 0.45);
/// Seconds of a crossing: synchronization, a small copy, threads that wake. At worst, typically, at best.
const CROSSING: (f64, f64, f64) = (250e-6, 100e-6, 0.0);

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

impl Speed {
    /// `12 to 41, about 25`.
    pub fn range(&self) -> String {
        let digits =
            |speed: f64| if speed < 10.0 { format!("{speed:.1}") } else { format!("{speed:.0}") };
        format!("{} to {}, about {}", digits(self.low), digits(self.high), digits(self.expected))
    }
}

/// The decode speed with the cache full; a scenario for each GPU.
pub fn decode_speed(scenarios: &[Scenario<'_>]) -> Result<Speed, Overflow> {
    if let Some(placed) = scenarios.first().and_then(|first| first.part().placed.as_ref()) {
        return placed_speed(scenarios, placed);
    }
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

/// The speed where weights or caches are in main memory: seconds of every device one after the other.
fn placed_speed(scenarios: &[Scenario<'_>], placed: &Placed) -> Result<Speed, Overflow> {
    let (mut low, mut expected, mut high) = (0.0, 0.0, 0.0);
    for scenario in scenarios {
        let bytes = scenario.weights.per_token.plus(read_of_cache(scenario, placed)?)?;
        let seconds = bytes.as_f64() / scenario.gpu.bandwidth.value.as_f64();
        let is_host = scenario.part().is_host;
        let (least, typical) = if is_host { REACHED_ON_HOST } else { REACHED };
        low += seconds / least;
        expected += seconds / typical;
        high += seconds;
    }
    let crossings = crossings(placed);
    let (most, typical, least) = CROSSING;
    Ok(Speed {
        low: (low + crossings * most).recip(),
        expected: (expected + crossings * typical).recip(),
        high: (high + crossings * least).recip(),
    })
}

/// What of the caches a device reads for a step.
fn read_of_cache(scenario: &Scenario<'_>, placed: &Placed) -> Result<Bytes, Overflow> {
    let part = scenario.part();
    let tokens = scenario.full_tokens()?;
    let read = if placed.offloads_cache {
        kv_cache::bytes_read_per_token(scenario, tokens)?
    } else if part.is_host {
        let whole = Part { layers: 0..scenario.model.shape.n_layers, ..part.clone() };
        let weights = Weights { part: whole, ..scenario.weights.clone() };
        kv_cache::bytes_read_per_token(&Scenario { weights: &weights, ..scenario.clone() }, tokens)?
    } else {
        Bytes::ZERO
    };
    read.times(scenario.workload.batch)
}

/// How often a step goes from one device to another: at the ends of runs of layers, and twice for every layer on a GPU of which
/// some weights are in main memory.
fn crossings(placed: &Placed) -> f64 {
    let mut count = 0u32;
    let mut last = Home::Host;
    for (home, weights) in placed.layers.iter().zip(placed.weights.iter()) {
        count += u32::from(*home != last);
        last = *home;
        let in_main_memory = weights.iter().any(|weight| weight.home == Some(Home::Host));
        count += if *home != Home::Host && in_main_memory { 2 } else { 0 };
    }
    count += u32::from(placed.output != last);
    f64::from(count)
}

/// Bytes that one GPU reads for a step.
fn bytes_read(scenario: &Scenario<'_>) -> Result<Bytes, Overflow> {
    let cache = kv_cache::bytes_read_per_token(scenario, scenario.full_tokens()?)?;
    let (kv_heads, ranks) = (scenario.model.shape.kv_heads, scenario.part().ranks());
    let is_split = ranks > 1 && scenario.model.shape.mla.is_none();
    let cache = if is_split { cache.scale(kv_heads.div_ceil(ranks), kv_heads)? } else { cache };
    scenario.weights.per_token.plus(cache.times(scenario.workload.batch)?)
}
