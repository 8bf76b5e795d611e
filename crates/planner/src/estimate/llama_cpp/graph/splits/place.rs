//! Where ggml-alloc places tensors and copies, with a buffer for each backend.

use super::super::alloc::{FreeList, NOWHERE, Peak};
use super::super::tensors::{Boundary, Dims, Graph, Operation, Usage};
use super::program::{Action, Operand, Program};
use crate::units::Overflow;

/// Alignment of the CUDA buffer type, and of main memory's (`TENSOR_ALIGNMENT` in `ggml-impl.h`).
const ALIGNMENT: u64 = 128;
const HOST_ALIGNMENT: u64 = 32;

/// A tensor or a copy.
#[derive(Clone, Copy)]
struct Slot {
    backend: usize,
    size: u64,
    dims: Dims,
    usage: Usage,
    workspace: u64,
    is_output: bool,
    start: u64,
    uses: u32,
}

struct Placement<'a> {
    graph: &'a Graph,
    program: &'a Program,
    host: usize,
    free: Vec<FreeList>,
    alive: Vec<[u64; Usage::COUNT]>,
    peaks: Vec<Peak>,
    slots: Vec<Slot>,
    /// How often inputs and what goes from one device to another are there: in a pipeline for good.
    copies: u64,
    boundaries: &'a [[Boundary; 2]],
    /// For each gap the state before the layers that it is compared with, and how many copies were listed then.
    before: Vec<Option<Seen>>,
    is_steady: bool,
}

/// The buffers at a boundary, and copies listed till then.
struct Seen {
    live: Vec<Live>,
    free: Vec<FreeList>,
    copies: usize,
}

/// A tensor or a copy that holds memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Live {
    slot: usize,
    backend: usize,
    start: u64,
    uses: u32,
}

/// The largest extent of each backend's buffer, main memory's last; and whether the buffers were in the same state at
/// both of the boundaries of every gap, so that what was left out changes nothing.
pub(super) fn place(
    graph: &Graph,
    (program, boundaries): (&Program, &[[Boundary; 2]]),
    (backends, copies): (usize, u64),
) -> Result<(Vec<Peak>, bool), Overflow> {
    let mut placement = Placement {
        graph,
        program,
        host: backends - 1,
        free: vec![FreeList::default(); backends],
        alive: vec![[0; Usage::COUNT]; backends],
        peaks: vec![Peak::default(); backends],
        slots: Vec::with_capacity(graph.tensors.len() + program.copies.len()),
        copies,
        boundaries,
        before: boundaries.iter().map(|_| None).collect(),
        is_steady: true,
    };
    placement.describe()?;
    placement.count_uses();
    for id in inputs(graph, &program.lookups) {
        for _ in 0..copies {
            placement.allocate(id)?;
        }
    }
    if copies > 1 {
        placement.keep_copies()?;
    }
    for action in &program.actions {
        placement.act(*action)?;
    }
    Ok((placement.peaks, placement.is_steady))
}

/// The inputs in the order of the host's buffer: token ids, what nothing reads, and the others as they are come to.
fn inputs(graph: &Graph, lookups: &[[usize; 2]]) -> Vec<usize> {
    let is_given = |id: &usize| {
        let is_part = graph.notes[*id].part_of.is_some();
        let is_looked_up = lookups.iter().any(|[rows, _]| rows == id);
        graph.tensors[*id].operation == Operation::Input && !is_part && !is_looked_up
    };
    let ids = lookups.iter().map(|[_, ids]| *ids);
    let is_unread =
        |id: &usize| !graph.leafs.contains(id) && lookups.iter().all(|[_, ids]| ids != id);
    let unread = (0..graph.tensors.len()).filter(is_given).filter(is_unread);
    let read = graph.leafs.iter().copied().filter(is_given);
    ids.chain(unread).chain(read).collect()
}

impl Placement<'_> {
    fn describe(&mut self) -> Result<(), Overflow> {
        for (id, tensor) in self.graph.tensors.iter().enumerate() {
            let backend = self.program.backends[id];
            // Only the GPU's kernels work behind their result.
            let workspace = match backend == self.host {
                true => 0,
                false if self.program.apart[id] => self.graph.notes[id].workspace_apart,
                false => tensor.workspace,
            };
            let size = self.padded(tensor.size - tensor.workspace + workspace, backend)?;
            self.slots.push(Slot {
                backend,
                size,
                dims: tensor.dims,
                usage: tensor.usage,
                workspace,
                is_output: tensor.is_output,
                start: NOWHERE,
                uses: 0,
            });
        }
        for copied in &self.program.copies {
            let of = copied.tensor.map(|id| &self.graph.tensors[id]);
            let dims = copied.dims.unwrap_or([0; 4]);
            self.slots.push(Slot {
                backend: copied.backend,
                size: self.padded(copied.size, copied.backend)?,
                dims,
                usage: of.map_or(Usage::Activation, |tensor| tensor.usage),
                workspace: 0,
                is_output: false,
                start: NOWHERE,
                uses: 0,
            });
        }
        Ok(())
    }

    /// Places every copy as often as a pipeline keeps it.
    fn keep_copies(&mut self) -> Result<(), Overflow> {
        for slot in self.graph.tensors.len()..self.slots.len() {
            self.slots[slot].is_output = true;
            for _ in 0..self.copies {
                self.allocate(slot)?;
            }
        }
        Ok(())
    }

    fn padded(&self, size: u64, backend: usize) -> Result<u64, Overflow> {
        let alignment = if backend == self.host { HOST_ALIGNMENT } else { ALIGNMENT };
        size.checked_next_multiple_of(alignment).ok_or(Overflow)
    }

    fn count_uses(&mut self) {
        for operand in &self.program.operands {
            self.slots[operand.slot].uses += 1;
        }
        for action in &self.program.actions {
            if let Action::Release { slot } = *action {
                self.slots[slot].uses += 1;
            }
        }
    }

    fn act(&mut self, action: Action) -> Result<(), Overflow> {
        match action {
            // Those of a pipeline were there from the start.
            Action::Copy { .. } if self.copies > 1 => {}
            Action::Copy { slot } => self.allocate(slot)?,
            Action::Release { slot } => self.release(slot),
            Action::Look { gap, is_behind, copies } => self.look(gap, is_behind, copies),
            Action::Run { id, from, to } => {
                let program = self.program;
                let operands = &program.operands[from..to];
                let operation = self.graph.tensors[id].operation;
                let takes_over = operation == Operation::InPlace && self.take_over(id, operands)?;
                if operation != Operation::Effect && !takes_over {
                    self.allocate(id)?;
                }
                for operand in operands {
                    self.release(operand.slot);
                }
            }
        }
        Ok(())
    }

    /// Remembers the buffers before the layers that a gap is compared with, and compares them behind those.
    fn look(&mut self, gap: usize, is_behind: bool, copies: usize) {
        let held = |(slot, held): (usize, &Slot)| Live {
            slot,
            backend: held.backend,
            start: held.start,
            uses: held.uses,
        };
        let is_live = |(_, slot): &(usize, &Slot)| slot.start != NOWHERE;
        let live = self.slots.iter().enumerate().filter(is_live).map(held).collect();
        let seen = Seen { live, free: self.free.clone(), copies };
        if !is_behind {
            self.before[gap] = Some(seen);
            return;
        }
        let before = self.before[gap].take();
        self.is_steady &= before.is_some_and(|before| self.is_same(gap, &before, &seen));
    }

    /// Tensors and copies of the last period are compared by how far they are behind the boundary, older ones by what
    /// they are: how often those are still read does not matter while they are.
    fn is_same(&self, gap: usize, before: &Seen, behind: &Seen) -> bool {
        let [first, second] = self.boundaries[gap];
        let tensors = self.graph.tensors.len();
        let periods = (second.tensors - first.tensors, behind.copies - before.copies);
        let told = |live: &Live, boundary: Boundary, copies: usize| {
            let (end, period) = if live.slot < tensors {
                (boundary.tensors, periods.0)
            } else {
                (tensors + copies, periods.1)
            };
            let is_recent = live.slot < end && live.slot + period >= end;
            if is_recent {
                (true, Live { slot: end - live.slot, ..*live })
            } else {
                (false, Live { uses: 0, ..*live })
            }
        };
        let first = before.live.iter().map(|live| told(live, first, before.copies));
        let second = behind.live.iter().map(|live| told(live, second, behind.copies));
        before.free == behind.free && first.eq(second)
    }

    fn allocate(&mut self, slot: usize) -> Result<(), Overflow> {
        let Slot { backend, size, .. } = self.slots[slot];
        self.slots[slot].start = self.free[backend].take(size)?;
        self.count(slot)?;
        if self.free[backend].end() > self.peaks[backend].size {
            let (size, alive) = (self.free[backend].end(), self.alive[backend]);
            self.peaks[backend] = Peak { size, alive };
        }
        Ok(())
    }

    /// Puts a result where an operand is that nothing else reads.
    fn take_over(&mut self, id: usize, operands: &[Operand]) -> Result<bool, Overflow> {
        for operand in operands {
            let parent = self.slots[operand.slot];
            let free = parent.uses == 1 && !operand.is_view && !parent.is_output;
            let is_alike = parent.dims == self.slots[id].dims;
            if !free || parent.start == NOWHERE || !is_alike {
                continue;
            }
            self.discount(operand.slot);
            self.slots[operand.slot].start = NOWHERE;
            self.slots[id].start = parent.start;
            self.slots[id].backend = parent.backend;
            self.count(id)?;
            let new = self.slots[id].size;
            if parent.size > new {
                self.free[parent.backend].give_back(parent.start + new, parent.size - new);
            }
            return Ok(true);
        }
        Ok(false)
    }

    fn release(&mut self, slot: usize) {
        let Slot { backend, size, start, is_output, .. } = self.slots[slot];
        self.slots[slot].uses -= 1;
        if self.slots[slot].uses > 0 || is_output || start == NOWHERE {
            return;
        }
        self.slots[slot].start = NOWHERE;
        self.discount(slot);
        self.free[backend].give_back(start, size);
    }

    fn count(&mut self, slot: usize) -> Result<(), Overflow> {
        let Slot { backend, size, usage, workspace, .. } = self.slots[slot];
        let alive = &mut self.alive[backend];
        let own = &mut alive[usage.index()];
        *own = own.checked_add(size - workspace).ok_or(Overflow)?;
        let attention = &mut alive[Usage::Attention.index()];
        *attention = attention.checked_add(workspace).ok_or(Overflow)?;
        Ok(())
    }

    fn discount(&mut self, slot: usize) {
        let Slot { backend, size, usage, workspace, .. } = self.slots[slot];
        self.alive[backend][usage.index()] -= size - workspace;
        self.alive[backend][Usage::Attention.index()] -= workspace;
    }
}
