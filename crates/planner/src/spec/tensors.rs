//! Every tensor of a model, derived from its shape.
//!
//! Sources: the modelling files of transformers (`qwen2/modeling_qwen2.py` and the like) and
//! llama.cpp's `llama-arch.cpp`; the check is that the elements add up to the published parameter
//! count of every profile.

mod rare;

use super::families::LayerKinds;
use super::{Mixer, ModelShape, Moe, QkNorm};

/// What a tensor is for. File formats and quantizers treat tensors by their role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Role {
    TokenEmbedding,
    OutputHead,
    AttnQ,
    AttnK,
    AttnV,
    AttnQkv,
    AttnOutput,
    FfnGate,
    FfnUp,
    FfnGateUp,
    FfnDown,
    ExpertGate,
    ExpertUp,
    ExpertDown,
    SharedGate,
    SharedUp,
    SharedDown,
    Router,
    SharedRouter,
    MlaQa,
    MlaQb,
    MlaKvA,
    MlaKvB,
    /// `MlaKvB` once more, as two matrices of every head: vLLM makes them when it loads.
    MlaAbsorbed,
    RecurrentQkv,
    RecurrentGate,
    RecurrentBetaAlpha,
    RecurrentConv,
    RecurrentVector,
    /// One of these vectors that vLLM keeps in f32, the decay of every head.
    RecurrentDecay,
    RecurrentOutput,
    /// Low-rank projections of a recurrent layer's gates (Kimi Linear).
    RecurrentLowRank,
    /// The input projection of a state-space layer: gate, input, B, C and time steps.
    SsmIn,
    /// Gates of a layer's heads.
    HeadGate,
    /// Queries, keys and weights of what chooses the tokens that attention reads.
    IndexerQ,
    IndexerK,
    IndexerWeights,
    /// Projections of keys into compressed ones, and of their weights.
    Compressor,
    /// Projections around routed experts.
    LatentDown,
    LatentUp,
    /// Small linear layers of residual streams and of layers' embeddings.
    Residual,
    /// Embeddings beside those of the tokens, in one table: of every layer, or of positions.
    LayerEmbedding,
    /// Embeddings of runs of tokens, which quantized checkpoints hold in 8 bits (Qwen3.8-Flash-Next).
    RunEmbedding,
    /// What mixes residual streams, and positions of compressed keys: f32.
    StreamMix,
    Norm,
    Bias,
    /// The bias of a layer that vLLM splits by output, which is split like it.
    SplitBias,
    /// What a router adds to its scores to choose by, which vLLM keeps in f32.
    ScoreCorrection,
    Sinks,
    /// A table of frequencies beside the parameters, in files for llama.cpp.
    RopeFrequencies,
    /// A linear layer of a vision tower or its projector.
    VisionLinear,
    /// Everything else of a vision tower: convolution, positions, norms, biases.
    VisionOther,
}

impl Role {
    /// Whether it is the matrix of a linear layer inside a decoder layer.
    pub const fn is_block_linear(self) -> bool {
        !matches!(
            self,
            Self::TokenEmbedding
                | Self::OutputHead
                | Self::MlaAbsorbed
                | Self::RecurrentConv
                | Self::RecurrentVector
                | Self::RecurrentDecay
                | Self::Norm
                | Self::Bias
                | Self::SplitBias
                | Self::ScoreCorrection
                | Self::Sinks
                | Self::RopeFrequencies
                | Self::LayerEmbedding
                | Self::RunEmbedding
                | Self::StreamMix
                | Self::VisionLinear
                | Self::VisionOther
        )
    }

    /// Whether it belongs to a vision tower.
    pub const fn is_vision(self) -> bool {
        matches!(self, Self::VisionLinear | Self::VisionOther)
    }

    /// Whether only the chosen experts of it are read for a token.
    pub const fn is_routed_expert(self) -> bool {
        matches!(self, Self::ExpertGate | Self::ExpertUp | Self::ExpertDown)
    }
}

/// One tensor: `rows` rows of `row` elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// What it is for.
    pub role: Role,
    /// The decoder layer it belongs to, if any.
    pub layer: Option<u64>,
    /// Elements of a row: the input width of a linear layer.
    pub row: u64,
    /// Rows: the output width of a linear layer, times the experts.
    pub rows: u64,
}

impl TensorSpec {
    /// Elements, saturating (shapes are validated far below that).
    pub const fn elements(&self) -> u64 {
        self.row.saturating_mul(self.rows)
    }
}

/// Every tensor of a model with this shape, in file order: embedding, layers, final norm, output head.
pub fn tensors(shape: &ModelShape) -> Vec<TensorSpec> {
    let mut list = TensorList { shape, layer: None, tensors: Vec::new() };
    list.add(Role::TokenEmbedding, shape.hidden_size, shape.vocab_size);
    list.before_layers();
    for index in 0..shape.n_layers {
        list.layer = Some(index);
        list.layer_tensors(index);
    }
    list.layer = None;
    match shape.extras.gated_streams {
        Some(gated) => list.gate_of_streams(gated),
        None => list.norm(shape.hidden_size),
    }
    list.block_residual();
    if !shape.tied_embeddings {
        list.add(Role::OutputHead, shape.hidden_size, shape.vocab_size);
    }
    if shape.extras.head_bias {
        list.add(Role::Bias, shape.vocab_size, 1);
    }
    list.tensors
}

struct TensorList<'a> {
    shape: &'a ModelShape,
    layer: Option<u64>,
    tensors: Vec<TensorSpec>,
}

impl TensorList<'_> {
    fn add(&mut self, role: Role, row: u64, rows: u64) {
        self.tensors.push(TensorSpec { role, layer: self.layer, row, rows });
    }

    fn linear(&mut self, role: Role, input: u64, output: u64, bias: bool) {
        self.add(role, input, output);
        if bias {
            self.add(Role::Bias, output, 1);
        }
    }

    fn norm(&mut self, width: u64) {
        if self.shape.architecture.family().norms.weightless {
            return;
        }
        self.add(Role::Norm, width, 1);
        if self.shape.norm_bias {
            self.add(Role::Bias, width, 1);
        }
    }

    fn layer_tensors(&mut self, index: u64) {
        let shape = self.shape;
        let has_mlp = shape.is_moe(index) || shape.layer(index).ffn_size > 0;
        let mixer = shape.mixer(index);
        for _ in 0..norms(shape, mixer, has_mlp) {
            self.norm(shape.hidden_size);
        }
        if matches!(mixer, Mixer::Attention | Mixer::Both) {
            self.attending(index);
        }
        if matches!(mixer, Mixer::Recurrent | Mixer::Both) {
            self.keeping_a_state();
        }
        match shape.moe {
            Some(moe) if shape.is_moe(index) => self.experts(index, moe),
            _ => self.dense_ffn(index),
        }
        if shape.architecture.family().layer_scalar {
            self.add(Role::Norm, 1, 1);
        }
        self.behind_layer(index);
    }

    fn attending(&mut self, index: u64) {
        if self.shape.extras.compressed.is_some() {
            self.compressed_attention(index);
        } else if self.shape.mla.is_some() {
            self.latent_attention();
        } else {
            self.attention(index);
        }
        self.indexer(index);
    }

    fn keeping_a_state(&mut self) {
        if self.shape.ssm.is_some() {
            self.state_space();
        } else if self.shape.extras.short_convolution.is_some() {
            self.short_convolution();
        } else if self.shape.architecture.family().layers == LayerKinds::LatentAndDelta {
            self.kimi_delta();
        } else {
            self.recurrent();
        }
    }

    fn attention(&mut self, index: u64) {
        let ModelShape { hidden_size, qkv_bias, .. } = *self.shape;
        let layer = self.shape.layer(index);
        let (q, kv) = (layer.q_width(), layer.kv_width());
        let value_dim = self.shape.extras.value_head_dim.unwrap_or(layer.head_dim);
        let (values, attended) = (layer.kv_heads * value_dim, layer.n_heads * value_dim);
        let has_keys = !self.shape.shares_cache(index);
        if self.shape.fused_projections {
            self.linear(Role::AttnQkv, hidden_size, q + kv + values, qkv_bias);
        } else {
            let gate = if self.shape.attention_output_gate { q } else { 0 };
            self.linear(Role::AttnQ, hidden_size, q + gate, qkv_bias);
            if has_keys {
                self.linear(Role::AttnK, hidden_size, kv, qkv_bias);
            }
            if has_keys && self.shape.has_values(index) {
                self.linear(Role::AttnV, hidden_size, values, qkv_bias);
            }
        }
        if self.shape.architecture.family().norms.inner {
            self.norm(attended);
        }
        self.linear(Role::AttnOutput, attended, hidden_size, self.shape.attn_output_bias);
        let (of_queries, of_keys) = match self.shape.qk_norm {
            QkNorm::None => (0, 0),
            QkNorm::PerHead => (layer.head_dim, layer.head_dim),
            QkNorm::Full => (q, kv),
        };
        if of_queries > 0 {
            self.norm(of_queries);
        }
        if of_keys > 0 && has_keys {
            self.norm(of_keys);
        }
        if self.shape.extras.head_gates {
            self.add(Role::HeadGate, hidden_size, layer.n_heads);
        }
        if self.shape.has_sinks(index) {
            self.add(Role::Sinks, layer.n_heads, 1);
        }
    }

    fn latent_attention(&mut self) {
        let Some(mla) = self.shape.mla else { return };
        let ModelShape { hidden_size, n_heads, .. } = *self.shape;
        let q_width = n_heads * (mla.qk_nope_head_dim + mla.qk_rope_head_dim);
        match mla.q_lora_rank {
            Some(rank) => {
                self.add(Role::MlaQa, hidden_size, rank);
                self.norm(rank);
                self.add(Role::MlaQb, rank, q_width);
            }
            None => self.add(Role::AttnQ, hidden_size, q_width),
        }
        self.add(Role::MlaKvA, hidden_size, mla.kv_lora_rank + mla.qk_rope_head_dim);
        self.norm(mla.kv_lora_rank);
        self.add(Role::MlaKvB, mla.kv_lora_rank, n_heads * (mla.qk_nope_head_dim + mla.v_head_dim));
        if self.shape.attention_output_gate {
            self.add(Role::AttnQ, hidden_size, n_heads * mla.v_head_dim);
        }
        if self.shape.extras.head_gates {
            self.add(Role::HeadGate, hidden_size, n_heads);
        }
        self.add(Role::AttnOutput, n_heads * mla.v_head_dim, hidden_size);
    }

    /// Gated delta-net: q, k and v in one projection with a causal convolution, an output gate, and
    /// per value head a decay, a time step and the two small projections beta and alpha.
    fn recurrent(&mut self) {
        let Some(r) = self.shape.recurrent else { return };
        let hidden_size = self.shape.hidden_size;
        let keys = r.key_heads * r.key_head_dim;
        let values = r.value_heads * r.value_head_dim;
        self.add(Role::RecurrentQkv, hidden_size, 2 * keys + values);
        self.add(Role::RecurrentGate, hidden_size, values);
        self.add(Role::RecurrentBetaAlpha, hidden_size, r.value_heads);
        self.add(Role::RecurrentBetaAlpha, hidden_size, r.value_heads);
        self.add(Role::RecurrentConv, r.conv_kernel, 2 * keys + values);
        self.add(Role::RecurrentVector, r.value_heads, 2);
        self.norm(r.value_head_dim);
        self.add(Role::RecurrentOutput, values, hidden_size);
    }

    /// Mamba-2: one projection in, a causal convolution, per head a time step, a decay and a skip, a norm
    /// and a projection out.
    fn state_space(&mut self) {
        let Some(ssm) = self.shape.ssm else { return };
        let (hidden_size, conv) = (self.shape.hidden_size, ssm.conv_width());
        self.add(Role::SsmIn, hidden_size, ssm.inner_size + conv + ssm.n_heads);
        self.add(Role::RecurrentConv, ssm.conv_kernel, conv);
        if ssm.conv_bias {
            self.add(Role::Bias, conv, 1);
        }
        self.add(Role::RecurrentVector, ssm.n_heads, 3);
        if !ssm.without_norm {
            self.norm(ssm.inner_size);
        }
        self.add(Role::RecurrentOutput, ssm.inner_size, hidden_size);
    }

    fn dense_ffn(&mut self, index: u64) {
        let ModelShape { hidden_size, ffn_bias, .. } = *self.shape;
        let ffn_size = self.shape.layer(index).ffn_size;
        if ffn_size == 0 {
            return;
        }
        let family = self.shape.architecture.family();
        if family.norms.inner {
            self.norm(ffn_size);
        }
        if family.fused_projections && self.shape.gated_ffn {
            self.linear(Role::FfnGateUp, hidden_size, 2 * ffn_size, ffn_bias);
        } else {
            if self.shape.gated_ffn {
                self.linear(Role::FfnGate, hidden_size, ffn_size, ffn_bias);
            }
            self.linear(Role::FfnUp, hidden_size, ffn_size, ffn_bias);
        }
        self.linear(Role::FfnDown, ffn_size, hidden_size, ffn_bias);
    }

    fn experts(&mut self, index: u64, moe: Moe) {
        let ModelShape { hidden_size, gated_ffn, .. } = *self.shape;
        let Moe { n_experts, expert_ffn_size, .. } = moe;
        // Experts that the token's number chooses have no correction of scores.
        let hashed = self.shape.extras.compressed.as_ref().map_or(0, |c| c.hashed_layers);
        self.linear(Role::Router, hidden_size, n_experts, moe.router_bias && index >= hashed);
        let latent = self.shape.extras.latent_experts;
        if let Some(width) = latent {
            self.add(Role::LatentDown, hidden_size, width);
        }
        let width = latent.unwrap_or(hidden_size);
        let gates = [Role::ExpertGate, Role::ExpertUp];
        for role in gates.into_iter().skip(usize::from(!gated_ffn)) {
            self.linear(role, width, n_experts * expert_ffn_size, moe.expert_bias);
        }
        self.add(Role::ExpertDown, expert_ffn_size, n_experts * width);
        if moe.expert_bias {
            self.add(Role::Bias, n_experts * width, 1);
        }
        if let Some(width) = latent {
            if self.shape.extras.latent_norm {
                self.norm(width);
            }
            self.add(Role::LatentUp, width, hidden_size);
        }
        if moe.shared_ffn_size > 0 {
            if gated_ffn {
                self.add(Role::SharedGate, hidden_size, moe.shared_ffn_size);
            }
            self.add(Role::SharedUp, hidden_size, moe.shared_ffn_size);
            self.add(Role::SharedDown, moe.shared_ffn_size, hidden_size);
        }
        if moe.shared_gate {
            self.add(Role::SharedRouter, hidden_size, 1);
        }
        if self.shape.architecture.family().norms.behind_experts {
            self.norm(hidden_size);
        }
    }
}

/// Norms of full width of a layer: those of a sublayer that was left out are left out with it.
fn norms(shape: &ModelShape, mixer: Mixer, has_mlp: bool) -> u64 {
    let all = shape.norms_per_layer;
    if all != 2 {
        return all;
    }
    all - u64::from(mixer == Mixer::Nothing) - u64::from(!has_mlp)
}
