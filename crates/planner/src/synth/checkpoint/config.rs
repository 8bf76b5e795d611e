//! A `config.json` for a shape.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::super::SynthError;
use super::super::defaults::defaults;
use crate::dtype::WeightFormat;
use crate::read::{MemoryFiles, hf_config};
use crate::spec::families::{Bias, HfExperts, HfWindows};
use crate::spec::{ModelShape, ModelSpec, Moe};

/// The text of a `config.json` that states the shape of `model`, for weights in `format`.
///
/// # Errors
/// Where what was written would not be read as the same shape: then a model's own has to be taken.
pub fn config(model: &ModelSpec, format: WeightFormat) -> Result<String, SynthError> {
    let model_types = model.shape.architecture.family().hf;
    // Families with several names differ in defaults: the one that says the same is meant.
    let texts = model_types.iter().map(|name| text(&model.shape, name, format));
    let says_the_same = |text: &String| {
        let path = PathBuf::from("config.json");
        let files = MemoryFiles::from([(path.clone(), text.clone().into_bytes())]);
        hf_config::read(&files, &path).is_ok_and(|read| read.shape == model.shape)
    };
    texts.into_iter().find(says_the_same).ok_or_else(|| {
        SynthError::not_in_checkpoints(model, "a shape that is not put into a `config.json`")
    })
}

fn text(shape: &ModelShape, model_type: &str, format: WeightFormat) -> String {
    let mut fields = Map::new();
    let mut add = |key: &str, value: Value| {
        fields.insert(key.to_owned(), value);
    };
    let assumed = defaults(shape);
    add("architectures", json!([class_name(model_type)]));
    add("model_type", json!(model_type));
    add("torch_dtype", json!(torch_name(format)));
    add("hidden_size", json!(shape.hidden_size));
    add("intermediate_size", json!(shape.ffn_size));
    add("num_hidden_layers", json!(shape.n_layers));
    add("num_attention_heads", json!(shape.n_heads));
    add("num_key_value_heads", json!(shape.kv_heads));
    add("vocab_size", json!(shape.vocab_size));
    add("max_position_embeddings", json!(shape.context_len));
    add("tie_word_embeddings", json!(shape.tied_embeddings));
    add("hidden_act", json!("silu"));
    add("rms_norm_eps", json!(shortest(assumed.epsilon)));
    add("rope_theta", json!(shortest(assumed.rope_base)));
    add("bos_token_id", json!(super::tokenizer::BEGIN));
    add("eos_token_id", json!(super::tokenizer::END));
    add("pad_token_id", Value::Null);
    if shape.mla.is_none() {
        add("head_dim", json!(shape.head_dim));
    }
    windows(shape, &mut add);
    biases(shape, &mut add);
    latent(shape, &mut add);
    if let Some(moe) = shape.moe {
        experts(shape, moe, &mut add);
    }
    format!("{:#}\n", Value::Object(fields))
}

/// The decimal number that an `f32` was written as.
fn shortest(number: f32) -> f64 {
    number.to_string().parse().unwrap_or_else(|_| f64::from(number))
}

fn windows(shape: &ModelShape, add: &mut impl FnMut(&str, Value)) {
    let size = shape.window.map(|window| window.size);
    match shape.architecture.family().windows.hf {
        // Families with the last of these are not written.
        HfWindows::None | HfWindows::Compressed => {}
        HfWindows::Chunks => add("attention_chunk_size", json!(size)),
        HfWindows::Every
        | HfWindows::AllBut(_)
        | HfWindows::AllButStated(_)
        | HfWindows::FirstAndEvery(_)
        | HfWindows::AllButFirstOf(_)
        | HfWindows::Listed
        | HfWindows::Stated => {
            add("sliding_window", json!(size));
        }
        HfWindows::EveryIfUsed | HfWindows::FromLayerIfUsed | HfWindows::BeforeLayerIfUsed => {
            add("use_sliding_window", json!(size.is_some()));
            add("sliding_window", json!(size));
        }
    }
}

fn biases(shape: &ModelShape, add: &mut impl FnMut(&str, Value)) {
    let family = shape.architecture.family();
    let stated = [
        (family.biases.qkv, shape.qkv_bias),
        (family.biases.output, shape.attn_output_bias),
        (family.biases.ffn, shape.ffn_bias),
    ];
    for (bias, has) in stated {
        if let Bias::Stated(key, _) = bias {
            add(key, json!(has));
        }
    }
    if family.norms.qk_if_asked {
        add("use_qk_norm", json!(shape.qk_norm != crate::spec::QkNorm::None));
    }
}

fn latent(shape: &ModelShape, add: &mut impl FnMut(&str, Value)) {
    let Some(mla) = shape.mla else { return };
    add("kv_lora_rank", json!(mla.kv_lora_rank));
    add("q_lora_rank", json!(mla.q_lora_rank));
    add("qk_nope_head_dim", json!(mla.qk_nope_head_dim));
    add("qk_rope_head_dim", json!(mla.qk_rope_head_dim));
    add("v_head_dim", json!(mla.v_head_dim));
}

fn experts(shape: &ModelShape, moe: Moe, add: &mut impl FnMut(&str, Value)) {
    let kind = shape.architecture.family().experts.hf;
    let count = match kind {
        HfExperts::Plain => "num_local_experts",
        HfExperts::Leading(_) => "n_routed_experts",
        _ => "num_experts",
    };
    add(count, json!(moe.n_experts));
    add("num_experts_per_tok", json!(moe.n_experts_used));
    if kind != HfExperts::Plain {
        add("moe_intermediate_size", json!(moe.expert_ffn_size));
    }
    match kind {
        HfExperts::ListedAndShared => {
            add("shared_expert_intermediate_size", json!(moe.shared_ffn_size));
        }
        HfExperts::Leading(_) => {
            let shared = moe.shared_ffn_size.checked_div(moe.expert_ffn_size).unwrap_or(0);
            add("n_shared_experts", json!(shared));
            add("first_k_dense_replace", json!(moe.leading_dense_layers));
        }
        _ => {}
    }
    if matches!(kind, HfExperts::Listed | HfExperts::ListedAndShared) {
        let dense: Vec<u64> = (0..moe.leading_dense_layers).collect();
        add("mlp_only_layers", json!(dense));
        add("decoder_sparse_step", json!(1));
    }
}

fn torch_name(format: WeightFormat) -> &'static str {
    match format {
        WeightFormat::F16 => "float16",
        WeightFormat::F32 => "float32",
        _ => "bfloat16",
    }
}

/// `Qwen3MoeForCausalLM` of `qwen3_moe`.
fn class_name(model_type: &str) -> String {
    // The only one whose words are not simply put together.
    if model_type == "smollm3" {
        return "SmolLM3ForCausalLM".to_owned();
    }
    let words = model_type.trim_end_matches("_text").split('_');
    let capital = |word: &str| {
        let mut letters = word.chars();
        let first = letters.next().map(|c| c.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    };
    words.map(capital).collect::<String>() + "ForCausalLM"
}
