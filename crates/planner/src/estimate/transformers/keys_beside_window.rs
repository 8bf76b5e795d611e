//! What windowed layers of a grown cache hold beside their window until the next pass: the cache is a view
//! of all keys that attention used (transformers `cache_utils.py`, `DynamicSlidingWindowLayer.update`).

use super::forward_pass::{ForwardPass, View, cached_window};
use super::largest_instant::Instant;
use crate::estimate::{Buffers, Component, EstimateError, Kind, Life, Moment, Scenario, kv_cache};
use crate::spec::{Basis, Layer};

const NAME: &str = "the chunk, in windowed layers";
const CACHE: Component = Component::ConversationCache;

type Factors = [(&'static str, u64); 4];

/// The factors of what so many layers hold; nothing where a cache has no such remainders.
fn factors(
    scenario: &Scenario<'_>,
    pass: ForwardPass,
    layers: u64,
) -> Result<Option<Factors>, EstimateError> {
    let Some(window) = cached_window(scenario) else { return Ok(None) };
    if !scenario.workload.grown_cache || scenario.kv.is_quantized() {
        return Ok(None);
    }
    Ok(Some([
        ("windowed layers", layers),
        ("tokens beyond the window", pass.kept_beside_window(window)?),
        ("sequences", pass.sequences),
        ("B per token and layer (K+V)", kv_cache::per_layer(scenario, 1)?.get()),
    ]))
}

/// Windowed layers before the last full one; all where none is full.
fn before_the_last_full(scenario: &Scenario<'_>) -> u64 {
    let layers = scenario.layers();
    let last_full = layers.iter().rposition(|layer| *layer == Layer::Full);
    let before = last_full.and_then(|last| layers.get(..last)).unwrap_or(layers);
    Layer::windowed(before)
}

/// With what is held while the last layer of a view attends: layers behind the last full one still hold
/// less than those before it.
pub fn while_attending(
    instant: Instant,
    scenario: &Scenario<'_>,
    pass: ForwardPass,
    view: View,
) -> Result<Instant, EstimateError> {
    let layers =
        if view.windowed { scenario.window_layers() } else { before_the_last_full(scenario) };
    match factors(scenario, pass, layers)? {
        Some(factors) if layers > 0 => Ok(instant.and(CACHE, NAME, &factors)?),
        _ => Ok(instant),
    }
}

/// Lists what is held outside of attention.
pub fn push(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    pass: ForwardPass,
) -> Result<(), EstimateError> {
    let all = scenario.window_layers();
    for (moment, layers) in [
        (Moment::Conversion, before_the_last_full(scenario)),
        (Moment::FeedForward, all),
        (Moment::Projection, all),
        (Moment::Output, all),
    ] {
        let Some(factors) = factors(scenario, pass, layers)? else { return Ok(()) };
        let kind = Kind {
            component: CACHE,
            life: Life::During(pass.phase, moment),
            basis: Basis::Modelled,
            source: "transformers cache_utils.py DynamicSlidingWindowLayer: a view of all keys seen",
        };
        buffers.product(kind, NAME, &factors)?;
    }
    Ok(())
}
