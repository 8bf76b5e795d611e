//! What happens in a rehearsal, as it comes: levels of the cards, marks, what engines and PyTorch say.
//!
//! Events of the virtual GPU and lines that the program writes for its supervisor come in one stream, in their
//! order. Lines of output come by another way, and a little late: where an engine says how large a buffer is,
//! its phase begins with the allocation of that size.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::engine::{self, Engine, Fact, Part};
use crate::calibrate::marks::{self, Mark as Said};
use crate::calibrate::recording::By;
use vramplan_planner::estimate::Component;
use vramplan_planner::text::printable;
use vramplan_planner::units::Bytes;
use vramplan_planner::why::Printed;
use vramplan_virtual_gpu::{Change, Heard, Kind, Torch, What};

/// Levels that are kept one by one; of later ones only what is more than before in the phase.
const LEVELS: usize = 1 << 20;
/// Marks, statements and allocations that are kept.
const MANY: usize = 1 << 16;
/// Lines of output that are kept, and how much of each.
const LAST_LINES: usize = 5;
const WIDEST: usize = 300;
/// Allocations below this are no buffers of an engine.
const BUFFER: u64 = 1 << 16;

/// What a card holds from a moment on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// When, in µs since the rehearsal began.
    pub t: u64,
    /// Which card.
    pub card: usize,
    /// How much.
    pub held: u64,
}

/// A phase begins, or none does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// When, in µs since the rehearsal began.
    pub t: u64,
    /// Its name.
    pub name: Option<String>,
    /// What said so.
    pub by: By,
}

/// A buffer as an engine stated it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stated {
    /// Which engine.
    pub engine: Engine,
    /// What it holds.
    pub part: Part,
    /// On which card; none where the engine does not say.
    pub card: Option<usize>,
    /// How large it is, as printed.
    pub size: Printed,
    /// The allocation of that size, where there was one.
    pub exact: Option<Bytes>,
}

/// What PyTorch's allocator held when a phase ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TorchAt {
    /// The phase; none at the last that was heard.
    pub phase: Option<String>,
    /// The process.
    pub pid: i32,
    /// What it said.
    pub stats: Torch,
}

/// A request that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// When, in µs since the rehearsal began.
    pub t: u64,
    /// By which card.
    pub card: usize,
    /// How much was asked for.
    pub asked: Bytes,
    /// What was free.
    pub free: Bytes,
    /// For what.
    pub kind: Kind,
    /// The function that was called.
    pub call: String,
    /// Whether the program took memory afterwards, or launched something: it had a way to go on.
    pub went_on: bool,
    /// Kernels that had been launched when it was noticed.
    launches: Option<u64>,
}

/// Collects from several threads.
#[derive(Clone)]
pub struct Trace {
    state: Arc<Mutex<State>>,
    start: Instant,
    offset: u64,
}

#[derive(Default)]
struct State {
    now: Vec<u64>,
    most: Vec<u64>,
    /// What each process holds of each card.
    by_process: BTreeMap<(i32, usize), u64>,
    levels: Vec<Level>,
    said: Vec<Mark>,
    holds: Vec<(u64, Component, Bytes)>,
    complaints: Vec<String>,
    python: Vec<Mark>,
    buffers: Vec<Buffer>,
    stated: Vec<Stated>,
    engine: Option<Engine>,
    loads: Option<u64>,
    context: Option<u64>,
    launch: Option<u64>,
    result: Option<u64>,
    serves: Option<u64>,
    no_room: Option<String>,
    torch: BTreeMap<(i32, usize), Torch>,
    torch_at: Vec<TorchAt>,
    phase: Option<String>,
    refused: Option<Refused>,
    latest: u64,
    last_lines: VecDeque<String>,
}

#[derive(Clone, Copy)]
struct Buffer {
    t: u64,
    card: usize,
    asked: u64,
}

/// How far a program has come, as far as can be told while it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Its context is made.
    pub context: bool,
    /// Its first token is out.
    pub first_token: bool,
    /// It waits for requests.
    pub serves: bool,
}

impl Trace {
    /// A trace of a machine with so many cards, whose time is `offset` µs now.
    pub fn new(cards: usize, offset: u64) -> Self {
        let state = State { now: vec![0; cards], most: vec![0; cards], ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), start: Instant::now(), offset }
    }

    /// A thread that panicked leaves whole values behind.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Microseconds since the rehearsal began.
    pub fn micros(&self) -> u64 {
        let passed = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.offset.saturating_add(passed)
    }

    /// Something came down the stream of events.
    pub fn hear(&self, heard: Heard<'_>) {
        match heard {
            Heard::Event(event) => self.lock().event(event.t, event.pid, &event.what),
            Heard::Line(line) => {
                let t = self.micros();
                self.lock().line(t, line);
            }
        }
    }

    /// The program printed a line.
    pub fn output(&self, line: &[u8]) {
        let facts = engine::facts(line);
        let t = self.micros();
        let mut state = self.lock();
        state.keep(line);
        for fact in facts {
            state.fact(t, fact);
        }
    }

    /// How far the program has come.
    pub fn reached(&self) -> Reached {
        let state = self.lock();
        let named = |names: &[&str]| {
            let marks = state.said.iter().chain(&state.python);
            marks.filter_map(|mark| mark.name.as_deref()).any(|name| names.contains(&name))
        };
        let after_context =
            ["first token", "first-token", "prefill", "system_prefill", "decode", "steady"];
        let launched =
            state.launch.is_some() && state.engine != Some(Engine::Vllm) && state.python.is_empty();
        let serves = state.serves.is_some();
        Reached {
            context: serves || named(&after_context) || launched,
            first_token: named(&after_context[4..]) || (launched && state.result.is_some()),
            serves,
        }
    }

    /// So many kernels were launched so far: whether the program goes on after a refusal.
    pub fn launches(&self, launches: u64) {
        let mut state = self.lock();
        if let Some(refused) = &mut state.refused {
            let then = *refused.launches.get_or_insert(launches);
            refused.went_on |= launches > then;
        }
    }

    /// What was collected.
    pub fn finish(&self) -> Story {
        self.lock().story()
    }
}

impl State {
    fn event(&mut self, t: u64, pid: i32, what: &What) {
        // The mark before it in the stream was before it in time.
        if let Some(mark) = self.said.last_mut().filter(|mark| mark.t >= t) {
            mark.t = t.saturating_sub(1).max(self.latest.saturating_add(1)).min(mark.t);
        }
        self.latest = self.latest.max(t);
        match what {
            What::Take(change) => self.take(t, pid, change),
            What::Give(change) => self.give(t, pid, change),
            What::Refuse { card, kind, bytes, free, call } => {
                self.refused = Some(Refused {
                    t,
                    card: *card,
                    asked: Bytes::new(*bytes),
                    free: Bytes::new(*free),
                    kind: *kind,
                    call: call.clone(),
                    went_on: false,
                    launches: None,
                });
            }
            What::Launch => {
                self.launch.get_or_insert(t);
            }
            What::Result => {
                self.result.get_or_insert(t);
            }
            What::Mark { phase } => self.python_mark(t, phase.as_deref()),
            What::Torch(stats) => {
                self.torch.insert((pid, stats.card), *stats);
            }
            What::End { .. } => self.end(t, pid),
            What::Start { .. }
            | What::Stub { .. }
            | What::Remark { .. }
            | What::Impossible { .. } => {}
        }
    }

    fn take(&mut self, t: u64, pid: i32, change: &Change) {
        if change.kind.on_host() {
            return;
        }
        if let Some(refused) = &mut self.refused {
            refused.went_on |= change.asked > 0;
        }
        if change.asked >= BUFFER && self.buffers.len() < MANY {
            self.buffers.push(Buffer { t, card: change.card, asked: change.asked });
        }
        *self.by_process.entry((pid, change.card)).or_default() += change.bytes;
        self.level(t, change.card, change.held);
    }

    fn give(&mut self, t: u64, pid: i32, change: &Change) {
        if change.kind.on_host() {
            return;
        }
        let own = self.by_process.entry((pid, change.card)).or_default();
        *own = own.saturating_sub(change.bytes);
        self.level(t, change.card, change.held);
    }

    /// A process ends: what it held is free.
    fn end(&mut self, t: u64, pid: i32) {
        for card in 0..self.now.len() {
            if let Some(own) = self.by_process.remove(&(pid, card)) {
                let left = self.now[card].saturating_sub(own);
                self.level(t, card, left);
            }
        }
    }

    fn level(&mut self, t: u64, card: usize, held: u64) {
        let (Some(now), Some(most)) = (self.now.get_mut(card), self.most.get_mut(card)) else {
            return;
        };
        *now = held;
        if self.levels.len() < LEVELS || held > *most {
            self.levels.push(Level { t, card, held });
        }
        *most = held.max(*most);
    }

    fn enter(&mut self, name: Option<&str>) {
        let ended = self.phase.take();
        if let Some(ended) = ended
            && self.torch_at.len() < MANY
        {
            let rows = self.torch.iter().map(|(&(pid, _), &stats)| TorchAt {
                phase: Some(ended.clone()),
                pid,
                stats,
            });
            self.torch_at.extend(rows);
        }
        self.phase = name.map(str::to_owned);
        self.most.copy_from_slice(&self.now);
    }

    fn python_mark(&mut self, t: u64, name: Option<&str>) {
        self.enter(name);
        if self.python.len() < MANY {
            self.python.push(Mark { t, name: name.map(str::to_owned), by: By::Calls });
        }
    }

    /// A line that the program wrote for its supervisor.
    fn line(&mut self, t: u64, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        match marks::parse_line(text.trim()) {
            Ok(Said::Phase(name, by)) => {
                self.enter(name.as_deref());
                if self.said.len() < MANY {
                    self.said.push(Mark { t: t.max(self.latest.saturating_add(1)), name, by });
                }
            }
            Ok(Said::Holds(component, bytes)) if self.holds.len() < MANY => {
                self.holds.push((self.latest, component, bytes));
            }
            Err(wrong) if self.complaints.len() < 20 => self.complaints.push(wrong),
            // As many as anyone reads were kept.
            Ok(Said::Holds(..)) | Err(_) => {}
        }
    }

    /// Keeps a line of output, of which the last ones say why a program failed.
    fn keep(&mut self, line: &[u8]) {
        if self.last_lines.len() == LAST_LINES {
            self.last_lines.pop_front();
        }
        let text: String = String::from_utf8_lossy(line).chars().take(WIDEST).collect();
        self.last_lines.push_back(printable(text.trim_end()));
    }

    fn fact(&mut self, t: u64, fact: Fact) {
        match fact {
            Fact::Is(engine) => self.engine = Some(engine),
            Fact::Loads(engine) => {
                self.engine = Some(engine);
                self.loads.get_or_insert(t);
                self.phase.get_or_insert_with(|| "load".to_owned());
            }
            Fact::MakesContext(engine) => {
                self.engine = Some(engine);
                self.context.get_or_insert(t);
                self.phase = Some("context".to_owned());
            }
            Fact::Holds { engine, part, device, size } => {
                self.engine = Some(engine);
                if self.stated.len() < MANY && !size.bytes.is_zero() {
                    self.stated.push(Stated { engine, part, card: device, size, exact: None });
                }
            }
            Fact::Serves => {
                self.serves.get_or_insert(t);
            }
            Fact::NoRoom(text) => {
                self.no_room.get_or_insert(text);
            }
        }
    }

    fn story(&self) -> Story {
        let mut stated = self.stated.clone();
        let found = self.find_buffers(&mut stated);
        let mut levels = self.levels.clone();
        levels.sort_by_key(|level| level.t);
        let mut torch_at = self.torch_at.clone();
        let last = self.torch.iter().map(|(&(pid, _), &stats)| TorchAt { phase: None, pid, stats });
        torch_at.extend(last);
        Story {
            levels,
            marks: self.marks(found),
            inferred: self.said.is_empty() && self.python.is_empty(),
            holds: self.holds.clone(),
            complaints: self.complaints.clone(),
            stated,
            engine: self.engine,
            torch: torch_at,
            refused: self.refused.clone(),
            no_room: self.no_room.clone(),
            latest: self.latest,
            last_lines: self.last_lines.iter().cloned().collect(),
        }
    }

    /// Finds the allocation of every buffer that the engine stated; when the first of a cache was made.
    fn find_buffers(&self, stated: &mut [Stated]) -> Option<u64> {
        let mut used = vec![false; self.buffers.len()];
        let mut first_cache = None;
        for one in stated.iter_mut().filter(|one| one.engine == Engine::LlamaCpp) {
            let fits = |buffer: &Buffer| {
                one.card == Some(buffer.card) && one.size.is(Bytes::new(buffer.asked))
            };
            let found =
                self.buffers.iter().enumerate().find(|(at, buffer)| !used[*at] && fits(buffer));
            if let Some((at, buffer)) = found {
                used[at] = true;
                one.exact = Some(Bytes::new(buffer.asked));
                if one.part != Part::Weights {
                    // The level before the buffer is that of the phase before.
                    let before = buffer.t.saturating_sub(1);
                    first_cache = Some(first_cache.map_or(before, |t: u64| t.min(before)));
                }
            }
        }
        first_cache
    }

    /// The phases: as the program says them, else as Python does, else as its engine prints them, else by
    /// its calls.
    fn marks(&self, first_cache: Option<u64>) -> Vec<Mark> {
        if !self.said.is_empty() {
            return self.said.clone();
        }
        if !self.python.is_empty() {
            return self.python.clone();
        }
        let mark = |t: Option<u64>, name: &str, by: By| {
            t.map(|t| Mark { t, name: Some(name.to_owned()), by })
        };
        let marks = match self.engine {
            Some(Engine::Vllm) => vec![
                mark(self.loads, "load", By::Output),
                mark(self.context, "context", By::Output),
                mark(self.serves, "serving", By::Output),
            ],
            Some(Engine::LlamaCpp) => {
                let context = first_cache.or(self.context);
                let after =
                    |t: Option<u64>| t.filter(|t| context.is_none_or(|context| *t >= context));
                let first = self.levels.first().map(|level| level.t);
                vec![
                    mark(first.or(self.loads), "load", By::Calls),
                    mark(
                        context,
                        "context",
                        if first_cache.is_some() { By::Calls } else { By::Output },
                    ),
                    mark(after(self.launch), "first token", By::Calls),
                    mark(after(self.result), "steady", By::Calls),
                ]
            }
            None => {
                let first = self.levels.first().map(|level| level.t);
                let (launch, result) = (self.launch, self.result);
                let begun = mark(first, "load", By::Calls).filter(|_| launch.is_some());
                vec![
                    begun,
                    mark(launch, "first result", By::Calls),
                    mark(result, "steady", By::Calls),
                ]
            }
        };
        let mut marks: Vec<Mark> = marks.into_iter().flatten().collect();
        marks.sort_by_key(|mark| mark.t);
        marks
    }
}

/// What was collected, put together.
#[derive(Clone, Debug, Default)]
pub struct Story {
    /// What each card held, in the order of time.
    pub levels: Vec<Level>,
    /// Phases, in the order of time.
    pub marks: Vec<Mark>,
    /// Whether nobody named them: they follow from an engine's output, and from calls.
    pub inferred: bool,
    /// What the program said that its parts hold.
    pub holds: Vec<(u64, Component, Bytes)>,
    /// What was wrong with what it said.
    pub complaints: Vec<String>,
    /// What its engine printed of its buffers.
    pub stated: Vec<Stated>,
    /// The engine.
    pub engine: Option<Engine>,
    /// What PyTorch's allocator held at the end of each phase, and at last.
    pub torch: Vec<TorchAt>,
    /// The last request that was refused.
    pub refused: Option<Refused>,
    /// How the engine said that it has too little.
    pub no_room: Option<String>,
    /// The last event.
    pub latest: u64,
    /// The last lines that the program printed.
    pub last_lines: Vec<String>,
}
