//! Speculative decoding: what predicts tokens ahead of the model, its weights, its cache in the model's pool, and what its step
//! takes in the profile run.
//!
//! - *A layer of the model's own* (method `mtp`): a layer with attention like the last of the model's, a matrix that joins the
//!   embedding and the hidden state, three norms. Embedding and output head are the model's (`eagle/utils.py`,
//!   `load_eagle_model`).
//! - *A head* (`eagle`, `eagle3`): one layer of Llama's shape, as such heads are published for dense models; EAGLE-3's reads
//!   three hidden states of the model, and has an output head for 32,000 tokens.
//! - *A draft model*: all of it, split over as many ranks as the model.
//!
//! Their layers' caches are in the same pool: a layer like the model's joins the groups of those that keep every token; in
//! models of such layers alone, others make a block as much larger. Recurrent layers keep as many states more of a request as
//! tokens are predicted, and as many inputs more of their convolutions.
//!
//! Sources: vLLM 0.33 `v1/worker/gpu/spec_decode/` (`speculator.py`, `eagle/utils.py`, `standalone_ar/speculator.py`),
//! `model_executor/models/qwen3_5_mtp.py`, `deepseek_mtp.py`, `llama_eagle.py`, `llama_eagle3.py`; to the byte as the engine
//! builds them (`evidence/vllm/draft-0.33.0.csv`).

use super::paged::token_size_of;
use super::{attention_width, element, mlp_width, results, transient};
use crate::dtype::KvFormat;
use crate::estimate::serving::drafting::{HEAD_STATES, check_head, draft_of, weights};
pub use crate::estimate::serving::drafting::{head, is_absorbed, layer, window_layer};
use crate::estimate::{
    Buffers, Component, Deviation, EstimateError, Formula, Kind, Life, Moment, Phase, Scenario,
};
use crate::spec::{Basis, Draft, Drafter, Layer, ModelShape, ModelSpec, Serving};
use crate::units::{Bytes, Overflow};

const SOURCE: &str = "vLLM v1/worker/gpu/spec_decode, load_draft_model of each method";

/// What predictions add to the cache and to states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drafted {
    /// Layers like the model's that keep every token.
    pub layers: u64,
    /// Other layers.
    pub other_layers: u64,
    /// Bytes of a token in all of those.
    pub other: Bytes,
    /// Tokens predicted.
    pub ahead: u64,
}

impl Drafted {
    /// Of a part of a model: those that predict are on the last stage of a pipeline.
    ///
    /// # Errors
    /// On sizes that no device has.
    pub fn of(
        model: &ModelSpec,
        (serving, draft): (Serving, Option<&Draft>),
        (kv, ranks): (KvFormat, u64),
        is_last: bool,
    ) -> Result<Self, Overflow> {
        let (ahead, drafter) = (serving.server.ahead, serving.server.drafter);
        let none = Self { ahead, ..Self::default() };
        if ahead == 0 || !is_last {
            return Ok(none);
        }
        let own = |shape: &ModelShape| token_size_of(shape, kv, ranks);
        Ok(match (drafter, draft) {
            (Drafter::Layer, _) => Self { layers: 1, ..none },
            (Drafter::Eagle | Drafter::Eagle3, _) => {
                Self { other_layers: 1, other: own(&model.shape)?, ..none }
            }
            (Drafter::Model, Some(draft)) => {
                let layers = draft.model.shape.n_layers;
                Self {
                    other_layers: layers,
                    other: own(&draft.model.shape)?.times(layers)?,
                    ..none
                }
            }
            (Drafter::Model, None) => none,
        })
    }

    /// The same of a scenario's part.
    ///
    /// # Errors
    /// On sizes that no device has.
    pub fn of_scenario(scenario: &Scenario<'_>, serving: Serving) -> Result<Self, Overflow> {
        let draft = draft_of(scenario);
        let cache = (scenario.kv, serving.ranks);
        Self::of(scenario.model, (serving, draft), cache, scenario.part().has_head)
    }
}

/// Lists what predicts: weights, the hidden states that it is handed, and its step.
pub fn push(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    serving: Serving,
) -> Result<(), EstimateError> {
    if serving.server.ahead == 0 || !scenario.part().has_head {
        return Ok(());
    }
    let drafter = serving.server.drafter;
    check(scenario, drafter)?;
    push_weights(buffers, scenario, serving, drafter)?;
    let shape = match draft_of(scenario) {
        Some(draft) => &draft.model.shape,
        None => &scenario.model.shape,
    };
    let rows = ("tokens", scenario.workload.prefill_chunk);
    let streams = scenario.model.shape.extras.streams.unwrap_or(1);
    let hidden = ("hidden", scenario.model.shape.hidden_size.saturating_mul(streams));
    let kind = Kind {
        component: Component::SmallBuffers,
        life: Life::From(Phase::Load),
        basis: Basis::Modelled,
        source: "vLLM target_dependent_ar/speculator.py, hidden_states",
    };
    if drafter != Drafter::Model {
        buffers.product(kind, "hidden states to predict from", &[rows, hidden, ("B", 2)])?;
    }
    if drafter == Drafter::Eagle3 {
        let states = ("hidden states", HEAD_STATES);
        let kind = transient(Component::Activations, Moment::Whole);
        buffers.product(
            kind,
            "hidden states of inner layers",
            &[states, rows, hidden, ("B", 2)],
        )?;
    }
    push_step(buffers, scenario, serving, shape)
}

/// Refuses what was asked of no engine.
fn check(scenario: &Scenario<'_>, drafter: Drafter) -> Result<(), EstimateError> {
    if drafter == Drafter::Layer {
        return Ok(());
    }
    let refuse = |reason: String| Err(EstimateError::Model { field: "draft", reason });
    let keeps_all = |model: &ModelSpec| {
        model.layers.iter().all(|layer| matches!(layer, Layer::Full)) && model.shape.mla.is_none()
    };
    let name = &scenario.model.name;
    if !keeps_all(scenario.model) {
        return refuse(format!(
            "how vLLM cuts its pool for a draft beside `{name}`, whose layers do not all keep keys and values of \
             every token, is not known"
        ));
    }
    if let Some(draft) = draft_of(scenario).filter(|draft| !keeps_all(&draft.model)) {
        return refuse(format!(
            "how vLLM cuts its pool for `{}` as a draft is not known: its layers do not all keep every token",
            draft.model.name
        ));
    }
    check_head(scenario, drafter)
}

fn push_weights(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    serving: Serving,
    drafter: Drafter,
) -> Result<(), EstimateError> {
    let (id, size) = weights(scenario, drafter, serving.ranks)?;
    let kind = Kind {
        component: Component::Weights,
        life: Life::From(Phase::Load),
        basis: Basis::Modelled,
        source: SOURCE,
    };
    let formula = Formula::text("Σ over tensors", &[("tokens ahead", serving.server.ahead)]);
    buffers.push(kind, id, size, formula);
    Ok(())
}

/// The step of what predicts, beside the hidden states of the model's.
fn push_step(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    serving: Serving,
    shape: &ModelShape,
) -> Result<(), EstimateError> {
    let rows = scenario.workload.prefill_chunk;
    let hidden = scenario.model.shape.hidden_size;
    let width = match draft_of(scenario) {
        Some(_) => (3 * shape.ffn_size.div_ceil(serving.ranks)).max(4 * shape.q_width()),
        None => mlp_width(scenario, serving.ranks).max(attention_width(scenario, serving.ranks)),
    };
    let joined = Bytes::product(&[3, hidden, rows, element(scenario)])?;
    let size = Deviation::VLLM_LAYER.around(results(scenario, rows, width)?.plus(joined)?)?;
    let kind = transient(Component::Activations, Moment::Projection);
    let kind = Kind {
        basis: Basis::Assumed,
        source: "a layer's results, by analogy with the model's",
        ..kind
    };
    let formula = Formula::text(
        "B · tokens · (width + 6.5 · hidden)",
        &[("tokens", rows), ("width", width), ("hidden", hidden)],
    );
    buffers.push(kind, "a step of what predicts", size, formula);
    Ok(())
}
