//! What can be wrong with a file, said with the file, the field and what was expected.

use std::fmt::Display;
use std::io;
use std::path::Path;

use super::card_words::Words;
use super::unmodelled::Unmodelled;
use crate::spec::InvalidShape;
use crate::text::{printable, printable_message, printable_path};
use crate::units::Overflow;

/// Why a file or a name cannot be read as a model, a GPU or a runtime.
///
/// Every text in it is safe to print: [`printable`] has gone over it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The operating system refused.
    #[error("{message}")]
    Io {
        /// The file.
        path: String,
        /// What was tried and what came of it, the path included.
        message: String,
        /// The kind of failure.
        kind: io::ErrorKind,
    },
    /// An argument that can only be a path leads nowhere.
    #[error("`{path}` does not exist")]
    NoSuchPath {
        /// The argument.
        path: String,
    },
    /// A file of weights that is not there, of a model that has a profile.
    #[error("`{path}` does not exist")]
    NoSuchFile {
        /// The argument.
        path: String,
        /// The model by its profile.
        model: String,
        /// The format that the file's name tells.
        format: Option<String>,
    },
    /// A file ends before what it announces.
    #[error("`{path}`: {what} needs {needed} B, but the file has only {left} B left")]
    Truncated {
        /// The file.
        path: String,
        /// What was being read.
        what: String,
        /// Bytes that it takes.
        needed: u64,
        /// Bytes that there are.
        left: u64,
    },
    /// A field has a value that it cannot have.
    #[error("`{path}`: `{field}` = {value}: expected {expected}")]
    Invalid {
        /// The file.
        path: String,
        /// The field at fault.
        field: String,
        /// Its value.
        value: String,
        /// What was expected of it.
        expected: String,
    },
    /// A field that has to be there is not.
    #[error("`{path}`: no `{field}`: expected {expected}")]
    Missing {
        /// The file.
        path: String,
        /// The field.
        field: String,
        /// What was expected.
        expected: String,
    },
    /// A name that may occur once occurs again.
    #[error("`{path}`: `{field}` occurs twice")]
    Duplicate {
        /// The file.
        path: String,
        /// The name.
        field: String,
    },
    /// A file is sound but is something that vramplan does not model.
    #[error("`{path}`: {what}: expected {expected}")]
    Unsupported {
        /// The file.
        path: String,
        /// What it is.
        what: String,
        /// What can be read.
        expected: String,
    },
    /// A family that is known, and known not to be modelled.
    #[error("`{path}`: `{field}` = \"{value}\" is not modelled: {why}")]
    Unmodelled {
        /// The file.
        path: String,
        /// The field that names the family.
        field: String,
        /// The name.
        value: String,
        /// What its layers have that no formula covers.
        why: &'static str,
        /// What to do instead.
        hint: &'static str,
    },
    /// A file is not in its format.
    #[error("`{path}`: {message}")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong, and where.
        message: String,
    },
    /// Files of a model in several files are not there.
    #[error("`{path}`: {} of its {count} files missing: {}", missing.len(), quoted(missing))]
    MissingParts {
        /// The file that names the others.
        path: String,
        /// Files that there should be.
        count: u64,
        /// The files that are not there.
        missing: Vec<String>,
    },
    /// A machine whose GPU has the machine's memory, of which the name does not say how much.
    #[error(
        "`{name}` comes with different memories: expected one named with it, such as `{example}`"
    )]
    WithoutMemory {
        /// The name as given.
        name: String,
        /// The same with a memory.
        example: String,
    },
    /// A card that is sold with different memories, each with a profile.
    #[error("`{name}` comes with different memories: expected {}", one_of(cards))]
    SeveralMemories {
        /// The name as given.
        name: String,
        /// The cards.
        cards: Vec<String>,
    },
    /// A name that no profile has.
    #[error("unknown {kind} `{name}`{}", near_names(near))]
    Unknown {
        /// `GPU`, `model` or `runtime`.
        kind: &'static str,
        /// The name as given.
        name: String,
        /// Names that are like it.
        near: Vec<String>,
    },
    /// The name of a model that encodes texts, images or sound, of which nothing is modelled.
    #[error("`{name}` is an encoder: it keeps no cache, and what it computes is not modelled here")]
    Encoder {
        /// The name as given.
        name: String,
    },
    /// A tag of Ollama's that runs on Ollama's servers.
    #[error("`{name}` runs on Ollama's own servers: it takes no memory of a GPU here")]
    OnTheirServers {
        /// The tag as given.
        name: String,
        /// The same model, where it may be run here.
        here: Option<String>,
    },
    /// A format in which every tensor has a type of its own, which a name does not tell.
    #[error(
        "`{name}` names files whose makers choose the type of each tensor: their sizes are in the file alone"
    )]
    Mixture {
        /// The name as given.
        name: String,
        /// The model that it names.
        model: String,
        /// The type that most tensors are like.
        like: Option<&'static str>,
    },
}

impl SourceError {
    /// What to try.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { kind: "model", .. } => Some(
                "run `vramplan profiles list models`, give a GGUF file or a directory with `config.json`, or name a repository \
                 (`hf:ORG/NAME`) or a tag (`ollama:NAME`), whose headers are read"
                    .to_owned(),
            ),
            Self::Unknown { kind: "GPU", name, .. } => {
                let size = Words::new(name).stated_memory().unwrap_or(24);
                Some(format!(
                    "run `vramplan profiles list gpus`, or give the size of another card, such as `--gpu {size}GiB`"
                ))
            }
            Self::WithoutMemory { example, .. } => Some(format!("name it with its memory: `--gpu '{example}'`")),
            Self::SeveralMemories { cards, .. } => {
                let first = cards.first()?;
                Some(format!("name it with its memory, such as `--gpu '{first}'`"))
            }
            Self::Unknown { .. } => Some("run `vramplan profiles list`".to_owned()),
            Self::NoSuchFile { model, format, .. } => {
                let weights = format.as_ref().map(|format| format!(" --weights {format}"));
                Some(format!(
                    "plan it without the file: `--model {model}{}`",
                    weights.unwrap_or_default()
                ))
            }
            Self::Encoder { .. } => Some(
                "it takes little more than its file: give `--other-use` so much beside the model that it serves, or take a decoder \
                 that embeds, such as `qwen3-embedding:0.6b`"
                    .to_owned(),
            ),
            Self::OnTheirServers { here, .. } => {
                let model = here.as_deref().unwrap_or("NAME");
                Some(format!("the same weights on a GPU of yours: `--model {model}`"))
                    .filter(|_| here.is_some())
            }
            Self::Mixture { model, like, .. } => Some(match like {
                Some(like) => format!(
                    "give the file, or `--model hf:ORG/NAME-GGUF:TYPE`, whose header is read; `--model {model} --weights {like}` is \
                     like it, and mostly smaller"
                ),
                None => "give the file, or `--model hf:ORG/NAME-GGUF:TYPE`, whose header is read".to_owned(),
            }),
            Self::Truncated { .. } => {
                Some("the file is cut short or damaged: download it again".to_owned())
            }
            Self::MissingParts { .. } => {
                Some("put every file of the model in the same directory".to_owned())
            }
            Self::Unsupported { .. } => {
                Some("a profile TOML with a `[shape]` can describe it: see `vramplan profiles show`".to_owned())
            }
            Self::Unmodelled { hint, .. } => Some((*hint).to_owned()),
            Self::Invalid { field, .. } if names_a_family(field) => Some(
                "`vramplan profiles list models` shows the families; a profile TOML with a `[shape]` \
                 can describe a model of the same layers"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

fn names_a_family(field: &str) -> bool {
    field.ends_with("model_type") || field == "general.architecture"
}

fn quoted(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<_> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    let more = if names.len() > SHOWN { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// Names in a sentence, of which one is to be chosen.
fn one_of(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ")
}

fn near_names(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!(": did you mean {}?", quoted(near)) }
}

/// A file that errors are about.
#[derive(Clone, Debug)]
pub(crate) struct At {
    path: String,
}

impl At {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: printable_path(path) }
    }

    /// A text that comes from no file on this disk.
    pub(crate) fn named(name: &str) -> Self {
        Self { path: printable(name) }
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn io(&self, error: &io::Error) -> SourceError {
        let message = error.to_string();
        // The errors of a disk name the path; those of a reader do not.
        let message = if message.contains(&self.path) {
            message
        } else {
            format!("`{}`: {message}", self.path)
        };
        SourceError::Io {
            path: self.path.clone(),
            message: printable_message(&message),
            kind: error.kind(),
        }
    }

    pub(crate) fn truncated(&self, what: &str, needed: u64, left: u64) -> SourceError {
        SourceError::Truncated { path: self.path.clone(), what: printable(what), needed, left }
    }

    pub(crate) fn invalid(
        &self,
        field: &str,
        value: impl Display,
        expected: impl Into<String>,
    ) -> SourceError {
        SourceError::Invalid {
            path: self.path.clone(),
            field: printable(field),
            value: printable(&value.to_string()),
            expected: expected.into(),
        }
    }

    pub(crate) fn missing(&self, field: &str, expected: impl Into<String>) -> SourceError {
        SourceError::Missing {
            path: self.path.clone(),
            field: printable(field),
            expected: expected.into(),
        }
    }

    pub(crate) fn duplicate(&self, field: &str) -> SourceError {
        SourceError::Duplicate { path: self.path.clone(), field: printable(field) }
    }

    pub(crate) fn unsupported(
        &self,
        what: impl Into<String>,
        expected: impl Into<String>,
    ) -> SourceError {
        SourceError::Unsupported {
            path: self.path.clone(),
            what: printable_message(&what.into()),
            expected: expected.into(),
        }
    }

    pub(crate) fn unmodelled(&self, field: &str, value: &str, known: &Unmodelled) -> SourceError {
        SourceError::Unmodelled {
            path: self.path.clone(),
            field: printable(field),
            value: printable(value),
            why: known.why,
            hint: known.hint,
        }
    }

    pub(crate) fn malformed(&self, message: impl Display) -> SourceError {
        SourceError::Malformed {
            path: self.path.clone(),
            message: printable_message(&message.to_string()),
        }
    }

    pub(crate) fn shape(&self, error: &InvalidShape) -> SourceError {
        self.invalid(error.field, error.value, error.expected.clone())
    }

    pub(crate) fn overflow(&self, what: &str) -> impl FnOnce(Overflow) -> SourceError {
        let error = self.invalid(what, "its size", "less than 16 EiB");
        move |_| error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_quote_nothing_raw() {
        let at = At::new(Path::new("a\x1b[31m.gguf"));
        let error = at.invalid("x\u{202e}y", "\x07", "a name");
        assert_eq!(
            error.to_string(),
            "`a\\u{1b}[31m.gguf`: `x\\u{202e}y` = \\u{7}: expected a name"
        );
    }

    #[test]
    fn many_missing_parts_are_counted_and_the_first_named() {
        let missing = (1..=9).map(|n| format!("p{n}")).collect();
        let error = SourceError::MissingParts { path: "m".to_owned(), count: 12, missing };
        assert_eq!(
            error.to_string(),
            "`m`: 9 of its 12 files missing: `p1`, `p2`, `p3`, `p4`, `p5`, …"
        );
    }
}
