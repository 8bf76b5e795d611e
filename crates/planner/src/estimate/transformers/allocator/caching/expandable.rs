//! `expandable_segments:True`: one range of addresses a pool, to which pages are mapped as they are needed
//! (`map_block`, `unmap_block`, `try_allocate_expandable_block`).

use super::blocks::{NONE, Piece};
use super::{Caching, LARGE_SEGMENT, SMALL_SEGMENT};

/// Addresses of an expandable segment: so many more than are ever played that none is refused for want of them.
const RANGE: u64 = 1 << 60;

const fn page(is_small: bool) -> u64 {
    if is_small { SMALL_SEGMENT } else { LARGE_SEGMENT }
}

impl Caching {
    /// The ranges of both pools.
    pub(super) fn add_ranges(&mut self) {
        for is_small in [false, true] {
            let address = self.top;
            self.top += RANGE;
            let range = Piece { is_mapped: false, ..Piece::segment(address, RANGE, is_small) };
            let index = self.blocks.add(range);
            self.put(index);
        }
    }

    /// Adds a free block without memory to those of its pool.
    pub(super) fn put_unmapped(&mut self, index: u32) {
        let Piece { address, is_small, .. } = self.blocks[index];
        let unmapped = &mut self.unmapped[usize::from(is_small)];
        let at = unmapped.partition_point(|entry| entry.0 < address);
        unmapped.insert(at, (address, index));
    }

    /// Takes it out.
    pub(super) fn leave_unmapped(&mut self, index: u32) {
        let Piece { address, is_small, .. } = self.blocks[index];
        let unmapped = &mut self.unmapped[usize::from(is_small)];
        let at = unmapped.partition_point(|entry| entry.0 < address);
        unmapped.remove(at);
    }

    /// Maps memory to the first addresses that have room for `size`, a free block before them included.
    pub(super) fn expand(&mut self, size: u64, is_small: bool) -> Option<u32> {
        let found = self.unmapped[usize::from(is_small)].iter().find_map(|&(_, index)| {
            let before = self.blocks[index].before;
            let is_free = before != NONE && self.blocks[before].is_free;
            let first = if is_free { before } else { index };
            self.has_room(first, size).then_some(first)
        })?;
        let mut index = found;
        while !self.blocks[index].is_mapped || self.blocks[index].size < size {
            let Piece { is_mapped, size: has, after, .. } = self.blocks[index];
            let (next, missing) = if is_mapped { (after, size - has) } else { (index, size) };
            index = self.map(next, missing)?;
        }
        self.leave(index);
        Some(index)
    }

    /// Whether the free addresses from a block on are enough.
    fn has_room(&self, mut index: u32, size: u64) -> bool {
        let mut room = 0;
        while room < size && index != NONE && self.blocks[index].is_free {
            room += self.blocks[index].size;
            index = self.blocks[index].after;
        }
        room >= size
    }

    /// Maps memory to the first `size` addresses of a block without any; returns the free block that it is then in.
    fn map(&mut self, index: u32, size: u64) -> Option<u32> {
        let Piece { size: room, is_small, .. } = self.blocks[index];
        let mapped = size.min(room).next_multiple_of(page(is_small)).min(room);
        if !self.reserve(mapped) {
            return None;
        }
        self.leave(index);
        if mapped < room {
            let rest = self.blocks.split(index, mapped);
            self.put(rest);
        }
        self.blocks[index].is_mapped = true;
        let index = self.join(index);
        self.put(index);
        Some(index)
    }

    /// Takes the memory from the pages that lie in a free block wholly.
    pub(super) fn unmap(&mut self, index: u32) {
        let Piece { address, size, is_small, .. } = self.blocks[index];
        let page = page(is_small);
        let (from, to) = (address.next_multiple_of(page), (address + size) / page * page);
        if from >= to {
            return;
        }
        self.leave(index);
        let mut middle = index;
        if from > address {
            middle = self.blocks.split(index, from - address);
            self.put(index);
        }
        if to < address + size {
            let rest = self.blocks.split(middle, to - from);
            self.put(rest);
        }
        self.blocks[middle].is_mapped = false;
        self.reserved -= to - from;
        let middle = self.join(middle);
        self.put(middle);
    }
}
