//! The shape of a model: what a profile states, what a `config.json` or a GGUF header is read into.

use serde::{Deserialize, Serialize};

use super::{Architecture, Extras, Layer, ModelPart, Vision};
use crate::units::{at_most, to_u64};

/// Norms on queries and keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum QkNorm {
    /// None.
    #[default]
    None,
    /// One weight per element of a head, shared by all heads (Qwen3, Gemma 3).
    PerHead,
    /// One weight per element of the whole projection (OLMo 2).
    Full,
}

/// Layers that attend to the last tokens only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Tokens that a windowed layer attends to.
    pub size: u64,
    /// Every how manyth layer is full, counting from the first: 2 means layers 1, 3, 5… of 0, 1, 2…;
    /// without it every layer is windowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_every: Option<u64>,
}

/// A mixture of experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Moe {
    /// Routed experts of a layer.
    pub n_experts: u64,
    /// Routed experts that a token passes through.
    pub n_experts_used: u64,
    /// Width of one routed expert.
    pub expert_ffn_size: u64,
    /// Width of all shared experts of a layer together; 0 without any.
    #[serde(default)]
    pub shared_ffn_size: u64,
    /// Whether the shared expert's output passes through a sigmoid gate of its own.
    #[serde(default)]
    pub shared_gate: bool,
    /// Layers at the start that have a dense MLP instead.
    #[serde(default)]
    pub leading_dense_layers: u64,
    /// Whether the router has a bias (or a score correction), one value per expert.
    #[serde(default)]
    pub router_bias: bool,
    /// Whether every expert's linear layers have biases.
    #[serde(default)]
    pub expert_bias: bool,
    /// How experts are chosen and weighed, where a file says it; else the family decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<Router>,
}

/// How experts are chosen and weighed, as GGUF files state it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Router {
    /// What scores pass through; nothing: what the family's do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gating: Option<RouterGating>,
    /// Whether the chosen weights are divided by their sum; nothing: as in the family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalized: Option<bool>,
    /// Whether weights are scaled after that.
    pub scaled: bool,
    /// Groups of experts of which some are chosen first; 0 or 1: none.
    pub groups: u64,
    /// Groups that are chosen.
    pub groups_used: u64,
}

/// What a router's scores pass through (`expert_gating_func`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RouterGating {
    /// A softmax over all experts.
    Softmax,
    /// Sigmoids.
    Sigmoid,
    /// A softmax over the chosen experts.
    SoftmaxOfChosen,
}

/// Multi-head latent attention: keys and values are cached as one low-rank vector per token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Mla {
    /// Rank of the cached latent vector.
    pub kv_lora_rank: u64,
    /// Rank of the query projection; nothing where queries are projected directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q_lora_rank: Option<u64>,
    /// Part of a head's query and key without positions.
    pub qk_nope_head_dim: u64,
    /// Part of a head's query and key with positions, cached once for all heads.
    pub qk_rope_head_dim: u64,
    /// Elements of a head's value.
    pub v_head_dim: u64,
    /// Whether keys and values are cached as those of every head: GGUF files of before April 2025.
    #[serde(default, skip_serializing_if = "is_false")]
    pub expanded: bool,
}

/// Layers with a recurrent state of fixed size (gated delta-net) instead of attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Recurrent {
    /// Every how manyth layer has full attention, counting from the first: 4 means layers 3, 7, 11….
    pub full_attention_every: u64,
    /// Heads of queries and keys.
    pub key_heads: u64,
    /// Heads of values.
    pub value_heads: u64,
    /// Elements of a key head.
    pub key_head_dim: u64,
    /// Elements of a value head.
    pub value_head_dim: u64,
    /// Taps of the causal convolution.
    pub conv_kernel: u64,
}

/// State-space layers (Mamba-2) in place of attention, where `per_layer.kv_heads` is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Ssm {
    /// Width of the state-space part, of all its heads.
    pub inner_size: u64,
    /// Elements of the state per channel.
    pub state_size: u64,
    /// Groups of channels that share B and C.
    pub n_groups: u64,
    /// Heads, each with a decay and a time step of its own.
    pub n_heads: u64,
    /// Taps of the causal convolution.
    pub conv_kernel: u64,
    /// Whether the convolution has a bias.
    #[serde(default, skip_serializing_if = "is_false")]
    pub conv_bias: bool,
    /// Whether no norm stands before the projection out (Falcon-H1).
    #[serde(default, skip_serializing_if = "is_false")]
    pub without_norm: bool,
}

impl Ssm {
    /// Channels of the convolution: the input, B and C.
    pub const fn conv_width(&self) -> u64 {
        self.inner_size + 2 * self.n_groups * self.state_size
    }
}

/// Numbers that differ from layer to layer. Every list is empty, where the model's own number counts for
/// all layers, or has one number for each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct PerLayer {
    /// Query heads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub n_heads: Vec<u64>,
    /// Key and value heads; 0 in a layer without attention.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kv_heads: Vec<u64>,
    /// Elements of a query or key head.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub head_dim: Vec<u64>,
    /// Width of the dense MLP; 0 in a layer without one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ffn_size: Vec<u64>,
    /// Tokens that a layer attends to; 0 where it attends to all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub window: Vec<u64>,
    /// What mixes tokens; without a list what the other numbers say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mixers: Vec<Mixer>,
    /// Whether a layer has experts; without a list all behind the leading dense ones do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub experts: Vec<bool>,
}

/// What mixes tokens in a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Mixer {
    /// Attention, which keeps keys and values.
    Attention,
    /// A layer that keeps a state of fixed size.
    Recurrent,
    /// Both, side by side (Falcon-H1).
    Both,
    /// Nothing: an MLP or experts alone (Nemotron-H), or a layer that was cut down to them (Nemotron).
    Nothing,
}

/// The numbers of one layer: [`ModelShape::layer`] is where every formula asks for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LayerShape {
    /// Query heads.
    pub n_heads: u64,
    /// Key and value heads; 0 where there is no attention.
    pub kv_heads: u64,
    /// Elements of a query or key head.
    pub head_dim: u64,
    /// Elements of a value head.
    pub value_head_dim: u64,
    /// Width of the dense MLP; 0 where there is none.
    pub ffn_size: u64,
}

impl LayerShape {
    /// Elements of all queries of a token.
    pub const fn q_width(&self) -> u64 {
        self.n_heads * self.head_dim
    }

    /// Elements of all keys of a token.
    pub const fn kv_width(&self) -> u64 {
        self.kv_heads * self.head_dim
    }
}

const fn two() -> u64 {
    2
}

const fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_two(n: &u64) -> bool {
    *n == 2
}

#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_true(flag: &bool) -> bool {
    *flag
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn no_qk_norm(norm: &QkNorm) -> bool {
    *norm == QkNorm::None
}

/// The numbers that fix every tensor of a model.
///
/// Names and what files call them:
///
/// | field | GGUF (`<arch>.` omitted) | `config.json` |
/// |---|---|---|
/// | `n_layers` | `block_count` | `num_hidden_layers` |
/// | `hidden_size` | `embedding_length` | `hidden_size` |
/// | `n_heads` | `attention.head_count` | `num_attention_heads` |
/// | `kv_heads` | `attention.head_count_kv` | `num_key_value_heads` |
/// | `head_dim` | `attention.key_length` | `head_dim` |
/// | `ffn_size` | `feed_forward_length` | `intermediate_size` |
/// | `vocab_size` | rows of `token_embd.weight` | `vocab_size` |
/// | `context_len` | `context_length` | `max_position_embeddings` |
/// | `window.size` | `attention.sliding_window` | `sliding_window` |
///
/// An explicit `head_dim` wins over `hidden_size / n_heads`: in Qwen3, Gemma and Mistral-Nemo they
/// differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ModelShape {
    /// The family, which decides which tensors a layer has.
    pub architecture: Architecture,
    /// Decoder layers.
    pub n_layers: u64,
    /// Width of the residual stream.
    pub hidden_size: u64,
    /// Query heads.
    pub n_heads: u64,
    /// Key and value heads.
    pub kv_heads: u64,
    /// Elements of a query or key head.
    pub head_dim: u64,
    /// Width of a dense MLP.
    pub ffn_size: u64,
    /// Rows of the token embedding.
    pub vocab_size: u64,
    /// Positions that the model was trained for.
    pub context_len: u64,
    /// Whether the output head is the token embedding.
    pub tied_embeddings: bool,
    /// Biases on the q, k and v projections.
    #[serde(default, skip_serializing_if = "is_false")]
    pub qkv_bias: bool,
    /// A bias on the attention's output projection.
    #[serde(default, skip_serializing_if = "is_false")]
    pub attn_output_bias: bool,
    /// Biases on the linear layers of the MLP.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ffn_bias: bool,
    /// Norms on queries and keys.
    #[serde(default, skip_serializing_if = "no_qk_norm")]
    pub qk_norm: QkNorm,
    /// Norms of width `hidden_size` in a layer.
    #[serde(default = "two", skip_serializing_if = "is_two")]
    pub norms_per_layer: u64,
    /// Whether norms have a bias (`LayerNorm`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub norm_bias: bool,
    /// Whether the MLP has a gate (SwiGLU, GeGLU).
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub gated_ffn: bool,
    /// Whether q, k and v are one tensor; in Phi-3 gate and up are one as well.
    #[serde(default, skip_serializing_if = "is_false")]
    pub fused_projections: bool,
    /// One learned sink per query head (gpt-oss).
    #[serde(default, skip_serializing_if = "is_false")]
    pub attention_sinks: bool,
    /// Whether the attention's output passes through a gate as wide as the queries (Qwen3-Next).
    #[serde(default, skip_serializing_if = "is_false")]
    pub attention_output_gate: bool,
    /// Whether attention scores are soft-capped (Gemma 2).
    #[serde(default, skip_serializing_if = "is_false")]
    pub attention_softcap: bool,
    /// Whether logits are soft-capped (Gemma 2).
    #[serde(default, skip_serializing_if = "is_false")]
    pub logit_softcap: bool,
    /// Sliding-window layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// Experts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moe: Option<Moe>,
    /// Multi-head latent attention.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mla: Option<Mla>,
    /// Recurrent layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recurrent: Option<Recurrent>,
    /// State-space layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssm: Option<Ssm>,
    /// Whether layers without a window have no value projection: their values are the keys before the
    /// rotation (Gemma 4).
    #[serde(default, skip_serializing_if = "is_false")]
    pub keys_are_values: bool,
    /// Numbers that differ from layer to layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_layer: Option<PerLayer>,
    /// The vision tower beside the language model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vision: Option<Vision>,
    /// What stands beside it and is counted without a model of its work.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<ModelPart>,
    /// What few families have.
    #[serde(default, skip_serializing_if = "Extras::is_none")]
    pub extras: Extras,
}

/// A shape that no model can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` = {value}: expected {expected}")]
pub struct InvalidShape {
    /// The field at fault.
    pub field: &'static str,
    /// Its value.
    pub value: u64,
    /// What was expected of it.
    pub expected: String,
}

/// More layers than any model has: above it a number is a damaged file.
pub(crate) const MAX_LAYERS: u64 = 2_000;
/// Above these, too.
const MAX_WIDTH: u64 = 1 << 24;
const MAX_CONTEXT: u64 = 1 << 32;

impl ModelShape {
    /// Elements for a token that the MLP of a layer works on: of the dense MLP, or of a token's experts together,
    /// whichever is wider.
    pub fn mlp_width(&self) -> u64 {
        let all_experts = self.moe.is_some() && (0..self.n_layers).all(|index| self.is_moe(index));
        let dense = if all_experts { 0 } else { self.widest_ffn() };
        let of_token = |moe: Moe| moe.n_experts_used * moe.expert_ffn_size + moe.shared_ffn_size;
        dense.max(self.moe.map_or(0, of_token))
    }

    /// Elements of attention's output for a token, in the widest layer.
    pub fn attention_width(&self) -> u64 {
        if self.mla.is_some() { self.n_heads * self.value_head_dim() } else { self.q_width() }
    }

    /// Elements of a value head.
    pub fn value_head_dim(&self) -> u64 {
        self.mla.map_or_else(
            || self.extras.value_head_dim.unwrap_or(self.head_dim),
            |mla| mla.v_head_dim,
        )
    }

    /// Query heads per key and value head.
    pub const fn gqa_group(&self) -> u64 {
        self.n_heads / self.kv_heads
    }

    /// The numbers of layer `index`.
    pub fn layer(&self, index: u64) -> LayerShape {
        let Self { n_heads, kv_heads, head_dim, ffn_size, .. } = *self;
        let value_head_dim = self.value_head_dim();
        let Some(lists) = &self.per_layer else {
            return LayerShape { n_heads, kv_heads, head_dim, value_head_dim, ffn_size };
        };
        let of =
            |list: &[u64], own: u64| list.get(at_most(index, list.len())).copied().unwrap_or(own);
        let head_dim = of(&lists.head_dim, head_dim);
        LayerShape {
            n_heads: of(&lists.n_heads, n_heads),
            kv_heads: of(&lists.kv_heads, kv_heads),
            head_dim,
            value_head_dim: self.extras.value_head_dim.unwrap_or(head_dim),
            ffn_size: of(&lists.ffn_size, ffn_size),
        }
    }

    /// The most of `what` that any layer has.
    fn widest(&self, what: impl Fn(&LayerShape) -> u64) -> u64 {
        let last = if self.per_layer.is_some() { self.n_layers } else { 1 };
        (0..last).map(|index| what(&self.layer(index))).max().unwrap_or(0)
    }

    /// Elements of all queries of a token, in the widest layer.
    pub fn q_width(&self) -> u64 {
        self.widest(LayerShape::q_width)
    }

    /// Elements of all keys of a token, in the widest layer.
    pub fn kv_width(&self) -> u64 {
        self.widest(LayerShape::kv_width)
    }

    /// Elements of the widest head.
    pub fn widest_head(&self) -> u64 {
        self.widest(|layer| layer.head_dim)
    }

    /// Elements of a head that positions rotate: all but in families that rotate a part.
    pub const fn rotated(&self, head_dim: u64) -> u64 {
        // Models with state-space layers have no positions.
        if self.ssm.is_some() { 0 } else { head_dim / self.architecture.family().rope.one_of }
    }

    /// Width of the dense MLP, in the widest layer.
    pub fn widest_ffn(&self) -> u64 {
        self.widest(|layer| layer.ffn_size)
    }

    /// Whether layer `index` holds a recurrent state instead of keys and values.
    pub fn is_recurrent(&self, index: u64) -> bool {
        if let Some(mixer) = self.listed_mixer(index) {
            return mixer == Mixer::Recurrent;
        }
        let delta_net = |r: Recurrent| !(index + 1).is_multiple_of(r.full_attention_every);
        self.recurrent.is_some_and(delta_net)
            || (self.ssm.is_some() && self.layer(index).kv_heads == 0)
    }

    /// What mixes tokens in layer `index`.
    pub fn mixer(&self, index: u64) -> Mixer {
        let recurrent = self.is_recurrent(index);
        let implied = if recurrent { Mixer::Recurrent } else { Mixer::Attention };
        self.listed_mixer(index).unwrap_or(implied)
    }

    fn listed_mixer(&self, index: u64) -> Option<Mixer> {
        let mixers = &self.per_layer.as_ref()?.mixers;
        mixers.get(at_most(index, mixers.len())).copied()
    }

    /// Whether layer `index` attends to tokens.
    pub fn attends(&self, index: u64) -> bool {
        matches!(self.mixer(index), Mixer::Attention | Mixer::Both)
    }

    /// Whether layer `index` reads the keys and values of a layer before it, and keeps none.
    pub const fn shares_cache(&self, index: u64) -> bool {
        index >= self.n_layers.saturating_sub(self.extras.shared_cache_layers)
    }

    /// What layer `index` would keep if it did not read the keys and values of a layer before it; nothing where it does not.
    pub fn own_layer(&self, index: u64) -> Option<Layer> {
        let shares = self.shares_cache(index) && self.mixer(index) == Mixer::Attention;
        shares.then(|| self.window_of(index).map_or(Layer::Full, |size| Layer::Window { size }))
    }

    /// Whether layer `index` has learned sinks: every one, or those with a window (MiMo-V2).
    pub fn has_sinks(&self, index: u64) -> bool {
        let windowed = self.architecture.family().sinks_in_windows;
        self.attention_sinks && (!windowed || self.window_of(index).is_some())
    }

    /// Whether layer `index` has a projection of values.
    pub fn has_values(&self, index: u64) -> bool {
        !self.keys_are_values || self.window_of(index).is_some()
    }

    /// The window of layer `index`, if it has one.
    pub fn window_of(&self, index: u64) -> Option<u64> {
        let listed = self.per_layer.as_ref().map_or(&[][..], |lists| &lists.window);
        if let Some(&size) = listed.get(at_most(index, listed.len())) {
            return (size > 0).then_some(size);
        }
        let window = self.window?;
        let full = window.full_every.is_some_and(|every| (index + 1).is_multiple_of(every));
        (!full).then_some(window.size)
    }

    /// Whether layer `index` has experts.
    pub fn is_moe(&self, index: u64) -> bool {
        let listed = self.per_layer.as_ref().map_or(&[][..], |lists| &lists.experts);
        if let Some(&experts) = listed.get(at_most(index, listed.len())) {
            return experts && self.moe.is_some();
        }
        self.moe.is_some_and(|moe| index >= moe.leading_dense_layers)
    }

    /// Checks that the numbers can belong to one model.
    pub fn validate(&self) -> Result<(), InvalidShape> {
        let range = |field, value: u64, max: u64| {
            if (1..=max).contains(&value) {
                return Ok(());
            }
            Err(InvalidShape { field, value, expected: format!("1 to {max}") })
        };
        range("n_layers", self.n_layers, MAX_LAYERS)?;
        range("hidden_size", self.hidden_size, MAX_WIDTH)?;
        range("n_heads", self.n_heads, MAX_WIDTH)?;
        range("kv_heads", self.kv_heads, self.n_heads)?;
        range("head_dim", self.head_dim, MAX_WIDTH)?;
        range("ffn_size", self.ffn_size, MAX_WIDTH)?;
        range("vocab_size", self.vocab_size, MAX_WIDTH)?;
        range("context_len", self.context_len, MAX_CONTEXT)?;
        // None where residual streams are normed instead.
        let norms =
            self.norms_per_layer.saturating_add(u64::from(self.extras.gated_streams.is_some()));
        range("norms_per_layer", norms, 8)?;
        range("n_heads × head_dim", self.n_heads.saturating_mul(self.head_dim), MAX_WIDTH)?;
        if !self.n_heads.is_multiple_of(self.kv_heads) {
            let expected = format!("a divisor of `n_heads` = {}", self.n_heads);
            return Err(InvalidShape { field: "kv_heads", value: self.kv_heads, expected });
        }
        self.validate_layers()?;
        if let Some(window) = self.window {
            range("window.size", window.size, MAX_CONTEXT)?;
            range("window.full_every", window.full_every.unwrap_or(1), MAX_LAYERS)?;
        }
        if let Some(moe) = self.moe {
            range("moe.n_experts", moe.n_experts, 1 << 16)?;
            range("moe.n_experts_used", moe.n_experts_used, moe.n_experts)?;
            range("moe.expert_ffn_size", moe.expert_ffn_size, MAX_WIDTH)?;
            let first_moe = moe.leading_dense_layers.saturating_add(1);
            range("moe.leading_dense_layers + 1", first_moe, self.n_layers)?;
            range("moe.shared_ffn_size + 1", moe.shared_ffn_size.saturating_add(1), MAX_WIDTH)?;
        }
        if let Some(mla) = self.mla {
            range("mla.kv_lora_rank", mla.kv_lora_rank, MAX_WIDTH)?;
            // Without positions in GLM-5.3-Flash.
            let rotated = mla.qk_rope_head_dim.saturating_add(1);
            range("mla.qk_rope_head_dim + 1", rotated, MAX_WIDTH)?;
            range("mla.qk_nope_head_dim", mla.qk_nope_head_dim, MAX_WIDTH)?;
            range("mla.v_head_dim", mla.v_head_dim, MAX_WIDTH)?;
            range("mla.q_lora_rank", mla.q_lora_rank.unwrap_or(1), MAX_WIDTH)?;
        }
        if let Some(recurrent) = self.recurrent {
            range("recurrent.full_attention_every", recurrent.full_attention_every, MAX_LAYERS)?;
            range("recurrent.key_heads", recurrent.key_heads, 1 << 16)?;
            range("recurrent.value_heads", recurrent.value_heads, 1 << 16)?;
            range("recurrent.key_head_dim", recurrent.key_head_dim, 1 << 16)?;
            range("recurrent.value_head_dim", recurrent.value_head_dim, 1 << 16)?;
            range("recurrent.conv_kernel", recurrent.conv_kernel, 1 << 10)?;
        }
        if let Some(ssm) = self.ssm {
            range("ssm.inner_size", ssm.inner_size, MAX_WIDTH)?;
            range("ssm.state_size", ssm.state_size, 1 << 16)?;
            range("ssm.n_groups", ssm.n_groups, 1 << 10)?;
            range("ssm.n_heads", ssm.n_heads, ssm.inner_size)?;
            range("ssm.conv_kernel", ssm.conv_kernel, 1 << 10)?;
        }
        self.extras.validate(self)?;
        self.parts.iter().try_for_each(ModelPart::validate)?;
        self.vision.map_or(Ok(()), |vision| vision.validate())
    }

    /// Checks what is given layer by layer.
    fn validate_layers(&self) -> Result<(), InvalidShape> {
        let Some(lists) = &self.per_layer else { return Ok(()) };
        let least = u64::from(self.ssm.is_none() && lists.mixers.is_empty());
        let counted = |field, count: usize| {
            let count = to_u64(count);
            if count == 0 || count == self.n_layers {
                return Ok(());
            }
            let expected = format!("none, or one for each of {} layers", self.n_layers);
            Err(InvalidShape { field, value: count, expected })
        };
        counted("per_layer.mixers", lists.mixers.len())?;
        counted("per_layer.experts", lists.experts.len())?;
        counted("per_layer.window", lists.window.len())?;
        for (field, list, least) in [
            ("per_layer.n_heads", &lists.n_heads, 1),
            ("per_layer.kv_heads", &lists.kv_heads, least),
            ("per_layer.head_dim", &lists.head_dim, 1),
            ("per_layer.ffn_size", &lists.ffn_size, least),
        ] {
            counted(field, list.len())?;
            if let Some(&value) = list.iter().find(|n| !(least..=MAX_WIDTH).contains(n)) {
                let expected = format!("{least} to {MAX_WIDTH}");
                return Err(InvalidShape { field, value, expected });
            }
        }
        for index in 0..self.n_layers {
            let layer = self.layer(index);
            let wide = layer.n_heads.saturating_mul(layer.head_dim) > MAX_WIDTH;
            if wide || (layer.kv_heads > 0 && !layer.n_heads.is_multiple_of(layer.kv_heads)) {
                let expected = format!(
                    "a divisor of {} heads, which are at most {MAX_WIDTH} wide together",
                    layer.n_heads
                );
                return Err(InvalidShape {
                    field: "per_layer.kv_heads",
                    value: layer.kv_heads,
                    expected,
                });
            }
        }
        Ok(())
    }

    /// A list of numbers, one a layer, where they differ; nothing where the first counts for all.
    pub fn list_of(numbers: Vec<u64>) -> Vec<u64> {
        let same = numbers.windows(2).all(|pair| pair[0] == pair[1]);
        if same { Vec::new() } else { numbers }
    }
}
