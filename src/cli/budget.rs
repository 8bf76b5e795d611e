//! `vramplan budget`.

use std::io::Write as _;

use clap::builder::styling::AnsiColor;

use super::Outcome;
use super::args::BudgetArgs;
use super::config::Configured;
use super::format;
use super::problem::Problem;
use super::scenario;
use super::screen::width;
use crate::local::version_of;
use vramplan_planner::deployment::{Deployment, Question, Served, Unread, served};
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
    let plan = with_binary(args)?.or(of_command(args)?);
    let merged = scenario::merged(&plan, args.scenario.as_deref())?;
    let config = args.catalog.config()?;
    let places = |question: &Question| scenario::places_tensors(question, &catalog);
    let Configured { question, said } = config.fill(merged, places);
    let deployment = scenario::resolve_in(&question, args.scenario.as_deref(), &catalog)?;
    let answer = answer(&deployment)?;
    let mut document = Document::new(&deployment, &answer);
    document.deployment.configured = said;
    let format = format::chosen(args.format, args.json);
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

/// What a server's command says. What is not known of it is left out, and said.
fn of_command(args: &BudgetArgs) -> anyhow::Result<Question> {
    if args.command.is_empty() {
        return Ok(Question::default());
    }
    let words: Option<Vec<&str>> = args.command.iter().map(|word| word.to_str()).collect();
    let words = words.ok_or_else(|| {
        Problem::usage("the command is not UTF-8")
            .hint("say the same with flags of `vramplan budget`")
    })?;
    let served = served(&words).map_err(unread)?;
    if served.question.model.is_none() && args.plan.model.is_none() && args.scenario.is_none() {
        return Err(Problem::usage("the command names no model")
            .hint("say which one it is to load: `vramplan budget --model NAME … -- COMMAND`")
            .into());
    }
    anstream::stderr().write_all(notes(&served, &args.plan).as_bytes())?;
    let mut question = served.question;
    let says =
        |flags: [&str; 2]| words.iter().any(|word| flags.iter().any(|flag| word.contains(flag)));
    // Slots that a server has without being told give way to users or sequences that are asked for beside its command.
    let is_asked = args.plan.users.is_some() || args.plan.batch.is_some();
    if is_asked && !says(["-np", "parallel"]) && !says(["N_PARALLEL", "NUM_PARALLEL"]) {
        question.parallel = None;
        question.kv_unified &= says(["-kvu", "kv-unified"]);
    }
    Ok(question)
}

/// What the reader of a command's plan must know: what it takes for granted, and what it does not have.
fn notes(served: &Served, plan: &Question) -> String {
    let quoted = |flags: &[String]| {
        let flags: Vec<_> = flags.iter().map(|flag| format!("`{flag}`")).collect();
        flags.join(", ")
    };
    let mut notes = String::new();
    if let Some(note) =
        served.note.filter(|_| plan.context.is_none() && plan.cache_tokens.is_none())
    {
        notes.push_str(&wrap(&format!("note: {note}"), 80));
    }
    if !served.not_planned.is_empty() {
        let flags = quoted(&served.not_planned);
        let note = format!("note: planned without {flags}: what that takes is not modelled");
        notes.push_str(&wrap(&note, 80));
    }
    if !served.left_out.is_empty() {
        let flags = quoted(&served.left_out);
        let note = format!("note: planned without {flags}, which vramplan does not know");
        notes.push_str(&wrap(&note, 80));
    }
    notes
}

fn unread(why: Unread) -> Problem {
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
