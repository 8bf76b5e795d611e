//! What a measurement shows that its figures do not say: codes are stable, each has a remedy.

use serde::{Deserialize, Serialize};

use super::measurement::{Measurement, Point};
use super::meter::MeterKind;
use vramplan_planner::units::Bytes;

/// Something that was noticed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Diagnosis {
    /// A stable name.
    pub code: String,
    /// What was noticed.
    pub text: String,
    /// What to do about it.
    pub remedy: String,
}

fn diagnosis(code: &str, text: impl Into<String>, remedy: &str) -> Diagnosis {
    Diagnosis { code: code.to_owned(), text: text.into(), remedy: remedy.to_owned() }
}

/// Everything that is noticed, the gravest first.
pub fn diagnose(measured: &Measurement) -> Vec<Diagnosis> {
    let rules: [fn(&Measurement) -> Option<Diagnosis>; 12] = [
        out_of_memory,
        killed_by_kernel,
        out_of_memory_suspected,
        meter_failed,
        nothing_measured,
        not_returned,
        grows_during_decode,
        thrashing,
        other_process_grew,
        not_told_apart,
        processes_left,
        slow_sampling,
    ];
    let noticed = rules.iter().filter_map(|rule| rule(measured)).collect::<Vec<_>>();
    noticed.into_iter().chain(complaints(measured)).collect()
}

fn in_phase(measured: &Measurement) -> String {
    let last = measured.spans.iter().rev().find_map(|span| span.name.clone());
    last.map_or_else(String::new, |name| format!(" in phase `{name}`"))
}

/// A failed run whose output says that memory is exhausted.
pub fn out_of_memory(measured: &Measurement) -> Option<Diagnosis> {
    let failed = measured.exit.as_ref().is_some_and(super::recording::Exit::failed);
    let text = measured.end.as_ref()?.oom_text.as_deref().filter(|_| failed)?;
    Some(diagnosis(
        "out-of-memory",
        format!("the device's memory was exhausted{}: {text}", in_phase(measured)),
        "plan it with `vramplan budget` and take a tier that fits: a smaller cache, weights in fewer \
         bits, or a smaller prefill chunk",
    ))
}

/// A run that the kernel ended for want of main memory.
pub fn killed_by_kernel(measured: &Measurement) -> Option<Diagnosis> {
    const SIGKILL: i32 = 9;
    // A shell in between reports the signal as 128 + 9.
    let exit = measured.exit.as_ref()?;
    let killed = exit.signal == Some(SIGKILL) || exit.code == Some(128 + SIGKILL);
    measured.end.as_ref()?.oom_kills.filter(|kills| killed && *kills > 0)?;
    Some(diagnosis(
        "killed-by-kernel",
        format!("the kernel killed the run{} because main memory ran out", in_phase(measured)),
        "give it more main memory, or load weights without a copy (mmap, `low_cpu_mem_usage`)",
    ))
}

/// A run that failed with the device nearly full, whose output said nothing or was not read.
pub fn out_of_memory_suspected(measured: &Measurement) -> Option<Diagnosis> {
    if out_of_memory(measured).is_some() || measured.header.device.meter == MeterKind::Cpu {
        return None;
    }
    measured.exit.as_ref().filter(|exit| exit.failed())?;
    let device = &measured.header.device;
    let usable = device.total?.minus_or_zero(device.reserved.unwrap_or_default());
    let most = measured.baseline.plus(measured.peak.as_ref()?.held).ok()?;
    let left = usable.minus_or_zero(most);
    (left <= usable.scale(3, 100).ok()?).then(|| {
        diagnosis(
            "out-of-memory-suspected",
            format!("the run failed when {left} of the device were left"),
            "look for an out-of-memory message in its output; plan it with `vramplan budget`",
        )
    })
}

/// A meter that failed.
pub fn meter_failed(measured: &Measurement) -> Option<Diagnosis> {
    let last = measured.gaps.last()?;
    Some(diagnosis(
        "meter-failed",
        format!("readings are missing: {last}"),
        "see `vramplan doctor`; figures are of the readings that there were",
    ))
}

/// Less than any CUDA context takes.
const NOTHING: Bytes = Bytes::new(1 << 20);

/// A run that held nothing where it was measured.
pub fn nothing_measured(measured: &Measurement) -> Option<Diagnosis> {
    let held = measured.peak.as_ref().map_or(Bytes::ZERO, |peak| peak.held);
    (held < NOTHING).then(|| {
        diagnosis(
            "nothing-measured",
            format!("the run held no memory of `{}`", measured.header.device.name),
            "it may have run on another device, or ended at once: see `--device`, and \
             `CUDA_VISIBLE_DEVICES` and `CUDA_DEVICE_ORDER=PCI_BUS_ID`, which make numbers agree",
        )
    })
}

/// The share of a peak, in percent, and the size from which on a difference counts.
fn counts(measured: &Measurement, percent: u64, least: Bytes) -> Bytes {
    let peak = measured.peak.as_ref().map_or(Bytes::ZERO, |peak| peak.held);
    peak.scale(percent, 100).unwrap_or(peak).max(least)
}

/// Memory of a device that is still held after the run.
pub fn not_returned(measured: &Measurement) -> Option<Diagnosis> {
    if measured.header.device.meter == MeterKind::Cpu {
        return None;
    }
    let after = measured.after.filter(|after| *after > counts(measured, 1, Bytes::new(8 << 20)))?;
    Some(diagnosis(
        "memory-not-returned",
        format!("{after} are held after the run that were free before it"),
        "another process took them, or a process of the run lives on: see `vramplan doctor` for who \
         holds memory, and measure again once it is back",
    ))
}

/// Quarters of the decode phase that must all grow.
const PARTS: u64 = 4;

/// Memory that grows all through the decode phase: the cache is not allocated at once.
pub fn grows_during_decode(measured: &Measurement) -> Option<Diagnosis> {
    let decodes = |span: &&super::measurement::Span| span.name.as_deref() == Some("decode");
    let span = measured.spans.iter().filter(decodes).max_by_key(|span| span.end - span.start)?;
    let length = span.end - span.start;
    let at = |part: u64| {
        let t = span.start + length * part / PARTS;
        measured.level_at(t.min(span.end.saturating_sub(1)))
    };
    let levels: Vec<Bytes> = (0..=PARTS).map(at).collect();
    let rising = levels.windows(2).filter(|pair| pair[1] > pair[0]).count();
    let grown = levels.last()?.minus_or_zero(levels[1]);
    let much = grown >= counts(measured, 1, Bytes::new(8 << 20));
    (much && rising as u64 >= PARTS - 1).then(|| {
        diagnosis(
            "grows-during-decode",
            format!("memory grew by {grown} over the last three quarters of decode"),
            "allocate the cache at its full size, or plan with `--cache grown`; without a bound it \
             grows until memory is exhausted",
        )
    })
}

/// Swings that are thrashing.
const SWINGS: usize = 20;

/// Memory that goes up and down all the time.
pub fn thrashing(measured: &Measurement) -> Option<Diagnosis> {
    let least = counts(measured, 5, Bytes::new(16 << 20));
    let swings = swings(&measured.points, least);
    (swings >= SWINGS).then(|| {
        diagnosis(
            "thrashing",
            format!("memory went up and down by {least} or more {swings} times"),
            "buffers are given back and taken again: let the allocator keep them \
             (`PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True`), and do not empty its cache in the loop",
        )
    })
}

/// Turns of direction after a move of at least `least`.
fn swings(points: &[Point], least: Bytes) -> usize {
    let Some(first) = points.first() else { return 0 };
    let (mut low, mut high) = (first.held, first.held);
    let (mut rising, mut turns) = (None, 0);
    for point in points {
        low = low.min(point.held);
        high = high.max(point.held);
        let turned = match rising {
            Some(true) | None if high.minus_or_zero(point.held) >= least => false,
            Some(false) | None if point.held.minus_or_zero(low) >= least => true,
            _ => continue,
        };
        turns += usize::from(rising.is_some());
        rising = Some(turned);
        (low, high) = (point.held, point.held);
    }
    turns
}

/// Another process that took memory meanwhile.
pub fn other_process_grew(measured: &Measurement) -> Option<Diagnosis> {
    let grown = |other: &&super::measurement::Growth| other.most.minus_or_zero(other.before);
    let most = measured.others.iter().max_by_key(grown)?;
    Some(diagnosis(
        "other-process-grew",
        format!("process {} went from {} to {} meanwhile", most.pid, most.before, most.most),
        "its growth is deducted, but may be read some milliseconds late: measure again on a device \
         that nothing else uses",
    ))
}

/// A driver that lists processes, none of which is the run's.
pub fn not_told_apart(measured: &Measurement) -> Option<Diagnosis> {
    let unknown = measured.told_apart == Some(false) && nothing_measured(measured).is_none();
    unknown.then(|| {
        diagnosis(
            "not-told-apart",
            "the driver lists no process of the run: its figures include what others took meanwhile",
            "in a container, share the host's process numbers (`--pid=host`), or keep others away",
        )
    })
}

/// Processes that outlived the command.
pub fn processes_left(measured: &Measurement) -> Option<Diagnosis> {
    let left = measured.end.as_ref()?.left;
    (left > 0).then(|| {
        let processes = if left == 1 { "process" } else { "processes" };
        diagnosis(
            "processes-left",
            format!("{left} {processes} of the run outlived it and were ended"),
            "let the command wait for what it starts",
        )
    })
}

/// Readings a second below which short peaks are missed.
const SLOW: f64 = 50.0;
/// Runs that are too short to say.
const SHORT: u64 = 50_000;

/// Readings that come too seldom to see short peaks.
pub fn slow_sampling(measured: &Measurement) -> Option<Diagnosis> {
    let rate = measured.rate();
    (measured.duration() > SHORT && rate < SLOW).then(|| {
        diagnosis(
            "slow-sampling",
            format!("{rate:.0} readings a second: peaks shorter than that are missed"),
            "measure on a machine that is less busy",
        )
    })
}

fn complaints(measured: &Measurement) -> Vec<Diagnosis> {
    let complaints = measured.end.iter().flat_map(|end| &end.complaints);
    let remedy = "a line is `{\"phase\":\"NAME\"}`, `{\"phase\":null}`, or \
                  `{\"component\":\"weights\",\"bytes\":N}`";
    complaints.map(|text| diagnosis("phase-line-malformed", text.clone(), remedy)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::measurement::tests::{
        end, exit, held_by, measure, phase, sample, started,
    };
    use crate::calibrate::recording::{End, Event, Exit};

    fn codes(events: &[Event]) -> Vec<String> {
        diagnose(&measure(events)).into_iter().map(|diagnosis| diagnosis.code).collect()
    }

    fn ended(ms: u64, end: End) -> Event {
        Event::End(End { t: ms * 1000, taken: ms, ..end })
    }

    #[test]
    fn a_quiet_run_shows_nothing() {
        let run = [
            sample(0, 100),
            started(10),
            sample(20, 400),
            phase(30, "decode"),
            exit(900, 0),
            sample(901, 100),
            end(905),
        ];
        assert!(codes(&run).is_empty(), "{:?}", codes(&run));
    }

    #[test]
    fn exhausted_memory_is_known_by_its_message_or_suspected_by_its_level() {
        let said = |code| {
            let end = End { oom_text: Some("CUDA out of memory".to_owned()), ..End::default() };
            [sample(0, 0), started(1), sample(2, 900), exit(3, code), sample(4, 0), ended(5, end)]
        };
        assert_eq!(codes(&said(1)), ["out-of-memory"]);
        assert!(codes(&said(0)).is_empty(), "a run that went on was not out of memory");
        let silent = |level, code| {
            [sample(0, 0), started(1), sample(2, level), exit(3, code), sample(4, 0), end(5)]
        };
        // The device has 1 GiB.
        assert_eq!(codes(&silent(1010, 1)), ["out-of-memory-suspected"]);
        assert!(codes(&silent(900, 1)).is_empty());
        assert!(codes(&silent(1010, 0)).is_empty());
    }

    #[test]
    fn the_kernel_is_named_when_it_killed() {
        let run = |signal, kills| {
            let exit = Event::Exit(Exit { t: 3000, taken: 3, code: None, signal: Some(signal) });
            let end = End { oom_kills: Some(kills), ..End::default() };
            codes(&[sample(0, 0), started(1), sample(2, 9), exit, sample(4, 0), ended(5, end)])
        };
        assert_eq!(run(9, 1), ["killed-by-kernel"]);
        assert!(run(9, 0).is_empty() && run(15, 1).is_empty());
    }

    #[test]
    fn memory_that_does_not_come_back_is_told() {
        let run = |after| {
            codes(&[
                sample(0, 100),
                started(1),
                sample(2, 600),
                exit(3, 0),
                sample(4, after),
                end(9),
            ])
        };
        assert_eq!(run(300), ["memory-not-returned"]);
        assert!(run(104).is_empty());
    }

    #[test]
    fn a_cache_that_grows_is_told_from_one_that_does_not() {
        let decode = |level: fn(u64) -> u64| {
            let mut run = vec![sample(0, 0), started(1), sample(2, 500), phase(10, "decode")];
            run.extend((11..110).map(|ms| sample(ms, level(ms))));
            run.extend([exit(110, 0), sample(111, 0), end(112)]);
            codes(&run)
        };
        assert_eq!(decode(|ms| 500 + ms), ["grows-during-decode"]);
        assert!(decode(|_| 500).is_empty());
        assert!(decode(|ms| if ms < 20 { 500 } else { 600 }).is_empty(), "one step is no growth");
    }

    #[test]
    fn many_swings_are_thrashing_and_few_are_not() {
        let run = |swings: u64| {
            let mut run = vec![sample(0, 0), started(1)];
            run.extend((2..2 + 2 * swings).map(|ms| sample(ms, 500 + 100 * (ms % 2))));
            run.extend([exit(900, 0), sample(901, 0), end(902)]);
            codes(&run)
        };
        assert_eq!(run(40), ["thrashing"]);
        assert!(run(8).is_empty());
    }

    #[test]
    fn nothing_is_nothing() {
        assert_eq!(codes(&[sample(0, 5), started(1), exit(2, 0), end(3)]), ["nothing-measured"]);
        assert_eq!(codes(&[started(1), exit(2, 0), end(3)]), ["nothing-measured"]);
    }

    #[test]
    fn other_processes_are_told() {
        let others = [
            held_by(0, 100, &[(7, 100, false)]),
            started(1),
            held_by(2, 250, &[(7, 200, false), (8, 50, true)]),
            exit(3, 0),
            held_by(4, 200, &[(7, 200, false)]),
            end(5),
        ];
        assert_eq!(codes(&others), ["other-process-grew"]);
        let unknown = [
            held_by(0, 100, &[(7, 100, false)]),
            started(1),
            held_by(2, 150, &[(7, 100, false), (9, 50, false)]),
            exit(3, 0),
            held_by(4, 100, &[(7, 100, false)]),
            end(5),
        ];
        assert_eq!(codes(&unknown), ["not-told-apart"]);
    }

    #[test]
    fn what_went_wrong_with_measuring_is_told() {
        let gap = Event::Gap { t: 2000, error: "GPU lost".to_owned() };
        let run = [sample(0, 0), started(1), sample(2, 99), gap, exit(3, 0), sample(4, 0), end(5)];
        assert_eq!(codes(&run), ["meter-failed"]);
        let left = End {
            left: 2,
            complaints: vec!["`x` is not a phase line".to_owned()],
            ..End::default()
        };
        let run =
            [sample(0, 0), started(1), sample(2, 9), exit(3, 0), sample(4, 0), ended(5, left)];
        assert_eq!(codes(&run), ["processes-left", "phase-line-malformed"]);
        let slow = Event::Exit(Exit { t: 1_000_000, taken: 12, code: Some(0), signal: None });
        assert_eq!(
            codes(&[sample(0, 0), started(1), sample(2, 9), slow, sample(1001, 0), end(1002)]),
            ["slow-sampling"]
        );
    }
}
