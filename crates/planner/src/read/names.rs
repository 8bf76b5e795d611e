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

/// The words of a model's name in an order of their own, so that names of the same words meet: `llama 70b distill` of
/// `70b-llama-distill`. The vendor before it, words that say that it was tuned to chat, and the `v` of a version are left
/// out; a size with its unit (`30b`, `0.6b`) is one word, a generation (`3` of `qwen3`) another.
pub fn words(name: &str) -> String {
    let lower = name.trim().to_lowercase().replace('+', " plus ");
    let own = lower.rsplit('/').next().unwrap_or_default();
    let parts = own.split(|c: char| !c.is_alphanumeric() && c != '.');
    let mut words: Vec<&str> =
        parts.flat_map(runs).filter(|word| !LEFT_OUT.contains(word)).collect();
    words.sort_unstable();
    words.join(" ")
}

/// Words of a model that was tuned to chat, and the letter before a version.
const LEFT_OUT: [&str; 4] = ["instruct", "it", "chat", "v"];

/// The size that a word of [`words`] states, in billions of parameters.
pub fn billions(word: &str) -> Option<f64> {
    let (unit, times) = match word.chars().last()? {
        'm' => ('m', 1e-3),
        'b' => ('b', 1.0),
        't' => ('t', 1e3),
        _ => return None,
    };
    let number: f64 = word.strip_suffix(unit)?.parse().ok()?;
    Some(number * times)
}

/// Letters apart from numbers, but for the unit behind one.
fn runs(part: &str) -> Vec<&str> {
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let mut found = Vec::new();
    let mut rest = part.trim_matches('.');
    while let Some(first) = rest.chars().next() {
        let other = |c: char| is_number(c) != is_number(first);
        let mut end = rest.find(other).unwrap_or(rest.len());
        let (_, behind) = rest.split_at(end);
        let is_alone = !behind.chars().nth(1).is_some_and(char::is_alphabetic);
        if is_number(first) && behind.starts_with(['b', 'm', 't']) && is_alone {
            end += 1;
        }
        let (run, behind) = rest.split_at(end);
        found.push(run);
        rest = behind;
    }
    found
}
