//! Vision towers: the encoder of a multimodal checkpoint and the projector behind it.
//!
//! Sources: transformers 5.23 `models/siglip/modeling_siglip.py`, `pixtral`, `mistral3`, `llava`,
//! `qwen2_vl`, `qwen2_5_vl`, `qwen3_vl`, `qwen3_5`, `gemma3` and `gemma4` (`modeling_*.py`); the check
//! is that language model and tower add up to the published parameter count.

use serde::{Deserialize, Serialize};

use super::{InvalidShape, Role, TensorSpec};

/// Kinds of towers, which decide what tensors there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Tower {
    /// `SigLIP` with one projection matrix (Gemma 3).
    Siglip,
    /// Pixtral, with a merger (Mistral Small 3) or without (Pixtral 12B).
    Pixtral,
    /// Qwen2-VL: `LayerNorm`, an MLP without a gate.
    Qwen2Vl,
    /// Qwen2.5-VL: RMS norms, a gated MLP with biases.
    #[serde(rename = "qwen2_5_vl")]
    Qwen25Vl,
    /// Qwen3-VL and Qwen3.5: learned positions, mergers of inner layers where there are any.
    Qwen3Vl,
    /// `MoonViT`: learned positions, a norm behind the last layer (Kimi K2.5).
    MoonVit,
    /// Gemma 4: norms on queries and keys, four norms a layer, a table of positions per axis.
    Gemma4,
}

/// The numbers that fix every tensor of a tower and its projector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Vision {
    /// Which tensors there are.
    pub tower: Tower,
    /// Encoder layers.
    pub n_layers: u64,
    /// Width of the encoder.
    pub hidden_size: u64,
    /// Width of the encoder's MLP.
    pub ffn_size: u64,
    /// Attention heads of the encoder.
    pub n_heads: u64,
    /// Pixels along a side of a patch.
    pub patch_size: u64,
    /// Patches along a side that become one token of the language model.
    pub merge: u64,
    /// Patches of the largest image that the processor makes.
    pub max_patches: u64,
    /// Learned positions; 0 where positions are rotary.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub positions: u64,
    /// Further mergers, of inner layers (`deepstack_visual_indexes`).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub deepstack: u64,
    /// Whether the projector's linear layers have biases (Pixtral's towers).
    #[serde(default, skip_serializing_if = "is_false")]
    pub projector_bias: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_zero(n: &u64) -> bool {
    *n == 0
}

#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Colours of a pixel.
const CHANNELS: u64 = 3;
/// Frames that Qwen's towers take at once; an image is repeated.
const QWEN_FRAMES: u64 = 2;

/// Above these a number is a damaged file.
const MAX_WIDTH: u64 = 1 << 20;
const MAX_PATCHES: u64 = 1 << 24;

impl Vision {
    /// Whether positions of every token are given in three sections (Qwen's towers).
    pub const fn is_qwen(&self) -> bool {
        matches!(self.tower, Tower::Qwen2Vl | Tower::Qwen25Vl | Tower::Qwen3Vl)
    }

    /// Patches that become one token.
    pub const fn patches_per_token(&self) -> u64 {
        self.merge * self.merge
    }

    /// Tokens of the largest image, with the breaks between rows where a family has them.
    pub fn max_tokens(&self) -> u64 {
        let tokens = self.max_patches / self.patches_per_token();
        match self.tower {
            Tower::Pixtral => tokens + tokens.isqrt(),
            _ => tokens,
        }
    }

    /// Values of a patch as the encoder is given it.
    pub const fn patch_values(&self) -> u64 {
        let frames = if self.is_qwen() { QWEN_FRAMES } else { 1 };
        CHANNELS * frames * self.patch_size * self.patch_size
    }

    /// Whether the encoder's MLP has a gate.
    pub const fn is_gated(&self) -> bool {
        matches!(self.tower, Tower::Pixtral | Tower::Qwen25Vl | Tower::Gemma4)
    }

    /// Checks that the numbers can belong to a tower.
    pub fn validate(&self) -> Result<(), InvalidShape> {
        let range = |field, value: u64, max: u64| {
            if (1..=max).contains(&value) {
                return Ok(());
            }
            Err(InvalidShape { field, value, expected: format!("1 to {max}") })
        };
        range("vision.n_layers", self.n_layers, 1000)?;
        range("vision.hidden_size", self.hidden_size, MAX_WIDTH)?;
        range("vision.ffn_size", self.ffn_size, MAX_WIDTH)?;
        range("vision.n_heads", self.n_heads, self.hidden_size)?;
        range("vision.patch_size", self.patch_size, 1 << 12)?;
        range("vision.merge", self.merge, 64)?;
        range("vision.max_patches", self.max_patches, MAX_PATCHES)?;
        range("vision.positions + 1", self.positions.saturating_add(1), MAX_PATCHES)?;
        range("vision.deepstack + 1", self.deepstack.saturating_add(1), self.n_layers)?;
        if self.hidden_size.is_multiple_of(self.n_heads) {
            return Ok(());
        }
        let expected = format!("a divisor of `vision.hidden_size` = {}", self.hidden_size);
        Err(InvalidShape { field: "vision.n_heads", value: self.n_heads, expected })
    }

    /// Every tensor of the tower and its projector, for a language model `text_width` wide.
    pub fn tensors(&self, text_width: u64) -> Vec<TensorSpec> {
        let mut list = List(Vec::new());
        list.embedding(self);
        for _ in 0..self.n_layers {
            list.layer(self);
        }
        if self.tower == Tower::MoonVit {
            list.norm(self.hidden_size, true);
        }
        list.projector(self, text_width);
        list.0
    }
}

struct List(Vec<TensorSpec>);

impl List {
    fn add(&mut self, role: Role, row: u64, rows: u64) {
        self.0.push(TensorSpec { role, layer: None, row, rows });
    }

    fn linear(&mut self, input: u64, output: u64, bias: bool) {
        self.add(Role::VisionLinear, input, output);
        if bias {
            self.other(output, 1);
        }
    }

    fn other(&mut self, row: u64, rows: u64) {
        self.add(Role::VisionOther, row, rows);
    }

    /// An RMS norm, or a `LayerNorm` with its bias.
    fn norm(&mut self, width: u64, bias: bool) {
        self.other(width, if bias { 2 } else { 1 });
    }

    /// The convolution that makes patches, its bias, learned positions, and the norms around.
    fn embedding(&mut self, v: &Vision) {
        let width = v.hidden_size;
        if v.tower == Tower::Gemma4 {
            self.linear(v.patch_values(), width, false);
        } else {
            self.other(v.patch_values(), width);
        }
        if matches!(v.tower, Tower::Siglip | Tower::Qwen3Vl | Tower::MoonVit) {
            self.other(width, 1);
        }
        if v.positions > 0 {
            self.other(width, v.positions);
        }
        match v.tower {
            Tower::Siglip => self.norm(width, true),
            Tower::Pixtral => self.norm(width, false),
            _ => {}
        }
    }

    fn layer(&mut self, v: &Vision) {
        let width = v.hidden_size;
        let bias = !matches!(v.tower, Tower::Pixtral | Tower::Gemma4);
        let layer_norm =
            matches!(v.tower, Tower::Siglip | Tower::Qwen2Vl | Tower::Qwen3Vl | Tower::MoonVit);
        let norms = if v.tower == Tower::Gemma4 { 4 } else { 2 };
        for _ in 0..norms {
            self.norm(width, layer_norm);
        }
        if v.is_qwen() || v.tower == Tower::MoonVit {
            self.linear(width, 3 * width, bias);
        } else {
            for _ in ["q", "k", "v"] {
                self.linear(width, width, bias);
            }
        }
        self.linear(width, width, bias);
        if v.tower == Tower::Gemma4 {
            self.other(width / v.n_heads, 2);
        }
        for _ in 0..if v.is_gated() { 2 } else { 1 } {
            self.linear(width, v.ffn_size, bias);
        }
        self.linear(v.ffn_size, width, bias);
    }

    fn projector(&mut self, v: &Vision, text: u64) {
        let width = v.hidden_size;
        let merged = width * v.patches_per_token();
        match v.tower {
            // A bare parameter, no linear layer: nothing quantizes it.
            Tower::Siglip => {
                self.other(width, text);
                self.norm(width, false);
            }
            Tower::Pixtral => {
                if v.merge > 1 {
                    self.norm(width, false);
                    self.linear(merged, width, false);
                }
                self.linear(width, text, v.projector_bias);
                self.linear(text, text, v.projector_bias);
            }
            Tower::Qwen2Vl | Tower::Qwen25Vl | Tower::Qwen3Vl => {
                self.norm(width, v.tower != Tower::Qwen25Vl);
                for _ in 0..=v.deepstack {
                    self.linear(merged, merged, true);
                    self.linear(merged, text, true);
                }
                for _ in 0..v.deepstack {
                    self.norm(merged, true);
                }
            }
            Tower::MoonVit => {
                self.norm(width, true);
                self.linear(merged, merged, true);
                self.linear(merged, text, true);
            }
            Tower::Gemma4 => self.linear(width, text, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(vision: &Vision, text: u64) -> u64 {
        vision.validate().unwrap();
        vision.tensors(text).iter().map(TensorSpec::elements).sum()
    }

    const SIGLIP: Vision = Vision {
        tower: Tower::Siglip,
        n_layers: 27,
        hidden_size: 1152,
        ffn_size: 4304,
        n_heads: 16,
        patch_size: 14,
        merge: 4,
        max_patches: 4096,
        positions: 4096,
        deepstack: 0,
        projector_bias: false,
    };

    #[test]
    fn towers_have_the_parameters_that_are_published() {
        // What gemma-3-4b's 4300079472 parameters are more than its language model's.
        assert_eq!(parameters(&SIGLIP, 2560), 4_300_079_472 - 3_880_263_168);
        let pixtral = Vision {
            tower: Tower::Pixtral,
            n_layers: 24,
            hidden_size: 1024,
            ffn_size: 4096,
            merge: 2,
            positions: 0,
            max_patches: 110 * 110,
            ..SIGLIP
        };
        // Mistral Small 3.1: 24011361280 less the 23572403200 of the language model.
        assert_eq!(parameters(&pixtral, 5120), 24_011_361_280 - 23_572_403_200);
        let qwen35 = Vision {
            tower: Tower::Qwen3Vl,
            patch_size: 16,
            merge: 2,
            positions: 2304,
            max_patches: 65_536,
            ..SIGLIP
        };
        // keras-hub's qwen3_5_9b and qwen3_5_27b less their language models.
        assert_eq!(parameters(&qwen35, 4096), 9_409_813_744 - 8_953_803_264);
        assert_eq!(parameters(&qwen35, 5120) - parameters(&qwen35, 4096), 1024 * (4 * 1152 + 1));
    }

    #[test]
    fn images_become_tokens() {
        assert_eq!(SIGLIP.max_tokens(), 256);
        let pixtral = Vision { tower: Tower::Pixtral, merge: 2, max_patches: 110 * 110, ..SIGLIP };
        // 55 rows of 55 tokens, each with a break.
        assert_eq!(pixtral.max_tokens(), 3080);
        assert_eq!(pixtral.patch_values(), 588);
    }

    #[test]
    fn impossible_towers_are_refused_by_field() {
        for (vision, field) in [
            (Vision { n_layers: 0, ..SIGLIP }, "vision.n_layers"),
            (Vision { merge: 0, ..SIGLIP }, "vision.merge"),
            (Vision { n_heads: 7, ..SIGLIP }, "vision.n_heads"),
            (Vision { deepstack: 27, ..SIGLIP }, "vision.deepstack + 1"),
            (Vision { max_patches: u64::MAX, ..SIGLIP }, "vision.max_patches"),
        ] {
            assert_eq!(vision.validate().unwrap_err().field, field);
        }
    }
}
