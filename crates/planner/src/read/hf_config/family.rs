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
    if let Some((class, found)) = unmodelled_class(top)? {
        return Err(top.at.unmodelled("architectures", class, found));
    }
    let known = [inner, outer].into_iter().flatten().find_map(Architecture::from_model_type);
    let known = match known {
        None => of_minicpm_v(top, outer.unwrap_or_default()),
        known => known,
    };
    if let Some(architecture) = known {
        let remark = drafter(top)?;
        return Ok(Found { architecture: with_heads(architecture, fields)?, remark });
    }
    let name = inner.or(outer).unwrap_or_default();
    if let Some((class, architecture)) = of_class(fields).or_else(|| of_class(top)) {
        let architecture = with_heads(architecture, fields)?;
        let class = crate::text::printable(class);
        let remark = format!(
            "read as `{architecture}`, by the class `{class}` that its `config.json` names"
        );
        return Ok(Found { architecture, remark: Some(remark) });
    }
    like_llama(top, fields, name)
}

/// A class that is not modelled although its `model_type` is that of another one that is.
fn unmodelled_class(
    top: Fields<'_>,
) -> Result<Option<(&str, &'static unmodelled::Unmodelled)>, SourceError> {
    let classes = top.list("architectures")?.unwrap_or_default();
    Ok(classes.iter().find_map(|class| match class {
        Json::Text(class) => Some((class.as_str(), unmodelled::class(class)?)),
        _ => None,
    }))
}

/// DeepSeek's experts with keys and values of every head, where a file asks for that (DeepSeek-OCR).
fn with_heads(family: Architecture, fields: Fields<'_>) -> Result<Architecture, SourceError> {
    let has_heads = family == Architecture::DeepSeek2 && fields.flag("use_mla")? == Some(false);
    Ok(if has_heads { Architecture::DeepSeek } else { family })
}

/// The language model of `MiniCPM-V` and `-o`, whose numbers stand among those of the file: by its version.
fn of_minicpm_v(top: Fields<'_>, name: &str) -> Option<Architecture> {
    if !matches!(name, "minicpmv" | "minicpmo") {
        return None;
    }
    let version = match top.get("version") {
        Some(Json::Float(version)) => version.to_string(),
        Some(Json::Text(version)) => version.clone(),
        Some(Json::Unsigned(version)) => version.to_string(),
        _ => return None,
    };
    match version.as_str() {
        "2.5" => Some(Architecture::Llama),
        "2.6" => Some(Architecture::Qwen2),
        "4.5" => Some(Architecture::Qwen3),
        _ => None,
    }
}

/// What has to be said of a layer that drafts for another model, whose class says so.
fn drafter(top: Fields<'_>) -> Result<Option<String>, SourceError> {
    const MARKS: [&str; 5] = ["Eagle", "DFlash", "DSpark", "Medusa", "NextN"];
    let classes = top.list("architectures")?.unwrap_or_default();
    let drafts = classes.iter().find_map(|class| match class {
        Json::Text(class) if MARKS.iter().any(|mark| class.contains(mark)) => Some(class),
        _ => None,
    });
    Ok(drafts.map(|class| {
        let class = crate::text::printable(class);
        format!("`{class}` drafts for another model: it is read as a model of its own, with embeddings and a head that it shares or has smaller")
    }))
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
    let foreign = FOREIGN.iter().find_map(|part| fields.keys().find(|key| key.starts_with(part)));
    let stated = ["hidden_size", "num_hidden_layers", "num_attention_heads"];
    let is_encoder = fields.flag("is_encoder_decoder")?.unwrap_or(false);
    let absent = stated.iter().find(|key| fields.get(key).is_none());
    let why = match (foreign, is_encoder, absent) {
        (Some(key), ..) => format!("`{}` is not among those", crate::text::printable(key)),
        (None, true, _) => "an encoder stands beside the decoder".to_owned(),
        (None, false, Some(key)) => format!("no `{key}`"),
        (None, false, None) => String::new(),
    };
    if !why.is_empty() {
        let expected = format!("a family that is known here, or the keys of Llama's layers: {why}");
        if !top.has(KEY) {
            return Err(top.at.missing(KEY, expected));
        }
        let value = format!("\"{}\"", crate::text::printable(name));
        return Err(top.at.invalid(KEY, value, expected));
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
