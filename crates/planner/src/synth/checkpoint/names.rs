//! What transformers calls the tensors of a model, and their shapes.
//!
//! Names: `models/*/modeling_*.py` of transformers 5.23, as its checkpoints have them: every expert's
//! matrices are tensors of their own. The order is that of `spec::tensors`, in which a bias follows its
//! matrix and the norms of a layer come first.

use super::super::SynthError;
use crate::spec::families::{HfExperts, LayerKinds, RouterBias};
use crate::spec::{ModelSpec, Role, TensorSpec, tensors};

/// A tensor with its name, the output width of a matrix first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) shape: Vec<u64>,
}

/// Names the tensors of a model.
pub(super) fn named(model: &ModelSpec) -> Result<Vec<Named>, SynthError> {
    refuse(model)?;
    let mut namer = Namer { model, layer: None, norms: 0, before: None, stem: String::new() };
    let mut list = Vec::new();
    for spec in tensors(&model.shape) {
        namer.name(spec, &mut list)?;
    }
    Ok(list)
}

/// Families whose checkpoints hold tensors that are not one of these each.
fn refuse(model: &ModelSpec) -> Result<(), SynthError> {
    let shape = &model.shape;
    let family = shape.architecture.family();
    let attends = matches!(family.layers, LayerKinds::Attention | LayerKinds::Latent);
    let packed = shape.moe.is_some()
        && (family.experts.always_packed || family.experts.hf == HfExperts::Optional);
    let what = if !attends {
        format!("layers of the family `{}`", shape.architecture)
    } else if packed {
        "experts that are one tensor".to_owned()
    } else if shape.vision.is_some() {
        "a vision tower".to_owned()
    } else {
        return Ok(());
    };
    Err(SynthError::not_in_checkpoints(model, what))
}

struct Namer<'a> {
    model: &'a ModelSpec,
    layer: Option<u64>,
    /// Norms since the last matrix, or since the layer began.
    norms: usize,
    /// The last matrix of the layer.
    before: Option<Role>,
    /// The last tensor without its ending, whose bias may follow.
    stem: String,
}

impl Namer<'_> {
    fn name(&mut self, spec: TensorSpec, list: &mut Vec<Named>) -> Result<(), SynthError> {
        if spec.layer != self.layer {
            (self.layer, self.norms, self.before) = (spec.layer, 0, None);
        }
        let model = self.model;
        let unknown = || {
            let what = format!("another {:?} in a layer", spec.role);
            SynthError::not_in_checkpoints(model, what)
        };
        if let Some(projection) = self.expert(spec.role) {
            self.before = Some(spec.role);
            self.experts(projection, spec, list);
            return Ok(());
        }
        if spec.role == Role::Bias {
            let name = self.bias().ok_or_else(unknown)?;
            list.push(Named { name, shape: vec![spec.row] });
            return Ok(());
        }
        let part = match spec.role {
            Role::Norm => self.norm(),
            role => self.matrix(role),
        };
        let part = part.ok_or_else(unknown)?;
        if spec.role == Role::Norm {
            self.norms += 1;
        } else {
            (self.before, self.norms) = (Some(spec.role), 0);
        }
        self.stem = self.whole(part);
        let shape =
            if spec.role == Role::Norm { vec![spec.row] } else { vec![spec.rows, spec.row] };
        list.push(Named { name: format!("{}.weight", self.stem), shape });
        Ok(())
    }

    fn whole(&self, part: &str) -> String {
        match self.layer {
            Some(layer) => format!("model.layers.{layer}.{part}"),
            None if part == "lm_head" => part.to_owned(),
            None => format!("model.{part}"),
        }
    }

    fn norm(&self) -> Option<&'static str> {
        if self.layer.is_none() {
            return (self.norms == 0).then_some("norm");
        }
        match (self.before, self.norms) {
            (None, n) => {
                let stems = self.model.shape.architecture.family().norms.stems;
                layer_norm(stems.get(n)?, stems)
            }
            (Some(Role::MlaQa), 0) => Some("self_attn.q_a_layernorm"),
            (Some(Role::MlaKvA), 0) => Some("self_attn.kv_a_layernorm"),
            (Some(Role::AttnOutput), 0) => Some("self_attn.q_norm"),
            (Some(Role::AttnOutput), 1) => Some("self_attn.k_norm"),
            _ => None,
        }
    }

    fn matrix(&self, role: Role) -> Option<&'static str> {
        let gated = self.model.shape.gated_ffn;
        Some(match role {
            Role::TokenEmbedding => "embed_tokens",
            Role::OutputHead => "lm_head",
            Role::AttnQ => "self_attn.q_proj",
            Role::AttnK => "self_attn.k_proj",
            Role::AttnV => "self_attn.v_proj",
            Role::AttnQkv => "self_attn.qkv_proj",
            Role::AttnOutput => "self_attn.o_proj",
            Role::MlaQa => "self_attn.q_a_proj",
            Role::MlaQb => "self_attn.q_b_proj",
            Role::MlaKvA => "self_attn.kv_a_proj_with_mqa",
            Role::MlaKvB => "self_attn.kv_b_proj",
            Role::FfnGate => "mlp.gate_proj",
            Role::FfnUp if gated => "mlp.up_proj",
            Role::FfnUp => "mlp.c_fc",
            Role::FfnGateUp => "mlp.gate_up_proj",
            Role::FfnDown if gated => "mlp.down_proj",
            Role::FfnDown => "mlp.c_proj",
            Role::Router if self.is_plain() => "block_sparse_moe.gate",
            Role::Router => "mlp.gate",
            Role::SharedRouter => "mlp.shared_expert_gate",
            Role::SharedGate if self.is_counted() => "mlp.shared_experts.gate_proj",
            Role::SharedUp if self.is_counted() => "mlp.shared_experts.up_proj",
            Role::SharedDown if self.is_counted() => "mlp.shared_experts.down_proj",
            Role::SharedGate => "mlp.shared_expert.gate_proj",
            Role::SharedUp => "mlp.shared_expert.up_proj",
            Role::SharedDown => "mlp.shared_expert.down_proj",
            _ => return None,
        })
    }

    /// Mixtral's experts.
    fn is_plain(&self) -> bool {
        self.model.shape.architecture.family().experts.hf == HfExperts::Plain
    }

    /// Whether shared experts are counted (DeepSeek), not one (Qwen).
    fn is_counted(&self) -> bool {
        let experts = self.model.shape.architecture.family().experts.hf;
        matches!(experts, HfExperts::Leading(_))
    }

    fn expert(&self, role: Role) -> Option<&'static str> {
        Some(match (role, self.is_plain()) {
            (Role::ExpertGate, false) => "gate_proj",
            (Role::ExpertUp, false) => "up_proj",
            (Role::ExpertDown, false) => "down_proj",
            (Role::ExpertGate, true) => "w1",
            (Role::ExpertUp, true) => "w3",
            (Role::ExpertDown, true) => "w2",
            _ => return None,
        })
    }

    fn experts(&self, projection: &str, spec: TensorSpec, list: &mut Vec<Named>) {
        let count = self.model.shape.moe.map_or(0, |moe| moe.n_experts);
        let rows = spec.rows.checked_div(count).unwrap_or(0);
        let parent = if self.is_plain() { "block_sparse_moe" } else { "mlp" };
        list.extend((0..count).map(|expert| {
            let part = format!("{parent}.experts.{expert}.{projection}.weight");
            Named { name: self.whole(&part), shape: vec![rows, spec.row] }
        }));
    }

    fn bias(&self) -> Option<String> {
        if self.before == Some(Role::Router) && self.norms == 0 {
            let corrects = matches!(
                self.model.shape.architecture.family().experts.router_bias,
                RouterBias::Correction | RouterBias::CorrectionInSome
            );
            return corrects.then(|| format!("{}.e_score_correction_bias", self.stem));
        }
        Some(format!("{}.bias", self.stem))
    }
}

/// What transformers calls a norm of full width, by its stem in GGUF files.
fn layer_norm(stem: &str, all: &[&str]) -> Option<&'static str> {
    Some(match stem {
        "attn_norm" => "input_layernorm",
        "ffn_norm" if all.len() > 2 => "pre_feedforward_layernorm",
        "ffn_norm" | "post_attention_norm" => "post_attention_layernorm",
        "post_ffw_norm" => "post_feedforward_layernorm",
        _ => return None,
    })
}
