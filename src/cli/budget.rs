//! `vramplan budget`.

use std::io::{Read as _, Write as _};
use std::path::Path;

use clap::builder::styling::AnsiColor;

use super::Outcome;
use super::args::BudgetArgs;
use super::config::Configured;
use super::format;
use super::manifest::with_manifest;
use super::problem::Problem;
use super::scenario;
use super::screen::width;
use crate::local::version_of;
use vramplan_planner::deployment::{
    Deployment, Question, Served, Unread, flags_of, modelfile, served,
};
use vramplan_planner::estimate::Component;
use vramplan_planner::plan::{Reason, Verdict};
use vramplan_planner::recommend::answer;
use vramplan_planner::render::{
    Document, Format, PLAN, Target, answer_alone, emit, explain, to_table_on, verdict_words,
};
use vramplan_planner::text::{printable, printable_path, wrap, wrap_lines};

/// Plans, recommends and prints.
pub fn run(args: &BudgetArgs) -> anyhow::Result<Outcome> {
    let explained = args.explain.as_deref().map(component).transpose()?;
    let catalog = args.catalog.known();
    let Commanded { question, left_out } = of_command(args)?;
    let plan = with_binary(args)?.or(question);
    let merged = scenario::merged(&plan, args.scenario.as_deref())?;
    let merged = with_modelfile(with_manifest(merged)?)?;
    let config = args.catalog.config()?;
    let places = |question: &Question| scenario::places_tensors(question, &catalog);
    let Configured { question, said } = config.fill(merged, places);
    let deployment = scenario::resolve_in(&question, args.scenario.as_deref(), &catalog)?;
    if let (true, Some(tokens)) = (deployment.given.own_context, deployment.cache.fixed()) {
        let program = deployment.kind();
        let note = format!(
            "note: told none, {program} takes a context of {tokens} tokens here (`num_ctx`)"
        );
        anstream::stderr().write_all(wrap(&note, 80).as_bytes())?;
    }
    let answer = answer(&deployment)?;
    let mut document = Document::new(&deployment, &answer);
    document.deployment.configured = said;
    document.deployment.left_out = left_out;
    let format = format::chosen(args.format, args.json);
    if args.emit.is_some() || explained.is_some() || args.quiet {
        // Elsewhere it stands in the first lines.
        anstream::stderr().write_all(noted(&document.deployment.left_out).as_bytes())?;
    }
    let text = match (args.emit, explained) {
        (Some(target), _) => settings(target, &document, &deployment)?,
        (_, Some(component)) if format == Format::Json => explained_json(&document, component)?,
        (_, Some(component)) => wrap_lines(&explain(&document, component), width()),
        _ if args.quiet => painted(&answer_alone(&document, width()), &document),
        _ if format == Format::Table => {
            let table = painted(&to_table_on(&document, width()), &document);
            let why = || "\n".to_owned() + &wrap_lines(&explain(&document, None), width());
            table + &args.verbose.then(why).unwrap_or_default()
        }
        _ => format::print(&PLAN, &document, format)?,
    };
    anstream::stdout().write_all(text.as_bytes())?;
    Ok(match answer.verdict {
        Verdict::DoesNotFit => Outcome::DoesNotFit,
        Verdict::Fits | Verdict::Tight => Outcome::Done,
    })
}

/// The table with its verdict in colour, which is taken out where the output is no terminal or none is wanted.
fn painted(text: &str, document: &Document) -> String {
    let color = match document.verdict {
        Verdict::Fits => AnsiColor::Green,
        Verdict::Tight => AnsiColor::Yellow,
        Verdict::DoesNotFit => AnsiColor::Red,
    };
    let style = color.on_default().bold();
    let verdict = verdict_words(document);
    match text.strip_prefix(verdict.as_str()) {
        Some(rest) => format!("{style}{verdict}{style:#}{rest}"),
        None => text.to_owned(),
    }
}

/// The components that `--explain` names, as the plan's JSON has them.
fn explained_json(document: &Document, component: Option<Component>) -> anyhow::Result<String> {
    let wanted =
        document.components.iter().filter(|row| component.is_none_or(|wanted| row.id == wanted));
    let wanted: Vec<_> = wanted.collect();
    Ok(serde_json::to_string_pretty(&wanted)? + "\n")
}

/// The question, with the version of the user's own program where one is named.
fn with_binary(args: &BudgetArgs) -> anyhow::Result<Question> {
    let mut plan = args.plan.clone();
    if args.scenario.is_none() {
        // The settings of a program are those of a plan for it.
        plan.runtime = plan.runtime.or_else(|| args.emit.and_then(Target::runtime));
    }
    let Some(program) = &args.runtime_binary else { return Ok(plan) };
    let told = version_of(program).map_err(|message| {
        Problem::new(message)
            .hint("name the version with `--runtime-version`, such as `b9918` or `0.6.0`")
    })?;
    let note = format!("note: `{}` says `{}`\n", printable_path(program), told.line);
    anstream::stderr().write_all(note.as_bytes())?;
    plan.runtime_version = Some(told.version.to_string());
    Ok(plan)
}

/// What a server's command asks for.
#[derive(Default)]
struct Commanded {
    question: Question,
    /// What of it the plan is without, a sentence each.
    left_out: Vec<String>,
}

/// What a server's command says. What is not known of it is left out, and said.
fn of_command(args: &BudgetArgs) -> anyhow::Result<Commanded> {
    if args.command.is_empty() {
        return Ok(Commanded::default());
    }
    let words: Option<Vec<&str>> = args.command.iter().map(|word| word.to_str()).collect();
    let words = words.ok_or_else(|| {
        Problem::usage("the command is not UTF-8")
            .hint("say the same with flags of `vramplan budget`")
    })?;
    let words = with_config(&words)?;
    let (words, set) = with_variables(words);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut served = served(&words).map_err(unread)?;
    served.remarks.extend(set);
    if served.question.model.is_none() && args.plan.model.is_none() && args.scenario.is_none() {
        return Err(Problem::usage("the command names no model")
            .hint("say which one it is to load: `vramplan budget --model NAME … -- COMMAND`")
            .into());
    }
    if let (Some(asked), Some(told)) = (args.plan.gpus, served.question.gpus)
        && asked < told
    {
        let message = format!("the command runs on {told} GPUs, and `--gpus` says {asked}");
        return Err(Problem::usage(message).hint("make both say the same").into());
    }
    let question = served.question_beside(&args.plan);
    let notes = notes(&served, &args.plan);
    anstream::stderr().write_all(notes.as_bytes())?;
    Ok(Commanded { question, left_out: left_out(&served) })
}

/// What a server of llama.cpp takes of itself.
const OWN_SLOTS: &str =
    "`llama-server` without `-np` has four slots that share its cache; `-np 1` has one";

/// A server's command with what its `--config` file says, which its other flags go before.
fn with_config(words: &[&str]) -> anyhow::Result<Vec<String>> {
    const FLAG: &str = "--config";
    let mut words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
    let server = words.iter().position(|word| SERVERS.contains(&word.as_str()));
    let Some(server) = server else { return Ok(words) };
    let flag = |word: &String| word == FLAG || word.starts_with("--config=");
    let Some(at) = words.iter().position(flag) else { return Ok(words) };
    let path = match words.remove(at).split_once('=') {
        Some((_, path)) => path.to_owned(),
        None if at < words.len() => words.remove(at),
        None => return Err(Problem::usage("`--config` has no value").into()),
    };
    let path = Path::new(&path);
    let text = bounded_text(path)?;
    let wrong = |line| {
        let message = format!("`{}`: line {line} is no key with a value", printable_path(path));
        Problem::new(message).hint("say the same with the server's flags")
    };
    let behind = server + 1;
    words.splice(behind..behind, flags_of(&text).map_err(wrong)?);
    Ok(words)
}

/// Words behind which a server's flags stand.
const SERVERS: [&str; 4] = [
    "serve",
    "vllm.entrypoints.openai.api_server",
    "vllm.entrypoints.api_server",
    "sglang.launch_server",
];

/// A small file's text.
fn bounded_text(path: &Path) -> anyhow::Result<String> {
    const MOST: u64 = 1 << 20;
    let mut text = String::new();
    fs_err::File::open(path)?.take(MOST).read_to_string(&mut text)?;
    Ok(text)
}

/// Variables of Ollama's that change what is planned.
const OLLAMA: [&str; 5] = [
    "OLLAMA_CONTEXT_LENGTH",
    "OLLAMA_NUM_PARALLEL",
    "OLLAMA_KV_CACHE_TYPE",
    "OLLAMA_FLASH_ATTENTION",
    "OLLAMA_GPU_OVERHEAD",
];

/// Ollama's command behind the variables that are set here, as it would be run from this shell; and what to say of them.
fn with_variables(words: Vec<String>) -> (Vec<String>, Vec<String>) {
    let is_ollama = |word: &str| Path::new(word).file_name().is_some_and(|name| name == "ollama");
    if !words.iter().flat_map(|word| word.split_whitespace()).any(is_ollama) {
        return (words, Vec::new());
    }
    let set = OLLAMA.iter().filter_map(|name| {
        let value = std::env::var(name).ok().filter(|value| !value.trim().is_empty())?;
        Some(format!("{name}={value}"))
    });
    // What the command says itself goes before.
    let is_said = |set: &String| {
        let name = set.split_inclusive('=').next().unwrap_or_default();
        words.iter().any(|word| word.contains(name))
    };
    let set: Vec<String> = set.filter(|set| !is_said(set)).collect();
    let said = set.iter().map(|set| format!("`{}` is set here, and planned with", printable(set)));
    let said = said.collect();
    let words = match words.as_slice() {
        // A command that was pasted as one word.
        [one] => {
            vec![set.iter().map(String::as_str).chain([one.as_str()]).collect::<Vec<_>>().join(" ")]
        }
        _ => set.into_iter().chain(words).collect(),
    };
    (words, said)
}

/// The question about what a Modelfile is made from, with its settings, where the model is one.
fn with_modelfile(question: Question) -> anyhow::Result<Question> {
    const OTHERS: [&str; 4] = ["gguf", "safetensors", "json", "toml"];
    let Some(path) = question.model.as_deref().map(Path::new).filter(|path| path.is_file()) else {
        return Ok(question);
    };
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    if OTHERS.contains(&ending.to_ascii_lowercase().as_str()) {
        return Ok(question);
    }
    // What is no text is no Modelfile.
    let Some(told) = bounded_text(path).ok().and_then(|text| modelfile(&text)) else {
        return Ok(question);
    };
    let beside = |name: &str| {
        let ending = Path::new(name).extension();
        let is_file = ending.is_some_and(|ending| ending.eq_ignore_ascii_case("gguf"));
        let is_path = is_file || name.starts_with(['.', '~']);
        let folder = path.parent().filter(|_| is_path && Path::new(name).is_relative());
        folder.map_or_else(
            || name.to_owned(),
            |folder| folder.join(name).to_string_lossy().into_owned(),
        )
    };
    let model = told.model.as_deref().map(beside);
    let lora = told.lora.iter().map(|name| beside(name)).collect();
    let note = format!(
        "note: `{}` is a Modelfile, made from `{}`\n",
        printable_path(path),
        printable(model.as_deref().unwrap_or_default())
    );
    anstream::stderr().write_all(note.as_bytes())?;
    Ok(Question { model, ..question.or(Question { lora, ..told }) })
}

/// What the reader of a command's plan must know: what it takes for granted, and how it is planned.
pub(super) fn notes(served: &Served, plan: &Question) -> String {
    let granted = served.note.filter(|_| plan.context.is_none() && plan.cache_tokens.is_none());
    let remarks = served.remarks.iter().map(String::as_str);
    let has_slots = served.chooses_slots && served.question_beside(plan).parallel.is_some();
    let slots = has_slots.then_some(OWN_SLOTS);
    let notes: Vec<_> = granted.into_iter().chain(remarks).chain(slots).collect();
    noted(&notes)
}

/// What of a command the plan is without, a sentence each.
pub(super) fn left_out(served: &Served) -> Vec<String> {
    let quoted = |flags: &[String]| {
        let flags: Vec<_> = flags.iter().map(|flag| format!("`{flag}`")).collect();
        flags.join(", ")
    };
    let mut said = Vec::new();
    if !served.not_planned.is_empty() {
        let flags = quoted(&served.not_planned);
        said.push(format!("planned without {flags}: what that takes is not modelled"));
    }
    if !served.left_out.is_empty() {
        let flags = quoted(&served.left_out);
        said.push(format!("planned without {flags}, which vramplan does not know"));
    }
    said
}

/// Notes in lines of 80 columns.
pub(super) fn noted<S: AsRef<str>>(notes: &[S]) -> String {
    notes.iter().map(|note| wrap(&format!("note: {}", note.as_ref()), 80)).collect()
}

/// Why a command is not planned.
pub(super) fn unread(why: Unread) -> Problem {
    match why {
        Unread::Program(program) => {
            Problem::usage(format!("what `{program}` runs cannot be told from its command")).hint(
                "the commands of `llama-server`, `ollama`, `lms`, `vllm serve` and `sglang` are read; any program can be \
                 run on a virtual GPU with `vramplan rehearse`, or planned by flags such as `--model NAME --runtime transformers`",
            )
        }
        Unread::NotModelled(engine) => Problem::usage(format!("{engine} is not modelled")).hint(
            "`vramplan budget --model NAME --runtime vllm` plans the same model for vLLM; `sglang`, `transformers` and \
             `llama.cpp` are planned, too",
        ),
        Unread::Value(what) => Problem::usage(format!("the command cannot be read: {what}"))
            .hint("mend it, or say the same with flags of `vramplan budget`"),
    }
}

/// The settings of a plan; those of one that does not fit would only fail.
fn settings(
    target: Target,
    document: &Document,
    deployment: &Deployment,
) -> anyhow::Result<String> {
    let gpu = &deployment.cards.first().gpu;
    let text = emit(document, target, deployment.file.as_deref(), gpu.compute_capability)?;
    if document.verdict == Verdict::DoesNotFit {
        let why = match document.reason {
            Some(Reason::TooSlow) => "the plan is slower than asked for".to_owned(),
            _ => format!("the plan does not fit, {} short", document.short_by),
        };
        let message = format!(
            "error: {why}: there are no settings to print\n\
             hint: plan without `--emit` to see what would make it fit\n"
        );
        anstream::stderr().write_all(message.as_bytes())?;
        return Ok(String::new());
    }
    Ok(text)
}

/// The component that `--explain` names; nothing for all of them.
fn component(name: &str) -> anyhow::Result<Option<Component>> {
    if name == "all" {
        return Ok(None);
    }
    let known: Vec<_> = Component::ALL.iter().map(|component| format!("`{component}`")).collect();
    let unknown = || {
        Problem::usage(format!("unknown component `{}`", printable(name)))
            .hint(format!("expected one of {}", known.join(", ")))
    };
    Ok(Some(Component::from_id(name).ok_or_else(unknown)?))
}
