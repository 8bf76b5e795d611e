//! What few families have.

use super::Config;
use crate::read::SourceError;
use crate::read::json::Json;
use crate::spec::families::LayerKinds;
use crate::spec::{
    AltUp, Compressed, Extras, Indexer, LayerEmbeddings, MAX_LAYERS, ShortConvolution,
};

impl Config<'_> {
    pub(super) fn extras(&self, n_layers: u64) -> Result<Extras, SourceError> {
        let family = self.family;
        let head_bias = match family.head_bias {
            Some(key) => self.fields.flag(key)?.unwrap_or(false),
            None => family.head_bias_always,
        };
        let is_compressed = family.layers == LayerKinds::Compressed;
        Ok(Extras {
            value_head_dim: self.value_head_dim()?,
            head_gates: family.head_gates && !self.gates_elements()?,
            indexer: self.indexer(n_layers)?,
            short_convolution: self.short_convolution()?,
            layer_embeddings: self.layer_embeddings()?,
            shared_cache_layers: self.shared_cache_layers()?,
            latent_experts: self
                .fields
                .first_number(&["moe_latent_size", "routed_expert_hidden_size"])?,
            dense_beside_experts: self.has_dense_beside()?,
            head_bias,
            activation_parameters: family.activation_parameters,
            streams: match family.streams {
                Some(default) => Some(self.fields.number("hc_mult")?.unwrap_or(default)),
                None => None,
            },
            alt_up: self.alt_up()?,
            positions: self.positions()?,
            cross_layers: self.cross_layers()?,
            full_rank_gates: self.full_rank_gates()?,
            full_rank_decay: self.has_full_rank_decay()?,
            gated_streams: self.gated_streams()?,
            run_embeddings: self.run_embeddings()?,
            latent_norm: self.fields.flag("latent_moe_use_norm")?.unwrap_or(false),
            block_residuals: self.fields.number("attn_res_block_size")?.is_some_and(|n| n > 0),
            compressed: if is_compressed { Some(self.compressed(n_layers)?) } else { None },
            state_bytes: None,
        })
    }

    /// Whether a delta-net's output gate is one matrix (`linear_attn_config.use_full_rank_gate`).
    fn full_rank_gates(&self) -> Result<bool, SourceError> {
        match self.linear_config()? {
            Some(fields) => Ok(fields.flag("use_full_rank_gate")?.unwrap_or(false)),
            None => self.has_full_rank_decay(),
        }
    }

    /// Whether a delta-net's decay is projected by one matrix, as all of it is in Ling 3 (`no_kda_lora`).
    fn has_full_rank_decay(&self) -> Result<bool, SourceError> {
        let is_grouped =
            self.family.layers == LayerKinds::LatentAndDelta && self.fields.has("layer_group_size");
        Ok(self.fields.flag("no_kda_lora")?.unwrap_or(is_grouped))
    }

    /// Layers that attend to an image alone.
    pub(super) fn cross_layers(&self) -> Result<Vec<u64>, SourceError> {
        const USUAL: [u64; 8] = [3, 8, 13, 18, 23, 28, 33, 38];
        if self.architecture != crate::spec::Architecture::Mllama {
            return Ok(Vec::new());
        }
        let listed = self.fields.numbers("cross_attention_layers")?;
        Ok(listed.unwrap_or_else(|| USUAL.to_vec()))
    }

    /// Learned positions: the context's, and those before the first.
    fn positions(&self) -> Result<u64, SourceError> {
        let Some(before) = self.family.earlier.positions else { return Ok(0) };
        Ok(self.context_len()?.saturating_add(before))
    }

    /// Whether attention's output has a gate of every element where the family's heads have one each: Laguna's `gating`.
    pub(super) fn gates_elements(&self) -> Result<bool, SourceError> {
        const KEY: &str = "gating";
        Ok(match self.fields.get(KEY) {
            None | Some(Json::Bool(true)) => false,
            Some(Json::Text(kind)) if kind == "per-head" => false,
            Some(Json::Text(kind)) if kind == "per-element" => true,
            Some(_) => return Err(self.fields.invalid(KEY, "`true`, `per-head` or `per-element`")),
        })
    }

    /// Of attention with heads; latent attention has it among its own numbers.
    fn value_head_dim(&self) -> Result<Option<u64>, SourceError> {
        if !self.family.windows_have_heads {
            return Ok(None);
        }
        let own = self.fields.number("v_head_dim")?;
        let of_keys = self.fields.number("head_dim")?;
        Ok(own.filter(|_| own != of_keys))
    }

    fn indexer(&self, n_layers: u64) -> Result<Option<Indexer>, SourceError> {
        let Some(kind) = self.family.indexer else { return Ok(None) };
        let nested = self.fields.child("sparse_attention_config")?;
        let nested = nested.map(|object| {
            crate::read::json::Fields::new(self.fields.at, "sparse_attention_config.", object)
        });
        let number = |key, inner, default| {
            let found = match &nested {
                Some(fields) => fields.number(inner)?,
                None => None,
            };
            let own = self.fields.number(key)?;
            Ok::<_, SourceError>(found.or(own).unwrap_or(default))
        };
        let frequency = match &nested {
            Some(fields) => fields.numbers("sparse_attention_freq")?,
            None => None,
        };
        let layers = match frequency {
            Some(list) => {
                self.check_count("sparse_attention_config", list.len(), n_layers)?;
                list.into_iter().map(|sparse| sparse > 0).collect()
            }
            // Every layer that attends has one beside delta-nets, whatever `layer_types` calls it.
            None if self.family.delta_net().is_some() => Vec::new(),
            None if kind.plain => self.sparse_kinds(n_layers)?,
            None => self.indexer_layers(n_layers)?,
        };
        // A list of all is none.
        let all = layers.iter().all(|&has| has);
        Ok(Some(Indexer {
            n_heads: number("index_n_heads", "sparse_num_index_heads", kind.n_heads)?,
            head_dim: number("index_head_dim", "sparse_index_dim", 128)?,
            plain: kind.plain,
            pooled: match kind.pooled {
                Some(default) => Some(self.fields.number("index_kpool")?.unwrap_or(default)),
                None => None,
            },
            layers: if all { Vec::new() } else { layers },
        }))
    }

    /// The layers of MiniMax-M3 that choose blocks.
    fn sparse_kinds(&self, n_layers: u64) -> Result<Vec<bool>, SourceError> {
        let words = self.layer_words("layer_types", n_layers)?.unwrap_or_default();
        Ok(words.into_iter().map(|word| word != "full_attention").collect())
    }

    /// GLM-5's layers with an indexer of their own (`configuration_glm_moe_dsa.py`).
    fn indexer_layers(&self, n_layers: u64) -> Result<Vec<bool>, SourceError> {
        const PATTERN: &str = "index_topk_pattern";
        if let Some(words) = self.layer_words("indexer_types", n_layers)? {
            return Ok(words.into_iter().map(|word| word != "shared").collect());
        }
        if n_layers > MAX_LAYERS {
            return Ok(Vec::new());
        }
        if let Some(Json::Text(pattern)) = self.fields.get(PATTERN) {
            self.check_count(PATTERN, pattern.len(), n_layers)?;
            return Ok(pattern.chars().map(|letter| letter != 'S').collect());
        }
        let every = self.fields.number("index_topk_freq")?.unwrap_or(1).max(1);
        let offset = self.fields.number("index_skip_topk_offset")?.unwrap_or(2);
        let has = |index: u64| (index + 1).saturating_sub(offset).is_multiple_of(every);
        Ok((0..n_layers).map(has).collect())
    }

    fn short_convolution(&self) -> Result<Option<ShortConvolution>, SourceError> {
        if self.family.layers != LayerKinds::Convolution {
            return Ok(None);
        }
        Ok(Some(ShortConvolution {
            kernel: self.fields.number("conv_L_cache")?.unwrap_or(3),
            bias: self.fields.flag("conv_bias")?.unwrap_or(false),
        }))
    }

    /// Width of LFM2's MLPs, which most of its files state before two adjustments (`Lfm2MLP`).
    pub(super) fn convolution_ffn_size(&self) -> Result<u64, SourceError> {
        const KEY: &str = "block_ffn_dim_multiplier";
        let stated = self.fields.first_number(&["block_ff_dim", "intermediate_size"])?;
        let stated =
            stated.ok_or_else(|| self.fields.missing("intermediate_size", "a whole number"))?;
        if !self.fields.flag("block_auto_adjust_ff_dim")?.unwrap_or(self.family.adjusted_ffn) {
            return Ok(stated);
        }
        let times = match self.fields.get(KEY) {
            None => 1.0,
            Some(Json::Float(times)) => *times,
            Some(Json::Unsigned(times)) => f64::from(u8::try_from(*times).unwrap_or(u8::MAX)),
            Some(_) => return Err(self.fields.invalid(KEY, "a number")),
        };
        let thirds = u32::try_from(stated.saturating_mul(2) / 3);
        let thirds = thirds
            .map_err(|_| self.fields.invalid("intermediate_size", "a width that fits in memory"))?;
        if !(0.0..=64.0).contains(&times) {
            return Err(self.fields.invalid(KEY, "a small number"));
        }
        // Truncated as Python's `int` does.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let width = (times * f64::from(thirds)) as u64;
        let multiple = self.fields.number("block_multiple_of")?.unwrap_or(256).max(1);
        width
            .checked_next_multiple_of(multiple)
            .ok_or_else(|| self.fields.invalid("block_multiple_of", "a small number"))
    }

    fn layer_embeddings(&self) -> Result<Option<LayerEmbeddings>, SourceError> {
        const KEY: &str = "hidden_size_per_layer_input";
        let Some(default) = self.family.layer_embeddings else { return Ok(None) };
        let default = if self.fields.has(KEY) { 0 } else { default };
        let width = self.fields.number(KEY)?.unwrap_or(default);
        let vocab_size = self.fields.number("vocab_size_per_layer_input")?.unwrap_or(262_144);
        Ok((width > 0).then_some(LayerEmbeddings { width, vocab_size }))
    }

    pub(super) fn shared_cache_layers(&self) -> Result<u64, SourceError> {
        if self.family.layer_embeddings.is_none() {
            return Ok(0);
        }
        Ok(self.fields.number("num_kv_shared_layers")?.unwrap_or(self.family.shared_cache_layers))
    }

    /// Gemma 4's experts, which the dense MLP stands beside.
    pub(super) fn has_dense_beside(&self) -> Result<bool, SourceError> {
        let asked = self.fields.flag("enable_moe_block")?.unwrap_or(false);
        Ok(asked && self.family.layers == LayerKinds::TwoHeadSizes)
    }

    fn alt_up(&self) -> Result<Option<AltUp>, SourceError> {
        if !self.family.alt_up {
            return Ok(None);
        }
        Ok(Some(AltUp {
            streams: self.fields.number("altup_num_inputs")?.unwrap_or(4),
            residual_rank: self.fields.number("laurel_rank")?.unwrap_or(64),
        }))
    }

    /// DeepSeek-V4's attention (`configuration_deepseek_v4.py`).
    fn compressed(&self, n_layers: u64) -> Result<Compressed, SourceError> {
        let number =
            |key, default| Ok::<_, SourceError>(self.fields.number(key)?.unwrap_or(default));
        Ok(Compressed {
            q_lora_rank: number("q_lora_rank", 1024)?,
            o_lora_rank: number("o_lora_rank", 1024)?,
            o_groups: number("o_groups", 8)?,
            ratios: self.compress_ratios(n_layers)?,
            hashed_layers: number("num_hash_layers", 3)?,
        })
    }

    /// Layers for multi-token prediction are listed behind the others.
    fn compress_ratios(&self, n_layers: u64) -> Result<Vec<u64>, SourceError> {
        const KEY: &str = "compress_ratios";
        if let Some(mut ratios) = self.fields.numbers(KEY)? {
            let behind = self.fields.number("num_nextn_predict_layers")?.unwrap_or(0);
            let count = crate::units::to_u64(ratios.len());
            if count > n_layers && count - n_layers <= behind {
                ratios.truncate(crate::units::at_most(n_layers, ratios.len()));
            }
            self.check_count(KEY, ratios.len(), n_layers)?;
            return Ok(ratios);
        }
        let words = self.layer_words("layer_types", n_layers)?;
        let of = |word: &str| match word {
            "compressed_sparse_attention" => 4,
            "heavily_compressed_attention" => 128,
            _ => 0,
        };
        if let Some(words) = words {
            return Ok(words.into_iter().map(of).collect());
        }
        let usual = |index: u64| if index < 2 || index.is_multiple_of(2) { 128 } else { 4 };
        Ok((0..n_layers.min(MAX_LAYERS)).map(usual).collect())
    }
}
