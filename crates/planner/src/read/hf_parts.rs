//! Towers and encoders whose tensors are known and whose work is not: `vision_config` and `audio_config` → [`ModelPart`].
//!
//! Sources: `modeling_*.py` and `configuration_*.py` of transformers 5.24; `evidence/families` compares every element.

use super::SourceError;
use super::json::Fields;
use crate::spec::{ModelPart, PartTensor};
use crate::units::to_u64;

/// Colours of a pixel.
const CHANNELS: u64 = 3;

/// A tower for images; nothing where it is none of those that are known.
pub(super) fn images(
    top: Fields<'_>,
    fields: Fields<'_>,
    text: u64,
) -> Result<Option<ModelPart>, SourceError> {
    let family = top.text("model_type")?.unwrap_or_default();
    let own = fields.text("model_type")?.unwrap_or_default();
    let config = Config { top, fields, text };
    let tensors = match (family, own) {
        ("llama4", _) => config.llama4()?,
        ("mllama", _) => config.mllama()?,
        ("minimax_m3_vl" | "minimax_m3", _) => config.minimax_m3()?,
        ("step3p7", _) => config.step3()?,
        ("glm4v" | "glm4v_moe" | "glm46v" | "glmga", _) => config.glm4v()?,
        ("glm5_next" | "glm_ocr", _) => config.glm5()?,
        ("muse_glimmer", _) => config.muse()?,
        ("internvl" | "internvl_chat", _) => config.internvl()?,
        ("idefics3" | "smolvlm", _) => config.idefics3()?,
        ("kimi_k3", _) => config.kimi_k3()?,
        ("lfm2_vl", _) => config.lfm2_vl()?,
        ("minicpmv" | "minicpmo", _) => config.minicpm_v()?,
        ("exaone4_5", _) => config.exaone()?,
        ("paddleocr_vl", _) => config.paddle()?,
        ("cohere2_vision", _) => config.cohere2()?,
        (_, "clip_vision_model") if LLAVA.contains(&family) => config.clip()?,
        (_, "siglip_vision_model") if LLAVA.contains(&family) => config.siglip()?,
        ("llava" | "llava_next" | "llava_next_video" | "vipllava", "") => config.clip()?,
        _ => return Ok(None),
    };
    Ok(Some(ModelPart { name: "tower for images".to_owned(), tensors: tensors.0 }))
}

/// A tower that a file describes by the name of another model's (`Phi-3-vision`).
pub(super) fn inside(top: Fields<'_>, text: u64) -> Result<Option<ModelPart>, SourceError> {
    if top.text("model_type")? != Some("phi3_v") {
        return Ok(None);
    }
    let Some(object) = top.child("img_processor")? else { return Ok(None) };
    let fields = Fields::new(top.at, "img_processor.", object);
    let tensors = Config { top, fields, text }.phi3_v()?;
    Ok(Some(ModelPart { name: "tower for images".to_owned(), tensors: tensors.0 }))
}

/// Families with two linear layers, or one, between a plain tower and the language model.
const LLAVA: [&str; 8] = [
    "llava",
    "llava_next",
    "llava_next_video",
    "llava_onevision",
    "vipllava",
    "paligemma",
    "video_llava",
    "shieldgemma2",
];

/// An encoder of sound; nothing where it is none of those that are known.
pub(super) fn sound(
    top: Fields<'_>,
    fields: Fields<'_>,
    text: u64,
) -> Result<Option<ModelPart>, SourceError> {
    let family = top.text("model_type")?.unwrap_or_default();
    let config = Config { top, fields, text };
    let tensors = match family {
        "qwen2_audio" | "voxtral" | "audioflamingo3" | "musicflamingo" => config.whisper(family)?,
        "gemma4" => config.gemma4_sound()?,
        "qwen2_5_omni" | "qwen2_5_omni_thinker" => config.omni()?,
        "qwen3_omni_moe" | "qwen3_omni_moe_thinker" | "qwen3_asr" => config.omni3()?,
        _ => return Ok(None),
    };
    Ok(Some(ModelPart { name: "encoder of sound".to_owned(), tensors: tensors.0 }))
}

/// The tensors of a part.
#[derive(Default)]
struct Tensors(Vec<PartTensor>);

/// A layer of an encoder.
struct Block {
    width: u64,
    ffn: u64,
    /// Biases of queries and values, and of keys.
    qv_bias: bool,
    k_bias: bool,
    /// The bias of attention's output, and those of the MLP.
    bias: bool,
    mlp_bias: bool,
    gated: bool,
    /// Whether norms have biases.
    norm_bias: bool,
    /// Whether both sublayers are scaled by a learned vector.
    scaled: bool,
    /// Elements that norms of queries and keys have; 0 without such.
    qk_norm: u64,
}

impl Block {
    /// That of CLIP and `SigLIP`: `LayerNorm`, biases everywhere.
    const fn plain(width: u64, ffn: u64) -> Self {
        Self {
            width,
            ffn,
            qv_bias: true,
            k_bias: true,
            bias: true,
            mlp_bias: true,
            gated: false,
            norm_bias: true,
            scaled: false,
            qk_norm: 0,
        }
    }
}

impl Tensors {
    fn push(&mut self, row: u64, rows: u64, linear: bool) {
        let found =
            self.0.iter_mut().find(|t| t.row == row && t.rows == rows && t.linear == linear);
        match found {
            Some(tensor) => tensor.count = tensor.count.saturating_add(1),
            None => self.0.push(PartTensor { row, rows, count: 1, linear }),
        }
    }

    fn linear(&mut self, input: u64, output: u64, bias: bool) {
        self.push(input, output, true);
        if bias {
            self.push(output, 1, false);
        }
    }

    fn other(&mut self, row: u64, rows: u64) {
        self.push(row, rows, false);
    }

    fn norm(&mut self, width: u64, bias: bool) {
        for _ in 0..if bias { 2 } else { 1 } {
            self.other(width, 1);
        }
    }

    fn block(&mut self, b: &Block) {
        self.norm(b.width, b.norm_bias);
        self.norm(b.width, b.norm_bias);
        self.linear(b.width, b.width, b.qv_bias);
        self.linear(b.width, b.width, b.k_bias);
        self.linear(b.width, b.width, b.qv_bias);
        self.linear(b.width, b.width, b.bias);
        for _ in 0..if b.gated { 2 } else { 1 } {
            self.linear(b.width, b.ffn, b.mlp_bias);
        }
        self.linear(b.ffn, b.width, b.mlp_bias);
        if b.scaled {
            self.other(b.width, 1);
            self.other(b.width, 1);
        }
        if b.qk_norm > 0 {
            self.other(b.qk_norm, 1);
            self.other(b.qk_norm, 1);
        }
    }

    /// So many layers, each like `block`.
    fn blocks(&mut self, count: u64, block: &Block) {
        let mut one = Self::default();
        one.block(block);
        for tensor in one.0 {
            self.times(tensor, count);
        }
    }

    fn times(&mut self, tensor: PartTensor, count: u64) {
        let count = tensor.count.saturating_mul(count);
        let is_it = |t: &&mut PartTensor| {
            t.row == tensor.row && t.rows == tensor.rows && t.linear == tensor.linear
        };
        match self.0.iter_mut().find(is_it) {
            Some(found) => found.count = found.count.saturating_add(count),
            None => self.0.push(PartTensor { count, ..tensor }),
        }
    }

    /// Two linear layers with a bias each.
    fn mlp(&mut self, input: u64, inner: u64, output: u64, bias: bool) {
        self.linear(input, inner, bias);
        self.linear(inner, output, bias);
    }

    /// A head that pools by attention (`SigLIP`'s).
    fn pooling(&mut self, width: u64, ffn: u64) {
        self.other(width, 1);
        self.linear(width, width.saturating_mul(3), true);
        self.linear(width, width, true);
        self.norm(width, true);
        self.mlp(width, ffn, width, true);
    }
}

struct Config<'a> {
    top: Fields<'a>,
    fields: Fields<'a>,
    /// Elements of a token of the language model.
    text: u64,
}

impl Config<'_> {
    fn number(&self, key: &str, default: u64) -> Result<u64, SourceError> {
        self.first(&[key], default)
    }

    /// The first of several names that a number goes by, or the first of a list.
    fn first(&self, keys: &[&str], default: u64) -> Result<u64, SourceError> {
        for key in keys {
            if let Some(number) = self.fields.numbers(key)?.and_then(|list| list.first().copied()) {
                return Ok(number);
            }
        }
        Ok(default)
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool, SourceError> {
        Ok(self.fields.flag(key)?.unwrap_or(default))
    }

    /// Patches of an image.
    fn patches(&self, image: u64, patch: u64) -> Result<u64, SourceError> {
        let side = self.number("image_size", image)?.checked_div(self.number("patch_size", patch)?);
        let patches = side.and_then(|side| side.checked_mul(side));
        patches.ok_or_else(|| self.fields.invalid("patch_size", "at least 1"))
    }

    /// Values of a patch of so many frames.
    fn pixels(&self, patch: u64, frames: u64) -> Result<u64, SourceError> {
        let patch = self.number("patch_size", patch)?;
        Ok(CHANNELS.saturating_mul(frames).saturating_mul(patch).saturating_mul(patch))
    }

    fn widths(&self, width: u64, ffn: u64, layers: u64) -> Result<[u64; 3], SourceError> {
        Ok([
            self.number("hidden_size", width)?,
            self.number("intermediate_size", ffn)?,
            self.first(&["num_hidden_layers", "depth"], layers)?,
        ])
    }

    /// The two layers of `LLaVA`'s kin, or the one of `PaliGemma`'s, and what marks the end of a row.
    fn projector(&self, tensors: &mut Tensors, width: u64) -> Result<(), SourceError> {
        let family = self.top.text("model_type")?.unwrap_or_default();
        if family == "paligemma" {
            let output = self.top.number("projection_dim")?;
            tensors.linear(
                width,
                self.first(&["projection_dim"], output.unwrap_or(self.text))?,
                true,
            );
            return Ok(());
        }
        let bias = self.top.flag("multimodal_projector_bias")?.unwrap_or(true);
        let layers = self.top.list("vision_feature_layer").ok().flatten();
        let layers = layers.or(self.top.list("vision_feature_layers").ok().flatten());
        // ViP-LLaVA reads five layers, which a norm goes before.
        let default = if family == "vipllava" { 5 } else { 1 };
        let joined = width.saturating_mul(layers.map_or(default, |list| to_u64(list.len()).max(1)));
        if family == "vipllava" {
            tensors.norm(joined, true);
        }
        tensors.mlp(joined, self.text, self.text, bias);
        if matches!(family, "llava_next" | "llava_next_video" | "llava_onevision") {
            tensors.other(self.text, 1);
        }
        Ok(())
    }

    fn clip(&self) -> Result<Tensors, SourceError> {
        let mut tensors = Tensors::default();
        let width = self.clip_tower(&mut tensors)?;
        self.projector(&mut tensors, width)?;
        Ok(tensors)
    }

    /// CLIP's large tower, four patches of which become one token.
    fn phi3_v(&self) -> Result<Tensors, SourceError> {
        let mut tensors = Tensors::default();
        let width = self.clip_tower(&mut tensors)?;
        let merged = width.saturating_mul(4);
        tensors.mlp(merged, self.text, self.text, true);
        // What ends a row, and what stands between the whole image and its parts.
        tensors.other(merged, 2);
        Ok(tensors)
    }

    /// `SigLIP` behind which attention of so many queries reads every patch.
    fn minicpm_v(&self) -> Result<Tensors, SourceError> {
        let mut tensors = Tensors::default();
        let width = self.siglip_tower(&mut tensors, 980)?;
        let text = self.text;
        tensors.other(text, self.top.number("query_num")?.unwrap_or(64));
        tensors.linear(width, text, false);
        tensors.linear(text, text.saturating_mul(3), true);
        tensors.linear(text, text, true);
        for _ in ["queries", "keys", "output"] {
            tensors.norm(text, true);
        }
        tensors.other(text, text);
        Ok(tensors)
    }

    /// `MoonViT` with heads wider than it, without biases.
    fn kimi_k3(&self) -> Result<Tensors, SourceError> {
        let width = self.number("vt_hidden_size", 1024)?;
        let heads = self.number("qkv_hidden_size", 1536)?;
        let ffn = self.number("vt_intermediate_size", 4096)?;
        let positions = self.number("init_pos_emb_height", 64)?;
        let mut tensors = Tensors::default();
        tensors.other(self.pixels(14, 1)?, width);
        tensors.other(width, positions.saturating_mul(self.number("init_pos_emb_width", 64)?));
        let mut layer = Tensors::default();
        layer.norm(width, false);
        layer.norm(width, false);
        layer.linear(width, heads.saturating_mul(3), false);
        layer.linear(heads, width, false);
        layer.mlp(width, ffn, width, false);
        for tensor in layer.0 {
            tensors.times(tensor, self.number("vt_num_hidden_layers", 27)?);
        }
        tensors.norm(width, false);
        let merged = width.saturating_mul(4);
        tensors.norm(width, false);
        tensors.mlp(merged, merged, self.text, false);
        Ok(tensors)
    }

    /// Qwen2.5-VL's tower with fewer heads of keys and values.
    fn exaone(&self) -> Result<Tensors, SourceError> {
        let [width, ffn, layers] = self.widths(2048, 5120, 28)?;
        let heads = self.number("num_heads", 32)?.max(1);
        let kept = (width / heads).saturating_mul(self.number("num_key_value_heads", 8)?);
        let mut tensors = Tensors::default();
        tensors.other(self.pixels(14, self.number("temporal_patch_size", 2)?)?, width);
        let mut layer = Tensors::default();
        layer.norm(width, false);
        layer.norm(width, false);
        layer.linear(width, width.saturating_add(kept.saturating_mul(2)), true);
        layer.linear(width, width, true);
        layer.linear(width, ffn, true);
        layer.mlp(width, ffn, width, true);
        for tensor in layer.0 {
            tensors.times(tensor, layers);
        }
        tensors.norm(width, false);
        let merge = self.number("spatial_merge_size", 2)?;
        let merged = width.saturating_mul(merge).saturating_mul(merge);
        tensors.mlp(merged, merged, self.number("out_hidden_size", self.text)?, true);
        Ok(tensors)
    }

    fn clip_tower(&self, tensors: &mut Tensors) -> Result<u64, SourceError> {
        let [width, ffn, layers] = self.widths(1024, 4096, 24)?;
        tensors.other(width, 1);
        tensors.other(self.pixels(14, 1)?, width);
        tensors.other(width, self.patches(336, 14)?.saturating_add(1));
        tensors.norm(width, true);
        tensors.blocks(layers, &Block::plain(width, ffn));
        tensors.norm(width, true);
        Ok(width)
    }

    /// Embedding, layers and the norm behind them, and the pooling head where it has one.
    fn siglip_tower(&self, tensors: &mut Tensors, image: u64) -> Result<u64, SourceError> {
        let [width, ffn, layers] = self.widths(768, 3072, 12)?;
        tensors.other(self.pixels(16, 1)?, width);
        tensors.other(width, 1);
        let positions = self.patches(image, 16)?;
        tensors.other(width, self.first(&["num_patches"], positions)?);
        tensors.blocks(layers, &Block::plain(width, ffn));
        tensors.norm(width, true);
        Ok(width)
    }

    fn siglip(&self) -> Result<Tensors, SourceError> {
        let mut tensors = Tensors::default();
        let width = self.siglip_tower(&mut tensors, 224)?;
        let pools = self.top.text("model_type")? != Some("paligemma");
        if self.flag("vision_use_head", pools)? {
            tensors.pooling(width, self.number("intermediate_size", 3072)?);
        }
        self.projector(&mut tensors, width)?;
        Ok(tensors)
    }

    fn idefics3(&self) -> Result<Tensors, SourceError> {
        let mut tensors = Tensors::default();
        let [width, ffn, layers] = self.widths(1152, 3072, 12)?;
        tensors.other(self.pixels(32, 1)?, width);
        tensors.other(width, 1);
        tensors.other(width, self.patches(224, 32)?);
        tensors.blocks(layers, &Block::plain(width, ffn));
        tensors.norm(width, true);
        let scale = self.top.number("scale_factor")?.unwrap_or(2);
        tensors.linear(width.saturating_mul(scale).saturating_mul(scale), self.text, false);
        Ok(tensors)
    }

    fn lfm2_vl(&self) -> Result<Tensors, SourceError> {
        let mut tensors = Tensors::default();
        let width = self.siglip_tower(&mut tensors, 256)?;
        if self.flag("vision_use_head", true)? {
            tensors.pooling(width, self.number("intermediate_size", 3072)?);
        }
        let factor = self.top.number("downsample_factor")?.unwrap_or(2);
        let merged = width.saturating_mul(factor).saturating_mul(factor);
        if self.top.flag("projector_use_layernorm")?.unwrap_or(true) {
            tensors.norm(merged, true);
        }
        let inner = self.top.number("projector_hidden_size")?.unwrap_or(2560);
        tensors.mlp(merged, inner, self.text, self.top.flag("projector_bias")?.unwrap_or(true));
        Ok(tensors)
    }

    fn paddle(&self) -> Result<Tensors, SourceError> {
        let mut tensors = Tensors::default();
        let [width, ffn, layers] = self.widths(1152, 4304, 27)?;
        tensors.other(self.pixels(14, 1)?, width);
        tensors.other(width, 1);
        tensors.other(width, self.patches(384, 14)?);
        tensors.blocks(layers, &Block::plain(width, ffn));
        tensors.norm(width, true);
        tensors.norm(width, true);
        let merge = self.number("spatial_merge_size", 2)?;
        let merged = width.saturating_mul(merge).saturating_mul(merge);
        tensors.mlp(merged, merged, self.text, true);
        Ok(tensors)
    }

    fn cohere2(&self) -> Result<Tensors, SourceError> {
        let mut tensors = Tensors::default();
        let width = self.siglip_tower(&mut tensors, 512)?;
        if self.flag("vision_use_head", true)? {
            tensors.pooling(width, self.number("intermediate_size", 3072)?);
        }
        let factor = self.top.number("downsample_factor")?.unwrap_or(2);
        let merged = width.saturating_mul(factor).saturating_mul(factor);
        let inner = self.top.number("alignment_intermediate_size")?.unwrap_or(36_864);
        tensors.linear(merged, inner, true);
        tensors.linear(inner / 2, self.text, true);
        Ok(tensors)
    }

    /// `InternViT`, whose numbers go by other names in the files of its authors.
    fn internvl(&self) -> Result<Tensors, SourceError> {
        let [width, ffn, layers] = self.widths(1024, 4096, 24)?;
        let qkv_bias =
            self.fields.flag("attention_bias")?.or(self.fields.flag("qkv_bias")?).unwrap_or(false);
        let normed = self
            .fields
            .flag("use_qk_norm")?
            .or(self.fields.flag("qk_normalization")?)
            .unwrap_or(false);
        let norm_bias = self.fields.text("norm_type")? != Some("rms_norm");
        let mut tensors = Tensors::default();
        tensors.other(width, 1);
        tensors.other(width, self.patches(448, 14)?.saturating_add(1));
        tensors.other(self.pixels(14, 1)?, width);
        tensors.other(width, 1);
        let block = Block {
            qv_bias: qkv_bias,
            k_bias: qkv_bias,
            norm_bias,
            scaled: true,
            qk_norm: if normed { width } else { 0 },
            ..Block::plain(width, ffn)
        };
        tensors.blocks(layers, &block);
        // Pixels of a square become one, whose side is `downsample_ratio`'s inverse: two in every published one.
        let merged = width.saturating_mul(4);
        tensors.norm(merged, true);
        tensors.mlp(merged, self.text, self.text, true);
        Ok(tensors)
    }

    fn llama4(&self) -> Result<Tensors, SourceError> {
        let [width, ffn, layers] = self.widths(768, 5632, 34)?;
        let mut tensors = Tensors::default();
        tensors.other(width, 1);
        tensors.other(width, self.patches(448, 14)?.saturating_add(1));
        tensors.linear(self.pixels(14, 1)?, width, false);
        tensors.norm(width, true);
        tensors.blocks(layers, &Block::plain(width, ffn));
        tensors.norm(width, true);
        let inner = self.number("projector_input_dim", 4096)?;
        let output = self.number("projector_output_dim", 4096)?;
        tensors.linear(ffn, inner, false);
        tensors.linear(output, output, false);
        tensors.linear(self.number("vision_output_dim", 7680)?, self.text, false);
        Ok(tensors)
    }

    /// Llama 3.2 Vision's: tables of positions for every arrangement of tiles, layers of its own behind the others.
    fn mllama(&self) -> Result<Tensors, SourceError> {
        let [width, ffn, layers] = self.widths(1280, 5120, 32)?;
        let tiles = self.number("max_num_tiles", 4)?;
        // The arrangements of up to four tiles, and one for none.
        let listed =
            self.fields.list("supported_aspect_ratios")?.map_or(8, |list| to_u64(list.len()));
        let arrangements = listed.saturating_add(1);
        let positions = self.patches(448, 14)?.saturating_add(1);
        let of_tiles = width.saturating_mul(tiles);
        let mut tensors = Tensors::default();
        tensors.other(width, 1);
        tensors.other(self.pixels(14, 1)?, width);
        tensors.other(width, positions);
        // As rows of one position each: the table's own rows are wider than any matrix.
        let table = PartTensor { row: width, rows: positions, count: 1, linear: false };
        tensors.times(table, tiles.saturating_mul(arrangements));
        for _ in ["before the layers", "behind them"] {
            tensors.other(of_tiles, arrangements);
        }
        tensors.other(1, 3);
        tensors.norm(width, true);
        tensors.norm(width, true);
        let block =
            Block { qv_bias: false, k_bias: false, bias: false, ..Block::plain(width, ffn) };
        let behind = self.number("num_global_layers", 8)?;
        tensors.blocks(layers.saturating_add(behind), &block);
        tensors.times(PartTensor { row: 1, rows: 1, count: 2, linear: false }, behind);
        tensors.linear(self.number("vision_output_dim", 7680)?, self.text, true);
        Ok(tensors)
    }

    fn minimax_m3(&self) -> Result<Tensors, SourceError> {
        let [width, ffn, layers] = self.widths(1280, 5120, 32)?;
        let nested = self.fields.child("img_token_compression_config")?;
        let nested = nested.map(|object| Fields::new(self.fields.at, "vision_config.", object));
        let number = |key: &str, default: u64| {
            let inner = nested.and_then(|fields| fields.number(key).ok().flatten());
            inner.map_or_else(|| self.number(key, default), Ok)
        };
        let mut tensors = Tensors::default();
        tensors.other(self.pixels(14, number("temporal_patch_size", 2)?)?, width);
        tensors.norm(width, true);
        tensors.blocks(layers, &Block::plain(width, ffn));
        let inner = self.top.number("projector_hidden_size")?.unwrap_or(self.text);
        tensors.mlp(width, inner, self.text, true);
        let merge = number("spatial_merge_size", 2)?;
        tensors.mlp(self.text.saturating_mul(merge).saturating_mul(merge), inner, self.text, true);
        Ok(tensors)
    }

    fn step3(&self) -> Result<Tensors, SourceError> {
        let width = self.first(&["hidden_size", "width"], 1536)?;
        let layers = self.first(&["num_hidden_layers", "layers"], 47)?;
        let ffn = self.number("intermediate_size", 8960)?;
        let mut tensors = Tensors::default();
        tensors.other(self.pixels(14, 1)?, width);
        tensors.other(width, self.patches(728, 14)?);
        tensors.norm(width, true);
        tensors.blocks(layers, &Block { scaled: true, ..Block::plain(width, ffn) });
        // Two convolutions that halve an image's sides and double its channels.
        let (doubled, merged) = (width.saturating_mul(2), width.saturating_mul(4));
        for (input, output) in [(width, doubled), (doubled, merged)] {
            tensors.other(input.saturating_mul(9), output);
            tensors.other(output, 1);
        }
        tensors.linear(merged, self.text, self.top.flag("projector_bias")?.unwrap_or(false));
        Ok(tensors)
    }

    /// A merger with a gated MLP behind a convolution (GLM).
    fn glm_merger(
        &self,
        tensors: &mut Tensors,
        width: u64,
        output: u64,
        inner: u64,
    ) -> Result<(), SourceError> {
        let merge = self.number("spatial_merge_size", 2)?;
        tensors.other(width.saturating_mul(merge).saturating_mul(merge), output);
        tensors.other(output, 1);
        tensors.linear(output, output, false);
        tensors.norm(output, true);
        tensors.linear(output, inner, false);
        tensors.mlp(output, inner, output, false);
        Ok(())
    }

    fn glm4v(&self) -> Result<Tensors, SourceError> {
        let [width, inner, layers] = self.widths(1536, 13_696, 24)?;
        let output = self.number("out_hidden_size", 4096)?;
        let bias = self.flag("attention_bias", false)?;
        let mut tensors = Tensors::default();
        tensors.other(width, self.patches(336, 14)?);
        tensors.other(self.pixels(14, self.number("temporal_patch_size", 2)?)?, width);
        tensors.other(width, 1);
        let block = Block {
            qv_bias: bias,
            k_bias: bias,
            bias: false,
            mlp_bias: false,
            gated: true,
            norm_bias: false,
            ..Block::plain(width, output)
        };
        tensors.blocks(layers, &block);
        tensors.norm(width, false);
        tensors.norm(width, false);
        self.glm_merger(&mut tensors, width, output, inner)?;
        Ok(tensors)
    }

    fn glm5(&self) -> Result<Tensors, SourceError> {
        let [width, ffn, layers] = self.widths(1024, 4096, 24)?;
        let output = self.number("out_hidden_size", 1536)?;
        let bias = self.flag("attention_bias", true)?;
        let heads = self.number("num_heads", 16)?.max(1);
        let mut tensors = Tensors::default();
        tensors.other(self.pixels(14, self.number("temporal_patch_size", 2)?)?, width);
        tensors.other(width, 1);
        let block = Block {
            qv_bias: bias,
            k_bias: bias,
            bias,
            gated: true,
            norm_bias: false,
            qk_norm: width / heads,
            ..Block::plain(width, ffn)
        };
        tensors.blocks(layers, &block);
        tensors.norm(width, false);
        let context = self.top.number("in_channels")?.unwrap_or(3);
        let inner =
            self.first(&["projection_intermediate_size"], output.saturating_mul(context))?;
        self.glm_merger(&mut tensors, width, output, inner)?;
        Ok(tensors)
    }

    fn muse(&self) -> Result<Tensors, SourceError> {
        let [width, ffn, layers] = self.widths(1536, 8960, 50)?;
        let mut tensors = Tensors::default();
        tensors.linear(self.pixels(14, self.number("patch_temporal", 2)?)?, width, false);
        let side = self.number("pos_emb_height", 32)?;
        tensors.other(width, side.saturating_mul(self.number("pos_emb_width", 32)?));
        tensors.norm(width, true);
        tensors.blocks(layers, &Block::plain(width, ffn));
        tensors.norm(width, true);
        let merge = self.number("merge_size", 2)?;
        let inner = self.top.number("projector_hidden_size")?.unwrap_or(4096);
        tensors.mlp(width.saturating_mul(merge).saturating_mul(merge), inner, inner, false);
        tensors.linear(inner, self.text, false);
        Ok(tensors)
    }

    /// Whisper's encoder: two convolutions, layers whose keys have no bias.
    fn whisper_tower(&self, tensors: &mut Tensors, positions: bool) -> Result<u64, SourceError> {
        let width = self.first(&["d_model", "hidden_size"], 1280)?;
        let ffn = self.first(&["encoder_ffn_dim", "intermediate_size"], 5120)?;
        let bands = self.number("num_mel_bins", 128)?;
        for input in [bands, width] {
            tensors.other(input.saturating_mul(3), width);
            tensors.other(width, 1);
        }
        if positions {
            tensors.other(width, self.number("max_source_positions", 1500)?);
        }
        let layers = self.first(&["encoder_layers", "num_hidden_layers"], 32)?;
        tensors.blocks(layers, &Block { k_bias: false, ..Block::plain(width, ffn) });
        tensors.norm(width, true);
        Ok(width)
    }

    fn whisper(&self, family: &str) -> Result<Tensors, SourceError> {
        let mut tensors = Tensors::default();
        let width = self.whisper_tower(&mut tensors, true)?;
        match family {
            "voxtral" => {
                // Four frames become one token.
                tensors.mlp(self.number("intermediate_size", 5120)?, self.text, self.text, false);
            }
            "qwen2_audio" => tensors.linear(width, self.text, true),
            _ => tensors.mlp(width, self.text, self.text, true),
        }
        Ok(tensors)
    }

    /// Gemma 4's conformer: two MLPs, attention and a convolution a layer.
    fn gemma4_sound(&self) -> Result<Tensors, SourceError> {
        let width = self.number("hidden_size", 1024)?;
        let channels = self.fields.numbers("subsampling_conv_channels")?.unwrap_or(vec![128, 32]);
        let [first, second] = channels[..] else {
            return Err(self.fields.invalid("subsampling_conv_channels", "two numbers"));
        };
        let mut tensors = Tensors::default();
        for (input, output) in [(1, first), (first, second)] {
            tensors.other(input.saturating_mul(9), output);
            tensors.norm(output, false);
        }
        // As the class has it: a quarter of the first channels, for each of the second.
        tensors.linear((first / 4).saturating_mul(second), width, false);
        let mut layer = Tensors::default();
        let wide = width.saturating_mul(4);
        for _ in ["before attention", "behind it"] {
            layer.mlp(width, wide, width, false);
        }
        for _ in ["q", "k", "v", "output", "relative keys", "behind the convolution"] {
            layer.linear(width, width, false);
        }
        layer.linear(width, width.saturating_mul(2), false);
        layer.other(self.number("conv_kernel_size", 5)?, width);
        layer.other(width / self.number("num_attention_heads", 8)?.max(1), 1);
        for _ in 0..9 {
            layer.norm(width, false);
        }
        let layers = self.number("num_hidden_layers", 12)?;
        for tensor in layer.0 {
            tensors.times(tensor, layers);
        }
        let output = self.number("output_proj_dims", 1536)?;
        tensors.linear(width, output, true);
        tensors.linear(output, self.text, false);
        Ok(tensors)
    }

    fn omni(&self) -> Result<Tensors, SourceError> {
        let mut tensors = Tensors::default();
        let width = self.whisper_tower(&mut tensors, false)?;
        let output = self.number("output_dim", 3584)?;
        tensors.other(output, 2);
        tensors.linear(width, output, true);
        Ok(tensors)
    }

    /// Qwen3-Omni's: three convolutions over time and bands.
    fn omni3(&self) -> Result<Tensors, SourceError> {
        let width = self.first(&["d_model", "hidden_size"], 1280)?;
        let ffn = self.first(&["encoder_ffn_dim", "intermediate_size"], 5120)?;
        let layers = self.first(&["encoder_layers", "num_hidden_layers"], 32)?;
        let channels = self.number("downsample_hidden_size", 480)?;
        let mut tensors = Tensors::default();
        for input in [1, channels, channels] {
            tensors.other(input.saturating_mul(9), channels);
            tensors.other(channels, 1);
        }
        // Every convolution halves the bands.
        let bands = (0..3).fold(self.number("num_mel_bins", 128)?, |bands, _| bands.div_ceil(2));
        tensors.linear(channels.saturating_mul(bands), width, false);
        tensors.blocks(layers, &Block::plain(width, ffn));
        tensors.norm(width, true);
        tensors.mlp(width, width, self.number("output_dim", 3584)?, true);
        Ok(tensors)
    }
}
