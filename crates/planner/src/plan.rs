//! A plan: the buffers of a scenario, summed by phase, and what that means on the card.
//!
//! A phase holds every buffer that lives from it or from an earlier phase on, and of the transient
//! ones the largest moment. What an allocator keeps of earlier phases is held too. The peak is the
//! largest phase, not the sum of everything.

use serde::{Deserialize, Serialize};

use crate::estimate::rules;
use crate::estimate::{
    Buffer, Component, EstimateError, Holdings, Life, Moment, Phase, Pool, Retention, Scenario,
    holdings,
};
use crate::spec::{Basis, Bounds, Headroom};
use crate::units::{Bytes, Overflow};

/// What the card offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// NVML's total.
    pub total: Bytes,
    /// What the driver keeps; of memory that a machine shares, what its system holds.
    pub reserved: Bytes,
    /// What other processes hold.
    pub other_use: Bytes,
    /// What is to stay free.
    pub headroom: Bytes,
    /// `total − reserved − other_use`: what the run can take, headroom included.
    pub usable: Bytes,
    /// How much less that may be, where machines were seen on which the system holds more.
    pub held_more: Bytes,
    /// How much more that may be, where what the driver keeps or a process takes is assumed; nothing where both are known.
    pub doubt: Option<Bytes>,
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
        let headroom = headroom.of(total)?;
        let held_more = Bytes::ZERO;
        Ok(Self { total, reserved, other_use, headroom, usable, held_more, doubt: None })
    }

    /// Whether a runtime that looks whether its share is free may find it so: less may be kept or taken than is assumed.
    fn may_start(&self, demand: Demand) -> bool {
        let has_room =
            |doubt: Bytes| self.usable.plus(doubt).is_ok_and(|most| demand.peak.low <= most);
        demand.pool.is_some() && self.doubt.is_some_and(has_room)
    }

    /// Whether a run with this demand fits.
    pub fn verdict(&self, demand: Demand) -> Result<Verdict, Overflow> {
        let peak = demand.peak;
        let pooled = |bound: fn(Bounds) -> Bytes| demand.pooled(bound);
        Ok(match peak {
            peak if peak.high <= self.less_headroom(1)? && pooled(|b| b.high) => Verdict::Fits,
            peak if peak.expected <= self.usable && pooled(|b| b.expected) => Verdict::Tight,
            _ if self.may_start(demand) && pooled(|b| b.expected) => Verdict::Tight,
            _ => Verdict::DoesNotFit,
        })
    }

    /// What is usable whatever the system holds.
    pub fn surely_usable(&self) -> Bytes {
        self.usable.minus_or_zero(self.held_more)
    }

    /// What is surely usable with `times` the headroom left free; where none is to stay free, what is usable if all is as
    /// expected.
    pub fn less_headroom(&self, times: u64) -> Result<Bytes, Overflow> {
        if times == 0 {
            return Ok(self.usable);
        }
        Ok(self.surely_usable().minus_or_zero(self.headroom.times(times)?))
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

/// What a run asks of a card, and of the share that its runtime was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// The most that the process holds.
    pub peak: Bounds,
    /// The pool, where the runtime has one.
    pub pool: Option<Pool>,
}

impl Demand {
    /// Whether the pool holds what it must, with what is not cache at this bound; it does where there
    /// is none.
    pub fn pooled(&self, bound: impl Fn(Bounds) -> Bytes) -> bool {
        self.pool.is_none_or(|pool| bound(pool.need) <= pool.limit)
    }

    /// What grows with the cache: the pool is there whether it is full or not.
    pub fn varies(&self) -> Bounds {
        self.pool.map_or(self.peak, |pool| pool.need)
    }

    /// What is left at the expected value of what can be taken.
    pub fn left(&self, capacity: &Capacity) -> Bytes {
        let most = self.pool.map_or(capacity.usable, |pool| pool.limit);
        most.minus_or_zero(self.varies().expected)
    }
}

/// Whether it fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
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

    /// As reports for people say it.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Fits => "fits",
            Self::Tight => "tight",
            Self::DoesNotFit => "does not fit",
        }
    }
}

/// Why a run would not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The card has too little memory.
    Memory,
    /// The runtime's own share of the card does not hold what it checks before it serves.
    WillNotStart,
    /// It would generate fewer tokens a second than asked for.
    TooSlow,
    /// What predicts tokens ahead is not in the plan, for its sizes are not known.
    UnknownDraft,
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
    /// The pool, where the runtime has one.
    pub pool: Option<Pool>,
    /// What the card offers.
    pub capacity: Capacity,
    /// Whether it fits.
    pub verdict: Verdict,
    /// How much is missing: for the expected peak where that does not fit, else for the headroom.
    pub short_by: Bytes,
}

/// Plans a scenario on a card with this capacity.
pub fn plan(scenario: &Scenario<'_>, capacity: Capacity) -> Result<Plan, EstimateError> {
    let Holdings { buffers, pool } = holdings(scenario)?;
    let ledger = Ledger::of(&buffers)?;
    let phases =
        phase_rows(&ledger, happening(&buffers), rules(scenario.kind()).retention(), pool)?;
    let peak = largest(&phases);
    let peak_phase = peak_phase(&phases);
    let scratch_phase = scratch_phase(&phases, peak_phase, rules(scenario.kind()).retention());
    let components = component_rows(&buffers, &ledger, &phases, (peak_phase, scratch_phase))?;
    let verdict = capacity.verdict(Demand { peak, pool })?;
    let short_by = short_by(verdict, peak, pool, &capacity)?;
    Ok(Plan { buffers, components, phases, peak_phase, peak, pool, capacity, verdict, short_by })
}

/// What is missing of the card or of the pool, whichever lacks more.
fn short_by(
    verdict: Verdict,
    peak: Bounds,
    pool: Option<Pool>,
    capacity: &Capacity,
) -> Result<Bytes, Overflow> {
    let lacks = |bound: fn(Bounds) -> Bytes, most| {
        let of_pool = pool.map_or(Bytes::ZERO, |pool| bound(pool.need).minus_or_zero(pool.limit));
        bound(peak).minus_or_zero(most).max(of_pool)
    };
    Ok(match verdict {
        Verdict::DoesNotFit => lacks(|b| b.expected, capacity.usable),
        _ => lacks(|b| b.high, capacity.less_headroom(1)?),
    })
}

/// What a scenario's plan asks for alone, for searches.
pub fn demand(scenario: &Scenario<'_>) -> Result<Demand, EstimateError> {
    let Holdings { buffers, pool } = holdings(scenario)?;
    let ledger = Ledger::of(&buffers)?;
    let phases =
        phase_rows(&ledger, happening(&buffers), rules(scenario.kind()).retention(), pool)?;
    Ok(Demand { peak: largest(&phases), pool })
}

fn largest(phases: &[PhaseRow]) -> Bounds {
    phases.iter().fold(Bounds::ZERO, |peak, row| peak.max(row.total))
}

/// The phases that happen: all of them, but capture only where something is captured.
fn happening(buffers: &[Buffer]) -> impl Iterator<Item = Phase> + Clone + use<> {
    let captures = |buffer: &Buffer| matches!(buffer.life, Life::During(Phase::Capture, _));
    let capture = buffers.iter().any(captures);
    Phase::ALL.into_iter().filter(move |&phase| phase != Phase::Capture || capture)
}

/// What buffers hold, by phase and moment.
#[derive(Clone, Copy, Debug, Default)]
struct Ledger {
    /// What stays, by the phase from which on.
    stays: [Bounds; Phase::ALL.len()],
    /// What is there at a moment of a phase only, [`Moment::Whole`] included in every moment.
    passes: [[Bounds; Moment::ALL.len()]; Phase::ALL.len()],
}

impl Ledger {
    fn of<'b>(buffers: impl IntoIterator<Item = &'b Buffer>) -> Result<Self, Overflow> {
        let mut ledger = Self::default();
        for buffer in buffers {
            match buffer.life {
                Life::From(phase) => add(&mut ledger.stays[phase as usize], buffer.size)?,
                Life::During(phase, Moment::Whole) => {
                    for sum in &mut ledger.passes[phase as usize] {
                        add(sum, buffer.size)?;
                    }
                }
                Life::During(phase, moment) => {
                    add(&mut ledger.passes[phase as usize][moment as usize], buffer.size)?;
                }
            }
        }
        Ok(ledger)
    }

    /// What stays in a phase: whatever began in it or before.
    fn persistent(&self, phase: Phase) -> Result<Bounds, Overflow> {
        self.stays[..=phase as usize].iter().try_fold(Bounds::ZERO, |sum, &size| sum.plus(size))
    }

    /// The largest moment of a phase, bound by bound.
    fn transient(&self, phase: Phase) -> Bounds {
        self.passes[phase as usize].iter().fold(Bounds::ZERO, |largest, &sum| largest.max(sum))
    }

    /// The moment of a phase that expects the most.
    fn largest_moment(&self, phase: Phase) -> Moment {
        let sum = |moment: &Moment| self.passes[phase as usize][*moment as usize].expected;
        Moment::ALL.into_iter().max_by_key(sum).unwrap_or(Moment::Whole)
    }

    /// What there is in a phase whose scratch is that of a moment of another.
    fn at(&self, phase: Phase, scratch: Phase, moment: Moment) -> Result<Bounds, Overflow> {
        self.persistent(phase)?.plus(self.passes[scratch as usize][moment as usize])
    }
}

fn add(sum: &mut Bounds, size: Bounds) -> Result<(), Overflow> {
    *sum = sum.plus(size)?;
    Ok(())
}

/// What is more, or less, than expected beside a pool is less, or more, of the pool: only what is
/// outside of the runtime's share is uncertain.
fn around_pool(total: Bounds, pool: Pool) -> Result<Bounds, Overflow> {
    let Bounds { low, expected, high } = pool.fixed;
    let least = total.low.plus(expected.minus_or_zero(low))?;
    let most = total.high.minus_or_zero(high.minus_or_zero(expected));
    Ok(Bounds::new(least, total.expected, most))
}

fn phase_rows(
    ledger: &Ledger,
    phases: impl Iterator<Item = Phase> + Clone,
    retention: Retention,
    pool: Option<Pool>,
) -> Result<Vec<PhaseRow>, Overflow> {
    // Scratch that is allocated up front comes after loading, whose transients are gone by then.
    let scratch = phases
        .clone()
        .filter(|&phase| phase != Phase::Load)
        .fold(Bounds::ZERO, |largest, phase| largest.max(ledger.transient(phase)));
    let mut held = Bounds::ZERO;
    let row = |phase| {
        let transient = ledger.transient(phase);
        held = match retention {
            Retention::UpFront if phase == Phase::Load => Bounds::ZERO,
            Retention::UpFront => scratch,
            Retention::HighWater => held.max(transient),
        };
        let persistent = ledger.persistent(phase)?;
        let total = persistent.plus(held.max(transient))?;
        let pooled = pool.filter(|_| phase != Phase::Load);
        let total = pooled.map_or(Ok(total), |pool| around_pool(total, pool))?;
        let (persistent, transient) = (persistent.expected, transient.expected);
        Ok(PhaseRow { phase, persistent, transient, total })
    };
    phases.map(row).collect()
}

/// The phase with the largest expected total; among equals the one whose own transient is largest,
/// which is the one that made the allocator take so much.
fn peak_phase(phases: &[PhaseRow]) -> Phase {
    let largest = phases.iter().max_by_key(|row| (row.total.expected, row.transient));
    largest.map_or(Phase::Load, |row| row.phase)
}

/// Where the scratch that the peak phase holds was needed: in itself, or in the earlier phase whose
/// memory the allocator kept.
fn scratch_phase(phases: &[PhaseRow], peak_phase: Phase, retention: Retention) -> Phase {
    let kept = |row: &&PhaseRow| row.phase != Phase::Load || retention == Retention::HighWater;
    let up_to = phases.iter().filter(|row| row.phase <= peak_phase).filter(kept);
    let own = phases.iter().find(|row| row.phase == peak_phase).map(|row| row.transient);
    up_to
        .max_by_key(|row| row.transient)
        .filter(|row| own.is_none_or(|own| row.transient > own))
        .map_or(peak_phase, |row| row.phase)
}

fn component_rows(
    buffers: &[Buffer],
    ledger: &Ledger,
    phases: &[PhaseRow],
    (peak_phase, scratch_phase): (Phase, Phase),
) -> Result<Vec<ComponentRow>, Overflow> {
    let moment = ledger.largest_moment(scratch_phase);
    let mut rows = Vec::with_capacity(Component::ALL.len());
    for component in Component::ALL {
        let mine = || buffers.iter().filter(move |buffer| buffer.component == component);
        let Some(largest) = mine().max_by_key(|buffer| buffer.size.expected) else { continue };
        let own = Ledger::of(mine())?;
        rows.push(ComponentRow {
            component,
            persistent: mine().any(|buffer| matches!(buffer.life, Life::From(_))),
            at_peak: own.at(peak_phase, scratch_phase, moment)?,
            most: most(&own, phases)?,
            basis: largest.basis,
        });
    }
    Ok(rows)
}

/// The most that a component holds, and the last phase in which it does.
fn most(own: &Ledger, phases: &[PhaseRow]) -> Result<(Bytes, Phase), Overflow> {
    let mut most = (Bytes::ZERO, Phase::Load);
    for row in phases {
        let size = own.persistent(row.phase)?.plus(own.transient(row.phase))?.expected;
        if !size.is_zero() && size >= most.0 {
            most = (size, row.phase);
        }
    }
    Ok(most)
}

impl Plan {
    /// What each component holds in a phase, in its largest moment.
    ///
    /// # Errors
    /// On sizes that no device has.
    pub fn components_in(&self, phase: Phase) -> Result<Vec<(Component, Bounds)>, Overflow> {
        let moment = Ledger::of(&self.buffers)?.largest_moment(phase);
        let of = |row: &ComponentRow| {
            let mine = self.buffers.iter().filter(|buffer| buffer.component == row.component);
            Ok((row.component, Ledger::of(mine)?.at(phase, phase, moment)?))
        };
        self.components.iter().map(of).collect()
    }

    /// What lacks memory, where the verdict is not that it fits.
    pub fn reason(&self) -> Option<Reason> {
        match self.verdict {
            Verdict::Fits => None,
            // A runtime that takes a share of the card looks first whether so much is free.
            Verdict::DoesNotFit if self.pool.is_some() => Some(Reason::WillNotStart),
            Verdict::Tight | Verdict::DoesNotFit => Some(Reason::Memory),
        }
    }

    /// What it asks for.
    pub const fn demand(&self) -> Demand {
        Demand { peak: self.peak, pool: self.pool }
    }

    /// The row of a component, if it has any buffer.
    pub fn component(&self, component: Component) -> Option<&ComponentRow> {
        self.components.iter().find(|row| row.component == component)
    }
}
