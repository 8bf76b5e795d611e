//! A plan: the buffers of a scenario, summed by phase, and what that means on the card.
//!
//! A phase holds every buffer that lives from it or from an earlier phase on, and of the transient
//! ones the largest moment. What an allocator keeps of earlier phases is held too. The peak is the
//! largest phase, not the sum of everything.

use crate::estimate::runtime::retention;
use crate::estimate::{
    Buffer, Component, EstimateError, Life, Moment, Phase, Retention, Scenario, buffers,
};
use crate::spec::{Basis, Bounds, Headroom};
use crate::units::{Bytes, Overflow};

/// What the card offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// NVML's total.
    pub total: Bytes,
    /// What the driver keeps.
    pub reserved: Bytes,
    /// What other processes hold.
    pub other_use: Bytes,
    /// What is to stay free.
    pub headroom: Bytes,
    /// `total − reserved − other_use`: what the run can take, headroom included.
    pub usable: Bytes,
}

impl Capacity {
    /// The capacity of a card with this total and driver reserve.
    pub fn new(
        total: Bytes,
        reserved: Bytes,
        other_use: Bytes,
        headroom: Headroom,
    ) -> Result<Self, Overflow> {
        let usable = total.minus_or_zero(reserved).minus_or_zero(other_use);
        Ok(Self { total, reserved, other_use, headroom: headroom.of(total)?, usable })
    }

    /// What is usable with `times` the headroom left free.
    pub fn less_headroom(&self, times: u64) -> Result<Bytes, Overflow> {
        Ok(self.usable.minus_or_zero(self.headroom.times(times)?))
    }
}

/// A component's share of the peak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ComponentRow {
    /// Which component.
    pub component: Component,
    /// Whether any of it stays from its first phase on.
    pub persistent: bool,
    /// What it holds at the peak. The expected values of all rows add up to the expected peak.
    pub at_peak: Bounds,
    /// The most it holds in any phase, and which.
    pub most: (Bytes, Phase),
    /// The weakest basis among its buffers, by size: what the figure rests on.
    pub basis: Basis,
}

/// What one phase holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseRow {
    /// Which phase.
    pub phase: Phase,
    /// What stays.
    pub persistent: Bytes,
    /// What its largest moment needs besides.
    pub transient: Bytes,
    /// Everything, with what the allocator keeps from earlier phases.
    pub total: Bounds,
}

/// Whether it fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Even the high bound leaves the headroom free.
    Fits,
    /// The expected peak fits, the high bound with the headroom does not.
    Tight,
    /// The expected peak is more than the card has.
    DoesNotFit,
}

impl Verdict {
    /// The name in JSON.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Fits => "fits",
            Self::Tight => "tight",
            Self::DoesNotFit => "does_not_fit",
        }
    }
}

/// A scenario's memory, phase by phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Every buffer.
    pub buffers: Vec<Buffer>,
    /// Every component that has a buffer, in the order of [`Component::ALL`].
    pub components: Vec<ComponentRow>,
    /// Every phase of the run.
    pub phases: Vec<PhaseRow>,
    /// The phase with the largest expected total.
    pub peak_phase: Phase,
    /// The largest total of any phase, bound by bound.
    pub peak: Bounds,
    /// What the card offers.
    pub capacity: Capacity,
    /// Whether it fits.
    pub verdict: Verdict,
    /// How much is missing: for the expected peak where that does not fit, else for the headroom.
    pub short_by: Bytes,
}

/// Plans a scenario on a card with this capacity.
pub fn plan(scenario: &Scenario<'_>, capacity: Capacity) -> Result<Plan, EstimateError> {
    let buffers = buffers(scenario)?;
    let phases = phase_rows(&buffers, retention(scenario.kind()))?;
    let peak = phases.iter().fold(Bounds::ZERO, |peak, row| peak.max(row.total));
    let peak_phase = peak_phase(&phases);
    let components = component_rows(&buffers, &phases, peak_phase)?;
    let limit = capacity.less_headroom(1)?;
    let verdict = match peak {
        peak if peak.high <= limit => Verdict::Fits,
        peak if peak.expected <= capacity.usable => Verdict::Tight,
        _ => Verdict::DoesNotFit,
    };
    let short_by = match verdict {
        Verdict::DoesNotFit => peak.expected.minus_or_zero(capacity.usable),
        _ => peak.high.minus_or_zero(limit),
    };
    Ok(Plan { buffers, components, phases, peak_phase, peak, capacity, verdict, short_by })
}

/// The phases that happen: all of them, but capture only where something is captured.
fn happening(buffers: &[Buffer]) -> impl Iterator<Item = Phase> + '_ {
    let captures = |buffer: &Buffer| matches!(buffer.life, Life::During(Phase::Capture, _));
    let capture = buffers.iter().any(captures);
    Phase::ALL.into_iter().filter(move |&phase| phase != Phase::Capture || capture)
}

fn phase_rows(buffers: &[Buffer], retention: Retention) -> Result<Vec<PhaseRow>, Overflow> {
    let mut rows = Vec::with_capacity(Phase::ALL.len());
    let mut scratch = Bounds::ZERO;
    for phase in happening(buffers) {
        let persistent = sum(buffers, |life| matches!(life, Life::From(from) if from <= phase))?;
        let transient = transient(buffers, phase)?;
        rows.push((phase, persistent, transient));
        scratch = scratch.max(if phase == Phase::Load { Bounds::ZERO } else { transient });
    }
    let mut held = Bounds::ZERO;
    let row = |(phase, persistent, transient): (Phase, Bounds, Bounds)| {
        held = match retention {
            _ if phase == Phase::Load => Bounds::ZERO,
            Retention::UpFront => scratch,
            Retention::HighWater => held.max(transient),
        };
        let total = persistent.plus(held.max(transient))?;
        let (persistent, transient) = (persistent.expected, transient.expected);
        Ok(PhaseRow { phase, persistent, transient, total })
    };
    rows.into_iter().map(row).collect()
}

/// Moments of a forward pass that exclude each other.
const MOMENTS: [Moment; 6] = [
    Moment::Conversion,
    Moment::Attention,
    Moment::FeedForward,
    Moment::Dequantization,
    Moment::Recurrence,
    Moment::Output,
];

/// The largest moment of a phase, bound by bound.
fn transient(buffers: &[Buffer], phase: Phase) -> Result<Bounds, Overflow> {
    let mut largest = Bounds::ZERO;
    for moment in MOMENTS {
        largest = largest.max(sum(buffers, |life| is_alive(life, phase, moment))?);
    }
    Ok(largest)
}

fn is_alive(life: Life, phase: Phase, moment: Moment) -> bool {
    matches!(life, Life::During(p, m) if p == phase && (m == moment || m == Moment::Whole))
}

/// The moment of a phase that expects the most.
fn largest_moment(buffers: &[Buffer], phase: Phase) -> Result<Moment, Overflow> {
    let mut largest = (Moment::Whole, Bytes::ZERO);
    for moment in MOMENTS {
        let expected = sum(buffers, |life| is_alive(life, phase, moment))?.expected;
        if expected > largest.1 {
            largest = (moment, expected);
        }
    }
    Ok(largest.0)
}

fn sum(buffers: &[Buffer], alive: impl Fn(Life) -> bool) -> Result<Bounds, Overflow> {
    buffers
        .iter()
        .filter(|buffer| alive(buffer.life))
        .try_fold(Bounds::ZERO, |sum, buffer| sum.plus(buffer.size))
}

/// The phase with the largest expected total; among equals the one whose own transient is largest,
/// which is the one that made the allocator take so much.
fn peak_phase(phases: &[PhaseRow]) -> Phase {
    let largest = phases.iter().max_by_key(|row| (row.total.expected, row.transient));
    largest.map_or(Phase::Load, |row| row.phase)
}

/// Where the scratch that the peak phase holds was needed: in itself, or in the earlier phase whose
/// memory the allocator kept.
fn scratch_phase(phases: &[PhaseRow], peak_phase: Phase) -> Phase {
    let up_to = phases.iter().filter(|row| row.phase <= peak_phase && row.phase != Phase::Load);
    let own = phases.iter().find(|row| row.phase == peak_phase).map(|row| row.transient);
    up_to
        .max_by_key(|row| row.transient)
        .filter(|row| own.is_none_or(|own| row.transient > own))
        .map_or(peak_phase, |row| row.phase)
}

fn component_rows(
    buffers: &[Buffer],
    phases: &[PhaseRow],
    peak_phase: Phase,
) -> Result<Vec<ComponentRow>, Overflow> {
    let scratch_phase = scratch_phase(phases, peak_phase);
    let peak_moment = largest_moment(buffers, scratch_phase)?;
    let mut rows = Vec::with_capacity(Component::ALL.len());
    for component in Component::ALL {
        let mine = || buffers.iter().filter(move |buffer| buffer.component == component);
        let Some(largest) = mine().max_by_key(|buffer| buffer.size.expected) else { continue };
        let at = |phase: Phase, scratch: Phase, moment: Moment| {
            let alive = |life| match life {
                Life::From(from) => from <= phase,
                transient @ Life::During(..) => is_alive(transient, scratch, moment),
            };
            mine()
                .filter(|buffer| alive(buffer.life))
                .try_fold(Bounds::ZERO, |sum, buffer| sum.plus(buffer.size))
        };
        let mut most = (Bytes::ZERO, peak_phase);
        for row in phases {
            for moment in MOMENTS {
                let size = at(row.phase, row.phase, moment)?.expected;
                if !size.is_zero() && size >= most.0 {
                    most = (size, row.phase);
                }
            }
        }
        rows.push(ComponentRow {
            component,
            persistent: mine().any(|buffer| matches!(buffer.life, Life::From(_))),
            at_peak: at(peak_phase, scratch_phase, peak_moment)?,
            most,
            basis: largest.basis,
        });
    }
    Ok(rows)
}

impl Plan {
    /// The row of a component, if it has any buffer.
    pub fn component(&self, component: Component) -> Option<&ComponentRow> {
        self.components.iter().find(|row| row.component == component)
    }

    /// What is left of the usable capacity at the expected peak.
    pub fn left_over(&self) -> Bytes {
        self.capacity.usable.minus_or_zero(self.peak.expected)
    }
}
