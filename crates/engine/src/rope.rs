//! Rotary position embedding: how far the elements of a query or key turn at a position.
//!
//! Angles as `rope_yarn` of ggml's `ops.cpp` computes them; scaling is read from the metadata
//! (`<arch>.rope.scaling.*`) and from `rope_freqs.weight`, in which converters store Llama 3's.

use std::f64::consts::PI;

/// How positions become angles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rope {
    /// The base of the wave lengths, `rope.freq_base`.
    pub base: f32,
    /// What an angle is multiplied by where it is interpolated: 1 / `rope.scaling.factor`.
    pub scale: f32,
    /// `YaRN`'s mixture of interpolated and original angles.
    pub yarn: Option<Yarn>,
}

/// `YaRN` (arXiv 2309.00071): short waves keep their angles, long ones are interpolated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Yarn {
    /// Pairs up to this one keep their angle.
    pub low: f32,
    /// Pairs from this one on are interpolated.
    pub high: f32,
    /// What cosines and sines are multiplied by.
    pub magnitude: f32,
}

/// Turns over the original context at which interpolation begins and ends (`YaRN`'s β).
const BETA_FAST: f64 = 32.0;
const BETA_SLOW: f64 = 1.0;

impl Yarn {
    /// For a context of `original` positions stretched by `factor`; `attention` is a further factor
    /// of the magnitude.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "small numbers"
    )]
    pub fn new(head_dim: usize, base: f32, original: u64, factor: f32, attention: f32) -> Self {
        let pair = |turns: f64| {
            let wave = (original as f64 / (turns * 2.0 * PI)).ln();
            head_dim as f64 * wave / (2.0 * f64::from(base).ln())
        };
        let low = pair(BETA_FAST).floor().max(0.0);
        let high = pair(BETA_SLOW).ceil().min(head_dim as f64 - 1.0);
        let magnitude = attention * (1.0 + 0.1 * factor.ln());
        Self { low: low as f32, high: high as f32, magnitude }
    }

    /// The share of the original angle in that of pair `index`.
    #[allow(clippy::cast_precision_loss, reason = "a head has at most 4096 elements")]
    fn kept(self, index: usize) -> f32 {
        let along = (index as f32 - self.low) / (self.high - self.low).max(0.001);
        1.0 - along.clamp(0.0, 1.0)
    }
}

impl Rope {
    /// Without any scaling.
    pub const fn plain(base: f32) -> Self {
        Self { base, scale: 1.0, yarn: None }
    }

    /// The angle of pair `index` of a head per position; `divisor` is its entry of
    /// `rope_freqs.weight`, 1 without one.
    #[allow(clippy::cast_precision_loss, reason = "a head has at most 4096 elements")]
    pub fn frequency(&self, index: usize, head_dim: usize, divisor: f32) -> f32 {
        let original = self.base.powf(-2.0 * index as f32 / head_dim as f32) / divisor;
        let interpolated = original * self.scale;
        let kept = self.yarn.map_or(0.0, |yarn| yarn.kept(index));
        interpolated * (1.0 - kept) + original * kept
    }

    /// What cosines and sines are multiplied by.
    pub fn magnitude(&self) -> f32 {
        self.yarn.map_or(1.0, |yarn| yarn.magnitude)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_fall_from_one_to_the_base() {
        let rope = Rope::plain(10_000.0);
        assert!((rope.frequency(0, 64, 1.0) - 1.0).abs() < 1e-7);
        assert!((rope.frequency(16, 64, 1.0) - 0.01).abs() < 1e-7);
        assert!((rope.frequency(16, 64, 8.0) - 0.01 / 8.0).abs() < 1e-8);
        let linear = Rope { scale: 0.25, ..rope };
        assert!((linear.frequency(16, 64, 1.0) - 0.0025).abs() < 1e-8);
    }

    #[test]
    fn yarn_keeps_short_waves_and_interpolates_long_ones() {
        // Qwen2.5 with the factor of its model card: 4 × 32,768 positions.
        let yarn = Yarn::new(128, 1e6, 32_768, 4.0, 1.0);
        assert_eq!((yarn.low, yarn.high), (23.0, 40.0));
        assert!((yarn.magnitude - 1.138_629_4).abs() < 1e-6);
        let rope = Rope { base: 1e6, scale: 0.25, yarn: Some(yarn) };
        let plain = Rope::plain(1e6);
        for (index, share) in [(0, 1.0), (23, 1.0), (40, 0.25), (63, 0.25)] {
            let ratio = rope.frequency(index, 128, 1.0) / plain.frequency(index, 128, 1.0);
            assert!((ratio - share).abs() < 1e-6, "{index}: {ratio}");
        }
    }
}
