//! Activations kept while the model looks at itself.
//!
//! A forward pass over `capture.tokens` tokens behind a full cache. A hook that moves its capture to
//! the host at once (`output.detach().cpu()`) holds one layer's on the GPU; captures that stay hold
//! all of them until the pass ends: `layers · tokens · hidden`, and with attention weights
//! `layers · n_heads · tokens · S`. Attention weights exist only where the score matrix is
//! materialised, so capturing them makes that pass eager.

use super::{Buffers, Component, EstimateError, Kind, Life, Moment, Phase, Scenario};
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
    let layers = if capture.keep { capture.layers } else { capture.layers.min(1) };
    buffers.product(
        kind,
        "hidden states",
        &[
            ("layers on the GPU", layers),
            ("tokens", capture.tokens),
            ("hidden", shape.hidden_size),
            ("B", element),
        ],
    )?;
    if capture.attention {
        buffers.product(
            kind,
            "attention weights",
            &[
                ("layers on the GPU", layers),
                ("n_heads", shape.n_heads),
                ("tokens", capture.tokens),
                ("S", seen),
                ("B", element),
            ],
        )?;
    }
    Ok(())
}
