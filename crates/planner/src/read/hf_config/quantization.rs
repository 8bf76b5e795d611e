//! `quantization_config` of `config.json`, and `hf_quant_config.json` beside it → the format of every layer.
//!
//! Sources: transformers 5.24 `utils/quantization_config.py`; compressed-tensors `quantization/quant_config.py`; `TensorRT`
//! Model Optimizer `torch/export/quant_utils.py`.

use std::collections::BTreeMap;

use crate::dtype::{Beside, KvFormat, Scheme, WeightFormat};
use crate::read::SourceError;
use crate::read::json::{Fields, Json};
use crate::spec::{Checkpoint, Group, OwnFormat};
use crate::text::{ModuleNames, printable, within_model};

/// What a file says of the format of its weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Quantization {
    /// What it calls it, such as `gptq-int4` or `fp8`.
    pub(super) label: String,
    /// The format; nothing where it is none of those that are known.
    pub(super) format: Option<OwnFormat>,
}

/// Weights that share a scale where a file does not say.
const GROUP: u64 = 128;
/// Side of the blocks of 8-bit floats.
const BLOCK: u64 = 128;
/// Weights that share a scale in NVFP4.
const NVFP4_GROUP: u64 = 16;
/// Bits of a ternary weight as it is packed.
const TERNARY: u64 = 2;

/// The format that `object` states; `fields` are those of the language model.
pub(super) fn quantization(
    fields: Fields<'_>,
    object: Fields<'_>,
    plain_bytes: u64,
) -> Result<Quantization, SourceError> {
    let config = Config { fields, object };
    let label = config.label()?;
    let format = match config.named()? {
        Some(format) => Some(OwnFormat::Named(format)),
        None => config.checkpoint(&label, plain_bytes)?.map(|found| {
            let stated = Some(Json::Object(object.object().clone()).to_value());
            OwnFormat::Listed(Box::new(Checkpoint { stated, ..found }))
        }),
    };
    Ok(Quantization { label, format })
}

struct Config<'a> {
    fields: Fields<'a>,
    object: Fields<'a>,
}

impl Config<'_> {
    fn method(&self) -> Result<&str, SourceError> {
        let own = self.object.text("quant_method")?;
        let produced =
            self.object.get("producer").is_some() || self.object.get("quant_algo").is_some();
        let is_awq = self.object.get("w_bit").is_some() && self.object.get("zero_point").is_some();
        let implied = match () {
            () if produced => "modelopt",
            // AutoAWQ's own files.
            () if is_awq => "awq",
            () => "quantized",
        };
        let name = own.unwrap_or(implied);
        // vLLM's names of its kernels for the same formats.
        Ok(name.strip_suffix("_marlin").unwrap_or(name))
    }

    /// Numbers that HQQ's files nest.
    fn nested(&self) -> Result<Option<Fields<'_>>, SourceError> {
        let Some(config) = self.object.child("quant_config")? else { return Ok(None) };
        let config = Fields::new(self.object.at, "quant_config.", config);
        let weights = config.child("weight_quant_params")?;
        Ok(weights.map(|weights| {
            Fields::new(self.object.at, "quant_config.weight_quant_params.", weights)
        }))
    }

    fn bits(&self) -> Result<Option<u64>, SourceError> {
        const KEYS: [&str; 4] = ["bits", "w_bit", "wbits", "nbits"];
        let flag = |key| Ok::<_, SourceError>(self.object.flag(key)?.unwrap_or(false));
        // ExLlama's are a mean over layers.
        if KEYS.iter().any(|key| matches!(self.object.get(key), Some(Json::Float(_)))) {
            return Ok(None);
        }
        match self.object.first_number(&KEYS)? {
            None if flag("load_in_4bit")? => Ok(Some(4)),
            None if flag("load_in_8bit")? => Ok(Some(8)),
            None => match self.nested()? {
                Some(nested) => nested.number("nbits"),
                None => Ok(None),
            },
            bits => Ok(bits),
        }
    }

    fn label(&self) -> Result<String, SourceError> {
        let bits = self.bits()?.map(|bits| format!("-int{bits}")).unwrap_or_default();
        let algorithm = self.object.text("quant_algo")?.or(self.object.text("format")?);
        let algorithm = algorithm.map(|name| format!(" {name}")).unwrap_or_default();
        Ok(printable(&format!("{}{bits}{algorithm}", self.method()?)))
    }

    /// bitsandbytes, whose formats have names here.
    fn named(&self) -> Result<Option<WeightFormat>, SourceError> {
        let loads = ["load_in_4bit", "load_in_8bit"];
        let is_bitsandbytes = loads.iter().any(|key| self.object.get(key).is_some());
        if !self.method()?.starts_with("bitsandbytes") && !is_bitsandbytes {
            return Ok(None);
        }
        let double_quant = self.object.flag("bnb_4bit_use_double_quant")?.unwrap_or(false);
        Ok(match (self.bits()?, self.object.text("bnb_4bit_quant_type")?) {
            (Some(8), _) => Some(WeightFormat::Int8),
            (_, Some("nf4")) => Some(WeightFormat::Nf4 { double_quant }),
            _ => Some(WeightFormat::Fp4 { double_quant }),
        })
    }

    fn checkpoint(&self, label: &str, plain_bytes: u64) -> Result<Option<Checkpoint>, SourceError> {
        let base = self.scheme()?;
        let listed = self.listed()?;
        let mut groups = self.groups()?;
        if groups.is_empty() {
            groups.extend(base.map(|scheme| Group { targets: ModuleNames::default(), scheme }));
        }
        // What a list of layers has no word of is as the method says, or left as it is.
        if !listed.is_empty() {
            groups = match (self.method()?, base) {
                ("fp8", Some(scheme)) => vec![Group { targets: ModuleNames::default(), scheme }],
                _ => Vec::new(),
            };
        }
        let fp4 = self.has_fp4_experts()?;
        if groups.is_empty() && listed.is_empty() {
            return Ok(None);
        }
        Ok(Some(Checkpoint {
            label: label.to_owned(),
            ignored: if listed.is_empty() { self.ignored()? } else { ModuleNames::default() },
            listed,
            groups,
            experts: fp4.then_some(Scheme::Mxfp4),
            kv: self.kv()?,
            plain_bytes,
            stated: None,
        }))
    }

    /// Whether experts are in MXFP4 beside linear layers in 8-bit floats (DeepSeek-V4).
    fn has_fp4_experts(&self) -> Result<bool, SourceError> {
        let is_fp4 =
            |fields: Fields<'_>| Ok::<_, SourceError>(fields.text("expert_dtype")? == Some("fp4"));
        Ok(is_fp4(self.fields)? || is_fp4(self.object)?)
    }

    /// Whether scales are powers of two.
    fn has_powers(&self) -> Result<bool, SourceError> {
        Ok(self.object.text("scale_fmt")? == Some("ue8m0"))
    }

    /// Modules that are left as they are.
    fn ignored(&self) -> Result<ModuleNames, SourceError> {
        const KEYS: [&str; 8] = [
            "modules_to_not_convert",
            "ignore",
            "exclude_modules",
            "ignored_layers",
            "modules_to_not_quantize",
            "exclude",
            "skip_modules",
            "linear_weights_not_to_quantize",
        ];
        let mut names = Vec::new();
        for key in KEYS {
            names.extend(self.object.words(key)?.unwrap_or_default());
        }
        // auto-round lists layers with more bits than the others.
        if let Some(layers) = self.object.child("extra_config").ok().flatten() {
            let is_plain = |value: &&Json| match value {
                Json::Object(layer) => {
                    layer.get("bits").and_then(Json::whole).is_some_and(|bits| bits >= 16)
                }
                _ => false,
            };
            names.extend(
                layers.iter().filter(|(_, value)| is_plain(value)).map(|(name, _)| name.as_str()),
            );
        }
        // GPTQModel's patterns of modules that are left out begin with a minus.
        let dynamic = self.object.child("dynamic").ok().flatten().into_iter().flatten();
        let patterns = dynamic.filter_map(|(name, _)| name.strip_prefix("-:"));
        let patterns: Vec<_> = patterns.map(|pattern| format!("re:{pattern}")).collect();
        Ok(names.into_iter().chain(patterns.iter().map(String::as_str)).collect())
    }

    /// Formats of single modules (`quantized_layers` of modelopt).
    fn listed(&self) -> Result<BTreeMap<String, Scheme>, SourceError> {
        let mut found = BTreeMap::new();
        let Some(layers) = self.object.child("quantized_layers")? else { return Ok(found) };
        for (name, value) in layers {
            let Json::Object(layer) = value else { continue };
            let layer = Fields::new(self.object.at, "quantized_layers.", layer);
            let group = layer.number("group_size")?;
            let scheme = layer.text("quant_algo")?.and_then(|name| algorithm(name, group));
            if let Some(scheme) = scheme {
                found.insert(within_model(name).to_owned(), scheme);
            }
        }
        Ok(found)
    }

    /// Groups of layers (`config_groups` of compressed-tensors and modelopt).
    fn groups(&self) -> Result<Vec<Group>, SourceError> {
        let mut found = Vec::new();
        let Some(groups) = self.object.child("config_groups")? else { return Ok(found) };
        let whole = self.object.text("format")?;
        for value in groups.values() {
            let Json::Object(group) = value else { continue };
            let group = Fields::new(self.object.at, "config_groups.", group);
            let Some(weights) = group.child("weights")? else { continue };
            let weights = Fields::new(self.object.at, "config_groups.weights.", weights);
            let format = group.text("format")?.or(whole);
            let Some(scheme) = compressed(weights, format)? else { continue };
            let targets = group.words("targets")?.unwrap_or_default();
            // A kind of modules, not their names.
            let targets = targets.into_iter().filter(|name| *name != "Linear").collect();
            found.push(Group { targets, scheme });
        }
        Ok(found)
    }

    /// The one format of all layers, by the method.
    fn scheme(&self) -> Result<Option<Scheme>, SourceError> {
        let object = self.object;
        let bits = self.bits()?;
        let group = self.group()?;
        let packed = |bits, beside| Some(Scheme::Packed { bits, group, beside });
        Ok(match self.method()? {
            "fp8" => Some(self.fp8()?),
            "fbgemm_fp8" => Some(Scheme::Fp8Channel),
            "mxfp4" => Some(Scheme::Mxfp4),
            "mxfp8" => Some(Scheme::Mxfp8),
            "nvfp4" | "petit_nvfp4" => Some(Scheme::Nvfp4 { group: NVFP4_GROUP }),
            "fp_quant" => algorithm(object.text("forward_dtype")?.unwrap_or("nvfp4"), None),
            "quark" => self.quark()?,
            "bitnet" => self.bitnet()?,
            "aqlm" => self.aqlm()?,
            "modelopt" | "modelopt_fp4" | "modelopt_mixed" => {
                let nested = object.child("quantization")?;
                let nested = nested.map(|inner| Fields::new(object.at, "quantization.", inner));
                let from = nested.unwrap_or(object);
                let group = from.number("group_size")?;
                from.text("quant_algo")?.and_then(|name| algorithm(name, group))
            }
            "qqq" => packed(bits.unwrap_or(4), Beside::Shape),
            "gptq" | "gptqmodel" | "moe_wna16" => packed(bits.unwrap_or(4), Beside::ZerosAndGroups),
            "awq" | "hqq" => packed(bits.unwrap_or(4), Beside::Zeros),
            "auto-round" | "auto_round" | "intel/auto-round" | "inc" => {
                if let Some(float) = self.rounded_floats(bits)? {
                    return Ok(Some(float));
                }
                let is_awq =
                    object.text("packing_format")?.is_some_and(|name| name.contains("awq"));
                let beside = if is_awq { Beside::Zeros } else { Beside::ZerosAndGroups };
                packed(bits.unwrap_or(4), beside)
            }
            "eetq" => Some(Scheme::Int8Channel),
            "quanto" => of_word(object.text("weights")?.unwrap_or_default()),
            "torchao" => match object.get("quant_type") {
                Some(Json::Text(name)) => of_word(name),
                Some(Json::Object(kinds)) => of_words(&spelled(kinds)),
                _ => None,
            },
            _ => None,
        })
    }

    /// auto-round's floats of few bits; nothing where it rounds to whole numbers.
    fn rounded_floats(&self, bits: Option<u64>) -> Result<Option<Scheme>, SourceError> {
        let kind = self.object.text("data_type")?.unwrap_or("int");
        Ok(match (kind, bits.unwrap_or(4)) {
            ("nv_fp" | "nvfp" | "nv_fp4", _) => Some(Scheme::Nvfp4 { group: NVFP4_GROUP }),
            ("mx_fp" | "mx_fp4", 4) => Some(Scheme::Mxfp4),
            ("mx_fp" | "mx_fp8", 8) => Some(Scheme::Mxfp8),
            ("fp" | "fp8" | "fp8_sym", 8) => Some(Scheme::Fp8Channel),
            _ => None,
        })
    }

    /// AMD's: `weight` of `global_quant_config`, which holds for every layer that is not left out.
    fn quark(&self) -> Result<Option<Scheme>, SourceError> {
        const PREFIX: &str = "global_quant_config.";
        let Some(global) = self.object.child("global_quant_config")? else { return Ok(None) };
        let global = Fields::new(self.object.at, PREFIX, global);
        let Some(weight) = global.child("weight")? else { return Ok(None) };
        let weight = Fields::new(self.object.at, PREFIX, weight);
        let group = weight.number("group_size")?;
        let by_channel = weight.text("qscheme")? == Some("per_channel");
        Ok(match weight.text("dtype")?.unwrap_or_default() {
            "fp4" => Some(Scheme::Mxfp4),
            name if name.starts_with("fp8") && by_channel => Some(Scheme::Fp8Channel),
            name if name.starts_with("fp8") => Some(Scheme::Fp8Tensor),
            "int4" | "uint4" => Some(Scheme::Packed {
                bits: 4,
                group: group.unwrap_or(GROUP),
                beside: Beside::Zeros,
            }),
            "int8" => Some(Scheme::Int8Channel),
            _ => None,
        })
    }

    /// Ternary weights, four to a byte; what is packed when it is loaded lies there in 16 bits.
    fn bitnet(&self) -> Result<Option<Scheme>, SourceError> {
        let is_packed = self.object.text("linear_class")?.is_none_or(|class| class == "bitlinear");
        let packed = Scheme::Packed { bits: TERNARY, group: 0, beside: Beside::Shape };
        Ok(is_packed.then_some(packed))
    }

    /// So many codebooks' words for every group of inputs.
    fn aqlm(&self) -> Result<Option<Scheme>, SourceError> {
        let number =
            |key, default| Ok::<_, SourceError>(self.object.number(key)?.unwrap_or(default));
        let words = number("num_codebooks", 1)?.saturating_mul(number("nbits_per_codebook", 16)?);
        let bits =
            words.checked_div(number("in_group_size", 8)?).filter(|bits| (1..=16).contains(bits));
        Ok(bits.map(|bits| Scheme::Packed { bits, group: 0, beside: Beside::Shape }))
    }

    /// Inputs that share a scale; 0 where all do.
    fn group(&self) -> Result<u64, SourceError> {
        for key in ["group_size", "q_group_size"] {
            match self.object.get(key) {
                None => {}
                // −1: one group.
                Some(Json::Signed(_)) => return Ok(0),
                Some(_) => return Ok(self.object.number(key)?.unwrap_or(GROUP)),
            }
        }
        let nested =
            self.nested()?.map(|nested| nested.number("group_size")).transpose()?.flatten();
        Ok(nested.unwrap_or(GROUP))
    }

    /// transformers' 8-bit floats: in blocks, or one scale a weight.
    fn fp8(&self) -> Result<Scheme, SourceError> {
        let block = self.object.numbers("weight_block_size")?;
        Ok(match block.as_deref() {
            // DeepSeek-V3.1's scales are powers of two in f32.
            Some([rows, columns]) if self.has_fp4_experts()? && self.has_powers()? => {
                Scheme::Fp8PowerBlock { rows: *rows, columns: *columns }
            }
            Some([rows, columns]) => Scheme::Fp8Block { rows: *rows, columns: *columns },
            Some(_) => return Err(self.object.invalid("weight_block_size", "two numbers")),
            None if self.object.has("weight_block_size") => Scheme::Fp8Tensor,
            None if self.object.text("activation_scheme")? == Some("static") => Scheme::Fp8Tensor,
            None if self.object.get("activation_scheme").is_some() => {
                Scheme::Fp8Block { rows: BLOCK, columns: BLOCK }
            }
            None => Scheme::Fp8Tensor,
        })
    }

    /// modelopt's caches in 8 bits, which vLLM respects where nothing else is asked for.
    fn kv(&self) -> Result<Option<KvFormat>, SourceError> {
        if !self.method()?.starts_with("modelopt") {
            return Ok(None);
        }
        let is_eight = match self.object.get("kv_cache_scheme") {
            Some(Json::Text(name)) => name == "FP8",
            Some(Json::Object(scheme)) => scheme.get("num_bits").and_then(Json::whole) == Some(8),
            _ => false,
        };
        let named = self.object.text("kv_cache_quant_algo")?.is_some_and(|name| name == "FP8");
        Ok((is_eight || named).then_some(KvFormat::Fp8))
    }
}

/// modelopt's names of formats.
fn algorithm(name: &str, group: Option<u64>) -> Option<Scheme> {
    let name = name.to_ascii_uppercase();
    let is = |part: &str| name.contains(part);
    Some(match () {
        () if is("NVFP4") => Scheme::Nvfp4 { group: group.unwrap_or(NVFP4_GROUP) },
        () if is("MXFP4") => Scheme::Mxfp4,
        () if is("MXFP8") => Scheme::Mxfp8,
        () if is("FP8_PB") || is("FP8_BLOCK") => Scheme::Fp8Block { rows: BLOCK, columns: BLOCK },
        () if is("FP8_PER_CHANNEL") => Scheme::Fp8Channel,
        () if name.starts_with("FP8") => Scheme::Fp8Tensor,
        () if is("W4A16") || is("W4A8") || is("INT4") => {
            Scheme::Packed { bits: 4, group: group.unwrap_or(GROUP), beside: Beside::Zeros }
        }
        () if is("W8A8") || is("W8A16") || is("INT8") => Scheme::Int8Channel,
        () => return None,
    })
}

/// Formats by the words that quanto and torchao have for them.
fn of_word(word: &str) -> Option<Scheme> {
    let word = word.to_ascii_lowercase();
    let packed = |bits| Scheme::Packed { bits, group: GROUP, beside: Beside::Zeros };
    let is = |part: &str| word.contains(part);
    Some(match () {
        () if is("float8") || is("fp8") => Scheme::Fp8Channel,
        () if is("int8") => Scheme::Int8Channel,
        () if is("int4") => packed(4),
        () if is("int2") => packed(2),
        () => return None,
    })
}

/// The same of a nested description, where weights of few bits may stand beside activations of eight.
fn of_words(words: &str) -> Option<Scheme> {
    if words.contains("weight_dtype") && words.contains("int4") {
        let group = if words.contains("group_size 32") { 32 } else { GROUP };
        return Some(Scheme::Packed { bits: 4, group, beside: Beside::Zeros });
    }
    of_word(words)
}

/// All words of a nested description.
fn spelled(object: &BTreeMap<String, Json>) -> String {
    let mut words = String::new();
    for (key, value) in object {
        words.push_str(key);
        words.push(' ');
        match value {
            Json::Text(text) => words.push_str(text),
            Json::Object(inner) => words.push_str(&spelled(inner)),
            Json::Unsigned(number) => words.push_str(&number.to_string()),
            _ => {}
        }
        words.push(' ');
    }
    words
}

/// The format of a group of compressed-tensors.
fn compressed(weights: Fields<'_>, format: Option<&str>) -> Result<Option<Scheme>, SourceError> {
    let bits = weights.number("num_bits")?.unwrap_or(8);
    let group = match weights.get("group_size") {
        None | Some(Json::Signed(_)) => 0,
        Some(_) => weights.number("group_size")?.unwrap_or(0),
    };
    let strategy = weights.text("strategy")?;
    let is_float = weights.text("type")? == Some("float");
    let symmetric = weights.flag("symmetric")?.unwrap_or(true);
    let block = weights.numbers("block_structure")?;
    let is_mx = format.is_some_and(|format| format.starts_with("mxfp4")) || group == 32;
    Ok(match (is_float, bits) {
        (true, 4) if is_mx => Some(Scheme::Mxfp4),
        (true, 4) => Some(Scheme::Nvfp4 { group: if group == 0 { NVFP4_GROUP } else { group } }),
        (true, 8) => Some(match (strategy, block.as_deref()) {
            (Some("block"), Some([rows, columns])) => {
                Scheme::Fp8Block { rows: *rows, columns: *columns }
            }
            (Some("block"), _) => Scheme::Fp8Block { rows: BLOCK, columns: BLOCK },
            (Some("channel"), _) => Scheme::Fp8Channel,
            (Some("group"), _) if group == 32 => Scheme::Mxfp8,
            _ => Scheme::Fp8Tensor,
        }),
        (false, 8) if format != Some("pack-quantized") => Some(Scheme::Int8Channel),
        (false, 2..=8) => {
            let beside = if symmetric { Beside::Shape } else { Beside::ShapeAndZeros };
            Some(Scheme::Packed { bits, group, beside })
        }
        _ => None,
    })
}

#[cfg(test)]
#[path = "quantization_tests.rs"]
mod tests;
