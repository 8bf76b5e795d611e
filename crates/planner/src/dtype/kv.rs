//! Formats in which keys and values are cached.

use std::fmt;
use std::str::FromStr;

use super::{BlockLayout, GgmlType, UnknownFormat};
use crate::units::{Bytes, Overflow};

/// Bytes of the f16 scale that vramplan's engine keeps per cached row of a head.
const ENGINE_SCALE_BYTES: u64 = 2;

/// Bytes of the scale and the zero point (bf16 or f16 each) of an HQQ or quanto group.
const GROUP_STATE_BYTES: u64 = 4;

/// How keys and values are stored in a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KvFormat {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// vramplan's engine: symmetric int8, one f16 scale per token and head, for keys and values each.
    Int8,
    /// A block format of GGML, as llama.cpp caches it.
    Ggml(GgmlType),
    /// 8-bit floats with a scale per tensor.
    Fp8,
    /// vLLM: 4-bit floats, an 8-bit scale for every 16 of a head.
    Nvfp4,
    /// vLLM: so many bits an element, and an f32 scale per token and head, for keys and values each.
    PerTokenHead(PerTokenHead),
    /// transformers' `QuantizedCache` over HQQ: `bits` per element, scale and zero per `group`.
    Hqq {
        /// Bits per element: 1, 2, 3, 4 or 8.
        bits: u64,
        /// Elements that share a scale and a zero point.
        group: u64,
    },
    /// transformers' `QuantizedCache` over quanto: 2 or 4 bits, scale and shift per `group`.
    Quanto {
        /// Bits per element: 2 or 4.
        bits: u64,
        /// Elements that share a scale and a shift.
        group: u64,
    },
}

/// Formats of vLLM with a scale per token and head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PerTokenHead {
    /// 4-bit integers.
    Int4,
    /// 8-bit integers.
    Int8,
    /// 8-bit floats.
    Fp8,
}

impl PerTokenHead {
    /// Bits of an element.
    const fn bits(self) -> u64 {
        match self {
            Self::Int4 => 4,
            Self::Int8 | Self::Fp8 => 8,
        }
    }
}

/// Bytes of the f32 scale that vLLM keeps per token and head (`kv_cache_interface.py`).
const HEAD_SCALE_BYTES: u64 = 4;

/// Elements that share a scale of one byte in NVFP4.
const NVFP4_GROUP: u64 = 16;

/// Group size of transformers' quantized caches where the name does not say another.
const DEFAULT_GROUP: u64 = 64;

/// The names without parameters.
const NAMED: [(&str, KvFormat); 16] = [
    ("f32", KvFormat::F32),
    ("f16", KvFormat::F16),
    ("bf16", KvFormat::Bf16),
    ("int8", KvFormat::Int8),
    ("fp8", KvFormat::Fp8),
    ("nvfp4", KvFormat::Nvfp4),
    ("int4_per_token_head", KvFormat::PerTokenHead(PerTokenHead::Int4)),
    ("int8_per_token_head", KvFormat::PerTokenHead(PerTokenHead::Int8)),
    ("fp8_per_token_head", KvFormat::PerTokenHead(PerTokenHead::Fp8)),
    ("q8_0", KvFormat::Ggml(GgmlType::Q8_0)),
    ("q5_1", KvFormat::Ggml(GgmlType::Q5_1)),
    ("q5_0", KvFormat::Ggml(GgmlType::Q5_0)),
    ("q4_1", KvFormat::Ggml(GgmlType::Q4_1)),
    ("q4_0", KvFormat::Ggml(GgmlType::Q4_0)),
    ("iq4_nl", KvFormat::Ggml(GgmlType::Iq4Nl)),
    ("hqq8", KvFormat::Hqq { bits: 8, group: DEFAULT_GROUP }),
];

/// What people type, and what it is called here.
const SYNONYMS: [(&str, &str); 13] = [
    ("fp32", "f32"),
    ("float32", "f32"),
    ("fp16", "f16"),
    ("float16", "f16"),
    ("half", "f16"),
    ("bfloat16", "bf16"),
    ("fp8_e4m3", "fp8"),
    ("fp8_e5m2", "fp8"),
    ("q8", "q8_0"),
    ("q4", "q4_0"),
    ("8bit", "int8"),
    ("8-bit", "int8"),
    ("i8", "int8"),
];

/// The names with the default group size.
const GROUPED: [&str; 6] = ["hqq1", "hqq2", "hqq3", "hqq4", "quanto2", "quanto4"];

impl KvFormat {
    /// Every name that has no group size of its own choice.
    ///
    /// ```
    /// use vramplan_planner::dtype::KvFormat;
    ///
    /// assert!(KvFormat::names().all(|name| name.parse::<KvFormat>().is_ok()));
    /// ```
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|(name, _)| *name).chain(GROUPED)
    }

    /// The names that the command line takes, for messages.
    pub fn known() -> String {
        let named = NAMED.iter().map(|(name, _)| *name);
        let grouped = GROUPED.into_iter().chain(["hqq8-gN", "quanto4-gN"]);
        let quoted: Vec<_> = named.chain(grouped).map(|name| format!("`{name}`")).collect();
        format!("one of {}", quoted.join(", "))
    }

    /// Bytes of the keys (or the values) of `tokens` tokens in one layer, scales included.
    ///
    /// `kv_heads × head_dim` elements a token. Blocks run along the elements of one token for GGML
    /// formats, so that is where they must divide ([`Self::blocks_divide`]).
    ///
    /// Sources: llama.cpp `ggml_row_size`; HQQ `Quantizer.quantize` (3 bits: ten to an int32);
    /// quanto `QBitsTensor`.
    pub fn size_of(self, kv_heads: u64, head_dim: u64, tokens: u64) -> Result<Bytes, Overflow> {
        let elements = Bytes::product(&[kv_heads, head_dim, tokens])?.get();
        match self {
            Self::F32 => BlockLayout::new(1, 4).size_of(elements),
            Self::F16 | Self::Bf16 => BlockLayout::new(1, 2).size_of(elements),
            Self::Fp8 => Ok(Bytes::new(elements)),
            // `nvfp4_kv_cache_full_dim` (vLLM `utils/torch_utils.py`).
            Self::Nvfp4 => {
                Bytes::product(&[kv_heads, tokens, head_dim / 2 + head_dim / NVFP4_GROUP])
            }
            Self::PerTokenHead(format) => {
                let scales = Bytes::product(&[kv_heads, tokens, HEAD_SCALE_BYTES])?;
                packed(elements, format.bits(), head_dim)?.plus(scales)
            }
            Self::Int8 => {
                let scales = Bytes::product(&[kv_heads, tokens, ENGINE_SCALE_BYTES])?;
                Bytes::new(elements).plus(scales)
            }
            Self::Ggml(ty) => {
                let row = Bytes::product(&[kv_heads, head_dim])?.get();
                ty.layout().size_of(row)?.times(tokens)
            }
            Self::Hqq { bits, group } | Self::Quanto { bits, group } => {
                let payload = packed(elements, bits, group)?;
                payload.plus(Bytes::product(&[elements.div_ceil(group), GROUP_STATE_BYTES])?)
            }
        }
    }

    /// Whether `kv_heads × head_dim` elements divide into whole blocks of this format.
    pub const fn blocks_divide(self, kv_heads: u64, head_dim: u64) -> bool {
        match self {
            Self::Ggml(ty) => ty.layout().divides(head_dim),
            Self::Nvfp4 => head_dim.is_multiple_of(NVFP4_GROUP),
            Self::Hqq { group, .. } | Self::Quanto { group, .. } => {
                (kv_heads * head_dim).is_multiple_of(group)
            }
            _ => true,
        }
    }

    /// Whether attention has to expand the cache before it can read it.
    pub const fn is_quantized(self) -> bool {
        matches!(
            self,
            Self::Int8
                | Self::Ggml(_)
                | Self::Fp8
                | Self::Nvfp4
                | Self::PerTokenHead(_)
                | Self::Hqq { .. }
                | Self::Quanto { .. }
        )
    }

    /// The formula of [`Self::size_of`] for one element, in words.
    pub fn per_element(self) -> String {
        match self {
            Self::F32 => "4 B an element".to_owned(),
            Self::F16 | Self::Bf16 => "2 B an element".to_owned(),
            Self::Fp8 => "1 B an element".to_owned(),
            Self::Int8 => "1 B an element, 2 B per head for its scale".to_owned(),
            Self::Nvfp4 => "4 bits an element, 1 B per 16 elements for their scale".to_owned(),
            Self::PerTokenHead(format) => {
                format!("{} bits an element, 4 B per head for its scale", format.bits())
            }
            Self::Ggml(ty) => {
                let layout = ty.layout();
                format!("{} B per {} elements", layout.bytes, layout.elements)
            }
            Self::Hqq { bits, group } | Self::Quanto { bits, group } => {
                format!("{bits} bits an element, {GROUP_STATE_BYTES} B per {group} elements")
            }
        }
    }
}

/// `elements` values of `bits` bits: bytes, except that 3-bit values go ten to an int32, along a group
/// (HQQ's default axis), the last of which is filled up.
fn packed(elements: u64, bits: u64, group: u64) -> Result<Bytes, Overflow> {
    if bits == 3 {
        return Bytes::product(&[elements.div_ceil(group), group.div_ceil(10), 4]);
    }
    Ok(Bytes::new(Bytes::product(&[elements, bits])?.get().div_ceil(8)))
}

impl fmt::Display for KvFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((name, _)) = NAMED.iter().find(|(_, format)| format == self) {
            return f.pad(name);
        }
        let (backend, bits, group) = match *self {
            Self::Hqq { bits, group } => ("hqq", bits, group),
            Self::Quanto { bits, group } => ("quanto", bits, group),
            Self::Ggml(ty) => return f.pad(&ty.name().to_ascii_lowercase()),
            _ => return f.pad("?"),
        };
        let suffix = if group == DEFAULT_GROUP { String::new() } else { format!("-g{group}") };
        f.pad(&format!("{backend}{bits}{suffix}"))
    }
}

impl FromStr for KvFormat {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.trim().to_ascii_lowercase();
        let name = SYNONYMS
            .iter()
            .find(|(typed, _)| *typed == name)
            .map_or(name, |(_, known)| (*known).to_owned());
        if let Some((_, format)) = NAMED.iter().find(|(known, _)| *known == name) {
            return Ok(*format);
        }
        grouped(&name).ok_or_else(|| UnknownFormat {
            name: text.to_owned(),
            kind: "KV cache",
            known: Self::known(),
        })
    }
}

/// `hqq4`, `quanto2-g32` and the like.
fn grouped(name: &str) -> Option<KvFormat> {
    let (base, group) = match name.split_once("-g") {
        Some((base, group)) => (base, group.parse().ok()?),
        None => (name, DEFAULT_GROUP),
    };
    if !u64::is_power_of_two(group) || !(8..=1024).contains(&group) {
        return None;
    }
    let hqq = base.strip_prefix("hqq").and_then(|bits| bits.parse().ok());
    let quanto = base.strip_prefix("quanto").and_then(|bits| bits.parse().ok());
    match (hqq, quanto) {
        (Some(bits @ (1 | 2 | 3 | 4 | 8)), _) => Some(KvFormat::Hqq { bits, group }),
        (_, Some(bits @ (2 | 4))) => Some(KvFormat::Quanto { bits, group }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys and values of one token of Qwen2.5-14B: 48 layers, 8 KV heads of 128.
    fn qwen_14b_token(name: &str) -> u64 {
        let format: KvFormat = name.parse().unwrap();
        2 * 48 * format.size_of(8, 128, 1).unwrap().get()
    }

    #[test]
    fn a_token_of_qwen_14b_takes_the_published_bytes() {
        assert_eq!(qwen_14b_token("f16"), 2 * 48 * 8 * 128 * 2);
        assert_eq!(qwen_14b_token("bf16"), 196_608);
        assert_eq!(qwen_14b_token("f32"), 393_216);
        assert_eq!(qwen_14b_token("int8"), 2 * 48 * 8 * (128 + 2));
        assert_eq!(qwen_14b_token("fp8"), 98_304);
        assert_eq!(qwen_14b_token("q8_0"), 98_304 / 32 * 34);
        assert_eq!(qwen_14b_token("q5_1"), 73_728);
        assert_eq!(qwen_14b_token("q4_0"), 98_304 / 32 * 18);
        assert_eq!(qwen_14b_token("hqq8"), 98_304 + 98_304 / 64 * 4);
        assert_eq!(qwen_14b_token("hqq4"), 55_296);
        assert_eq!(qwen_14b_token("quanto4"), 55_296);
        assert_eq!(qwen_14b_token("quanto2"), 30_720);
        assert_eq!(qwen_14b_token("hqq4-g32"), 98_304 / 2 + 98_304 / 32 * 4);
    }

    #[test]
    fn names_round_trip_and_others_are_refused() {
        for name in ["f16", "int8", "q8_0", "iq4_nl", "hqq3", "quanto2-g32", "hqq8"] {
            assert_eq!(name.parse::<KvFormat>().unwrap().to_string(), name);
        }
        for name in ["int4", "hqq5", "quanto8", "hqq8-g0", "hqq8-g65", "q4_k", ""] {
            assert!(name.parse::<KvFormat>().is_err(), "{name}");
        }
    }

    #[test]
    fn three_bit_values_go_ten_to_an_int32() {
        let hqq3 = KvFormat::Hqq { bits: 3, group: 64 };
        // A group of 64 takes seven of them.
        assert_eq!(hqq3.size_of(8, 80, 1), Ok(Bytes::new(640 / 64 * (7 * 4 + 4))));
    }
}
