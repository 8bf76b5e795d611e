//! What a linear layer of bitsandbytes makes besides its output.
//!
//! 4 bits: a copy of the weight in 16 bits where no kernel multiplies it as it is
//! ([`super::gemm_4bit`]), and where scales are doubly quantized their f32 copies: one before 0.50
//! (`functional.py`, `dequantize_4bit`), two since (`backends/cuda/ops.py`,
//! `_dequant_linear_fallback`), two for a single row before 0.50 (`gemv_4bit`; one before 0.46).
//!
//! 8 bits: an f16 copy of the input where it is bf16, its magnitudes and which of them are outliers,
//! beside the input in 8 bits (`int8_vectorwise_quant`); then the latter, and the result as int32, as f16,
//! and as bf16 where activations are that (`int8_linear_matmul`, `int8_mm_dequant`). Columns with outliers,
//! which depend on the text, come on top: they are a few of thousands.

use super::expert_modules::{self, Share};
use super::forward_pass::ForwardPass;
use super::gemm_4bit::{Card, Product, is_fused};
use super::largest_instant::Instant;
use crate::dtype::WeightFormat;
use crate::estimate::weights::Matrix;
use crate::estimate::{Component, EstimateError, Formula, Scenario};
use crate::spec::{BitsandbytesVersion, Bounds, ModelShape, Role};
use crate::units::Bytes;

const ACTIVATIONS: Component = Component::Activations;

/// Weights that share a scale.
const BLOCK: u64 = 64;

/// What every quantized layer holds in a pass; nothing where weights are used as they are.
pub fn instants(scenario: &Scenario<'_>, pass: ForwardPass) -> Result<Vec<Instant>, EstimateError> {
    let mut instants = Vec::new();
    for &matrix in &scenario.weights.quantized {
        let share = match scenario.model.shape.moe {
            Some(moe) if matrix.role.is_routed_expert() => Share::busiest(pass, moe)?,
            _ => Share::exactly(pass.all_rows()?),
        };
        let (size, name, formula) = if scenario.weights.format == WeightFormat::Int8 {
            eight_bit(scenario, matrix, share)?
        } else {
            four_bit(scenario, matrix, share)?
        };
        if !size.high.is_zero() {
            let waiting = waiting(scenario, pass, matrix, share)?;
            instants.push(waiting.and_sized(ACTIVATIONS, name, size, formula));
        }
    }
    Ok(instants)
}

type Made = (Bounds, &'static str, Formula);

/// The 16-bit copy of a 4-bit weight, and copies of its scales.
fn four_bit(scenario: &Scenario<'_>, matrix: Matrix, share: Share) -> Result<Made, EstimateError> {
    let elements = matrix.elements()?;
    let version = scenario.runtime.options.stack().bitsandbytes;
    let card = Card::of(scenario.gpu);
    let Matrix { outputs, inputs, .. } = matrix;
    let size = share.size(|rows| {
        let fused = is_fused(version, card, Product { rows, outputs, inputs });
        let scales = scale_copies(scenario.weights.format, version, fused);
        let mut scales = Bytes::product(&[elements.div_ceil(BLOCK), scales])?;
        if version == BitsandbytesVersion::SingleRow && !fused {
            // `dequantize_4bit` has returned, and freed them, when the result is made.
            scales = scales.minus_or_zero(Bytes::product(&[rows, outputs, 2])?);
        }
        let weight = Bytes::product(&[elements, if fused { 0 } else { 2 }])?;
        Ok(weight.plus(scales)?)
    })?;
    let text = "2 B · elements of the matrix unless a kernel takes it as it is + B per 64 of them for scales";
    let formula = Formula::text(text, &[("elements", elements)]);
    Ok((size, "one weight expanded to 16 bits", formula))
}

/// Bytes per block of f32 copies of doubly quantized scales.
const fn scale_copies(format: WeightFormat, version: BitsandbytesVersion, fused: bool) -> u64 {
    let nested = matches!(
        format,
        WeightFormat::Nf4 { double_quant: true } | WeightFormat::Fp4 { double_quant: true }
    );
    match (nested, version, fused) {
        (false, ..) | (true, BitsandbytesVersion::Current, true) => 0,
        (true, BitsandbytesVersion::SingleRow, false) => 4,
        (true, ..) => 8,
    }
}

/// Inputs in 8 bits, and results beside those that the layer returns; or, where that is more, what is made
/// of the inputs to quantize them.
fn eight_bit(scenario: &Scenario<'_>, matrix: Matrix, share: Share) -> Result<Made, EstimateError> {
    let Matrix { inputs, outputs, .. } = matrix;
    let (quantizing, results) = if Card::of(scenario.gpu).f16 { (4, 4) } else { (6, 6) };
    // Outliers are looked for before there is an output.
    let bytes =
        (inputs + results * outputs).max((quantizing * inputs).saturating_sub(2 * outputs)) + 4;
    let size = share.size(|rows| Ok(Bytes::product(&[rows, bytes])?))?;
    let factors = [
        ("rows", share.expected),
        ("B (inputs in 8 bits and magnitudes, or int32 and f16 results)", bytes),
    ];
    Ok((size, "8-bit inputs and copies of results", Formula::product(&factors)))
}

/// What is alive while a layer is computed: hidden states, results of the layers before, its result.
fn waiting(
    scenario: &Scenario<'_>,
    pass: ForwardPass,
    matrix: Matrix,
    share: Share,
) -> Result<Instant, EstimateError> {
    let model = &scenario.model.shape;
    let normed = u64::from(model.architecture.family().norms_inputs());
    let Matrix { role, inputs, outputs } = matrix;
    let in_mlp = is_mlp(role);
    let hidden = (if in_mlp { 3 } else { 2 } + normed) * model.hidden_size;
    let beside = match role {
        Role::FfnUp | Role::SharedUp | Role::ExpertUp if model.gated_ffn => outputs,
        // The one projection of gate and up, or of q, k and v, lives as long as its parts.
        Role::FfnDown if model.fused_projections => 3 * inputs,
        Role::AttnOutput => inputs + waiting_queries(model),
        Role::FfnDown | Role::SharedDown | Role::ExpertDown => inputs,
        _ => 0,
    };
    let mut waiting = Instant::default();
    if let (Some(moe), true) = (model.moe, role.is_routed_expert()) {
        waiting = expert_modules::around(scenario, pass, moe)?;
    }
    let states = [("rows", pass.all_rows()?), ("width", hidden), ("B", 2)];
    let waiting = waiting.and(ACTIVATIONS, "hidden states", &states)?;
    // An expert's inputs, and the output of the expert before it.
    let width = outputs + beside + if role.is_routed_expert() { 2 * model.hidden_size } else { 0 };
    let size = share.size(|rows| Ok(Bytes::product(&[rows, width, 2])?))?;
    let factors = [("rows", share.expected), ("width", width), ("B", 2)];
    let name = "results of two projections";
    Ok(waiting.and_sized(ACTIVATIONS, name, size, Formula::product(&factors)))
}

/// Queries, which live until their layer's attention returns, and the projection that they are a part of.
fn waiting_queries(model: &ModelShape) -> u64 {
    let (q, kv) = (model.q_width(), model.kv_width());
    if model.fused_projections { 2 * q + 2 * kv } else { q }
}

const fn is_mlp(role: Role) -> bool {
    matches!(
        role,
        Role::FfnGate
            | Role::FfnUp
            | Role::FfnGateUp
            | Role::FfnDown
            | Role::SharedGate
            | Role::SharedUp
            | Role::SharedDown
            | Role::Router
            | Role::SharedRouter
    ) || role.is_routed_expert()
}
