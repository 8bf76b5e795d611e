//! Releases of Ollama: which build of llama.cpp each brings, and what it does where it is told nothing.

use std::fmt;
use std::str::FromStr;

use super::LlamaCppVersion;
use crate::text::printable;
use crate::units::Bytes;

/// A release of Ollama, such as `0.32.15`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OllamaVersion {
    major: u16,
    minor: u16,
    patch: u16,
}

/// The first release that starts `llama-server`; those before computed in a process of their own.
const SERVER: OllamaVersion = OllamaVersion::new(0, 30, 0);
/// The first release whose own context follows from the cards.
const TIERS: OllamaVersion = OllamaVersion::new(0, 15, 5);
/// The first whose own context is 4096 tokens; before, it was 2048.
const LONGER: OllamaVersion = OllamaVersion::new(0, 6, 7);
/// The first that leaves it to llama.cpp whether attention is fused; before, it was not unless it was told so.
const FLASH: OllamaVersion = OllamaVersion::new(0, 12, 11);

/// Models whose attention is fused before that, by the first release that does (`fs/ggml/ggml.go`, `FlashAttention`).
const FUSED: [(&str, OllamaVersion); 6] = [
    ("gpt-oss", OllamaVersion::new(0, 12, 0)),
    ("qwen3", OllamaVersion::new(0, 12, 4)),
    ("qwen3moe", OllamaVersion::new(0, 12, 4)),
    ("gemma3", OllamaVersion::new(0, 12, 6)),
    ("qwen3vl", OllamaVersion::new(0, 12, 9)),
    ("qwen3vlmoe", OllamaVersion::new(0, 12, 9)),
];
/// From this release until contexts follow from the cards, gpt-oss has 8192 tokens at least (`server/routes.go`): since 0.12 where
/// the cards have 20 GiB together (`lowVRAM`).
const WIDENS_GPT_OSS: OllamaVersion = OllamaVersion::new(0, 11, 0);
const SPARES_SMALL_CARDS: OllamaVersion = OllamaVersion::new(0, 12, 0);

/// Builds of llama.cpp by the release that came with them first: `LLAMA_CPP_VERSION` of Ollama's repository since 0.30.0. Before,
/// `Makefile.sync` names a commit, whose build is known of two (their pull requests name it), and of the others by its date.
const BUILDS: [(OllamaVersion, u32); 28] = [
    (OllamaVersion::new(0, 5, 8), 4_430),
    (OllamaVersion::new(0, 5, 13), 4_770),
    (OllamaVersion::new(0, 6, 6), 5_140),
    (OllamaVersion::new(0, 6, 7), 5_190),
    (OllamaVersion::new(0, 6, 8), 5_245),
    (OllamaVersion::new(0, 7, 0), 5_355),
    (OllamaVersion::new(0, 11, 5), 6_190),
    (OllamaVersion::new(0, 12, 4), 6_700),
    (OllamaVersion::new(0, 12, 6), 6_770),
    (OllamaVersion::new(0, 12, 11), 6_840),
    (OllamaVersion::new(0, 13, 2), 7_108),
    (OllamaVersion::new(0, 13, 3), 7_340),
    (OllamaVersion::new(0, 13, 5), 7_440),
    (OllamaVersion::new(0, 30, 0), 9_452),
    (OllamaVersion::new(0, 30, 1), 9_479),
    (OllamaVersion::new(0, 30, 4), 9_493),
    (OllamaVersion::new(0, 30, 5), 9_509),
    (OllamaVersion::new(0, 30, 9), 9_626),
    (OllamaVersion::new(0, 30, 10), 9_672),
    (OllamaVersion::new(0, 30, 11), 9_781),
    (OllamaVersion::new(0, 31, 0), 9_840),
    (OllamaVersion::new(0, 31, 2), 9_888),
    (OllamaVersion::new(0, 32, 2), 10_069),
    (OllamaVersion::new(0, 32, 3), 10_091),
    (OllamaVersion::new(0, 32, 6), 10_242),
    (OllamaVersion::new(0, 32, 8), 10_353),
    (OllamaVersion::new(0, 32, 10), 10_380),
    (OllamaVersion::new(0, 32, 14), 10_434),
];

/// The newest release that was looked at, and its build.
const NEWEST: (OllamaVersion, u32) = (OllamaVersion::new(0, 32, 15), 10_488);

impl Default for OllamaVersion {
    fn default() -> Self {
        NEWEST.0
    }
}

impl OllamaVersion {
    /// Releases whose build and defaults were read from their sources.
    pub const CHECKED: [&'static str; 3] = ["0.30.0", "0.31.2", "0.32.15"];

    const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self { major, minor, patch }
    }

    /// The build of llama.cpp that it brings. A release behind the newest that was looked at brings that one's or a later one.
    ///
    /// ```
    /// use vramplan_planner::spec::{LlamaCppVersion, OllamaVersion};
    ///
    /// let version: OllamaVersion = "0.32.5".parse().unwrap();
    /// assert_eq!(version.llama_cpp(), LlamaCppVersion::Build(10_091));
    /// ```
    pub fn llama_cpp(self) -> LlamaCppVersion {
        if self.is_beyond() {
            return LlamaCppVersion::default();
        }
        if self == NEWEST.0 {
            return LlamaCppVersion::Build(NEWEST.1);
        }
        let found = BUILDS.iter().rev().find(|(first, _)| *first <= self);
        found.map_or(LlamaCppVersion::Before2025, |(_, build)| LlamaCppVersion::Build(*build))
    }

    /// Whether it is newer than every release that was read.
    pub fn is_beyond(self) -> bool {
        self > NEWEST.0
    }

    /// Whether it starts `llama-server`, whose plan is llama.cpp's.
    pub fn starts_server(self) -> bool {
        self >= SERVER
    }

    /// Whether attention is fused where nothing is said of it, for a model of this architecture by its name in GGUF files.
    pub fn tries_flash_attention(self, architecture: &str) -> bool {
        let fuses = |(name, first): &(&str, Self)| *name == architecture && self >= *first;
        self >= FLASH || FUSED.iter().any(fuses)
    }

    /// The context of a run that is told none (`server/routes.go`, `vram-based default context`), on cards that have so much
    /// together.
    ///
    /// ```
    /// use vramplan_planner::spec::OllamaVersion;
    /// use vramplan_planner::units::Bytes;
    ///
    /// let of = |gib: u64| OllamaVersion::default().own_context("llama", Bytes::new(gib << 30));
    /// assert_eq!([12, 24, 48].map(of), [4096, 32_768, 262_144]);
    /// ```
    pub fn own_context(self, architecture: &str, total: Bytes) -> u64 {
        let gib = total.get() >> 30;
        let widens = (WIDENS_GPT_OSS..TIERS).contains(&self)
            && (self < SPARES_SMALL_CARDS || gib >= 20)
            && architecture == "gpt-oss";
        let least = if widens { 8192 } else { 0 };
        let own = match gib {
            _ if self < LONGER => 2048,
            _ if self < TIERS => 4096,
            47.. => 262_144,
            23.. => 32_768,
            _ => 4096,
        };
        own.max(least)
    }
}

impl fmt::Display for OllamaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}.{}", self.major, self.minor, self.patch))
    }
}

impl FromStr for OllamaVersion {
    type Err = String;

    /// A release such as `0.32.15`, `v0.31`, `Ollama 0.12.6` or `0.13.4-rc1`, or `latest`.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix("Ollama ").unwrap_or(text);
        if text.eq_ignore_ascii_case("latest") {
            return Ok(Self::default());
        }
        let numbers = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let numbers = numbers.split(['-', '+']).next().unwrap_or_default();
        let mut parts = numbers.split('.');
        let mut next = || parts.next().map(str::parse::<u16>);
        let parsed = match (next(), next(), next(), next()) {
            (Some(Ok(major)), Some(Ok(minor)), patch, None) => {
                patch.unwrap_or(Ok(0)).ok().map(|patch| Self::new(major, minor, patch))
            }
            _ => None,
        };
        parsed.ok_or_else(|| {
            format!(
                "`{}` is not a release of Ollama: expected one such as `{}`, or `latest`",
                printable(text),
                NEWEST.0
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> OllamaVersion {
        text.parse().unwrap()
    }

    #[test]
    fn releases_bring_builds() {
        for (text, build) in [
            ("0.32.15", 10_488),
            ("0.32.14", 10_434),
            ("0.30.0", 9_452),
            ("0.30.3", 9_479),
            ("0.24.0", 7_440),
            ("v0.13.4-rc1", 7_340),
            ("0.9.6", 5_355),
        ] {
            assert_eq!(version(text).llama_cpp(), LlamaCppVersion::Build(build), "{text}");
        }
        assert_eq!(version("0.3.14").llama_cpp(), LlamaCppVersion::Before2025);
        assert_eq!(version("0.40").llama_cpp(), LlamaCppVersion::default());
        assert!(BUILDS.is_sorted() && BUILDS[BUILDS.len() - 1].0 < NEWEST.0);
        assert_eq!(OllamaVersion::CHECKED[2], OllamaVersion::default().to_string());
    }

    #[test]
    fn a_release_has_a_context_of_its_own() {
        let card = Bytes::new(24 << 30);
        for (text, context) in
            [("0.5.0", 2048), ("0.12.0", 4096), ("0.15.4", 4096), ("0.15.5", 32_768)]
        {
            assert_eq!(version(text).own_context("llama", card), context, "{text}");
        }
        assert!(version("0.30.0").starts_server() && !version("0.24.0").starts_server());
        assert!(!version("0.12.10").tries_flash_attention("llama"));
        assert!(version("0.12.6").tries_flash_attention("gemma3"));
        assert!(!version("0.12.5").tries_flash_attention("gemma3"));
        let small = Bytes::new(16 << 30);
        let of_gpt_oss = |text: &str, card| version(text).own_context("gpt-oss", card);
        assert_eq!(["0.11.0", "0.12.6"].map(|text| of_gpt_oss(text, card)), [8192, 8192]);
        assert_eq!(["0.11.0", "0.12.6"].map(|text| of_gpt_oss(text, small)), [8192, 4096]);
    }

    #[test]
    fn what_is_no_release_is_refused() {
        for text in ["", "0", "b10488", "0.x", "0.32.15.1", "-1.2", "0.32.70000"] {
            assert!(text.parse::<OllamaVersion>().is_err(), "{text}");
        }
        assert_eq!(version("latest"), OllamaVersion::default());
    }
}
