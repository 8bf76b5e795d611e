//! How a published checkpoint stores the weights of a model, layer by layer, as its configuration says.

use std::collections::BTreeMap;

use super::{Role, TensorSpec};
use crate::dtype::{KvFormat, Scheme, WeightFormat};
use crate::text::ModuleNames;

/// What a model's own repository or name says of its format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnFormat {
    /// A format that has a name here.
    Named(WeightFormat),
    /// One with rules for its layers.
    Listed(Box<Checkpoint>),
}

/// A quantized checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// What it calls its format, such as `fp8` or `modelopt NVFP4`.
    pub label: String,
    /// Formats of modules by name; a name counts for all within it.
    pub listed: BTreeMap<String, Scheme>,
    /// Formats of the modules that match, the first that does; all, where there is no pattern.
    pub groups: Vec<Group>,
    /// Modules that are left as they are, unless they are listed.
    pub ignored: ModuleNames,
    /// The format of routed experts, where it is another.
    pub experts: Option<Scheme>,
    /// The format in which caches are kept where nothing is said.
    pub kv: Option<KvFormat>,
    /// Bytes of an element of what is left as it is.
    pub plain_bytes: u64,
    /// What it was read from, in its own words (`quantization_config`); nothing where it was made of a name.
    pub stated: Option<serde_json::Value>,
}

/// A format, and what it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What it is of; every linear layer, where the list is empty.
    pub targets: ModuleNames,
    /// The format.
    pub scheme: Scheme,
}

impl Checkpoint {
    /// How the weight of a tensor is stored; nothing where it is left as it is.
    pub fn scheme(&self, tensor: &TensorSpec) -> Option<Scheme> {
        let names = names(tensor);
        if let Some(scheme) = names.iter().find_map(|name| self.listed_scheme(name)) {
            return Some(scheme);
        }
        // The hub's FP8 and NVFP4 of Qwen3.8-Flash-Next alike: a byte of each of 51,200,245,760 (sgl-project/sglang#37793,
        // vllm-project/vllm#53896).
        if tensor.role == Role::RunEmbedding && !self.groups.is_empty() {
            return Some(Scheme::Fp8Tensor);
        }
        if !is_quantized(tensor.role) || self.is_ignored(tensor, &names) {
            return None;
        }
        if let Some(scheme) = self.experts.filter(|_| tensor.role.is_routed_expert()) {
            return Some(scheme);
        }
        let is_of =
            |group: &&Group| group.targets.is_empty() || matches_any(&group.targets, &names);
        self.groups.iter().find(is_of).map(|group| group.scheme)
    }

    /// Whether it is left as it is. What a list says of dense MLPs is not for experts that stand beside them (Gemma 4).
    fn is_ignored(&self, tensor: &TensorSpec, names: &[String]) -> bool {
        let Some(layer) = tensor.layer.filter(|_| tensor.role.is_routed_expert()) else {
            return matches_any(&self.ignored, names);
        };
        let of_layer = |module: &str| self.ignored.matches(&format!("layers.{layer}.{module}"));
        of_layer("experts.0.gate_proj")
            || (matches_any(&self.ignored, names) && !of_layer("mlp.gate_proj"))
    }

    /// The format of a module, or of one that holds it.
    fn listed_scheme(&self, name: &str) -> Option<Scheme> {
        let mut part = name;
        loop {
            if let Some(scheme) = self.listed.get(part) {
                return Some(*scheme);
            }
            part = part.rsplit_once('.')?.0;
        }
    }
}

fn matches_any(patterns: &ModuleNames, names: &[String]) -> bool {
    names.iter().any(|name| patterns.matches(name))
}

/// Whether it is quantized where nothing is said of it: routers and what gives a weight of every head are not.
const fn is_quantized(role: Role) -> bool {
    role.is_block_linear()
        && !matches!(
            role,
            Role::Router
                | Role::SharedRouter
                | Role::RecurrentBetaAlpha
                | Role::IndexerWeights
                | Role::Compressor
                | Role::Residual
                | Role::HeadGate
        )
}

/// The names that modules go by in checkpoints of different families, within the model.
fn names(tensor: &TensorSpec) -> Vec<String> {
    let modules = modules(tensor.role);
    match tensor.layer {
        Some(layer) => modules.iter().map(|module| format!("layers.{layer}.{module}")).collect(),
        None => modules.iter().map(|module| (*module).to_owned()).collect(),
    }
}

const fn modules(role: Role) -> &'static [&'static str] {
    use Role as R;
    match role {
        R::OutputHead => &["lm_head", "head"],
        R::TokenEmbedding => &["embed_tokens"],
        R::AttnQ => &["self_attn.q_proj", "mixer.q_proj"],
        R::AttnQkv => &["self_attn.q_proj", "self_attn.qkv_proj", "mixer.q_proj"],
        R::AttnK => &["self_attn.k_proj", "mixer.k_proj"],
        R::AttnV => &["self_attn.v_proj", "mixer.v_proj"],
        R::AttnOutput => &["self_attn.o_proj", "mixer.o_proj", "attn.wo_a"],
        R::MlaQa => &["self_attn.q_a_proj", "attn.wq_a"],
        R::MlaQb => &["self_attn.q_b_proj", "attn.wq_b"],
        R::MlaKvA => &["self_attn.kv_a_proj_with_mqa", "attn.wkv"],
        R::MlaKvB => &["self_attn.kv_b_proj"],
        R::IndexerQ => &["self_attn.indexer.wq_b", "attn.indexer.wq_b"],
        R::IndexerK => &["self_attn.indexer.wk"],
        R::FfnGate | R::FfnGateUp => &["mlp.gate_proj", "mlp.gate_up_proj"],
        R::FfnUp => &["mlp.up_proj", "mixer.up_proj"],
        R::FfnDown => &["mlp.down_proj", "mixer.down_proj"],
        R::ExpertGate | R::ExpertUp => &[
            "mlp.experts.0.gate_proj",
            "block_sparse_moe.experts.0.w1",
            "mixer.experts.0.up_proj",
            "ffn.experts.0.w1",
            "experts.0.gate_proj",
        ],
        R::ExpertDown => &[
            "mlp.experts.0.down_proj",
            "block_sparse_moe.experts.0.w2",
            "mixer.experts.0.down_proj",
            "ffn.experts.0.w2",
            "experts.0.down_proj",
        ],
        R::SharedGate | R::SharedUp => &[
            "mlp.shared_experts.gate_proj",
            "mlp.shared_expert.gate_proj",
            "block_sparse_moe.shared_experts.gate_proj",
            "mixer.shared_experts.up_proj",
            "ffn.shared_experts.w1",
        ],
        R::SharedDown => &[
            "mlp.shared_experts.down_proj",
            "mlp.shared_expert.down_proj",
            "block_sparse_moe.shared_experts.down_proj",
            "mixer.shared_experts.down_proj",
            "ffn.shared_experts.w2",
        ],
        R::Router => &["mlp.gate", "mlp.router", "block_sparse_moe.gate", "mixer.gate"],
        R::RecurrentQkv => &["linear_attn.in_proj_qkv", "linear_attn.in_proj_qkvz", "conv.in_proj"],
        R::RecurrentGate => &["linear_attn.in_proj_z"],
        R::RecurrentOutput => &["linear_attn.out_proj", "mixer.out_proj", "mamba.out_proj"],
        R::SsmIn => &["mixer.in_proj", "mamba.in_proj"],
        R::LatentDown => &["mixer.fc1_latent_proj"],
        R::LatentUp => &["mixer.fc2_latent_proj"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FP8: Scheme = Scheme::Fp8Block { rows: 128, columns: 128 };
    const FP4: Scheme = Scheme::Nvfp4 { group: 16 };

    fn tensor(role: Role, layer: u64) -> TensorSpec {
        let layer = (role != Role::OutputHead).then_some(layer);
        TensorSpec { role, layer, row: 128, rows: 128 }
    }

    fn all(scheme: Scheme) -> Vec<Group> {
        vec![Group { targets: ModuleNames::default(), scheme }]
    }

    #[test]
    fn what_is_left_out_is_left_as_it_is() {
        let ignored = ["lm_head", "model.layers.3.self_attn*", "model.layers.0.mlp.gate"];
        let ignored = ignored.into_iter().collect();
        let checkpoint = Checkpoint { groups: all(FP8), ignored, ..Checkpoint::default() };
        assert_eq!(checkpoint.scheme(&tensor(Role::AttnQ, 2)), Some(FP8));
        assert_eq!(checkpoint.scheme(&tensor(Role::AttnQ, 3)), None);
        assert_eq!(checkpoint.scheme(&tensor(Role::AttnQ, 30)), Some(FP8));
        for role in [Role::OutputHead, Role::TokenEmbedding, Role::Norm, Role::Router] {
            assert_eq!(checkpoint.scheme(&tensor(role, 0)), None, "{role:?}");
        }
        assert_eq!(checkpoint.scheme(&tensor(Role::FfnGate, 0)), Some(FP8));
    }

    #[test]
    fn listed_modules_win() {
        let listed = [("layers.1.ffn.experts", FP4), ("lm_head", FP4)];
        let listed = listed.map(|(name, scheme)| (name.to_owned(), scheme)).into();
        let checkpoint = Checkpoint { listed, groups: all(FP8), ..Checkpoint::default() };
        assert_eq!(checkpoint.scheme(&tensor(Role::ExpertUp, 1)), Some(FP4));
        assert_eq!(checkpoint.scheme(&tensor(Role::ExpertUp, 2)), Some(FP8));
        assert_eq!(checkpoint.scheme(&tensor(Role::OutputHead, 0)), Some(FP4));
    }
}
