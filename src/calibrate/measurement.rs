//! What a recording says: levels, phases, the peak.
//!
//! On a device, `held = used − baseline − what other processes took since`, where the driver tells
//! processes apart and a process of the run is among them; else `used − baseline`.

use std::collections::BTreeMap;

use super::meter::Holder;
use super::recording::{By, End, Event, Exit, Header};
use crate::estimate::Component;
use crate::units::Bytes;

/// The name of the phase of a run that marks none.
pub const WHOLE_RUN: &str = "run";
/// The name of what comes before the first mark.
pub const BEFORE_MARKS: &str = "start";

/// A recording, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
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
        let levels = Levels::of(events, started, stopped);
        let mut spans = spans(events, (started, taken_before), (stopped, taken_at_end));
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

/// What was held over time, and by whom else.
struct Levels {
    baseline: Bytes,
    points: Vec<Point>,
    others: Vec<Growth>,
    told_apart: Option<bool>,
}

impl Levels {
    fn of(events: &[Event], started: u64, stopped: u64) -> Self {
        let samples = || {
            events.iter().filter_map(|event| match event {
                Event::Sample(sample) => Some(sample),
                _ => None,
            })
        };
        let lists = || samples().filter_map(|sample| sample.holders.as_ref());
        let own = lists().any(|list| list.iter().any(|holder| holder.own));
        let told_apart = lists().any(|list| !list.is_empty()).then_some(own);
        let before = samples().take_while(|sample| sample.t <= started);
        let baseline = before.clone().last().map_or(Bytes::ZERO, |sample| sample.used);
        let held_before = before.filter_map(|sample| sample.holders.as_ref()).last();
        let others_before = held_before.and_then(|list| others_of(list)).unwrap_or_default();
        let mut others = others_before;
        let mut points = Vec::new();
        for sample in samples() {
            if let Some(list) = &sample.holders {
                others = others_of(list).unwrap_or(others);
            }
            let more = if own { others.diff(others_before) } else { 0 };
            let held = sample.used.diff(baseline) - more;
            let held = Bytes::new(u64::try_from(held.max(0)).unwrap_or(u64::MAX));
            points.push(Point { t: sample.t, held });
        }
        let during: Vec<&[Holder]> = samples()
            .filter(|sample| sample.t > started && sample.t <= stopped)
            .filter_map(|sample| sample.holders.as_deref())
            .collect();
        let others = if own { growth(held_before, &during) } else { Vec::new() };
        Self { baseline, points, others, told_apart }
    }
}

/// What processes outside of the run hold; nothing where that is unknown of one.
fn others_of(list: &[Holder]) -> Option<Bytes> {
    let others = list.iter().filter(|holder| !holder.own);
    let sizes: Option<Vec<Bytes>> = others.map(|holder| holder.bytes).collect();
    Bytes::sum(sizes?).ok()
}

fn growth(before: Option<&Vec<Holder>>, during: &[&[Holder]]) -> Vec<Growth> {
    let mut rows: BTreeMap<u32, Growth> = BTreeMap::new();
    let foreign = |holder: &&Holder| !holder.own;
    for holder in before.into_iter().flatten().filter(foreign) {
        let bytes = holder.bytes.unwrap_or_default();
        rows.insert(holder.pid, Growth { pid: holder.pid, before: bytes, most: bytes });
    }
    for holder in during.iter().copied().flatten().filter(foreign) {
        let bytes = holder.bytes.unwrap_or_default();
        let new = Growth { pid: holder.pid, before: Bytes::ZERO, most: Bytes::ZERO };
        let row = rows.entry(holder.pid).or_insert(new);
        row.most = row.most.max(bytes);
    }
    rows.into_values().filter(|row| row.most > row.before).collect()
}

/// The phases in time; what comes before the first mark has a name too.
fn spans(events: &[Event], (from, before): (u64, u64), (until, last): (u64, u64)) -> Vec<Span> {
    let marks: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Phase { t, name, by, taken } => Some((*t, name.clone(), *by, *taken)),
            _ => None,
        })
        .collect();
    let first = if marks.is_empty() { WHOLE_RUN } else { BEFORE_MARKS };
    let mut spans = vec![Span {
        name: Some(first.to_owned()),
        by: None,
        start: from,
        end: until,
        taken: before,
    }];
    for (t, name, by, taken) in marks {
        let t = t.clamp(from, until);
        if let Some(open) = spans.last_mut() {
            (open.end, open.taken) = (t, taken.saturating_sub(open.taken));
        }
        spans.push(Span { name, by: Some(by), start: t, end: until, taken });
    }
    if let Some(open) = spans.last_mut() {
        open.taken = last.saturating_sub(open.taken);
    }
    spans
}

/// How long before its end a command may begin to give its memory back, in µs.
const TEARDOWN: u64 = 500_000;

/// Parts the end of the last phase, in which memory only falls, to a quarter or less: the command is
/// being taken down, and what it held is what it held before.
fn part_teardown(spans: &mut Vec<Span>, points: &[Point], stopped: u64) {
    let Some(last) = spans.last_mut() else { return };
    let from = last.start.max(stopped.saturating_sub(TEARDOWN));
    let before = points.partition_point(|point| point.t <= from);
    let until = points.partition_point(|point| point.t <= stopped);
    let mut held = level_at(points, stopped);
    let Some(enough) = held.times(4).ok() else { return };
    let mut falls = None;
    for index in (before..until).rev() {
        let above = index.checked_sub(1).map_or(Bytes::ZERO, |index| points[index].held);
        if above < held {
            break;
        }
        (falls, held) = (Some(points[index].t), above);
    }
    if let Some(t) = falls.filter(|_| held >= enough && !held.is_zero()) {
        let (taken, end) = (0, last.end);
        last.end = t;
        spans.push(Span { name: None, by: None, start: t, end, taken });
    }
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
pub(super) mod tests {
    use super::*;
    use crate::calibrate::meter::MeterKind;
    use crate::calibrate::recording::{Sample, tests::header};

    /// Sizes in synthetic recordings are in MiB, times in ms.
    pub fn sample(ms: u64, mib: u64) -> Event {
        Event::Sample(Sample { t: ms * 1000, used: Bytes::mib(mib).unwrap(), holders: None })
    }

    pub fn held_by(ms: u64, mib: u64, holders: &[(u32, u64, bool)]) -> Event {
        let holder = |(pid, mib, own): &(u32, u64, bool)| Holder {
            pid: *pid,
            bytes: Some(Bytes::mib(*mib).unwrap()),
            own: *own,
        };
        let holders = Some(holders.iter().map(holder).collect());
        Event::Sample(Sample { t: ms * 1000, used: Bytes::mib(mib).unwrap(), holders })
    }

    pub fn started(ms: u64) -> Event {
        Event::Started { t: ms * 1000, taken: ms }
    }

    pub fn phase(ms: u64, name: &str) -> Event {
        let name = Some(name.to_owned());
        Event::Phase { t: ms * 1000, name, by: By::Pipe, taken: ms }
    }

    pub fn exit(ms: u64, code: i32) -> Event {
        Event::Exit(Exit { t: ms * 1000, taken: ms, code: Some(code), signal: None })
    }

    pub fn end(ms: u64) -> Event {
        Event::End(End { t: ms * 1000, taken: ms, ..End::default() })
    }

    pub fn measure(events: &[Event]) -> Measurement {
        let events: Vec<Event> =
            std::iter::once(header(MeterKind::Nvml)).chain(events.iter().cloned()).collect();
        Measurement::new(&events).unwrap()
    }

    fn mib(bytes: Bytes) -> u64 {
        bytes.get() >> 20
    }

    #[test]
    fn phases_have_their_own_levels_above_the_baseline() {
        let measured = measure(&[
            sample(0, 100),
            started(10),
            sample(12, 130),
            phase(20, "prefill"),
            sample(25, 180),
            sample(28, 150),
            phase(30, "decode"),
            phase(40, "prefill"),
            sample(42, 170),
            exit(50, 0),
            sample(51, 100),
            end(60),
        ]);
        assert_eq!(mib(measured.baseline), 100);
        let rows: Vec<_> = measured
            .phases
            .iter()
            .map(|p| (p.name.as_str(), p.occurrences, mib(p.begin), mib(p.peak), mib(p.end)))
            .collect();
        assert_eq!(
            rows,
            [("start", 1, 0, 30, 30), ("prefill", 2, 30, 80, 70), ("decode", 1, 50, 50, 50)]
        );
        let taken: Vec<_> = measured.phases.iter().map(|p| (p.duration, p.taken)).collect();
        assert_eq!(taken, [(10_000, 10), (20_000, 20), (10_000, 10)]);
        let peak = measured.peak.clone().unwrap();
        assert_eq!((mib(peak.held), peak.t, peak.phase.as_deref()), (80, 25_000, Some("prefill")));
        assert_eq!(measured.after, Some(Bytes::ZERO));
        assert!((measured.rate() - 1000.0).abs() < 1e-9);
    }

    #[test]
    fn what_others_take_meanwhile_is_not_the_runs() {
        let measured = measure(&[
            held_by(0, 100, &[(7, 100, false)]),
            started(10),
            held_by(12, 150, &[(7, 100, false), (8, 50, true)]),
            held_by(20, 250, &[(7, 200, false), (8, 50, true)]),
            exit(30, 0),
            end(31),
        ]);
        assert_eq!(mib(measured.peak.unwrap().held), 50);
        let (before, most) = (Bytes::mib(100).unwrap(), Bytes::mib(200).unwrap());
        assert_eq!(measured.others, [Growth { pid: 7, before, most }]);
        assert_eq!(measured.told_apart, Some(true));
    }

    #[test]
    fn numbers_of_another_namespace_do_not_hide_the_run() {
        let measured = measure(&[
            held_by(0, 100, &[(7, 100, false)]),
            started(10),
            held_by(12, 150, &[(7, 100, false), (999, 50, false)]),
            exit(30, 0),
        ]);
        assert_eq!(mib(measured.peak.unwrap().held), 50);
        assert_eq!(measured.told_apart, Some(false));
        assert!(measured.others.is_empty());
    }

    #[test]
    fn a_recording_that_was_cut_off_is_measured_as_far_as_it_goes() {
        let measured = measure(&[sample(0, 0), started(1), sample(2, 9), phase(3, "a")]);
        assert_eq!(mib(measured.peak.clone().unwrap().held), 9);
        assert_eq!((measured.stopped, measured.exit, measured.after), (3000, None, None));
        let nothing = Measurement::new(&[header(MeterKind::Cpu), sample(0, 1)]);
        assert_eq!(nothing, Err(MeasurementError::NotStarted));
    }

    #[test]
    fn what_the_last_phase_held_is_what_it_held_before_it_was_taken_down() {
        let run = |last: &[Event]| {
            let first = [sample(0, 100), started(1), sample(2, 600), phase(3, "decode")];
            let end = [exit(900, 0), end(901)];
            let measured = measure(&[&first[..], last, &end[..]].concat());
            let decode = measured.phases.last().cloned().unwrap();
            (mib(decode.end), decode.duration / 1000, measured.spans.len())
        };
        assert_eq!(run(&[sample(880, 300), sample(890, 100)]), (500, 877, 3));
        assert_eq!(run(&[sample(500, 700), sample(880, 650), sample(890, 110)]), (600, 877, 3));
        assert_eq!(run(&[sample(880, 500)]), (400, 897, 2), "some memory was freed, not all");
        assert_eq!(run(&[sample(100, 100)]), (0, 897, 2), "long before the end");
    }

    #[test]
    fn the_word_before_the_peak_counts() {
        let holds = |ms: u64, mib: u64| Event::Holds {
            t: ms * 1000,
            component: Component::Weights,
            bytes: Bytes::mib(mib).unwrap(),
        };
        let run = [sample(0, 0), started(1), holds(2, 5), sample(3, 9), holds(4, 6), exit(5, 0)];
        let measured = measure(&run);
        assert_eq!(measured.stated_at_peak(Component::Weights), Bytes::mib(5).ok());
        assert_eq!(measured.stated_at_peak(Component::Logits), None);
    }
}
