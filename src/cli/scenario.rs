//! From flags and scenario files to a deployment. The planner resolves; here files are read, and the card of this
//! machine is looked for.

use std::path::Path;

use anyhow::Context as _;

use super::known::{Known, runtime_of_one};
use super::manifest;
use super::problem::Problem;
use vramplan_disk::Disk;
use vramplan_planner::deployment::{Deployment, LocalCard, Question};
use vramplan_planner::estimate::rules;
use vramplan_planner::read::{Catalog, profile};
use vramplan_planner::recommend::settle_cards;
use vramplan_planner::render::SCHEMA;
use vramplan_planner::text::{excerpt, one_line, printable, printable_path};

/// Reads a scenario file: the flags of `budget` as TOML, or a plan that it printed as JSON.
pub fn read(path: &Path) -> anyhow::Result<Question> {
    read_beside(path, &Question::default())
}

/// Reads a scenario file; of a manifest, which is one, too, what its engine asks for beside these flags.
fn read_beside(path: &Path, flags: &Question) -> anyhow::Result<Question> {
    if let Some(name) = path.to_str().filter(|name| manifest::is_manifest(name)) {
        return manifest::read(name, flags);
    }
    if matches!(path.try_exists(), Ok(false)) {
        let message = format!("`{}` does not exist: expected a scenario", printable_path(path));
        return Err(Problem::new(message).hint(KEYS).into());
    }
    let text = profile::text_of(&Disk, path)?;
    if text.trim_start().starts_with('{') {
        let refused = |message: String| {
            let message = format!("`{}` is not a scenario: {message}", printable_path(path));
            Problem::new(message).hint(KEYS)
        };
        return Ok(of_plan(&text).map_err(refused)?);
    }
    Ok(toml::from_str(&text).map_err(|error| no_scenario(path, &text, &error))?)
}

/// What may stand in a scenario.
const KEYS: &str =
    "its keys are the flags of `vramplan budget`, with `_` for `-`; a plan in JSON is one, too";

/// Says why a file is no scenario, and shows where.
fn no_scenario(path: &Path, text: &str, error: &toml::de::Error) -> Problem {
    let place = error.span().map(|span| format!("TOML parse error at {}", excerpt(text, &span)));
    let (path, message) = (printable_path(path), one_line(error.message()));
    Problem::with_lines(format!(
        "`{path}` is not a scenario: {}{message}",
        place.unwrap_or_default()
    ))
    .hint(KEYS)
}

/// The question of a plan.
fn of_plan(text: &str) -> Result<Question, String> {
    #[derive(serde::Deserialize)]
    struct Plan {
        schema: String,
        deployment: Asked,
    }
    #[derive(serde::Deserialize)]
    struct Asked {
        resolved: Question,
    }
    let plan: Plan = serde_json::from_str(text).map_err(|error| printable(&error.to_string()))?;
    if plan.schema != SCHEMA {
        return Err(format!("schema `{}`: expected `{SCHEMA}`", printable(&plan.schema)));
    }
    Ok(plan.deployment.resolved)
}

/// The flags, over those of a scenario file where there is one.
pub fn merged(flags: &Question, scenario: Option<&Path>) -> anyhow::Result<Question> {
    match scenario {
        Some(path) => Ok(flags.clone().or(read_beside(path, flags)?)),
        None => Ok(flags.clone()),
    }
}

/// Resolves a question, on the card of this machine where it asks for that, on the fewest of a card where it asks for those.
pub fn resolve(question: &Question, known: &Known) -> anyhow::Result<Deployment> {
    let local = local_card_for(question, known)?;
    let found = known.resolve(&with_local_memory(question, known)?, local.as_ref())?;
    Ok(settle_cards(&found)?.into_owned())
}

/// Whether a question is one for a runtime that places tensors in main memory.
pub fn places_tensors(question: &Question, known: &Known) -> bool {
    let of_one = |model: &str| Some(runtime_of_one(question, &known.locate(model).ok()?, known));
    let runtime = question.runtime.or_else(|| question.model.as_deref().and_then(of_one));
    runtime.is_some_and(|runtime| rules(runtime).places_tensors())
}

/// The question with what this machine has of main memory, where it asks for this machine's card and plans that.
fn with_local_memory(question: &Question, known: &Known) -> anyhow::Result<Question> {
    let mut question = question.clone();
    let Some(model) = question.model.as_deref().filter(|_| question.wants_local_card()) else {
        return Ok(question);
    };
    let runtime = match question.runtime {
        Some(runtime) => runtime,
        None => runtime_of_one(&question, &known.locate(model)?, known),
    };
    if rules(runtime).places_tensors() {
        question.ram = question.ram.or_else(crate::local::available_memory);
    }
    Ok(question)
}

/// The card of this machine, where a question asks for it.
pub fn local_card_for(question: &Question, catalog: &Catalog) -> anyhow::Result<Option<LocalCard>> {
    if !question.wants_local_card() {
        return Ok(None);
    }
    let card = crate::local::local_card()?;
    Ok(Some(LocalCard { gpu: card.spec(catalog)?, used: card.used }))
}

/// Resolves a question that names no GPU.
fn on_the_local_card(question: &Question, known: &Known) -> anyhow::Result<Deployment> {
    let local = Question { gpu: Some("auto".to_owned()), ..question.clone() };
    if !crate::local::local_card().is_err_and(|error| error.is_of_the_driver()) {
        return resolve(&local, known);
    }
    let model = printable(question.model.as_deref().unwrap_or_default());
    let model = shlex::try_quote(&model).unwrap_or((&*model).into());
    let message = "`--gpu` is missing, and this machine has no NVIDIA driver to ask: expected a name such as `L4`";
    Err(Problem::usage(message)
        .hint(format!(
            "try `vramplan budget --gpu L4 --model {model}`; `vramplan sweep --gpu all --model {model}` shows which GPUs it fits, \
             `vramplan profiles list gpus` those that are known"
        ))
        .into())
}

/// Reads the scenario file, if any, and resolves flags over it.
pub fn deployment(
    flags: &Question,
    scenario: Option<&Path>,
    known: &Known,
) -> anyhow::Result<Deployment> {
    resolve_in(&merged(flags, scenario)?, scenario, known)
}

/// Resolves a question that is partly from a scenario file; one that names no GPU is about the local card where there is
/// one.
pub fn resolve_in(
    question: &Question,
    scenario: Option<&Path>,
    known: &Known,
) -> anyhow::Result<Deployment> {
    let resolved = match question.gpu {
        None if question.model.is_some() => on_the_local_card(question, known),
        _ => resolve(question, known),
    };
    match scenario {
        Some(path) => resolved.with_context(|| format!("scenario `{}`", printable_path(path))),
        None => resolved,
    }
}
