//! What a recording says: levels, phases, the peak.
//!
//! On a device, `held = used − baseline − what other processes took since`, where the driver tells
//! processes apart and a process of the run is among them; else `used − baseline`.

mod levels;
mod spans;

use std::collections::BTreeMap;

use self::levels::Levels;
use self::spans::{Edge, part_teardown, spans};
use super::recording::{By, End, Event, Exit, Header};
use vramplan_planner::estimate::Component;
use vramplan_planner::units::Bytes;

/// The name of the phase of a run that marks none.
pub const WHOLE_RUN: &str = "run";
/// The name of what comes before the first mark.
pub const BEFORE_MARKS: &str = "start";

/// A recording, understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// What was measured, and how.
    pub header: Header,
    /// What the device held before the command started.
    pub baseline: Bytes,
    /// What the run held, from each of these moments on.
    pub points: Vec<Point>,
    /// When which phase was.
    pub spans: Vec<Span>,
    /// Every phase, in order of appearance.
    pub phases: Vec<PhaseMeasure>,
    /// The most that the run held; none where nothing was read.
    pub peak: Option<Peak>,
    /// When the command started, in µs.
    pub started: u64,
    /// When it ended, or the recording did, in µs.
    pub stopped: u64,
    /// How the command ended; none where the recording was cut off before.
    pub exit: Option<Exit>,
    /// How the recording ended; none where it was cut off.
    pub end: Option<End>,
    /// What was still held after the command had ended.
    pub after: Option<Bytes>,
    /// Other processes that took memory meanwhile.
    pub others: Vec<Growth>,
    /// Whether a process of the run was among those that the driver listed; nothing where it listed
    /// none.
    pub told_apart: Option<bool>,
    /// What the program said that its parts hold, over time.
    pub stated: BTreeMap<Component, Vec<(u64, Bytes)>>,
    /// The largest value of everything that the program counted.
    pub counters: BTreeMap<String, u64>,
    /// Every value of what it counted, each once, in ascending order.
    pub counted: BTreeMap<String, Vec<u64>>,
    /// What the meter said when it failed.
    pub gaps: Vec<String>,
    /// Readings while the command ran.
    pub taken: u64,
}

/// What the run held from a moment on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// When, in µs.
    pub t: u64,
    /// How much.
    pub held: Bytes,
}

/// When a phase was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Which; none between phases.
    pub name: Option<String>,
    /// What said so; nothing did at the start.
    pub by: Option<By>,
    /// From, in µs.
    pub start: u64,
    /// To, in µs.
    pub end: u64,
    /// Readings in it.
    pub taken: u64,
}

/// What a phase held, over all its occurrences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhaseMeasure {
    /// Which.
    pub name: String,
    /// How often it occurred.
    pub occurrences: u64,
    /// When it first began, in µs.
    pub start: u64,
    /// How long it lasted in all, in µs.
    pub duration: u64,
    /// What was held when it first began.
    pub begin: Bytes,
    /// The most that was held in it.
    pub peak: Bytes,
    /// What was held when it last ended.
    pub end: Bytes,
    /// Readings in it.
    pub taken: u64,
}

/// The most that was held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peak {
    /// How much.
    pub held: Bytes,
    /// When it was first reached, in µs.
    pub t: u64,
    /// In which phase.
    pub phase: Option<String>,
}

/// Another process that took memory while the command ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    /// Which.
    pub pid: u32,
    /// What it held when the command started.
    pub before: Bytes,
    /// The most it held while the command ran.
    pub most: Bytes,
}

/// Why a recording says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MeasurementError {
    /// The command never started in it.
    #[error("the recording ends before the command started")]
    NotStarted,
}

impl Measurement {
    /// The levels, phases and peak of a recording.
    ///
    /// # Errors
    /// [`MeasurementError::NotStarted`] where there is nothing to measure.
    pub fn new(events: &[Event]) -> Result<Self, MeasurementError> {
        let Some(Event::Header(header)) = events.first() else {
            return Err(MeasurementError::NotStarted);
        };
        let started = find(events, |event| match event {
            Event::Started { t, taken } => Some((*t, *taken)),
            _ => None,
        });
        let (started, taken_before) = started.ok_or(MeasurementError::NotStarted)?;
        let exit = find(events, |event| match event {
            Event::Exit(exit) => Some(exit.clone()),
            _ => None,
        });
        let end = find(events, |event| match event {
            Event::End(end) => Some(end.clone()),
            _ => None,
        });
        let stopped = exit.as_ref().map_or_else(|| last_time(events), |exit| exit.t);
        let taken_at_end = exit.as_ref().map_or_else(|| taken_so_far(events), |exit| exit.taken);
        let mut levels = Levels::of(events, started, stopped);
        without_ballast(&mut levels.points, events, stopped);
        let start = Edge { t: started, taken: taken_before };
        let stop = Edge { t: stopped, taken: taken_at_end };
        let mut spans = spans(events, start, stop);
        part_teardown(&mut spans, &levels.points, stopped);
        let phases = phases(&levels.points, &spans);
        Ok(Self {
            header: header.as_ref().clone(),
            baseline: levels.baseline,
            peak: peak(&levels.points, &spans, started, stopped),
            after: exit.as_ref().and_then(|_| levels.points.last()).map(|point| point.held),
            phases,
            spans,
            started,
            stopped,
            exit,
            end,
            others: levels.others,
            told_apart: levels.told_apart,
            points: levels.points,
            stated: stated(events),
            counters: counters(events),
            counted: counted(events),
            gaps: gaps(events),
            taken: taken_at_end.saturating_sub(taken_before),
        })
    }

    /// How long the command ran, in µs.
    pub const fn duration(&self) -> u64 {
        self.stopped.saturating_sub(self.started)
    }

    /// Readings a second while the command ran.
    #[allow(clippy::cast_precision_loss)]
    pub fn rate(&self) -> f64 {
        match self.duration() {
            0 => 0.0,
            duration => self.taken as f64 * 1e6 / duration as f64,
        }
    }

    /// What a component held at the peak, as the program said: the latest word before it, else the
    /// first after it.
    pub fn stated_at_peak(&self, component: Component) -> Option<Bytes> {
        let words = self.stated.get(&component)?;
        let peak = self.peak.as_ref().map_or(self.stopped, |peak| peak.t);
        let before = words.iter().rev().find(|(t, _)| *t <= peak);
        before.or_else(|| words.first()).map(|(_, bytes)| *bytes)
    }

    /// What a component held in a phase, as the program said: its last word in it.
    pub fn stated_in(&self, component: Component, phase: &str) -> Option<Bytes> {
        let words = self.stated.get(&component)?;
        let spans = self.spans.iter().filter(|span| span.name.as_deref() == Some(phase));
        let last = |span: &Span| {
            let inside = |word: &&(u64, Bytes)| word.0 >= span.start && word.0 <= span.end;
            words.iter().rev().find(inside).map(|(_, bytes)| *bytes)
        };
        spans.rev().find_map(last)
    }

    /// What was held at a moment.
    pub fn level_at(&self, t: u64) -> Bytes {
        level_at(&self.points, t)
    }

    /// The points within a span, the level that it began with as the first.
    pub fn points_in(&self, span: &Span) -> Vec<Point> {
        let first = Point { t: span.start, held: self.level_at(span.start) };
        let inside = self.points.iter().filter(|point| point.t > span.start && point.t < span.end);
        std::iter::once(first).chain(inside.copied()).collect()
    }
}

/// The counter of what a worker holds only so that the device looks smaller.
const BALLAST: &str = "ballast_bytes";

/// Deducts ballast from the moment on at which the worker said that it holds it, until it ends. While it
/// came, which was in one stage, levels are at most that of right after it.
fn without_ballast(points: &mut [Point], events: &[Event], stopped: u64) {
    let said = find(events, |event| match event {
        Event::Counter { t, name, value } if name == BALLAST => Some((*t, Bytes::new(*value))),
        _ => None,
    });
    let Some((said, ballast)) = said else { return };
    let begun = events.iter().rev().find_map(|event| match event {
        Event::Phase { t, .. } if *t <= said => Some(*t),
        _ => None,
    });
    let after = level_at(points, said).minus_or_zero(ballast);
    for point in points.iter_mut().filter(|point| point.t <= stopped) {
        if point.t > said {
            point.held = point.held.minus_or_zero(ballast);
        } else if begun.is_some_and(|begun| point.t >= begun) {
            point.held = point.held.min(after);
        }
    }
}

fn find<T>(events: &[Event], of: impl Fn(&Event) -> Option<T>) -> Option<T> {
    events.iter().find_map(of)
}

fn last_time(events: &[Event]) -> u64 {
    events.last().map_or(0, Event::time)
}

/// The number of readings that the last event which counts them states.
fn taken_so_far(events: &[Event]) -> u64 {
    let count = |event: &Event| match event {
        Event::Started { taken, .. } | Event::Phase { taken, .. } => Some(*taken),
        _ => None,
    };
    events.iter().rev().find_map(count).unwrap_or(0)
}

fn level_at(points: &[Point], t: u64) -> Bytes {
    let after = points.partition_point(|point| point.t <= t);
    after.checked_sub(1).and_then(|index| points.get(index)).map_or(Bytes::ZERO, |p| p.held)
}

/// The most that is held from `start` to before `end`, the level at the start included, and when.
fn most(points: &[Point], start: u64, end: u64) -> Point {
    let first = Point { t: start, held: level_at(points, start) };
    let from = points.partition_point(|point| point.t <= start);
    let inside = points[from..].iter().take_while(|point| point.t < end);
    inside.fold(first, |most, point| if point.held > most.held { *point } else { most })
}

fn phases(points: &[Point], spans: &[Span]) -> Vec<PhaseMeasure> {
    let mut phases: Vec<PhaseMeasure> = Vec::new();
    for span in spans {
        let Some(name) = &span.name else { continue };
        let begin = level_at(points, span.start);
        let peak = most(points, span.start, span.end).held;
        let end = level_at(points, span.end.saturating_sub(1).max(span.start));
        let duration = span.end - span.start;
        if let Some(known) = phases.iter_mut().find(|phase| phase.name == *name) {
            known.occurrences += 1;
            known.duration += duration;
            known.peak = known.peak.max(peak);
            known.end = end;
            known.taken += span.taken;
            continue;
        }
        let (name, start, taken) = (name.clone(), span.start, span.taken);
        phases.push(PhaseMeasure {
            name,
            occurrences: 1,
            start,
            duration,
            begin,
            peak,
            end,
            taken,
        });
    }
    phases
}

fn peak(points: &[Point], spans: &[Span], started: u64, stopped: u64) -> Option<Peak> {
    points.first()?;
    let Point { t, held } = most(points, started, stopped);
    let span = spans.iter().rev().find(|span| span.start <= t);
    Some(Peak { held, t, phase: span.and_then(|span| span.name.clone()) })
}

fn stated(events: &[Event]) -> BTreeMap<Component, Vec<(u64, Bytes)>> {
    let mut stated: BTreeMap<Component, Vec<(u64, Bytes)>> = BTreeMap::new();
    for event in events {
        if let Event::Holds { t, component, bytes } = event {
            stated.entry(*component).or_default().push((*t, *bytes));
        }
    }
    stated
}

fn counters(events: &[Event]) -> BTreeMap<String, u64> {
    let mut counters = BTreeMap::new();
    for event in events {
        if let Event::Counter { name, value, .. } = event {
            let most = counters.entry(name.clone()).or_insert(*value);
            *most = (*most).max(*value);
        }
    }
    counters
}

/// Every value of each counter once, in ascending order.
fn counted(events: &[Event]) -> BTreeMap<String, Vec<u64>> {
    let mut counted: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for event in events {
        if let Event::Counter { name, value, .. } = event {
            let values = counted.entry(name.clone()).or_default();
            if let Err(place) = values.binary_search(value) {
                values.insert(place, *value);
            }
        }
    }
    counted
}

fn gaps(events: &[Event]) -> Vec<String> {
    let gap = |event: &Event| match event {
        Event::Gap { error, .. } => Some(error.clone()),
        _ => None,
    };
    let mut gaps: Vec<String> = events.iter().filter_map(gap).collect();
    gaps.dedup();
    gaps
}

#[cfg(test)]
pub(super) mod tests;
