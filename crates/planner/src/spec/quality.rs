//! What was published of how far formats are from the model as it was trained.
//!
//! Source: llama.cpp, `tools/perplexity/README.md`, "`LLaMA` 3 8b Scoreboard", revision f364eb6f on an RTX 4090: the mean
//! Kullback-Leibler divergence of Llama 3 8B's next-token probabilities from those of its f16 file, over the Wikitext-2
//! test set. Other models lose other amounts; the order is what carries over. A file with per-tensor overrides
//! (`UD-…`, `…_L`, `…_XL`) is none of these.

use serde::{Deserialize, Serialize};

use crate::dtype::FileType;

/// A published divergence, in nats.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Quality {
    /// Quantized without an importance matrix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plain: Option<f64>,
    /// With one, of 10 million tokens of Wikitext.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imatrix: Option<f64>,
}

/// Where the figures are from, for people.
pub const QUALITY_SOURCE: &str =
    "mean KL divergence of Llama 3 8B from its f16 file (llama.cpp, tools/perplexity/README.md)";

/// The published divergence of a file type.
pub const fn quality(file_type: FileType) -> Option<Quality> {
    use FileType as F;
    let (plain, imatrix) = match file_type {
        F::Q8_0 => (Some(0.001_355), None),
        F::Q6K => (Some(0.005_452), None),
        F::Q5KM => (Some(0.010_762), None),
        F::Q5KS => (Some(0.016_595), None),
        F::Q5_1 => (Some(0.018_045), None),
        F::Q5_0 => (Some(0.022_239), None),
        F::Q4KM => (Some(0.031_273), Some(0.028_152)),
        F::Q4KS => (Some(0.043_136), Some(0.031_951)),
        F::Iq4Nl => (None, Some(0.035_742)),
        F::Iq4Xs => (None, Some(0.036_334)),
        F::Q4_1 => (Some(0.071_683), None),
        F::Q4_0 => (Some(0.071_940), None),
        F::Q3KL => (Some(0.087_176), Some(0.073_077)),
        F::Q3KM => (Some(0.101_913), Some(0.084_358)),
        F::Q3KS => (Some(0.228_217), Some(0.199_821)),
        F::Iq3M => (None, Some(0.102_534)),
        F::Iq3S => (None, Some(0.111_278)),
        F::Iq3Xs => (None, Some(0.138_693)),
        F::Iq3Xxs => (None, Some(0.183_625)),
        F::Iq2M => (None, Some(0.325_989)),
        F::Q2K => (Some(0.445_132), Some(0.332_223)),
        F::Q2KS => (None, Some(0.403_360)),
        F::Iq2S => (None, Some(0.439_197)),
        F::Iq2Xs => (None, Some(0.546_290)),
        F::Iq2Xxs => (None, Some(0.812_022)),
        F::Iq1M => (None, Some(1.393_084)),
        F::Iq1S => (None, Some(2.254_554)),
        F::Tq1_0 | F::Tq2_0 | F::Mxfp4Moe => return None,
    };
    Some(Quality { plain, imatrix })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_importance_matrix_only_ever_helped() {
        for &file_type in FileType::ALL {
            let Some(Quality { plain, imatrix }) = quality(file_type) else { continue };
            assert!(plain.is_some() || imatrix.is_some());
            if let (Some(plain), Some(imatrix)) = (plain, imatrix) {
                assert!(imatrix < plain, "{}", file_type.name());
            }
        }
    }
}
