//! When which phase was.

use super::{BEFORE_MARKS, Point, Span, WHOLE_RUN, level_at};
use crate::calibrate::recording::Event;
use vramplan_planner::units::Bytes;

/// A moment, and how many samples had been taken by then.
#[derive(Clone, Copy, Debug)]
pub struct Edge {
    /// When, in µs.
    pub t: u64,
    /// Samples so far.
    pub taken: u64,
}

/// The phases in time; what comes before the first mark has a name too.
pub fn spans(events: &[Event], start: Edge, stop: Edge) -> Vec<Span> {
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
        start: start.t,
        end: stop.t,
        taken: start.taken,
    }];
    for (t, name, by, taken) in marks {
        let t = t.clamp(start.t, stop.t);
        if let Some(open) = spans.last_mut() {
            (open.end, open.taken) = (t, taken.saturating_sub(open.taken));
        }
        spans.push(Span { name, by: Some(by), start: t, end: stop.t, taken });
    }
    if let Some(open) = spans.last_mut() {
        open.taken = stop.taken.saturating_sub(open.taken);
    }
    spans
}

/// How long before its end a command may begin to give its memory back, in µs.
const TEARDOWN: u64 = 500_000;

/// How long memory may stay the same meanwhile, in µs.
const PAUSE: u64 = 100_000;

/// Parts the end of the last phase, in which memory only falls, to a quarter or less: the command is
/// being taken down, and what it held is what it held before.
pub fn part_teardown(spans: &mut Vec<Span>, points: &[Point], stopped: u64) {
    let Some(last) = spans.last_mut() else { return };
    let from = last.start.max(stopped.saturating_sub(TEARDOWN));
    let before = points.partition_point(|point| point.t <= from);
    let until = points.partition_point(|point| point.t <= stopped);
    let mut held = level_at(points, stopped);
    let Some(enough) = held.times(4).ok() else { return };
    let mut falls: Option<u64> = None;
    for index in (before..until).rev() {
        let above = index.checked_sub(1).map_or(Bytes::ZERO, |index| points[index].held);
        let t = points[index].t;
        if above < held || falls.is_some_and(|later| above > held && later - t > PAUSE) {
            break;
        }
        if above > held {
            falls = Some(t);
        }
        held = above;
    }
    if let Some(t) = falls.filter(|_| held >= enough && !held.is_zero()) {
        let (taken, end) = (0, last.end);
        last.end = t;
        spans.push(Span { name: None, by: None, start: t, end, taken });
    }
}
