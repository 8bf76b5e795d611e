//! The MLP and the experts of a layer (`llm_graph_context::build_ffn`, `build_moe_ffn`).

use super::builder::Builder;
use super::tensors::{Value, cube, matrix};
use crate::spec::Moe;
use crate::spec::families::{Routing, ScaledWeights};

/// What the router's scores pass through.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gating {
    Softmax,
    Sigmoid,
    /// The softmax runs over the chosen experts only.
    SoftmaxOfChosen,
}

impl Builder<'_> {
    /// A dense MLP of this width.
    pub(super) fn dense_ffn(&mut self, x: Value, width: u64) -> Value {
        let shape = self.shape;
        let hidden = if shape.fused_projections {
            let both = self.graph.linear(x, width.saturating_mul(2));
            self.graph.fresh(&[both], matrix(width, x.rows()))
        } else {
            let up = self.graph.linear(x, width);
            let up = self.biased(up, shape.ffn_bias);
            if shape.gated_ffn {
                let gate = self.graph.linear(x, width);
                let gate = self.biased(gate, shape.ffn_bias);
                self.graph.fresh(&[gate, up], matrix(width, x.rows()))
            } else {
                self.graph.map(up)
            }
        };
        let down = self.graph.linear(hidden, shape.hidden_size);
        self.biased(down, shape.ffn_bias)
    }

    /// Routed experts and, where there are any, shared ones.
    pub(super) fn experts(&mut self, x: Value, moe: Moe) -> Value {
        let routed = self.routed_experts(x, moe);
        if moe.shared_ffn_size == 0 {
            return routed;
        }
        if self.family().experts.divided_gate {
            let gate = self.divided_gate(x);
            let shared = self.dense_ffn(x, moe.shared_ffn_size);
            let shared = self.graph.elementwise(&[shared, gate]);
            return self.graph.elementwise(&[routed, shared]);
        }
        let mut shared = self.dense_ffn(x, moe.shared_ffn_size);
        if moe.shared_gate {
            let gate = self.graph.linear(x, 1);
            let gate = self.graph.map(gate);
            shared = self.graph.elementwise(&[shared, gate]);
        }
        self.graph.elementwise(&[routed, shared])
    }

    /// A sigmoid written as `silu(x) / x` (`models/qwen2moe.cpp`).
    fn divided_gate(&mut self, x: Value) -> Value {
        let gate = self.graph.linear(x, 1);
        let activated = self.graph.map(gate);
        self.graph.elementwise(&[activated, gate])
    }

    fn routed_experts(&mut self, x: Value, moe: Moe) -> Value {
        let (rows, hidden, used) = (x.rows(), self.shape.hidden_size, moe.n_experts_used);
        let router = self.route(x, moe);
        let one = x.view(cube(hidden, 1, rows));
        let width = cube(moe.expert_ffn_size, used, rows);
        let mut project = || {
            let projected = self.graph.fresh(&[one, router.ids], width);
            self.biased_experts(projected, router.ids, moe)
        };
        let (up, gate) = (project(), project());
        let activated = self.graph.fresh(&[gate, up], width);
        let down = self.graph.fresh(&[activated, router.ids], cube(hidden, used, rows));
        let down = self.biased_experts(down, router.ids, moe);
        let weighted = self.graph.elementwise(&[down, router.weights]);
        self.graph.expand(weighted);
        self.sum_experts(weighted, down, router.weights, moe)
    }

    fn biased_experts(&mut self, x: Value, ids: Value, moe: Moe) -> Value {
        if moe.expert_bias { self.graph.elementwise(&[x, ids]) } else { x }
    }

    /// Adds up the experts' results, one view at a time. The CUDA backend may fuse the sum, and holds
    /// what it reads until then (`ggml_cuda_match_moe_weighted_reduction`).
    fn sum_experts(&mut self, weighted: Value, down: Value, weights: Value, moe: Moe) -> Value {
        let dims = matrix(self.shape.hidden_size, weighted.dims[2]);
        let part = weighted.strided(dims);
        let mut sum = part;
        for _ in 1..moe.n_experts_used {
            sum = self.graph.elementwise(&[sum, part]);
            self.graph.expand(sum);
        }
        let fused = (2..=MOST_FUSED_EXPERTS).contains(&moe.n_experts_used);
        if fused && self.params.version.plans_fusions() {
            self.graph.unpin(&[down.id, weights.id]);
        }
        sum
    }

    /// Which experts a token goes to, and their weights.
    fn route(&mut self, x: Value, moe: Moe) -> Routed {
        let (rows, used) = (x.rows(), moe.n_experts_used);
        let gating = self.gating(moe);
        let logits = self.graph.linear(x, moe.n_experts);
        let logits = self.biased(logits, moe.expert_bias);
        let probabilities = match gating {
            Gating::SoftmaxOfChosen => logits,
            Gating::Softmax | Gating::Sigmoid => self.graph.map(logits),
        };
        let corrected = gating == Gating::Sigmoid && moe.router_bias;
        let selection = self.biased(probabilities, corrected);
        let sorted = self.graph.fresh(&[selection], matrix(moe.n_experts, rows));
        let ids = sorted.strided(matrix(used, rows));
        let columns = probabilities.view(cube(1, moe.n_experts, rows));
        let mut weights = self.graph.fresh(&[columns, ids], cube(1, used, rows));
        if gating == Gating::SoftmaxOfChosen {
            let flat = weights.view(matrix(used, rows));
            weights = self.graph.map(flat).view(cube(1, used, rows));
        }
        if self.normalizes_weights(moe) {
            let flat = weights.view(matrix(used, rows));
            let sum = self.graph.fresh(&[flat], matrix(1, rows));
            let sum = self.graph.map(sum);
            weights = self.graph.elementwise(&[flat, sum]).view(cube(1, used, rows));
        }
        if self.scales_weights(moe) {
            weights = self.graph.map(weights);
        }
        self.graph.expand(weights);
        let fused = gating != Gating::SoftmaxOfChosen && is_fused_count(moe.n_experts);
        if fused && self.params.version.plans_fusions() {
            let held = self.graph.computed_since(probabilities);
            self.graph.unpin(&held);
        }
        Routed { ids, weights }
    }

    const fn gating(&self, moe: Moe) -> Gating {
        match self.family().experts.routing {
            Routing::SoftmaxOfChosen => Gating::SoftmaxOfChosen,
            Routing::Sigmoid => Gating::Sigmoid,
            Routing::SigmoidIfCorrected if moe.router_bias => Gating::Sigmoid,
            Routing::SigmoidIfCorrected | Routing::Softmax | Routing::SoftmaxOnly => {
                Gating::Softmax
            }
        }
    }

    /// Whether the chosen experts' weights are divided by their sum.
    const fn normalizes_weights(&self, moe: Moe) -> bool {
        match self.family().experts.routing {
            Routing::SoftmaxOnly | Routing::SoftmaxOfChosen => false,
            Routing::SigmoidIfCorrected => moe.router_bias,
            Routing::Softmax | Routing::Sigmoid => true,
        }
    }

    /// Whether the weights are scaled after that (`expert_weights_scale` other than 1): those of DeepSeek-V2,
    /// V3 and GLM-4.5 are, those of DeepSeek-V2-Lite and GLM-4.5-Air are not.
    fn scales_weights(&self, moe: Moe) -> bool {
        match self.family().experts.scaled {
            ScaledWeights::Never => false,
            ScaledWeights::WithQueryRank => {
                self.shape.mla.is_some_and(|mla| mla.q_lora_rank.is_some())
            }
            ScaledWeights::AboveExperts(most) => moe.n_experts > most,
        }
    }
}

struct Routed {
    ids: Value,
    weights: Value,
}

/// `MOE_WEIGHTED_REDUCTION_MAX_EXPERTS` in `ggml-cuda.cu`.
const MOST_FUSED_EXPERTS: u64 = 15;

/// The numbers of experts for which the CUDA backend fuses the routing
/// (`ggml_cuda_should_use_topk_moe`).
const fn is_fused_count(n_experts: u64) -> bool {
    (n_experts.is_power_of_two() && n_experts <= 512) || matches!(n_experts, 288 | 576)
}
