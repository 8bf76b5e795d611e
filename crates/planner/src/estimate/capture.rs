//! Activations kept while the model looks at itself.
//!
//! A forward pass over `capture.tokens` tokens behind a full cache. A hook that moves its capture to
//! the host at once (`output.detach().cpu()`) holds one layer's on the GPU; captures that stay hold
//! all of them until the pass ends: `layers · tokens · hidden`, and with attention weights
//! `layers · n_heads · tokens · S`. Attention weights exist only where the score matrix is
//! materialised, so capturing them makes that pass eager.

use super::runtimes::rules;
use super::{Buffers, Component, EstimateError, Kind, Life, Moment, Phase, Scenario};
use crate::estimate::BufferId;
use crate::spec::{Basis, Capture};

/// Lists the captured tensors: `element` bytes a value.
pub fn push(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    capture: Capture,
    seen: u64,
    element: u64,
) -> Result<(), EstimateError> {
    let shape = &scenario.model.shape;
    let kind = Kind {
        component: Component::ActivationCapture,
        life: Life::During(Phase::Capture, Moment::Whole),
        basis: Basis::Modelled,
        source: "layers · tokens · hidden, and layers · n_heads · tokens · S for attention weights",
    };
    let layers = |beside: u64| {
        let on_gpu = if capture.keep { shape.n_layers.saturating_sub(beside) } else { 1 };
        capture.layers.min(on_gpu)
    };
    let [beside_hidden, beside_weights] = rules(scenario.kind()).captured_beside();
    buffers.product(
        kind,
        BufferId::HiddenStates,
        &[
            ("layers on the GPU", layers(beside_hidden)),
            ("tokens", capture.tokens),
            ("hidden", shape.hidden_size),
            ("B", element),
        ],
    )?;
    if capture.attention {
        buffers.product(
            kind,
            BufferId::AttentionWeights,
            &[
                ("layers on the GPU", layers(beside_weights)),
                ("n_heads", shape.n_heads),
                ("tokens", capture.tokens),
                ("S, mean over layers", mean_seen(scenario, capture.tokens, seen)),
                ("B", element),
            ],
        )?;
    }
    Ok(())
}

/// Tokens that a layer attends to, windowed layers their window and the pass, averaged over layers.
fn mean_seen(scenario: &Scenario<'_>, tokens: u64, seen: u64) -> u64 {
    let (full, windowed) = (scenario.full_layers(), scenario.window_layers());
    let window = scenario.model.shape.window.map_or(seen, |window| window.size - 1 + tokens);
    (full * seen + windowed * window.min(seen)) / (full + windowed).max(1)
}
