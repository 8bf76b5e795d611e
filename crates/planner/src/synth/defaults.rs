//! What a GGUF file states about a model that its shape does not: by family.
//!
//! A profile has neither a RoPE base nor an epsilon, because no memory depends on them. These are the
//! defaults of the family's configuration class in transformers 5.23.0, and of Qwen what the `config.json`
//! of every published size says; the file's description says that they are defaults.

use crate::spec::ModelShape;
use crate::spec::families::{Frequencies, Synthetic};

/// Llama 3's base: its configuration files, as `rope_base` of torchtune's `llama3` builders.
const LLAMA_3: Synthetic = Synthetic { rope_base: 500_000.0, epsilon: 1e-5 };

/// What a family without a row of its own would have.
const OTHER: Synthetic = Synthetic { rope_base: 10_000.0, epsilon: 1e-6 };

/// The defaults for a model of this shape.
pub(super) fn defaults(shape: &ModelShape) -> Synthetic {
    let family = shape.architecture.family();
    if family.gguf_extras.frequencies == Frequencies::OfLlama3 && is_llama_3(shape) {
        return LLAMA_3;
    }
    family.synthetic.unwrap_or(OTHER)
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
