//! `--steps`: one size of the cache after the other, until one does not run.

use std::io::Write as _;
use std::path::Path;

use anyhow::bail;

use super::CalibrateArgs;
use super::end::End;
use super::once;
use crate::calibrate::{Meter, MeterKind};
use crate::cli::observe;
use crate::cli::problem::Problem;
use crate::report::observe::{StepDoc, StepsDoc};
use vramplan_planner::deployment::{CacheSize, Deployment};
use vramplan_planner::recommend::{Limit, Recommendation, TierName, answer};

/// Tokens that a step generates: everything was allocated before.
const DECODED: u64 = 4;
/// Runs that narrow down where it ends.
const HALVINGS: usize = 6;
/// What sizes are told apart by when it is narrowed down, as a share of them.
const GRAIN: u64 = 64;

/// Why a size is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// It is recommended.
    Tier(TierName),
    /// The low bound of its plan just fits.
    HardMaximum,
    /// A token more than that.
    Past,
    /// To narrow down where it ends.
    Between,
}

impl Why {
    const fn label(self) -> &'static str {
        match self {
            Self::Tier(name) => name.id(),
            Self::HardMaximum => "hard maximum",
            Self::Past => "past it",
            Self::Between => "between",
        }
    }

    /// Whether a plan that is right lets it run; nothing where the plan leaves that open.
    const fn runs_as_planned(self) -> Option<bool> {
        match self {
            Self::Tier(TierName::Conservative | TierName::Balanced) => Some(true),
            Self::Past => Some(false),
            Self::Tier(TierName::Aggressive) | Self::HardMaximum | Self::Between => None,
        }
    }
}

/// A size to run, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Size {
    tokens: u64,
    why: Vec<Why>,
}

impl Size {
    fn label(&self) -> String {
        self.why.iter().map(|why| why.label()).collect::<Vec<_>>().join(", ")
    }

    /// Whether it contradicts the plan that it runs, or does not.
    fn contradicts(&self, ran: bool) -> bool {
        self.why.iter().any(|why| why.runs_as_planned().is_some_and(|planned| planned != ran))
    }
}

/// Runs sizes in ascending order until one does not run, and narrows down where between it and the one
/// before that begins; nothing where the user asked for an end.
pub fn climb(
    args: &CalibrateArgs,
    deployment: &Deployment,
    worker: &Path,
    meter: &mut dyn Meter,
) -> anyhow::Result<Option<StepsDoc>> {
    let free = Deployment { cache: CacheSize::Solve, ..deployment.clone() };
    let recommendation = answer(&free)?.recommendation;
    let sizes = sizes(&recommendation);
    if sizes.is_empty() {
        let message = "no size of the cache fits, so that there is none to begin with";
        bail!(Problem::new(message).hint("`vramplan budget` says what would make one fit"));
    }
    let mut climb = Climb { args, deployment, worker, meter, runs: Vec::new(), as_planned: true };
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
    let smallest = vramplan_planner::recommend::smallest_cache(&deployment.workload);
    let mut low = proven.unwrap_or(smallest.saturating_sub(1));
    if let Some(mut high) = failed {
        for _ in 0..HALVINGS {
            if high - low <= (low / GRAIN).max(1) {
                break;
            }
            let size = Size { tokens: low + (high - low) / 2, why: vec![Why::Between] };
            match climb.step(&size)? {
                Some(true) => (low, proven) = (size.tokens, Some(size.tokens)),
                Some(false) => high = size.tokens,
                None => return Ok(None),
            }
        }
    }
    let Climb { runs, as_planned, .. } = climb;
    let Some(proven_cache_tokens) = proven else {
        let failure = runs.iter().rev().find_map(|run| run.failure.clone()).unwrap_or_default();
        let message = format!("no size of the cache ran: {failure}");
        bail!(Problem::new(message).hint("the plan is wrong for this device: see `--format json`"));
    };
    Ok(Some(StepsDoc {
        as_planned,
        runs,
        proven_cache_tokens,
        hard_max_cache_tokens: recommendation.hard_max_cache_tokens,
        limited_by: recommendation.limited_by.id().to_owned(),
    }))
}

/// The tiers and the hard maximum in ascending order, and what lies past it where memory is what
/// ends it.
fn sizes(recommendation: &Recommendation) -> Vec<Size> {
    let mut sizes: Vec<Size> = Vec::new();
    let hard = recommendation.hard_max_cache_tokens;
    let tiers = recommendation.tiers.iter();
    let tiers = tiers.map(|tier| (tier.max_cache_tokens, Why::Tier(tier.name)));
    for (tokens, why) in tiers.chain([(hard, Why::HardMaximum)]) {
        match sizes.last_mut() {
            Some(last) if last.tokens == tokens => last.why.push(why),
            _ if tokens == 0 => {}
            _ => sizes.push(Size { tokens, why: vec![why] }),
        }
    }
    let by_memory = recommendation.tiers.iter().all(|tier| tier.limited_by == Limit::Vram);
    if by_memory && hard > 0 {
        sizes.push(Size { tokens: hard + 1, why: vec![Why::Past] });
    }
    sizes
}

struct Climb<'a> {
    args: &'a CalibrateArgs,
    deployment: &'a Deployment,
    worker: &'a Path,
    meter: &'a mut dyn Meter,
    runs: Vec<StepDoc>,
    /// Whether every size that was certain ran, and none past the hard maximum.
    as_planned: bool,
}

impl Climb<'_> {
    /// Whether a size runs; nothing where the user asked for an end.
    fn step(&mut self, size: &Size) -> anyhow::Result<Option<bool>> {
        let deployment = self.deployment.with_cache(size.tokens);
        let answer = answer(&deployment)?;
        let on_card = self.meter.device().meter == MeterKind::Nvml;
        let mut order = once::order(self.args, &deployment, &answer, on_card);
        // Everything is allocated before the first step, which is as large as any: one shows all.
        order.prompt_tokens = Some(deployment.workload.prefill_chunk);
        order.decode_tokens = DECODED;
        let plan = observe::run_of(&deployment, &answer)?;
        let how = once::How { patience: self.args.patience, record: None };
        let finished = once::run(self.worker, &order, &plan, how, self.meter)?;
        let failure = match finished.end {
            End::Done => None,
            End::Interrupted => return Ok(None),
            End::Exhausted(message) => Some(message),
            failed @ End::Failed(_) => return failed.check().map(|()| None),
        };
        let ran = failure.is_none();
        let told = if ran { "ran" } else { "did not run" };
        let line = format!("{} tokens ({}): {told}\n", size.tokens, size.label());
        self.as_planned &= !size.contradicts(ran);
        anstream::stderr().write_all(line.as_bytes())?;
        self.runs.push(StepDoc {
            cache_tokens: size.tokens,
            size: size.label(),
            ran,
            failure,
            peak: finished.measured.peak.as_ref().map(|peak| peak.held),
        });
        Ok(Some(ran))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_contradicts_a_plan_is_not_told_by_its_label() {
        let size = |why: &[Why]| Size { tokens: 1, why: why.to_vec() };
        let certain = size(&[Why::Tier(TierName::Conservative), Why::HardMaximum]);
        assert_eq!(certain.label(), "conservative, hard maximum");
        assert!(certain.contradicts(false) && !certain.contradicts(true));
        assert!(size(&[Why::Past]).contradicts(true) && !size(&[Why::Past]).contradicts(false));
        for open in [Why::Tier(TierName::Aggressive), Why::HardMaximum, Why::Between] {
            assert!(!size(&[open]).contradicts(true) && !size(&[open]).contradicts(false));
        }
    }
}
