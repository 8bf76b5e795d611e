//! The metadata that llama.cpp's converters write for a model of each family.
//!
//! Keys: `gguf-py/gguf/constants.py`; which of them a family has: `set_gguf_parameters` in llama.cpp's
//! `conversion/*.py` and `load_arch_hparams` in `src/models/*.cpp`.

use super::defaults::defaults;
use super::tokens::vocabulary;
use crate::dtype::WeightFormat;
use crate::read::gguf::{Field, file_type_id};
use crate::spec::families::{HfExperts, StatedScales};
use crate::spec::{ModelShape, ModelSpec};
use crate::units::at_most;

/// Metadata in the order in which it is written.
pub(super) type Metadata = Vec<(String, Field)>;

/// The metadata of a synthetic file of `model` in `format`.
pub(super) fn metadata(model: &ModelSpec, format: WeightFormat, seed: u64) -> Metadata {
    let mut list = List { prefix: model.shape.architecture.gguf_name(), fields: Vec::new() };
    list.general(model, format, seed);
    list.sizes(&model.shape);
    list.positions(&model.shape);
    list.experts(&model.shape);
    list.recurrent(&model.shape);
    list.scales(&model.shape);
    list.tokenizer(&model.shape);
    list.fields
}

struct List {
    prefix: &'static str,
    fields: Metadata,
}

impl List {
    fn add(&mut self, key: &str, field: Field) {
        self.fields.push((key.to_owned(), field));
    }

    fn text(&mut self, key: &str, text: impl Into<String>) {
        self.add(key, Field::Text(text.into()));
    }

    /// A number under the family's own prefix. Shapes are validated far below 32 bits; what is not fits
    /// no runtime.
    fn number(&mut self, key: &str, number: u64) {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        self.add(&format!("{}.{key}", self.prefix), Field::U32(number));
    }

    fn float(&mut self, key: &str, number: f32) {
        self.add(&format!("{}.{key}", self.prefix), Field::F32(number));
    }

    fn flag(&mut self, key: &str, flag: bool) {
        self.add(&format!("{}.{key}", self.prefix), Field::Bool(flag));
    }

    fn general(&mut self, model: &ModelSpec, format: WeightFormat, seed: u64) {
        self.text("general.architecture", self.prefix);
        self.text("general.type", "model");
        // Not the model's own: by it llama.cpp looks for tokens that this vocabulary does not have.
        self.text("general.name", "synthetic");
        self.text("general.basename", model.name.clone());
        self.text(
            "general.description",
            "random weights in the shape of a model, for measuring memory and speed: what it says means \
             nothing; its tokenizer has one token per byte; RoPE base and epsilons are the family's defaults",
        );
        self.add("general.tags", Field::Texts(vec!["synthetic".to_owned()]));
        if let Some(id) = file_type_id(&format.to_string()) {
            self.add("general.file_type", Field::U32(id));
        }
        self.add("general.quantization_version", Field::U32(2));
        self.add("vramplan.synthetic", Field::Bool(true));
        self.add("vramplan.synthetic.seed", Field::U64(seed));
    }

    fn sizes(&mut self, shape: &ModelShape) {
        self.number("block_count", shape.n_layers);
        self.number("context_length", shape.context_len);
        self.number("embedding_length", shape.hidden_size);
        self.number("feed_forward_length", shape.ffn_size);
        self.number("attention.head_count", shape.n_heads);
        self.number("vocab_size", shape.vocab_size);
        let Some(mla) = shape.mla else {
            self.number("attention.head_count_kv", shape.kv_heads);
            self.number("attention.key_length", shape.head_dim);
            self.number("attention.value_length", shape.head_dim);
            return;
        };
        // Latent attention is attention with one head of keys and values, which hold the latent vector.
        self.number("attention.head_count_kv", 1);
        self.number("attention.key_length", mla.kv_lora_rank + mla.qk_rope_head_dim);
        self.number("attention.value_length", mla.kv_lora_rank);
        self.number("attention.key_length_mla", mla.qk_nope_head_dim + mla.qk_rope_head_dim);
        self.number("attention.value_length_mla", mla.v_head_dim);
        self.number("attention.kv_lora_rank", mla.kv_lora_rank);
        if let Some(rank) = mla.q_lora_rank {
            self.number("attention.q_lora_rank", rank);
        }
    }

    fn positions(&mut self, shape: &ModelShape) {
        let defaults = defaults(shape);
        let rotated = match shape.mla {
            Some(mla) => mla.qk_rope_head_dim,
            None => shape.rotated(shape.head_dim),
        };
        self.number("rope.dimension_count", rotated);
        self.float("rope.freq_base", defaults.rope_base);
        let family = shape.architecture.family();
        if family.rope.sections {
            let sections = Field::Numbers(vec![11, 11, 10, 0]);
            self.add(&format!("{}.rope.dimension_sections", self.prefix), sections);
        }
        let epsilon = if family.norms.subtract_mean {
            "attention.layer_norm_epsilon"
        } else {
            "attention.layer_norm_rms_epsilon"
        };
        self.float(epsilon, defaults.epsilon);
        self.window(shape);
    }

    /// Windows, of the families whose windows llama.cpp respects.
    fn window(&mut self, shape: &ModelShape) {
        let Some(usual) = shape.architecture.gguf_window() else { return };
        let Some(window) = shape.window else { return };
        self.number("attention.sliding_window", window.size);
        // Without a full layer every layer is windowed, which llama.cpp writes as a period of 0.
        let period = window.full_every.unwrap_or(0);
        if period != usual.full_every {
            self.number("attention.sliding_window_pattern", period);
        }
    }

    fn experts(&mut self, shape: &ModelShape) {
        let Some(moe) = shape.moe else { return };
        self.number("expert_count", moe.n_experts);
        self.number("expert_used_count", moe.n_experts_used);
        let experts = shape.architecture.family().experts;
        if experts.gguf_width {
            self.number("expert_feed_forward_length", moe.expert_ffn_size);
        }
        if moe.leading_dense_layers > 0 {
            self.number("leading_dense_block_count", moe.leading_dense_layers);
        }
        match experts.hf {
            HfExperts::Leading(_) => {
                let count = moe.shared_ffn_size / moe.expert_ffn_size.max(1);
                self.number("expert_shared_count", count);
                self.routing(shape);
            }
            _ if moe.shared_ffn_size > 0 => {
                self.number("expert_shared_feed_forward_length", moe.shared_ffn_size);
            }
            _ => {}
        }
    }

    /// Experts are chosen by sigmoids where their scores are corrected by a bias, by a softmax otherwise.
    fn routing(&mut self, shape: &ModelShape) {
        let sigmoid = shape.moe.is_some_and(|moe| moe.router_bias);
        self.number("expert_gating_func", if sigmoid { 2 } else { 1 });
        self.flag("expert_weights_norm", sigmoid);
        self.float("expert_weights_scale", if sigmoid { 2.5 } else { 1.0 });
    }

    fn recurrent(&mut self, shape: &ModelShape) {
        let Some(recurrent) = shape.recurrent else { return };
        self.number("ssm.conv_kernel", recurrent.conv_kernel);
        self.number("ssm.state_size", recurrent.key_head_dim);
        self.number("ssm.group_count", recurrent.key_heads);
        self.number("ssm.time_step_rank", recurrent.value_heads);
        self.number("ssm.inner_size", recurrent.value_heads * recurrent.value_head_dim);
        self.number("full_attention_interval", recurrent.full_attention_every);
    }

    /// Factors and caps that a family's files state.
    fn scales(&mut self, shape: &ModelShape) {
        if shape.attention_softcap {
            self.float("attn_logit_softcapping", 50.0);
        }
        if shape.logit_softcap {
            self.float("final_logit_softcapping", 30.0);
        }
        match shape.architecture.family().scales.stated {
            // As Granite 3 publishes them: the class defaults, all 1, leave attention unscaled.
            StatedScales::Granite => {
                #[allow(clippy::cast_precision_loss, reason = "a head has some hundred elements")]
                self.float("attention.scale", 1.0 / shape.head_dim as f32);
                self.float("embedding_scale", 12.0);
                self.float("residual_scale", 0.22);
                self.float("logit_scale", 8.0);
            }
            StatedScales::Logits(scale) => self.float("logit_scale", scale),
            StatedScales::None => {}
        }
    }

    fn tokenizer(&mut self, shape: &ModelShape) {
        let vocabulary = vocabulary(at_most(shape.vocab_size, usize::MAX));
        self.text("tokenizer.ggml.model", "gpt2");
        self.text("tokenizer.ggml.pre", "gpt-2");
        self.add("tokenizer.ggml.tokens", Field::Texts(vocabulary.tokens));
        self.add("tokenizer.ggml.token_type", Field::Numbers(vocabulary.types));
        self.add("tokenizer.ggml.merges", Field::Texts(Vec::new()));
        self.add("tokenizer.ggml.add_bos_token", Field::Bool(false));
        if let Some((begin, end)) = vocabulary.ends {
            self.add("tokenizer.ggml.bos_token_id", Field::U32(begin));
            self.add("tokenizer.ggml.eos_token_id", Field::U32(end));
        }
    }
}
