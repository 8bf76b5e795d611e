//! What predicts tokens ahead of a model, as vLLM and SGLang load it: a layer of the model's own, or a head as they are published.

use super::layer::element;
use super::tensors::VOCAB_PADDING;
use crate::dtype::WeightFormat;
use crate::estimate::weights::Piece;
use crate::estimate::{BufferId, EstimateError, Scenario, weights_of_part};
use crate::spec::{
    Bounds, Draft, Drafter, Layer, ModelShape, ModelSpec, Part, Role, RuntimeSpec, TensorSpec,
};
use crate::units::{Bytes, Overflow};

/// Tokens of an EAGLE-3 head's own vocabulary, as they are published.
const HEAD_TOKENS: u64 = 32_000;
/// Hidden states of the model that it reads.
pub const HEAD_STATES: u64 = 3;

/// The draft model, where one is loaded.
pub fn draft_of<'a>(scenario: &Scenario<'a>) -> Option<&'a Draft> {
    scenario.runtime.launch.beside.as_deref().and_then(|beside| beside.draft.as_ref())
}

/// Refuses heads of models beside which none of a known width is published.
///
/// # Errors
/// For heads beside experts, and where layers differ.
pub fn check_head(scenario: &Scenario<'_>, drafter: Drafter) -> Result<(), EstimateError> {
    let ModelSpec { name, shape, .. } = scenario.model;
    let is_head = matches!(drafter, Drafter::Eagle | Drafter::Eagle3);
    if is_head && (shape.moe.is_some() || shape.per_layer.is_some()) {
        let reason = format!("the width of heads that are published for `{name}` is not known");
        return Err(EstimateError::Model { field: "draft", reason });
    }
    Ok(())
}

/// Bytes of a rank's weights of what predicts, and what they are called.
///
/// # Errors
/// Where the draft model is not loaded in its format, and on sizes that no device has.
pub fn weights(
    scenario: &Scenario<'_>,
    drafter: Drafter,
    ranks: u64,
) -> Result<(BufferId, Bounds), EstimateError> {
    Ok(match (drafter, draft_of(scenario)) {
        (Drafter::Model, Some(draft)) => {
            (BufferId::DraftWeights, of_draft(scenario, draft, ranks)?)
        }
        (Drafter::Layer, _) if scenario.model.shape.extras.compressed.is_some() => {
            (BufferId::PredictingLayer, Bounds::exactly(of_window_layer(scenario)?))
        }
        (Drafter::Layer, _) => (BufferId::PredictingLayer, of_layer(scenario, ranks)?),
        (Drafter::Published(draft), _) => {
            (BufferId::DraftWeights, super::published::weights(draft, ranks)?)
        }
        (Drafter::Lookup | Drafter::Unknown, _) => (BufferId::DraftWeights, Bounds::ZERO),
        _ => {
            let bytes = head(&scenario.model.shape, drafter, ranks, element(scenario))?;
            (BufferId::DraftWeights, Bounds::exactly(bytes))
        }
    })
}

fn of_draft(scenario: &Scenario<'_>, draft: &Draft, ranks: u64) -> Result<Bounds, EstimateError> {
    let part = Part::rank(&draft.model, scenario.part().rank_of_stage(), ranks);
    let sized = weights_of_part(&draft.model, draft.weights, scenario.runtime, &part);
    let weights = sized.map_err(|error| EstimateError::Model {
        field: "draft",
        reason: format!("the draft model's weights: {error}"),
    })?;
    Ok(weights.bounds)
}

/// The model's own layer: at most in 16 bits, as many quantized checkpoints leave it.
fn of_layer(scenario: &Scenario<'_>, ranks: u64) -> Result<Bounds, Overflow> {
    let held = layer(scenario.model, &scenario.weights.pieces, ranks, element(scenario))?;
    let whole = scenario.weights.device;
    let parameters = scenario.model.parameters().max(1);
    // What the layer would take in 16 bits: as much more as the model's formats save.
    let all = Bytes::product(&[parameters.div_ceil(ranks), element(scenario)])?;
    let high = if whole.is_zero() || all <= whole {
        held
    } else {
        held.scale(all.get(), whole.get())?.max(held)
    };
    Ok(Bounds::new(held, held, high))
}

fn of_window_layer(scenario: &Scenario<'_>) -> Result<Bytes, EstimateError> {
    let format = scenario.weights.format;
    window_layer(scenario.model, format, scenario.runtime, scenario.part())
}

/// DeepSeek-V4's layer that predicts tokens: one with a window alone, a matrix each for the embedding and for the residual
/// streams, three norms, and what makes one of the streams (vLLM 0.33 `models/deepseek_v4/nvidia/mtp.py`).
///
/// # Errors
/// Where the weights are not loaded in their format, and on sizes that no device has.
pub fn window_layer(
    model: &ModelSpec,
    format: WeightFormat,
    runtime: &RuntimeSpec,
    part: &Part,
) -> Result<Bytes, EstimateError> {
    let refuse = |reason: String| EstimateError::Model { field: "draft", reason };
    let mut shape = model.shape.clone();
    shape.n_layers = 1;
    if let Some(compressed) = &mut shape.extras.compressed {
        (compressed.ratios, compressed.hashed_layers) = (vec![0], 0);
    }
    let (hidden, streams) = (shape.hidden_size, shape.extras.streams.unwrap_or(1));
    let layer = ModelSpec::new("a layer that predicts", shape, &model.source)
        .map_err(|error| refuse(error.to_string()))?;
    let mut layer = ModelSpec { own_format: model.own_format.clone(), ..layer };
    let own = [
        (Role::MlaQa, hidden, hidden),
        (Role::MlaQa, hidden, hidden),
        (Role::Norm, hidden, 3),
        (Role::StreamMix, streams * hidden, streams),
        (Role::StreamMix, streams + 1, 1),
    ];
    let own = own.map(|(role, row, rows)| TensorSpec { role, layer: Some(0), row, rows });
    layer.tensors.extend(own);
    let part = Part { layers: 0..1, ..part.clone() };
    let sized = weights_of_part(&layer, format, runtime, &part);
    let sized = sized.map_err(|error| refuse(error.to_string()))?;
    let mine = sized.pieces.iter().filter(|piece| piece.layer == Some(0));
    let held = mine.map(|piece| Bytes::sum(piece.held)?.times(piece.modules));
    Ok(Bytes::sum(held.collect::<Result<Vec<_>, Overflow>>()?)?)
}

/// The layer of a model that predicts tokens: the tensors of its last layer with attention, what joins embedding and hidden
/// state, and three norms. Delta nets' split that matrix over the ranks.
///
/// # Errors
/// On sizes that no device has.
pub fn layer(
    model: &ModelSpec,
    pieces: &[Piece],
    ranks: u64,
    element: u64,
) -> Result<Bytes, Overflow> {
    let shape = &model.shape;
    let is_full = |layer: &Layer| matches!(layer, Layer::Full | Layer::FullAndRecurrent);
    let last = model.layers.iter().rposition(is_full).map(|index| index as u64);
    let of = |piece: &Piece| Bytes::sum(piece.held)?.times(piece.modules);
    let mine = pieces.iter().filter(|piece| piece.layer == last);
    let own = Bytes::sum(mine.map(of).collect::<Result<Vec<_>, _>>()?)?;
    let hidden = shape.hidden_size;
    let splits = shape.recurrent.is_some();
    let rows = if splits { hidden.div_ceil(ranks) } else { hidden };
    let joined = Bytes::product(&[2, hidden, rows, element])?;
    own.plus(joined)?.plus(Bytes::product(&[3, hidden, element])?)
}

/// A head as they are published: one layer of Llama's shape behind a matrix that joins what it reads, which every rank has.
///
/// # Errors
/// On sizes that no device has.
pub fn head(
    shape: &ModelShape,
    drafter: Drafter,
    ranks: u64,
    element: u64,
) -> Result<Bytes, Overflow> {
    let reads_states = drafter == Drafter::Eagle3;
    let (hidden, ffn) = (shape.hidden_size, shape.ffn_size.div_ceil(ranks));
    let head_dim = shape.head_dim;
    let q = shape.n_heads.div_ceil(ranks).checked_mul(head_dim).ok_or(Overflow)?;
    let kv = shape.kv_heads.div_ceil(ranks).checked_mul(2 * head_dim).ok_or(Overflow)?;
    let of = |factors: &[u64]| Bytes::product(factors)?.times(element);
    let (states, inputs, norms) = if reads_states { (HEAD_STATES, 2, 4) } else { (2, 1, 1) };
    let sizes = [
        of(&[states, hidden, hidden])?,
        of(&[inputs, hidden, q.checked_add(kv).ok_or(Overflow)?])?,
        of(&[q, hidden])?,
        of(&[3, ffn, hidden])?,
        of(&[norms, hidden])?,
    ];
    let layer = Bytes::sum(sizes)?;
    if !reads_states {
        return Ok(layer);
    }
    let rows = HEAD_TOKENS.next_multiple_of(VOCAB_PADDING).div_ceil(ranks);
    // Which of the model's tokens each of its own is.
    layer.plus(of(&[rows, hidden])?)?.plus(Bytes::product(&[HEAD_TOKENS, 8])?)
}

/// Bytes of a layer that latent attention makes of a matrix as it is loaded, among [`layer`]'s.
pub fn is_absorbed(piece: &Piece) -> bool {
    piece.role == Some(Role::MlaAbsorbed)
}
