//! The experts of one layer under transformers 4.
//!
//! Most families loop over experts, each of which takes the tokens that chose it
//! (4.57.6 `modeling_mixtral.py`, `MixtralSparseMoeBlock.forward`, and alike for Qwen and DeepSeek). Which
//! these are is the router's decision: the busiest expert has an even share at least, and all tokens at
//! most. Expected are three standard deviations more than the share, as if every token chose by lot.
//!
//! Families with the experts in two parameters run every expert on every token
//! (4.57.6 `modeling_qwen3_vl_moe.py`, `Qwen3VLMoeTextExperts.forward`).

use super::forward_pass::ForwardPass;
use super::largest_instant::Instant;
use crate::estimate::{Component, EstimateError, Formula, Scenario};
use crate::spec::{Architecture, Bounds, Moe};
use crate::units::{Bytes, Overflow};

const ACTIVATIONS: Component = Component::Activations;

/// Tokens that the busiest expert of a layer gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// An even share.
    pub low: u64,
    /// With what chance adds.
    pub expected: u64,
    /// All tokens.
    pub high: u64,
}

impl Share {
    /// The same number, whatever a router decides.
    pub const fn exactly(rows: u64) -> Self {
        Self { low: rows, expected: rows, high: rows }
    }

    /// The busiest expert's of a pass.
    pub fn busiest(pass: ForwardPass, moe: Moe) -> Result<Self, Overflow> {
        let rows = pass.all_rows()?;
        let pairs = rows.checked_mul(moe.n_experts_used).ok_or(Overflow)?;
        let low = pairs.div_ceil(moe.n_experts.max(1)).min(rows);
        let expected = low.saturating_add(3 * low.isqrt()).min(rows);
        Ok(Self { low, expected, high: rows })
    }

    /// A size that depends on the tokens, and grows with them.
    pub fn size(
        self,
        of: impl Fn(u64) -> Result<Bytes, EstimateError>,
    ) -> Result<Bounds, EstimateError> {
        Ok(Bounds::new(of(self.low)?, of(self.expected)?, of(self.high)?))
    }
}

/// The instants at which a layer's experts hold most, without the hidden states around them.
pub fn instants(
    scenario: &Scenario<'_>,
    pass: ForwardPass,
    moe: Moe,
) -> Result<Vec<Instant>, EstimateError> {
    let family = scenario.model.shape.architecture;
    if !scenario.runtime.options.stack().transformers.has_expert_modules(family) {
        return every_expert(scenario, pass, moe);
    }
    let hidden = scenario.model.shape.hidden_size;
    let share = Share::busiest(pass, moe)?;
    let weighted = weighted_bytes(family);
    let mlp =
        of_one(around(scenario, pass, moe)?, share, 2 * (2 * hidden + 3 * moe.expert_ffn_size))?;
    let sum = of_one(around(scenario, pass, moe)?, share, hidden * (6 + weighted))?;
    let mut instants = vec![mlp, sum];
    if moe.shared_ffn_size > 0 {
        let factors =
            [("rows", pass.all_rows()?), ("3 shared_ffn", 3 * moe.shared_ffn_size), ("B", 2)];
        let shared = around(scenario, pass, moe)?;
        instants.push(shared.and(ACTIVATIONS, "shared expert", &factors)?);
    }
    Ok(instants)
}

/// `DeepSeek` and GLM weigh and add up in f32, as their routers' weights are.
const fn weighted_bytes(family: Architecture) -> u64 {
    if family.family().experts.weighed_in_f32 { 4 } else { 2 }
}

/// What waits around the loop: the sum of the experts' outputs, and which token goes to which expert, an
/// int64 for every token, choice and expert.
pub fn around(
    scenario: &Scenario<'_>,
    pass: ForwardPass,
    moe: Moe,
) -> Result<Instant, EstimateError> {
    let rows = ("rows", pass.all_rows()?);
    let shape = &scenario.model.shape;
    let sum = [rows, ("hidden", shape.hidden_size), ("B", weighted_bytes(shape.architecture))];
    let mask =
        [rows, ("experts per token", moe.n_experts_used), ("experts · 8 B", 8 * moe.n_experts)];
    let choice = [
        rows,
        ("B (logits, choices and their weights)", 2 * moe.n_experts + 10 * moe.n_experts_used),
    ];
    Ok(Instant::default()
        .and(ACTIVATIONS, "sum of the experts' outputs", &sum)?
        .and(ACTIVATIONS, "which token goes to which expert", &mask)?
        .and(ACTIVATIONS, "the router's decision", &choice)?)
}

/// Index tensors of an expert's tokens, two of int64, and those of the expert before it.
const INDEX_BYTES: u64 = 32;

fn of_one(around: Instant, share: Share, bytes: u64) -> Result<Instant, EstimateError> {
    let bytes = bytes + INDEX_BYTES;
    let formula = Formula::product(&[
        ("tokens of the busiest expert", share.expected),
        ("B (inputs, results, output of the expert before)", bytes),
    ]);
    let size = share.size(|rows| Ok(Bytes::product(&[rows, bytes])?))?;
    Ok(around.and_sized(ACTIVATIONS, "tokens of one expert", size, formula))
}

/// Every expert on every token: while the gate is applied, the tokens for each, gate and up in one, the
/// gate's activation, its product; or the outputs and the weighted outputs beside tokens, gate and up. Where there are
/// biases both halves are clamped, and kept with the gate's activation (4.57.6 `modeling_gpt_oss.py`).
fn every_expert(
    scenario: &Scenario<'_>,
    pass: ForwardPass,
    moe: Moe,
) -> Result<Vec<Instant>, EstimateError> {
    let (hidden, ffn) = (scenario.model.shape.hidden_size, moe.expert_ffn_size);
    let pairs = [("rows", pass.all_rows()?), ("experts", moe.n_experts)];
    let at = |name, width: u64| {
        Instant::default().and(ACTIVATIONS, name, &[pairs[0], pairs[1], ("width", width), ("B", 2)])
    };
    let clamped = if moe.expert_bias { 3 * ffn } else { 0 };
    Ok(vec![
        at("tokens of every expert, gate and up", hidden + 4 * ffn + clamped)?,
        at("tokens and outputs of every expert", 3 * hidden + 2 * ffn + clamped)?,
    ])
}
