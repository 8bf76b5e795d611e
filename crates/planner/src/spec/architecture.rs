//! The names that files give to families of models.

use std::fmt;

use super::families::{Architecture, GgufWindow, HfExperts, RopePairs};

impl Architecture {
    /// The families that GGUF files call `name`, most general first; nothing where llama.cpp's graph of it is not
    /// built here.
    pub fn from_gguf_name(name: &str) -> Option<Self> {
        let named = |family: &Self| {
            !name.is_empty() && family.gguf_name() == name && family.family().graph.known
        };
        Self::ALL.iter().copied().find(named)
    }

    /// The family that profiles call `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|family| family.name() == name)
    }

    /// The family that a `model_type` of `config.json` names.
    pub fn from_model_type(model_type: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|family| family.family().hf.contains(&model_type))
    }

    /// `general.architecture` of GGUF files of this family.
    pub const fn gguf_name(self) -> &'static str {
        self.family().gguf
    }

    /// The windows of this family in GGUF files, where llama.cpp respects them.
    pub const fn gguf_window(self) -> Option<GgufWindow> {
        self.family().windows.gguf
    }

    /// Whether llama.cpp caches windows of this family as such. It does of those whose graphs are not built here, which
    /// came after windows had caches of their own.
    pub const fn caches_windows(self) -> bool {
        let family = self.family();
        family.windows.gguf.is_some() || !family.graph.known
    }

    /// How elements of queries and keys are paired in GGUF files (llama.cpp `llama_model_rope_type`).
    pub const fn rope_pairs(self) -> RopePairs {
        self.family().rope.pairs
    }

    /// The family with experts whose GGUF files have the same name as this one's: Mixtral's are called `llama`.
    pub(crate) fn with_experts(self) -> Self {
        let is = |family: &Self| {
            family.gguf_name() == self.gguf_name() && family.family().experts.hf != HfExperts::None
        };
        Self::ALL.iter().copied().find(is).unwrap_or(self)
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_family() {
        for &family in Architecture::ALL.iter().filter(|family| **family != Architecture::Other) {
            assert_eq!(Architecture::from_name(family.name()), Some(family));
            let known = family.family().graph.known;
            assert_eq!(Architecture::from_gguf_name(family.gguf_name()).is_some(), known);
            for model_type in family.family().hf {
                assert_eq!(Architecture::from_model_type(model_type), Some(family));
            }
        }
        assert_eq!(Architecture::from_gguf_name("llama"), Some(Architecture::Llama));
        assert_eq!(Architecture::Llama.with_experts(), Architecture::Mixtral);
        assert_eq!(Architecture::Qwen3.with_experts(), Architecture::Qwen3);
        assert_eq!(Architecture::from_model_type("bert"), None);
    }

    #[test]
    fn every_family_is_called_something_and_no_name_twice() {
        let mut names: Vec<&str> = Vec::new();
        for &family in Architecture::ALL.iter().filter(|family| **family != Architecture::Other) {
            assert!(!family.family().hf.is_empty() && !family.gguf_name().is_empty(), "{family}");
            names.extend(family.family().hf);
        }
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }
}
