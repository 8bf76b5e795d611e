//! What a draft that is published for the model is handed, and what its step takes.
//!
//! - *A block's draft* is given hidden states of some of the model's layers, which stay from their layer on to the end of the step.
//!   The second model runner, which runs drafts with windows from 0.25 on, joins them in its profile run and makes logits of all
//!   tokens ahead; before, that run makes the context's keys and values alone.
//! - *An assistant* is given the last hidden states and embeddings of all tokens of a step, side by side.
//!
//! Sources: vLLM 0.20 `v1/spec_decode/dflash.py` (`dummy_run`); 0.27 `v1/worker/gpu/spec_decode/dflash/speculator.py` (`propose`),
//! `models/qwen3_dflash.py` (`precompute_and_store_context_kv`), `models/gemma4_mtp.py`.

use crate::estimate::vllm::{element, transient};
use crate::estimate::{
    Buffers, Component, Deviation, EstimateError, Formula, Kind, Life, Moment, Phase, Scenario,
};
use crate::spec::{Basis, DraftKind, DraftShape, PublishedDraft, Serving};
use crate::units::{Bytes, Overflow};

/// Moments of the model's own step at which hidden states of its inner layers are there.
const ALIVE: [Moment; 4] =
    [Moment::Attention, Moment::FeedForward, Moment::Recurrence, Moment::Output];

/// Lists it.
///
/// # Errors
/// On sizes that no device has.
pub(super) fn push(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    serving: Serving,
    draft: PublishedDraft,
) -> Result<(), EstimateError> {
    let rows = scenario.workload.prefill_chunk;
    let hidden = scenario.model.shape.hidden_size;
    let kind = Kind {
        component: Component::SmallBuffers,
        life: Life::From(Phase::Load),
        basis: Basis::Modelled,
        source: "vLLM v1/worker/gpu/spec_decode, hidden_states",
    };
    let handed = [("tokens", rows), ("hidden", hidden), ("B", 2)];
    buffers.product(kind, "hidden states to predict from", &handed)?;
    let step = match draft.shape().kind {
        DraftKind::Block { states, .. } => {
            let positions = ("positions", scenario.model.shape.context_len);
            let table = [positions, ("width", draft.shape().head_dim), ("B", 2)];
            let source = "vLLM models/qwen3_dflash.py, get_rope";
            buffers.product(
                Kind { source, ..kind },
                "sines and cosines of what predicts",
                &table,
            )?;
            let alive = [("hidden states", states), ("tokens", rows), ("hidden", hidden), ("B", 2)];
            for moment in ALIVE {
                let kind = transient(Component::Activations, moment);
                buffers.product(kind, "hidden states of inner layers", &alive)?;
            }
            block(scenario, serving, (draft.shape(), states))?
        }
        DraftKind::Assistant { backbone, .. } => {
            assistant(scenario, serving, (draft.shape(), backbone))?
        }
    };
    let kind = Kind {
        basis: Basis::Assumed,
        source: "vLLM models/qwen3_dflash.py, gemma4_mtp.py, by their results",
        ..transient(Component::Activations, Moment::Projection)
    };
    let values = [("tokens", rows), ("hidden", hidden), ("tokens ahead", serving.server.ahead)];
    let formula = Formula::text("results of its layers, or its logits", &values);
    buffers.push(kind, "a step of what predicts", Deviation::VLLM_LAYER.around(step)?, formula);
    Ok(())
}

/// Hidden states of inner layers and those of them side by side, with the context's keys and values; or logits beside the former.
fn block(
    scenario: &Scenario<'_>,
    serving: Serving,
    (shape, states): (&DraftShape, u64),
) -> Result<Bytes, Overflow> {
    let rows = scenario.workload.prefill_chunk;
    let given = Bytes::product(&[states, rows, shape.hidden_size, 2])?;
    let kv = shape.heads[1].div_ceil(serving.ranks).saturating_mul(shape.head_dim);
    // Keys and values as the product gives them, those layer by layer, and keys with their norm.
    let cached = Bytes::product(&[shape.n_layers, 5, kv, rows, 2])?;
    let joined = Bytes::product(&[2, rows, shape.hidden_size, 2])?;
    if !serving.version.keeps_windows_of_drafts() {
        return cached.plus(joined);
    }
    let context = given.plus(joined)?.plus(cached)?;
    let ahead = serving.server.ahead;
    given.plus(context.max(logits(scenario, serving, (shape.vocab_size, ahead))?))
}

/// Embeddings and hidden states side by side, and what one of its layers makes of them; or logits.
fn assistant(
    scenario: &Scenario<'_>,
    serving: Serving,
    (shape, backbone): (&DraftShape, u64),
) -> Result<Bytes, Overflow> {
    let rows = scenario.workload.prefill_chunk;
    let ffn = shape.ffn_size.div_ceil(serving.ranks).saturating_mul(3);
    let width = backbone.saturating_mul(3).saturating_add(ffn);
    let width = width.saturating_add(shape.hidden_size.saturating_mul(4));
    let layer = Bytes::product(&[rows, width, element(scenario)])?;
    Ok(layer.max(logits(scenario, serving, (shape.vocab_size, 1))?))
}

fn logits(
    scenario: &Scenario<'_>,
    serving: Serving,
    (vocabulary, ahead): (u64, u64),
) -> Result<Bytes, Overflow> {
    let sampled = serving.max_seqs.min(scenario.workload.prefill_chunk);
    Bytes::product(&[sampled, ahead, vocabulary, element(scenario)])
}
