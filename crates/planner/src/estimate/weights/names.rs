//! What GGUF files call the tensors of a model, and the dimensions that they give them.
//!
//! Names: llama.cpp `src/llama-arch.cpp`, `LLM_TENSOR_NAMES`; dimensions: `src/models/*.cpp`,
//! `load_arch_tensors`. The order is that of `spec::tensors`, in which a bias follows its matrix and the
//! norms of a layer come first.

use crate::spec::families::RouterBias;
use crate::spec::{ModelSpec, Role, TensorSpec};

/// The stems of a layer's norms of full width, in the order of the residual stream; or what has no known name.
fn layer_norms(model: &ModelSpec) -> Result<&'static [&'static str], String> {
    let family = model.shape.architecture.family();
    if family.synthetic.is_none() {
        return Err(format!("the family `{}`", model.shape.architecture));
    }
    let norms = family.norms.stems;
    match u64::try_from(norms.len()) {
        Ok(count) if count == model.shape.norms_per_layer => Ok(norms),
        _ => Err(format!("{} norms a layer", model.shape.norms_per_layer)),
    }
}

/// What came before in the layer, or outside all layers.
#[derive(Clone, Debug, Default)]
struct Seen {
    norms: usize,
    vectors: usize,
    latent: usize,
    /// The last matrix.
    matrix: Option<Role>,
    /// The stem of the last tensor, whose bias may follow.
    stem: &'static str,
}

/// Names tensors one after the other.
pub struct Namer<'a> {
    model: &'a ModelSpec,
    norms: &'static [&'static str],
    layer: Option<u64>,
    seen: Seen,
}

impl<'a> Namer<'a> {
    /// For the tensors of `model`.
    ///
    /// # Errors
    /// With what has no known name.
    pub fn new(model: &'a ModelSpec) -> Result<Self, String> {
        Ok(Self { norms: layer_norms(model)?, ..Self::as_far_as_known(model) })
    }

    /// The same for any model: what has no known name is an error of that tensor alone.
    pub fn as_far_as_known(model: &'a ModelSpec) -> Self {
        let norms = model.shape.architecture.family().norms.stems;
        Self { model, norms, layer: None, seen: Seen::default() }
    }

    /// The name of the next tensor.
    ///
    /// # Errors
    /// As [`Namer::new`].
    pub fn name(&mut self, spec: &TensorSpec) -> Result<String, String> {
        if spec.layer != self.layer {
            // The final norm is the first of those outside the layers.
            self.layer = spec.layer;
            self.seen = Seen::default();
        }
        let is_scalar = self.model.shape.architecture.family().layer_scalar;
        let parts = match spec.role {
            Role::Norm if is_scalar && spec.row == 1 => Some(("layer_output_scale", ".weight")),
            role => self.parts(role),
        };
        let (stem, kind) = parts.ok_or_else(|| format!("another {:?} in a layer", spec.role))?;
        self.seen.stem = stem;
        if !matches!(spec.role, Role::Norm | Role::Bias) {
            self.seen.matrix = Some(spec.role);
        }
        let block = spec.layer.map_or_else(String::new, |layer| format!("blk.{layer}."));
        Ok(format!("{block}{stem}{kind}"))
    }

    /// Stem and ending.
    fn parts(&mut self, role: Role) -> Option<(&'static str, &'static str)> {
        match role {
            Role::Norm => self.norm().map(|stem| (stem, ".weight")),
            Role::Bias => Some((self.bias(), ".bias")),
            Role::RecurrentVector => {
                self.seen.vectors += 1;
                // Only state-space layers have the last one.
                [("ssm_dt", ".bias"), ("ssm_a", ""), ("ssm_d", "")]
                    .get(self.seen.vectors - 1)
                    .copied()
            }
            Role::MlaKvB => {
                self.seen.latent += 1;
                let stem = ["attn_k_b", "attn_v_b"].get(self.seen.latent - 1)?;
                Some((stem, ".weight"))
            }
            Role::RopeFrequencies => Some(("rope_freqs", ".weight")),
            Role::RecurrentBetaAlpha => self.beta_or_alpha().map(|stem| (stem, ".weight")),
            role => stem(role).map(|stem| (stem, ".weight")),
        }
    }

    fn norm(&mut self) -> Option<&'static str> {
        let Some(_) = self.layer else {
            self.seen.norms += 1;
            return (self.seen.norms == 1).then_some("output_norm");
        };
        match self.seen.matrix {
            None => {
                self.seen.norms += 1;
                self.norms.get(self.seen.norms - 1).copied()
            }
            Some(Role::MlaQa) => Some("attn_q_a_norm"),
            Some(Role::MlaKvA) => Some("attn_kv_a_norm"),
            Some(Role::RecurrentVector) => Some("ssm_norm"),
            Some(_) => {
                let stem =
                    if self.seen.stem == "attn_q_norm" { "attn_k_norm" } else { "attn_q_norm" };
                Some(stem)
            }
        }
    }

    /// A bias belongs to the tensor before it; a router's is a correction of its scores where experts
    /// are chosen by sigmoids.
    fn bias(&self) -> &'static str {
        let bias = self.model.shape.architecture.family().experts.router_bias;
        let corrected = matches!(bias, RouterBias::Correction | RouterBias::CorrectionInSome);
        if self.seen.stem == "ffn_gate_inp" && corrected { "exp_probs_b" } else { self.seen.stem }
    }

    fn beta_or_alpha(&self) -> Option<&'static str> {
        let delta_net = self.model.shape.architecture.family().delta_net();
        match self.seen.stem {
            _ if delta_net.is_some_and(|delta_net| delta_net.joint_gates) => Some("ssm_ba"),
            "ssm_beta" => Some("ssm_alpha"),
            "ssm_alpha" => None,
            _ => Some("ssm_beta"),
        }
    }

    /// The dimensions of the tensor that was named last, the row first.
    pub fn dims(&self, spec: &TensorSpec) -> Vec<u64> {
        let TensorSpec { role, row, rows, .. } = *spec;
        let shape = &self.model.shape;
        let parts = match role {
            Role::ExpertGate | Role::ExpertUp | Role::ExpertDown => {
                shape.moe.map(|moe| moe.n_experts)
            }
            Role::MlaKvB => Some(shape.n_heads),
            Role::Bias => return self.bias_dims(row),
            Role::Norm
            | Role::Sinks
            | Role::RecurrentVector
            | Role::SharedRouter
            | Role::RopeFrequencies => return vec![row],
            _ => None,
        };
        parts.map_or_else(|| vec![row, rows], |parts| vec![row, rows / parts.max(1), parts])
    }

    /// The bias of all experts has a row for each.
    fn bias_dims(&self, row: u64) -> Vec<u64> {
        let of_experts = self.seen.matrix.is_some_and(Role::is_routed_expert);
        match self.model.shape.moe {
            Some(moe) if of_experts => vec![row / moe.n_experts.max(1), moe.n_experts],
            _ => vec![row],
        }
    }
}

/// What the tensors of a role are called, where there is one of them in a layer.
pub const fn stem(role: Role) -> Option<&'static str> {
    Some(match role {
        Role::TokenEmbedding => "token_embd",
        Role::OutputHead => "output",
        Role::AttnQ => "attn_q",
        Role::AttnK => "attn_k",
        Role::AttnV => "attn_v",
        Role::AttnQkv | Role::RecurrentQkv => "attn_qkv",
        Role::AttnOutput => "attn_output",
        Role::FfnGate => "ffn_gate",
        Role::FfnUp | Role::FfnGateUp => "ffn_up",
        Role::FfnDown => "ffn_down",
        Role::ExpertGate => "ffn_gate_exps",
        Role::ExpertUp => "ffn_up_exps",
        Role::ExpertDown => "ffn_down_exps",
        Role::SharedGate => "ffn_gate_shexp",
        Role::SharedUp => "ffn_up_shexp",
        Role::SharedDown => "ffn_down_shexp",
        Role::Router => "ffn_gate_inp",
        Role::SharedRouter => "ffn_gate_inp_shexp",
        Role::MlaQa => "attn_q_a",
        Role::MlaQb => "attn_q_b",
        Role::MlaKvA => "attn_kv_a_mqa",
        Role::RecurrentGate => "attn_gate",
        Role::SsmIn => "ssm_in",
        Role::RecurrentConv => "ssm_conv1d",
        Role::RecurrentOutput => "ssm_out",
        Role::Sinks => "attn_sinks",
        _ => return None,
    })
}
