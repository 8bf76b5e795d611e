//! What a step of prompts holds while it runs, where it is not captured: a layer's results, experts' workspaces, logits.
//!
//! Captured steps keep theirs in the graphs' pool ([`super::graphs`]), so that nothing is left but logits.

use super::graphs::Prompts;
use crate::estimate::serving::layer::{attention_width, element, mlp_width, results};
use crate::estimate::{
    BufferId, Buffers, Component, Deviation, EstimateError, Formula, Kind, Life, Moment, Phase,
    Scenario,
};
use crate::spec::{Basis, Bounds, Moe, TokenServing};
use crate::units::{Bytes, Overflow};

fn kind(component: Component, moment: Moment) -> Kind<'static> {
    let life = Life::During(Phase::Prefill, moment);
    let source = "by vLLM's profile run, whose layers are the same; no public log has the peak";
    Kind { component, life, basis: Basis::Assumed, source }
}

/// Lists the moments of a step of `prefill_chunk` tokens.
pub fn push(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    serving: TokenServing,
) -> Result<(), EstimateError> {
    // Copies of attention have a part of a step each, and put them together for what they share.
    let all = scenario.workload.prefill_chunk;
    let rows = all / serving.copies();
    let is_captured =
        Prompts::of(scenario, serving).largest().is_some_and(|largest| largest >= rows);
    push_logits(buffers, scenario)?;
    if is_captured {
        return Ok(());
    }
    let mut layer =
        |moment, name: &'static str, rows: u64, width: u64| -> Result<(), EstimateError> {
            let formula = Formula::text(
                "B · tokens · (width + 3.5 · hidden)",
                &[
                    ("B", element(scenario)),
                    ("tokens", rows),
                    ("width", width),
                    ("hidden", scenario.model.shape.hidden_size),
                ],
            );
            let size = Deviation::SGLANG_LAYER.around(results(scenario, rows, width)?)?;
            buffers.push(kind(Component::Activations, moment), name, size, formula);
            Ok(())
        };
    let mlp = mlp_width(scenario, serving.tensor_ranks());
    layer(Moment::FeedForward, "a layer's MLP", all, mlp)?;
    layer(
        Moment::Attention,
        "a layer's attention",
        rows,
        attention_width(scenario, serving.ranks),
    )?;
    if let Some(moe) = scenario.model.shape.moe {
        push_experts(buffers, scenario, serving, moe)?;
    }
    Ok(())
}

/// Gate and up of every expert of a token, their product, and what goes back into the stream, which shares memory with the first
/// (`fused_moe_triton`, `intermediate_cache1` to 3).
fn push_experts(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    serving: TokenServing,
    moe: Moe,
) -> Result<(), Overflow> {
    let is_whole = serving.server.grid.is_some_and(|grid| grid.whole_experts);
    let ffn = moe.expert_ffn_size.div_ceil(if is_whole { 1 } else { serving.tensor_ranks() });
    let hidden = scenario.model.shape.hidden_size;
    let formula = Formula::product(&[
        ("tokens", scenario.workload.prefill_chunk),
        ("experts of a token", moe.n_experts_used),
        ("max(2 ffn, hidden) + ffn", (2 * ffn).max(hidden) + ffn),
        ("B", element(scenario)),
    ]);
    let size = Deviation::SGLANG_LAYER.around(formula.value()?)?;
    let kind = Kind {
        source: "SGLang srt/layers/moe/fused_moe_triton, intermediate_cache1 to 3",
        ..kind(Component::Activations, Moment::FeedForward)
    };
    buffers.push(kind, BufferId::ExpertWorkspaces, size, formula);
    Ok(())
}

/// Logits of the sequences of a step, their f32 copy, and probabilities.
fn push_logits(buffers: &mut Buffers, scenario: &Scenario<'_>) -> Result<(), Overflow> {
    if !scenario.part().has_head {
        return Ok(());
    }
    let formula = Formula::product(&[
        ("sequences", scenario.workload.batch),
        ("vocab_size", scenario.model.shape.vocab_size),
        ("B", element(scenario) + 8),
    ]);
    let size = formula.value()?;
    let kind = kind(Component::Logits, Moment::Output);
    buffers.push(kind, BufferId::Logits, Bounds::new(Bytes::ZERO, size, size), formula);
    Ok(())
}
