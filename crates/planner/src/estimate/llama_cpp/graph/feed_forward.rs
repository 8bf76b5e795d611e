//! The MLP and the experts of a layer (`llm_graph_context::build_ffn`, `build_moe_ffn`).

use super::builder::Builder;
use super::tensors::{Joined, Value, WeightName, cube, matrix};
use crate::spec::families::{RouterBias, Routing, ScaledWeights};
use crate::spec::{ModelShape, Moe, Router, RouterGating};

/// The stems of the projections of an MLP.
#[derive(Clone, Copy)]
struct Stems {
    gate: &'static str,
    up: &'static str,
    down: &'static str,
}

const FFN: Stems = Stems { gate: "ffn_gate", up: "ffn_up", down: "ffn_down" };

const SHARED: Stems = Stems { gate: "ffn_gate_shexp", up: "ffn_up_shexp", down: "ffn_down_shexp" };

/// What the router's scores pass through.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gating {
    Softmax,
    Sigmoid,
    /// The softmax runs over the chosen experts only.
    SoftmaxOfChosen,
}

/// The routed experts up to their down projections.
struct Activated {
    router: Routed,
    hidden: Value,
    /// The first of their products.
    first: Value,
}

/// What experts work on: the layer's input, or a projection of it (Nemotron 3).
#[derive(Clone, Copy)]
struct Inputs {
    /// A row for every token.
    x: Value,
    /// What the router reads.
    routed_by: Value,
}

impl Builder<'_> {
    /// A dense MLP of this width.
    pub(super) fn dense_ffn(&mut self, x: Value, width: u64) -> Value {
        let fused = self.params.gates.dense;
        let hidden = self.gated(x, (width, FFN), fused);
        self.project_down(FFN, hidden)
    }

    fn project_down(&mut self, names: Stems, hidden: Value) -> Value {
        let down = self.graph.product(names.down, hidden, self.shape.hidden_size);
        self.biased(down, self.shape.ffn_bias)
    }

    /// What is between the projections of an MLP. Where the backend applies the gate with the products, what they
    /// read is kept until then.
    fn gated(&mut self, x: Value, (width, names): (u64, Stems), fused: bool) -> Value {
        let shape = self.shape;
        if self.family().fused_projections {
            let both = self.graph.product(names.up, x, width.saturating_mul(2));
            return self.graph.fresh(&[both], matrix(width, x.rows()));
        }
        let up = self.graph.product(names.up, x, width);
        let up = self.biased(up, shape.ffn_bias);
        if !shape.gated_ffn {
            return self.graph.map(up);
        }
        // The gate comes first when they run.
        let first = self.graph.product(names.gate, x, width);
        let gate = self.biased(first, shape.ffn_bias);
        let hidden = self.graph.fresh(&[gate, up], matrix(width, x.rows()));
        if fused && !shape.ffn_bias && self.params.version.fuses_gates() {
            self.graph.expand(hidden);
            self.graph.unpin(&[x.id], first);
        }
        hidden
    }

    /// Routed experts and, where there are any, shared ones.
    pub(super) fn experts(&mut self, x: Value, moe: Moe) -> Value {
        let latent = self.shape.extras.latent_experts;
        let inputs = Inputs {
            x: latent.map_or(x, |width| self.graph.product("ffn_latent_down", x, width)),
            routed_by: x,
        };
        let Activated { router, hidden: activated, first } = self.activated_experts(inputs, moe);
        if moe.shared_ffn_size == 0 {
            return self.finish_experts(router, activated, moe);
        }
        let gates = self.params.gates;
        // The backend moves the shared expert's products next to those of the chosen ones.
        let reads_inputs = !self.family().experts.weighs_inputs && latent.is_none();
        let alike = self.params.version.has_mixed_inputs()
            && reads_inputs
            && shared_is_alike(self.shape, moe);
        let together = gates.shared_with_routed && alike;
        let read = [x.id, router.ids.id];
        let joined = Joined { first: first.id, last: activated.id, read };
        let early = together.then(|| {
            let hidden = self.gated(x, (moe.shared_ffn_size, SHARED), gates.shared);
            self.graph.expand(hidden);
            self.graph.unpin(&[x.id, router.ids.id], first);
            hidden
        });
        let chosen = self.finish_experts(router, activated, moe);
        let shared_of = |builder: &mut Self| {
            let from = builder.graph.tensors.len();
            let hidden = early
                .unwrap_or_else(|| builder.gated(x, (moe.shared_ffn_size, SHARED), gates.shared));
            if alike {
                builder.graph.join(from, joined);
            }
            builder.project_down(SHARED, hidden)
        };
        if self.family().experts.divided_gate {
            let gate = self.divided_gate(x);
            let shared = shared_of(self);
            let shared = self.graph.elementwise(&[shared, gate]);
            return self.graph.elementwise(&[chosen, shared]);
        }
        let mut shared = shared_of(self);
        if moe.shared_gate {
            let gate = self.graph.product("ffn_gate_inp_shexp", x, 1);
            let gate = self.graph.map(gate);
            shared = self.graph.elementwise(&[shared, gate]);
        }
        self.graph.elementwise(&[chosen, shared])
    }

    /// A sigmoid written as `silu(x) / x` (`models/qwen2moe.cpp`).
    fn divided_gate(&mut self, x: Value) -> Value {
        let gate = self.graph.product("ffn_gate_inp_shexp", x, 1);
        let activated = self.graph.map(gate);
        self.graph.elementwise(&[activated, gate])
    }

    /// The routed experts up to their down projections.
    fn activated_experts(&mut self, inputs: Inputs, moe: Moe) -> Activated {
        let Inputs { x, routed_by } = inputs;
        let ([hidden, rows, ..], used) = (x.dims, moe.n_experts_used);
        let router = self.route(routed_by, moe);
        let mut one = x.view(cube(hidden, 1, rows));
        let mut read = x;
        if self.family().experts.weighs_inputs {
            let repeated = self.graph.fresh(&[one], cube(hidden, used, rows));
            one = self.graph.elementwise(&[repeated, router.weights]);
            read = one;
        }
        let width = cube(moe.expert_ffn_size, used, rows);
        let is_gated = self.shape.gated_ffn;
        if self.params.gates.routed_in_one && self.shape.gated_ffn {
            let both = cube(moe.expert_ffn_size.saturating_mul(2), used, rows);
            let both = self.graph.fresh(&[one, router.ids], both);
            self.work_by_expert(both, moe);
            let first = self.graph.follow_in(both, WeightName::weight("ffn_gate_up_exps"), rows);
            let both = self.biased_experts(first, router.ids, moe);
            let activated = self.graph.fresh(&[both], width);
            self.graph.expand(activated);
            return Activated { router, hidden: activated, first };
        }
        let mut project = |stem| {
            let projected = self.graph.fresh(&[one, router.ids], width);
            self.work_by_expert(projected, moe);
            let projected = self.graph.follow_in(projected, WeightName::weight(stem), rows);
            self.biased_experts(projected, router.ids, moe)
        };
        let up = project("ffn_up_exps");
        let gate = is_gated.then(|| project("ffn_gate_exps"));
        let Some(gate) = gate else {
            let activated = self.graph.map(up);
            return Activated { router, hidden: activated, first: up };
        };
        let activated = self.graph.fresh(&[gate, up], width);
        self.graph.expand(activated);
        let fused = self.params.gates.routed && !moe.expert_bias;
        if fused && self.params.version.fuses_gates() {
            self.graph.unpin(&[read.id, router.ids.id], gate);
        }
        Activated { router, hidden: activated, first: gate }
    }

    fn finish_experts(&mut self, router: Routed, activated: Value, moe: Moe) -> Value {
        let latent = self.shape.extras.latent_experts;
        let hidden = latent.unwrap_or(self.shape.hidden_size);
        let (rows, used) = (activated.dims[2], moe.n_experts_used);
        let down = self.graph.fresh(&[activated, router.ids], cube(hidden, used, rows));
        self.work_by_expert(down, moe);
        let down = self.graph.follow_in(down, WeightName::weight("ffn_down_exps"), rows);
        let down = self.biased_experts(down, router.ids, moe);
        let weighted = if self.family().experts.weighs_inputs {
            down
        } else {
            self.graph.elementwise(&[down, router.weights])
        };
        self.graph.expand(weighted);
        let sum = self.sum_experts(weighted, down, router.weights, moe);
        match latent {
            Some(_) => self.graph.product("ffn_latent_up", sum, self.shape.hidden_size),
            None => sum,
        }
    }

    fn biased_experts(&mut self, x: Value, ids: Value, moe: Moe) -> Value {
        if !moe.expert_bias {
            return x;
        }
        let stem = self.graph.stem_of(x);
        let biased = self.graph.elementwise(&[x, ids]);
        self.graph.follow_rows(biased, WeightName::bias(stem))
    }

    /// Adds up the experts' results, one view at a time. The CUDA backend may fuse the sum, and holds
    /// what it reads until then (`ggml_cuda_match_moe_weighted_reduction`).
    fn sum_experts(&mut self, weighted: Value, down: Value, weights: Value, moe: Moe) -> Value {
        let dims = matrix(weighted.dims[0], weighted.dims[2]);
        let others = weighted.dims[0].saturating_mul(moe.n_experts_used.saturating_sub(1));
        let part =
            |index: u64| weighted.alternating(u8::try_from(index).unwrap_or(u8::MAX), dims, others);
        if moe.n_experts_used == 1 {
            return self.graph.contiguous(part(0), dims);
        }
        let mut sum = part(0);
        for index in 1..moe.n_experts_used {
            sum = self.graph.elementwise(&[sum, part(index)]);
            self.graph.expand(sum);
        }
        let fused = (2..=MOST_FUSED_EXPERTS).contains(&moe.n_experts_used)
            && !self.family().experts.weighs_inputs;
        if fused && self.params.version.plans_fusions() && !self.params.metal {
            self.graph.unpin(&[down.id, weights.id], weighted);
        }
        sum
    }

    /// Which experts a token goes to, and their weights.
    fn route(&mut self, x: Value, moe: Moe) -> Routed {
        let (rows, used) = (x.rows(), moe.n_experts_used);
        let gating = self.gating(moe);
        let logits = self.graph.product("ffn_gate_inp", x, moe.n_experts);
        let logits = self.biased(logits, moe.router_bias && !self.corrects(moe));
        let probabilities = match gating {
            Gating::SoftmaxOfChosen => logits,
            Gating::Softmax | Gating::Sigmoid => self.graph.map(logits),
        };
        let corrected = moe.router_bias && self.corrects(moe);
        let scores = if self.family().experts.weighs_inputs { logits } else { probabilities };
        let selection = self.biased(scores, corrected);
        if corrected {
            self.graph.follow_rows(selection, WeightName::bias("exp_probs_b"));
        }
        let selection = self.select_groups(selection, moe);
        let sorted = self.graph.fresh(&[selection], matrix(moe.n_experts, rows));
        self.sort_beside(sorted);
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
        if gating != Gating::SoftmaxOfChosen && self.fuses_routing(moe) {
            let held = self.graph.computed_since(probabilities);
            self.graph.unpin(&held, probabilities);
        }
        Routed { ids, weights }
    }

    /// Leaves the scores of the best groups of experts, where there are groups.
    fn select_groups(&mut self, selection: Value, moe: Moe) -> Value {
        let rows = selection.rows();
        let Some(Router { groups, groups_used, .. }) = moe.router.filter(|r| r.groups > 1) else {
            return selection;
        };
        let each = moe.n_experts / groups;
        let by_group = selection.view(cube(each, groups, rows));
        let best = self.graph.fresh(&[by_group], cube(each, groups, rows));
        let best = best.strided(cube(2, groups, rows));
        let best = self.graph.fresh(&[by_group, best], [1, 2, groups, rows]);
        let scores = self.graph.fresh(&[best.view(cube(2, groups, rows))], cube(1, groups, rows));
        let sorted = self.graph.fresh(&[scores.view(matrix(groups, rows))], matrix(groups, rows));
        let chosen = sorted.strided(matrix(groups_used, rows));
        let kept = self.graph.fresh(&[by_group, chosen], cube(each, groups_used, rows));
        let masked = self.graph.fresh(&[by_group], cube(each, groups, rows));
        self.graph.expand(kept);
        self.graph.expand(masked);
        self.graph.write(&[kept, chosen, masked]);
        masked.view(matrix(moe.n_experts, rows))
    }

    /// Whether the CUDA backend computes the routing in one go, and holds what it reads until then
    /// (`ggml_cuda_should_use_topk_moe`, `ggml_cuda_topk_moe_fusion`).
    fn fuses_routing(&self, moe: Moe) -> bool {
        let version = self.params.version;
        let router = moe.router.filter(|router| router.groups > 1);
        let groups_are_fused = router.is_none_or(|router| {
            let each = moe.n_experts / router.groups;
            version.fuses_gates()
                && router.groups <= WARP
                && moe.n_experts_used <= router.groups_used.saturating_mul(each)
        });
        let counts = is_fused_count(moe.n_experts)
            || (version.fuses_gates() && moe.n_experts == FUSED_SINCE_0_8);
        let is_usual = !self.family().experts.weighs_inputs;
        let plans = version.plans_fusions() && !self.params.metal;
        plans && counts && groups_are_fused && is_usual
    }

    /// Whether the router's bias corrects the scores by which experts are chosen, and is none of its linear layer.
    fn corrects(&self, moe: Moe) -> bool {
        self.family().experts.router_bias != RouterBias::Linear && !moe.expert_bias
    }

    fn gating(&self, moe: Moe) -> Gating {
        match moe.router.and_then(|router| router.gating) {
            Some(RouterGating::Softmax) if self.family().experts.reads_gating() => Gating::Softmax,
            Some(RouterGating::Sigmoid) if self.family().experts.reads_gating() => Gating::Sigmoid,
            Some(RouterGating::SoftmaxOfChosen) if self.family().experts.reads_gating() => {
                Gating::SoftmaxOfChosen
            }
            _ => match self.family().experts.routing {
                Routing::SoftmaxOfChosen => Gating::SoftmaxOfChosen,
                Routing::Sigmoid => Gating::Sigmoid,
                Routing::SigmoidIfCorrected if moe.router_bias => Gating::Sigmoid,
                Routing::SigmoidIfCorrected | Routing::Softmax | Routing::SoftmaxOnly => {
                    Gating::Softmax
                }
            },
        }
    }

    /// Whether the chosen experts' weights are divided by their sum.
    fn normalizes_weights(&self, moe: Moe) -> bool {
        let experts = &self.family().experts;
        let reads = experts.reads_gating() && experts.reads_scale();
        if let Some(router) = moe.router.filter(|_| reads) {
            return router.normalized.unwrap_or(false);
        }
        match experts.routing {
            Routing::SoftmaxOnly | Routing::SoftmaxOfChosen => false,
            Routing::SigmoidIfCorrected => moe.router_bias,
            Routing::Softmax | Routing::Sigmoid => true,
        }
    }

    /// Whether the weights are scaled after that (`expert_weights_scale` other than 1): those of DeepSeek-V2,
    /// V3 and GLM-4.5 are, those of DeepSeek-V2-Lite and GLM-4.5-Air are not.
    fn scales_weights(&self, moe: Moe) -> bool {
        let reads = self.family().experts.reads_scale();
        if let Some(router) = moe.router.filter(|_| reads) {
            return router.scaled;
        }
        match self.family().experts.scaled {
            ScaledWeights::Never | ScaledWeights::Stated => false,
            ScaledWeights::WithQueryRank => {
                self.shape.mla.is_some_and(|mla| mla.q_lora_rank.is_some())
            }
            ScaledWeights::AboveExperts(most) => moe.n_experts > most,
        }
    }
}

#[derive(Clone, Copy)]
struct Routed {
    ids: Value,
    weights: Value,
}

/// Whether a shared expert is one like the routed ones, without biases.
const fn shared_is_alike(shape: &ModelShape, moe: Moe) -> bool {
    moe.shared_ffn_size == moe.expert_ffn_size && !shape.ffn_bias && !moe.expert_bias
}

/// `MOE_WEIGHTED_REDUCTION_MAX_EXPERTS` in `ggml-cuda.cu`.
const MOST_FUSED_EXPERTS: u64 = 15;

/// Threads of a warp: groups that fused routing can rank.
const WARP: u64 = 32;
/// A number of experts for which routing is fused since 0.8.0.
const FUSED_SINCE_0_8: u64 = 384;

/// The numbers of experts for which the CUDA backend fuses the routing
/// (`ggml_cuda_should_use_topk_moe`).
const fn is_fused_count(n_experts: u64) -> bool {
    (n_experts.is_power_of_two() && n_experts <= 512) || matches!(n_experts, 288 | 576)
}
