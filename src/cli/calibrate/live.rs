//! A run, or several, and the report of them.

use std::path::Path;

use anyhow::bail;

use super::end::End;
use super::once::{self, Finished};
use super::{CalibrateArgs, WRITE_HINT, against, learn, main_memory, steps, tell};
use crate::calibrate::fit::FitError;
use crate::calibrate::{Meter, MeterKind, PlannedRun};
use crate::cli::observe::Report;
use crate::cli::problem::Problem;
use crate::cli::{Outcome, files, observe, scenario};
use crate::report::observe::{Extras, QualityDoc};
use vramplan_planner::deployment::{Cards, Deployment, card_on};
use vramplan_planner::dtype::WeightFormat;
use vramplan_planner::estimate::rules;
use vramplan_planner::estimate::rules::Refusal;
use vramplan_planner::recommend::answer;
use vramplan_planner::spec::Runtime;

/// Runs what the flags say on the device of `meter`, and reports.
pub fn measure(
    args: &CalibrateArgs,
    worker: &Path,
    meter: &mut dyn Meter,
) -> anyhow::Result<Outcome> {
    let mut args = args.clone();
    args.output.report.as_deref().map_or(Ok(()), files::check_writable)?;
    let on_card = meter.device().meter == MeterKind::Nvml;
    if args.write.is_some() && !on_card {
        return Err(Problem::new(FitError::NotAGpu.to_string()).hint(WRITE_HINT).into());
    }
    let mut extras = Extras::default();
    let mut deployment = plan_on(&args, meter)?;
    check(&args, &deployment)?;
    if let Some(text) = &args.quality {
        let given = args.plan.recent_window.or(deployment.workload.recent_window);
        let text = text.clone();
        match quality(&args, &deployment, worker, &text, meter)? {
            Some(found) => extras.quality = Some(found),
            None => return Ok(Outcome::Child(INTERRUPTED)),
        }
        if let (None, Some(found)) = (given, &mut extras.quality) {
            args.plan.recent_window = Some(found.recent_window);
            found.used = true;
            deployment = plan_on(&args, meter)?;
        }
    }
    let mut as_planned = true;
    if args.steps {
        let Some(found) = steps::climb(&args, &deployment, worker, meter)? else {
            return Ok(Outcome::Child(INTERRUPTED));
        };
        deployment = deployment.with_cache(found.proven_cache_tokens);
        as_planned = found.as_planned;
        extras.steps = Some(found);
    }
    let outcome = last(&args, &mut deployment, worker, (meter, on_card), extras)?;
    Ok(match outcome {
        Outcome::Done if !as_planned => Outcome::Outside,
        outcome => outcome,
    })
}

/// What a shell says of a run that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// The whole run, whose report is printed. After steps, the largest of their sizes that runs whole: how
/// much of a device is free changes a little from run to run.
fn last(
    args: &CalibrateArgs,
    deployment: &mut Deployment,
    worker: &Path,
    (meter, on_card): (&mut dyn Meter, bool),
    mut extras: Extras,
) -> anyhow::Result<Outcome> {
    let (plan, finished) = loop {
        let plan = compared_with(args, deployment)?;
        let order = once::order(args, deployment, &answer(deployment)?, on_card);
        let how = once::How { patience: args.patience, record: args.output.record.as_deref() };
        let finished = once::run(worker, &order, &plan, how, meter)?;
        let smaller = match (&finished.end, &mut extras.steps) {
            (End::Exhausted(message), Some(steps)) => steps.retreat(message),
            _ => None,
        };
        match smaller {
            Some(tokens) => *deployment = deployment.with_cache(tokens),
            None => break (plan, finished),
        }
    };
    let Finished { measured, end, failure, .. } = finished;
    if let (End::Done, Some(steps)) = (&end, &mut extras.steps) {
        steps.prove(measured.peak.as_ref().map(|peak| peak.held));
    }
    let report = Report::with(&measured, Some(&plan), &args.output, extras)?;
    report.keep(args.output.report.as_deref(), anstream::stdout())?;
    let interrupted = matches!(end, End::Interrupted);
    end.check()?;
    if let Some(folder) = args.write.as_ref().filter(|_| !interrupted) {
        learn(&measured, folder)?;
    }
    if !interrupted {
        report.learn(&args.catalog, &args.output)?;
    }
    if let Some(failure) = failure {
        let hint = "make room, or name another file; the report is of all that was measured";
        return Err(Problem::new(failure.to_string()).hint(hint).into());
    }
    if interrupted {
        return Ok(Outcome::Child(INTERRUPTED));
    }
    tell(&report)?;
    Ok(report.outcome())
}

/// What the run is compared with: the plan of the flags, or one that was made before.
fn compared_with(args: &CalibrateArgs, deployment: &Deployment) -> anyhow::Result<PlannedRun> {
    match &args.against {
        Some(path) => against::read(path),
        None => observe::plan_of(deployment),
    }
}

/// The flags, resolved for the device that is measured.
fn plan_on(args: &CalibrateArgs, meter: &dyn Meter) -> anyhow::Result<Deployment> {
    let device = meter.device();
    if device.meter != MeterKind::Nvml {
        return main_memory::resolved(args, &device);
    }
    let mut asked = super::question(args)?;
    asked.gpu.get_or_insert(device.name);
    let catalog = args.catalog.known();
    let mut deployment = scenario::resolve(&asked, &catalog)?;
    if let Some(size) = args.capacity {
        let first = deployment.cards.first();
        let (mut gpu, other_use) = (first.gpu.clone(), first.capacity.other_use);
        gpu.total.value = size;
        let card = card_on(&deployment.given, gpu, Runtime::Vramplan, other_use)?;
        deployment.cards = Cards::one(card);
    }
    Ok(deployment)
}

/// Refuses what there is nothing to run of.
fn check(args: &CalibrateArgs, deployment: &Deployment) -> anyhow::Result<()> {
    super::only_the_engine(deployment.kind())?;
    refuse_what_the_engine_does(deployment)?;
    if args.synthetic {
        return Ok(());
    }
    if deployment.file.is_none() {
        let name = &deployment.model.name;
        bail!(
            Problem::new(format!("`{name}` is a name or a directory: there are no weights to run"))
                .hint("add `--synthetic`, which makes them up, or name a GGUF file")
        );
    }
    if deployment.weights != WeightFormat::AsStored {
        let weights = deployment.weights;
        bail!(
            Problem::new(format!("`--weights {weights}` is not what the file holds"))
                .hint("drop `--weights`, or plan and run a model by its name with `--synthetic`")
        );
    }
    Ok(())
}

/// Refuses what the engine would, before it is started.
fn refuse_what_the_engine_does(deployment: &Deployment) -> anyhow::Result<()> {
    let Deployment { model, workload, kv, .. } = deployment;
    let Some(refusal) = rules(Runtime::Vramplan).refusal(model, workload, *kv) else {
        return Ok(());
    };
    let Refusal { what, expected } = refusal;
    let message = format!("vramplan's own engine does not run {what}: it runs {expected}");
    let hint = "`vramplan budget` plans it; `vramplan observe` measures any other program beside \
                its plan";
    Err(Problem::new(message).hint(hint).into())
}

/// What eviction loses on a text; nothing where the user asked for an end.
fn quality(
    args: &CalibrateArgs,
    deployment: &Deployment,
    worker: &Path,
    text: &Path,
    meter: &mut dyn Meter,
) -> anyhow::Result<Option<QualityDoc>> {
    let plan = observe::plan_of(deployment)?;
    let on_card = meter.device().meter == MeterKind::Nvml;
    let mut order = once::order(args, deployment, &answer(deployment)?, on_card);
    order.quality = Some(text.to_owned());
    order.capacity = None;
    let finished = once::run(
        worker,
        &order,
        &plan,
        once::How { patience: args.patience, record: None },
        meter,
    )?;
    if matches!(finished.end, End::Interrupted) {
        return Ok(None);
    }
    finished.end.check()?;
    let Some(found) = finished.quality else { bail!("the worker measured no text") };
    let (recent_window, used) = (found.recent_window, false);
    Ok(Some(QualityDoc { recent_window, used, report: found.report, text: found.text }))
}
