//! Names of profiles, and which of them mean the same. The build script uses this file too.

/// What a profile describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A GPU.
    Gpu,
    /// A model.
    Model,
    /// A runtime.
    Runtime,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Gpu, Self::Model, Self::Runtime];

    /// The word for it in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gpu => "GPU",
            Self::Model => "model",
            Self::Runtime => "runtime",
        }
    }

    /// The folder of its profiles.
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Gpu => "gpus",
            Self::Model => "models",
            Self::Runtime => "runtimes",
        }
    }

    /// `name` without what may differ between two spellings of it: case, spaces, `-` and `_`, the
    /// vendor before it, and after a model's name that it was tuned to chat.
    pub fn normalise(self, name: &str) -> String {
        let lower = name.trim().to_lowercase();
        let name = match (self, lower.rsplit_once('/')) {
            (Self::Model, Some((_, name))) => name,
            _ => &lower,
        };
        let words: Vec<_> = name.split([' ', '-', '_']).filter(|word| !word.is_empty()).collect();
        let mut words = words.as_slice();
        while let (Self::Gpu, ["nvidia" | "geforce" | "tesla", rest @ ..]) = (self, words) {
            if rest.is_empty() {
                break;
            }
            words = rest;
        }
        while let (Self::Model, [rest @ .., "instruct" | "it" | "chat"]) = (self, words) {
            if rest.is_empty() {
                break;
            }
            words = rest;
        }
        words.concat()
    }
}
