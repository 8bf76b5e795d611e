//! What a rehearsal has shown.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::contract::Machine;
use crate::event::{Change, Event, What};
use crate::shared::{ByKind, Kind, Shared, resident};

/// Moments that a card's timeline keeps at most; a longer one is thinned, never losing a maximum.
const MOMENTS: usize = 4096;
const REFUSALS: usize = 256;
const REMARKS: usize = 64;
const STUBS: usize = 4096;
const PROCESSES: usize = 1024;

/// Bytes by kind of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KindBytes {
    /// [`Kind::Context`].
    pub context: u64,
    /// [`Kind::Malloc`].
    pub malloc: u64,
    /// [`Kind::Pool`].
    pub pool: u64,
    /// [`Kind::Virtual`].
    pub r#virtual: u64,
    /// [`Kind::Managed`].
    pub managed: u64,
    /// [`Kind::Array`].
    pub array: u64,
    /// [`Kind::Module`].
    pub module: u64,
    /// [`Kind::Library`].
    pub library: u64,
    /// [`Kind::Pinned`].
    pub pinned: u64,
    /// [`Kind::Registered`].
    pub registered: u64,
}

impl KindBytes {
    fn of(by: &ByKind) -> Self {
        let of = |kind: Kind| by[kind as usize];
        Self {
            context: of(Kind::Context),
            malloc: of(Kind::Malloc),
            pool: of(Kind::Pool),
            r#virtual: of(Kind::Virtual),
            managed: of(Kind::Managed),
            array: of(Kind::Array),
            module: of(Kind::Module),
            library: of(Kind::Library),
            pinned: of(Kind::Pinned),
            registered: of(Kind::Registered),
        }
    }

    /// What the card holds: everything but the host's kinds.
    pub fn total(&self) -> u64 {
        self.context
            + self.malloc
            + self.pool
            + self.r#virtual
            + self.managed
            + self.array
            + self.module
            + self.library
    }
}

/// What a card held at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Microseconds since the rehearsal began.
    pub t: u64,
    /// What it held.
    pub bytes: u64,
}

/// One card.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CardReport {
    /// As described.
    pub name: String,
    /// What the processes could share, their contexts included.
    pub capacity: u64,
    /// What the card held at its fullest moment. Of managed memory more may be listed than was
    /// resident: `peak_resident` says what was.
    pub peak: KindBytes,
    /// What of it was on the card.
    pub peak_resident: u64,
    /// The largest that each kind was by itself, at any time.
    pub largest: KindBytes,
    /// Requests that were refused.
    pub refusals: u64,
    /// What the card held, thinned to a few thousand moments.
    pub timeline: Vec<Moment>,
}

/// A request that the card refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The process that asked.
    pub pid: i32,
    /// Microseconds since the rehearsal began.
    pub t: u64,
    /// The card that refused.
    pub card: usize,
    /// What was asked for.
    pub kind: Kind,
    /// How much, as the program asked.
    pub bytes: u64,
    /// What was free.
    pub free: u64,
    /// The function that was called.
    pub call: String,
}

/// One process that used the cards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessReport {
    /// Its number.
    pub pid: i32,
    /// Its first argument.
    pub program: String,
    /// Whether it ended by itself; false where it was killed, crashed or replaced itself.
    pub ended: bool,
    /// Kernels that it launched, where it ended by itself.
    pub launches: u64,
}

/// What a rehearsal has shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// In the order of the machine.
    pub cards: Vec<CardReport>,
    /// All that used a card.
    pub processes: Vec<ProcessReport>,
    /// The first few hundred.
    pub refusals: Vec<Refusal>,
    /// Functions that only succeeded, as `library: function`.
    pub stubs: Vec<String>,
    /// What the reader should know.
    pub remarks: Vec<String>,
    /// Why the program could not be rehearsed after all.
    pub impossible: Option<String>,
    /// Calls of any function.
    pub calls: u64,
    /// Kernels and graphs launched.
    pub launches: u64,
    /// Times that memory was taken or given back.
    pub allocations: u64,
    /// Bytes copied.
    pub host_to_device: u64,
    /// Bytes copied.
    pub device_to_host: u64,
    /// Bytes copied.
    pub device_to_device: u64,
    /// Events that were lost. Peaks and counts are exact all the same, the timeline is not.
    pub dropped: u64,
}

impl Report {
    /// Whether any request was refused.
    pub fn ran_out(&self) -> bool {
        self.cards.iter().any(|card| card.refusals > 0)
    }
}

/// Something that came down the stream of events.
#[derive(Debug, Clone, Copy)]
pub enum Heard<'a> {
    /// An event of the fakes, or of what is put into Python.
    Event(&'a Event),
    /// Another line, which the program itself wrote: a phase, by the protocol of who supervises it.
    Line(&'a [u8]),
}

/// Who sees everything as it comes.
pub(crate) type Observer = Box<dyn FnMut(Heard<'_>) + Send>;

/// Gathers events within bounded memory.
pub(crate) struct Gatherer {
    timelines: Vec<Timeline>,
    processes: BTreeMap<i32, ProcessReport>,
    refusals: Vec<Refusal>,
    stubs: BTreeSet<String>,
    remarks: Vec<String>,
    impossible: Option<String>,
    garbled: u64,
    observers: Vec<Observer>,
}

impl Gatherer {
    pub(crate) fn new(machine: &Machine) -> Self {
        Self {
            timelines: machine.cards.iter().map(|_| Timeline::default()).collect(),
            processes: BTreeMap::new(),
            refusals: Vec::new(),
            stubs: BTreeSet::new(),
            remarks: Vec::new(),
            impossible: None,
            garbled: 0,
            observers: Vec::new(),
        }
    }

    /// A line that is no event: the program's own word, or what is left of an event that was torn.
    pub(crate) fn line(&mut self, line: &[u8]) {
        if line.starts_with(b"{\"pid\"") {
            self.garbled += 1;
        }
        for observer in &mut self.observers {
            observer(Heard::Line(line));
        }
    }

    pub(crate) fn impossible(&self) -> Option<&str> {
        self.impossible.as_deref()
    }

    pub(crate) fn observe(&mut self, observer: Observer) {
        self.observers.push(observer);
    }

    pub(crate) fn take(&mut self, event: Event) {
        for observer in &mut self.observers {
            observer(Heard::Event(&event));
        }
        let Event { pid, t, what } = event;
        match what {
            What::Start { program } => self.start(pid, program),
            What::Take(Change { card, kind, held, .. })
            | What::Give(Change { card, kind, held, .. }) => {
                if !kind.on_host()
                    && let Some(timeline) = self.timelines.get_mut(card)
                {
                    timeline.push(Moment { t, bytes: held });
                }
            }
            What::Refuse { card, kind, bytes, free, call } => {
                if self.refusals.len() < REFUSALS {
                    self.refusals.push(Refusal { pid, t, card, kind, bytes, free, call });
                }
            }
            What::Stub { library, function } => {
                if self.stubs.len() < STUBS {
                    self.stubs.insert(format!("{library}: {function}"));
                }
            }
            What::Remark { text } => {
                if self.remarks.len() < REMARKS && !self.remarks.contains(&text) {
                    self.remarks.push(text);
                }
            }
            What::Impossible { reason } => {
                self.impossible.get_or_insert(reason);
            }
            What::Launch | What::Result | What::Mark { .. } | What::Torch(_) => {}
            What::End { launches } => {
                if let Some(process) = self.processes.get_mut(&pid) {
                    process.ended = true;
                    process.launches = launches;
                }
            }
        }
    }

    fn start(&mut self, pid: i32, program: String) {
        if self.processes.len() < PROCESSES {
            let process = ProcessReport { pid, program, ended: false, launches: 0 };
            self.processes.insert(pid, process);
        }
    }

    pub(crate) fn report(&self, machine: &Machine, shared: &Shared) -> Report {
        let counters = shared.counters();
        let of = |counter: &std::sync::atomic::AtomicU64| {
            counter.load(std::sync::atomic::Ordering::Relaxed)
        };
        Report {
            cards: (0..machine.cards.len()).map(|at| self.card(machine, shared, at)).collect(),
            processes: self.processes.values().cloned().collect(),
            refusals: self.refusals.clone(),
            stubs: self.stubs.iter().cloned().collect(),
            remarks: self.remarks.clone(),
            impossible: self.impossible.clone(),
            calls: of(&counters.calls),
            launches: of(&counters.launches),
            allocations: of(&counters.allocations),
            host_to_device: of(&counters.host_to_device),
            device_to_host: of(&counters.device_to_host),
            device_to_device: of(&counters.device_to_device),
            dropped: of(&counters.dropped) + self.garbled,
        }
    }

    fn card(&self, machine: &Machine, shared: &Shared, at: usize) -> CardReport {
        let card = &machine.cards[at];
        let books = shared.with(|books| *books.card(at));
        CardReport {
            name: card.name.clone(),
            capacity: card.capacity(),
            peak: KindBytes::of(&books.at_peak),
            peak_resident: resident(&books.at_peak, card.capacity()),
            largest: KindBytes::of(&books.peak),
            refusals: books.refusals,
            timeline: self.timelines[at].moments.clone(),
        }
    }
}

#[derive(Default)]
struct Timeline {
    moments: Vec<Moment>,
}

impl Timeline {
    fn push(&mut self, moment: Moment) {
        if self.moments.len() == MOMENTS {
            // Of each pair the larger stays: half as many moments, the same maximum.
            self.moments =
                self.moments
                    .chunks(2)
                    .map(|pair| {
                        if pair[0].bytes >= pair[pair.len() - 1].bytes { pair[0] } else { pair[1] }
                    })
                    .collect();
        }
        self.moments.push(moment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_timeline_is_thinned_and_keeps_its_maximum() {
        let mut timeline = Timeline::default();
        for t in 0..50_000 {
            timeline.push(Moment { t, bytes: if t == 20_001 { 9 } else { t % 5 } });
        }
        assert!(timeline.moments.len() <= MOMENTS);
        assert!(timeline.moments.contains(&Moment { t: 20_001, bytes: 9 }));
        assert!(timeline.moments.is_sorted_by_key(|m| m.t));
    }
}
