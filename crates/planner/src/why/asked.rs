//! From what a log says to a question that can be planned.

mod cards;
mod cells;
mod names;

use std::sync::Arc;

use self::cards::Way;
use self::names::{Named, format_of};
use super::evidence::{Engine, Evidence};
use super::finding::Resolve;
use crate::deployment::{Deployment, Question};
use crate::dtype::WeightFormat;
use crate::estimate::weights::of_size::{PRINTED, of_size};
use crate::spec::{ModelSpec, Runtime};
use crate::units::Bytes;

/// What other processes must hold to be told of: below this it is what contexts differ by.
const WORTH: Bytes = Bytes::new(256 << 20);

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
    let gpus = cards::ways(evidence, user);
    if gpus.is_empty() {
        missing.push("the log names no card: say `--gpu`, such as `--gpu 'RTX 3060'`".to_owned());
    }
    let models = names::models(evidence, user);
    if models.is_empty() {
        missing.push("the log does not name the model: say `--model`".to_owned());
    }
    let (Some(runtime), true) = (runtime, missing.is_empty()) else { return Err(missing) };
    let mut notes = Vec::new();
    let (model, way) = found(evidence, (&models, &gpus), runtime, user, resolve)?;
    notes.extend(model.note());
    notes.extend(way.note.clone());
    let weights = model.format;
    let told = settled(evidence.run.question.clone());
    let question = Question {
        gpu: Some(way.gpu),
        model: Some(model.name),
        runtime: Some(runtime),
        weights: user.weights.or(told.weights).or(weights),
        runtime_version: user
            .runtime_version
            .clone()
            .or_else(|| evidence.version.clone())
            .or_else(|| era(evidence, runtime)),
        ..user.clone().or(told)
    };
    let question = cards::dealt_by_free(evidence, question);
    let user_or_era = Question {
        runtime_version: user.runtime_version.clone().or_else(|| era(evidence, runtime)),
        ..user.clone()
    };
    let (question, deployment) = simplest(&question, &user_or_era, &mut notes, resolve)?;
    let (question, deployment) =
        cells::of_refused(evidence, question, deployment, &mut notes, resolve);
    let (question, deployment) = with_others(evidence, question, deployment, resolve);
    if user.runtime_version.is_none()
        && evidence.version.is_none()
        && question.runtime_version.is_some()
    {
        notes.push("the log does not say its build: its lines are those of builds before mid-2025, and `2025` is planned".to_owned());
    }
    let is_seen = |card: &super::evidence::CardSeen| card.name.is_some() || card.total.is_some();
    if user.gpu.is_none() && !evidence.cards.iter().any(is_seen) {
        notes.push(
            "the log names no card: one of what was free is planned; `--gpu` says which it is"
                .to_owned(),
        );
    }
    if let Some(stored) = deployment.model.stored.as_ref().filter(|stored| stored.source == PRINTED)
    {
        notes.push(format!(
            "weights are `{}`, as the log prints them: what type each tensor has is not told, and taken to be the file type's",
            stored.label
        ));
    }
    assumed(evidence, (&question, &deployment), runtime, &mut notes);
    Ok(Asked { deployment, question, notes })
}

fn runtime(evidence: &Evidence, user: &Question) -> Option<Runtime> {
    user.runtime.or_else(|| evidence.engine?.0.runtime()?.parse().ok())
}

/// The name of builds of before mid-2025, where the form of its lines tells that the log is of one.
fn era(evidence: &Evidence, runtime: Runtime) -> Option<String> {
    let is_llama = "llama.cpp".parse() == Ok(runtime);
    (evidence.run.is_old == Some(true) && is_llama).then(|| "2025".to_owned())
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

/// A deployment with weights of the size that the log prints of its file, where its type alone does not make it: files whose makers choose
/// a type for each tensor.
pub fn of_printed_size(evidence: &Evidence, question: &Question, found: Deployment) -> Deployment {
    let stated = evidence.format.as_deref().and_then(format_of);
    let is_it = question.weights.is_some() && question.weights == stated;
    let places = crate::estimate::rules(found.kind()).places_tensors();
    let Some(size) = evidence.file_size.filter(|_| is_it && places) else { return found };
    let Some(stored) = of_size(&found.model, found.weights, size.bytes) else { return found };
    let model = Arc::new(ModelSpec { stored: Some(stored), ..(*found.model).clone() });
    Deployment { model, weights: WeightFormat::AsStored, ..found }
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

/// The first of these names that is known on the first of these cards that is.
fn found(
    evidence: &Evidence,
    (models, gpus): (&[Named], &[Way]),
    runtime: Runtime,
    user: &Question,
    resolve: Resolve<'_>,
) -> Result<(Named, Way), Vec<String>> {
    let plain = |model: &str, gpu: &str, gpus: Option<u64>| Question {
        model: Some(model.to_owned()),
        gpu: Some(gpu.to_owned()),
        runtime: Some(runtime),
        gpus,
        ..Question::default()
    };
    let mut reasons = Vec::new();
    let ranks = user.gpus.or(evidence.run.question.gpus);
    for named in models {
        for way in gpus {
            let ranks = ranks.filter(|_| !way.gpu.contains(','));
            match resolve(&plain(&named.name, &way.gpu, ranks)) {
                Ok(deployment) if user.model.is_some() || is_same(evidence, &deployment) => {
                    // What the user names may be in a format already.
                    let is_open = user.model.is_none() || !deployment.model.is_quantized();
                    let format = named.format.filter(|_| is_open);
                    return Ok((Named { format, ..named.clone() }, way.clone()));
                }
                Ok(_) => {
                    let name = &named.name;
                    reasons.push(format!("`{name}` has other layers than the log's model"));
                }
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
    let instead = match &user.runtime_version {
        Some(other) => format!("`{other}` is planned instead"),
        None => "the newest is planned instead".to_owned(),
    };
    let newest = format!("`{version}` is not a version that is planned: {instead}");
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
