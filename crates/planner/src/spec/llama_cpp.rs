//! Generations of llama.cpp.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text::printable;

/// Builds of llama.cpp whose graphs differ, oldest first. Real logs are the evidence for the older ones.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum LlamaCppVersion {
    /// Until mid-2025: keys and values are copied to a view of the cache, without lists of rows.
    Copies,
    /// Until early 2026 (build 7772): the cache is written by `ggml_set_rows`; the mask is f32, and cast
    /// for flash attention.
    SetRows,
    /// Early 2026 (build 8193): embeddings are an input beside the token ids.
    EmbeddingInput,
    /// The newest known: the mask is f16 for flash attention; the copies of a quantized cache are part
    /// of the buffer; the hidden states of gpt-oss, Qwen3-Next and Qwen3.5 are an output of all rows.
    #[default]
    Current,
}

impl LlamaCppVersion {
    /// Whether models with multi-token prediction keep the last hidden state of every row.
    pub const fn keeps_hidden_states(self) -> bool {
        matches!(self, Self::Current)
    }

    /// Whether the mask comes as f16 where attention is fused.
    pub const fn has_half_mask(self) -> bool {
        matches!(self, Self::Current)
    }

    /// Whether fused routing and the copies of a quantized cache take part in the plan of the buffer.
    pub const fn plans_fusions(self) -> bool {
        matches!(self, Self::Current)
    }

    /// Whether embeddings are an input even where token ids are given.
    pub const fn has_embedding_input(self) -> bool {
        matches!(self, Self::EmbeddingInput | Self::Current)
    }

    /// Whether a server can say how many rows it wants logits for; before, room was made for all.
    pub const fn limits_outputs(self) -> bool {
        matches!(self, Self::Current)
    }

    /// Whether the rows of the cache to write to are an input.
    pub const fn has_row_inputs(self) -> bool {
        !matches!(self, Self::Copies)
    }
}

impl LlamaCppVersion {
    /// Every generation with the name of the last build that is known to belong to it.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("2025", Self::Copies),
        ("b7772", Self::SetRows),
        ("b8193", Self::EmbeddingInput),
        ("latest", Self::Current),
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, version)| *version == self).map_or("latest", |(name, _)| name)
    }
}

impl fmt::Display for LlamaCppVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for LlamaCppVersion {
    type Err = String;

    /// `latest`, a name, or the number of a build such as `b8000`: the generation that it belongs to,
    /// as far as the builds that were seen in logs tell.
    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = text.to_ascii_lowercase();
        if let Some((_, version)) = Self::NAMES.iter().find(|(name, _)| *name == wanted) {
            return Ok(*version);
        }
        match wanted.strip_prefix('b').and_then(|build| build.parse::<u64>().ok()) {
            Some(..=7772) => Ok(Self::SetRows),
            Some(7773..=8193) => Ok(Self::EmbeddingInput),
            Some(_) => Ok(Self::Current),
            None => Err(format!(
                "`{}` is no version of llama.cpp: expected a build such as `b8193`, `2025` for \
                 builds before mid-2025, or `latest`",
                printable(text)
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_belong_to_a_generation() {
        for (text, version) in [
            ("latest", LlamaCppVersion::Current),
            ("b9918", LlamaCppVersion::Current),
            ("B8193", LlamaCppVersion::EmbeddingInput),
            ("b7000", LlamaCppVersion::SetRows),
            ("2025", LlamaCppVersion::Copies),
        ] {
            assert_eq!(text.parse(), Ok(version), "{text}");
        }
        assert!("9918".parse::<LlamaCppVersion>().is_err());
        for (name, version) in LlamaCppVersion::NAMES {
            assert_eq!(version.to_string().parse(), Ok(version), "{name}");
        }
    }
}
