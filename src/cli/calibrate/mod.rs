//! `vramplan calibrate`: runs the engine in a worker, and measures it.

mod against;
#[cfg(target_os = "linux")]
mod end;
#[cfg(target_os = "linux")]
mod live;
#[cfg(target_os = "linux")]
mod main_memory;
#[cfg(target_os = "linux")]
mod once;
#[cfg(target_os = "linux")]
mod steps;
pub(super) mod worker;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Outcome;
use super::args::CatalogArgs;
use super::files;
use super::learn::ready;
use super::observe::{Report, ReportArgs, read_recording};
use super::problem::Problem;
use super::scenario;
use crate::calibrate::fit::fit;
use crate::calibrate::measurement::Measurement;
use vramplan_disk::Disk;
use vramplan_planner::deployment::{Deployment, Question};
use vramplan_planner::read::Calibration;
use vramplan_planner::spec::Runtime;
use vramplan_planner::text::printable_path;
use vramplan_planner::units::Bytes;

/// Run the engine as planned, measure it, and compare.
#[derive(Clone, Debug, Args)]
pub struct CalibrateArgs {
    /// Where profiles are looked for.
    #[command(flatten)]
    catalog: CatalogArgs,

    /// What is planned and run.
    #[command(flatten)]
    plan: Question,

    /// Read plan flags from a TOML file; flags on the command line win.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,

    /// GPU to run on, by NVML's number or UUID, or `cpu` [default: the only GPU].
    #[arg(long, value_name = "N|UUID|cpu", help_heading = "Run")]
    device: Option<String>,

    /// Make weights up in the shapes of a model that is known by name: memory does not depend on
    /// their values.
    #[arg(long, help_heading = "Run")]
    synthetic: bool,

    /// Plan for a device of this size and make this one look so: a GPU by ballast, the CPU by a limit
    /// on the memory that the process may map.
    #[arg(long, value_name = "SIZE", help_heading = "Run")]
    capacity: Option<Bytes>,

    /// Run several sizes of the cache, each a little further: the conservative one, the recommended
    /// ones, the hard maximum, the first past it; and narrow down where it ends.
    #[arg(long, help_heading = "Run")]
    steps: bool,

    /// Measure on this text what eviction loses, and run with the recent window that loses least,
    /// unless another is given.
    #[arg(long, value_name = "FILE", help_heading = "Run", conflicts_with = "synthetic")]
    quality: Option<PathBuf>,

    /// Tokens of the conversation before anything is generated [default: as many as its cache holds].
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Run")]
    prompt_tokens: Option<u64>,

    /// Tokens to generate behind them.
    #[arg(long, value_name = "TOKENS", default_value_t = 64, help_heading = "Run")]
    decode_tokens: u64,

    /// What fixes weights that are made up.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Run")]
    seed: u64,

    /// Compare with this plan instead of with what the flags say: what `budget --format json` prints, or
    /// an earlier report in JSON.
    #[arg(long, value_name = "FILE", help_heading = "Measurement")]
    against: Option<PathBuf>,

    /// Seconds of silence after which the worker is ended.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 300,
        value_parser = clap::value_parser!(u64).range(1..=86_400),
        help_heading = "Run"
    )]
    patience: u64,

    /// Add what was learned to a directory with profiles, which `--profiles` names later
    /// [default: the user's configuration].
    #[arg(
        long,
        value_name = "DIR",
        num_args = 0..=1,
        default_missing_value = "",
        help_heading = "Measurement"
    )]
    write: Option<PathBuf>,

    /// Where the report goes.
    #[command(flatten)]
    output: ReportArgs,

    /// Report on a recording instead of running.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["device", "synthetic", "capacity", "steps", "quality", "record"],
        help_heading = "Measurement"
    )]
    replay: Option<PathBuf>,
}

/// Runs and reports, or reports on a recording.
pub fn run(args: &CalibrateArgs) -> anyhow::Result<Outcome> {
    ready(&args.catalog, args.output.learn)?;
    let Some(path) = &args.replay else { return live(args) };
    let measured = read_recording(path)?;
    let anew = match (&args.against, &args.scenario, &args.plan) {
        (Some(path), ..) => Some(against::read(path)?),
        (None, None, plan) if *plan == Question::default() => None,
        _ => Some(super::observe::plan_of(&deployment(args)?)?),
    };
    let plan = anew.or_else(|| measured.header.plan.clone());
    let report = Report::new(&measured, plan.as_ref(), &args.output)?;
    report.write_to(args.output.report.as_deref(), anstream::stdout())?;
    tell(&report)?;
    report.learn(&args.catalog, &args.output)?;
    if let Some(folder) = &args.write {
        learn(&measured, folder)?;
    }
    Ok(report.outcome())
}

/// Says what lies outside of the plan where the report may be read by programs only.
fn tell(report: &Report) -> anyhow::Result<()> {
    let mut told = String::new();
    for outside in report.outside() {
        told.push_str("outside the plan: ");
        told.push_str(outside);
        told.push('\n');
    }
    Ok(anstream::stderr().write_all(told.as_bytes())?)
}

const WRITE_HINT: &str = "`--write` needs a whole run of `calibrate` on a GPU";

/// Adds a run to what is known of its card and runtime.
fn learn(measured: &Measurement, folder: &Path) -> anyhow::Result<()> {
    let hint = WRITE_HINT;
    let run = fit(measured).map_err(|error| Problem::new(error.to_string()).hint(hint))?;
    let asked = measured.header.plan.as_ref().map(|plan| &plan.deployment);
    let named = asked.and_then(|asked| Some((asked.gpu.as_deref()?, asked.runtime?)));
    let Some((gpu, runtime)) = named else {
        return Err(Problem::new("the recording does not say what was run").hint(hint).into());
    };
    let folder = match folder {
        folder if folder.as_os_str().is_empty() => vramplan_disk::configured_profiles()
            .ok_or_else(|| Problem::new("this machine says nowhere where configuration is kept"))?,
        folder => folder.to_owned(),
    };
    let found = Calibration::read(&Disk, &folder, gpu, runtime)?;
    let mut known = found.unwrap_or_else(|| Calibration::new(gpu, runtime));
    if !known.runs.contains(&run) {
        known.runs.push(run);
    }
    let path = Calibration::path(&folder, gpu, runtime);
    fs_err::create_dir_all(path.parent().unwrap_or(&folder))?;
    files::write(&path, &known.to_toml()?)?;
    let mut told = format!("{} run(s) in `{}`\n", known.runs.len(), printable_path(&path));
    if let Some(contradiction) = known.contradiction() {
        told.push_str("warning: ");
        told.push_str(&contradiction);
        told.push_str("; remove from the file what no longer holds\n");
    }
    Ok(anstream::stderr().write_all(told.as_bytes())?)
}

/// The flags over those of a scenario: of vramplan's own engine, unless they name another.
fn question(args: &CalibrateArgs) -> anyhow::Result<Question> {
    let asked = scenario::merged(&args.plan, args.scenario.as_deref())?;
    let asked = args.catalog.known().with_path(asked)?;
    Ok(Question { runtime: asked.runtime.or(Some(Runtime::Vramplan)), ..asked })
}

/// Refuses runtimes whose programs `calibrate` cannot run.
#[cfg(target_os = "linux")]
fn only_the_engine(runtime: Runtime) -> Result<(), Problem> {
    if runtime == Runtime::Vramplan {
        return Ok(());
    }
    let hint = "drop `--runtime`; `vramplan observe` measures other runtimes beside their plan";
    Err(Problem::new("`calibrate` runs vramplan's own engine").hint(hint))
}

fn deployment(args: &CalibrateArgs) -> anyhow::Result<Deployment> {
    let catalog = args.catalog.known();
    scenario::resolve(&question(args)?, &catalog)
}

#[cfg(not(target_os = "linux"))]
fn live(_args: &CalibrateArgs) -> anyhow::Result<Outcome> {
    Err(Problem::new("the engine can be measured on Linux only").into())
}

#[cfg(target_os = "linux")]
fn live(args: &CalibrateArgs) -> anyhow::Result<Outcome> {
    let worker = worker::find()?;
    super::meter::with_meter(args.device.as_deref(), |meter| live::measure(args, &worker, meter))
}
