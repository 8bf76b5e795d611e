//! Speculative decoding: what predicts tokens ahead, and its cache.
//!
//! - *A layer of the model's own* (`--speculative-algorithm EAGLE` or `NEXTN` without a draft), *a head* (`EAGLE`, `EAGLE3`), *a
//!   draft model* (`STANDALONE`): their weights are vLLM's ([`crate::estimate::serving::drafting`]). Embedding and output head
//!   are the model's, but each is built with its own, and from 0.5.14 on the pool is sized before those are given back.
//! - Their cache has a place for every token of the pool. The pool is sized as if their layers were like the model's: from
//!   0.5.14 on what they take is counted before the pool, and before that it came out of what the share of the card leaves, of
//!   which 2 GiB more were kept, for a draft model 6.
//! - A step of generation has all predicted tokens of a request and one more, in captured graphs too, and recurrent layers a
//!   state for each of them. 48 requests run together where nothing is said.
//!
//! Sources: `SGLang` 0.5.23 `srt/model_executor/pool_configurator.py` (`DefaultPoolConfigurator.__init__`,
//! `HybridSWAPoolConfigurator.__init__`), `srt/model_executor/model_runner_components/spec_aux_hidden_state.py`,
//! `srt/managers/scheduler.py` (`init_model_worker`), `srt/arg_groups/speculative_hook.py`; before 0.5.14 `srt/server_args.py`.

use super::pool::{Cells, Holds, Predicting};
use crate::estimate::serving::drafting::{check_head, draft_of, weights};
use crate::estimate::serving::layer::element;
use crate::estimate::serving::tensors::VOCAB_PADDING;
use crate::estimate::{
    Buffers, Component, EstimateError, Formula, Kind, Life, Moment, Phase, Scenario,
};
use crate::spec::{Basis, Drafter, TokenServing};
use crate::units::Overflow;

/// Layers of what predicts.
pub fn layers(scenario: &Scenario<'_>, drafter: Drafter) -> u64 {
    match (drafter, draft_of(scenario)) {
        (Drafter::Model, Some(draft)) => draft.model.shape.n_layers,
        (Drafter::Lookup | Drafter::Unknown, _) => 0,
        (Drafter::Layer | Drafter::Eagle | Drafter::Eagle3 | Drafter::Published(_), _)
        | (Drafter::Model, None) => 1,
    }
}

/// What predictions add to the pool.
pub fn predicting(scenario: &Scenario<'_>, serving: TokenServing) -> Predicting {
    let Some(drafter) = serving.drafter() else { return Predicting::default() };
    Predicting {
        layers: layers(scenario, drafter),
        tokens: serving.tokens_of_a_step(),
        requests: serving.requests_with_states(),
    }
}

fn kind(component: Component) -> Kind<'static> {
    Kind {
        component,
        life: Life::From(Phase::Load),
        basis: Basis::Modelled,
        source: "SGLang srt/model_executor/pool_configurator.py, srt/speculative",
    }
}

/// Lists the weights of what predicts.
pub fn push_weights(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    serving: TokenServing,
) -> Result<(), EstimateError> {
    let Some(drafter) = serving.drafter().filter(|_| scenario.part().has_head) else {
        return Ok(());
    };
    check_head(scenario, drafter)?;
    if let Drafter::Published(draft) = drafter {
        let reason = format!("what `{}` takes under SGLang is not modelled", draft.shape().name);
        return Err(EstimateError::Model { field: "draft", reason });
    }
    let ranks = serving.tensor_ranks();
    let (id, size) = weights(scenario, drafter, ranks)?;
    let formula = Formula::text("Σ over tensors", &[("tokens ahead", serving.server.ahead)]);
    buffers.push(kind(Component::Weights), id, size, formula);
    if serving.version.counts_predictions() {
        push_own_vocabulary(buffers, scenario, drafter, ranks)?;
    }
    Ok(())
}

/// Lists the embedding and the output head that a layer or a head is built with, and gives back for the model's only once the
/// pool is there, which is smaller by them (`eagle_worker_v2.py`, `init_lm_head`). EAGLE-3 keeps its output head.
fn push_own_vocabulary(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    drafter: Drafter,
    ranks: u64,
) -> Result<(), Overflow> {
    let matrices = match drafter {
        Drafter::Model | Drafter::Published(_) | Drafter::Lookup | Drafter::Unknown => {
            return Ok(());
        }
        Drafter::Eagle3 => 1,
        Drafter::Layer | Drafter::Eagle => 2,
    };
    let shape = &scenario.model.shape;
    let kind = Kind {
        life: Life::During(Phase::Load, Moment::Conversion),
        source: "SGLang srt/speculative/eagle_worker_v2.py, init_lm_head",
        ..kind(Component::Weights)
    };
    let rows = shape.vocab_size.next_multiple_of(VOCAB_PADDING).div_ceil(ranks);
    let factors = [
        ("matrices", matrices),
        ("tokens of a rank", rows),
        ("hidden", shape.hidden_size),
        ("B", element(scenario)),
    ];
    buffers.product(kind, "own embedding and head of what predicts, given back later", &factors)
}

/// Lists the cache of what predicts where the pool does not count it.
pub fn push_cache(buffers: &mut Buffers, cells: Cells, holds: Holds) -> Result<(), Overflow> {
    if cells.beside.is_zero() {
        return Ok(());
    }
    let kind =
        Kind { life: Life::From(Phase::SystemPrefill), ..kind(Component::ConversationCache) };
    let factors = [("tokens of the pool", holds.tokens), ("B of a token", cells.beside.get())];
    buffers.product(kind, "cache of what predicts", &factors)
}
