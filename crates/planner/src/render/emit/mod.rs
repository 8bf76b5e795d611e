//! `--emit`: the plan as settings of the program that runs it, a file each. Only what the plan fixes is set.

mod env;
mod llama_cpp;
mod lm_studio;
mod ollama;
mod sglang;
mod transformers;
mod vllm;

use std::borrow::Cow;
use std::str::FromStr;

use super::document::Document;
use crate::dtype::WeightFormat;
use crate::estimate::llama_cpp::padded_context;
use crate::spec::{Attention, ComputeCapability, Count, Runtime};
use crate::text::{printable, printable_lines, printable_message, shell_word};
use crate::units::Overflow;

/// A program to write settings for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Flags of `llama-server`.
    LlamaCpp,
    /// Flags of `vllm serve`.
    Vllm,
    /// Flags of `python -m sglang.launch_server`.
    Sglang,
    /// A Python dictionary.
    Transformers,
    /// A Modelfile.
    Ollama,
    /// Settings of LM Studio, as its SDK takes them.
    LmStudio,
    /// Environment variables for a program of one's own.
    Env,
}

impl Target {
    /// Every target with its name.
    pub const NAMES: [(&'static str, Self); 7] = [
        ("llama.cpp", Self::LlamaCpp),
        ("vllm", Self::Vllm),
        ("sglang", Self::Sglang),
        ("transformers", Self::Transformers),
        ("ollama", Self::Ollama),
        ("lm-studio", Self::LmStudio),
        ("env", Self::Env),
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, target)| *target == self).map_or("?", |(name, _)| name)
    }

    /// The runtimes whose plans it takes, its own first; none for those of any.
    pub const fn takes(self) -> &'static [Runtime] {
        match self {
            Self::LlamaCpp | Self::LmStudio => &[Runtime::LlamaCpp, Runtime::Ollama],
            Self::Ollama => &[Runtime::Ollama, Runtime::LlamaCpp],
            Self::Vllm => &[Runtime::Vllm],
            Self::Sglang => &[Runtime::Sglang],
            Self::Transformers => &[Runtime::Transformers],
            Self::Env => &[],
        }
    }

    /// The runtime that it is for; nothing where it takes plans of any.
    pub fn runtime(self) -> Option<Runtime> {
        self.takes().first().copied()
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |name: &str| name.to_ascii_lowercase().replace(['-', '_', '.', ' '], "");
        let wanted = match plain(text).as_str() {
            "llamaserver" => "llamacpp".to_owned(),
            wanted => wanted.to_owned(),
        };
        let found = Self::NAMES.iter().find(|(name, _)| plain(name) == wanted);
        found.map(|(_, target)| *target).ok_or_else(|| {
            let known: Vec<_> = Self::NAMES.iter().map(|(name, _)| format!("`{name}`")).collect();
            format!("`{}` is not a target: expected one of {}", printable(text), known.join(", "))
        })
    }
}

/// Why a plan cannot be written as a program's settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmitError {
    /// Another runtime's plan.
    #[error("`--emit {target}` cannot take a plan of the `{runtime}` runtime")]
    Runtime {
        /// The target.
        target: &'static str,
        /// The plan's runtime.
        runtime: String,
        /// The runtime that it takes.
        expected: Runtime,
    },
    /// A setting that the program does not have.
    #[error("{target} has no {what} `{value}`: expected {expected}")]
    Unsupported {
        /// The program.
        target: &'static str,
        /// The setting.
        what: &'static str,
        /// Its value.
        value: String,
        /// What it has.
        expected: &'static str,
    },
    /// A name that cannot stand in a setting: it would end the line, or command a terminal.
    #[error("`{}` cannot be written into settings: expected a name without control characters", printable_message(.name))]
    Unprintable {
        /// The name as given.
        name: String,
    },
    /// A number too large to be true.
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

impl EmitError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Runtime { expected, .. } => Some(format!(
                "plan with `--runtime {expected}`; `--emit env` takes the plan of any runtime"
            )),
            Self::Unsupported { what: "placement", .. } => {
                Some("plan with `--ngl auto --n-cpu-moe 0`, or emit for `llama.cpp`".to_owned())
            }
            Self::Unsupported { .. } => Some("plan with another `--kv`".to_owned()),
            Self::Unprintable { .. } => Some("rename the file".to_owned()),
            Self::Overflow(_) => None,
        }
    }
}

/// The settings of a plan on a GPU of this compute capability, for a model from `file` if any.
pub fn emit(
    document: &Document,
    target: Target,
    file: Option<&str>,
    gpu: ComputeCapability,
) -> Result<String, EmitError> {
    let planned = document.deployment.resolved.runtime;
    let is_taken = planned.is_some_and(|planned| target.takes().contains(&planned));
    if let Some(expected) = target.runtime().filter(|_| !is_taken) {
        let runtime = document.deployment.runtime();
        return Err(EmitError::Runtime { target: target.name(), runtime, expected });
    }
    if let Some(name) =
        file.filter(|file| printable_lines(file) != *file || file.contains(['\n', '\t']))
    {
        return Err(EmitError::Unprintable { name: name.to_owned() });
    }
    match target {
        Target::LlamaCpp => llama_cpp::settings(document, file),
        Target::Vllm => Ok(vllm::settings(document)),
        Target::Sglang => Ok(sglang::settings(document)),
        Target::Transformers => Ok(transformers::settings(document, gpu)),
        Target::Ollama => ollama::settings(document, file),
        Target::LmStudio => lm_studio::settings(document),
        Target::Env => env::settings(document),
    }
}

/// The longest sequence that a server is told to serve: as it was given, or what is cached.
fn longest(document: &Document) -> u64 {
    let given = &document.deployment.given;
    let [system, cached] = cached(document);
    given.context.or(given.max_model_len).unwrap_or(system.saturating_add(cached))
}

/// Tokens of the system prompt and of the conversation.
fn cached(document: &Document) -> [u64; 2] {
    let asked = &document.deployment;
    [asked.number(|asked| asked.system_tokens), asked.number(|asked| asked.cache_tokens)]
}

fn chunk(document: &Document) -> u64 {
    document.deployment.number(|asked| asked.prefill_chunk)
}

fn batch(document: &Document) -> u64 {
    document.deployment.number(|asked| asked.batch)
}

fn is_flash(document: &Document) -> bool {
    document.deployment.resolved.attention == Some(Attention::Flash)
}

/// Positions of one sequence, as llama.cpp pads them.
fn slot(document: &Document) -> Result<u64, Overflow> {
    let [system, cached] = cached(document);
    padded_context(system.checked_add(cached).ok_or(Overflow)?)
}

/// Sequences processed together, whether they share a cache or not.
fn sequences(document: &Document) -> u64 {
    let asked = &document.deployment.resolved;
    asked.parallel.or(asked.batch).unwrap_or(1)
}

/// The formats of keys and of values.
fn cache_formats(document: &Document) -> [String; 2] {
    let Some(pair) = document.deployment.resolved.kv else { return [String::new(), String::new()] };
    [pair.keys.to_string(), pair.values.unwrap_or(pair.keys).to_string()]
}

/// A word for a shell.
fn quoted(word: &str) -> Result<Cow<'_, str>, EmitError> {
    shell_word(word).ok_or_else(|| EmitError::Unprintable { name: word.to_owned() })
}

/// `-ngl`: more than any model has, where all layers are on GPUs.
fn gpu_layers(document: &Document) -> u64 {
    match document.deployment.resolved.ngl {
        Some(Count::Some(layers)) => layers,
        Some(Count::All | Count::Auto) | None => 999,
    }
}

/// The format of the weights: the file's own where it is planned as stored; nothing where that mixes formats.
fn format_of_weights(document: &Document) -> Option<WeightFormat> {
    let asked = &document.deployment;
    match &asked.model.stored {
        Some(label) => label.parse().ok(),
        None => asked.resolved.weights,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("models/a-Q4_K_M.gguf").unwrap(), "models/a-Q4_K_M.gguf");
        assert_eq!(quoted("it's").unwrap(), "\"it's\"");
        assert_eq!(quoted("").unwrap(), "''");
        assert!(matches!(quoted("a\0"), Err(EmitError::Unprintable { .. })));
    }
}
