//! What was rehearsed beside what was planned, card by card.
//!
//! Components are compared in the groups that engines tell apart: weights, caches, and what a pass computes.
//! What the context takes is the profile's on both sides, so that nothing would be shown by comparing it.

use super::engine::Part;
use super::run::{End, Rehearsed};
use super::trace::TorchAt;
use crate::calibrate::PlannedRun;
use crate::calibrate::comparison::{Row, Tolerance};
pub use vramplan_planner::estimate::Group;
use vramplan_planner::spec::Bounds;
use vramplan_planner::units::{Bytes, Overflow};

/// A group beside its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupRow {
    /// Which.
    pub group: Group,
    /// What was planned for the peak.
    pub plan: Bounds,
    /// How what the engine stated compares; none where it stated nothing.
    pub stated: Option<Row>,
}

/// A card beside its plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside {
    /// Which card.
    pub card: usize,
    /// Its peak.
    pub peak: Row,
    /// Phases that the run marked and the plan knows.
    pub phases: Vec<(String, Row)>,
    /// The groups.
    pub groups: Vec<GroupRow>,
}

/// Every card beside its plan; `plans` are in the order of the cards.
///
/// # Errors
/// On sizes that no device has.
pub fn beside(
    rehearsed: &Rehearsed,
    plans: &[PlannedRun],
    tolerance: Tolerance,
) -> Result<Vec<Beside>, Overflow> {
    plans.iter().enumerate().map(|(card, plan)| of_card(rehearsed, card, plan, tolerance)).collect()
}

/// Whether the comparison says anything of the plan: the run came as far as the plan goes.
pub const fn is_judged(end: &End) -> bool {
    matches!(end, End::Ended | End::Ready)
}

fn of_card(
    rehearsed: &Rehearsed,
    card: usize,
    plan: &PlannedRun,
    tolerance: Tolerance,
) -> Result<Beside, Overflow> {
    let row = |planned: Bounds, held: Bytes| Row::new(planned, held, tolerance);
    let peak = rehearsed.report.cards.get(card).map_or(0, |card| card.peak_resident);
    // The phases of an engine that nobody named are not those of a plan.
    let measured = rehearsed.cards.get(card).filter(|_| !rehearsed.story.inferred);
    let phases = measured.map_or_else(Vec::new, |measured| {
        let named = measured.phases.iter().filter_map(|phase| {
            let planned = plan.phase(&phase.name)?;
            Some((phase.name.clone(), row(planned.total, phase.peak)))
        });
        named.collect()
    });
    let groups = Group::ALL.into_iter().map(|group| {
        let planned = planned(plan, group)?;
        let stated = stated(rehearsed, card, group)?;
        Ok(GroupRow { group, plan: planned, stated: stated.map(|held| row(planned, held)) })
    });
    Ok(Beside {
        card,
        peak: row(plan.peak, Bytes::new(peak)),
        phases,
        groups: groups.collect::<Result<_, _>>()?,
    })
}

fn planned(plan: &PlannedRun, group: Group) -> Result<Bounds, Overflow> {
    let of = |bound: fn(Bounds) -> Bytes| {
        let inside = plan.components.iter().filter(|row| Group::of(row.id) == group);
        Bytes::sum(inside.map(|row| bound(row.at_peak)))
    };
    Ok(Bounds::new(of(|b| b.low)?, of(|b| b.expected)?, of(|b| b.high)?))
}

/// What the program, its engine, or PyTorch said of a group on a card.
fn stated(rehearsed: &Rehearsed, card: usize, group: Group) -> Result<Option<Bytes>, Overflow> {
    let story = &rehearsed.story;
    let said = story.holds.iter().filter(|(_, component, _)| Group::of(*component) == group);
    let mut last = std::collections::BTreeMap::new();
    last.extend(said.map(|(_, component, bytes)| (component.id(), *bytes)));
    if !last.is_empty() && rehearsed.report.cards.len() == 1 {
        return Bytes::sum(last.into_values()).map(Some);
    }
    let part = match group {
        Group::Weights => Part::Weights,
        Group::Caches => Part::Cache,
        Group::Computed => Part::Compute,
        Group::Overhead => return Ok(None),
    };
    let one = rehearsed.report.cards.len() == 1;
    let buffers = story.stated.iter().filter(|stated| {
        stated.part == part && (stated.card == Some(card) || (one && stated.card.is_none()))
    });
    let buffers: Vec<_> = buffers.map(|stated| stated.exact.unwrap_or(stated.size.bytes)).collect();
    if !buffers.is_empty() {
        return Bytes::sum(buffers).map(Some);
    }
    if group == Group::Weights { loaded(&story.torch, card) } else { Ok(None) }
}

/// What PyTorch's tensors held of a card when loading ended.
fn loaded(torch: &[TorchAt], card: usize) -> Result<Option<Bytes>, Overflow> {
    let load =
        torch.iter().filter(|at| at.phase.as_deref() == Some("load") && at.stats.card == card);
    // Of each process the last time; a model is loaded once.
    let mut last = std::collections::BTreeMap::new();
    last.extend(load.map(|at| (at.pid, Bytes::new(at.stats.allocated))));
    if last.is_empty() { Ok(None) } else { Bytes::sum(last.into_values()).map(Some) }
}

impl Beside {
    /// What lies outside, by name.
    pub fn outside(&self) -> Vec<(String, Row)> {
        let groups =
            self.groups.iter().filter_map(|row| Some((row.group.title().to_owned(), row.stated?)));
        let phases = self.phases.iter().map(|(name, row)| (format!("phase {name}"), *row));
        let peak = std::iter::once(("peak".to_owned(), self.peak));
        let all = groups.chain(phases).chain(peak);
        all.filter(|(_, row)| !row.is_within()).collect()
    }
}
