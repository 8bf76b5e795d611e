//! What predicts tokens ahead, as engines are told of it.

use super::Question;
use crate::spec::{Drafter, PublishedDraft};

/// What predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method<'a> {
    /// A layer of the model's own.
    Layer,
    /// A head as they are published: `eagle` or `eagle3`.
    Head(&'static str),
    /// A smaller model, or a draft that is published for the model.
    Model(&'a str),
    /// Words of the prompt are looked up, on the CPU.
    Lookup,
}

impl<'a> Method<'a> {
    /// Of vLLM's `method` and `model`. Where only the model is given, its name tells the method (`config/speculative.py`).
    pub(super) fn of_vllm(method: Option<&str>, model: Option<&'a str>) -> Option<Self> {
        let published = model.filter(|name| PublishedDraft::named(name).is_some());
        Some(match (method, model) {
            (Some("ngram" | "[ngram]" | "suffix"), _) | (None, Some("ngram" | "[ngram]")) => {
                Self::Lookup
            }
            (Some("dflash") | None, Some(model)) if published.is_some() => Self::Model(model),
            (Some(method), Some(model)) if is_layer(method) && published.is_some() => {
                Self::Model(model)
            }
            (Some(method), None) if is_layer(method) => Self::Layer,
            (Some("eagle"), Some(_)) => Self::Head("eagle"),
            (Some("eagle3"), Some(_)) => Self::Head("eagle3"),
            (Some("draft_model"), Some(model)) => Self::Model(model),
            (None, Some(model)) => return Self::of_name(model),
            _ => return None,
        })
    }

    fn of_name(model: &'a str) -> Option<Self> {
        let name = model.to_ascii_lowercase();
        let has = |part: &str| name.contains(part);
        if has("eagle3") || has("eagle-3") {
            Some(Self::Head("eagle3"))
        } else if has("eagle-") || has("eagle_") {
            Some(Self::Head("eagle"))
        } else if [
            "ngram",
            "suffix",
            "medusa",
            "speculator",
            "mtp",
            "accelerator",
            "dflash",
            "dspark",
            "assistant",
        ]
        .into_iter()
        .any(has)
        {
            None
        } else {
            Some(Self::Model(model))
        }
    }
}

fn is_layer(method: &str) -> bool {
    method == "mtp" || method.ends_with("_mtp")
}

/// Puts what predicts into a question, with the tokens ahead where they are known.
pub(super) fn predicts(question: &mut Question, method: Method<'_>, ahead: Option<u64>) {
    let draft = match method {
        Method::Layer => {
            question.mtp = ahead;
            return;
        }
        Method::Head(head) => head,
        Method::Model(name) => name,
        Method::Lookup => Drafter::LOOKUP,
    };
    (question.draft, question.draft_tokens) = (Some(draft.to_owned()), ahead);
}

/// What vLLM's `--speculative-config` says beside its method, its model and how many tokens, and what changes no memory.
const KNOWN: [&str; 10] = [
    "method",
    "model",
    "num_speculative_tokens",
    "revision",
    "code_revision",
    "disable_by_batch_size",
    "disable_padded_drafter_batch",
    "prompt_lookup_max",
    "prompt_lookup_min",
    "prompt_lookup_num_tokens",
];

/// vLLM's `--speculative-config`, where what it says is all read here.
pub(super) fn json(question: &mut Question, text: &str) -> Result<(), String> {
    let told: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|_| "is not JSON".to_owned())?;
    if told.keys().any(|key| !KNOWN.contains(&key.as_str())) {
        return Err("says more than is read here".to_owned());
    }
    let said = |key: &str| told.get(key).and_then(serde_json::Value::as_str);
    let ahead = tokens_of(&told).ok_or("does not say how many tokens")?;
    let method = Method::of_vllm(said("method"), said("model"));
    predicts(question, method.ok_or("is of a method that is not read here")?, Some(ahead));
    Ok(())
}

fn tokens_of(told: &serde_json::Map<String, serde_json::Value>) -> Option<u64> {
    told.get("num_speculative_tokens").and_then(serde_json::Value::as_u64)
}

/// How many tokens such a text says, where it says that.
pub(super) fn tokens_of_json(text: &str) -> Option<u64> {
    tokens_of(serde_json::from_str(text).ok().as_ref()?)
}

/// Puts it into a question that something predicts of which no more is known.
pub(super) fn unknown(question: &mut Question, ahead: Option<u64>) {
    question.mtp = None;
    (question.draft, question.draft_tokens) = (Some(Drafter::UNKNOWN.to_owned()), ahead);
}
