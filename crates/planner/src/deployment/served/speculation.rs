//! What commands say of tokens that are predicted ahead. Engines say it by several flags that mean something together only, so
//! that these are taken out of a command first.

use super::super::Question;
use super::super::speculation::{Method, json, predicts, tokens_of_json};
use super::{Unread, dashed};
use crate::text::printable;

/// What a flag says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Method,
    Model,
    Tokens,
    Steps,
    Branches,
    /// vLLM's object of all of them.
    Json,
}

/// `SGLang`'s, by `srt/server_args.py`; the shorter ones are abbreviations that its parser takes.
const SGLANG: &[(&str, Key)] = &[
    ("--speculative-algorithm", Key::Method),
    ("--speculative-algo", Key::Method),
    ("--speculative-draft-model-path", Key::Model),
    ("--speculative-draft-model", Key::Model),
    ("--speculative-draft", Key::Model),
    ("--speculative-num-draft-tokens", Key::Tokens),
    ("--speculative-num-steps", Key::Steps),
    ("--speculative-eagle-topk", Key::Branches),
];

/// vLLM's, by `engine/arg_utils.py`; those without `config` before 0.9.
const VLLM: &[(&str, Key)] = &[
    ("--speculative-config", Key::Json),
    ("-sc", Key::Json),
    ("--speculative-config.method", Key::Method),
    ("--speculative-config.model", Key::Model),
    ("--speculative-config.num-speculative-tokens", Key::Tokens),
    ("-sc.method", Key::Method),
    ("-sc.model", Key::Model),
    ("-sc.num_speculative_tokens", Key::Tokens),
    ("--speculative-method", Key::Method),
    ("--speculative-model", Key::Model),
    ("--num-speculative-tokens", Key::Tokens),
];

/// llama.cpp's, by `common/arg.cpp`.
const LLAMA: &[(&str, Key)] = &[
    ("--spec-type", Key::Method),
    ("-md", Key::Model),
    ("--model-draft", Key::Model),
    ("--spec-draft-model", Key::Model),
    ("-hfd", Key::Model),
    ("-hfrd", Key::Model),
    ("--hf-repo-draft", Key::Model),
    ("--spec-draft-hf", Key::Model),
    ("--spec-draft-n-max", Key::Tokens),
    ("--draft-max", Key::Tokens),
    ("--draft-n", Key::Tokens),
    ("--draft", Key::Tokens),
];

/// Tokens that a layer of the model's predicts where `SGLang` is told nothing (`_auto_choose_speculative_params`), and llama.cpp
/// (`--spec-draft-n-max`).
const AHEAD: u64 = 3;

/// What was said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told<'a> {
    method: Option<&'a str>,
    model: Option<&'a str>,
    tokens: Option<u64>,
    steps: Option<u64>,
    branches: Option<u64>,
    json: Option<&'a str>,
    /// The words that said it.
    words: Vec<&'a str>,
}

/// Why nothing was made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// The engine does not start so: why.
    Refused(String),
    /// It is not planned: the words that said it.
    NotPlanned(String),
    /// Something predicts tokens that is not known: the words that said it, and how many.
    Unknown(String, Option<u64>),
}

/// An engine's words without those of its predictions, and these.
fn take<'a>(words: &[&'a str], keys: &[(&str, Key)]) -> Result<(Vec<&'a str>, Told<'a>), Unread> {
    let mut told = Told::default();
    let mut rest = Vec::new();
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        let (name, given) = match word.split_once('=') {
            Some((name, value)) if name.starts_with('-') => (name, Some(value)),
            _ => (word, None),
        };
        let name = dashed(name);
        let Some((name, key)) = keys.iter().find(|(known, _)| *known == name) else {
            rest.push(word);
            continue;
        };
        told.words.push(word);
        let Some(value) = given.or_else(|| words.next()) else {
            return Err(Unread::Value(format!("`{name}` has no value")));
        };
        if given.is_none() {
            told.words.push(value);
        }
        told.set(*key, name, value)?;
    }
    Ok((rest, told))
}

/// `SGLang`'s flags.
pub(super) fn of_sglang() -> impl Iterator<Item = &'static str> {
    SGLANG.iter().map(|(flag, _)| *flag)
}

/// vLLM's.
pub(super) fn of_vllm() -> impl Iterator<Item = &'static str> {
    VLLM.iter().map(|(flag, _)| *flag)
}

impl<'a> Told<'a> {
    /// `SGLang`'s.
    pub(super) fn of_sglang(words: &[&'a str]) -> Result<(Vec<&'a str>, Self), Unread> {
        take(words, SGLANG)
    }

    /// vLLM's.
    pub(super) fn of_vllm(words: &[&'a str]) -> Result<(Vec<&'a str>, Self), Unread> {
        take(words, VLLM)
    }

    /// llama.cpp's.
    pub(super) fn of_llama(words: &[&'a str]) -> Result<(Vec<&'a str>, Self), Unread> {
        take(words, LLAMA)
    }

    fn set(&mut self, key: Key, name: &str, value: &'a str) -> Result<(), Unread> {
        let number = || {
            let said = || format!("`{name} {}` is not a number of tokens", printable(value));
            let unread = || Unread::Value(said());
            value.parse::<u64>().map(Some).map_err(|_| unread())
        };
        match key {
            Key::Method => self.method = Some(value),
            Key::Model => self.model = Some(value),
            Key::Json => self.json = Some(value),
            Key::Tokens => self.tokens = number()?,
            Key::Steps => self.steps = number()?,
            Key::Branches => self.branches = number()?,
        }
        Ok(())
    }

    fn not_planned(&self) -> Failed {
        Failed::NotPlanned(self.words.join(" "))
    }

    fn unknown(&self, ahead: Option<u64>) -> Failed {
        Failed::Unknown(self.words.join(" "), ahead)
    }

    /// Puts `SGLang`'s into a question (`srt/arg_groups/speculative_hook.py`).
    pub(super) fn sglang(&self, question: &mut Question) -> Result<(), Failed> {
        if self.words.is_empty() {
            return Ok(());
        }
        let method = self.method.unwrap_or_default().to_ascii_uppercase();
        let is_own = |name: &str| {
            let lower = name.to_ascii_lowercase();
            question.model.as_deref() == Some(name)
                || lower.contains("nextn")
                || lower.contains("mtp")
        };
        let needs_a_model = || {
            let flag = "--speculative-draft-model-path";
            Failed::Refused(format!("`--speculative-algorithm {method}` needs `{flag}`"))
        };
        let method = match (method.as_str(), self.model) {
            ("EAGLE" | "NEXTN", Some(name)) if is_assistant(name) => return Err(self.unknown(None)),
            ("NEXTN", _) | ("EAGLE", None) => Method::Layer,
            ("EAGLE", Some(name)) if is_own(name) => Method::Layer,
            ("EAGLE", Some(_)) => Method::Head("eagle"),
            ("EAGLE3", Some(_)) => Method::Head("eagle3"),
            ("STANDALONE", Some(name)) => Method::Model(name),
            ("EAGLE3" | "STANDALONE", None) => return Err(needs_a_model()),
            ("", _) => return Err(self.not_planned()),
            _ => return Err(self.unknown(None)),
        };
        let ahead = self.ahead()?;
        let of_layer = ahead.or(Some(AHEAD)).filter(|_| method == Method::Layer);
        predicts(question, method, of_layer.or(ahead));
        Ok(())
    }

    /// Tokens ahead, where they are said: one fewer than those of a step (`_handle_eagle_family`).
    fn ahead(&self) -> Result<Option<u64>, Failed> {
        match (self.steps, self.branches, self.tokens) {
            (None, None, None) => Ok(None),
            // One token after the other: what is said of their number is set right.
            (Some(steps), Some(1), Some(_)) => Ok(Some(steps)),
            (Some(_), Some(_), Some(tokens)) if tokens > 1 => Ok(Some(tokens - 1)),
            _ => Err(Failed::Refused(
                "SGLang takes `--speculative-num-steps`, `--speculative-eagle-topk` and `--speculative-num-draft-tokens` \
                 together or none of them"
                    .to_owned(),
            )),
        }
    }

    /// Puts vLLM's into a question.
    pub(super) fn vllm(&self, question: &mut Question) -> Result<(), Failed> {
        if let Some(text) = self.json {
            let ahead = tokens_of_json(text).or(Some(1));
            return json(question, text).map_err(|_| self.unknown(ahead));
        }
        if self.words.is_empty() {
            return Ok(());
        }
        let tokens = self.tokens.ok_or_else(|| self.unknown(Some(1)))?;
        let method = Method::of_vllm(self.method, self.model);
        let method = method.ok_or_else(|| self.unknown(Some(tokens)))?;
        predicts(question, method, Some(tokens));
        Ok(())
    }

    /// Whether a draft is named, and no way to use it.
    pub(super) const fn is_unused_draft(&self) -> bool {
        self.model.is_some() && self.method.is_none()
    }

    /// Puts llama.cpp's into a question.
    pub(super) fn llama(&self, question: &mut Question) -> Result<(), Failed> {
        let methods = self.method.unwrap_or_default().split(',');
        for method in methods.filter(|method| !["", "none"].contains(method)) {
            match method {
                "draft-simple" => {}
                "draft-mtp" => predicts(question, Method::Layer, self.tokens.or(Some(AHEAD))),
                // A model of its own, `draft-dflash` or `draft-eagle3`; others look words up.
                method if method.starts_with("draft-") => return Err(self.unknown(None)),
                _ => return Err(self.not_planned()),
            }
        }
        if let Some(name) = self.model {
            question.draft = Some(name.to_owned());
            question.draft_tokens = self.tokens;
        }
        Ok(())
    }
}

/// Gemma 4's models that predict from the model's own cache (`FROZEN_KV_MTP`).
fn is_assistant(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    lower.contains("gemma") && lower.contains("assistant")
}
