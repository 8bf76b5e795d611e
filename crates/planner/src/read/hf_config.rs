//! `config.json` of Hugging Face transformers → [`ModelShape`].
//!
//! Keys and defaults: `models/*/configuration_*.py` of transformers 5.23; biases and norms:
//! `models/*/modeling_*.py`. The width, depth and feed-forward size of a model have to be stated;
//! for the rest what transformers assumes is assumed.

use std::collections::BTreeMap;
use std::path::Path;

use super::SourceError;
use super::error::At;
use super::files::{Files, read_bounded};
use super::hf_vision;
use super::json::{self, Fields, Json};
use super::pattern::Full;
use super::unmodelled;
#[cfg(test)]
use crate::spec::Tower;
use crate::spec::families::{Bias, Family, HfExperts, HfWindows, LayerKinds, RouterBias, SoftCaps};
use crate::spec::{
    Architecture, MAX_LAYERS, Mla, ModelShape, ModelSpec, Moe, PerLayer, QkNorm, Recurrent, Ssm,
    Window,
};
use crate::units::to_u64;

/// A `config.json`.
#[derive(Clone, Debug, PartialEq)]
pub struct HfConfig {
    /// The language model.
    pub shape: ModelShape,
    /// What it was quantized with, where it was.
    pub quantization: Option<String>,
}

/// No `config.json` of a language model is larger.
const MAX_SIZE: u64 = 1 << 20;

/// Reads a `config.json`.
pub fn read(files: &dyn Files, path: &Path) -> Result<HfConfig, SourceError> {
    let bytes = read_bounded(files, path, MAX_SIZE)?;
    parse(&At::new(path), &bytes)
}

/// Reads a `config.json` as a model; how its weights are stored is not known then.
pub fn model(files: &dyn Files, path: &Path) -> Result<ModelSpec, SourceError> {
    let config = read(files, path)?;
    let at = At::new(path);
    let name = crate::text::printable(&name_of(files, path));
    ModelSpec::new(name, config.shape, at.path()).map_err(|error| at.shape(&error))
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
    let nested = top.child("text_config")?;
    let architecture = architecture(top, nested)?;
    let fields = match nested {
        Some(text) => Fields::new(at, "text_config.", text),
        None => top,
    };
    let config = Config { architecture, family: architecture.family(), fields, top };
    let shape = ModelShape { vision: hf_vision::vision(top)?, ..config.shape()? };
    shape.validate().map_err(|error| at.shape(&error))?;
    Ok(HfConfig { shape, quantization: quantization(top)? })
}

fn architecture(
    top: Fields<'_>,
    nested: Option<&BTreeMap<String, Json>>,
) -> Result<Architecture, SourceError> {
    const KEY: &str = "model_type";
    let known = || {
        let names: Vec<_> = Architecture::ALL.iter().map(|a| format!("`{a}`")).collect();
        format!("one of {}", names.join(", "))
    };
    let model_type = top.text(KEY)?.ok_or_else(|| top.at.missing(KEY, known()))?;
    let inner = nested.map(|text| Fields::new(top.at, "text_config.", text));
    let inner = inner.map(|text| text.text(KEY)).transpose()?.flatten();
    // What holds the language model may be out of reach even where its inside is not.
    for name in [model_type, inner.unwrap_or(model_type)] {
        if let Some(found) = unmodelled::model_type(name) {
            return Err(top.at.unmodelled(KEY, name, found));
        }
    }
    Architecture::from_model_type(inner.unwrap_or(model_type))
        .ok_or_else(|| top.at.invalid(KEY, format!("\"{}\"", inner.unwrap_or(model_type)), known()))
}

/// `quantization_config`, as a label such as `gptq-int4` or `fp8`.
fn quantization(top: Fields<'_>) -> Result<Option<String>, SourceError> {
    let Some(object) = top.child("quantization_config")? else { return Ok(None) };
    let fields = Fields::new(top.at, "quantization_config.", object);
    let flag = |key| Ok::<_, SourceError>(fields.flag(key)?.unwrap_or(false));
    let bits = match fields.number("bits")? {
        None if flag("load_in_4bit")? => Some(4),
        None if flag("load_in_8bit")? => Some(8),
        bits => bits,
    };
    let method = fields.text("quant_method")?.unwrap_or("quantized");
    let bits = bits.map(|bits| format!("-int{bits}")).unwrap_or_default();
    Ok(Some(crate::text::printable(&format!("{method}{bits}"))))
}

/// What `layer_types` calls a layer with a window.
const SLIDING: &str = "sliding_attention";

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
        self.refuse_parts()?;
        let family = self.family;
        let hidden_size = self.fields.required("hidden_size")?;
        let n_layers = self.fields.required("num_hidden_layers")?;
        let n_heads = self.fields.number("num_attention_heads")?.unwrap_or(family.defaults.n_heads);
        let mla = self.mla()?;
        let moe = self.moe(n_layers)?;
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
            context_len: self
                .fields
                .number("max_position_embeddings")?
                .unwrap_or(family.defaults.context_len),
            tied_embeddings: self.tied()?,
            qkv_bias: self.has_bias(biases.qkv)?,
            attn_output_bias: self.has_bias(biases.output)?,
            ffn_bias: self.has_bias(biases.ffn)?,
            qk_norm: self.qk_norm()?,
            norms_per_layer: family.norms.per_layer(),
            norm_bias: family.norms.bias,
            gated_ffn: family.gated_ffn,
            fused_projections: family.fused_projections,
            attention_sinks: family.attention_sinks,
            attention_output_gate: family.delta_net().is_some(),
            attention_softcap,
            logit_softcap,
            window: self.window(n_layers)?,
            moe,
            mla,
            recurrent: self.recurrent(n_layers)?,
            ssm: self.ssm(hidden_size)?,
            keys_are_values: self.keys_are_values()?,
            per_layer: self.per_layer(n_layers, n_heads)?,
            vision: None,
        })
    }

    fn vocab_size(&self) -> Result<u64, SourceError> {
        let default =
            if self.is_deepseek_v3()? { 129_280 } else { self.family.defaults.vocab_size };
        Ok(self.fields.number("vocab_size")?.unwrap_or(default))
    }

    /// An absent key is the family's default; `null` means as many as query heads.
    fn kv_heads(&self, n_heads: u64) -> Result<u64, SourceError> {
        const KEY: &str = "num_key_value_heads";
        if self.fields.has(KEY) {
            return Ok(self.fields.number(KEY)?.unwrap_or(n_heads));
        }
        Ok(self.family.defaults.kv_heads.unwrap_or(n_heads))
    }

    fn head_dim(&self, mla: Option<Mla>, hidden: u64, heads: u64) -> Result<u64, SourceError> {
        if let Some(mla) = mla {
            return Ok(mla.qk_nope_head_dim.saturating_add(mla.qk_rope_head_dim));
        }
        let explicit = self.fields.number("head_dim")?;
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
        const KEY: &str = "intermediate_size";
        if self.family.experts.hf == HfExperts::Optional && moe.is_none() {
            return self.granite_shared();
        }
        match (self.fields.number(KEY)?, moe) {
            (Some(n), _) => Ok(n),
            // Every layer has experts: no layer has a dense MLP.
            (None, Some(moe)) if moe.leading_dense_layers == 0 => Ok(moe.expert_ffn_size),
            (None, _) => Err(self.fields.missing(KEY, "a whole number")),
        }
    }

    fn tied(&self) -> Result<bool, SourceError> {
        const KEY: &str = "tie_word_embeddings";
        let own = self.fields.flag(KEY)?;
        let tied = if own.is_some() { own } else { self.top.flag(KEY)? };
        Ok(tied.unwrap_or(self.family.defaults.tied))
    }

    fn qk_norm(&self) -> Result<QkNorm, SourceError> {
        let norms = self.family.norms;
        let asked = !norms.qk_if_asked || self.fields.flag("use_qk_norm")?.unwrap_or(false);
        Ok(if asked { norms.qk } else { QkNorm::None })
    }

    fn has_bias(&self, bias: Bias) -> Result<bool, SourceError> {
        match bias {
            Bias::Always => Ok(true),
            Bias::Stated(key, default) => Ok(self.fields.flag(key)?.unwrap_or(default)),
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

    fn window(&self, n_layers: u64) -> Result<Option<Window>, SourceError> {
        const KEY: &str = "sliding_window";
        let full = self.full_layers(n_layers)?;
        if full == Full::Every(1) {
            return Ok(None);
        }
        let stated = self.fields.has(KEY);
        let size = if stated { self.fields.number(KEY)? } else { self.family.windows.hf_size };
        Ok(size.and_then(|size| full.window(size)))
    }

    /// The layers without a window.
    fn full_layers(&self, n_layers: u64) -> Result<Full, SourceError> {
        const ALL: Full = Full::Every(1);
        let used =
            || Ok::<_, SourceError>(self.fields.flag("use_sliding_window")?.unwrap_or(false));
        let listed = || self.layer_types(n_layers, SLIDING);
        match self.family.windows.hf {
            HfWindows::None => Ok(ALL),
            HfWindows::Every => Ok(Full::Never),
            HfWindows::AllBut(every) => Ok(listed()?.unwrap_or(Full::Every(every))),
            HfWindows::AllButStated(every) => {
                let every = self.fields.number("sliding_window_pattern")?.unwrap_or(every);
                Ok(listed()?.unwrap_or(Full::Every(every)))
            }
            _ if !used()? => Ok(ALL),
            HfWindows::EveryIfUsed => Ok(Full::Never),
            HfWindows::FromLayerIfUsed | HfWindows::BeforeLayerIfUsed => match listed()? {
                Some(full) => Ok(full),
                None => self.max_window_layers(n_layers),
            },
        }
    }

    /// Qwen2 and Qwen3 put windows on the layers from `max_window_layers` on, Qwen2-MoE on every
    /// other layer before it.
    fn max_window_layers(&self, n_layers: u64) -> Result<Full, SourceError> {
        const KEY: &str = "max_window_layers";
        let limit = self.fields.number(KEY)?.unwrap_or(28);
        let before = self.family.windows.hf == HfWindows::BeforeLayerIfUsed;
        match limit {
            0 => Ok(if before { Full::Every(1) } else { Full::Never }),
            _ if limit >= n_layers => Ok(Full::Every(if before { 2 } else { 1 })),
            _ => {
                let expected = format!("0, or at least `num_hidden_layers` = {n_layers}");
                Err(self.fields.at.invalid(&self.fields.name(KEY), limit, expected))
            }
        }
    }

    /// The layers of `layer_types` that are `full_attention` rather than `other`.
    fn layer_types(&self, n_layers: u64, other: &str) -> Result<Option<Full>, SourceError> {
        const KEY: &str = "layer_types";
        let Some(list) = self.fields.list(KEY)? else { return Ok(None) };
        if u64::try_from(list.len()) != Ok(n_layers) {
            return Err(self
                .fields
                .invalid(KEY, format!("one kind for each of {n_layers} layers")));
        }
        let mut full = Vec::new();
        for kind in list {
            full.push(match kind {
                Json::Text(kind) if kind == "full_attention" => true,
                Json::Text(kind) if kind == other => false,
                kind => {
                    let expected = format!("`full_attention` or `{other}`");
                    return Err(self.fields.at.invalid(&self.fields.name(KEY), kind, expected));
                }
            });
        }
        Full::of(&full)
            .map(Some)
            .ok_or_else(|| self.fields.invalid(KEY, "every Nth layer with full attention"))
    }

    fn moe(&self, n_layers: u64) -> Result<Option<Moe>, SourceError> {
        let experts = self.family.experts;
        let moe = match experts.hf {
            HfExperts::None => return Ok(None),
            HfExperts::Plain => self.moe_of("intermediate_size", 0, 0)?,
            HfExperts::Listed => {
                self.moe_of("moe_intermediate_size", 0, self.dense_layers(n_layers)?)?
            }
            HfExperts::ListedAndShared => {
                let shared = self.fields.required("shared_expert_intermediate_size")?;
                Moe {
                    shared_gate: shared > 0,
                    ..self.moe_of("moe_intermediate_size", shared, self.dense_layers(n_layers)?)?
                }
            }
            HfExperts::Leading(default) => self.deepseek_moe(default)?,
            HfExperts::Optional if self.fields.number("num_local_experts")? == Some(0) => {
                return Ok(None);
            }
            HfExperts::Optional => self.moe_of("intermediate_size", self.granite_shared()?, 0)?,
        };
        let router_bias = match experts.router_bias {
            RouterBias::None => false,
            RouterBias::Linear | RouterBias::Correction => true,
            RouterBias::CorrectionInSome => self.is_deepseek_v3()?,
        };
        Ok(Some(Moe { router_bias, expert_bias: experts.bias, ..moe }))
    }

    fn moe_of(&self, size: &str, shared: u64, dense: u64) -> Result<Moe, SourceError> {
        Ok(Moe {
            n_experts: self.n_experts()?,
            n_experts_used: self.fields.required("num_experts_per_tok")?,
            expert_ffn_size: self.fields.required(size)?,
            shared_ffn_size: shared,
            shared_gate: false,
            leading_dense_layers: dense,
            router_bias: false,
            expert_bias: false,
        })
    }

    /// Families, and versions of transformers, differ in the name.
    fn n_experts(&self) -> Result<u64, SourceError> {
        for key in ["num_experts", "num_local_experts", "n_routed_experts"] {
            if let Some(n) = self.fields.number(key)? {
                return Ok(n);
            }
        }
        Err(self.fields.missing("num_experts", "a whole number"))
    }

    /// The dense layers of Qwen's families, which can lie anywhere but are modelled at the start.
    fn dense_layers(&self, n_layers: u64) -> Result<u64, SourceError> {
        const KEY: &str = "mlp_only_layers";
        self.every_layer("decoder_sparse_step")?;
        let list = self.fields.list(KEY)?.unwrap_or_default();
        let leading = list.iter().zip(0..n_layers).all(|(item, n)| *item == Json::Unsigned(n));
        let count = to_u64(list.len());
        if leading && count < n_layers {
            return Ok(count);
        }
        Err(self.fields.invalid(KEY, "none, or the first layers in order"))
    }

    /// Checks that every layer has experts as far as `key` says.
    fn every_layer(&self, key: &str) -> Result<(), SourceError> {
        match self.fields.number(key)? {
            None | Some(1) => Ok(()),
            Some(_) => Err(self.fields.invalid(key, "1: experts in every layer")),
        }
    }

    fn deepseek_moe(&self, default: u64) -> Result<Moe, SourceError> {
        self.every_layer("moe_layer_freq")?;
        let default = if self.is_deepseek_v3()? { 3 } else { default };
        let dense = self.fields.number("first_k_dense_replace")?.unwrap_or(default);
        let moe = self.moe_of("moe_intermediate_size", 0, dense)?;
        let shared = self.fields.number("n_shared_experts")?.unwrap_or(0);
        let shared_ffn_size = shared.checked_mul(moe.expert_ffn_size).ok_or_else(|| {
            self.fields.invalid("n_shared_experts", "a number of experts that fits in memory")
        })?;
        Ok(Moe { shared_ffn_size, ..moe })
    }

    fn is_deepseek_v3(&self) -> Result<bool, SourceError> {
        Ok(self.fields.text("model_type")? == Some("deepseek_v3"))
    }

    /// Parts of a family that no formula covers, refused by the field that asks for them.
    fn refuse_parts(&self) -> Result<(), SourceError> {
        if self.family.layers != LayerKinds::TwoHeadSizes {
            return Ok(());
        }
        let default = if self.fields.has("hidden_size_per_layer_input") { 0 } else { 256 };
        for (key, default, what) in [
            ("hidden_size_per_layer_input", default, "embeddings of every layer"),
            ("num_kv_shared_layers", 0, "layers that share a cache"),
        ] {
            let found = self.fields.number(key)?.unwrap_or(default);
            if found > 0 {
                let what = format!("`{}` = {found}: {what}", self.fields.name(key));
                return Err(self.fields.at.unsupported(what, "0: Gemma 4 without them"));
            }
        }
        if self.fields.flag("enable_moe_block")?.unwrap_or(false) {
            let what = format!(
                "`{}` = true: experts beside a dense MLP",
                self.fields.name("enable_moe_block")
            );
            return Err(self.fields.at.unsupported(what, "`false`: Gemma 4 without experts"));
        }
        Ok(())
    }

    fn keys_are_values(&self) -> Result<bool, SourceError> {
        let asked = self.fields.flag("attention_k_eq_v")?.unwrap_or(false);
        Ok(asked && self.family.layers == LayerKinds::TwoHeadSizes)
    }

    /// The shared MLP of Granite's hybrids, which every layer has.
    fn granite_shared(&self) -> Result<u64, SourceError> {
        Ok(self.fields.number("shared_intermediate_size")?.unwrap_or(1024))
    }

    fn ssm(&self, hidden_size: u64) -> Result<Option<Ssm>, SourceError> {
        if self.family.layers != LayerKinds::StateSpace {
            return Ok(None);
        }
        if self.fields.flag("mamba_proj_bias")?.unwrap_or(false) {
            return Err(self.fields.invalid("mamba_proj_bias", "`false`"));
        }
        let number =
            |key, default| Ok::<_, SourceError>(self.fields.number(key)?.unwrap_or(default));
        let expand = number("mamba_expand", 2)?;
        let inner_size = expand.checked_mul(hidden_size);
        let ssm = Ssm {
            inner_size: inner_size
                .ok_or_else(|| self.fields.invalid("mamba_expand", "a small number"))?,
            state_size: number("mamba_d_state", 256)?,
            n_groups: number("mamba_n_groups", 1)?,
            n_heads: number("mamba_n_heads", 128)?,
            conv_kernel: number("mamba_d_conv", 4)?,
            conv_bias: self.fields.flag("mamba_conv_bias")?.unwrap_or(true),
        };
        Ok(Some(ssm))
    }

    /// Numbers that differ from layer to layer: Gemma 4's full layers, Granite's layers without attention.
    fn per_layer(&self, n_layers: u64, n_heads: u64) -> Result<Option<PerLayer>, SourceError> {
        let lists = match self.family.layers {
            LayerKinds::TwoHeadSizes => self.gemma4_layers(n_layers)?,
            LayerKinds::StateSpace => self.granite_layers(n_layers, n_heads)?,
            LayerKinds::Attention | LayerKinds::Latent | LayerKinds::DeltaNet(_) => {
                return Ok(None);
            }
        };
        Ok((lists != PerLayer::default()).then_some(lists))
    }

    fn gemma4_layers(&self, n_layers: u64) -> Result<PerLayer, SourceError> {
        if self.fields.get("per_layer_config").is_some() {
            return Err(self
                .fields
                .invalid("per_layer_config", "none: `global_head_dim` and the like"));
        }
        let head_dim = self.fields.number("head_dim")?.unwrap_or(256);
        let kv_heads = self.kv_heads(0)?;
        let full_dim = self.fields.number("global_head_dim")?.unwrap_or(512);
        let full_heads = match self.fields.number("num_global_key_value_heads")? {
            Some(heads) if self.keys_are_values()? => heads,
            _ => kv_heads,
        };
        let full = self.full_layers(n_layers)?;
        if n_layers > MAX_LAYERS {
            return Ok(PerLayer::default());
        }
        let pick = |of_full: u64, windowed: u64| {
            let of = |index| if full.holds(index) { of_full } else { windowed };
            ModelShape::list_of((0..n_layers).map(of).collect())
        };
        Ok(PerLayer {
            kv_heads: pick(full_heads, kv_heads),
            head_dim: pick(full_dim, head_dim),
            ..PerLayer::default()
        })
    }

    fn granite_layers(&self, n_layers: u64, n_heads: u64) -> Result<PerLayer, SourceError> {
        const KEY: &str = "layer_types";
        let kv_heads = self.kv_heads(n_heads)?;
        let list = self.fields.list(KEY)?.unwrap_or_default();
        if u64::try_from(list.len()) != Ok(n_layers) || n_layers > MAX_LAYERS {
            return Err(self
                .fields
                .invalid(KEY, format!("one kind for each of {n_layers} layers")));
        }
        let mut heads = Vec::with_capacity(list.len());
        for kind in list {
            heads.push(match kind {
                Json::Text(kind) if kind == "mamba" || kind == "linear_attention" => 0,
                Json::Text(kind) if kind == "attention" || kind == "full_attention" => kv_heads,
                kind => {
                    let expected = "`mamba` or `attention`";
                    return Err(self.fields.at.invalid(&self.fields.name(KEY), kind, expected));
                }
            });
        }
        Ok(PerLayer { kv_heads: heads, ..PerLayer::default() })
    }

    fn mla(&self) -> Result<Option<Mla>, SourceError> {
        if self.family.layers != LayerKinds::Latent {
            return Ok(None);
        }
        Ok(Some(Mla {
            kv_lora_rank: self.fields.required("kv_lora_rank")?,
            q_lora_rank: self.fields.number("q_lora_rank")?,
            qk_nope_head_dim: self.fields.required("qk_nope_head_dim")?,
            qk_rope_head_dim: self.fields.required("qk_rope_head_dim")?,
            v_head_dim: self.fields.required("v_head_dim")?,
        }))
    }

    fn recurrent(&self, n_layers: u64) -> Result<Option<Recurrent>, SourceError> {
        if self.family.delta_net().is_none() {
            return Ok(None);
        }
        let number =
            |key, default| Ok::<_, SourceError>(self.fields.number(key)?.unwrap_or(default));
        let full_attention_every = match self.layer_types(n_layers, "linear_attention")? {
            Some(Full::Every(every)) => every,
            Some(Full::Never) => {
                return Err(self.fields.invalid("layer_types", "some full attention"));
            }
            None => number("full_attention_interval", 4)?,
        };
        Ok(Some(Recurrent {
            full_attention_every,
            key_heads: number("linear_num_key_heads", 16)?,
            value_heads: number("linear_num_value_heads", 32)?,
            key_head_dim: number("linear_key_head_dim", 128)?,
            value_head_dim: number("linear_value_head_dim", 128)?,
            conv_kernel: number("linear_conv_kernel_dim", 4)?,
        }))
    }
}

#[cfg(test)]
#[path = "hf_config_tests.rs"]
mod tests;
