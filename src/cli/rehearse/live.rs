//! One rehearsal, and what is common to several.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use super::asked::{Asked, Target};
use super::{RehearseArgs, several};
use crate::calibrate::comparison::Tolerance;
use crate::calibrate::recording::{Event, shown};
use crate::calibrate::session::{SessionError, Show};
use crate::cli::learn::{keep_own, nothing, ready};
use crate::cli::problem::Problem;
use crate::cli::{Outcome, files, meter, observe};
use crate::evidence::of_rehearsal;
use crate::rehearse::cards;
use crate::rehearse::guard::{Hang, Patience};
use crate::rehearse::run::{End, RehearseError, Rehearsed, Setup, rehearse};
use crate::report::observe::to_timeline;
use crate::report::rehearsal::{
    Context, QuestionDoc, RehearsalDoc, RunDoc, SCHEMA, run_doc, to_html, to_markdown, to_table,
};
use vramplan_planner::text::printable_path;
use vramplan_virtual_gpu as virtual_gpu;

/// How long a program may get on with nothing unless told.
const PATIENCE: Duration = Duration::from_secs(60);

/// Rehearses once, or as often as it takes.
pub fn run(args: &RehearseArgs) -> anyhow::Result<Outcome> {
    ready(&args.catalog, args.learn)?;
    let format = args.report.as_deref().map(FileFormat::of).transpose()?;
    for path in args.report.iter().chain(&args.record) {
        files::check_writable(path)?;
    }
    let asked = Asked::new(args)?;
    let reporter = Reporter { args, format };
    if args.smallest {
        return several::smallest(&asked, &reporter);
    }
    if !args.sweep.is_empty() {
        return several::sweep(&asked, &reporter);
    }
    if !args.attempts.is_empty() {
        return several::attempts(&asked, &reporter);
    }
    once(&asked, &reporter)
}

fn once(asked: &Asked, reporter: &Reporter<'_>) -> anyhow::Result<Outcome> {
    let args = reporter.args;
    let target = asked.target(None)?;
    let show = if args.json { Show::ToStderr } else { Show::Through };
    let rehearsed = go(&cards::machine(&target.cards), &setup(args, show, false))?;
    let doc = reporter.doc(target.name.clone(), &rehearsed, &target)?;
    let outcome = outcome(&rehearsed, &doc, args.tolerance.is_some());
    let document = document(&rehearsed, doc.answer.clone(), QuestionDoc::Once, vec![doc]);
    let recorded = args.record.as_deref().map(|path| record(path, &rehearsed, &target));
    reporter.write(&document, Some((&rehearsed, &target)))?;
    recorded.transpose()?;
    Ok(outcome)
}

/// What is rehearsed, by the flags.
pub fn setup(args: &RehearseArgs, show: Show, ends_hangs: bool) -> Setup {
    let idle = (args.idle > 0).then(|| Duration::from_secs(args.idle));
    let hang = args.patience.map_or(PATIENCE, Duration::from_secs);
    let ends_hangs = ends_hangs || args.patience.is_some();
    Setup {
        command: args.command.clone(),
        variables: Vec::new(),
        patterns: args.patterns.clone(),
        timed: args.timed.clone(),
        stop: args.stop_after,
        patience: Patience { idle, hang, ends_hangs },
        show,
        tell: if ends_hangs { |_| {} } else { tell },
    }
}

/// Says that the program hangs, while it does.
fn tell(hang: &Hang) {
    let line = format!("vramplan: {hang}; Ctrl-C ends it, `--patience SECONDS` would\n");
    // There is nobody to tell that it cannot be told.
    let _ = anstream::stderr().write_all(line.as_bytes());
}

/// Rehearses; what cannot be is an error.
pub fn go(machine: &virtual_gpu::Machine, setup: &Setup) -> anyhow::Result<Rehearsed> {
    let rehearsed = rehearse(machine, setup).map_err(explain)?;
    match &rehearsed.end {
        End::Impossible(reason) => {
            Err(Problem::new(format!("cannot be rehearsed because {reason}")).into())
        }
        _ => Ok(rehearsed),
    }
}

fn explain(error: RehearseError) -> anyhow::Error {
    let text = match error {
        RehearseError::Session(error @ SessionError::Start { .. }) => {
            return observe::explain(error);
        }
        error => error.to_string(),
    };
    match text.split_once("\nhint: ") {
        Some((message, hint)) => Problem::new(message).hint(hint).into(),
        None => Problem::new(text).into(),
    }
}

/// What a rehearsal means for the exit code.
pub fn outcome(rehearsed: &Rehearsed, doc: &RunDoc, insists: bool) -> Outcome {
    let counts = doc.plan.source == "given" || insists;
    match &rehearsed.end {
        End::OutOfMemory => Outcome::DoesNotFit,
        End::Failed | End::Interrupted => Outcome::Child(rehearsed.ended.exit_code().unwrap_or(0)),
        End::Hung | End::Impossible(_) => Outcome::Child(1),
        End::Ended | End::Ready | End::Stopped(_) if counts && doc.plan.within == Some(false) => {
            Outcome::Outside
        }
        End::Ended | End::Ready | End::Stopped(_) => Outcome::Done,
    }
}

/// The document of rehearsals of one program.
pub fn document(
    rehearsed: &Rehearsed,
    answer: String,
    question: QuestionDoc,
    runs: Vec<RunDoc>,
) -> RehearsalDoc {
    RehearsalDoc {
        schema: SCHEMA.to_owned(),
        tool: concat!("vramplan ", env!("CARGO_PKG_VERSION")).to_owned(),
        started: rehearsed.started.clone(),
        command: rehearsed.command.iter().map(|word| shown(word)).collect(),
        answer,
        question,
        runs,
        smallest: None,
    }
}

fn record(path: &Path, rehearsed: &Rehearsed, target: &Target) -> anyhow::Result<()> {
    let card = rehearsed.fullest();
    let mut file = meter::record_file(Some(path))?;
    let Some(file) = &mut file else { return Ok(()) };
    for event in rehearsed.recording(card, target.plan.cards.get(card)) {
        file.push(&serde_json::to_string(&event)?)?;
        if matches!(event, Event::Started { .. }) {
            file.begin()?;
        }
    }
    Ok(file.flush()?)
}

/// A format that a report's name asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileFormat {
    Markdown,
    Html,
    Json,
    Svg,
    Text,
}

impl FileFormat {
    fn of(path: &Path) -> anyhow::Result<Self> {
        let ending =
            path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
        Ok(match ending.as_deref() {
            Some("md") => Self::Markdown,
            Some("html" | "htm") => Self::Html,
            Some("json") => Self::Json,
            Some("svg") => Self::Svg,
            Some("txt") => Self::Text,
            _ => {
                let message =
                    format!("`--report {}`: its ending names no format", printable_path(path));
                return Err(Problem::new(message)
                    .hint("expected a name that ends in `.md`, `.html`, `.json`, `.svg` or `.txt`")
                    .into());
            }
        })
    }
}

/// Where reports go.
pub struct Reporter<'a> {
    /// The flags.
    pub args: &'a RehearseArgs,
    format: Option<FileFormat>,
}

impl Reporter<'_> {
    /// The document of one rehearsal.
    pub fn doc(
        &self,
        name: String,
        rehearsed: &Rehearsed,
        target: &Target,
    ) -> anyhow::Result<RunDoc> {
        let tolerance = self.args.tolerance.unwrap_or(Tolerance::DEFAULT);
        let context = Context { cards: &target.cards, plan: &target.plan, tolerance };
        Ok(run_doc(name, rehearsed, context)?)
    }

    /// Writes the document: to the file that was named, and to the terminal. One rehearsal shares standard
    /// output with its program; several have it for themselves.
    pub fn write(
        &self,
        document: &RehearsalDoc,
        one: Option<(&Rehearsed, &Target)>,
    ) -> anyhow::Result<()> {
        let json = || document.to_json();
        let text = if self.args.json { json()? } else { to_table(document) };
        let printed = if self.args.json || one.is_none() {
            anstream::stdout().write_all(text.as_bytes())
        } else {
            anstream::stderr().write_all(text.as_bytes())
        };
        if let (Some(path), Some(format)) = (&self.args.report, self.format) {
            let text = match format {
                FileFormat::Markdown => to_markdown(document),
                FileFormat::Html => to_html(document),
                FileFormat::Json => json()?,
                FileFormat::Text => to_table(document),
                FileFormat::Svg => picture(one)?,
            };
            files::write(path, &text)?;
        }
        printed?;
        if self.args.learn {
            let known = self.args.catalog.known();
            for record in of_rehearsal(document).map_err(|why| nothing(&why))? {
                keep_own(record, &known)?;
            }
        }
        Ok(())
    }
}

/// Memory over time of the card that comes closest to being full.
fn picture(one: Option<(&Rehearsed, &Target)>) -> anyhow::Result<String> {
    let none =
        || Problem::new("`--report` as `.svg` shows one rehearsal").hint("name an `.html` file");
    let (rehearsed, target) = one.ok_or_else(none)?;
    let card = rehearsed.fullest();
    let measured = rehearsed.cards.get(card).ok_or_else(none)?;
    Ok(to_timeline(measured, target.plan.cards.get(card)))
}
