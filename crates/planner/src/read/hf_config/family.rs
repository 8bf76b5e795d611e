//! Which family a `config.json` is of: by its `model_type`, else by the class that it names, else by its keys.

use crate::read::json::{Fields, Json};
use crate::read::{SourceError, unmodelled};
use crate::spec::Architecture;

const KEY: &str = "model_type";

/// A family, and what has to be said of how it was found.
pub(super) struct Found {
    pub(super) architecture: Architecture,
    pub(super) remark: Option<String>,
}

/// The family of a file whose language model is described by `nested` where there is such an object.
pub(super) fn family(top: Fields<'_>, nested: Option<Fields<'_>>) -> Result<Found, SourceError> {
    let fields = nested.unwrap_or(top);
    let (outer, inner) = (top.text(KEY)?, fields.text(KEY)?);
    // What holds the language model may be out of reach even where its inside is not.
    for name in [outer, inner].into_iter().flatten() {
        if let Some(found) = unmodelled::model_type(name) {
            return Err(top.at.unmodelled(KEY, name, found));
        }
    }
    let known = [inner, outer].into_iter().flatten().find_map(Architecture::from_model_type);
    if let Some(architecture) = known {
        return Ok(Found { architecture, remark: None });
    }
    let name = inner.or(outer).unwrap_or_default();
    if let Some((class, architecture)) = of_class(fields).or_else(|| of_class(top)) {
        let class = crate::text::printable(class);
        let remark = format!(
            "read as `{architecture}`, by the class `{class}` that its `config.json` names"
        );
        return Ok(Found { architecture, remark: Some(remark) });
    }
    like_llama(top, fields, name)
}

/// The family of the class in `architectures`: `DeepseekV3ForCausalLM` is `deepseek_v3`.
fn of_class(fields: Fields<'_>) -> Option<(&str, Architecture)> {
    let Some(Json::List(classes)) = fields.get("architectures") else { return None };
    let Some(Json::Text(class)) = classes.first() else { return None };
    let stem = ["ForCausalLM", "LMHeadModel", "ForConditionalGeneration"]
        .into_iter()
        .find_map(|suffix| class.strip_suffix(suffix))?;
    let stem = stem.to_ascii_lowercase();
    let is = |family: &Architecture| {
        let mut names = family.family().hf.iter();
        names.any(|name| name.chars().filter(|c| *c != '_').eq(stem.chars()))
    };
    Architecture::ALL.iter().copied().find(is).map(|family| (class.as_str(), family))
}

/// Beginnings of keys that tell of layers which no formula for Llama's covers.
const FOREIGN: [&str; 17] = [
    "mamba_",
    "ssm_",
    "state_size",
    "rwkv",
    "linear_num_",
    "linear_attn",
    "linear_key",
    "conv_L_cache",
    "short_conv",
    "lru_width",
    "block_configs",
    "altup_",
    "compress_r",
    "cross_attention_layers",
    "n_embd",
    "d_model",
    "hidden_size_per_layer_input",
];

/// A family that is not known: read by its keys where these are those of Llama's layers.
fn like_llama(top: Fields<'_>, fields: Fields<'_>, name: &str) -> Result<Found, SourceError> {
    let known = || {
        let names: Vec<_> = Architecture::ALL.iter().map(|a| format!("`{a}`")).collect();
        format!("one of {}", names.join(", "))
    };
    let foreign = FOREIGN.iter().find_map(|part| fields.keys().find(|key| key.starts_with(part)));
    let stated = ["hidden_size", "num_hidden_layers", "num_attention_heads"];
    let is_encoder = fields.flag("is_encoder_decoder")?.unwrap_or(false);
    if foreign.is_some() || is_encoder || !stated.iter().all(|key| fields.get(key).is_some()) {
        if !top.has(KEY) {
            return Err(top.at.missing(KEY, known()));
        }
        let value = format!("\"{}\"", crate::text::printable(name));
        return Err(top.at.invalid(KEY, value, known()));
    }
    let is_latent =
        fields.get("kv_lora_rank").is_some() && fields.get("qk_nope_head_dim").is_some();
    let has_indexer = fields.get("index_n_heads").is_some();
    let architecture = match (is_latent, has_indexer) {
        (true, true) => Architecture::DeepSeek32,
        (true, false) => Architecture::DeepSeek2,
        (false, _) => Architecture::LikeLlama,
    };
    let like = if is_latent { "DeepSeek's" } else { "Llama's" };
    let name = crate::text::printable(name);
    let remark = format!(
        "`{name}` is not known: read as {like} layers by the keys of its `config.json`, so biases and norms of its own are not counted"
    );
    Ok(Found { architecture, remark: Some(remark) })
}
