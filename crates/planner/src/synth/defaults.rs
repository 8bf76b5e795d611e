//! What a GGUF file states about a model that its shape does not: by family.
//!
//! A profile has neither a RoPE base nor an epsilon, because no memory depends on them. These are the
//! defaults of the family's configuration class in transformers 5.23.0, unless a comment names another
//! source; the file's description says that they are defaults.

use crate::spec::{Architecture as A, ModelShape};

/// The defaults of one family.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Defaults {
    /// Base of the rotary frequencies.
    pub(super) rope_base: f32,
    /// Added to the variance in norms.
    pub(super) epsilon: f32,
}

/// The defaults for a model of this shape.
pub(super) const fn defaults(shape: &ModelShape) -> Defaults {
    let (rope_base, epsilon) = match shape.architecture {
        // Llama 3: its configuration files, as `rope_base` of torchtune's `llama3` builders.
        A::Llama if is_llama_3(shape) => (500_000.0, 1e-5),
        A::Mixtral => (1e6, 1e-5),
        // Qwen: the `config.json` of every published size.
        A::Qwen2 | A::Qwen2Moe | A::Qwen3 | A::Qwen3Moe | A::Gemma3 => (1e6, 1e-6),
        A::Qwen3Next | A::Qwen35 | A::Qwen35Moe => (1e7, 1e-6),
        A::GptOss => (150_000.0, 1e-5),
        A::Cohere => (500_000.0, 1e-5),
        A::Phi3 | A::Glm4Moe | A::Olmo2 | A::StarCoder2 => (10_000.0, 1e-5),
        _ => (10_000.0, 1e-6),
    };
    Defaults { rope_base, epsilon }
}

const fn is_llama_3(shape: &ModelShape) -> bool {
    shape.vocab_size == 128_256
}

/// How Llama 3.1 and later stretch their context: the divisor of each rotary frequency.
///
/// `_compute_llama3_parameters` in transformers' `modeling_rope_utils.py`, as llama.cpp's converter
/// writes it to `rope_freqs.weight`. The models of 3.2 stretch 32 times, the others 8 times; all of them
/// were trained on 8192 positions before.
pub(super) fn frequency_divisors(shape: &ModelShape) -> Vec<f32> {
    const TRAINED: f64 = 8192.0;
    const LOW: f64 = 1.0;
    const HIGH: f64 = 4.0;
    let factor = if shape.n_layers <= 28 { 32.0 } else { 8.0 };
    let base = f64::from(defaults(shape).rope_base);
    let pairs = shape.head_dim / 2;
    let divisor = |pair: u64| {
        #[allow(clippy::cast_precision_loss, reason = "a few hundred pairs at most")]
        let power = pair as f64 / pairs as f64;
        let wavelength = std::f64::consts::TAU * base.powf(power);
        if wavelength < TRAINED / HIGH {
            return 1.0;
        }
        if wavelength > TRAINED / LOW {
            return factor;
        }
        let smooth = (TRAINED / wavelength - LOW) / (HIGH - LOW);
        1.0 / ((1.0 - smooth) / factor + smooth)
    };
    #[allow(clippy::cast_possible_truncation, reason = "from 1 to 32")]
    (0..pairs).map(|pair| divisor(pair) as f32).collect()
}
