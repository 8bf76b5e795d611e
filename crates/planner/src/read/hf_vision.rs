//! `vision_config` of a multimodal `config.json` → [`Vision`].
//!
//! Keys and defaults: `models/*/configuration_*.py` of transformers 5.23. The largest image is what the
//! family's processor makes of one, which stands in another file (`preprocessor_config.json`): the
//! published checkpoints' is assumed.

use super::json::Fields;
use super::{SourceError, hf_parts};
use crate::spec::{ModelPart, Tower, Vision};
use crate::units::to_u64;

/// Parts of a checkpoint that take memory and that no formula covers.
const UNMODELLED: [&str; 4] = ["talker_config", "code2wav_config", "vq_config", "perceiver_config"];

/// What stands beside the language model.
#[derive(Default)]
pub(super) struct Beside {
    /// The tower, where its work is known.
    pub(super) vision: Option<Vision>,
    /// Parts whose tensors are.
    pub(super) parts: Vec<ModelPart>,
    /// What has to be said of what is not.
    pub(super) remarks: Vec<String>,
}

/// What the file describes beside a language model of so many elements a token.
pub(super) fn beside(top: Fields<'_>, text_width: u64) -> Result<Beside, SourceError> {
    let mut found = Beside::default();
    for key in UNMODELLED.iter().filter(|key| top.get(key).is_some()) {
        found.remarks.push(format!("`{key}`: its part of the model is not counted"));
    }
    let holder = match top.child("thinker_config")? {
        Some(object) => Fields::new(top.at, "thinker_config.", object),
        None => top,
    };
    if let Some(object) = holder.child("vision_config")? {
        let fields = Fields::new(top.at, "vision_config.", object);
        found.vision = vision(holder, fields)?;
        if found.vision.is_none() {
            match hf_parts::images(holder, fields, text_width)? {
                Some(part) => found.parts.push(part),
                None => found
                    .remarks
                    .push("`vision_config`: this tower is not known, and not counted".to_owned()),
            }
        }
    }
    if holder.text("model_type")? == Some("mllama") {
        found.remarks.push(
            "what its layers keep of an image's tiles is not counted: as for a text alone"
                .to_owned(),
        );
    }
    found.parts.extend(hf_parts::inside(holder, text_width)?);
    for key in ["audio_config", "speech_config", "encoder_config"] {
        let Some(object) = holder.child(key)? else { continue };
        match hf_parts::sound(holder, Fields::new(top.at, "audio_config.", object), text_width)? {
            Some(part) => found.parts.push(part),
            None => found.remarks.push(format!("`{key}`: its part of the model is not counted")),
        }
    }
    Ok(found)
}

/// The tower; nothing where it is none of those that are known.
fn vision(top: Fields<'_>, fields: Fields<'_>) -> Result<Option<Vision>, SourceError> {
    let family = top.text("model_type")?.unwrap_or_default();
    let own = fields.text("model_type")?;
    let config = Config { top, fields };
    match (family, own) {
        ("gemma3", None | Some("siglip_vision_model")) => config.siglip(),
        ("mistral3" | "lighton_ocr", None | Some("pixtral")) => config.pixtral(Some(2)),
        ("llava", Some("pixtral")) => config.pixtral(None),
        ("qwen2_vl", _) => config.qwen(Tower::Qwen2Vl),
        ("qwen2_5_vl" | "qwen2_5_omni" | "qwen2_5_omni_thinker", _) => config.qwen(Tower::Qwen25Vl),
        (
            "qwen3_vl"
            | "qwen3_vl_moe"
            | "qwen3_5"
            | "qwen3_5_moe"
            | "qwen3_omni_moe"
            | "qwen3_omni_moe_thinker",
            _,
        ) => config.qwen(Tower::Qwen3Vl),
        ("gemma4", None | Some("gemma4_vision")) => config.gemma4(),
        ("kimi_k25" | "kimi_vl", _) => config.moon_vit(),
        _ => return Ok(None),
    }
    .map(Some)
}

/// Tokens of a side of Gemma 3's images (`mm_tokens_per_image` 256).
const GEMMA_3_TOKENS: u64 = 256;
/// Patches of the largest image of Qwen's processors: 12845056 pixels of patches of 14 squared, 16777216
/// of 16 squared (`preprocessor_config.json` of Qwen2.5-VL and Qwen3-VL).
const QWEN_PATCHES: u64 = 65_536;
/// Tokens of an image of Gemma 4 (`max_soft_tokens` of its image processor).
const GEMMA_4_TOKENS: u64 = 280;

/// Patches of the largest image that Kimi's processor makes (`in_patch_limit` of `preprocessor_config.json`).
const MOON_PATCHES: u64 = 16_384;

struct Config<'a> {
    top: Fields<'a>,
    fields: Fields<'a>,
}

impl Config<'_> {
    fn number(&self, key: &str, default: u64) -> Result<u64, SourceError> {
        Ok(self.fields.number(key)?.unwrap_or(default))
    }

    /// Patches along a side of an image.
    fn side(&self, image: u64, patch: u64) -> Result<u64, SourceError> {
        image.checked_div(patch).filter(|&side| side > 0).ok_or_else(|| {
            self.fields.invalid("patch_size", format!("1 to `image_size` = {image}"))
        })
    }

    fn squared(&self, key: &str, n: u64) -> Result<u64, SourceError> {
        n.checked_mul(n).ok_or_else(|| self.fields.invalid(key, "an image that fits in memory"))
    }

    fn siglip(&self) -> Result<Vision, SourceError> {
        let patch_size = self.number("patch_size", 14)?;
        let side = self.side(self.number("image_size", 896)?, patch_size)?;
        let patches = self.squared("image_size", side)?;
        let tokens = self.top.number("mm_tokens_per_image")?.unwrap_or(GEMMA_3_TOKENS);
        let merge = side.checked_div(tokens.isqrt()).filter(|&merge| merge > 0);
        let merge = merge.ok_or_else(|| {
            self.top.invalid("mm_tokens_per_image", format!("1 to {patches}, the patches"))
        })?;
        if self.fields.flag("vision_use_head")?.unwrap_or(false) {
            return Err(self.fields.invalid("vision_use_head", "`false`"));
        }
        Ok(Vision {
            tower: Tower::Siglip,
            n_layers: self.number("num_hidden_layers", 27)?,
            hidden_size: self.number("hidden_size", 1152)?,
            ffn_size: self.number("intermediate_size", 4304)?,
            n_heads: self.number("num_attention_heads", 16)?,
            patch_size,
            merge,
            max_patches: patches,
            positions: patches,
            deepstack: 0,
            projector_bias: false,
        })
    }

    /// Pixtral's tower; `merge` is the default of a family with a merger.
    fn pixtral(&self, merge: Option<u64>) -> Result<Vision, SourceError> {
        let patch_size = self.number("patch_size", 16)?;
        let side = self.side(self.number("image_size", 1024)?, patch_size)?;
        let merge = match merge {
            Some(default) => self.top.number("spatial_merge_size")?.unwrap_or(default),
            None => 1,
        };
        // The tower's width times the layers that are read would be the projector's.
        let layers = self.top.list("vision_feature_layer").ok().flatten();
        if layers.is_some_and(|layers| layers.len() > 1) {
            return Err(self.top.invalid("vision_feature_layer", "one layer"));
        }
        Ok(Vision {
            tower: Tower::Pixtral,
            n_layers: self.number("num_hidden_layers", 24)?,
            hidden_size: self.number("hidden_size", 1024)?,
            ffn_size: self.number("intermediate_size", 4096)?,
            n_heads: self.number("num_attention_heads", 16)?,
            patch_size,
            merge,
            max_patches: self.squared("image_size", side)?,
            positions: 0,
            deepstack: 0,
            projector_bias: self.top.flag("multimodal_projector_bias")?.unwrap_or(merge == 1),
        })
    }

    fn qwen(&self, tower: Tower) -> Result<Vision, SourceError> {
        let old = tower == Tower::Qwen2Vl;
        let width = if tower == Tower::Qwen3Vl { 1152 } else { 1280 };
        let key = if old { "embed_dim" } else { "hidden_size" };
        let hidden_size = self.number(key, width)?;
        let ffn_size = match tower {
            Tower::Qwen2Vl => {
                let ratio = self.number("mlp_ratio", 4)?;
                let wide = ratio.checked_mul(hidden_size);
                wide.ok_or_else(|| self.fields.invalid("mlp_ratio", "a small number"))?
            }
            Tower::Qwen25Vl => self.number("intermediate_size", 3420)?,
            _ => self.number("intermediate_size", 4304)?,
        };
        let is_qwen3 = tower == Tower::Qwen3Vl;
        let inner = self.fields.list("deepstack_visual_indexes")?;
        let default_inner = if self
            .top
            .text("model_type")?
            .is_some_and(|t| t.contains("_vl") || t.contains("_omni"))
        {
            3
        } else {
            0
        };
        let inner = inner.map_or(default_inner, |list| to_u64(list.len()));
        Ok(Vision {
            tower,
            n_layers: self.number("depth", if is_qwen3 { 27 } else { 32 })?,
            hidden_size,
            ffn_size,
            n_heads: self.number("num_heads", 16)?,
            patch_size: self.number("patch_size", if is_qwen3 { 16 } else { 14 })?,
            merge: self.number("spatial_merge_size", 2)?,
            max_patches: QWEN_PATCHES,
            positions: if is_qwen3 { self.number("num_position_embeddings", 2304)? } else { 0 },
            deepstack: if is_qwen3 { inner } else { 0 },
            projector_bias: true,
        })
    }

    /// `MoonViT`, whose numbers go by other names in the files of its authors (`kimi_k25/configuration_kimi_k25.py`).
    fn moon_vit(&self) -> Result<Vision, SourceError> {
        let number = |keys: [&str; 2], default| {
            Ok::<_, SourceError>(self.fields.first_number(&keys)?.unwrap_or(default))
        };
        let side = number(["init_pos_emb_height", "pos_emb_height"], 64)?;
        let across = number(["init_pos_emb_width", "pos_emb_width"], 64)?;
        let merge =
            self.fields.numbers("merge_kernel_size")?.and_then(|kernel| kernel.first().copied());
        Ok(Vision {
            tower: Tower::MoonVit,
            n_layers: number(["vt_num_hidden_layers", "num_hidden_layers"], 27)?,
            hidden_size: number(["vt_hidden_size", "hidden_size"], 1152)?,
            ffn_size: number(["vt_intermediate_size", "intermediate_size"], 4304)?,
            n_heads: number(["vt_num_attention_heads", "num_attention_heads"], 16)?,
            patch_size: self.number("patch_size", 14)?,
            merge: merge.unwrap_or(2),
            max_patches: MOON_PATCHES,
            positions: side.saturating_mul(across),
            deepstack: 0,
            projector_bias: true,
        })
    }

    fn gemma4(&self) -> Result<Vision, SourceError> {
        let hidden_size = self.number("hidden_size", 768)?;
        let n_heads = self.number("num_attention_heads", 12)?;
        for (key, expected) in [
            ("head_dim", hidden_size.checked_div(n_heads).unwrap_or(0)),
            ("num_key_value_heads", n_heads),
        ] {
            if self.fields.number(key)?.is_some_and(|n| n != expected) {
                return Err(self.fields.invalid(key, format!("{expected}")));
            }
        }
        let positions = self.number("position_embedding_size", 10_240)?;
        let merge = self.number("pooling_kernel_size", 3)?;
        let patches = self.squared("pooling_kernel_size", merge)?.checked_mul(GEMMA_4_TOKENS);
        Ok(Vision {
            tower: Tower::Gemma4,
            n_layers: self.number("num_hidden_layers", 16)?,
            hidden_size,
            ffn_size: self.number("intermediate_size", 3072)?,
            n_heads,
            patch_size: self.number("patch_size", 16)?,
            merge,
            max_patches: patches.unwrap_or(u64::MAX),
            positions: positions.saturating_mul(2),
            deepstack: 0,
            projector_bias: false,
        })
    }
}
