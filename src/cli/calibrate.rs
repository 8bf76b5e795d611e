//! `vramplan calibrate`: runs the engine in a worker, and measures it.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Outcome;
use super::args::{CatalogArgs, PlanArgs};
use super::files;
use super::observe::{Report, ReportArgs, read_recording};
use super::problem::Problem;
use crate::calibrate::fit::fit;
use crate::calibrate::measurement::Measurement;
use crate::source::{Calibration, Catalog};
use crate::spec::Runtime;
use crate::units::Bytes;

/// The environment variable that names another worker.
#[cfg(target_os = "linux")]
const WORKER: &str = "VRAMPLAN_WORKER";

/// Run the engine as planned, measure it, and compare.
#[derive(Clone, Debug, Args)]
pub struct CalibrateArgs {
    /// Where profiles are looked for.
    #[command(flatten)]
    catalog: CatalogArgs,

    /// What is planned and run.
    #[command(flatten)]
    plan: PlanArgs,

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

    /// Hold ballast, so that the card looks this large.
    #[arg(long, value_name = "SIZE", help_heading = "Run")]
    capacity: Option<Bytes>,

    /// Tokens to generate with the cache full.
    #[arg(long, value_name = "TOKENS", default_value_t = 64, help_heading = "Run")]
    decode_tokens: u64,

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
        conflicts_with_all = ["device", "synthetic", "capacity", "record"],
        help_heading = "Measurement"
    )]
    replay: Option<PathBuf>,
}

/// Runs and reports, or reports on a recording.
pub fn run(args: &CalibrateArgs) -> anyhow::Result<Outcome> {
    let Some(path) = &args.replay else { return live(args) };
    let measured = read_recording(path)?;
    let anew = match (&args.scenario, &args.plan) {
        (None, plan) if *plan == PlanArgs::default() => None,
        _ => Some(super::observe::plan_of(&resolved(args)?)?),
    };
    let plan = anew.or_else(|| measured.header.plan.clone());
    let report = Report::new(&measured, plan.as_ref(), &args.output)?;
    report.write_to(args.output.report.as_deref(), anstream::stdout())?;
    if let Some(folder) = &args.write {
        learn(&measured, folder)?;
    }
    Ok(report.outcome())
}

/// Adds a run to what is known of its card and runtime.
fn learn(measured: &Measurement, folder: &Path) -> anyhow::Result<()> {
    let hint = "`--write` needs a whole run of `calibrate` on a GPU";
    let run = fit(measured).map_err(|error| Problem::new(error.to_string()).hint(hint))?;
    let input = |name: &str| measured.header.plan.as_ref()?.inputs.get(name);
    let (Some(gpu), Some(runtime)) = (input("gpu"), input("runtime")) else {
        return Err(Problem::new("the recording does not say what was run").hint(hint).into());
    };
    let runtime: Runtime = runtime.parse().map_err(Problem::new)?;
    let folder = match folder {
        folder if folder.as_os_str().is_empty() => files::configured_profiles()?,
        folder => folder.to_owned(),
    };
    let found = Calibration::read(&folder, gpu, runtime)?;
    let mut known = found.unwrap_or_else(|| Calibration::new(gpu, runtime));
    if !known.runs.contains(&run) {
        known.runs.push(run);
    }
    let path = Calibration::path(&folder, gpu, runtime);
    fs_err::create_dir_all(path.parent().unwrap_or(&folder))?;
    files::write(&path, &known.to_toml()?)?;
    let mut told = format!("{} run(s) in `{}`\n", known.runs.len(), path.display());
    if let Some(contradiction) = known.contradiction() {
        told.push_str("warning: ");
        told.push_str(&contradiction);
        told.push_str("; remove from the file what no longer holds\n");
    }
    Ok(anstream::stderr().write_all(told.as_bytes())?)
}

fn resolved(args: &CalibrateArgs) -> anyhow::Result<super::Resolved> {
    let catalog = Catalog::new(&args.catalog.profiles);
    super::Resolved::from_args(&args.plan, args.scenario.as_deref(), &catalog)
}

#[cfg(not(target_os = "linux"))]
fn live(_args: &CalibrateArgs) -> anyhow::Result<Outcome> {
    Err(Problem::new("the engine can be measured on Linux only").into())
}

/// The worker: what the environment names, else what lies beside this program.
#[cfg(target_os = "linux")]
fn worker() -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os(WORKER) {
        return Ok(PathBuf::from(named));
    }
    let beside = std::env::current_exe()?.with_file_name("vramplan-worker");
    if beside.is_file() {
        return Ok(beside);
    }
    let message = format!("there is no worker: expected `{}`", beside.display());
    Err(Problem::new(message)
        .hint(
            "vramplan brings none yet: `VRAMPLAN_WORKER` names a program that speaks its protocol",
        )
        .hint("`vramplan observe` measures any other program beside its plan")
        .into())
}

#[cfg(target_os = "linux")]
fn live(args: &CalibrateArgs) -> anyhow::Result<Outcome> {
    let worker = worker()?;
    super::meter::with_meter(args.device.as_deref(), |meter| linux::measure(args, &worker, meter))
}

#[cfg(target_os = "linux")]
mod linux {
    use std::time::Duration;

    use super::*;
    use crate::calibrate::protocol::{FailureKind, Order, PROTOCOL};
    use crate::calibrate::session::{self, Ended, Job};
    use crate::calibrate::supervisor::{Supervisor, WorkerOutcome};
    use crate::calibrate::{Meter, MeterKind, PlannedRun, Recorder};
    use crate::recommend::answer;

    pub fn measure(
        args: &CalibrateArgs,
        worker: &Path,
        meter: &mut dyn Meter,
    ) -> anyhow::Result<Outcome> {
        let device = meter.device();
        let on_card = device.meter == MeterKind::Nvml;
        let mut args = args.clone();
        if args.plan.gpu.is_none() && args.scenario.is_none() && on_card {
            args.plan.gpu = Some(device.name.clone());
        }
        let resolved = resolved(&args)?;
        let plan = super::super::observe::plan_of(&resolved)?;
        let order = order(&args, &resolved, on_card)?;
        let mut command = std::process::Command::new(worker);
        if let (true, Some(uuid)) = (on_card, &device.uuid) {
            command.env("CUDA_VISIBLE_DEVICES", uuid);
        }
        let words = vec![worker.to_string_lossy().into_owned()];
        let header = super::super::files::header(device, words, Some(plan.clone()));
        let record = args.output.record.as_deref();
        let recorder = Recorder::new(header, super::super::meter::record_file(record)?);
        let mut supervisor = Supervisor::new(Duration::from_secs(args.patience));
        let input = Some(serde_json::to_string(&order)?.into_bytes());
        let watch: Option<&mut dyn session::Watch> = Some(&mut supervisor);
        let (patterns, timed) = (Vec::new(), Vec::new());
        let job = Job { command, input: input.map(with_end), patterns, timed, watch };
        let ended = session::run(job, meter, &recorder)
            .map_err(|error| super::super::observe::explain(error, record))?;
        let (events, failure) = recorder.finish(ended.end.clone());
        let measured = Measurement::new(&events)?;
        let outcome = report(&measured, &plan, &args)?;
        judge(&supervisor, &ended)?;
        if let Some(folder) = args.write.as_ref().filter(|_| !ended.interrupted) {
            learn(&measured, folder)?;
        }
        if let Some(failure) = failure {
            let hint = "make room, or name another file; the report is of all that was measured";
            return Err(Problem::new(failure.to_string()).hint(hint).into());
        }
        Ok(if ended.interrupted { Outcome::Child(130) } else { outcome })
    }

    fn with_end(mut line: Vec<u8>) -> Vec<u8> {
        line.push(b'\n');
        line
    }

    fn report(
        measured: &Measurement,
        plan: &PlannedRun,
        args: &CalibrateArgs,
    ) -> anyhow::Result<Outcome> {
        let report = Report::new(measured, Some(plan), &args.output)?;
        report.write_to(args.output.report.as_deref(), anstream::stdout())?;
        Ok(report.outcome())
    }

    fn order(
        args: &CalibrateArgs,
        resolved: &super::super::Resolved,
        on_card: bool,
    ) -> anyhow::Result<Order> {
        let answer = answer(&resolved.request())?;
        let workload = &answer.workload;
        let model = args.plan.model.clone().or_else(|| resolved.file.clone());
        Ok(Order {
            protocol: PROTOCOL,
            device: if on_card { "cuda" } else { "cpu" }.to_owned(),
            model: model.unwrap_or_else(|| resolved.model.name.clone()),
            synthetic: args.synthetic,
            weights: resolved.weights.to_string(),
            kv: resolved.kv.to_string(),
            system_tokens: workload.system_tokens,
            cache_tokens: workload.cache_tokens,
            recent_window: answer.recent_window.tokens,
            prefill_chunk: workload.prefill_chunk,
            batch: workload.batch,
            context: workload.context,
            decode_tokens: args.decode_tokens,
            capacity: args.capacity,
            profiles: args.catalog.profiles.clone(),
        })
    }

    /// Whether the worker did everything; if not, where it got to and what can be done.
    fn judge(supervisor: &Supervisor, ended: &Ended) -> anyhow::Result<()> {
        let place = supervisor.place();
        let exhausted = "plan a smaller cache, weights in fewer bits, or a smaller prefill chunk";
        let problem = |message: String, hint: &str| Err(Problem::new(message).hint(hint).into());
        match supervisor.outcome(ended.killed.as_deref()) {
            _ if ended.interrupted => Ok(()),
            WorkerOutcome::Done if ended.code == Some(0) => Ok(()),
            WorkerOutcome::Failed(FailureKind::OutOfMemory, message) => {
                problem(format!("memory was exhausted {place}: {message}"), exhausted)
            }
            WorkerOutcome::Failed(kind, message) => {
                let hint = match kind {
                    FailureKind::NoDevice => "see `vramplan doctor` for what is missing",
                    _ => "what was measured until then is in the report",
                };
                problem(format!("the worker failed {place}: {message}"), hint)
            }
            WorkerOutcome::Ended(reason) => problem(
                format!("the worker was ended {place}: {reason}"),
                "its own words are above; give it longer with `--patience SECONDS` where it is slow",
            ),
            WorkerOutcome::Done | WorkerOutcome::Died => died(ended, &place, exhausted),
        }
    }

    fn died(ended: &Ended, place: &str, exhausted: &str) -> anyhow::Result<()> {
        if let Some(text) = &ended.end.oom_text {
            let message = format!("memory was exhausted {place}: {text}");
            return Err(Problem::new(message).hint(exhausted).into());
        }
        let how = match (ended.code, ended.signal) {
            (Some(code), _) => format!("with exit code {code}"),
            (_, Some(signal)) => format!("by signal {signal}"),
            _ => "for an unknown reason".to_owned(),
        };
        let killed = ended.signal == Some(9) && ended.end.oom_kills.is_some_and(|kills| kills > 0);
        let hint = if killed {
            "the kernel killed it because main memory ran out: give it more"
        } else {
            "its own words are above; what was measured until then is in the report"
        };
        Err(Problem::new(format!("the worker ended {place} {how}")).hint(hint).into())
    }
}
