//! Versions of llama.cpp, and the generations of its graph that they belong to.

use std::fmt;
use std::str::FromStr;

use crate::text::printable;

/// Graphs of llama.cpp that differ, oldest first. Real logs are the evidence for the three oldest, the library
/// itself for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LlamaCppGeneration {
    /// Until mid-2025: keys and values are copied to a view of the cache, without lists of rows.
    Copies,
    /// Until early 2026 (build 7772): the cache is written by `ggml_set_rows`; the mask is f32, and cast
    /// for flash attention.
    SetRows,
    /// Early 2026 (build 8193): embeddings are an input beside the token ids.
    EmbeddingInput,
    /// Build 9410 (#23764): the mask is f16 for flash attention.
    HalfMaskAlone,
    /// Build 9460 (#23861): a server says how many rows it wants logits for.
    FewOutputs,
    /// Build 9489 (#23907; 0.5.0, and build 9918): the copies of a quantized cache are part of the buffer; the hidden
    /// states of gpt-oss, Qwen3-Next and Qwen3.5 are an output of all rows.
    HalfMask,
    /// 0.6.0: a batch may mix tokens and embeddings, for which there are inputs of their own; a shared expert is
    /// computed with the routed ones.
    MixedBatch,
    /// 0.7.0: what a delta-net gives is no view of its projection; the last hidden state that models with multi-token
    /// prediction keep is that of the rows that get logits.
    PlainDeltaNets,
    /// 0.8.0 (build 12033): what an MLP reads is kept until its gate was applied.
    FusedGates,
}

impl LlamaCppGeneration {
    /// Every generation with what it is called by: a version that is known to belong to it.
    pub const ALL: [(&'static str, Self); 9] = [
        ("2025", Self::Copies),
        ("b7772", Self::SetRows),
        ("b8193", Self::EmbeddingInput),
        ("b9410", Self::HalfMaskAlone),
        ("b9460", Self::FewOutputs),
        ("0.5.0", Self::HalfMask),
        ("0.6.0", Self::MixedBatch),
        ("0.7.0", Self::PlainDeltaNets),
        ("0.8.0", Self::FusedGates),
    ];

    /// The newest.
    pub const NEWEST: Self = Self::FusedGates;

    /// What it is called by.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, generation)| *generation == self).map_or("", |(name, _)| name)
    }

    /// Whether models with multi-token prediction keep the last hidden state of every row: since 0.7.0 only where
    /// it is asked for.
    pub fn keeps_hidden_states(self) -> bool {
        matches!(self, Self::HalfMask | Self::MixedBatch)
    }

    /// Whether they keep that of the rows that get logits.
    pub fn keeps_output_rows(self) -> bool {
        self >= Self::PlainDeltaNets
    }

    /// Whether the mask comes as f16 where attention is fused.
    pub fn has_half_mask(self) -> bool {
        self >= Self::HalfMaskAlone
    }

    /// Whether fused routing and the copies of a quantized cache take part in the plan of the buffer.
    pub fn plans_fusions(self) -> bool {
        self >= Self::HalfMask
    }

    /// Whether embeddings are an input even where token ids are given.
    pub fn has_embedding_input(self) -> bool {
        self >= Self::EmbeddingInput
    }

    /// Whether a server can say how many rows it wants logits for; before, room was made for all.
    pub fn limits_outputs(self) -> bool {
        self >= Self::FewOutputs
    }

    /// Whether the rows of the cache to write to are an input.
    pub fn has_row_inputs(self) -> bool {
        self >= Self::SetRows
    }

    /// Whether there are inputs for batches that mix tokens and embeddings.
    pub fn has_mixed_inputs(self) -> bool {
        self >= Self::MixedBatch
    }

    /// Whether a matrix in 16 bits that a product needs in 32 is widened piece by piece.
    pub fn widens_in_pieces(self) -> bool {
        self >= Self::PlainDeltaNets
    }

    /// Whether some models' heads are made before their token embeddings.
    pub fn makes_heads_first(self) -> bool {
        self < Self::FusedGates
    }

    /// Whether the projection behind a delta-net is read through a view, whose memory the residual cannot take over.
    pub fn views_delta_nets(self) -> bool {
        self < Self::PlainDeltaNets
    }

    /// Whether rotations of a quantized cache are kept by the cache, and no inputs.
    pub fn caches_rotations(self) -> bool {
        self >= Self::FusedGates
    }

    /// Whether what gate and up projections read is kept until the gate was applied.
    pub fn fuses_gates(self) -> bool {
        self >= Self::FusedGates
    }
}

/// A version as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LlamaCppVersion {
    /// Any build before mid-2025, as those had no other name here.
    Before2025,
    /// The number of a build: 9918 of `b9918`.
    Build(u32),
    /// A release: 0.6 of `0.6.0`.
    Release(u16, u16),
}

/// What is known of a version: the generation that a plan is of, and those between which it may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The generation.
    pub generation: LlamaCppGeneration,
    /// The oldest that it may be, and the newest.
    pub between: [LlamaCppGeneration; 2],
    /// Whether it is newer than every version that was looked at.
    pub is_beyond: bool,
}

impl Checked {
    /// Whether plans were checked against this very version.
    pub fn is_exact(&self) -> bool {
        !self.is_beyond && self.between[0] == self.between[1]
    }

    const fn exactly(generation: LlamaCppGeneration) -> Self {
        Self { generation, between: [generation; 2], is_beyond: false }
    }
}

/// The newest build that was looked at: 0.8.0 and one commit.
const NEWEST_BUILD: u32 = 12_033;
/// The builds that pull requests 23764, 23861 and 23907 came with: by logs before and behind them, and the releases' notes.
const HALF_MASK: u32 = 9_410;
const FEW_OUTPUTS: u32 = 9_460;
const PLANNED_COPIES: u32 = 9_489;
/// About the build that pull request 23646 of 25 May 2026 came with: between builds 9305 and 9330, by their dates.
const OWN_PREDICTING_TYPES: u32 = 9_320;
/// About the build that pull request 18148 of December 2025 came with: by its date, between builds of logs.
const OUTPUT_FIRST: u32 = 7_450;
/// The first build of a log in which a server has four slots where nothing is said (pull request 16736).
const FOUR_SLOTS: u32 = 6_934;
/// The first build that tries flash attention of itself (`-fa auto`, August 2025).
const AUTOMATIC_FLASH: u32 = 6_325;
/// The build that 0.3.0 is (its release's notes).
const BUILD_OF_0_3: u32 = 10_621;
/// A build of a log whose cache keeps no rotations (unslothai/unsloth#10489: 2176 and 255 MiB of `q8_0`).
const NO_KEPT_ROTATIONS: u32 = 10_840;
/// The newest release that was looked at.
const NEWEST_RELEASE: (u16, u16) = (0, 8);

impl Default for LlamaCppVersion {
    fn default() -> Self {
        Self::Release(NEWEST_RELEASE.0, NEWEST_RELEASE.1)
    }
}

impl LlamaCppVersion {
    /// What is known of this version.
    pub fn checked(self) -> Checked {
        use LlamaCppGeneration as G;
        let among = |generation, oldest, newest| Checked {
            generation,
            between: [oldest, newest],
            is_beyond: false,
        };
        let between = |oldest, newest| among(newest, oldest, newest);
        let beyond = Checked { is_beyond: true, ..Checked::exactly(G::NEWEST) };
        match self {
            Self::Before2025 => Checked::exactly(G::Copies),
            // Builds of logs: all until 7772 that were seen write rows, and were made from mid-2025 on.
            Self::Build(..=6_000) => between(G::Copies, G::SetRows),
            Self::Build(..=7_772) => Checked::exactly(G::SetRows),
            Self::Build(8_193) => Checked::exactly(G::EmbeddingInput),
            Self::Build(..=8_193) => between(G::SetRows, G::EmbeddingInput),
            Self::Build(9_918) | Self::Release(0, ..=5) => Checked::exactly(G::HalfMask),
            // Which changes came with which build is known of three; whether there were others is not.
            Self::Build(..HALF_MASK) => among(G::EmbeddingInput, G::EmbeddingInput, G::HalfMask),
            Self::Build(..FEW_OUTPUTS) => among(G::HalfMaskAlone, G::EmbeddingInput, G::HalfMask),
            Self::Build(..PLANNED_COPIES) => among(G::FewOutputs, G::EmbeddingInput, G::HalfMask),
            Self::Build(..=9_918) => between(G::EmbeddingInput, G::HalfMask),
            // 0.5.0 has the graph of build 9918, and came after 0.3.0.
            Self::Build(..=BUILD_OF_0_3) => Checked::exactly(G::HalfMask),
            Self::Build(..=NO_KEPT_ROTATIONS) => between(G::HalfMask, G::PlainDeltaNets),
            Self::Build(NEWEST_BUILD) | Self::Release(0, 8) => Checked::exactly(G::FusedGates),
            Self::Build(..=NEWEST_BUILD) => between(G::HalfMask, G::FusedGates),
            Self::Release(0, 6) => Checked::exactly(G::MixedBatch),
            Self::Release(0, 7) => Checked::exactly(G::PlainDeltaNets),
            Self::Build(_) | Self::Release(..) => beyond,
        }
    }

    /// The generation that a plan is of.
    pub fn generation(self) -> LlamaCppGeneration {
        self.checked().generation
    }

    /// Whether it is that build or a later one: all releases are.
    const fn since(self, first: u32) -> bool {
        match self {
            Self::Before2025 => false,
            Self::Build(build) => build >= first,
            Self::Release(..) => true,
        }
    }

    /// Whether the output layer is the first of `-ngl` layers that goes to a GPU; before, it was the last.
    pub const fn places_output_first(self) -> bool {
        self.since(OUTPUT_FIRST)
    }

    /// Whether a server that is not told how many slots it has takes four, which share one cache; before, it took one.
    pub const fn has_four_slots(self) -> bool {
        self.since(FOUR_SLOTS)
    }

    /// Whether the cache of a layer that predicts tokens has types of its own (`--cache-type-k-draft`), f16 where nothing
    /// is said; before, it had the model's.
    pub const fn has_predicting_types(self) -> bool {
        self.since(OWN_PREDICTING_TYPES)
    }

    /// Whether attention is fused where nothing is said of it.
    pub const fn tries_flash_attention(self) -> bool {
        self.since(AUTOMATIC_FLASH)
    }
}

impl fmt::Display for LlamaCppVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Before2025 => f.pad("2025"),
            Self::Build(build) => f.pad(&format!("b{build}")),
            Self::Release(major, minor) => f.pad(&format!("{major}.{minor}.0")),
        }
    }
}

impl FromStr for LlamaCppVersion {
    type Err = String;

    /// `latest`, the number of a build such as `b8000`, or a release such as `0.6.0`; `2025` for builds before
    /// mid-2025.
    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = text.to_ascii_lowercase();
        match &*wanted {
            "latest" => return Ok(Self::default()),
            "2025" => return Ok(Self::Before2025),
            _ => {}
        }
        let build = wanted.strip_prefix('b').and_then(digits);
        let release = || {
            let mut parts = wanted.strip_prefix('v').unwrap_or(&wanted).splitn(3, '.');
            let (major, minor) = (digits(parts.next()?)?, digits(parts.next()?)?);
            Some(Self::Release(u16::try_from(major).ok()?, u16::try_from(minor).ok()?))
        };
        build.map(Self::Build).or_else(release).ok_or_else(|| {
            format!(
                "`{}` is not a version of llama.cpp: expected a build such as `b8193`, a release such as `0.6.0`, \
                 `2025` for builds before mid-2025, or `latest`",
                printable(text)
            )
        })
    }
}

fn digits(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use LlamaCppGeneration as G;

    fn checked(text: &str) -> Checked {
        text.parse::<LlamaCppVersion>().unwrap().checked()
    }

    #[test]
    fn versions_belong_to_generations_and_keep_their_names() {
        for (text, generation) in [
            ("0.8.0", G::FusedGates),
            ("b12033", G::FusedGates),
            ("0.7.0", G::PlainDeltaNets),
            ("0.6.0", G::MixedBatch),
            ("0.5.0", G::HalfMask),
            ("b9918", G::HalfMask),
            ("b8193", G::EmbeddingInput),
            ("b7000", G::SetRows),
            ("2025", G::Copies),
        ] {
            assert_eq!(checked(text), Checked::exactly(generation), "{text}");
            assert_eq!(text.parse::<LlamaCppVersion>().unwrap().to_string(), text);
        }
        assert_eq!("latest".parse(), Ok(LlamaCppVersion::default()));
        assert_eq!("V0.6.2-dev".parse(), Ok(LlamaCppVersion::Release(0, 6)));
        for (name, generation) in G::ALL {
            assert_eq!((checked(name).generation, generation.name()), (generation, name), "{name}");
        }
    }

    #[test]
    fn versions_that_nobody_looked_at_lie_between_those_that_were() {
        for (text, oldest, newest) in [
            ("b8500", G::EmbeddingInput, G::HalfMask),
            ("b9420", G::EmbeddingInput, G::HalfMask),
            ("b9500", G::EmbeddingInput, G::HalfMask),
            ("b7900", G::SetRows, G::EmbeddingInput),
            ("b11000", G::HalfMask, G::FusedGates),
        ] {
            let checked = checked(text);
            assert_eq!(checked.between, [oldest, newest], "{text}");
            assert!(!checked.is_exact() && !checked.is_beyond, "{text}");
        }
        for text in ["b12034", "0.9.0", "1.0.0", "b4294967295"] {
            assert!(checked(text).is_beyond && !checked(text).is_exact(), "{text}");
            assert_eq!(text.parse::<LlamaCppVersion>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_changed_is_there_from_its_build_on() {
        let version = |text: &str| text.parse::<LlamaCppVersion>().unwrap();
        let mask = |text| version(text).generation().has_half_mask();
        assert!(!mask("b9409") && mask("b9410"));
        let outputs = |text| version(text).generation().limits_outputs();
        assert!(!outputs("b9459") && outputs("b9460"));
        let copies = |text| version(text).generation().plans_fusions();
        assert!(!copies("b9488") && copies("b9489"));
        assert!(!version("2025").places_output_first() && version("0.5.0").places_output_first());
        assert!(!version("b6000").has_four_slots() && version("latest").has_four_slots());
        let rotations = |text| version(text).generation().caches_rotations();
        assert!(!rotations("b10840") && rotations("b12033"));
        let has_types = |text| version(text).has_predicting_types();
        assert!(!has_types("b9305") && has_types("b9330") && has_types("latest"));
        assert!(
            !version("b5622").tries_flash_attention() && version("b7000").tries_flash_attention()
        );
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in
            ["9918", "", "b", "b-1", "b+1", "0", "0.", ".5", "b99999999999", "0.x", "70000.1"]
        {
            assert!(text.parse::<LlamaCppVersion>().is_err(), "{text}");
        }
    }
}
