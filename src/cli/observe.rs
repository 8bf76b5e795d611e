//! `vramplan observe`.

use std::ffi::OsString;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use clap::Args;

use super::args::CatalogArgs;
use super::format;
use super::learn::{keep_own, nothing, ready};
use super::problem::Problem;
use super::{Outcome, files};
use crate::calibrate::comparison::{Comparison, Tolerance};
use crate::calibrate::marks::{Pattern, Timed};
use crate::calibrate::measurement::Measurement;
use crate::calibrate::recording::{self, RecordingError};
use crate::calibrate::{Device, MeterKind, PlannedRun};
use crate::evidence::of_report;
use crate::report::observe::{Extras, ObserveDoc, to_markdown, to_table, to_timeline};
use vramplan_planner::deployment::{Deployment, Question};
use vramplan_planner::evidence::Record;
use vramplan_planner::recommend::Answer;
use vramplan_planner::render::{Format, Printers};
use vramplan_planner::text::printable_path;

/// A measured run as it is printed: its document, and memory over time as a picture.
struct Reported {
    document: ObserveDoc,
    timeline: String,
}

/// The formats of a measured run; the JSON's schema is `vramplan/observe/v1`.
const REPORT: Printers<Reported, serde_json::Error> = Printers(&[
    (Format::Table, |run| Ok(to_table(&run.document))),
    (Format::Json, |run| run.document.to_json()),
    (Format::Markdown, |run| Ok(to_markdown(&run.document))),
    (Format::Svg, |run| Ok(run.timeline.clone())),
]);

/// Where a measured run goes, and how it is judged.
#[derive(Clone, Debug, Args)]
pub struct ReportArgs {
    /// Write the recording to a file, line by line as it comes, for `--replay`.
    #[arg(long, value_name = "FILE", help_heading = "Measurement")]
    pub record: Option<PathBuf>,

    /// How far a figure may lie outside of the plan's bounds, in percent of what is expected.
    #[arg(long, value_name = "PCT", default_value = "5", help_heading = "Measurement")]
    pub tolerance: Tolerance,

    /// Keep what was measured as evidence, in the first directory of `--evidence` [default: the user's data directory]:
    /// later plans of such cards take it.
    #[arg(long, help_heading = "Measurement")]
    pub learn: bool,

    /// Write the report to a file instead of standard error.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub report: Option<PathBuf>,

    /// Output format.
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "table",
        value_parser = format::one_of(&REPORT),
        help_heading = "Output"
    )]
    pub format: Format,

    /// Short for `--format json`.
    #[arg(long, conflicts_with = "format", help_heading = "Output")]
    pub json: bool,
}

/// Measure the memory of any program, phase by phase, beside a plan.
#[derive(Clone, Debug, Args)]
pub struct ObserveArgs {
    /// Where profiles are looked for.
    #[command(flatten)]
    catalog: CatalogArgs,

    /// What the run was planned as; without `--model`, nothing is compared.
    #[command(flatten)]
    plan: Question,

    /// Read plan flags from a TOML file; flags on the command line win.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,

    /// GPU to measure, by NVML's number or UUID, or `cpu` for the main memory of the command and
    /// what it starts [default: the only GPU].
    #[arg(long, value_name = "N|UUID|cpu", help_heading = "Measurement")]
    device: Option<String>,

    /// A phase begins where a line of the command's output matches; may be given more than once.
    #[arg(long = "phase", value_name = "NAME=REGEX", help_heading = "Measurement")]
    patterns: Vec<Pattern>,

    /// A phase begins that long after the start; may be given more than once.
    #[arg(long = "phase-at", value_name = "NAME=SECONDS", help_heading = "Measurement")]
    timed: Vec<Timed>,

    /// Show at the foot of the terminal what is held now, beside the plan; what the command prints scrolls above.
    #[arg(long, help_heading = "Measurement", conflicts_with = "replay")]
    watch: bool,

    /// Where the report goes.
    #[command(flatten)]
    output: ReportArgs,

    /// Report on a recording instead of running a command; the report goes to standard output.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["device", "patterns", "timed", "record", "command"],
        help_heading = "Measurement"
    )]
    replay: Option<PathBuf>,

    /// The command with its arguments.
    #[arg(last = true, value_name = "CMD", required_unless_present = "replay")]
    command: Vec<OsString>,
}

/// Runs the command and reports, or reports on a recording.
pub fn run(args: &ObserveArgs) -> anyhow::Result<Outcome> {
    ready(&args.catalog, args.output.learn)?;
    match &args.replay {
        Some(path) => replay(args, path),
        None => live(args),
    }
}

fn replay(args: &ObserveArgs, path: &Path) -> anyhow::Result<Outcome> {
    let measured = read_recording(path)?;
    let anew = planned(args, Some(&measured.header.device))?;
    let plan = anew.or_else(|| measured.header.plan.clone());
    let report = Report::new(&measured, plan.as_ref(), &args.output)?;
    report.write_to(args.output.report.as_deref(), anstream::stdout())?;
    report.learn(&args.catalog, &args.output)?;
    Ok(report.outcome())
}

/// A recording, measured.
pub fn read_recording(path: &Path) -> anyhow::Result<Measurement> {
    let hint = "a recording is what `vramplan observe --record FILE` writes";
    let wrong = |message: String| {
        Problem::new(format!("`{}` cannot be replayed: {message}", printable_path(path))).hint(hint)
    };
    let events = events_of(path).map_err(wrong)?;
    Ok(Measurement::new(&events).map_err(|error| wrong(error.to_string()))?)
}

/// The events of a file, or of a pipe.
fn events_of(path: &Path) -> Result<Vec<recording::Event>, String> {
    let file = fs_err::File::open(path).map_err(|error| error.to_string())?;
    let size = file.metadata().map_err(|error| error.to_string())?.len();
    if size > recording::MOST {
        return Err(RecordingError::TooLarge { most: recording::MOST }.to_string());
    }
    recording::read(BufReader::new(file)).map_err(|error| error.to_string())
}

/// The plan that is asked for, if any; on the measured GPU unless another is named.
fn planned(args: &ObserveArgs, device: Option<&Device>) -> anyhow::Result<Option<PlannedRun>> {
    if args.scenario.is_none() && args.plan == Question::default() {
        return Ok(None);
    }
    let mut flags = super::scenario::merged(&args.plan, args.scenario.as_deref())?;
    if flags.gpu.is_none() {
        let card = device.filter(|device| device.meter == MeterKind::Nvml);
        flags.gpu = card.map(|device| device.name.clone());
    }
    let catalog = args.catalog.known();
    plan_of(&super::scenario::resolve(&flags, &catalog)?).map(Some)
}

/// A plan as a recording keeps it.
pub fn plan_of(deployment: &Deployment) -> anyhow::Result<PlannedRun> {
    run_of(deployment, &vramplan_planner::recommend::answer(deployment)?)
}

/// The plan of an answer as a recording keeps it.
pub fn run_of(deployment: &Deployment, answer: &Answer) -> anyhow::Result<PlannedRun> {
    let planned = answer.planned(deployment).resolved();
    Ok(PlannedRun::new(&answer.plan, planned)?)
}

/// A measured run in the format that was asked for.
pub struct Report {
    text: String,
    record: Result<Record, String>,
    within: bool,
    outside: Vec<String>,
}

impl Report {
    /// Compares and renders.
    pub fn new(
        measured: &Measurement,
        plan: Option<&PlannedRun>,
        args: &ReportArgs,
    ) -> anyhow::Result<Self> {
        Self::with(measured, plan, args, Extras::default())
    }

    /// The same with what else was found.
    pub fn with(
        measured: &Measurement,
        plan: Option<&PlannedRun>,
        args: &ReportArgs,
        extras: Extras,
    ) -> anyhow::Result<Self> {
        let compared = plan.map(|plan| (plan, Comparison::new(measured, plan, args.tolerance)));
        let within = compared.as_ref().is_none_or(|(_, compared)| compared.is_within());
        let compared = compared.as_ref().map(|(plan, compared)| (*plan, compared));
        let document = ObserveDoc::new(measured, compared).with(extras);
        let outside = document.comparison.as_ref().map(|c| c.outside.clone()).unwrap_or_default();
        let record = of_report(&document);
        let reported = Reported { document, timeline: to_timeline(measured, plan) };
        let text = format::print(&REPORT, &reported, format::chosen(args.format, args.json))?;
        Ok(Self { text, record, within, outside })
    }

    /// Keeps what was measured, where that is asked for.
    pub fn learn(&self, catalog: &CatalogArgs, args: &ReportArgs) -> anyhow::Result<()> {
        if !args.learn {
            return Ok(());
        }
        let record = self.record.clone().map_err(|why| nothing(&why))?;
        keep_own(record, &catalog.known())
    }

    /// Writes it to a file, or to the stream.
    pub fn write_to(
        &self,
        file: Option<&Path>,
        mut stream: impl std::io::Write,
    ) -> anyhow::Result<()> {
        match file {
            Some(path) => files::write(path, &self.text),
            None => Ok(stream.write_all(self.text.as_bytes())?),
        }
    }

    /// The same of a run that cannot be repeated: should the file not be had, the stream gets it.
    #[cfg(target_os = "linux")]
    pub fn keep(&self, file: Option<&Path>, mut stream: impl std::io::Write) -> anyhow::Result<()> {
        let written = self.write_to(file, &mut stream);
        if file.is_some() && written.is_err() {
            stream.write_all(self.text.as_bytes())?;
        }
        written
    }

    /// What lies outside of the plan, by name.
    pub fn outside(&self) -> &[String] {
        &self.outside
    }

    /// What that means for the exit code.
    pub const fn outcome(&self) -> Outcome {
        if self.within { Outcome::Done } else { Outcome::Outside }
    }
}

#[cfg(not(target_os = "linux"))]
fn live(_args: &ObserveArgs) -> anyhow::Result<Outcome> {
    Err(Problem::new("a command can be measured on Linux only")
        .hint("record it there, and report on the recording with `--replay FILE`")
        .into())
}

#[cfg(target_os = "linux")]
fn live(args: &ObserveArgs) -> anyhow::Result<Outcome> {
    super::meter::with_meter(args.device.as_deref(), |meter| measure(args, meter))
}

#[cfg(target_os = "linux")]
fn measure(args: &ObserveArgs, meter: &mut dyn crate::calibrate::Meter) -> anyhow::Result<Outcome> {
    use crate::calibrate::Recorder;
    use crate::calibrate::session::{self, Guard, Job};
    let plan = planned(args, Some(&meter.device()))?;
    let mut watch = args.watch.then(|| super::watch::Watch::new(plan.as_ref())).transpose()?;
    args.output.report.as_deref().map_or(Ok(()), files::check_writable)?;
    let words = args.command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let header = files::header(meter.device(), words, plan.clone());
    let recorder = Recorder::new(header, super::meter::record_file(args.output.record.as_deref())?);
    let mut command = std::process::Command::new(&args.command[0]);
    command.args(&args.command[1..]);
    let (patterns, timed) = (args.patterns.clone(), args.timed.clone());
    let guard = watch.as_mut().map(|watch| watch as &mut dyn Guard);
    let job = Job { patterns, timed, guard, ..Job::new(command) };
    let ended = session::run(job, meter, &recorder).map_err(explain)?;
    drop(watch);
    let (events, failure) = recorder.finish(ended.end.clone());
    let (reported, failed) = (report(&events, plan.as_ref(), args), ended.exit_code());
    let failure = failure.map(|failure| {
        Problem::new(failure.to_string())
            .hint("make room, or name another file; the report above is of all that was measured")
    });
    match (reported, failed) {
        (Ok(outcome), None) => failure.map_or(Ok(outcome), |failure| Err(failure.into())),
        (reported, failed) => {
            if let Some(failure) = failure {
                tell(&failure.into())?;
            }
            // Scripts go by the command's own exit code, whatever became of the report.
            let Some(code) = failed else { return reported };
            reported.err().map_or(Ok(()), |error| tell(&error))?;
            Ok(Outcome::Child(code))
        }
    }
}

/// An error that does not decide the exit code.
#[cfg(target_os = "linux")]
fn tell(error: &anyhow::Error) -> std::io::Result<()> {
    use std::io::Write as _;

    anstream::stderr().write_all(super::describe(error).as_bytes())
}

#[cfg(target_os = "linux")]
fn report(
    events: &[recording::Event],
    plan: Option<&PlannedRun>,
    args: &ObserveArgs,
) -> anyhow::Result<Outcome> {
    let measured = Measurement::new(events)?;
    let report = Report::new(&measured, plan, &args.output)?;
    report.keep(args.output.report.as_deref(), anstream::stderr())?;
    report.learn(&args.catalog, &args.output)?;
    Ok(report.outcome())
}

/// Why nothing was run.
#[cfg(target_os = "linux")]
pub fn explain(error: crate::calibrate::session::SessionError) -> anyhow::Error {
    use crate::calibrate::session::SessionError;
    let hint = match &error {
        SessionError::NoReading(_) => "see `vramplan doctor`; `--device cpu` measures main memory",
        SessionError::Start { .. } => "give the command as a shell would find it, after `--`",
        SessionError::SetUp(_) => return error.into(),
    };
    let message = match &error {
        SessionError::Start { cause, .. } => format!("{error}: {cause}"),
        _ => error.to_string(),
    };
    Problem::new(message).hint(hint).into()
}
