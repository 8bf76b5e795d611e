//! Where ggml-alloc places the tensors of a graph, and how large the buffer becomes.
//!
//! The rules of `ggml-alloc.c` for a buffer of one chunk: inputs come first; every other tensor takes
//! over a source's memory where its operation allows that, else the smallest free block that holds it
//! (the last of equals), else the end of the buffer; a tensor is freed after its last use.
//!
//! Sizes are in bytes, blocks start at multiples of 128 (the CUDA buffer type's alignment).

use std::ops::Range;

use super::tensors::{Boundary, Graph, Operation, Step, Tensor, Usage};
use crate::units::Overflow;

/// Alignment of the CUDA buffer type.
const ALIGNMENT: u64 = 128;

/// The largest extent of a buffer, and what it held when it reached it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Peak {
    /// Bytes from the start of the buffer to the end of the highest tensor.
    pub(super) size: u64,
    /// Bytes of the tensors alive then, by [`Usage`]; holes between them are in none.
    pub(super) alive: [u64; Usage::COUNT],
}

/// A gap before the end of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gap {
    start: u64,
    size: u64,
}

/// Gaps in ascending order but for empty ones, which stay in their places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FreeList {
    gaps: Vec<Gap>,
    end: u64,
}

impl FreeList {
    /// Where the last tensor ends.
    pub(super) const fn end(&self) -> u64 {
        self.end
    }

    /// The start of `size` free bytes.
    pub(super) fn take(&mut self, size: u64) -> Result<u64, Overflow> {
        let fitting = self.gaps.iter().enumerate().filter(|(_, gap)| gap.size >= size);
        let best = fitting.min_by_key(|(index, gap)| (gap.size, std::cmp::Reverse(*index)));
        let Some((index, &Gap { start, size: found })) = best else {
            let start = self.end;
            self.end = start.checked_add(size).ok_or(Overflow)?;
            return Ok(start);
        };
        if found == size {
            self.gaps.remove(index);
        } else {
            self.gaps[index] = Gap { start: start + size, size: found - size };
        }
        Ok(start)
    }

    /// Frees `size` bytes at `start`: the first gap that touches them grows, and one more that touches it is joined to it.
    /// Nothing at all that is freed inside of something else leaves a gap of its own, which keeps in two what is freed
    /// around it later.
    pub(super) fn give_back(&mut self, start: u64, size: u64) {
        let stop = start + size;
        for index in 0..self.gaps.len() {
            let gap = self.gaps[index];
            if gap.start + gap.size == start {
                self.gaps[index].size += size;
                self.join_next(index);
                return;
            }
            if stop == gap.start {
                self.gaps[index] = Gap { start, size: gap.size + size };
                self.join_previous(index);
                return;
            }
        }
        if stop == self.end {
            self.end = start;
            self.join_end();
            return;
        }
        let behind = self.gaps.iter().position(|gap| gap.start >= start);
        self.gaps.insert(behind.unwrap_or(self.gaps.len()), Gap { start, size });
    }

    fn join_next(&mut self, index: usize) {
        let stop = self.gaps[index].start + self.gaps[index].size;
        match self.gaps.get(index + 1) {
            Some(next) if next.start == stop => {
                self.gaps[index].size += next.size;
                self.gaps.remove(index + 1);
            }
            Some(_) => {}
            None => self.join_end(),
        }
    }

    fn join_previous(&mut self, index: usize) {
        let Some(before) = index.checked_sub(1) else { return };
        if self.gaps[before].start + self.gaps[before].size == self.gaps[index].start {
            self.gaps[before].size += self.gaps[index].size;
            self.gaps.remove(index);
        }
    }

    /// Lets the last gap be part of what is behind everything.
    fn join_end(&mut self) {
        if let Some(last) = self.gaps.last().filter(|gap| gap.start + gap.size == self.end) {
            self.end = last.start;
            self.gaps.pop();
        }
    }
}

/// A tensor that holds no memory: not placed yet, freed, or taken over by another.
pub(super) const NOWHERE: u64 = u64::MAX;

struct Placement<'a> {
    graph: &'a Graph,
    free: FreeList,
    starts: Vec<u64>,
    /// Operations that still read each tensor, or a view of it.
    uses: Vec<u32>,
    alive: [u64; Usage::COUNT],
    peak: Peak,
}

/// Places every tensor of the graph, and says whether the buffer was in the same state at both of the
/// boundaries: the same gaps, and the same tensors in the same places, counted from the boundary.
/// Layers between two such boundaries can be repeated without changing anything.
///
/// Inputs of which there are several `copies` are kept until the graph has run.
pub(super) fn place(
    graph: &Graph,
    boundaries: [Boundary; 2],
    copies: u64,
) -> Result<(Peak, bool), Overflow> {
    let mut placement = Placement {
        graph,
        free: FreeList::default(),
        starts: vec![NOWHERE; graph.tensors.len()],
        uses: graph.uses.clone(),
        alive: [0; Usage::COUNT],
        peak: Peak::default(),
    };
    for &input in &graph.inputs {
        for _ in 0..copies {
            placement.allocate(input)?;
        }
    }
    let [first, second] = boundaries;
    placement.run(0..first.steps)?;
    let before = placement.state(first);
    placement.run(first.steps..second.steps)?;
    let is_steady = before == placement.state(second);
    placement.run(second.steps..graph.steps.len())?;
    Ok((placement.peak, is_steady))
}

/// A buffer between two layers. Tensors are counted backwards from the boundary, inputs from the start;
/// how often an input is still read does not matter while it is.
#[derive(Debug, PartialEq, Eq)]
struct State {
    free: FreeList,
    results: Vec<(usize, u64, u32)>,
    inputs: Vec<(usize, u64)>,
}

impl Placement<'_> {
    fn run(&mut self, steps: Range<usize>) -> Result<(), Overflow> {
        let graph = self.graph;
        graph.steps[steps].iter().try_for_each(|step| self.step(step))
    }

    fn state(&self, boundary: Boundary) -> State {
        let mut state = State { free: self.free.clone(), results: Vec::new(), inputs: Vec::new() };
        for (id, &start) in self.starts[..boundary.tensors].iter().enumerate() {
            if start == NOWHERE {
                continue;
            }
            if self.graph.tensors[id].operation == Operation::Input {
                state.inputs.push((id, start));
            } else {
                state.results.push((boundary.tensors - id, start, self.uses[id]));
            }
        }
        state
    }

    fn step(&mut self, step: &Step) -> Result<(), Overflow> {
        match *step {
            Step::Run(id) => {
                let tensor = &self.graph.tensors[id];
                if tensor.operation != Operation::Effect && !self.take_over(id, tensor)? {
                    self.allocate(id)?;
                }
                for source in self.graph.sources_of(tensor) {
                    self.release(source.id)?;
                }
            }
            Step::Unpin { from, to, .. } => {
                for &id in &self.graph.pins[from..to] {
                    self.release(id)?;
                }
            }
        }
        Ok(())
    }

    fn allocate(&mut self, id: usize) -> Result<(), Overflow> {
        let tensor = &self.graph.tensors[id];
        let size = padded(tensor)?;
        self.starts[id] = self.free.take(size)?;
        self.count(tensor, size)?;
        if self.free.end > self.peak.size {
            self.peak = Peak { size: self.free.end, alive: self.alive };
        }
        Ok(())
    }

    /// Puts a tensor where one of its sources is that nothing else reads.
    fn take_over(&mut self, id: usize, tensor: &Tensor) -> Result<bool, Overflow> {
        if tensor.operation != Operation::InPlace {
            return Ok(false);
        }
        for source in self.graph.sources_of(tensor) {
            let parent = &self.graph.tensors[source.id];
            let start = self.starts[source.id];
            let free = self.uses[source.id] == 1 && source.view.is_itself && !parent.is_output;
            if !free || start == NOWHERE || parent.dims != tensor.dims {
                continue;
            }
            let (old, new) = (padded(parent)?, padded(tensor)?);
            self.discount(parent, old);
            self.count(tensor, new)?;
            self.starts[source.id] = NOWHERE;
            self.starts[id] = start;
            if old > new {
                self.free.give_back(start + new, old - new);
            }
            return Ok(true);
        }
        Ok(false)
    }

    fn release(&mut self, id: usize) -> Result<(), Overflow> {
        self.uses[id] -= 1;
        let (start, tensor) = (self.starts[id], &self.graph.tensors[id]);
        if self.uses[id] > 0 || tensor.is_output || start == NOWHERE {
            return Ok(());
        }
        let size = padded(tensor)?;
        self.starts[id] = NOWHERE;
        self.discount(tensor, size);
        self.free.give_back(start, size);
        Ok(())
    }

    fn count(&mut self, tensor: &Tensor, size: u64) -> Result<(), Overflow> {
        let own = &mut self.alive[tensor.usage.index()];
        *own = own.checked_add(size - tensor.workspace).ok_or(Overflow)?;
        let attention = &mut self.alive[Usage::Attention.index()];
        *attention = attention.checked_add(tensor.workspace).ok_or(Overflow)?;
        Ok(())
    }

    fn discount(&mut self, tensor: &Tensor, size: u64) {
        self.alive[tensor.usage.index()] -= size - tensor.workspace;
        self.alive[Usage::Attention.index()] -= tensor.workspace;
    }
}

fn padded(tensor: &Tensor) -> Result<u64, Overflow> {
    tensor.size.checked_next_multiple_of(ALIGNMENT).ok_or(Overflow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_gap_is_taken_and_neighbours_merge() {
        let mut free = FreeList::default();
        let starts: Vec<u64> =
            [256, 128, 512, 128, 128].into_iter().map(|size| free.take(size).unwrap()).collect();
        assert_eq!((starts, free.end), (vec![0, 256, 384, 896, 1024], 1152));
        free.give_back(384, 512);
        free.give_back(0, 256);
        assert_eq!(free.take(200).unwrap(), 0);
        free.give_back(256, 128);
        // 256..896 is one gap now, and what is left of the first one touches it.
        assert_eq!(free.gaps.len(), 1);
        assert_eq!(free.take(696).unwrap(), 200);
        free.give_back(1024, 128);
        assert_eq!(free.end, 1024);
    }

    #[test]
    fn what_takes_nothing_can_keep_gaps_apart() {
        let mut free = FreeList::default();
        let [first, second] = [256, 256].map(|size| free.take(size).unwrap());
        free.give_back(first, 256);
        // Within the second block, where nothing touches it.
        free.give_back(second + 128, 0);
        free.give_back(second, 256);
        // All is free, but the empty gap lies between it and the end.
        assert_eq!((free.gaps.len(), free.end), (2, 512));
        assert_eq!(free.take(600).unwrap(), 512);
    }
}
