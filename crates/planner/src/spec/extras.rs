//! What few families have beside the numbers that all share.

use serde::{Deserialize, Serialize};

use super::{InvalidShape, ModelShape};
use crate::units::to_u64;

#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// What few families have; nothing of it by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Extras {
    /// Elements of a value head, where keys have others (MiMo-V2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_head_dim: Option<u64>,
    /// Whether every query head's output has a gate of one number (Step 3.7).
    #[serde(skip_serializing_if = "is_false")]
    pub head_gates: bool,
    /// What chooses the tokens that attention reads (DeepSeek-V3.2, GLM-5).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub indexer: Option<Indexer>,
    /// Recurrent layers that are a short convolution (LFM2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub short_convolution: Option<ShortConvolution>,
    /// Embeddings that every layer is given (Gemma 3n, Gemma 4 E).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer_embeddings: Option<LayerEmbeddings>,
    /// Layers at the end that read the keys and values of a layer before them and keep none.
    #[serde(skip_serializing_if = "is_zero")]
    pub shared_cache_layers: u64,
    /// Width that routed experts work on, between two projections, where it is not the model's (Nemotron 3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latent_experts: Option<u64>,
    /// Whether layers with experts have the dense MLP beside them (Gemma 4).
    #[serde(skip_serializing_if = "is_false")]
    pub dense_beside_experts: bool,
    /// Whether the output head has a bias (Phi-MoE).
    #[serde(skip_serializing_if = "is_false")]
    pub head_bias: bool,
    /// Parameters of the activation, of every layer (Apertus).
    #[serde(skip_serializing_if = "is_zero")]
    pub activation_parameters: u64,
    /// Whether the gate of a delta-net's output is one matrix, and not two of low rank (Kimi K3).
    #[serde(skip_serializing_if = "is_false")]
    pub full_rank_gates: bool,
    /// Whether the decay of a delta-net is projected by one matrix, and not by two of low rank (Ling 3).
    #[serde(skip_serializing_if = "is_false")]
    pub full_rank_decay: bool,
    /// Residual streams that are mixed by matrices of low rank (Qwen3.8-Flash-Next).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gated_streams: Option<GatedStreams>,
    /// Embeddings of runs of tokens, which some layers add (Qwen3.8-Flash-Next).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_embeddings: Option<RunEmbeddings>,
    /// Whether what routed experts give is normed before it is projected back (Kimi K3).
    #[serde(skip_serializing_if = "is_false")]
    pub latent_norm: bool,
    /// Whether every sublayer weighs the outputs of blocks of layers before it (Kimi K3).
    #[serde(skip_serializing_if = "is_false")]
    pub block_residuals: bool,
    /// Layers that attend to an image and to nothing else (Llama 3.2 Vision).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cross_layers: Vec<u64>,
    /// Rows of a table of learned positions (GPT-2).
    #[serde(skip_serializing_if = "is_zero")]
    pub positions: u64,
    /// Residual streams that are mixed by learned weights (DeepSeek-V4, GLM-5.3-Flash).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streams: Option<u64>,
    /// Residual streams and low-rank residuals of Gemma 3n.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alt_up: Option<AltUp>,
    /// Attention over compressed keys (DeepSeek-V4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compressed: Option<Compressed>,
    /// Bytes of an element of the states that recurrent layers keep, where a server is told them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_bytes: Option<u64>,
}

/// What chooses the tokens that attention reads: queries and keys of its own, whose keys it caches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Indexer {
    /// Query heads.
    pub n_heads: u64,
    /// Elements of a query or key.
    pub head_dim: u64,
    /// Whether queries and keys are projected from the model's width and normed (MiniMax-M3), and not queries from
    /// the low rank of attention's, weighed head by head.
    #[serde(default, skip_serializing_if = "is_false")]
    pub plain: bool,
    /// Tokens whose keys become one by weights that are learned, where there are such (GLM-5.3-Flash).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pooled: Option<u64>,
    /// Which layers have one; all, where the list is empty. Others use what the one before them chose.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<bool>,
}

/// A gated convolution over the last tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ShortConvolution {
    /// Tokens that it sees.
    pub kernel: u64,
    /// Whether it and its projections have biases.
    #[serde(default, skip_serializing_if = "is_false")]
    pub bias: bool,
}

/// Embeddings of every layer beside those of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LayerEmbeddings {
    /// Elements of a layer's embedding.
    pub width: u64,
    /// Rows of the table.
    pub vocab_size: u64,
}

/// Residual streams of Gemma 3n: predicted and corrected around every layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AltUp {
    /// Streams.
    pub streams: u64,
    /// Rank of the residual beside attention.
    pub residual_rank: u64,
}

/// Residual streams that gates mix before every sublayer, and give its output to behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct GatedStreams {
    /// Streams.
    pub streams: u64,
    /// Rank of the gate's matrices.
    pub rank: u64,
}

/// Embeddings of runs of tokens: a table that hashes of runs look up, a projection to keys and values, and a convolution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RunEmbeddings {
    /// Layers that add them, counted from 0.
    pub layers: Vec<u64>,
    /// Rows of each of those layers' tables.
    pub rows: Vec<u64>,
    /// Elements of a row.
    pub row: u64,
    /// Elements of all rows of a token.
    pub width: u64,
    /// Taps of the convolution.
    pub conv_kernel: u64,
}

/// Attention over a window and over compressed keys before it, which serve as values too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Compressed {
    /// Rank of the projection of queries.
    pub q_lora_rank: u64,
    /// Rank of the output's projection, of each group of heads.
    pub o_lora_rank: u64,
    /// Groups of heads at the output.
    pub o_groups: u64,
    /// Tokens that become one key, layer by layer; 0 in layers with the window alone.
    pub ratios: Vec<u64>,
    /// Layers at the start whose experts are chosen by the token's number.
    pub hashed_layers: u64,
}

impl Indexer {
    /// Whether layer `index` has one.
    pub fn is_in(&self, index: u64) -> bool {
        let listed = usize::try_from(index).ok().and_then(|index| self.layers.get(index));
        listed.copied().unwrap_or(self.layers.is_empty())
    }
}

impl Compressed {
    /// Tokens that become one key in layer `index`; nothing in layers with the window alone.
    pub fn ratio(&self, index: u64) -> Option<u64> {
        let ratio = usize::try_from(index).ok().and_then(|index| self.ratios.get(index));
        ratio.copied().filter(|&ratio| ratio > 0)
    }

    /// Whether a compressed layer has an indexer: those that compress little (CSA).
    pub fn has_indexer(&self, index: u64) -> bool {
        self.ratio(index).is_some_and(|ratio| ratio <= OVERLAPPING)
    }
}

/// More elements than any width has.
const WIDTH: u64 = 1 << 24;
/// Up to this ratio compressed keys overlap and an indexer chooses among them (`compressed_sparse_attention`).
const OVERLAPPING: u64 = 16;

impl Extras {
    pub(super) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Checks that the numbers can belong to one model.
    pub(super) fn validate(&self, shape: &ModelShape) -> Result<(), InvalidShape> {
        let check = |field, value: u64, max: u64| {
            if (1..=max).contains(&value) {
                return Ok(());
            }
            Err(InvalidShape { field, value, expected: format!("1 to {max}") })
        };
        check("extras.value_head_dim", self.value_head_dim.unwrap_or(1), WIDTH)?;
        check("extras.latent_experts", self.latent_experts.unwrap_or(1), WIDTH)?;
        check(
            "extras.shared_cache_layers + 1",
            self.shared_cache_layers.saturating_add(1),
            shape.n_layers,
        )?;
        check(
            "extras.activation_parameters + 1",
            self.activation_parameters.saturating_add(1),
            1 << 10,
        )?;
        for &index in &self.cross_layers {
            check("extras.cross_layers + 1", index.saturating_add(1), shape.n_layers)?;
        }
        check("extras.positions + 1", self.positions.saturating_add(1), WIDTH)?;
        check("extras.streams", self.streams.unwrap_or(1), 64)?;
        if let Some(indexer) = &self.indexer {
            check("extras.indexer.n_heads", indexer.n_heads, 1 << 16)?;
            check("extras.indexer.head_dim", indexer.head_dim, 1 << 16)?;
            check("extras.indexer.pooled", indexer.pooled.unwrap_or(1), 1 << 16)?;
            listed("extras.indexer.layers", indexer.layers.len(), shape)?;
        }
        if let Some(convolution) = self.short_convolution {
            check("extras.short_convolution.kernel", convolution.kernel, 1 << 10)?;
        }
        if let Some(embeddings) = self.layer_embeddings {
            check("extras.layer_embeddings.width", embeddings.width, 1 << 16)?;
            check("extras.layer_embeddings.vocab_size", embeddings.vocab_size, WIDTH)?;
        }
        if let Some(alt_up) = self.alt_up {
            check("extras.alt_up.streams", alt_up.streams, 64)?;
            check("extras.alt_up.residual_rank", alt_up.residual_rank, WIDTH)?;
        }
        if let Some(gated) = self.gated_streams {
            check("extras.gated_streams.streams", gated.streams, 64)?;
            check("extras.gated_streams.rank", gated.rank, WIDTH)?;
        }
        if let Some(runs) = &self.run_embeddings {
            check("extras.run_embeddings.row", runs.row, WIDTH)?;
            check("extras.run_embeddings.width", runs.width, WIDTH)?;
            check("extras.run_embeddings.conv_kernel", runs.conv_kernel, 1 << 10)?;
            for &index in &runs.layers {
                check("extras.run_embeddings.layers + 1", index.saturating_add(1), shape.n_layers)?;
            }
            for &rows in &runs.rows {
                check("extras.run_embeddings.rows", rows, 1 << 40)?;
            }
            let (layers, tables) = (to_u64(runs.layers.len()), to_u64(runs.rows.len()));
            if layers != tables {
                let expected = format!("{layers}, one for each of its layers");
                let field = "extras.run_embeddings.rows";
                return Err(InvalidShape { field, value: tables, expected });
            }
        }
        if let Some(compressed) = &self.compressed {
            check("extras.compressed.q_lora_rank", compressed.q_lora_rank, WIDTH)?;
            check("extras.compressed.o_lora_rank", compressed.o_lora_rank, WIDTH)?;
            check("extras.compressed.o_groups", compressed.o_groups, shape.n_heads)?;
            check(
                "extras.compressed.hashed_layers + 1",
                compressed.hashed_layers.saturating_add(1),
                1 << 16,
            )?;
            listed("extras.compressed.ratios", compressed.ratios.len(), shape)?;
        }
        Ok(())
    }
}

/// Checks that a list is empty or has one entry for each layer.
fn listed(field: &'static str, count: usize, shape: &ModelShape) -> Result<(), InvalidShape> {
    let count = to_u64(count);
    if count == 0 || count == shape.n_layers {
        return Ok(());
    }
    let expected = format!("none, or one for each of {} layers", shape.n_layers);
    Err(InvalidShape { field, value: count, expected })
}
