//! `vramplan budget`.

use std::io::Write as _;

use clap::builder::styling::AnsiColor;

use super::Outcome;
use super::args::BudgetArgs;
use super::format;
use super::problem::Problem;
use crate::local::version_of;
use vramplan_planner::deployment::{Deployment, Question, Recognised, recognise};
use vramplan_planner::estimate::Component;
use vramplan_planner::plan::{Reason, Verdict};
use vramplan_planner::recommend::answer;
use vramplan_planner::render::{Document, Format, PLAN, Target, answer_alone, emit, explain};
use vramplan_planner::text::{printable, printable_path};

/// Plans, recommends and prints.
pub fn run(args: &BudgetArgs) -> anyhow::Result<Outcome> {
    let explained = args.explain.as_deref().map(component).transpose()?;
    let catalog = args.catalog.known();
    let plan = with_binary(args)?.or(of_command(args)?);
    let deployment = super::deployment(&plan, args.scenario.as_deref(), &catalog)?;
    let answer = answer(&deployment)?;
    let document = Document::new(&deployment, &answer);
    let text = match (args.emit, explained) {
        (Some(target), _) => settings(target, &document, &deployment)?,
        (_, Some(component)) => explain(&document, component),
        _ if args.quiet => painted(&answer_alone(&document), document.verdict),
        _ => {
            let format = format::chosen(args.format, args.json);
            let text = format::print(&PLAN, &document, format)?;
            if format == Format::Table { painted(&text, document.verdict) } else { text }
        }
    };
    anstream::stdout().write_all(text.as_bytes())?;
    Ok(match answer.verdict {
        Verdict::DoesNotFit => Outcome::DoesNotFit,
        Verdict::Fits | Verdict::Tight => Outcome::Done,
    })
}

/// The table with its verdict in colour, which is taken out where the output is no terminal or none is wanted.
fn painted(text: &str, verdict: Verdict) -> String {
    let color = match verdict {
        Verdict::Fits => AnsiColor::Green,
        Verdict::Tight => AnsiColor::Yellow,
        Verdict::DoesNotFit => AnsiColor::Red,
    };
    let style = color.on_default().bold();
    match text.split_once(':') {
        Some((verdict, rest)) if !verdict.contains('\n') => {
            format!("{style}{verdict}{style:#}:{rest}")
        }
        _ => text.to_owned(),
    }
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

/// What a server's command says; one that is not understood whole would be another plan.
fn of_command(args: &BudgetArgs) -> anyhow::Result<Question> {
    if args.command.is_empty() {
        return Ok(Question::default());
    }
    let has = |prefix: &str| {
        std::env::vars_os().any(|(name, _)| name.to_string_lossy().starts_with(prefix))
    };
    let known = "`llama-server`, `llama-cli` and `vllm serve` are read";
    match recognise(&args.command, has) {
        Recognised::Deployment(question) => Ok(*question),
        Recognised::Uncertain(why) => {
            let hint = "say the same with flags of `vramplan budget`";
            Err(Problem::usage(format!("the command is not read as a plan: {why}"))
                .hint(hint)
                .into())
        }
        Recognised::Nothing => {
            let program = args.command[0].to_string_lossy();
            let message = format!("what `{}` runs cannot be told", printable(&program));
            Err(Problem::usage(message).hint(known).into())
        }
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
        Problem::usage(format!("`--explain {}` is no component", printable(name)))
            .hint(format!("expected one of {}", known.join(", ")))
    };
    Ok(Some(Component::from_id(name).ok_or_else(unknown)?))
}
