//! Collects what happens, from several threads, in the order in which it does; keeps changes only.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::meter::{Holder, Reading};
use super::record_file::{RecordFailure, RecordFile};
use super::recording::{By, End, Event, Exit, Header, Sample};
use vramplan_planner::estimate::Component;
use vramplan_planner::units::Bytes;

/// How long a line waits at most before it is written.
const PATIENCE: Duration = Duration::from_millis(200);
/// Samples after which changes must be larger to be kept, so that a recording stays in bounds.
const MANY: usize = 500_000;
/// The smallest change that is kept from then on; doubled each time.
const GRAIN: Bytes = Bytes::new(64 << 10);

/// Marks that are kept: phases, and what the program says of itself.
const MARKS: u64 = 100_000;

/// Collects what happens in a run for the report, and writes it to the recording, where one is asked for.
#[derive(Debug)]
pub struct Recorder {
    start: Instant,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    events: Vec<Event>,
    file: Option<RecordFile>,
    failure: Option<RecordFailure>,
    flushed: Instant,
    taken: u64,
    samples: usize,
    marks: u64,
    last: Option<Bytes>,
    holders: Option<Vec<Holder>>,
    most: Bytes,
    grain: Bytes,
    phase: String,
    blind: bool,
}

impl Recorder {
    /// Begins a recording; time runs from here.
    pub fn new(header: Header, file: Option<RecordFile>) -> Self {
        let inner = Inner {
            events: Vec::new(),
            file,
            failure: None,
            flushed: Instant::now(),
            taken: 0,
            samples: 0,
            marks: 0,
            last: None,
            holders: None,
            most: Bytes::ZERO,
            grain: Bytes::new(1),
            phase: "start".to_owned(),
            blind: false,
        };
        let recorder = Self { start: Instant::now(), inner: Mutex::new(inner) };
        recorder.lock().push(Event::Header(Box::new(header)));
        recorder
    }

    /// A thread that panicked leaves whole events behind.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Adds an event that is made from its time and the number of readings so far, which are taken
    /// together so that time does not run backwards.
    fn add(&self, event: impl FnOnce(u64, u64) -> Event) {
        let mut inner = self.lock();
        let event = event(self.now(), inner.taken);
        inner.push(event);
        inner.flush();
    }

    /// The same of an event that a program can make as often as it likes.
    fn mark(&self, event: impl FnOnce(u64, u64) -> Event) {
        let kept = {
            let mut inner = self.lock();
            inner.marks = inner.marks.saturating_add(1);
            inner.marks <= MARKS
        };
        if kept {
            self.add(event);
        }
    }

    /// A reading; written where it is another than the last.
    pub fn sample(&self, reading: &Reading) {
        let mut inner = self.lock();
        let t = self.now();
        inner.sample(t, reading);
    }

    /// A reading that failed; the first of a row is written.
    pub fn gap(&self, error: &str) {
        let mut inner = self.lock();
        if !std::mem::replace(&mut inner.blind, true) {
            let event = Event::Gap { t: self.now(), error: error.to_owned() };
            inner.push(event);
        }
    }

    /// The command was started: there is something to record.
    pub fn started(&self) {
        self.lock().begin();
        self.add(|t, taken| Event::Started { t, taken });
    }

    /// A phase begins, or none does.
    pub fn phase(&self, name: Option<String>, by: By) {
        self.lock().enter(name.as_deref());
        self.mark(|t, taken| Event::Phase { t, name, by, taken });
    }

    /// The program says what a part of it holds.
    pub fn holds(&self, component: Component, bytes: Bytes) {
        self.mark(|t, _| Event::Holds { t, component, bytes });
    }

    /// The program counts something.
    pub fn counter(&self, name: String, value: u64) {
        self.mark(|t, _| Event::Counter { t, name, value });
    }

    /// The command ended.
    pub fn exit(&self, code: Option<i32>, signal: Option<i32>) {
        self.add(|t, taken| Event::Exit(Exit { t, taken, code, signal }));
    }

    /// The phase that the run is in.
    pub fn current_phase(&self) -> String {
        self.lock().phase.clone()
    }

    /// The number of readings so far, and what the last one was.
    pub fn latest(&self) -> (u64, Option<Bytes>) {
        let inner = self.lock();
        (inner.taken, inner.last)
    }

    /// What the meter said the last time that it failed.
    pub fn last_gap(&self) -> Option<String> {
        let gap = |event: &Event| match event {
            Event::Gap { error, .. } => Some(error.clone()),
            _ => None,
        };
        self.lock().events.iter().rev().find_map(gap)
    }

    /// Ends the recording, whose time and number of readings are filled in: all events, and why the
    /// file lacks some, if it does.
    pub fn finish(self, mut end: End) -> (Vec<Event>, Option<RecordFailure>) {
        let more = self.lock().marks.saturating_sub(MARKS);
        if more > 0 {
            end.complaints.push(format!(
                "{more} phases and figures after the first {MARKS} were left out: the last phase that was \
                 kept lasts to the end"
            ));
        }
        self.add(|t, taken| Event::End(End { t, taken, ..end }));
        let inner = self.inner.into_inner().unwrap_or_else(PoisonError::into_inner);
        (inner.events, inner.failure)
    }
}

impl Inner {
    fn enter(&mut self, name: Option<&str>) {
        name.unwrap_or("between phases").clone_into(&mut self.phase);
        // The first maximum of each phase is kept, however little it is above the last sample.
        self.most = Bytes::ZERO;
    }

    fn sample(&mut self, t: u64, reading: &Reading) {
        self.taken += 1;
        let others = reading.holders.is_some() && reading.holders != self.holders;
        if self.is_news(reading.used) || others || self.blind {
            self.blind = false;
            self.last = Some(reading.used);
            self.most = self.most.max(reading.used);
            if others {
                self.holders.clone_from(&reading.holders);
            }
            let holders = if others { reading.holders.clone() } else { None };
            self.push(Event::Sample(Sample { t, used: reading.used, holders }));
            self.count();
        }
        if self.flushed.elapsed() > PATIENCE {
            self.flush();
        }
    }

    fn is_news(&self, used: Bytes) -> bool {
        let change = |last: Bytes| last.max(used).minus_or_zero(last.min(used));
        self.last.is_none_or(|last| change(last) >= self.grain) || used > self.most
    }

    fn count(&mut self) {
        self.samples += 1;
        if self.samples.is_multiple_of(MANY) {
            self.grain = self.grain.times(2).unwrap_or(self.grain).max(GRAIN);
        }
    }

    fn push(&mut self, event: Event) {
        if let Some(file) = &mut self.file {
            let line = serde_json::to_string(&event).map_err(std::io::Error::other);
            let outcome = line.and_then(|line| file.push(&line));
            self.keep(outcome);
        }
        self.events.push(event);
    }

    fn flush(&mut self) {
        self.flushed = Instant::now();
        if let Some(file) = &mut self.file {
            let outcome = file.flush();
            self.keep(outcome);
        }
    }

    /// There is something to record.
    fn begin(&mut self) {
        if let Some(file) = &mut self.file {
            let outcome = file.begin();
            self.keep(outcome);
        }
    }

    /// The first failure ends the file, not the run.
    fn keep(&mut self, outcome: std::io::Result<()>) {
        if let Err(cause) = outcome {
            self.file = None;
            self.failure = Some(RecordFailure { phase: self.phase.clone(), cause });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::meter::MeterKind;
    use crate::calibrate::recording::tests::header;

    fn recorder(file: Option<RecordFile>) -> Recorder {
        let Event::Header(header) = header(MeterKind::Mock) else { panic!("no header") };
        Recorder::new(*header, file)
    }

    fn reading(used: u64) -> Reading {
        Reading { used: Bytes::new(used), holders: None }
    }

    fn samples(events: &[Event]) -> Vec<u64> {
        let used = |event: &Event| match event {
            Event::Sample(sample) => Some(sample.used.get()),
            _ => None,
        };
        events.iter().filter_map(used).collect()
    }

    #[test]
    fn only_changes_are_kept() {
        let recorder = recorder(None);
        for used in [1, 1, 2, 2, 2, 1] {
            recorder.sample(&reading(used));
        }
        let (events, failure) = recorder.finish(End::default());
        assert_eq!(samples(&events), [1, 2, 1]);
        assert!(failure.is_none());
        assert!(matches!(events.last(), Some(Event::End(End { taken: 6, .. }))));
    }

    #[test]
    fn a_row_of_failures_is_one_gap_and_a_reading_ends_it() {
        let recorder = recorder(None);
        recorder.sample(&reading(1));
        recorder.gap("no");
        recorder.gap("no");
        recorder.sample(&reading(1));
        recorder.gap("no");
        let (events, _) = recorder.finish(End::default());
        let gaps = events.iter().filter(|event| matches!(event, Event::Gap { .. })).count();
        assert_eq!((gaps, samples(&events)), (2, vec![1, 1]));
    }

    #[test]
    fn what_is_said_without_end_is_left_out_and_that_is_told() {
        let recorder = recorder(None);
        for _ in 0..MARKS + 7 {
            recorder.counter("c".to_owned(), 1);
        }
        recorder.phase(Some("late".to_owned()), By::Pipe);
        recorder.sample(&reading(1));
        recorder.exit(Some(0), None);
        let (events, _) = recorder.finish(End::default());
        let counters = events.iter().filter(|event| matches!(event, Event::Counter { .. })).count();
        assert_eq!((counters as u64, samples(&events)), (MARKS, vec![1]));
        let Some(Event::End(end)) = events.last() else { panic!("no end") };
        assert!(
            end.complaints[0].starts_with("8 phases and figures after"),
            "{:?}",
            end.complaints
        );
    }

    #[test]
    fn a_recording_stays_in_bounds_and_keeps_its_maximum() {
        let recorder = recorder(None);
        let count = 600_000u64;
        for step in 0..count {
            recorder.sample(&reading((1 << 30) + step % 2));
        }
        recorder.sample(&reading((1 << 30) + 7));
        let kept = samples(&recorder.finish(End::default()).0);
        assert_eq!(kept.len(), MANY + 1);
        assert_eq!(kept.last(), Some(&((1 << 30) + 7)));
    }

    #[test]
    fn what_is_in_the_file_is_what_happened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.jsonl");
        let recorder = recorder(Some(RecordFile::create(&path).unwrap()));
        recorder.started();
        recorder.sample(&reading(5));
        recorder.phase(Some("load".to_owned()), By::Time);
        let (events, _) = recorder.finish(End::default());
        let text = fs_err::read_to_string(&path).unwrap();
        assert_eq!(super::super::recording::parse(&text).unwrap(), events);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_ends_the_file_and_names_the_phase() {
        let file = RecordFile::create(std::path::Path::new("/dev/full")).unwrap();
        let recorder = recorder(Some(file));
        recorder.phase(Some("prefill".to_owned()), By::Time);
        recorder.sample(&reading(1));
        let (events, failure) = recorder.finish(End::default());
        assert_eq!(samples(&events), [1]);
        let message = failure.unwrap().to_string();
        assert!(
            message.contains("in phase `prefill`") && message.contains("/dev/full"),
            "{message}"
        );
    }
}
