//! `--steps`: one size of the cache after the other, until one does not run.

use std::io::Write as _;
use std::path::Path;

use anyhow::bail;

use super::CalibrateArgs;
use super::end::End;
use super::once;
use crate::calibrate::{Meter, MeterKind};
use crate::cli::problem::Problem;
use crate::cli::{Resolved, observe};
use crate::report::observe::{StepDoc, StepsDoc};
use vramplan_planner::recommend::{Limit, Recommendation, answer};

/// Tokens that a step generates: everything was allocated before.
const DECODED: u64 = 4;
/// Runs that narrow down where it ends.
const HALVINGS: usize = 6;
/// What sizes are told apart by when it is narrowed down, as a share of them.
const GRAIN: u64 = 64;

/// A size to run, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Size {
    tokens: u64,
    why: String,
}

/// Runs sizes in ascending order until one does not run, and narrows down where between it and the one
/// before that begins; nothing where the user asked for an end.
pub fn climb(
    args: &CalibrateArgs,
    resolved: &Resolved,
    worker: &Path,
    meter: &mut dyn Meter,
) -> anyhow::Result<Option<StepsDoc>> {
    let mut free = resolved.request();
    free.fixed_cache = false;
    let recommendation = answer(&free)?.recommendation;
    let sizes = sizes(&recommendation);
    if sizes.is_empty() {
        let message = "no size of the cache fits, so that there is none to begin with";
        bail!(Problem::new(message).hint("`vramplan budget` says what would make one fit"));
    }
    let mut climb = Climb { args, resolved, worker, meter, runs: Vec::new() };
    let (mut proven, mut failed) = (None, None);
    for size in sizes {
        match climb.step(&size)? {
            Some(true) => proven = Some(size.tokens),
            Some(false) => {
                failed = Some(size.tokens);
                break;
            }
            None => return Ok(None),
        }
    }
    let smallest = vramplan_planner::recommend::smallest_cache(&resolved.workload);
    let mut low = proven.unwrap_or(smallest.saturating_sub(1));
    if let Some(mut high) = failed {
        for _ in 0..HALVINGS {
            if high - low <= (low / GRAIN).max(1) {
                break;
            }
            let size = Size { tokens: low + (high - low) / 2, why: "between".to_owned() };
            match climb.step(&size)? {
                Some(true) => (low, proven) = (size.tokens, Some(size.tokens)),
                Some(false) => high = size.tokens,
                None => return Ok(None),
            }
        }
    }
    let runs = climb.runs;
    let Some(proven_cache_tokens) = proven else {
        let failure = runs.iter().rev().find_map(|run| run.failure.clone()).unwrap_or_default();
        let message = format!("no size of the cache ran: {failure}");
        bail!(Problem::new(message).hint("the plan is wrong for this device: see `--format json`"));
    };
    Ok(Some(StepsDoc {
        as_planned: as_planned(&runs),
        runs,
        proven_cache_tokens,
        hard_max_cache_tokens: recommendation.hard_max_cache_tokens,
        limited_by: recommendation.limited_by.id().to_owned(),
    }))
}

/// Whether every tier that is certain ran, and the size past the hard maximum did not.
fn as_planned(runs: &[StepDoc]) -> bool {
    let certain =
        |run: &&StepDoc| run.size.contains("conservative") || run.size.contains("balanced");
    let past = |run: &&StepDoc| run.size == PAST;
    runs.iter().filter(certain).all(|run| run.ran) && runs.iter().filter(past).all(|run| !run.ran)
}

const PAST: &str = "past it";

/// The tiers and the hard maximum in ascending order, and what lies past it where memory is what
/// ends it.
fn sizes(recommendation: &Recommendation) -> Vec<Size> {
    let mut sizes: Vec<Size> = Vec::new();
    let hard = recommendation.hard_max_cache_tokens;
    let tiers = recommendation.tiers.iter().map(|tier| (tier.max_cache_tokens, tier.name.id()));
    for (tokens, why) in tiers.chain([(hard, "hard maximum")]) {
        match sizes.last_mut() {
            Some(last) if last.tokens == tokens => last.why = format!("{}, {why}", last.why),
            _ if tokens == 0 => {}
            _ => sizes.push(Size { tokens, why: why.to_owned() }),
        }
    }
    let by_memory = recommendation.tiers.iter().all(|tier| tier.limited_by == Limit::Vram);
    if by_memory && hard > 0 {
        sizes.push(Size { tokens: hard + 1, why: PAST.to_owned() });
    }
    sizes
}

struct Climb<'a> {
    args: &'a CalibrateArgs,
    resolved: &'a Resolved,
    worker: &'a Path,
    meter: &'a mut dyn Meter,
    runs: Vec<StepDoc>,
}

impl Climb<'_> {
    /// Whether a size runs; nothing where the user asked for an end.
    fn step(&mut self, size: &Size) -> anyhow::Result<Option<bool>> {
        let mut request = self.resolved.request();
        request.fixed_cache = true;
        request.workload.cache_tokens = size.tokens;
        let answer = answer(&request)?;
        let on_card = self.meter.device().meter == MeterKind::Nvml;
        let mut order = once::order(self.args, self.resolved, &answer, on_card);
        // Everything is allocated before the first step, which is as large as any: one shows all.
        order.prompt_tokens = Some(order.prefill_chunk);
        order.decode_tokens = DECODED;
        let plan = observe::run_of(&request, &answer)?;
        let how = (self.args.patience, None);
        let finished = once::run(self.worker, &order, &plan, how, self.meter)?;
        let failure = match finished.end {
            End::Done => None,
            End::Interrupted => return Ok(None),
            End::Exhausted(message) => Some(message),
            failed @ End::Failed(_) => return failed.check().map(|()| None),
        };
        let ran = failure.is_none();
        let told = if ran { "ran" } else { "did not run" };
        let line = format!("{} tokens ({}): {told}\n", size.tokens, size.why);
        anstream::stderr().write_all(line.as_bytes())?;
        self.runs.push(StepDoc {
            cache_tokens: size.tokens,
            size: size.why.clone(),
            ran,
            failure,
            peak: finished.measured.peak.as_ref().map(|peak| peak.held),
        });
        Ok(Some(ran))
    }
}
