//! The engine's own accounting: what it allocated, against the plan's table.
//!
//! Everything is asked for by component and id before it is allocated. A size that differs from
//! the table's is an error, and so is a row of the table that nobody asked for: accounting and
//! allocation cannot drift apart.

use std::ops::Range;
use vramplan_planner::estimate::BufferId;

use super::EngineError;
use super::backend::Part;
use super::table::Table;
use crate::h2o::to_usize;
use vramplan_planner::estimate::{Buffer, Component, Life, Moment, Phase};
use vramplan_planner::units::to_u64;
use vramplan_planner::units::{Bytes, Overflow};

/// One thing that the engine holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The component that it counts under.
    pub component: Component,
    /// What it is.
    pub id: BufferId,
    /// How long it lives.
    pub life: Life,
    /// How large it is.
    pub size: Bytes,
}

/// A part of the arena, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: usize,
    len: usize,
}

impl Span {
    /// The first `len` bytes of it.
    ///
    /// # Panics
    /// When it is shorter.
    #[must_use]
    pub fn first(self, len: usize) -> Self {
        assert!(len <= self.len, "{len} B of a span of {} B", self.len);
        Self { len, ..self }
    }

    /// The `len` bytes from `start` on.
    ///
    /// # Panics
    /// When it is shorter.
    #[must_use]
    pub fn part(self, start: usize, len: usize) -> Self {
        assert!(start + len <= self.len, "{start} + {len} B of a span of {} B", self.len);
        Self { start: self.start + start, len }
    }

    /// It and the span right behind it.
    pub(super) fn joined(self, next: Self) -> Self {
        debug_assert_eq!(self.start + self.len, next.start, "not right behind it");
        Self { len: self.len + next.len, ..self }
    }

    /// Where it lies in the arena.
    pub const fn range(self) -> Range<usize> {
        self.start..self.start + self.len
    }

    /// Its bytes.
    pub const fn len(self) -> usize {
        self.len
    }

    /// Whether it has none.
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }
}

/// What the engine holds, entry by entry.
#[derive(Debug)]
pub struct Memory<'a> {
    table: &'a Table,
    entries: Vec<Entry>,
    scratch: Bytes,
}

/// The finished account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// Everything that was asked for.
    pub entries: Vec<Entry>,
    /// The arena in which everything transient lies.
    pub scratch: Bytes,
}

impl Ledger {
    /// What each component holds in a phase: what lives from it or from an earlier one on, and what
    /// lives in its largest moment. The same sums as the plan's rows.
    ///
    /// # Errors
    /// On sizes that no device has.
    pub fn held(&self, phase: Phase) -> Result<Vec<(Component, Bytes)>, Overflow> {
        let moments = Moment::ALL.into_iter();
        let mut largest = (Bytes::ZERO, Moment::Whole);
        for moment in moments {
            let size = self.sum(|entry| is_scratch(entry.life, phase, moment))?;
            // Of equal moments the last, as in a plan.
            if size >= largest.0 {
                largest = (size, moment);
            }
        }
        let alive = |entry: &Entry| match entry.life {
            Life::From(from) => from <= phase,
            life @ Life::During(..) => is_scratch(life, phase, largest.1),
        };
        let of = |component| {
            let size = self.sum(|entry| entry.component == component && alive(entry))?;
            Ok((component, size))
        };
        // Of the others it knows nothing: they are not its own.
        let mine = |component: &Component| self.entries.iter().any(|e| e.component == *component);
        Component::ALL.into_iter().filter(mine).map(of).collect()
    }

    /// With the parts of a workspace, apart from what no row of a plan stands for.
    #[must_use]
    pub(super) fn with(mut self, parts: &[Part]) -> Self {
        let is_listed =
            |part: &&Part| part.component != Component::RuntimeOverhead && !part.size.is_zero();
        let listed = parts.iter().filter(is_listed);
        self.entries.extend(listed.map(|&Part { component, id, size }| Entry {
            component,
            id,
            life: Life::From(Phase::SystemPrefill),
            size,
        }));
        self
    }

    fn sum(&self, is_in: impl Fn(&Entry) -> bool) -> Result<Bytes, Overflow> {
        Bytes::sum(self.entries.iter().filter(|entry| is_in(entry)).map(|entry| entry.size))
    }
}

/// Whether something is there in a moment of a phase only.
fn is_scratch(life: Life, phase: Phase, moment: Moment) -> bool {
    match life {
        Life::During(of, at) => of == phase && (at == moment || at == Moment::Whole),
        Life::From(_) => false,
    }
}

impl<'a> Memory<'a> {
    pub(super) fn new(table: &'a Table) -> Self {
        Self { table, entries: Vec::new(), scratch: Bytes::ZERO }
    }

    /// Asks for something that lives to the end.
    pub(super) fn persistent(
        &mut self,
        component: Component,
        id: BufferId,
        needed: usize,
    ) -> Result<usize, EngineError> {
        let planned = self.table.find(component, id, |life| matches!(life, Life::From(_)));
        let size = agreed(component, id, needed, planned)?;
        let from = if component == Component::Weights { Phase::Load } else { Phase::SystemPrefill };
        self.note(Entry { component, id, life: Life::From(from), size });
        Ok(needed)
    }

    /// Lays out what a step of `phase` needs.
    pub(super) fn layout(&mut self, phase: Phase) -> Layout<'_, 'a> {
        Layout { memory: self, phase, whole: 0, moment: (Moment::Whole, 0) }
    }

    fn note(&mut self, entry: Entry) {
        if !entry.size.is_zero() {
            self.entries.push(entry);
        }
    }

    /// Bytes of the arena, as far as it was laid out.
    pub(super) fn scratch(&self) -> usize {
        to_usize(self.scratch.get())
    }

    /// The account, once everything was asked for.
    pub(super) fn finish(self) -> Result<Ledger, EngineError> {
        let asked = |buffer: &&Buffer| {
            self.entries.iter().any(|entry| {
                (entry.component, entry.id, entry.life)
                    == (buffer.component, buffer.id, buffer.life)
            })
        };
        if let Some(Buffer { component, id, .. }) =
            self.table.buffers.iter().find(|buffer| !asked(buffer))
        {
            return Err(EngineError::Unclaimed { component: *component, id: *id });
        }
        let planned = self.table.scratch()?;
        if self.scratch != planned {
            let (component, id) = (Component::Activations, BufferId::Other("the arena"));
            return Err(EngineError::Plan { component, id, needed: self.scratch, planned });
        }
        Ok(Ledger { entries: self.entries, scratch: self.scratch })
    }
}

fn agreed(
    component: Component,
    id: BufferId,
    needed: usize,
    planned: Bytes,
) -> Result<Bytes, EngineError> {
    let needed = Bytes::new(to_u64(needed));
    if needed == planned {
        return Ok(needed);
    }
    Err(EngineError::Plan { component, id, needed, planned })
}

/// The arena during one phase: what lives through a step comes first, then what lives in one moment
/// of it, each moment over the same bytes.
pub(super) struct Layout<'m, 'a> {
    memory: &'m mut Memory<'a>,
    phase: Phase,
    whole: usize,
    moment: (Moment, usize),
}

impl Layout<'_, '_> {
    /// Asks for `len` bytes during `moment`. What lives through the step is asked for first.
    pub(super) fn take(
        &mut self,
        moment: Moment,
        component: Component,
        id: BufferId,
        len: usize,
    ) -> Result<Span, EngineError> {
        let life = Life::During(self.phase, moment);
        let planned = self.memory.table.find(component, id, |of| of == life);
        let size = agreed(component, id, len, planned)?;
        self.memory.note(Entry { component, id, life, size });
        let span = Span { start: self.place(moment, len), len };
        let end = Bytes::new(to_u64(span.range().end));
        self.memory.scratch = self.memory.scratch.max(end);
        Ok(span)
    }

    fn place(&mut self, moment: Moment, len: usize) -> usize {
        if moment == Moment::Whole {
            self.whole += len;
            return self.whole - len;
        }
        if self.moment.0 != moment {
            self.moment = (moment, self.whole);
        }
        self.moment.1 += len;
        self.moment.1 - len
    }
}
