//! Formats in which the weights of a whole model are stored.

use std::fmt;
use std::str::FromStr;

use super::{GgmlType, UnknownFormat};

macro_rules! file_types {
    ($($variant:ident, $name:literal, $base:ident;)*) => {
        /// A file type of llama.cpp's quantizer: a base type and a rule for the exceptions.
        ///
        /// The rule itself is in `estimate::weights`; here is only what a name means.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs)]
        pub enum FileType { $($variant),* }

        impl FileType {
            /// Every file type, smallest names first.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name on the command line, such as `q4_k_m`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// The type of the tensors that no exception applies to.
            pub const fn base(self) -> GgmlType {
                match self { $(Self::$variant => GgmlType::$base),* }
            }
        }
    };
}

file_types! {
    Iq1S, "iq1_s", Iq1S;
    Iq1M, "iq1_m", Iq1M;
    Tq1_0, "tq1_0", Tq1_0;
    Tq2_0, "tq2_0", Tq2_0;
    Iq2Xxs, "iq2_xxs", Iq2Xxs;
    Iq2Xs, "iq2_xs", Iq2Xs;
    Iq2S, "iq2_s", Iq2Xs;
    Iq2M, "iq2_m", Iq2S;
    Q2K, "q2_k", Q2K;
    Q2KS, "q2_k_s", Q2K;
    Iq3Xxs, "iq3_xxs", Iq3Xxs;
    Iq3Xs, "iq3_xs", Iq3S;
    Iq3S, "iq3_s", Iq3S;
    Iq3M, "iq3_m", Iq3S;
    Q3KS, "q3_k_s", Q3K;
    Q3KM, "q3_k_m", Q3K;
    Q3KL, "q3_k_l", Q3K;
    Iq4Xs, "iq4_xs", Iq4Xs;
    Iq4Nl, "iq4_nl", Iq4Nl;
    Q4_0, "q4_0", Q4_0;
    Q4_1, "q4_1", Q4_1;
    Q4KS, "q4_k_s", Q4K;
    Q4KM, "q4_k_m", Q4K;
    Mxfp4Moe, "mxfp4_moe", Mxfp4;
    Q5_0, "q5_0", Q5_0;
    Q5_1, "q5_1", Q5_1;
    Q5KS, "q5_k_s", Q5K;
    Q5KM, "q5_k_m", Q5K;
    Q6K, "q6_k", Q6K;
    Q8_0, "q8_0", Q8_0;
}

/// How the weights of a model are stored on the GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WeightFormat {
    /// As the file at hand stores them, tensor by tensor.
    AsStored,
    /// A file type of llama.cpp's quantizer.
    Gguf(FileType),
    /// bitsandbytes NF4: 4 bits and an f32 scale per 64 weights, or with `double_quant` an 8-bit
    /// scale per 64 and an f32 scale per 256 of those.
    Nf4 {
        /// Whether the scales are quantized too.
        double_quant: bool,
    },
    /// bitsandbytes FP4: the sizes of NF4.
    Fp4 {
        /// Whether the scales are quantized too.
        double_quant: bool,
    },
    /// bitsandbytes `LLM.int8()`: 8 bits and an f32 scale per output row.
    Int8,
    /// GPTQ, 4 bits, with its `g_idx`.
    GptqInt4 {
        /// Weights that share a scale and a zero point.
        group: u64,
    },
    /// AWQ, 4 bits.
    AwqInt4 {
        /// Weights that share a scale and a zero point.
        group: u64,
    },
    /// 8-bit floats with one f32 scale per linear layer.
    Fp8,
    /// bfloat16.
    Bf16,
    /// IEEE half precision.
    F16,
    /// IEEE single precision.
    F32,
}

/// Group size of GPTQ and AWQ where the name does not say another.
const DEFAULT_GROUP: u64 = 128;

/// The names without parameters, in the order in which messages list them.
const NAMED: [(&str, WeightFormat); 10] = [
    ("nf4", WeightFormat::Nf4 { double_quant: false }),
    ("nf4-dq", WeightFormat::Nf4 { double_quant: true }),
    ("fp4", WeightFormat::Fp4 { double_quant: false }),
    ("fp4-dq", WeightFormat::Fp4 { double_quant: true }),
    ("int8", WeightFormat::Int8),
    ("fp8", WeightFormat::Fp8),
    ("bf16", WeightFormat::Bf16),
    ("f16", WeightFormat::F16),
    ("f32", WeightFormat::F32),
    ("as-stored", WeightFormat::AsStored),
];

impl WeightFormat {
    /// The names that the command line takes, for messages.
    pub fn known() -> String {
        let named = NAMED.iter().map(|(name, _)| *name);
        let grouped = ["gptq-int4", "awq-int4", "gptq-int4-gN", "awq-int4-gN"];
        let others: Vec<_> = named.chain(grouped).map(|name| format!("`{name}`")).collect();
        let gguf = "a GGUF file type such as `q4_k_m`, `q8_0`, `q6_k`, `q3_k_m` or `iq4_xs`";
        format!("{gguf}, or {}", others.join(", "))
    }

    /// Whether a GGUF file can hold weights like this.
    pub const fn is_gguf(self) -> bool {
        matches!(self, Self::Gguf(_) | Self::AsStored | Self::Bf16 | Self::F16 | Self::F32)
    }
}

impl fmt::Display for WeightFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gguf(file_type) => f.pad(file_type.name()),
            Self::GptqInt4 { group: DEFAULT_GROUP } => f.pad("gptq-int4"),
            Self::AwqInt4 { group: DEFAULT_GROUP } => f.pad("awq-int4"),
            Self::GptqInt4 { group } => f.pad(&format!("gptq-int4-g{group}")),
            Self::AwqInt4 { group } => f.pad(&format!("awq-int4-g{group}")),
            other => {
                let name = NAMED.iter().find(|(_, format)| format == other).map_or("?", |(n, _)| n);
                f.pad(name)
            }
        }
    }
}

impl FromStr for WeightFormat {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.trim().to_ascii_lowercase();
        let unknown =
            || UnknownFormat { name: text.to_owned(), kind: "weight", known: Self::known() };
        if let Some((_, format)) = NAMED.iter().find(|(known, _)| *known == name) {
            return Ok(*format);
        }
        if let Some(file_type) = FileType::ALL.iter().find(|file_type| file_type.name() == name) {
            return Ok(Self::Gguf(*file_type));
        }
        let grouped = |prefix: &str| -> Option<u64> {
            match name.strip_prefix(prefix)? {
                "" => Some(DEFAULT_GROUP),
                rest => {
                    rest.strip_prefix("-g")?.parse().ok().filter(|group: &u64| valid_group(*group))
                }
            }
        };
        grouped("gptq-int4")
            .map(|group| Self::GptqInt4 { group })
            .or_else(|| grouped("awq-int4").map(|group| Self::AwqInt4 { group }))
            .ok_or_else(unknown)
    }
}

/// Group sizes are powers of two that an int32 of eight nibbles divides.
const fn valid_group(group: u64) -> bool {
    group.is_power_of_two() && group >= 8 && group <= 4096
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        let grouped = ["gptq-int4", "awq-int4", "gptq-int4-g64", "awq-int4-g32"];
        let gguf = FileType::ALL.iter().map(|file_type| file_type.name());
        let named = NAMED.iter().map(|(name, _)| *name);
        for name in grouped.into_iter().chain(gguf).chain(named) {
            assert_eq!(name.parse::<WeightFormat>().unwrap().to_string(), name);
        }
        assert_eq!("Q4_K_M".parse(), Ok(WeightFormat::Gguf(FileType::Q4KM)));
    }

    #[test]
    fn unknown_names_list_the_known_ones() {
        for name in ["q4", "int4", "gptq-int4-g0", "gptq-int4-g100", "awq-int4-", ""] {
            let error = name.parse::<WeightFormat>().unwrap_err();
            assert!(error.to_string().contains("`q4_k_m`"), "{name}");
        }
    }
}
