//! What the run held over time, and what others did.

use std::collections::BTreeMap;

use super::{Growth, Point};
use crate::calibrate::meter::Holder;
use crate::calibrate::recording::Event;
use vramplan_planner::units::Bytes;

/// What was held over time, and by whom else.
pub struct Levels {
    /// What the device held before the command started.
    pub baseline: Bytes,
    /// What the run held.
    pub points: Vec<Point>,
    /// Who else took memory.
    pub others: Vec<Growth>,
    /// Whether a process of the run was among those that the driver listed.
    pub told_apart: Option<bool>,
}

impl Levels {
    /// The levels of a recording whose command ran from `started` to `stopped`.
    pub fn of(events: &[Event], started: u64, stopped: u64) -> Self {
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
