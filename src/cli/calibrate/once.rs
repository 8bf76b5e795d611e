//! One run of a worker.

use std::path::Path;
use std::time::Duration;

use super::CalibrateArgs;
use super::end::{End, judge};
use crate::calibrate::measurement::Measurement;
use crate::calibrate::session::{self, Job};
use crate::calibrate::supervisor::{Quality, Supervisor};
use crate::calibrate::{Meter, PlannedRun, RecordFailure, Recorder};
use crate::cli::{files, meter, observe};
use vramplan_planner::deployment::Deployment;
use vramplan_planner::protocol::{Order, PROTOCOL};
use vramplan_planner::recommend::Answer;
use vramplan_planner::units::Bytes;

/// What came of a run.
pub struct Finished {
    /// What was measured.
    pub measured: Measurement,
    /// How it ended.
    pub end: End,
    /// Why the record lacks some of it, if it does.
    pub failure: Option<RecordFailure>,
    /// What eviction loses, where that was measured.
    pub quality: Option<Quality>,
}

/// How an order is run.
#[derive(Clone, Copy, Debug)]
pub struct How<'a> {
    /// Seconds that a phase may take.
    pub patience: u64,
    /// Where the record goes.
    pub record: Option<&'a Path>,
}

/// Runs an order, and writes a record where one is asked for.
pub fn run(
    worker: &Path,
    order: &Order,
    plan: &PlannedRun,
    how: How<'_>,
    meter: &mut dyn Meter,
) -> anyhow::Result<Finished> {
    let device = meter.device();
    let mut command = std::process::Command::new(worker);
    if let (true, Some(uuid)) = (order.device != "cpu", &device.uuid) {
        command.env("CUDA_VISIBLE_DEVICES", uuid);
    }
    let words = vec![worker.to_string_lossy().into_owned()];
    let header = files::header(device, words, Some(plan.clone()));
    let recorder = Recorder::new(header, meter::record_file(how.record)?);
    let mut supervisor = Supervisor::new(Duration::from_secs(how.patience));
    let input = Some((serde_json::to_string(order)? + "\n").into_bytes());
    let watch: Option<&mut dyn session::Watch> = Some(&mut supervisor);
    let job = Job { input, watch, ..Job::new(command) };
    let ended = session::run(job, meter, &recorder).map_err(observe::explain)?;
    let (events, failure) = recorder.finish(ended.end.clone());
    let measured = Measurement::new(&events)?;
    let (end, quality) = (judge(&supervisor, &ended), supervisor.quality().cloned());
    Ok(Finished { measured, end, failure, quality })
}

/// What the worker is told of an answer.
pub fn order(
    args: &CalibrateArgs,
    deployment: &Deployment,
    answer: &Answer,
    on_card: bool,
) -> Order {
    // CUDA counts a card without what its driver keeps, which the plan takes from the size that was asked for.
    let kept = deployment.cards.first().capacity.reserved;
    let visible = |size: Bytes| if on_card { size.minus_or_zero(kept) } else { size };
    Order {
        protocol: PROTOCOL,
        device: if on_card { "cuda" } else { "cpu" }.to_owned(),
        deployment: answer.planned(deployment).resolved(),
        synthetic: args.synthetic,
        prompt_tokens: args.prompt_tokens,
        decode_tokens: args.decode_tokens,
        capacity: args.capacity.map(visible),
        seed: args.seed,
        quality: None,
        profiles: args.catalog.profiles.clone(),
    }
}
