//! Manifests of Kubernetes, docker compose, Helm and llama-swap: what the engine in one asks for.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::path::Path;

use anyhow::Context as _;

use super::budget::{left_out, noted, notes, unread};
use super::problem::Problem;
use vramplan_planner::bounded;
use vramplan_planner::deployment::{Engine, ManifestError, Question, manifest};
use vramplan_planner::read::yaml::MOST_BYTES;
use vramplan_planner::text::{printable, printable_message, wrap};

/// What is read, and which of several engines in it is meant: `FILE.yaml#NAME`, or `-#NAME` of standard input.
struct Asked<'a> {
    file: &'a str,
    engine: Option<&'a str>,
}

/// Whether a name is that of a manifest: a file of YAML, or `-` for standard input.
pub fn is_manifest(name: &str) -> bool {
    let file = asked(name).file;
    let ending = Path::new(file).extension().unwrap_or_default();
    file == "-" || ending.eq_ignore_ascii_case("yaml") || ending.eq_ignore_ascii_case("yml")
}

fn asked(name: &str) -> Asked<'_> {
    match name.rsplit_once('#') {
        Some((file, engine)) if !Path::new(name).exists() => Asked { file, engine: Some(engine) },
        _ => Asked { file: name, engine: None },
    }
}

/// The question with what a manifest says that stands where the model does.
pub fn with_manifest(question: Question) -> anyhow::Result<Question> {
    let Some(name) = question.model.clone().filter(|name| is_manifest(name)) else {
        return Ok(question);
    };
    let flags = Question { model: None, ..question };
    let found = read(&name, &flags)?;
    Ok(flags.or(found))
}

/// What the engine of a manifest asks for beside these flags; says on standard error what was read, and where.
pub fn read(name: &str, flags: &Question) -> anyhow::Result<Question> {
    let asked = asked(name);
    let file = match asked.file {
        "-" => "standard input".to_owned(),
        file => printable_message(file),
    };
    let text = text_of(asked.file)?;
    let engines = manifest(&text).map_err(|error| refused(&file, error))?;
    let engine = chosen(&engines, &asked, &file)?;
    let question = engine.question_beside(flags);
    if question.model.is_none() && flags.model.is_none() {
        let message = format!("`{file}`: the command of {} names no model", engine.place);
        let name = printable_message(name);
        let hint = format!("say which one: `vramplan budget --scenario '{name}' --model NAME`");
        return Err(Problem::new(message).hint(hint).into());
    }
    if let (Some(asked), Some(told)) = (flags.gpus, question.gpus)
        && asked < told
    {
        let message = format!("its engine runs on {told} GPUs, and `--gpus` says {asked}");
        return Err(Problem::usage(message).hint("make both say the same").into());
    }
    let said = said(engine, flags, &file) + &notes(&engine.served, flags);
    let without = noted(&left_out(&engine.served));
    anstream::stderr().write_all((said + &without).as_bytes())?;
    Ok(question)
}

/// The text of a file, or of standard input; no more of it than is read.
pub fn text_of(file: &str) -> anyhow::Result<String> {
    let most = MOST_BYTES as u64;
    let bytes = match file {
        "-" => bounded::read(std::io::stdin().lock().by_ref(), most),
        path => bounded::read(fs_err::File::open(path)?, most),
    };
    let name = || format!("`{}`", printable_message(file));
    let text = bytes.map(String::from_utf8).with_context(name)?;
    Ok(text.map_err(|_| Problem::new(format!("{} is no text", name())))?)
}

/// The engine that is meant.
fn chosen<'a>(engines: &'a [Engine], asked: &Asked, file: &str) -> anyhow::Result<&'a Engine> {
    let found = match (asked.engine, engines) {
        (None, [one]) => return Ok(one),
        (None, _) => None,
        (Some(name), _) => engines.iter().find(|engine| engine.name == name),
    };
    let names = engines.iter().map(|engine| format!("`{}`", printable(&engine.name)));
    let names: Vec<_> = names.collect();
    let message = || match asked.engine {
        Some(name) => {
            format!("`{file}` runs no engine `{}`: it has {}", printable(name), names.join(", "))
        }
        None => format!("`{file}` runs {} engines: {}", engines.len(), names.join(", ")),
    };
    let first = engines.first().map(|engine| printable(&engine.name)).unwrap_or_default();
    Ok(found.ok_or_else(|| {
        Problem::usage(message())
            .hint(format!("name one behind `#`: `vramplan budget --model '{file}#{first}'`"))
    })?)
}

/// What was read of a manifest, and where: the first lines of its plan.
fn said(engine: &Engine, flags: &Question, file: &str) -> String {
    let mut said =
        format!("note: {file}: {}: `{}`", engine.place, printable_message(&engine.command));
    if let Some(given) = &engine.given {
        let count = given.count.map_or_else(|| "all".to_owned(), |count| count.to_string());
        let _ = write!(said, "; `{}: {count}`", printable(&given.key));
        // A card that is named is planned whole.
        let whole = flags.gpu.as_deref().zip(given.slice());
        if let Some((gpu, slice)) = whole.filter(|(gpu, slice)| !gpu.contains(slice)) {
            let part = printable(&format!("{gpu}-{slice}"));
            let _ = write!(said, ", a slice: `--gpu {part}` plans that, and this the whole card");
        }
    }
    if let Some(card) = &engine.card {
        let (key, name) = (printable(&card.key), printable(&card.name));
        let _ = match &flags.gpu {
            Some(gpu) => write!(
                said,
                "; on `{}`, as `--gpu` says, and not on `{key}: {name}`",
                printable(gpu)
            ),
            None => write!(said, "; on `{key}: {name}`"),
        };
    }
    wrap(&said, 80)
}

/// Why a manifest is not planned.
fn refused(file: &str, error: ManifestError) -> anyhow::Error {
    match error {
        ManifestError::Yaml(error) => {
            Problem::new(format!("`{file}` is not read as YAML: {error}")).hint(READ).into()
        }
        ManifestError::Template => Problem::new(format!(
            "`{file}` is a template, of which YAML is made"
        ))
        .hint("hand over what it makes: `helm template CHART | vramplan budget --model - --gpu L4`")
        .into(),
        ManifestError::NoEngine(images) => {
            let images: Vec<_> = images.iter().map(|image| format!("`{image}`")).collect();
            let images = match images.as_slice() {
                [] => String::new(),
                images => format!(": its images are {}", images.join(", ")),
            };
            let message = format!("`{file}` runs no engine whose command is read{images}");
            Problem::new(message).hint(READ).into()
        }
        ManifestError::Unread(place, why) => {
            anyhow::Error::from(unread(why)).context(format!("`{file}`: {place}"))
        }
    }
}

/// What is read.
const READ: &str = "manifests of Kubernetes and docker compose, values of Helm charts and llama-swap's settings are read where they run \
    `llama-server`, `ollama`, `vllm serve` or `sglang`; a command alone is read behind `--`: `vramplan budget --gpu L4 -- COMMAND`";
