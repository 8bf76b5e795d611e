//! Speculative decoding: what predicts tokens ahead of the model, its weights, its cache in the model's pool, and what its step
//! takes in the profile run.
//!
//! - *A layer of the model's own* (method `mtp`): a layer with attention like the last of the model's, a matrix that joins the
//!   embedding and the hidden state, three norms. Embedding and output head are the model's (`eagle/utils.py`,
//!   `load_eagle_model`).
//! - *A head* (`eagle`, `eagle3`): one layer of Llama's shape, as such heads are published for dense models; EAGLE-3's reads
//!   three hidden states of the model, and has an output head for 32,000 tokens.
//! - *A draft model*: all of it, split over as many ranks as the model.
//! - *A draft that is published for the model*: a block's, which reads hidden states of some of the model's layers and has keys and
//!   values of its own, or an assistant of Gemma 4's, which reads the model's (`spec/drafts.rs`).
//!
//! Their layers' caches are in the same pool: a layer like the model's joins the groups of those that keep every token; in
//! models of such layers alone, others make a block as much larger. Layers of a block's draft form groups of their own where the
//! model's are not alike: four of a window and one that keeps all tokens make every group of the pool one layer long. Windows of
//! drafts are kept from 0.25 on. Recurrent layers keep as many states more of a request as tokens are predicted, and as many inputs
//! more of their convolutions.
//!
//! Sources: vLLM 0.33 `v1/worker/gpu/spec_decode/` (`speculator.py`, `eagle/utils.py`, `standalone_ar/speculator.py`),
//! `model_executor/models/qwen3_5_mtp.py`, `deepseek_mtp.py`, `llama_eagle.py`, `llama_eagle3.py`; to the byte as the engine
//! builds them (`evidence/vllm/draft-0.33.0.csv`, `published-0.33.0.csv`).

mod published;

use super::paged::token_size_of;
use super::{attention_width, element, mlp_width, results, transient};
use crate::dtype::KvFormat;
use crate::estimate::kv_cache;
use crate::estimate::serving::drafting::{HEAD_STATES, check_head, draft_of, weights};
pub use crate::estimate::serving::drafting::{head, is_absorbed, layer, window_layer};
pub use crate::estimate::serving::published::weights as published_weights;
use crate::estimate::{
    Buffers, Component, Deviation, EstimateError, Formula, Kind, Life, Moment, Phase, Scenario,
};
use crate::spec::{
    Basis, Draft, Drafter, Layer, LayerShape, ModelShape, ModelSpec, PublishedDraft, Serving,
};
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
    /// Layers that form groups of their own: of those that keep every token, and of those that keep a window.
    pub apart: [Apart; 2],
    /// Tokens predicted.
    pub ahead: u64,
}

/// Layers of a draft that are alike, and not like the model's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Apart {
    /// How many.
    pub layers: u64,
    /// Tokens that they keep; 0 for all.
    pub window: u64,
    /// Bytes of a token in one of them.
    pub token: Bytes,
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
            (Drafter::Published(draft), _) => {
                let windows = serving.version.keeps_windows_of_drafts();
                Self { ahead, ..Self::published(model, draft, (kv, ranks), windows)? }
            }
            (Drafter::Model, None) | (Drafter::Lookup | Drafter::Unknown, _) => none,
        })
    }

    fn published(
        model: &ModelSpec,
        draft: PublishedDraft,
        (kv, ranks): (KvFormat, u64),
        windows: bool,
    ) -> Result<Self, Overflow> {
        let none = Self::default();
        let (full, (windowed, window)) = match draft.cached_layers() {
            (full, (windowed, _)) if !windows => (full.saturating_add(windowed), (0, 0)),
            layers => layers,
        };
        if full == 0 && windowed == 0 {
            return Ok(none);
        }
        let heads = draft.shape().heads[1].div_ceil(ranks);
        let head_dim = draft.shape().head_dim;
        let layer = LayerShape {
            n_heads: heads,
            kv_heads: heads,
            head_dim,
            value_head_dim: head_dim,
            ffn_size: 0,
        };
        let token = kv_cache::heads_size(layer, kv, 1)?;
        let is_like = model.shape.kv_heads == draft.shape().heads[1]
            && model.shape.head_dim == head_dim
            && model.shape.mla.is_none();
        // Layers like the model's that keep every token are among them.
        let (layers, full) = if is_like { (full, 0) } else { (0, full) };
        if windowed == 0 && keeps_all(model) {
            let other = token.times(full)?;
            return Ok(Self { layers, other_layers: full, other, ..none });
        }
        let apart = |layers, window| Apart { layers, window, token };
        Ok(Self { layers, apart: [apart(full, 0), apart(windowed, window)], ..none })
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
    match drafter {
        Drafter::Published(draft) => {
            push_weights(buffers, scenario, serving, drafter)?;
            return published::push(buffers, scenario, serving, draft);
        }
        Drafter::Lookup | Drafter::Unknown => return Ok(()),
        Drafter::Layer | Drafter::Eagle | Drafter::Eagle3 | Drafter::Model => {}
    }
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

/// Whether all layers keep keys and values of every token.
fn keeps_all(model: &ModelSpec) -> bool {
    model.layers.iter().all(|layer| matches!(layer, Layer::Full)) && model.shape.mla.is_none()
}

/// Refuses what was asked of no engine.
fn check(scenario: &Scenario<'_>, drafter: Drafter) -> Result<(), EstimateError> {
    let refuse = |reason: String| Err(EstimateError::Model { field: "draft", reason });
    match drafter {
        Drafter::Layer | Drafter::Lookup | Drafter::Unknown => return Ok(()),
        Drafter::Published(draft) if draft.is_for(scenario.model) => return Ok(()),
        Drafter::Published(draft) => {
            let (draft, model) = (draft.shape().name, &scenario.model.name);
            return refuse(format!(
                "`{draft}` reads the hidden states of another model than `{model}`"
            ));
        }
        Drafter::Eagle | Drafter::Eagle3 | Drafter::Model => {}
    }
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
