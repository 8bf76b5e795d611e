//! `config.json` of Hugging Face transformers → [`ModelShape`].
//!
//! Keys and defaults: `models/*/configuration_*.py` of transformers 5.23; biases and norms:
//! `models/*/modeling_*.py`. The width, depth and feed-forward size of a model have to be stated;
//! for the rest what transformers assumes is assumed.

mod experts;
mod family;
mod layers;
mod pruned;
mod quantization;
mod rare;
mod runs;
mod stated;
mod windows;

use std::collections::BTreeMap;
use std::path::Path;

use self::experts::ExpertLayers;
use self::quantization::Quantization;
use super::SourceError;
use super::error::At;
use super::files::{Files, read_bounded};
use super::hf_vision;
use super::json::{self, Fields};
use crate::dtype::WeightFormat;
#[cfg(test)]
use crate::spec::Tower;
use crate::spec::families::{Bias, Family, HfExperts, LayerKinds, SoftCaps};
use crate::spec::{Architecture, Mla, ModelShape, ModelSpec, Moe, OwnFormat, QkNorm};

/// A `config.json`.
#[derive(Clone, Debug, PartialEq)]
pub struct HfConfig {
    /// The language model.
    pub shape: ModelShape,
    /// What it was quantized with, where it was.
    pub quantization: Option<String>,
    /// The format of its weights, as far as it says and is known.
    pub own_format: Option<OwnFormat>,
    /// What has to be said of how it was read: a family that is not known, a part that is not counted.
    pub remarks: Vec<String>,
}

/// No `config.json` of a language model is larger: those that list every quantized module have some megabytes.
const MAX_SIZE: u64 = 32 << 20;

/// Reads a `config.json`.
pub fn read(files: &dyn Files, path: &Path) -> Result<HfConfig, SourceError> {
    let bytes = read_bounded(files, path, MAX_SIZE)?;
    parse(&At::new(path), &bytes)
}

/// Reads a `config.json` as a model; how its weights are stored is not known then.
pub fn model(files: &dyn Files, path: &Path) -> Result<ModelSpec, SourceError> {
    let mut config = read(files, path)?;
    let at = At::new(path);
    let name = crate::text::printable(&name_of(files, path));
    if config.quantization.is_none() {
        beside(files, path, &name, &mut config)?;
    }
    let model = ModelSpec::new(name, config.shape, at.path()).map_err(|error| at.shape(&error))?;
    Ok(ModelSpec { remarks: config.remarks, own_format: config.own_format, ..model })
}

/// What modelopt's `hf_quant_config.json` says of the format, or else the end of the name.
fn beside(
    files: &dyn Files,
    path: &Path,
    name: &str,
    config: &mut HfConfig,
) -> Result<(), SourceError> {
    let beside = path.with_file_name("hf_quant_config.json");
    if files.is_file(&beside) {
        let at = At::new(&beside);
        let object = json::object(&at, &read_bounded(files, &beside, MAX_SIZE)?)?;
        let top = Fields::new(&at, "", &object);
        let inner = top.child("quantization")?;
        let inner = inner.map_or(top, |inner| Fields::new(&at, "quantization.", inner));
        let found = quantization::quantization(inner, inner, 2)?;
        config.quantization = Some(found.label);
        config.own_format = found.format;
        return Ok(());
    }
    let named = super::name_format::split(name).map(|(_, format)| format);
    let Some(format) = named.filter(|format| !matches!(format, WeightFormat::Gguf(_))) else {
        return Ok(());
    };
    if config.own_format != Some(OwnFormat::Named(format)) {
        config.remarks.push(format!(
            "planned as `{format}`, which its name says: its `config.json` does not tell what is quantized"
        ));
        config.own_format = Some(OwnFormat::Named(format));
    }
    Ok(())
}

/// The folder of a `config.json`, as checkpoints are laid out; the stem of any other name.
fn name_of(files: &dyn Files, path: &Path) -> String {
    let absolute = files.absolute(path);
    let folder = absolute.parent().and_then(Path::file_name);
    let name = match absolute.file_name() {
        Some(file) if file == "config.json" => folder.or(Some(file)),
        _ => absolute.file_stem(),
    };
    name.unwrap_or_default().to_string_lossy().into_owned()
}

pub(super) fn parse(at: &At, bytes: &[u8]) -> Result<HfConfig, SourceError> {
    let object = json::object(at, bytes)?;
    let top = Fields::new(at, "", &object);
    let nested = stated::inner(top)?;
    let stated = nested.unwrap_or(top);
    let family::Found { architecture, remark } = family::family(top, nested)?;
    let class = if nested.is_some() { class_of(top, stated)? } else { None };
    let object = stated::completed(stated.object(), architecture.family(), class);
    let fields = Fields::new(at, stated.prefix(), &object);
    let config = Config { architecture, family: architecture.family(), fields, top };
    let language = config.shape()?;
    let beside = hf_vision::beside(top, language.hidden_size)?;
    let shape = ModelShape { vision: beside.vision, parts: beside.parts, ..language };
    shape.validate().map_err(|error| at.shape(&error))?;
    let remarks = remark.into_iter().chain(beside.remarks).collect();
    let own = own_format(top, fields)?;
    let label = own.as_ref().map(|own| own.label.clone()).filter(|label| !label.is_empty());
    let mut remarks: Vec<String> = remarks;
    if let Some(unknown) = own.as_ref().filter(|own| own.format.is_none()) {
        let label = &unknown.label;
        remarks.push(format!(
            "how `{label}` stores weights is not known: planned as if they were not quantized"
        ));
    }
    let own_format = own.and_then(|own| own.format);
    Ok(HfConfig { shape, quantization: label, own_format, remarks })
}

/// The class of a nested language model: its own, else that of the file.
fn class_of<'a>(top: Fields<'a>, nested: Fields<'a>) -> Result<Option<&'a str>, SourceError> {
    Ok(nested.text("model_type")?.or(top.text("model_type")?))
}

/// The format that a `quantization_config` states which stands in a profile.
///
/// # Errors
/// Where it cannot be read, or its format is not known.
pub(super) fn own_format_of(at: &At, stated: &serde_json::Value) -> Result<OwnFormat, SourceError> {
    let object = json::object(at, stated.to_string().as_bytes())?;
    let fields = Fields::new(at, "quantization.", &object);
    let found = quantization::quantization(fields, fields, 2)?;
    found.format.ok_or_else(|| {
        at.invalid("quantization", found.label, "a format that is known, as `config.json` has it")
    })
}

/// What it says of the format of its weights: how it is quantized, or their type.
fn own_format(top: Fields<'_>, fields: Fields<'_>) -> Result<Option<Quantization>, SourceError> {
    // compressed-tensors had another name for it at first.
    const KEYS: [&str; 2] = ["quantization_config", "compression_config"];
    let dtype = dtype(fields)?.or(dtype(top)?);
    for (place, prefix) in
        [(top, "quantization_config."), (fields, "text_config.quantization_config.")]
    {
        let object = match place.child(KEYS[0])? {
            Some(object) => Some(object),
            None => place.child(KEYS[1])?,
        };
        let Some(object) = object.filter(|object| !is_nothing(object)) else { continue };
        let object = Fields::new(top.at, prefix, object);
        let plain_bytes = if dtype == Some(WeightFormat::F32) { 4 } else { 2 };
        return quantization::quantization(fields, object, plain_bytes).map(Some);
    }
    Ok(dtype.map(|format| Quantization {
        label: String::new(),
        format: Some(OwnFormat::Named(format)),
    }))
}

/// Whether an object says of a checkpoint that nothing of it is quantized: pruned weights stored as they are.
fn is_nothing(object: &BTreeMap<String, json::Json>) -> bool {
    object.is_empty() || object.get("format") == Some(&json::Json::Text("dense".to_owned()))
}

/// `dtype`, which was `torch_dtype`.
fn dtype(fields: Fields<'_>) -> Result<Option<WeightFormat>, SourceError> {
    let name = fields.text("dtype")?.or(fields.text("torch_dtype")?);
    Ok(match name.map(|name| name.trim_start_matches("torch.")) {
        Some("bfloat16") => Some(WeightFormat::Bf16),
        Some("float16" | "half") => Some(WeightFormat::F16),
        Some("float32" | "float") => Some(WeightFormat::F32),
        _ => None,
    })
}

struct Config<'a> {
    architecture: Architecture,
    family: &'static Family,
    /// The language model's own fields.
    fields: Fields<'a>,
    /// The file's.
    top: Fields<'a>,
}

impl Config<'_> {
    fn shape(&self) -> Result<ModelShape, SourceError> {
        let family = self.family;
        let hidden_size = self.fields.required("hidden_size")?;
        let n_layers = self.n_layers()?;
        let n_heads = self.fields.number("num_attention_heads")?.unwrap_or(family.defaults.n_heads);
        let mla = self.mla()?;
        let ExpertLayers { moe, listed: sparse } = self.experts(n_layers)?;
        let windows = self.windows(n_layers)?;
        let biases = family.biases;
        let (attention_softcap, logit_softcap) = self.softcaps();
        Ok(ModelShape {
            architecture: self.architecture,
            n_layers,
            hidden_size,
            n_heads,
            kv_heads: if mla.is_some() { n_heads } else { self.kv_heads(n_heads)? },
            head_dim: self.head_dim(mla, hidden_size, n_heads)?,
            ffn_size: self.ffn_size(moe)?,
            vocab_size: self.vocab_size()?,
            context_len: self.context_len()?,
            tied_embeddings: self.tied()?,
            qkv_bias: self.has_bias(biases.qkv)?,
            attn_output_bias: self.has_bias(biases.output)?,
            ffn_bias: self.has_bias(biases.ffn)?,
            qk_norm: self.qk_norm()?,
            norms_per_layer: self.norms_per_layer()?,
            norm_bias: family.norms.bias,
            gated_ffn: family.gated_ffn,
            fused_projections: family.fused_projections,
            attention_sinks: family.attention_sinks,
            attention_output_gate: family.delta_net().is_some_and(|net| net.gates_attention)
                || family.output_gate
                || self.fields.flag("mla_use_output_gate")?.unwrap_or(false)
                || (family.head_gates && self.gates_elements()?),
            attention_softcap,
            logit_softcap,
            per_layer: self.per_layer(n_layers, n_heads, &windows, sparse)?,
            window: windows.window,
            moe,
            mla,
            recurrent: self.recurrent(n_layers)?,
            ssm: self.ssm(hidden_size)?,
            keys_are_values: self.keys_are_values()?,
            vision: None,
            parts: Vec::new(),
            extras: self.extras(n_layers)?,
        })
    }

    /// One less where Falcon's attention and MLP read the same.
    fn norms_per_layer(&self) -> Result<u64, SourceError> {
        let norms = self.family.norms;
        let says = |key, default| Ok::<_, SourceError>(self.fields.flag(key)?.unwrap_or(default));
        // The norms behind HyperCLOVA's sublayers.
        if self.fields.has("use_post_norm") && !says("use_post_norm", true)? {
            return Ok(2);
        }
        if !norms.one_if_parallel || !says("parallel_attn", true)? {
            return Ok(norms.per_layer());
        }
        let is_newer = says("new_decoder_architecture", false)?;
        let one = self.fields.number("num_ln_in_parallel_attn")? == Some(1);
        Ok(if is_newer && !one { 2 } else { 1 })
    }

    /// Nemotron-H counts its layers by their list.
    fn n_layers(&self) -> Result<u64, SourceError> {
        const KEY: &str = "num_hidden_layers";
        if self.family.layers == LayerKinds::OneSublayer && self.fields.get(KEY).is_none() {
            return Ok(crate::units::to_u64(self.sublayers()?.len()));
        }
        // EXAONE 3 has a name of its own for it.
        match self.fields.number("num_layers")? {
            Some(n_layers) if self.fields.get(KEY).is_none() => Ok(n_layers),
            _ => self.fields.required(KEY),
        }
    }

    fn context_len(&self) -> Result<u64, SourceError> {
        let stated = self.fields.number("max_position_embeddings")?;
        Ok(stated.unwrap_or(self.family.defaults.context_len))
    }

    fn vocab_size(&self) -> Result<u64, SourceError> {
        let default =
            if self.is_deepseek_v3()? { 129_280 } else { self.family.defaults.vocab_size };
        Ok(self.fields.number("vocab_size")?.unwrap_or(default))
    }

    /// An absent key is the family's default; `null` means as many as query heads.
    fn kv_heads(&self, n_heads: u64) -> Result<u64, SourceError> {
        const KEY: &str = "num_key_value_heads";
        if let Some(heads) = self.multi_query(n_heads)? {
            return Ok(heads);
        }
        if self.fields.has(KEY) {
            return Ok(self.fields.number(KEY)?.unwrap_or(n_heads));
        }
        Ok(self.family.defaults.kv_heads.unwrap_or(n_heads))
    }

    /// Heads of families that ask for one by a flag (Falcon, `StarCoder`), or for some (`ChatGLM`).
    fn multi_query(&self, n_heads: u64) -> Result<Option<u64>, SourceError> {
        let Some((key, default)) = self.family.earlier.multi_query else { return Ok(None) };
        if self.fields.flag("new_decoder_architecture")?.unwrap_or(false) {
            return Ok(None);
        }
        let is_asked = self.fields.flag(key)?.unwrap_or(default);
        let few = self.fields.number("multi_query_group_num")?.unwrap_or(1);
        Ok(Some(if is_asked { few } else { n_heads }))
    }

    fn head_dim(&self, mla: Option<Mla>, hidden: u64, heads: u64) -> Result<u64, SourceError> {
        if let Some(mla) = mla {
            return Ok(mla.qk_nope_head_dim.saturating_add(mla.qk_rope_head_dim));
        }
        let explicit = self.fields.first_number(&["head_dim", "attention_head_dim"])?;
        // An explicit `null` asks for the quotient even where the family has a default.
        let default = self.family.defaults.head_dim.filter(|_| !self.fields.has("head_dim"));
        if let Some(head_dim) = explicit.or(default) {
            return Ok(head_dim);
        }
        match hidden.checked_div(heads) {
            Some(quotient) if quotient * heads == hidden => Ok(quotient),
            _ => {
                let expected = format!("a divisor of `hidden_size` = {hidden}, or a `head_dim`");
                let field = self.fields.name("num_attention_heads");
                Err(self.fields.at.invalid(&field, heads, expected))
            }
        }
    }

    fn ffn_size(&self, moe: Option<Moe>) -> Result<u64, SourceError> {
        const KEYS: [&str; 4] = [
            "dense_intermediate_size",
            "prefix_dense_intermediate_size",
            "intermediate_size_mlp",
            "intermediate_size",
        ];
        match self.family.layers {
            LayerKinds::StateSpace
                if self.family.experts.hf == HfExperts::Optional && moe.is_none() =>
            {
                return self.granite_shared();
            }
            LayerKinds::Convolution => return self.convolution_ffn_size(),
            // No layer but those that are listed has one as wide as this.
            LayerKinds::Pruned => return self.fields.required("hidden_size"),
            _ => {}
        }
        for key in KEYS {
            // A list has one for each layer.
            if let Some(&widest) = self.fields.numbers(key)?.unwrap_or_default().iter().max() {
                let halves = if self.family.earlier.ffn_halved { 2 } else { 1 };
                return Ok(widest / halves);
            }
        }
        match (moe, self.family.earlier.ffn_times) {
            // Every layer has experts: no layer has a dense MLP.
            (Some(moe), _) if moe.leading_dense_layers == 0 => Ok(moe.expert_ffn_size),
            (_, Some(times)) => {
                let times = self.fields.number("expansion_ratio")?.unwrap_or(times);
                let wide = self.fields.required("hidden_size")?.checked_mul(times);
                wide.ok_or_else(|| {
                    self.fields.invalid("hidden_size", "a width that fits in memory")
                })
            }
            _ => Err(self.fields.missing("intermediate_size", "a whole number")),
        }
    }

    fn tied(&self) -> Result<bool, SourceError> {
        const KEY: &str = "tie_word_embeddings";
        let own = self.fields.flag(KEY)?.or(self.fields.flag("tie_embedding")?);
        let tied = if own.is_some() { own } else { self.top.flag(KEY)? };
        Ok(tied.unwrap_or(self.family.defaults.tied))
    }

    fn qk_norm(&self) -> Result<QkNorm, SourceError> {
        let norms = self.family.norms;
        if !norms.qk_if_asked {
            return Ok(norms.qk);
        }
        for key in ["use_qk_norm", "qk_norm", "qk_layernorm"] {
            if self.fields.flag(key)?.unwrap_or(false) {
                let over_all = self.fields.text("qk_norm_type")? == Some("per_layer");
                return Ok(if over_all { QkNorm::Full } else { norms.qk });
            }
        }
        Ok(QkNorm::None)
    }

    fn has_bias(&self, bias: Bias) -> Result<bool, SourceError> {
        match bias {
            Bias::Always => Ok(true),
            Bias::Stated(key, default) => Ok(self.fields.flag(key)?.unwrap_or(default)),
            Bias::AnyOf(keys) => {
                let flags = keys.iter().map(|key| self.fields.flag(key));
                let flags = flags.collect::<Result<Vec<_>, _>>()?;
                Ok(flags.contains(&Some(true)))
            }
            Bias::Refused(key) if self.fields.flag(key)?.unwrap_or(false) => {
                Err(self.fields.invalid(key, "`false`"))
            }
            Bias::Never | Bias::Refused(_) => Ok(false),
        }
    }

    /// Whether scores and logits are capped.
    fn softcaps(&self) -> (bool, bool) {
        let is_set = |key| match self.family.softcaps {
            SoftCaps::Never => false,
            _ if self.fields.has(key) => self.fields.get(key).is_some(),
            softcaps => softcaps == SoftCaps::Usual,
        };
        (is_set("attn_logit_softcapping"), is_set("final_logit_softcapping"))
    }

    fn is_deepseek_v3(&self) -> Result<bool, SourceError> {
        Ok(self.fields.text("model_type")? == Some("deepseek_v3"))
    }

    fn keys_are_values(&self) -> Result<bool, SourceError> {
        let asked = self.fields.flag("attention_k_eq_v")?.unwrap_or(false);
        Ok(asked && self.family.layers == LayerKinds::TwoHeadSizes)
    }

    fn mla(&self) -> Result<Option<Mla>, SourceError> {
        if !matches!(self.family.layers, LayerKinds::Latent | LayerKinds::LatentAndDelta) {
            return Ok(None);
        }
        Ok(Some(Mla {
            kv_lora_rank: self.fields.required("kv_lora_rank")?,
            q_lora_rank: self.fields.number("q_lora_rank")?,
            qk_nope_head_dim: self.fields.required("qk_nope_head_dim")?,
            qk_rope_head_dim: self.fields.required("qk_rope_head_dim")?,
            v_head_dim: self.fields.required("v_head_dim")?,
            expanded: false,
        }))
    }
}

#[cfg(test)]
#[path = "hf_config_tests.rs"]
mod tests;
