//! Experts: how kernels pad them, and the workspaces that they share.

use crate::estimate::serving::layer::element;
use crate::estimate::serving::tensors::Cut;
use crate::estimate::{
    BufferId, Buffers, Component, Deviation, EstimateError, Formula, Kind, Life, Moment, Phase,
    Scenario,
};
use crate::spec::{Basis, Bounds, Moe, Serving};
use crate::units::Bytes;

/// To what the kernels that run experts in MXFP4 pad hidden states and MLPs (`fused_moe/oracle/mxfp4.py`,
/// `select_mxfp4_moe_backend` and `mxfp4_round_up_hidden_size_and_intermediate_size`; before 0.29 by a log of each: 0.10 on
/// an RTX 3090, 0.11, 0.13, and 0.19 on H100).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kernels {
    /// Before the second model runner, by release.
    Old { hidden: u64, ffn: u64 },
    /// Triton's, on cards of compute capability 9 and 10.
    Triton,
    /// Marlin's, on all others.
    Marlin,
}

impl Kernels {
    fn of(scenario: &Scenario<'_>, serving: Serving) -> Self {
        let has_triton = matches!(scenario.gpu.compute_capability.major, 9 | 10);
        match (serving.version.pads_experts(), has_triton) {
            (Some([hidden, ffn]), _) => Self::Old { hidden, ffn },
            (None, true) => Self::Triton,
            (None, false) => Self::Marlin,
        }
    }

    const fn hidden(self, size: u64) -> u64 {
        match self {
            Self::Old { hidden, .. } => size.next_multiple_of(hidden),
            Self::Triton => size,
            Self::Marlin => size.next_multiple_of(256),
        }
    }

    const fn ffn(self, size: u64) -> u64 {
        size.next_multiple_of(match self {
            Self::Old { ffn, .. } => ffn,
            Self::Triton => 64,
            Self::Marlin => 128,
        })
    }
}

/// The experts of a model whose checkpoints have them in MXFP4, where they are loaded so.
fn in_mxfp4(scenario: &Scenario<'_>) -> Option<Moe> {
    let is_published_so = scenario.model.shape.architecture.family().experts.in_mxfp4();
    scenario.model.shape.moe.filter(|_| is_published_so)
}

/// Experts of a layer that the GPU has, and their width there.
fn on_this_gpu(scenario: &Scenario<'_>, moe: Moe) -> (u64, u64) {
    let cut = Cut::of(&scenario.model.shape, scenario.part());
    let (own, of) = cut.experts;
    (moe.n_experts / of.max(1) * own, moe.expert_ffn_size.div_ceil(cut.expert_ranks))
}

/// Lists what kernels pad experts in MXFP4 by: 17 B for 32 weights.
pub fn push_padding(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    serving: Serving,
) -> Result<(), EstimateError> {
    let Some(moe) = in_mxfp4(scenario).filter(|_| scenario.weights.packed_experts) else {
        return Ok(());
    };
    let kernels = Kernels::of(scenario, serving);
    let (count, ffn) = on_this_gpu(scenario, moe);
    let hidden = scenario.model.shape.hidden_size;
    let padded = Bytes::product(&[kernels.hidden(hidden), kernels.ffn(ffn)])?;
    let padding = padded.minus_or_zero(Bytes::product(&[hidden, ffn])?);
    let formula = Formula::product(&[
        ("layers", scenario.layers().len() as u64),
        ("experts", count),
        ("gate, up and down", 3),
        ("padded weights / 32", padding.get() / 32),
        ("B", 17),
    ]);
    let kind = Kind {
        component: Component::Weights,
        life: Life::From(Phase::Load),
        basis: Basis::Modelled,
        source: "vLLM fused_moe/oracle/mxfp4.py, mxfp4_round_up_hidden_size_and_intermediate_size",
    };
    let expected = formula.value()?;
    // Logs of one release differ by up to 2%, as kernels do.
    let low = if matches!(kernels, Kernels::Old { .. }) { Bytes::ZERO } else { expected };
    let size = Bounds::new(low, expected, expected);
    buffers.push(kind, BufferId::ExpertPadding, size, formula);
    Ok(())
}

/// Lists two workspaces that the experts of every layer share, as wide as gate and up or the hidden state
/// of every expert of a token. Triton's MXFP4 kernels have one, of the MLP's results.
pub fn push_workspaces(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    serving: Serving,
    rows: u64,
) -> Result<(), EstimateError> {
    let Some(moe) = scenario.model.shape.moe else { return Ok(()) };
    let Some(widths) = widths(scenario, serving, moe) else { return Ok(()) };
    let life = if serving.version.keeps_workspaces() {
        Life::From(Phase::SystemPrefill)
    } else {
        Life::During(Phase::Prefill, Moment::FeedForward)
    };
    let kind = Kind {
        component: Component::Activations,
        life,
        basis: Basis::Modelled,
        source: "vLLM fused_moe, workspace_shapes of TritonExperts and MarlinExperts, kept by its workspace manager",
    };
    let formula = Formula::product(&[
        ("tokens", rows),
        ("experts of a token", moe.n_experts_used),
        ("max(ffn, hidden) + max(2 ffn, hidden)", widths),
        ("B", element(scenario)),
    ]);
    let size = Deviation::VLLM_LAYER.around(formula.value()?)?;
    buffers.push(kind, BufferId::ExpertWorkspaces, size, formula);
    Ok(())
}

fn widths(scenario: &Scenario<'_>, serving: Serving, moe: Moe) -> Option<u64> {
    let (_, width) = on_this_gpu(scenario, moe);
    let hidden = scenario.model.shape.hidden_size;
    let of = |width: u64, hidden: u64| width.max(hidden) + (2 * width).max(hidden);
    if in_mxfp4(scenario).is_none() {
        return Some(of(width, hidden));
    }
    match Kernels::of(scenario, serving) {
        Kernels::Old { .. } => None,
        Kernels::Triton => Some(width),
        kernels @ Kernels::Marlin => Some(of(kernels.ffn(width), kernels.hidden(hidden))),
    }
}
