//! Formats in which the weights of a whole model are stored.

use std::fmt;
use std::str::FromStr;

use super::{Beside, GgmlType, Scheme, UnknownFormat};

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
    /// GPTQ with another number of bits: 2, 3 or 8.
    Gptq {
        /// Bits of a weight.
        bits: u64,
        /// Weights that share a scale and a zero point.
        group: u64,
    },
    /// 8-bit floats with one f32 scale per linear layer.
    Fp8,
    /// 8-bit floats with one f32 scale for every 128 × 128 of a weight.
    Fp8Block,
    /// 8-bit floats with a scale for every output, as compressed-tensors' dynamic scheme has them.
    Fp8Dynamic,
    /// 4-bit floats with an 8-bit scale for every 16.
    Nvfp4,
    /// 4-bit floats with an 8-bit scale for every 32.
    Mxfp4,
    /// 4-bit integers, a scale for every 128, as compressed-tensors packs them.
    W4A16,
    /// 8-bit integers with a scale for every output.
    W8A8,
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
const NAMED: [(&str, WeightFormat); 16] = [
    ("nf4", WeightFormat::Nf4 { double_quant: false }),
    ("nf4-dq", WeightFormat::Nf4 { double_quant: true }),
    ("fp4", WeightFormat::Fp4 { double_quant: false }),
    ("fp4-dq", WeightFormat::Fp4 { double_quant: true }),
    ("int8", WeightFormat::Int8),
    ("fp8", WeightFormat::Fp8),
    ("fp8-block", WeightFormat::Fp8Block),
    ("fp8-dynamic", WeightFormat::Fp8Dynamic),
    ("nvfp4", WeightFormat::Nvfp4),
    ("mxfp4", WeightFormat::Mxfp4),
    ("w4a16", WeightFormat::W4A16),
    ("w8a8", WeightFormat::W8A8),
    ("bf16", WeightFormat::Bf16),
    ("f16", WeightFormat::F16),
    ("f32", WeightFormat::F32),
    ("as-stored", WeightFormat::AsStored),
];

/// The usual names of formats whose scales are shared by groups.
const GROUPED: [&str; 3] = ["gptq-int4", "gptq-int8", "awq-int4"];

impl WeightFormat {
    /// Every name that has no group size of its own choice: GGUF file types first, then the others.
    ///
    /// ```
    /// use vramplan_planner::dtype::WeightFormat;
    ///
    /// assert!(WeightFormat::names().any(|name| name == "q4_k_m"));
    /// assert!(WeightFormat::names().all(|name| name.parse::<WeightFormat>().is_ok()));
    /// ```
    pub fn names() -> impl Iterator<Item = &'static str> {
        let gguf = FileType::ALL.iter().map(|file_type| file_type.name());
        gguf.chain(NAMED.iter().map(|(name, _)| *name)).chain(GROUPED)
    }

    /// The names that the command line takes, for messages.
    pub fn known() -> String {
        let named = NAMED.iter().map(|(name, _)| *name);
        let grouped = GROUPED.into_iter().chain(["gptq-int4-gN", "awq-int4-gN"]);
        let others: Vec<_> = named.chain(grouped).map(|name| format!("`{name}`")).collect();
        let gguf =
            "a GGUF file type such as `q4_k_m`, `q8_0`, `q6_k`, `q3_k_m`, `iq4_xs` or `mxfp4_moe`";
        format!("{gguf}, or {}", others.join(", "))
    }

    /// How every linear layer of a decoder layer is stored, in formats that have a rule for it alone.
    pub const fn scheme(self) -> Option<Scheme> {
        const BLOCK: Scheme = Scheme::Fp8Block { rows: 128, columns: 128 };
        Some(match self {
            Self::Fp8Block => BLOCK,
            Self::Fp8Dynamic => Scheme::Fp8Channel,
            Self::Nvfp4 => Scheme::Nvfp4 { group: 16 },
            Self::Mxfp4 => Scheme::Mxfp4,
            Self::W4A16 => Scheme::Packed { bits: 4, group: DEFAULT_GROUP, beside: Beside::Shape },
            Self::W8A8 => Scheme::Int8Channel,
            Self::Gptq { bits, group } => {
                Scheme::Packed { bits, group, beside: Beside::ZerosAndGroups }
            }
            _ => return None,
        })
    }

    /// Whether it is one of the types that models are trained in.
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::Bf16)
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
            Self::Gptq { bits, group: DEFAULT_GROUP } => f.pad(&format!("gptq-int{bits}")),
            Self::Gptq { bits, group } => f.pad(&format!("gptq-int{bits}-g{group}")),
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
        let name = usual_name(&name);
        let unknown = || UnknownFormat {
            name: text.to_owned(),
            kind: "weight",
            known: instead_of(name).map_or_else(Self::known, str::to_owned),
        };
        if let Some((_, format)) = NAMED.iter().find(|(known, _)| *known == name) {
            return Ok(*format);
        }
        let is_it = |file: &&FileType| file.name() == name || is_unseparated(name, file.name());
        if let Some(file_type) = FileType::ALL.iter().find(is_it) {
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
        for bits in [2, 3, 8] {
            if let Some(group) = grouped(&format!("gptq-int{bits}")) {
                return Ok(Self::Gptq { bits, group });
            }
        }
        grouped("gptq-int4")
            .map(|group| Self::GptqInt4 { group })
            .or_else(|| grouped("awq-int4").map(|group| Self::AwqInt4 { group }))
            .ok_or_else(unknown)
    }
}

/// The name here of what people and other tools call a format, where there is one for all runtimes.
fn usual_name(name: &str) -> &str {
    match name {
        "fp16" | "float16" | "half" => "f16",
        "bfloat16" => "bf16",
        "fp32" | "float32" | "float" => "f32",
        "awq" | "awq-4bit" | "awq_marlin" => "awq-int4",
        "gptq" | "gptq-4bit" | "gptq_marlin" | "int4-autoround" | "autoround-int4"
        | "w4a16-autoround" | "autoround-w4a16" => "gptq-int4",
        "gptq-8bit" | "int8-autoround" | "autoround-int8" => "gptq-int8",
        "bnb" | "bnb-4bit" | "bitsandbytes" | "bnb-nf4" | "qlora" => "nf4",
        "bnb-8bit" | "llm.int8" => "int8",
        "float8" => "fp8",
        "q8" => "q8_0",
        "q6" => "q6_k",
        "mxfp4-moe" => "mxfp4_moe",
        other => other,
    }
}

/// Whether a word is a file type's name without what separates its parts, or with dashes: `iq4xs`, `q4-k-m`.
fn is_unseparated(word: &str, name: &str) -> bool {
    let letters = |text: &str| text.replace(['_', '-'], "");
    name.contains('_') && word.len() <= name.len() && letters(word) == letters(name)
}

/// What to say instead of a word that means something else under each runtime, or is of one file alone.
fn instead_of(name: &str) -> Option<&'static str> {
    const FILES: &str = "the file itself, as its makers choose the type of each tensor: \
        `--model FILE.gguf`, or the repository and the file's type, `--model ORG/NAME-GGUF:TYPE`";
    const OWN: &str =
        "no `--weights` for what the file or the repository holds: it is read from there";
    const EXL: &str = "a format that llama.cpp, vLLM or transformers load, as EXL2 and EXL3 files are for \
        ExLlama and TabbyAPI alone: near 4 bits a weight `q4_k_m`, `awq-int4` or `nf4`";
    const ROUNDED: &str = "how many bits: `gptq-int4` for four as AutoRound packs them, `gptq-int8`, `gptq-int3` or `gptq-int2`; \
        no `--weights` for what a repository holds";
    Some(match name {
        "auto_round" | "auto-round" | "autoround" => ROUNDED,
        _ if name.starts_with("ud-") || name.ends_with("_xl") => FILES,
        "auto" | "compressed-tensors" | "modelopt" | "modelopt_fp4" | "gguf" | "safetensors" => OWN,
        _ if name.starts_with("exl2") || name.starts_with("exl3") => EXL,
        "int4" | "4bit" | "4-bit" | "q4" => {
            "`q4_k_m` for llama.cpp, `awq-int4`, `gptq-int4`, `w4a16` or `nvfp4` for vLLM, `nf4` for transformers"
        }
        "8bit" | "8-bit" => {
            "`q8_0` for llama.cpp, `fp8` or `w8a8` for vLLM, `int8` for transformers"
        }
        "q5" => "`q5_k_m` or `q5_k_s`",
        "q3" | "3bit" => "`q3_k_m`, `iq3_m` or `gptq-int3`",
        "q2" | "2bit" => "`q2_k`, `iq2_m` or `gptq-int2`",
        _ => return None,
    })
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
        let grouped = [
            "gptq-int4",
            "awq-int4",
            "gptq-int4-g64",
            "awq-int4-g32",
            "gptq-int8",
            "gptq-int3-g64",
        ];
        let gguf = FileType::ALL.iter().map(|file_type| file_type.name());
        let named = NAMED.iter().map(|(name, _)| *name);
        for name in grouped.into_iter().chain(gguf).chain(named) {
            assert_eq!(name.parse::<WeightFormat>().unwrap().to_string(), name);
        }
        assert_eq!("Q4_K_M".parse(), Ok(WeightFormat::Gguf(FileType::Q4KM)));
    }

    #[test]
    fn unknown_names_list_the_known_ones() {
        for (name, format) in [
            ("fp16", WeightFormat::F16),
            ("AWQ", WeightFormat::AwqInt4 { group: 128 }),
            ("q8", WeightFormat::Gguf(FileType::Q8_0)),
            ("bnb-4bit", WeightFormat::Nf4 { double_quant: false }),
            ("iq4xs", WeightFormat::Gguf(FileType::Iq4Xs)),
            ("Q4-K-M", WeightFormat::Gguf(FileType::Q4KM)),
        ] {
            assert_eq!(name.parse(), Ok(format), "{name}");
        }
        for (name, hint) in [
            ("int4", "`nf4` for transformers"),
            ("ud-q4_k_xl", "--model FILE.gguf"),
            ("exl3-4.0", "TabbyAPI"),
        ] {
            let error = name.parse::<WeightFormat>().unwrap_err().to_string();
            assert!(error.contains(hint), "{error}");
        }
        for name in ["no-such", "gptq-int5", "gptq-int4-g0", "gptq-int4-g100", "awq-int4-", ""] {
            let error = name.parse::<WeightFormat>().unwrap_err();
            assert!(error.to_string().contains("`q4_k_m`"), "{name}");
        }
    }
}
