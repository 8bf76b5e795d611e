//! The experts of one layer under transformers 5 (`integrations/moe.py`).
//!
//! For the prompt, `grouped_mm_experts_forward` repeats every token once per expert that it goes
//! through (`pairs = rows · experts per token`), sorts them by expert and multiplies group by group.
//! For every further token `generate` switches to `batched_mm_experts_forward`, which copies the
//! weights of the chosen experts (`generation/utils.py`, `_optimize_model_for_decode`).

use super::forward_pass::ForwardPass;
use super::largest_instant::Instant;
use crate::estimate::{Component, EstimateError, Formula, Phase, Scenario};
use crate::spec::{Bounds, Moe};
use crate::units::{Bytes, Overflow};

const ACTIVATIONS: Component = Component::Activations;

/// The instants at which the experts of a layer hold most, without the hidden states around them.
pub fn instants(
    scenario: &Scenario<'_>,
    pass: ForwardPass,
    moe: Moe,
) -> Result<Vec<Instant>, EstimateError> {
    let pairs = Bytes::product(&[pass.all_rows()?, moe.n_experts_used])?.get();
    let mut instants = vec![gate(scenario, moe, pairs)?, down(scenario, pairs)?];
    // Experts in MXFP4 have kernels of their own, which read the weights in place.
    if pass.phase == Phase::Decode && !scenario.weights.packed_experts {
        instants.push(copied_weights(scenario, moe, pairs)?);
    }
    if moe.shared_ffn_size > 0 {
        let factors =
            [("rows", pass.all_rows()?), ("3 shared_ffn", 3 * moe.shared_ffn_size), ("B", 2)];
        instants.push(Instant::default().and(ACTIVATIONS, "shared expert", &factors)?);
    }
    Ok(instants)
}

/// Index tensors of the sort: four of int64, two of f32 and one of int32 per pair.
const SORT_BYTES: u64 = 4 * 8 + 2 * 4 + 4;

fn sorted(pairs: u64) -> Result<Instant, Overflow> {
    Instant::default().and(
        ACTIVATIONS,
        "order of the experts",
        &[("tokens · experts", pairs), ("B", SORT_BYTES)],
    )
}

/// While the gate is applied: the tokens, gate and up in one, the gate's activation, its product.
/// gpt-oss adds a bias per pair to gate and up, and clamps both (`GptOssExperts._apply_gate`).
fn gate(scenario: &Scenario<'_>, moe: Moe, pairs: u64) -> Result<Instant, Overflow> {
    let ffn = if moe.expert_bias { 9 } else { 4 } * moe.expert_ffn_size;
    let factors =
        [("tokens · experts", pairs), ("n · ffn + hidden", ffn + scenario.model.shape.hidden_size)];
    sorted(pairs)?.and(
        ACTIVATIONS,
        "tokens of every expert, gate and up",
        &[factors[0], factors[1], ("B", 2)],
    )
}

/// While the outputs are put back in order: the tokens, the outputs, the weighted outputs twice, which
/// are f32 where the router's weights are.
fn down(scenario: &Scenario<'_>, pairs: u64) -> Result<Instant, Overflow> {
    let shape = &scenario.model.shape;
    let bytes = if shape.architecture.family().experts.ordered_in_f32 { 12 } else { 8 };
    let factors = [
        ("tokens · experts", pairs),
        ("hidden", shape.hidden_size),
        ("B (tokens, outputs, weighted, in order)", bytes),
    ];
    sorted(pairs)?.and(ACTIVATIONS, "tokens and outputs of every expert", &factors)
}

/// The chosen experts' weights, copied for a batched matrix product. Nothing of it without
/// `generate`.
fn copied_weights(scenario: &Scenario<'_>, moe: Moe, pairs: u64) -> Result<Instant, Overflow> {
    let formula = Formula::product(&[
        ("tokens · experts", pairs),
        ("gate, up and down", 3),
        ("ffn", moe.expert_ffn_size),
        ("hidden", scenario.model.shape.hidden_size),
        ("B", 2),
    ]);
    let expected = formula.value()?;
    let size = Bounds::new(Bytes::ZERO, expected, expected);
    Ok(Instant::default().and_sized(
        ACTIVATIONS,
        "weights of the chosen experts, copied",
        size,
        formula,
    ))
}
