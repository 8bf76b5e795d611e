//! What a log measured beside what the plan of the same run expects, group by group.

use super::Printed;
use super::evidence::{Engine, Evidence, Failure, FailureKind, Place, Term, TermKind};
use super::finding::Planned;
use crate::estimate::weights::of_size::PRINTED;
use crate::estimate::{Deviation, Group};
use crate::plan::Plan;
use crate::spec::Bounds;
use crate::units::{Bytes, Overflow, to_u64};

/// A group of what an engine states, on one card, beside the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compared {
    /// Which group.
    pub group: Group,
    /// On which card; none where the log does not say.
    pub card: Option<u64>,
    /// What the log states.
    pub measured: Printed,
    /// Whether a part of it was asked for and refused.
    pub refused: bool,
    /// What is planned.
    pub planned: Bounds,
}

impl Compared {
    /// Whether what is stated is what is planned, as far as it is printed.
    pub fn is_within(&self) -> bool {
        let Bounds { low, high, .. } = self.planned;
        let Printed { bytes, within } = self.measured;
        bytes.plus(within).is_ok_and(|most| most >= low) && bytes.minus_or_zero(within) <= high
    }
}

/// The group of a term that plans know.
pub const fn group_of(kind: TermKind) -> Option<Group> {
    match kind {
        TermKind::Weights => Some(Group::Weights),
        TermKind::Cache | TermKind::State => Some(Group::Caches),
        TermKind::Compute | TermKind::Activations => Some(Group::Computed),
        TermKind::NonTorch | TermKind::Graphs => Some(Group::Overhead),
        TermKind::Output
        | TermKind::Encoder
        | TermKind::Consumed
        | TermKind::Allocated
        | TermKind::Unallocated
        | TermKind::PrivatePools => None,
    }
}

/// The sum of some terms.
pub fn sum<'a>(terms: impl IntoIterator<Item = &'a Term>) -> Option<Printed> {
    let mut sum: Option<Printed> = None;
    for Term { size, .. } in terms {
        let so_far = sum.unwrap_or(Printed::exactly(Bytes::ZERO));
        let bytes = so_far.bytes.plus(size.bytes).ok()?;
        let within = so_far.within.plus(size.within).ok()?;
        sum = Some(Printed { bytes, within });
    }
    sum
}

/// What an engine asked for and did not get, as a term.
fn refused(failure: &Failure) -> Option<Term> {
    let FailureKind::Allocation(Some(kind)) = &failure.kind else { return None };
    Some(Term {
        kind: *kind,
        place: failure.place?,
        size: failure.asked?,
        estimated: false,
        line: failure.line,
    })
}

/// What `SGLang` counts with weights: its `mem usage` is what was free before less what is free after, libraries that were
/// loaded meanwhile included (50 to 200 MiB in `tests/corpus/sglang.csv`).
const WITH_WEIGHTS: Bytes = Bytes::new(256 << 20);

/// Every group that a log states, beside the plan.
///
/// # Errors
/// On sizes that no device has.
pub fn compare(evidence: &Evidence, plan: &Planned) -> Result<Vec<Compared>, Overflow> {
    let (plan_of, answer) = (plan, &plan.answer);
    let stored = plan.deployment.model.stored.as_ref();
    let is_dealt_out = stored.is_some_and(|stored| stored.source == PRINTED);
    let mut rows = Vec::new();
    let asked = super::cause::decisive(evidence).and_then(refused);
    let gpus = if answer.devices.is_empty() { 1 } else { answer.devices.len() };
    for card in 0..gpus {
        let plan = answer.devices.get(card).map_or(&answer.plan, |device| &device.plan);
        if answer.devices.get(card).is_some_and(|device| device.card.gpu.is_main_memory()) {
            continue;
        }
        let card = to_u64(card);
        for group in [Group::Weights, Group::Caches, Group::Computed] {
            let here = |term: &&Term| {
                let on = match term.place {
                    Place::Card(index) => index == card,
                    Place::Cards => card == 0,
                    Place::Host => false,
                };
                on && !term.estimated && group_of(term.kind) == Some(group)
            };
            let asked = asked.iter().filter(here);
            let refused = asked.clone().next().is_some();
            let stated = evidence.run.terms.iter().filter(here).chain(asked);
            let Some(measured) = sum(stated) else { continue };
            let card = (gpus > 1).then_some(card);
            let mut planned = planned(plan, group)?;
            let by_difference = evidence.engine.is_some_and(|(engine, _)| engine == Engine::Sglang);
            if by_difference && group == Group::Weights {
                planned.high = planned.high.plus(WITH_WEIGHTS)?;
            }
            if group == Group::Caches {
                planned.low = unpadded(plan_of, planned.low)?;
            }
            if is_dealt_out && group == Group::Weights {
                // Which tensors are in which type is not printed, nor so how much of them is where.
                planned = Deviation::GGUF_FILES.around(planned.expected)?;
            }
            rows.push(Compared { group, card, measured, refused, planned });
        }
    }
    Ok(rows)
}

/// Cells that llama.cpp rounds up to, which are planned; older builds, and the programs around it, print those that were asked for.
const CELLS: u64 = 256;

/// A cache of as many cells as were asked for.
fn unpadded(plan: &Planned, size: Bytes) -> Result<Bytes, Overflow> {
    let places = crate::estimate::rules(plan.deployment.kind()).places_tensors();
    match plan.question.cache_tokens.filter(|cells| places && *cells > 0) {
        Some(cells) => size.scale(cells, cells.next_multiple_of(CELLS)),
        None => Ok(size),
    }
}

/// What a plan has of a group at its peak; of a runtime that takes what is left for its cache, that.
pub fn planned(plan: &Plan, group: Group) -> Result<Bounds, Overflow> {
    if let (Group::Caches, Some(pool)) = (group, plan.pool) {
        return Ok(pool.start.has);
    }
    let inside = || plan.components.iter().filter(move |row| Group::of(row.component) == group);
    let of = |bound: fn(Bounds) -> Bytes| Bytes::sum(inside().map(|row| bound(row.at_peak)));
    Ok(Bounds::new(of(|b| b.low)?, of(|b| b.expected)?, of(|b| b.high)?))
}
