//! One rehearsal of one program.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::Command;
use std::sync::Arc;

use super::guard::{Hang, Patience, StopAfter, Watcher, Why};
use super::trace::{Refused, Story, Trace};
use crate::calibrate::marks::{Pattern, Timed};
use crate::calibrate::measurement::Measurement;
use crate::calibrate::recording::{Event, Exit, Header, Sample};
use crate::calibrate::session::{self, Ended, Job, SessionError, Show};
use crate::calibrate::{Device, MeterKind, PlannedRun, Recorder, now};
use vramplan_planner::units::Bytes;
use vramplan_virtual_gpu::{Card, Machine, Rehearsal, Report};

/// What is rehearsed, and how.
#[derive(Clone)]
pub struct Setup {
    /// The program with its arguments.
    pub command: Vec<OsString>,
    /// Variables that it gets beside those that it inherits.
    pub variables: Vec<(String, String)>,
    /// Phases by its output.
    pub patterns: Vec<Pattern>,
    /// Phases by the clock.
    pub timed: Vec<Timed>,
    /// How far it is rehearsed; to its end where nothing is said.
    pub stop: Option<StopAfter>,
    /// How long is waited.
    pub patience: Patience,
    /// Where its output goes.
    pub show: Show,
    /// What hears of a hang.
    pub tell: fn(&Hang),
}

/// Why nothing was rehearsed.
#[derive(Debug, thiserror::Error)]
pub enum RehearseError {
    /// The virtual GPU is not to be had, or not for this program.
    #[error(transparent)]
    VirtualGpu(#[from] vramplan_virtual_gpu::Error),
    /// The program cannot be started.
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// How a rehearsal ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The program ended well.
    Ended,
    /// It ran out of memory on a card, or its engine found that it has too little.
    OutOfMemory,
    /// It failed for another reason.
    Failed,
    /// It came as far as was asked for.
    Stopped(StopAfter),
    /// It served, and nobody asked.
    Ready,
    /// It got on with nothing, and was ended.
    Hung,
    /// The user ended it.
    Interrupted,
    /// It turned out that it cannot be rehearsed.
    Impossible(String),
}

impl End {
    /// The word in every output.
    pub const fn id(&self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::OutOfMemory => "out_of_memory",
            Self::Failed => "failed",
            Self::Stopped(_) => "stopped",
            Self::Ready => "ready",
            Self::Hung => "hung",
            Self::Interrupted => "interrupted",
            Self::Impossible(_) => "impossible",
        }
    }

    /// Whether the program did what it was to do.
    pub const fn is_well(&self) -> bool {
        matches!(self, Self::Ended | Self::Stopped(_) | Self::Ready)
    }
}

/// What a rehearsal has shown.
pub struct Rehearsed {
    /// The machine.
    pub machine: Machine,
    /// The command with its arguments, as it is shown.
    pub command: Vec<String>,
    /// When it was, in UTC.
    pub started: String,
    /// How it ended.
    pub end: End,
    /// How the program itself ended.
    pub ended: Ended,
    /// What the virtual GPU reports.
    pub report: Report,
    /// What happened, in its order.
    pub story: Story,
    /// What was measured on every card, in their order.
    pub cards: Vec<Measurement>,
    /// A hang that was noticed.
    pub hang: Option<Hang>,
    /// The events behind the measurements, for a recording.
    events: Vec<Vec<Event>>,
}

impl Rehearsed {
    /// How long the program ran, in µs.
    pub fn duration(&self) -> u64 {
        self.cards.first().map_or(0, Measurement::duration)
    }

    /// The events of a card, as a recording keeps them, beside a plan.
    pub fn recording(&self, card: usize, plan: Option<&PlannedRun>) -> Vec<Event> {
        let mut events = self.events.get(card).cloned().unwrap_or_default();
        if let Some(Event::Header(header)) = events.first_mut() {
            header.plan = plan.cloned();
        }
        events
    }

    /// The card that comes closest to being full.
    pub fn fullest(&self) -> usize {
        let left = |at: &usize| {
            let card = &self.report.cards[*at];
            card.capacity.saturating_sub(card.peak_resident)
        };
        (0..self.report.cards.len()).min_by_key(left).unwrap_or(0)
    }

    /// The refusal that ended it, where one did.
    pub fn refusal(&self) -> Option<&Refused> {
        self.story.refused.as_ref().filter(|_| self.end == End::OutOfMemory)
    }

    /// The phase that a moment, in µs since the rehearsal began, is in.
    pub fn phase_at(&self, t: u64) -> Option<String> {
        let spans = &self.cards.first()?.spans;
        spans.iter().rev().find(|span| span.start <= t)?.name.clone()
    }
}

/// Rehearses a program on a machine.
///
/// # Errors
/// [`RehearseError`] where nothing was run.
pub fn rehearse(machine: &Machine, setup: &Setup) -> Result<Rehearsed, RehearseError> {
    let rehearsal = Rehearsal::new(machine)?;
    let mut command = Command::new(&setup.command[0]);
    command.args(&setup.command[1..]);
    command.envs(setup.variables.iter().map(|(name, value)| (name, value)));
    rehearsal.prepare(&mut command)?;
    let trace = Trace::new(machine.cards.len(), rehearsal.micros());
    let (hears, reads) = (trace.clone(), trace.clone());
    rehearsal.listen(move |heard| hears.hear(heard));
    let words = setup.command.iter().map(|word| word.to_string_lossy().into_owned());
    let words: Vec<String> = words.collect();
    let header = header(&machine.cards[0], words.clone());
    let zero = trace.micros();
    let recorder = Recorder::new(header.clone(), None);
    let mut watcher = Watcher::new(&rehearsal, &trace, setup.stop, setup.patience, setup.tell);
    let job = Job {
        patterns: setup.patterns.clone(),
        timed: setup.timed.clone(),
        tap: Some(Arc::new(move |line: &[u8]| reads.output(line))),
        show: setup.show,
        phase_pipe: Some(rehearsal.stream()),
        guard: Some(&mut watcher),
        ..Job::new(command)
    };
    let ended = session::run_unmetered(job, &recorder)?;
    let (why, hang) = (watcher.why.take(), watcher.hang);
    let report = rehearsal.finish();
    let mut story = trace.finish();
    let (noted, _) = recorder.finish(ended.end.clone());
    let noted = Noted { events: noted, zero };
    noted.merge_marks(&mut story);
    let end = judge(&ended, why, &story, &report);
    let events: Vec<_> = machine
        .cards
        .iter()
        .enumerate()
        .map(|(at, card)| noted.of_card(at, card, &story))
        .collect();
    // A run that was started has a beginning.
    let cards = events.iter().filter_map(|events| Measurement::new(events).ok()).collect();
    let (machine, command) = (machine.clone(), words);
    let started = header.started;
    Ok(Rehearsed { machine, command, started, end, ended, report, story, cards, hang, events })
}

fn header(card: &Card, command: Vec<String>) -> Header {
    Header {
        schema: crate::calibrate::recording::SCHEMA.to_owned(),
        tool: concat!("vramplan ", env!("CARGO_PKG_VERSION")).to_owned(),
        started: now(),
        device: device(card),
        command,
        plan: None,
        notes: BTreeMap::new(),
    }
}

fn device(card: &Card) -> Device {
    Device {
        meter: MeterKind::Virtual,
        name: card.name.clone(),
        uuid: None,
        total: Some(Bytes::new(card.total)),
        reserved: Some(Bytes::new(card.reserved)),
        driver: None,
    }
}

fn judge(ended: &Ended, why: Option<Why>, story: &Story, report: &Report) -> End {
    if let Some(reason) = &report.impossible {
        return End::Impossible(reason.clone());
    }
    let failed = ended.exit_code().is_some();
    let gave_up = story.refused.as_ref().is_some_and(|refused| failed || !refused.went_on);
    match why {
        Some(Why::Impossible(reason)) => End::Impossible(reason),
        _ if gave_up => End::OutOfMemory,
        Some(Why::Reached(stop)) => End::Stopped(stop),
        Some(Why::Idle) => End::Ready,
        Some(Why::Hung(_)) => End::Hung,
        None if ended.interrupted => End::Interrupted,
        None if failed && story.no_room.is_some() => End::OutOfMemory,
        None if failed => End::Failed,
        None => End::Ended,
    }
}

/// What the session noted, whose time begins at `zero` of the rehearsal's.
struct Noted {
    events: Vec<Event>,
    zero: u64,
}

impl Noted {
    /// Phases by patterns and by the clock win over those that were inferred, and stand beside those that the
    /// program said.
    fn merge_marks(&self, story: &mut Story) {
        let marks = self.events.iter().filter_map(|event| match event {
            Event::Phase { t, name, by, .. } => {
                let name = name.clone();
                Some(super::trace::Mark { t: t.saturating_add(self.zero), name, by: *by })
            }
            _ => None,
        });
        let marks: Vec<_> = marks.collect();
        if marks.is_empty() {
            return;
        }
        if std::mem::take(&mut story.inferred) {
            story.marks.clear();
        }
        story.marks.extend(marks);
        story.marks.sort_by_key(|mark| mark.t);
    }

    /// A card's own recording.
    fn of_card(&self, at: usize, card: &Card, story: &Story) -> Vec<Event> {
        let mut taken = 0;
        let mut header = self.header();
        if let Event::Header(header) = &mut header {
            header.device = device(card);
        }
        let sample = |t, held| Event::Sample(Sample { t, used: Bytes::new(held), holders: None });
        // The program may speak before its start is noted; what it holds by then is not what others held.
        let first = story.levels.iter().map(|level| level.t.saturating_sub(1)).min();
        let started = first.map_or(self.started(), |first| first.min(self.started()));
        let mut events = vec![header, sample(self.zero.min(started), 0)];
        events.push(Event::Started { t: started, taken: 1 });
        let stopped = self.stopped().max(story.latest);
        let mut marks = story.marks.iter().peekable();
        let mut holds = story.holds.iter().peekable();
        let levels = story.levels.iter().filter(|level| level.card == at);
        let mut until = |t: u64, events: &mut Vec<Event>, taken: u64| {
            while let Some(mark) = marks.next_if(|mark| mark.t <= t) {
                let (name, by) = (mark.name.clone(), mark.by);
                events.push(Event::Phase { t: mark.t.max(started), name, by, taken });
            }
            while let Some((t, component, bytes)) = holds.next_if(|hold| hold.0 <= t) {
                let (component, bytes) = (*component, *bytes);
                events.push(Event::Holds { t: (*t).max(started), component, bytes });
            }
        };
        for level in levels {
            taken += 1;
            until(level.t, &mut events, taken);
            events.push(sample(level.t, level.held));
        }
        until(stopped, &mut events, taken);
        for event in &self.events {
            match event {
                Event::Exit(exit) => {
                    events.push(Event::Exit(Exit { t: stopped, taken, ..exit.clone() }));
                    // What a process held is free when it has ended.
                    events.push(sample(stopped, 0));
                }
                Event::End(end) => {
                    let end = crate::calibrate::recording::End { t: stopped, taken, ..end.clone() };
                    events.push(Event::End(end));
                }
                _ => {}
            }
        }
        events
    }

    fn header(&self) -> Event {
        // A recorder begins with it.
        self.events[0].clone()
    }

    fn started(&self) -> u64 {
        let started = |event: &Event| match event {
            Event::Started { t, .. } => Some(t.saturating_add(self.zero)),
            _ => None,
        };
        self.events.iter().find_map(started).unwrap_or(self.zero)
    }

    fn stopped(&self) -> u64 {
        let stopped = |event: &Event| match event {
            Event::Exit(exit) => Some(exit.t.saturating_add(self.zero)),
            _ => None,
        };
        self.events.iter().find_map(stopped).unwrap_or(self.zero)
    }
}
