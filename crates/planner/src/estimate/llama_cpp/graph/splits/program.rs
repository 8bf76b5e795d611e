//! What runs in which order, with the copies before each part (pass 5 of `ggml_backend_sched_split_graph`).

use std::collections::HashMap;

use super::super::tensors::{Boundary, Dims, Graph, Joined, Source, Step, View, WeightName};
use super::Backends;
use super::assign::Assigned;

/// The table that belongs to no layer.
const ROPE_FREQUENCIES: &str = "rope_freqs";

/// What is copied to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Origin {
    /// A tensor, or a view of one.
    Tensor { id: usize, view: View },
    /// A weight.
    Weight { layer: Option<u64>, name: WeightName },
    /// The matrix that rotates a layer's keys, or its values.
    Rotation { layer: u64, of_keys: bool },
    /// A view of a layer's cache, read by one operation.
    Cache { reader: usize, view: usize },
}

/// A weight or a view of a cache that an operation reads.
struct Held {
    origin: Origin,
    home: usize,
    size: u64,
    /// Behind everything else that it reads.
    is_beside: bool,
}

/// A tensor of the graph, or a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operand {
    pub(super) slot: usize,
    /// Through a view: such memory is never taken over.
    pub(super) is_view: bool,
}

/// A step.
#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    /// Places a copy on its backend.
    Copy { slot: usize },
    /// Lets go of an operand.
    Release { slot: usize },
    /// Runs an operation: a range of [`Program::operands`] is read.
    Run { id: usize, from: usize, to: usize },
    /// Looks at the state of the buffers: before or behind the layers that a gap is compared with, so many copies having
    /// been listed.
    Look { gap: usize, is_behind: bool, copies: usize },
}

/// A copy of something on another backend.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copied {
    pub(super) backend: usize,
    pub(super) size: u64,
    /// What it is copied with, where that is in one piece: then a result can take it over.
    pub(super) dims: Option<Dims>,
    /// The tensor that it is of.
    pub(super) tensor: Option<usize>,
}

/// Steps, and what they read. Slots are the graph's tensors and, behind them, copies.
pub(super) struct Program {
    pub(super) actions: Vec<Action>,
    pub(super) operands: Vec<Operand>,
    pub(super) copies: Vec<Copied>,
    /// The backend of every tensor.
    pub(super) backends: Vec<usize>,
    /// The rows of the token embedding, which are looked up.
    pub(super) lookups: Vec<[usize; 2]>,
    /// Operations that read copies of the cache.
    pub(super) apart: Vec<bool>,
}

struct Writer<'a> {
    graph: &'a Graph,
    backends: &'a Backends<'a>,
    assigned: &'a Assigned,
    known: HashMap<(Origin, usize), usize>,
    program: Program,
    /// The part that is being written.
    part: Part,
    part_of: Vec<u32>,
}

#[derive(Default)]
struct Part {
    index: u32,
    backend: Option<usize>,
    inputs: Vec<Action>,
    actions: Vec<Action>,
}

pub(super) fn program(
    graph: &Graph,
    (backends, assigned): (&Backends<'_>, &Assigned),
    boundaries: &[[Boundary; 2]],
) -> Program {
    let program = Program {
        actions: Vec::with_capacity(graph.steps.len() * 2),
        operands: Vec::with_capacity(graph.steps.len() * 2),
        copies: Vec::new(),
        backends: assigned.backends.clone(),
        lookups: assigned.lookups.clone(),
        apart: vec![false; graph.tensors.len()],
    };
    let known = HashMap::new();
    let part_of = vec![u32::MAX; graph.tensors.len()];
    let mut writer =
        Writer { graph, backends, assigned, known, program, part: Part::default(), part_of };
    writer.look_up();
    let mut looks = looks(boundaries).peekable();
    for (index, step) in graph.steps.iter().enumerate() {
        while let Some((_, gap, is_behind)) = looks.next_if(|(at, ..)| *at <= index) {
            writer.look(gap, is_behind);
        }
        match *step {
            Step::Run(id) => writer.run(id),
            Step::Unpin { from, to, first } => writer.unpin(from..to, first),
        }
    }
    writer.end_part();
    writer.program
}

/// Where the buffers are looked at: the step, the gap, and whether it is behind the layers that are compared.
fn looks(boundaries: &[[Boundary; 2]]) -> impl Iterator<Item = (usize, usize, bool)> {
    let both = |(gap, [before, behind]): (usize, &[Boundary; 2])| {
        [(before.steps, gap, false), (behind.steps, gap, true)]
    };
    boundaries.iter().enumerate().flat_map(both)
}

impl Writer<'_> {
    fn look(&mut self, gap: usize, is_behind: bool) {
        let copies = self.program.copies.len();
        self.part.actions.push(Action::Look { gap, is_behind, copies });
    }

    /// The rows of the token embedding come first.
    fn look_up(&mut self) {
        let assigned = self.assigned;
        for [id, ids] in assigned.lookups.iter().copied() {
            let dims = self.graph.tensors[ids].dims;
            let view = View { dims, is_itself: true, is_strided: false, part: 0, outside: 0 };
            self.enter(assigned.backends[id], false);
            self.read(&[Source { id: ids, view }], id, &[]);
        }
    }

    fn run(&mut self, id: usize) {
        let backend = self.assigned.backends[id];
        let held = self.held(id);
        let is_weight =
            |held: &Held| matches!(held.origin, Origin::Weight { .. } | Origin::Rotation { .. });
        let elsewhere = held.iter().any(|held| is_weight(held) && held.home != backend);
        self.enter(backend, elsewhere);
        let graph = self.graph;
        self.read(graph.sources_of(&graph.tensors[id]), id, &held);
    }

    /// Begins a part where the backend changes, or where a weight has to be copied and the part has inputs already:
    /// the memory of those before is free again then.
    fn enter(&mut self, backend: usize, reads_weight_from_elsewhere: bool) {
        let changes = self.part.backend != Some(backend);
        if changes || (reads_weight_from_elsewhere && !self.part.inputs.is_empty()) {
            self.end_part();
            self.part.backend = Some(backend);
        }
    }

    fn end_part(&mut self) {
        if self.backends.joins {
            self.move_shared();
        }
        let part = std::mem::take(&mut self.part);
        self.program.actions.extend(part.inputs);
        self.program.actions.extend(part.actions);
        self.part.index = part.index + 1;
    }

    /// Moves a shared expert's products next to those of the chosen ones where a GPU has all of their weights and runs
    /// all of it in this part (`ggml_cuda_match_shared_expert`); what they read is held until then.
    fn move_shared(&mut self) {
        let is_gpu = self.part.backend.is_some_and(|backend| backend != self.backends.host());
        let mut index = 0;
        while is_gpu && index < self.part.actions.len() {
            let joined = self.joins(index);
            let Some(joined) = joined.filter(|joined| self.is_together(*joined)) else {
                index += 1;
                continue;
            };
            let mut end = index + 1;
            while end < self.part.actions.len() && self.is_of(end, joined) {
                end += 1;
            }
            let mut moved: Vec<Action> = self.part.actions.drain(index..end).collect();
            moved.extend(joined.read.map(|id| Action::Release { slot: self.slot_here(id) }));
            let is_last =
                |action: &Action| matches!(action, Action::Run { id, .. } if *id == joined.last);
            let last = self.part.actions.iter().position(is_last).unwrap_or(index);
            let mut at = last + 1;
            while matches!(self.part.actions.get(at), Some(Action::Release { .. })) {
                at += 1;
            }
            index = end + joined.read.len();
            self.part.actions.splice(at..at, moved);
        }
    }

    /// What an action of this part is moved next to.
    fn joins(&self, index: usize) -> Option<Joined> {
        match self.part.actions.get(index)? {
            Action::Run { id, .. } => self.graph.notes[*id].joins,
            _ => None,
        }
    }

    /// Whether an action belongs to what is moved: another of its operations, or what they let go of.
    fn is_of(&self, index: usize, joined: Joined) -> bool {
        match self.part.actions[index] {
            Action::Release { .. } => true,
            _ => self.joins(index).is_some_and(|other| other.last == joined.last),
        }
    }

    /// Whether the chosen experts' products are in this part, their weights on its GPU.
    fn is_together(&self, joined: Joined) -> bool {
        let weight = self.backends.weight(joined.first);
        let is_here =
            weight.is_some_and(|weight| Some(self.backends.of(weight.home)) == self.part.backend);
        let in_part = |id: usize| self.part_of[id] == self.part.index;
        is_here && in_part(joined.first) && in_part(joined.last)
    }

    /// The weights and caches that an operation reads: what, where, and how large a copy is.
    fn held(&self, id: usize) -> Vec<Held> {
        let note = &self.graph.notes[id];
        let mut held = Vec::new();
        let weights = [
            (note.weight, self.backends.weight(id), false),
            (note.beside, self.backends.beside(id), true),
        ];
        for (name, weight, is_beside) in weights {
            if let (Some(name), Some(weight)) = (name, weight) {
                // One table of frequencies is all layers' on a device.
                let layer = note.layer.filter(|_| name.stem != ROPE_FREQUENCIES);
                let origin = Origin::Weight { layer, name };
                let home = self.backends.of(weight.home);
                held.push(Held { origin, home, size: weight.copy, is_beside });
            }
        }
        let Some(layer) = note.layer else { return held };
        let home = self.backends.of(self.backends.placed.cache_of(layer));
        if let Some((of_keys, size)) = note.rotation {
            let origin = Origin::Rotation { layer, of_keys };
            held.push(Held { origin, home, size, is_beside: false });
        }
        for (view, size) in note.cached.into_iter().enumerate().filter(|(_, size)| *size > 0) {
            let origin = Origin::Cache { reader: note.cached_as.unwrap_or(id), view };
            held.push(Held { origin, home, size, is_beside: false });
        }
        held
    }

    fn read(&mut self, sources: &[Source], id: usize, held: &[Held]) {
        let from = self.program.operands.len();
        let backend = self.assigned.backends[id];
        let first = if self.graph.notes[id].source_first { 1.min(sources.len()) } else { 0 };
        let is_beside = |held: &&Held| held.is_beside;
        self.read_sources(&sources[..first], backend);
        self.read_held(held.iter().filter(|held| !is_beside(held)), backend);
        self.read_sources(&sources[first..], backend);
        self.read_held(held.iter().filter(is_beside), backend);
        let to = self.program.operands.len();
        self.part_of[id] = self.part.index;
        self.part.actions.push(Action::Run { id, from, to });
    }

    fn read_sources(&mut self, sources: &[Source], backend: usize) {
        for source in sources {
            let operand = self.operand(source, backend);
            self.program.operands.push(operand);
        }
    }

    fn read_held<'h>(&mut self, held: impl Iterator<Item = &'h Held>, backend: usize) {
        for Held { origin, size, .. } in held.filter(|held| held.home != backend) {
            let copied = Copied { backend, size: *size, dims: None, tensor: None };
            if let Origin::Cache { reader, .. } = *origin {
                self.program.apart[reader] = true;
            }
            let slot = self.copy(*origin, copied, None);
            self.program.operands.push(Operand { slot, is_view: true });
        }
    }

    fn operand(&mut self, source: &Source, backend: usize) -> Operand {
        let Source { id, view } = *source;
        let whole = self.graph.notes[id].part_of;
        if self.assigned.backends[id] == backend {
            return Operand { slot: whole.unwrap_or(id), is_view: !view.is_itself };
        }
        let tensor = &self.graph.tensors[id];
        let copied = Copied {
            backend,
            size: size_of_view(tensor.dims, view, tensor.size - tensor.workspace),
            dims: (!view.is_strided).then_some(view.dims),
            tensor: Some(id),
        };
        let slot = self.copy(Origin::Tensor { id, view }, copied, Some(whole.unwrap_or(id)));
        Operand { slot, is_view: false }
    }

    /// The slot of a copy, made before this part where there is none on this backend yet.
    fn copy(&mut self, origin: Origin, copied: Copied, of: Option<usize>) -> usize {
        let key = (origin, copied.backend);
        if let Some(slot) = self.known.get(&key) {
            return *slot;
        }
        let slot = self.graph.tensors.len() + self.program.copies.len();
        self.known.insert(key, slot);
        self.program.copies.push(copied);
        self.part.inputs.extend(of.map(|slot| Action::Release { slot }));
        self.part.inputs.push(Action::Copy { slot });
        slot
    }

    /// A fusion holds its operands until here, where a GPU runs all of it in one part.
    fn unpin(&mut self, pins: std::ops::Range<usize>, first: usize) {
        let is_gpu = self.part.backend.is_some_and(|backend| backend != self.backends.host());
        if !is_gpu || self.part_of[first] != self.part.index {
            return;
        }
        for index in pins {
            let id = self.graph.pins[index];
            let slot = self.slot_here(id);
            self.part.actions.push(Action::Release { slot });
        }
    }

    /// A tensor, or its copy on the backend of this part.
    fn slot_here(&self, id: usize) -> usize {
        let Some(backend) = self.part.backend else { return id };
        if self.assigned.backends[id] == backend {
            return id;
        }
        let mine = |copied: &Copied| copied.backend == backend && copied.tensor == Some(id);
        let found = self.program.copies.iter().rposition(mine);
        found.map_or(id, |index| self.graph.tensors.len() + index)
    }
}

/// Bytes that a view spans of a tensor of `size` bytes: from the first to the last of its elements where it is strided.
fn size_of_view(base: Dims, view: View, size: u64) -> u64 {
    let elements = |dims: Dims| dims.iter().fold(1u64, |product, n| product.saturating_mul(*n));
    let (all, some) = (elements(base), elements(view.dims));
    if some >= all {
        return size;
    }
    let (rows, element) = (all / base[0].max(1), size / all.max(1));
    if view.outside > 0 {
        return all.saturating_sub(view.outside).saturating_mul(element);
    }
    if !view.is_strided {
        return some.saturating_mul(element);
    }
    let last = some / rows.max(1);
    rows.saturating_sub(1).saturating_mul(base[0]).saturating_add(last).saturating_mul(element)
}
