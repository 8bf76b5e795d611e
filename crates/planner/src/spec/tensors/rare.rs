//! Tensors that few families have.

use super::{Role, TensorList};
use crate::spec::{AltUp, GatedStreams, ModelShape};

/// Rows of Llama 3.2 Vision's embedding behind its vocabulary.
const IMAGE_MARKS: u64 = 8;

impl TensorList<'_> {
    /// What chooses the tokens that attention reads: transformers `deepseek_v32/modeling_deepseek_v32.py`,
    /// `minimax_m3_vl/modeling_minimax_m3_vl.py`.
    pub(super) fn indexer(&mut self, index: u64) {
        let shape = self.shape;
        let Some(indexer) = shape.extras.indexer.as_ref().filter(|i| i.is_in(index)) else {
            return;
        };
        if shape.extras.compressed.is_some() {
            return;
        }
        let (hidden_size, dim) = (shape.hidden_size, indexer.head_dim);
        let rank = shape.mla.and_then(|mla| mla.q_lora_rank).unwrap_or(hidden_size);
        let input = if indexer.plain { hidden_size } else { rank };
        self.add(Role::IndexerQ, input, indexer.n_heads * dim);
        self.add(Role::IndexerK, hidden_size, dim);
        if indexer.plain {
            self.add(Role::Norm, dim, 2);
            return;
        }
        self.add(Role::Norm, dim, 1);
        self.add(Role::Bias, dim, 1);
        self.add(Role::IndexerWeights, hidden_size, indexer.n_heads);
        if let Some(pooled) = indexer.pooled {
            self.add(Role::Norm, dim, pooled);
            self.add(Role::IndexerK, hidden_size, dim);
        }
    }

    /// A gated convolution: `lfm2/modeling_lfm2.py`.
    pub(super) fn short_convolution(&mut self) {
        let Some(convolution) = self.shape.extras.short_convolution else { return };
        let hidden_size = self.shape.hidden_size;
        self.linear(Role::RecurrentQkv, hidden_size, 3 * hidden_size, convolution.bias);
        self.add(Role::RecurrentConv, convolution.kernel, hidden_size);
        if convolution.bias {
            self.add(Role::Bias, hidden_size, 1);
        }
        self.linear(Role::RecurrentOutput, hidden_size, hidden_size, convolution.bias);
    }

    /// Kimi Delta Attention: a delta-net whose decay is one for every channel (`kimi_linear/modeling_kimi_linear.py`).
    pub(super) fn kimi_delta(&mut self) {
        let Some(r) = self.shape.recurrent else { return };
        let hidden_size = self.shape.hidden_size;
        let (keys, values) = (r.key_heads * r.key_head_dim, r.value_heads * r.value_head_dim);
        self.add(Role::RecurrentQkv, hidden_size, 2 * keys + values);
        self.add(Role::RecurrentConv, r.conv_kernel, 2 * keys + values);
        let extras = &self.shape.extras;
        for is_full in [extras.full_rank_decay, extras.full_rank_gates] {
            if is_full {
                self.add(Role::RecurrentGate, hidden_size, values);
            } else {
                self.add(Role::RecurrentLowRank, hidden_size, r.value_head_dim);
                self.add(Role::RecurrentLowRank, r.value_head_dim, values);
            }
        }
        self.add(Role::RecurrentBetaAlpha, hidden_size, r.value_heads);
        self.add(Role::RecurrentDecay, keys, 1);
        self.add(Role::RecurrentDecay, r.value_heads, 1);
        self.norm(r.value_head_dim);
        self.add(Role::RecurrentOutput, values, hidden_size);
    }

    /// What weighs blocks of layers: a norm and a projection to one number.
    pub(super) fn block_residual(&mut self) {
        if self.shape.extras.block_residuals {
            self.norm(self.shape.hidden_size);
            self.add(Role::Residual, self.shape.hidden_size, 1);
        }
    }

    /// Attention over a window and compressed keys (`deepseek_v4/modeling_deepseek_v4.py`).
    pub(super) fn compressed_attention(&mut self, index: u64) {
        let shape = self.shape;
        let Some(compressed) = &shape.extras.compressed else { return };
        let ModelShape { hidden_size, n_heads, head_dim, .. } = *shape;
        self.add(Role::MlaQa, hidden_size, compressed.q_lora_rank);
        self.norm(compressed.q_lora_rank);
        self.add(Role::MlaQb, compressed.q_lora_rank, n_heads * head_dim);
        self.add(Role::MlaKvA, hidden_size, head_dim);
        self.norm(head_dim);
        let groups = compressed.o_groups;
        let low_rank = groups * compressed.o_lora_rank;
        self.add(Role::AttnOutput, n_heads * head_dim / groups, low_rank);
        self.add(Role::AttnOutput, low_rank, hidden_size);
        self.add(Role::Sinks, n_heads, 1);
        let Some(ratio) = compressed.ratio(index) else { return };
        let indexed = shape.extras.indexer.as_ref().filter(|_| compressed.has_indexer(index));
        // Keys that overlap are projected twice.
        let copies = if indexed.is_some() { 2 } else { 1 };
        self.compressor(copies * head_dim, ratio);
        self.norm(head_dim);
        if let Some(indexer) = indexed {
            self.compressor(copies * indexer.head_dim, ratio);
            self.norm(indexer.head_dim);
            self.add(Role::IndexerQ, compressed.q_lora_rank, indexer.n_heads * indexer.head_dim);
            self.add(Role::IndexerWeights, hidden_size, indexer.n_heads);
        }
    }

    fn compressor(&mut self, width: u64, ratio: u64) {
        for _ in ["keys", "weights"] {
            self.add(Role::Compressor, self.shape.hidden_size, width);
        }
        self.add(Role::StreamMix, width, ratio);
    }

    /// What mixes residual streams into one: a norm of each, and a gate of low rank (`qwen4_exp/modeling_qwen4_exp.py`).
    pub(super) fn gate_of_streams(&mut self, gated: GatedStreams) {
        let width = gated.streams * self.shape.hidden_size;
        self.norm(width);
        self.add(Role::Residual, width, gated.rank);
        self.add(Role::Residual, gated.rank, width);
    }

    /// What a layer has beside its table to add embeddings of runs of tokens.
    fn runs(&mut self, index: u64) {
        let ModelShape { hidden_size, ref extras, .. } = *self.shape;
        let Some(runs) = extras.run_embeddings.as_ref().filter(|runs| runs.layers.contains(&index))
        else {
            return;
        };
        let width = extras.gated_streams.map_or(1, |gated| gated.streams) * hidden_size;
        self.add(Role::Residual, runs.width, width + hidden_size);
        for _ in ["keys", "queries", "before the convolution"] {
            self.norm(width);
        }
        self.add(Role::RecurrentConv, runs.conv_kernel, width);
    }

    /// What the model has of residual streams and of layers' embeddings.
    pub(super) fn before_layers(&mut self) {
        let extras = &self.shape.extras;
        let ModelShape { hidden_size, n_layers, .. } = *self.shape;
        // Rows of the marks that stand for images.
        if !extras.cross_layers.is_empty() {
            self.add(Role::LayerEmbedding, hidden_size, IMAGE_MARKS);
        }
        if extras.positions > 0 {
            self.add(Role::LayerEmbedding, hidden_size, extras.positions);
        }
        if self.shape.architecture.family().earlier.embedding_norm {
            self.norm(hidden_size);
        }
        if let Some(embeddings) = extras.layer_embeddings {
            self.add(Role::LayerEmbedding, n_layers * embeddings.width, embeddings.vocab_size);
            self.add(Role::Residual, hidden_size, n_layers * embeddings.width);
            self.norm(embeddings.width);
        }
        if let Some(runs) = &extras.run_embeddings {
            for &rows in &runs.rows {
                self.add(Role::RunEmbedding, runs.row, rows);
            }
        }
        if let Some(AltUp { streams, .. }) = extras.alt_up {
            self.add(Role::Residual, hidden_size, 2 * (streams - 1) * hidden_size);
        }
        // Others take the mean of their streams at the end.
        if let Some(streams) = extras.streams.filter(|_| extras.compressed.is_some()) {
            self.add(Role::StreamMix, streams * hidden_size, streams);
            self.add(Role::StreamMix, streams + 1, 1);
        }
    }

    /// Attention to an image: norms of queries and keys, a gate of it and one of the MLP (`mllama/modeling_mllama.py`).
    fn cross_attention(&mut self, index: u64) {
        let hidden_size = self.shape.hidden_size;
        let layer = self.shape.layer(index);
        self.norm(hidden_size);
        self.add(Role::AttnQ, hidden_size, layer.q_width());
        self.add(Role::AttnK, hidden_size, layer.kv_width());
        self.add(Role::AttnV, hidden_size, layer.kv_width());
        self.add(Role::AttnOutput, layer.q_width(), hidden_size);
        for width in [layer.head_dim, layer.head_dim, 1, 1] {
            self.norm(width);
        }
    }

    /// What a layer has beside attention and its MLP.
    pub(super) fn behind_layer(&mut self, index: u64) {
        for _ in ["attention", "MLP"] {
            self.block_residual();
        }
        if self.shape.extras.cross_layers.contains(&index) {
            self.cross_attention(index);
        }
        let shape = self.shape;
        let hidden_size = shape.hidden_size;
        if shape.extras.dense_beside_experts && shape.is_moe(index) {
            self.dense_ffn(index);
            for _ in ["behind the MLP", "before experts", "behind them"] {
                self.norm(hidden_size);
            }
            // The router's scale of its input, and one of every expert.
            self.add(Role::Norm, hidden_size, 1);
            self.add(Role::Norm, shape.moe.map_or(0, |moe| moe.n_experts), 1);
        }
        if shape.extras.activation_parameters > 0 {
            self.add(Role::Norm, shape.extras.activation_parameters, 1);
        }
        if let Some(embeddings) = shape.extras.layer_embeddings {
            self.add(Role::Residual, hidden_size, embeddings.width);
            self.add(Role::Residual, embeddings.width, hidden_size);
            self.norm(hidden_size);
        }
        if let Some(AltUp { streams, residual_rank }) = shape.extras.alt_up {
            self.add(Role::Residual, hidden_size, residual_rank);
            self.add(Role::Residual, residual_rank, hidden_size);
            self.norm(hidden_size);
            self.add(Role::Norm, hidden_size, 1);
            self.add(Role::Residual, streams, streams * (1 + streams));
            self.add(Role::Residual, hidden_size, streams);
            self.norm(hidden_size);
        }
        if let Some(gated) = shape.extras.gated_streams {
            for _ in ["attention", "experts"] {
                self.gate_of_streams(gated);
                self.add(Role::Residual, gated.streams * hidden_size, gated.streams);
            }
        }
        self.runs(index);
        if let Some(streams) = shape.extras.streams {
            let weights = (2 + streams) * streams;
            for _ in ["attention", "experts"] {
                self.add(Role::StreamMix, streams * hidden_size, weights);
                self.add(Role::StreamMix, weights + 3, 1);
            }
        }
    }
}
