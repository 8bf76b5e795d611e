//! Synthetic recordings, and what they say.

use super::*;
use crate::calibrate::meter::{Holder, MeterKind};
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
    let same = [sample(700, 600), sample(850, 600), sample(890, 100)];
    assert_eq!(run(&same), (500, 887, 3), "what stays the same does not fall");
    let before = [sample(600, 400), sample(890, 100)];
    assert_eq!(run(&before), (300, 887, 3), "what fell long before is of the phase");
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

#[test]
fn ballast_is_no_part_of_what_a_run_holds() {
    let ballast = Event::Counter { t: 3500, name: "ballast_bytes".to_owned(), value: 500 << 20 };
    let measured = measure(&[
        sample(0, 100),
        started(1),
        phase(2, "context"),
        sample(2, 300),
        sample(3, 800),
        ballast,
        phase(4, "weights"),
        sample(5, 1200),
        sample(6, 1150),
        exit(7, 0),
        sample(8, 100),
    ]);
    let mib: Vec<u64> = measured.phases.iter().map(|phase| phase.peak.get() >> 20).collect();
    assert_eq!(mib, [0, 200, 600]);
    assert_eq!(measured.peak.unwrap().held.get() >> 20, 600);
    assert_eq!(measured.after, Some(Bytes::ZERO));
}
