//! From what a log says to a question that can be planned.

use super::evidence::{CardSeen, Engine, Evidence};
use super::finding::Resolve;
use crate::deployment::{Deployment, Question};
use crate::dtype::WeightFormat;
use crate::read::format_of_name;
use crate::spec::Runtime;
use crate::units::Bytes;

/// About what a context takes of a card of which only the free memory is told.
const CONTEXT: Bytes = Bytes::new(600 << 20);
/// What other processes must hold to be told of: below this it is what contexts differ by.
const WORTH: Bytes = Bytes::new(256 << 20);
/// Names of a model that are tried.
const MOST_NAMES: usize = 8;

/// A deployment that a log could be planned as, and what had to be taken for granted.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The deployment.
    pub deployment: Deployment,
    /// The question that it answers.
    pub question: Question,
    /// What was not said, or not taken as it was.
    pub notes: Vec<String>,
}

/// The deployment of a log, with what the user says besides; else what is missing.
///
/// # Errors
/// What the user must say before a plan can be made.
pub fn asked(
    evidence: &Evidence,
    user: &Question,
    resolve: Resolve<'_>,
) -> Result<Asked, Vec<String>> {
    let mut missing = Vec::new();
    let runtime = runtime(evidence, user);
    if runtime.is_none() {
        missing.push(no_runtime(evidence));
    }
    let gpus = gpus(evidence, user);
    if gpus.is_empty() {
        missing.push("the log names no card: say `--gpu`, such as `--gpu 'RTX 3060'`".to_owned());
    }
    let models = models(evidence, user);
    if models.is_empty() {
        missing.push("the log does not name the model: say `--model`".to_owned());
    }
    let (Some(runtime), true) = (runtime, missing.is_empty()) else { return Err(missing) };
    let mut notes = Vec::new();
    let (model, gpu, weights) = found(evidence, (&models, &gpus), runtime, user, resolve)?;
    let told = settled(evidence.run.question.clone());
    let question = Question {
        gpu: Some(gpu),
        model: Some(model),
        runtime: Some(runtime),
        weights: user.weights.or(told.weights).or(weights),
        runtime_version: user.runtime_version.clone().or_else(|| evidence.version.clone()),
        ..user.clone().or(told)
    };
    let (question, deployment) = simplest(&question, user, &mut notes, resolve)?;
    let (question, deployment) = with_others(evidence, question, deployment, resolve);
    if user.gpu.is_none() && evidence.cards.is_empty() {
        notes.push(
            "the log names no card: one of what was free is planned; `--gpu` says which it is"
                .to_owned(),
        );
    }
    assumed(evidence, (&question, &deployment), runtime, &mut notes);
    Ok(Asked { deployment, question, notes })
}

fn runtime(evidence: &Evidence, user: &Question) -> Option<Runtime> {
    user.runtime.or_else(|| evidence.engine?.0.runtime()?.parse().ok())
}

fn no_runtime(evidence: &Evidence) -> String {
    match evidence.engine.and_then(|(engine, _)| engine.runtime()) {
        Some(name) => format!("`{name}` is not planned by this version: figures are the log's own"),
        None if evidence.engine.is_some_and(|(engine, _)| engine > Engine::PyTorch) => {
            let name = evidence.engine.map_or("it", |(engine, _)| engine.name());
            format!("`{name}` is recognised and not planned: what is said is the log's own")
        }
        None => "no engine is recognised: say `--runtime`".to_owned(),
    }
}

/// What slots make of a context: they share its cells, unless a build that can give each its own says so
/// (`kv_unified = false`).
fn settled(question: Question) -> Question {
    match (question.parallel, question.cache_tokens) {
        (Some(slots), Some(cells)) if slots > 1 && question.no_kv_unified => Question {
            parallel: None,
            no_kv_unified: false,
            batch: Some(slots),
            cache_tokens: Some((cells / slots).max(1)),
            ..question
        },
        _ => question,
    }
}

/// The cards by their names, or else their sizes; several ways to say it, the surest first.
fn gpus(evidence: &Evidence, user: &Question) -> Vec<String> {
    if let Some(gpu) = &user.gpu {
        return vec![gpu.clone()];
    }
    let with_free: Vec<&CardSeen> =
        evidence.cards.iter().filter(|card| card.free.is_some() && card.name.is_some()).collect();
    let named: Vec<&CardSeen> = evidence.cards.iter().filter(|card| card.name.is_some()).collect();
    let of = |cards: &[&CardSeen], name: &dyn Fn(&CardSeen) -> Option<String>| {
        let all: Option<Vec<String>> = cards.iter().map(|card| name(card)).collect();
        all.filter(|all| !all.is_empty()).map(|all| all.join(","))
    };
    let sized = |card: &CardSeen| {
        let gib = card.total?.get().checked_add(1 << 29)? >> 30;
        Some(format!("{} {gib}GB", card.name.as_deref()?))
    };
    let total = |card: &CardSeen| card.total.map(|total| format!("{total}"));
    let all: Vec<&CardSeen> = evidence.cards.iter().collect();
    let mut ways = Vec::new();
    for cards in [&with_free, &named] {
        ways.extend(of(cards, &|card| card.name.clone()));
        ways.extend(of(cards, &sized));
    }
    // Ranks of a server have equal cards.
    let cards =
        if evidence.run.question.gpus.is_some() { all.get(..1).unwrap_or_default() } else { &all };
    ways.extend(of(cards, &total));
    if all.is_empty()
        && let Some(free) = evidence.counts.free_before
        && let Ok(size) = free.bytes.plus(CONTEXT)
    {
        ways.push(size.to_string());
    }
    ways.dedup();
    ways
}

/// Names of the model, with the format that a name tells.
fn models(evidence: &Evidence, user: &Question) -> Vec<(String, Option<WeightFormat>)> {
    if let Some(model) = &user.model {
        return vec![(model.clone(), format_in_log(evidence))];
    }
    let stated = evidence.format.as_deref().and_then(format_of);
    let mut found: Vec<(String, Option<WeightFormat>)> = Vec::new();
    for name in evidence.models.iter().take(MOST_NAMES) {
        for (name, format) in plain_names(name) {
            let one = (name, stated.or(format));
            if !found.contains(&one) {
                found.push(one);
            }
        }
    }
    found
}

/// The format that the log states, or that a name of its model ends in.
fn format_in_log(evidence: &Evidence) -> Option<WeightFormat> {
    let stated = evidence.format.as_deref().and_then(format_of);
    stated.or_else(|| {
        let mut names = evidence.models.iter().take(MOST_NAMES);
        names.find_map(|name| format_of_name(name.trim_end_matches(['/', '\\'])))
    })
}

/// `Q4_K - Medium` as files are named: `q4_k_m`.
fn format_of(label: &str) -> Option<WeightFormat> {
    let label = label.to_ascii_lowercase();
    let (base, size) = label.split_once(" - ").unwrap_or((&label, ""));
    let ending = match size {
        "small" => "_s",
        "medium" => "_m",
        "large" => "_l",
        _ => "",
    };
    let base = base.trim().replace(' ', "_");
    format!("{base}{ending}").parse().ok().or_else(|| base.parse().ok())
}

/// The name of a model in a path, a repository or a sentence, without its format.
fn plain_names(name: &str) -> Vec<(String, Option<WeightFormat>)> {
    const PUBLISHERS: [&str; 3] = ["meta ", "meta-", "mistralai "];
    let name = name.trim().trim_end_matches(['/', '\\']);
    if name.contains("sha256-") {
        return Vec::new();
    }
    let hub = name.split("models--").nth(1).map(|rest| rest.split('/').next().unwrap_or(rest));
    let hub = hub.map(|rest| rest.replacen("--", "/", 1));
    let last = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let is_file = last.to_ascii_lowercase().ends_with(".gguf");
    if !is_file && !name.starts_with(['/', '.', '~']) && name.matches('/').count() == 1 {
        return vec![(name.to_owned(), None)];
    }
    if let Some(hub) = hub {
        return vec![(hub, None)];
    }
    let stem = if is_file { last.get(..last.len() - 5).unwrap_or(last) } else { last };
    let stem = stem.split("-00001-of-").next().unwrap_or(stem);
    let (base, format) = without_format(stem);
    let mut names = vec![(base.to_owned(), format)];
    let lower = base.to_ascii_lowercase();
    for publisher in PUBLISHERS {
        if lower.starts_with(publisher) {
            names.extend(base.get(publisher.len()..).map(|base| (base.to_owned(), format)));
        }
    }
    if format.is_none() && base != last {
        names.push((last.to_owned(), None));
    }
    names
}

/// A file's name without its format, `UD` and the like.
fn without_format(stem: &str) -> (&str, Option<WeightFormat>) {
    const SIGNS: [&str; 5] = ["ud", "i1", "imat", "gguf", "f16"];
    let (mut base, mut format) = (stem, None);
    while let Some((rest, last)) = base.rsplit_once(['-', '.']) {
        let word = last.to_ascii_lowercase();
        let parsed = || {
            let known: Option<WeightFormat> = word.parse().ok();
            // A file of mixed types is planned as the plain one of its name.
            known.or_else(|| {
                word.strip_suffix("_xl").and_then(|word| format!("{word}_m").parse().ok())
            })
        };
        if word.contains('_') && format.is_none() && parsed().is_some() {
            format = parsed();
        } else if !SIGNS.contains(&&*word) && !matches!(&*word, "bf16" | "fp8" | "mxfp4") {
            break;
        } else if format.is_none() {
            format = parsed();
        }
        base = rest;
    }
    (base, format)
}

type Found = (String, String, Option<WeightFormat>);

/// The first of these names that is known on the first of these cards that is.
fn found(
    evidence: &Evidence,
    (models, gpus): (&[(String, Option<WeightFormat>)], &[String]),
    runtime: Runtime,
    user: &Question,
    resolve: Resolve<'_>,
) -> Result<Found, Vec<String>> {
    let plain = |model: &str, gpu: &str, gpus: Option<u64>| Question {
        model: Some(model.to_owned()),
        gpu: Some(gpu.to_owned()),
        runtime: Some(runtime),
        gpus,
        ..Question::default()
    };
    let mut reasons = Vec::new();
    let ranks = user.gpus.or(evidence.run.question.gpus);
    for (model, format) in models {
        for gpu in gpus {
            let ranks = ranks.filter(|_| !gpu.contains(','));
            match resolve(&plain(model, gpu, ranks)) {
                Ok(deployment) if user.model.is_some() || is_same(evidence, &deployment) => {
                    // What the user names may be in a format already.
                    let is_open = user.model.is_none() || !deployment.model.is_quantized();
                    return Ok((model.clone(), gpu.clone(), format.filter(|_| is_open)));
                }
                Ok(_) => reasons.push(format!("`{model}` has other layers than the log's model")),
                Err(why) => reasons.push(why),
            }
        }
    }
    reasons.truncate(1);
    reasons.push("say `--model` and `--gpu`, by which the log can be planned".to_owned());
    Err(reasons)
}

/// Whether a profile has the layers and the width that the log prints.
fn is_same(evidence: &Evidence, deployment: &Deployment) -> bool {
    let shape = &deployment.model.shape;
    let (layers, width) = evidence.shape;
    // A file may hold a layer more that predicts tokens ahead.
    layers.is_none_or(|layers| (shape.n_layers..=shape.n_layers + 1).contains(&layers))
        && width.is_none_or(|width| width == shape.hidden_size)
}

/// The question as it is, or without what cannot be resolved: what is beside the model, a version that is not planned.
fn simplest(
    question: &Question,
    user: &Question,
    notes: &mut Vec<String>,
    resolve: Resolve<'_>,
) -> Result<(Question, Deployment), Vec<String>> {
    let alone = Question {
        mmproj: user.mmproj.clone(),
        draft: user.draft.clone(),
        lora: user.lora.clone(),
        mtp: user.mtp,
        ..question.clone()
    };
    let unversioned = |question: &Question| Question {
        runtime_version: user.runtime_version.clone(),
        ..question.clone()
    };
    let plain = Question {
        ngl: user.ngl,
        attention: user.attention,
        weights: user.weights,
        tensor_split: user.tensor_split.clone(),
        override_tensor: user.override_tensor.clone(),
        ..unversioned(&alone)
    };
    let version = question.runtime_version.clone().unwrap_or_default();
    let newest = format!("`{version}` is not a version that is planned: the newest is");
    let beside = "what is loaded beside the model is not in the plan".to_owned();
    let ways = [
        (question.clone(), Vec::new()),
        (unversioned(question), vec![newest.clone()]),
        (alone.clone(), vec![beside.clone()]),
        (unversioned(&alone), vec![newest.clone(), beside.clone()]),
        (plain, vec![newest, beside, "some of the settings are not in the plan".to_owned()]),
    ];
    let mut first = None;
    for (question, said) in ways {
        match resolve(&question) {
            Ok(deployment) => {
                notes.extend(said.into_iter().filter(|note| !note.starts_with("``")));
                return Ok((question, deployment));
            }
            Err(why) => first = first.or(Some(why)),
        }
    }
    Err(first.into_iter().collect())
}

/// With what other processes held of the card, where the log tells how much was free.
fn with_others(
    evidence: &Evidence,
    question: Question,
    deployment: Deployment,
    resolve: Resolve<'_>,
) -> (Question, Deployment) {
    let one = deployment.cards.len() == 1;
    if question.other_use.is_some() || !one {
        return (question, deployment);
    }
    let Some(others) = held_by_others(evidence, &deployment).filter(|held| *held >= WORTH) else {
        return (question, deployment);
    };
    let changed = Question { other_use: Some(others), ..question.clone() };
    match resolve(&changed) {
        Ok(with_others) => (changed, with_others),
        Err(_) => (question, deployment),
    }
}

/// What others held: what was neither free nor this process's own context.
fn held_by_others(evidence: &Evidence, deployment: &Deployment) -> Option<Bytes> {
    let usable = deployment.cards.first().capacity.usable;
    let holders = Bytes::sum(evidence.holders.iter().map(|holder| holder.size)).ok()?;
    let free = evidence.cards.iter().find_map(|card| card.free);
    match free.or(evidence.counts.free_before.map(|free| free.bytes)) {
        Some(free) => {
            let context = deployment.cards.first().gpu.context().value.expected;
            Some(usable.minus_or_zero(free).minus_or_zero(context))
        }
        None => (!holders.is_zero()).then_some(holders),
    }
}

/// Says what the plan takes for granted.
fn assumed(
    evidence: &Evidence,
    (question, deployment): (&Question, &Deployment),
    runtime: Runtime,
    notes: &mut Vec<String>,
) {
    let is_quantized = deployment.model.is_quantized();
    let llama = crate::estimate::rules(runtime).places_tensors();
    if llama && question.cache_tokens.is_none() {
        notes.push("the log does not say the context: say `--cache-tokens`, as `-c`".to_owned());
    }
    if let Some(method) = evidence.format.as_deref().filter(|_| question.weights.is_none())
        && format_of(method).is_none()
        && !is_quantized
    {
        notes.push(format!("the log says `{method}`, and not of what format: say `--weights`"));
    } else if question.weights.is_none()
        && !is_quantized
        && evidence.models.iter().all(|name| !name.contains('/'))
        && !llama
    {
        notes.push("the log does not say the format of the weights".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(name: &str) -> (String, Option<String>) {
        let (name, format) = plain_names(name).into_iter().next().unwrap();
        (name, format.map(|format| format.to_string()))
    }

    #[test]
    fn names_are_found_in_paths() {
        for (path, name, format) in [
            ("/m/Qwen2.5-14B-Instruct-Q4_K_M.gguf", "Qwen2.5-14B-Instruct", Some("q4_k_m")),
            ("C:\\m\\Qwen3-8B.Q8_0.gguf", "Qwen3-8B", Some("q8_0")),
            ("/m/gemma-3-27b-it-UD-Q4_K_XL-00001-of-00002.gguf", "gemma-3-27b-it", Some("q4_k_m")),
            ("Qwen/Qwen2.5-7B-Instruct-AWQ", "Qwen/Qwen2.5-7B-Instruct-AWQ", None),
            (
                "/root/.cache/huggingface/hub/models--Qwen--Qwen3-8B/snapshots/ab12",
                "Qwen/Qwen3-8B",
                None,
            ),
            ("/models/Qwen1.5-14B-Chat/", "Qwen1.5-14B-Chat", None),
            ("Qwen2.5 14B Instruct", "Qwen2.5 14B Instruct", None),
        ] {
            assert_eq!(first(path), (name.to_owned(), format.map(str::to_owned)), "{path}");
        }
        assert_eq!(plain_names("/root/.ollama/models/blobs/sha256-ac9b").len(), 0);
        assert_eq!(plain_names("Meta Llama 3.1 8B Instruct")[1].0, "Llama 3.1 8B Instruct");
    }

    #[test]
    fn labels_are_formats() {
        for (label, format) in [
            ("Q4_K - Medium", "q4_k_m"),
            ("Q6_K", "q6_k"),
            ("IQ4_XS - 4.25 bpw", "iq4_xs"),
            ("Q3_K - Large", "q3_k_l"),
        ] {
            assert_eq!(format_of(label).map(|f| f.to_string()).as_deref(), Some(format), "{label}");
        }
        assert_eq!(format_of("unknown, may not work"), None);
    }
}
