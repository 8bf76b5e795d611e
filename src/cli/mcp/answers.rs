//! The tools' answers: the command's own, as a table and as data.

use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::cli::known::Known;
use crate::cli::problem::Problem;
use crate::cli::{compare as comparing, quants as formats, scenario, why as failures};
use crate::mcp::Reply;
use vramplan_planner::deployment::{Deployment, Question};
use vramplan_planner::form;
use vramplan_planner::plan::Verdict;
use vramplan_planner::recommend::answer;
use vramplan_planner::render::{CompareDoc, Document, Format, PLAN, Target, emit};
use vramplan_planner::text::{printable, printable_path};
use vramplan_planner::why::Evidence;

/// Arguments of a call.
type Arguments = Map<String, Value>;

/// A plan, and its settings where they are asked for.
pub fn budget(known: &Known, mut arguments: Arguments) -> anyhow::Result<Reply> {
    let target = text(&mut arguments, "emit")?.map(|name| target(&name)).transpose()?;
    let mut question = question(&arguments)?;
    // The settings of a program are those of a plan for it.
    question.runtime = question.runtime.or_else(|| target.and_then(Target::runtime));
    let deployment = scenario::resolve(&question, known)?;
    let document = Document::new(&deployment, &answer(&deployment)?);
    let mut texts = vec![crate::cli::format::print(&PLAN, &document, Format::Table)?];
    if let Some(target) = target {
        texts.push(settings(target, &document, &deployment)?);
    }
    reply(texts, &document)
}

fn settings(
    target: Target,
    document: &Document,
    deployment: &Deployment,
) -> anyhow::Result<String> {
    let gpu = &deployment.cards.first().gpu;
    if document.verdict == Verdict::DoesNotFit {
        return Ok("The plan does not fit: there are no settings to print.\n".to_owned());
    }
    Ok(emit(document, target, deployment.file.as_deref(), gpu.compute_capability)?)
}

fn target(name: &str) -> anyhow::Result<Target> {
    let found = Target::NAMES.into_iter().find(|(known, _)| *known == name);
    let unknown = || {
        let known = Target::NAMES.map(|(name, _)| name).join("`, `");
        Problem::new(format!("`emit` is `{}`: expected one of `{known}`", printable(name)))
    };
    Ok(found.ok_or_else(unknown)?.1)
}

/// The formats of a model, beside each other.
pub fn quants(known: &Known, mut arguments: Arguments) -> anyhow::Result<Reply> {
    let Some(model) = text(&mut arguments, "model")? else {
        let hint = "give a repository, a folder or a model by name";
        return Err(missing("model").hint(hint).into());
    };
    if arguments.contains_key("weights") {
        let message = "`weights` is what `quants` compares: leave it out";
        return Err(Problem::new(message).hint("`budget` plans one format").into());
    }
    let document = formats::document(known, &question(&arguments)?, &model)?;
    let table = crate::cli::format::print(&formats::QUANTS, &document, Format::Table)?;
    reply(vec![table], &document)
}

/// Two plans, component by component.
pub fn compare(known: &Known, mut arguments: Arguments) -> anyhow::Result<Reply> {
    let current = object(&mut arguments, "current")?.ok_or_else(|| missing("current"))?;
    let change = object(&mut arguments, "proposed")?.ok_or_else(|| missing("proposed"))?;
    nothing_else(&arguments)?;
    let current = question(&current)?;
    let proposed = question(&change)?.or(current.clone());
    if proposed == current {
        let same = Problem::new("nothing is proposed: `proposed` changes none of `current`");
        return Err(same.into());
    }
    let [current, proposed] =
        [&current, &proposed].map(|question| comparing::document(question, known));
    let document = CompareDoc::new(("current", &current?), ("proposed", &proposed?));
    reply(vec![document.to_table()], &document)
}

/// Why a run ran out of memory.
pub fn why(known: &Known, mut arguments: Arguments) -> anyhow::Result<Reply> {
    let (log, file) = (text(&mut arguments, "log")?, text(&mut arguments, "file")?);
    let plan = object(&mut arguments, "plan")?.unwrap_or_default();
    nothing_else(&arguments)?;
    let (evidence, name) = match (&log, &file) {
        (Some(log), None) => (failures::read_from(log.as_bytes())?, "log"),
        (None, Some(file)) => (log_file(file.as_ref())?, file.as_str()),
        _ => return Err(Problem::new("expected `log` or `file`, and not both").into()),
    };
    let document = failures::document(evidence, name, &question(&plan)?, known)?;
    let table =
        crate::cli::format::print(&vramplan_planner::render::WHY, &document, Format::Table)?;
    reply(vec![table], &document)
}

/// Reads a log by its path. A pipe could keep every later call waiting, and standard input is the client's.
fn log_file(path: &Path) -> anyhow::Result<Evidence> {
    if !fs_err::metadata(path)?.is_file() {
        let message = format!("`{}` is not a file: expected a log", printable_path(path));
        return Err(Problem::new(message).into());
    }
    failures::read_file(path)
}

pub fn reply(texts: Vec<String>, document: &impl Serialize) -> anyhow::Result<Reply> {
    Ok(Reply { texts, data: serde_json::to_value(document)? })
}

/// The question that arguments ask, each as JSON has it or as people write it.
fn question(arguments: &Arguments) -> anyhow::Result<Question> {
    Ok(form::question(arguments).map_err(Problem::from)?)
}

impl From<form::Problem> for Problem {
    fn from(problem: form::Problem) -> Self {
        let form::Problem { message, hints } = problem;
        hints.into_iter().fold(Self::new(message), Self::hint)
    }
}

fn missing(name: &str) -> Problem {
    Problem::new(format!("`{name}` is missing"))
}

/// An argument that is a text, taken out.
pub fn text(arguments: &mut Arguments, name: &str) -> anyhow::Result<Option<String>> {
    match arguments.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Problem::new(format!("`{name}`: expected a text")).into()),
    }
}

/// An argument that is true or false, taken out.
pub fn boolean(arguments: &mut Arguments, name: &str) -> anyhow::Result<bool> {
    match arguments.remove(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(given)) => Ok(given),
        Some(_) => Err(Problem::new(format!("`{name}`: expected true or false")).into()),
    }
}

fn object(arguments: &mut Arguments, name: &str) -> anyhow::Result<Option<Arguments>> {
    match arguments.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(given)) => Ok(Some(given)),
        Some(_) => {
            let message = format!("`{name}`: expected an object with arguments of `budget`");
            Err(Problem::new(message).into())
        }
    }
}

/// Refuses an argument that the tool does not have.
pub fn nothing_else(arguments: &Arguments) -> anyhow::Result<()> {
    match arguments.keys().next() {
        None => Ok(()),
        Some(name) => {
            Err(Problem::new(format!("`{}` is not an argument of this tool", printable(name)))
                .into())
        }
    }
}
