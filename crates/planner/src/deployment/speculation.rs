//! What predicts tokens ahead, as engines are told of it.

use super::Question;

/// What predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method<'a> {
    /// A layer of the model's own.
    Layer,
    /// A head as they are published: `eagle` or `eagle3`.
    Head(&'static str),
    /// A smaller model.
    Model(&'a str),
}

impl<'a> Method<'a> {
    /// Of vLLM's `method` and `model`. Where only the model is given, its name tells the method (`config/speculative.py`).
    pub(super) fn of_vllm(method: Option<&str>, model: Option<&'a str>) -> Option<Self> {
        match (method, model) {
            (Some(method), None) if is_layer(method) => Some(Self::Layer),
            (Some("eagle"), Some(_)) => Some(Self::Head("eagle")),
            (Some("eagle3"), Some(_)) => Some(Self::Head("eagle3")),
            (Some("draft_model"), Some(model)) => Some(Self::Model(model)),
            (None, Some(model)) => Self::of_name(model),
            _ => None,
        }
    }

    fn of_name(model: &'a str) -> Option<Self> {
        let name = model.to_ascii_lowercase();
        let has = |part: &str| name.contains(part);
        if has("eagle3") || has("eagle-3") {
            Some(Self::Head("eagle3"))
        } else if has("eagle-") || has("eagle_") {
            Some(Self::Head("eagle"))
        } else if ["ngram", "suffix", "medusa", "speculator", "mtp", "accelerator"]
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
    };
    (question.draft, question.draft_tokens) = (Some(draft.to_owned()), ahead);
}

/// vLLM's `--speculative-config`, where no more is said of it than its method, its model, how many, and what changes no memory.
pub(super) fn json(question: &mut Question, text: &str) -> Result<(), String> {
    const KNOWN: [&str; 7] = [
        "method",
        "model",
        "num_speculative_tokens",
        "revision",
        "code_revision",
        "disable_by_batch_size",
        "disable_padded_drafter_batch",
    ];
    let told: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|_| "is not JSON".to_owned())?;
    if told.keys().any(|key| !KNOWN.contains(&key.as_str())) {
        return Err("says more than is read here".to_owned());
    }
    let said = |key: &str| told.get(key).and_then(serde_json::Value::as_str);
    let ahead = told.get("num_speculative_tokens").and_then(serde_json::Value::as_u64);
    let ahead = ahead.ok_or("does not say how many tokens")?;
    let method = Method::of_vllm(said("method"), said("model"));
    predicts(question, method.ok_or("is of a method that is not read here")?, Some(ahead));
    Ok(())
}
