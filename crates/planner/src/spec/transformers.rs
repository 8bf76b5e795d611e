//! Versions of transformers, and of the library that quantizes for it.

use std::fmt;
use std::str::FromStr;

use super::{Architecture, BitsandbytesVersion, bitsandbytes, version};

use crate::text::printable;

/// Versions whose forward passes, or whose modules, differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TransformersVersion {
    /// 4.36 to 4.44: a pass computes the logits of every position and copies them to f32, even where
    /// `generate` reads the last only (issue 30860).
    AllLogits,
    /// 4.45 to 4.53: `generate` asks for the last position (`logits_to_keep`, pull request 31292). SDPA is
    /// given keys and values repeated for every query head, as before.
    RepeatedHeads,
    /// 4.54 to 4.57: they are repeated where there is a mask (`use_gqa_in_sdpa`), which a pre-allocated cache
    /// always has, as before (`is_compileable` in `masking_utils.py`). Every expert is made of `nn.Linear`
    /// modules of its own, as before.
    ExpertModules,
    /// From 5.0 on: the experts of a layer are two parameters of one module.
    #[default]
    Current,
}

impl TransformersVersion {
    /// The versions that it stands for.
    pub const fn range(self) -> &'static str {
        match self {
            Self::AllLogits => "4.36 to 4.44",
            Self::RepeatedHeads => "4.45 to 4.53",
            Self::ExpertModules => "4.54 to 4.57",
            Self::Current => "5.0 and later",
        }
    }

    /// Whether it has a family: the packages of `transformers/models` of 4.44.2 and 4.57.6, which are
    /// the last of their generations.
    pub fn has(self, family: Architecture) -> bool {
        self >= family.family().transformers.since
    }

    /// Whether SDPA is given keys and values repeated for every query head in a pass of so many new tokens. Since
    /// 5.0 a single one's query is cut by groups instead (`pack_gqa`).
    pub const fn repeats_heads(self, is_masked: bool, rows: u64) -> bool {
        match self {
            Self::AllLogits | Self::RepeatedHeads => true,
            Self::ExpertModules => is_masked,
            Self::Current => is_masked && rows > 1,
        }
    }

    /// Whether a pre-allocated cache has a mask in every pass, and is attended to as a whole.
    pub fn masks_whole_cache(self) -> bool {
        self != Self::Current
    }

    /// Whether every expert of a family has `nn.Linear` modules of its own. gpt-oss and Qwen3-VL have had
    /// their experts in two parameters from the first (4.57.6 `modeling_gpt_oss.py`,
    /// `modeling_qwen3_vl_moe.py`).
    pub fn has_expert_modules(self, family: Architecture) -> bool {
        self != Self::Current && !family.family().experts.always_packed
    }

    /// Whether the router of a family is an `nn.Linear`: DeepSeek's, GLM's and gpt-oss's are modules of
    /// their own (4.57.6 `modeling_*.py`), and all are since 5.0.
    pub fn has_linear_router(self, family: Architecture) -> bool {
        self != Self::Current && family.family().experts.linear_router
    }

    /// Whether the first workspace of cuBLAS, and of cuBLASLt, stays: `PyTorch` asks for one with every product since
    /// 2.15 only, which none of the versions before 5 came out beside.
    pub fn keeps_workspaces(self) -> bool {
        self != Self::Current
    }

    /// Whether caches of windowed layers keep no more than the window: a grown one and a static one of 4.53.3 keep all
    /// tokens (`DynamicCache` and `StaticCache` in `cache_utils.py`), those of 4.57.6 do.
    pub fn windows_caches(self) -> bool {
        self >= Self::ExpertModules
    }

    /// Whether the first block of loading counts a tied matrix twice: 4.53.3 sums up all names of the state, 4.57.6
    /// leaves those out that are tied (`caching_allocator_warmup` in `modeling_utils.py`).
    pub fn warms_up_tied_twice(self) -> bool {
        self < Self::ExpertModules
    }

    /// Whether the router of a family stays in f32 whatever type is asked for: releases before 5.0 cast every
    /// parameter to it, later ones leave what its module makes in f32 (`core_model_loading.py`).
    pub fn keeps_router_in_f32(self, family: Architecture) -> bool {
        self == Self::Current && family.family().transformers.router_in_f32
    }
}

impl fmt::Display for TransformersVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.range())
    }
}

impl FromStr for TransformersVersion {
    type Err = String;

    /// `latest`, or a version such as `4.44.2`.
    fn from_str(text: &str) -> Result<Self, String> {
        match version::parse(text) {
            Some((4, 36..=44)) => Ok(Self::AllLogits),
            Some((4, 45..=53)) => Ok(Self::RepeatedHeads),
            Some((4, 54..=57)) => Ok(Self::ExpertModules),
            Some(version::LATEST | (5, _)) => Ok(Self::Current),
            _ => Err(format!(
                "`{}` is not a version of transformers: expected `4.36` to `4.57`, `5.0` and later, or `latest`",
                printable(text)
            )),
        }
    }
}

/// What is installed together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransformersStack {
    /// transformers.
    pub transformers: TransformersVersion,
    /// bitsandbytes, where the weights are in one of its formats.
    pub bitsandbytes: BitsandbytesVersion,
    /// Whether `PyTorch`'s allocator maps pages to segments that grow
    /// (`PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True`).
    pub expandable_segments: bool,
}

impl fmt::Display for TransformersStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, bitsandbytes {}", self.transformers, self.bitsandbytes)
    }
}

impl FromStr for TransformersStack {
    type Err = String;

    /// A version of transformers, `bitsandbytes=` and a version of it, or both with a comma between.
    fn from_str(text: &str) -> Result<Self, String> {
        let (mut transformers, mut library) = (None, None);
        for part in text.split(',').map(str::trim) {
            let twice = match part.split_once('=') {
                None => transformers.replace(part.parse::<TransformersVersion>()?).is_some(),
                Some(("transformers", version)) => transformers.replace(version.parse()?).is_some(),
                Some(("bitsandbytes", version)) => {
                    library.replace(bitsandbytes::parse(version)?).is_some()
                }
                Some((name, _)) => {
                    return Err(format!(
                        "`{}` is not a library whose version can be chosen: expected `transformers` or `bitsandbytes`",
                        printable(name)
                    ));
                }
            };
            if twice {
                return Err(format!("`{}` names one library twice", printable(text)));
            }
        }
        let transformers = transformers.unwrap_or_default();
        let (bitsandbytes, minor) = library.unwrap_or((BitsandbytesVersion::default(), u64::MAX));
        if transformers == TransformersVersion::Current
            && minor < bitsandbytes::OLDEST_OF_TRANSFORMERS_5
        {
            return Err(format!(
                "transformers 5 does not take bitsandbytes 0.{minor}: expected `0.46` or later, or \
                 transformers 4 beside it, such as `4.57,bitsandbytes=0.{minor}`"
            ));
        }
        Ok(Self { transformers, bitsandbytes, expandable_segments: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_belong_to_a_generation() {
        for (text, version) in [
            ("latest", TransformersVersion::Current),
            ("5.23.0", TransformersVersion::Current),
            ("v4.57.6", TransformersVersion::ExpertModules),
            ("4.54.0", TransformersVersion::ExpertModules),
            ("4.53.3", TransformersVersion::RepeatedHeads),
            ("v4.45.0", TransformersVersion::RepeatedHeads),
            ("4.44.2", TransformersVersion::AllLogits),
            ("4.36", TransformersVersion::AllLogits),
        ] {
            assert_eq!(text.parse(), Ok(version), "{text}");
        }
        for text in ["4.35", "4.99", "6.0", "3", "", "five", "4.44x", "4"] {
            assert!(text.parse::<TransformersVersion>().is_err(), "{text}");
        }
    }

    #[test]
    fn two_libraries_are_named_in_one_flag() {
        use BitsandbytesVersion as B;
        use TransformersVersion as T;
        for (text, transformers, bitsandbytes) in [
            ("latest", T::Current, B::Current),
            ("4.57", T::ExpertModules, B::Current),
            ("4.57,bitsandbytes=0.45", T::ExpertModules, B::SingleRow),
            ("bitsandbytes=0.43.3, 4.44", T::AllLogits, B::SingleRow),
            ("bitsandbytes=0.49", T::Current, B::SingleRow),
            ("transformers=5.1,bitsandbytes=latest", T::Current, B::Current),
        ] {
            let stack =
                TransformersStack { transformers, bitsandbytes, expandable_segments: false };
            assert_eq!(text.parse(), Ok(stack), "{text}");
        }
        for (text, message) in [
            ("bitsandbytes=0.45", "`4.57,bitsandbytes=0.45`"),
            ("4.57,4.44", "twice"),
            ("4.57,bitsandbytes=1.0", "not a version of bitsandbytes"),
            ("4.57,torch=2.4", "`torch` is not a library"),
            ("4.57,", "`` is not a version of transformers"),
        ] {
            let error = text.parse::<TransformersStack>().unwrap_err();
            assert!(error.contains(message), "{text}: {error}");
        }
    }
}
