//! `PyTorch`'s caching allocator on one stream, with its defaults or with `expandable_segments:True`
//! (`c10/cuda/CUDACachingAllocator.cpp`): `round_size`, `get_free_block`, `get_allocation_size`, `alloc_block`,
//! `should_split`, `free_block`, `try_merge_blocks`, `release_cached_blocks`, `map_block`, `unmap_block`.
//!
//! A request takes the smallest free block of its pool that is large enough, else a new segment; what a block
//! has left is split off from 512 B on in the small pool, from more than 1 MiB on in the large one. A freed
//! block joins free neighbours of its segment. Where the card is full, segments that nothing lives in are
//! given back, and the segment is asked for once more. Expandable segments are one range of addresses a pool
//! to which pages are mapped as they are needed, and unmapped where the card is full.

/// To what sizes are rounded (`kMinBlockSize`).
const BLOCK: u64 = 512;
/// The largest request of the small pool (`kSmallSize`).
const SMALL: u64 = 1 << 20;
/// Segments, or pages, of the small pool (`kSmallBuffer`).
const SMALL_SEGMENT: u64 = 2 << 20;
/// From here on a segment has one block's size (`kMinLargeAlloc`).
const LARGE: u64 = 10 << 20;
/// Segments of smaller blocks of the large pool, and its pages (`kLargeBuffer`).
const LARGE_SEGMENT: u64 = 20 << 20;
/// What larger segments are rounded to (`kRoundLarge`).
const ROUND: u64 = 2 << 20;
/// Addresses of an expandable segment: so many more than are ever played that none is refused for want of them.
const RANGE: u64 = 1 << 60;

/// A block that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block(u32);

/// No free block is large enough, and the card has no room for a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// How many bytes more the card would have to have.
    pub missing: u64,
}

/// Index of a block that is none.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Piece {
    address: u64,
    size: u64,
    before: u32,
    after: u32,
    is_small: bool,
    is_free: bool,
    /// Whether there is memory behind the addresses.
    is_mapped: bool,
}

/// A free block: its size and address, by which it is found, and its index.
type Free = (u64, u64, u32);

/// The allocator.
#[derive(Clone, Debug)]
pub struct Caching {
    card: u64,
    /// The last segment, or range of pages, that the card had no room for.
    refused: u64,
    is_expandable: bool,
    pieces: Vec<Piece>,
    /// Indices of `pieces` to use again.
    vacant: Vec<u32>,
    /// Free blocks by size of the large pool and of the small one.
    free: [Vec<Free>; 2],
    /// Addresses of expandable segments without memory: address and index.
    unmapped: [Vec<(u64, u32)>; 2],
    top: u64,
    reserved: u64,
    most_reserved: u64,
    allocated: u64,
    most_allocated: u64,
}

impl Caching {
    /// An allocator on a card with so many bytes for it.
    pub fn new(card: u64, is_expandable: bool) -> Self {
        let mut new = Self {
            card,
            refused: 0,
            is_expandable,
            pieces: Vec::with_capacity(1024),
            vacant: Vec::new(),
            free: [Vec::new(), Vec::new()],
            unmapped: [Vec::new(), Vec::new()],
            top: 0,
            reserved: 0,
            most_reserved: 0,
            allocated: 0,
            most_allocated: 0,
        };
        if is_expandable {
            for is_small in [false, true] {
                let address = new.top;
                new.top += RANGE;
                let range = Piece { is_mapped: false, ..piece(address, RANGE, is_small) };
                let index = new.add(range);
                new.unmapped[usize::from(is_small)].push((address, index));
            }
        }
        new
    }

    /// Bytes that the card has for it.
    pub const fn card(&self) -> u64 {
        self.card
    }

    /// Gives the card more memory.
    pub fn grow_card(&mut self, bytes: u64) {
        self.card += bytes;
    }

    /// Bytes taken of the card.
    pub fn reserved(&self) -> u64 {
        self.reserved
    }

    /// The most of them so far.
    pub fn most_reserved(&self) -> u64 {
        self.most_reserved
    }

    /// The most bytes of blocks in use so far.
    pub fn most_allocated(&self) -> u64 {
        self.most_allocated
    }

    /// A block of `bytes`.
    ///
    /// # Errors
    /// Where the card is full.
    pub fn take(&mut self, bytes: u64) -> Result<Block, Full> {
        let size = bytes.max(1).next_multiple_of(BLOCK);
        let is_small = size <= SMALL;
        let index = match self.best_fit(size, is_small) {
            Some(index) => index,
            None => self.more(size, is_small)?,
        };
        self.cut(index, size);
        let piece = &mut self.pieces[index as usize];
        piece.is_free = false;
        self.allocated += piece.size;
        self.most_allocated = self.most_allocated.max(self.allocated);
        Ok(Block(index))
    }

    /// Returns a block to its pool.
    pub fn give(&mut self, block: Block) {
        let index = block.0;
        let piece = &mut self.pieces[index as usize];
        piece.is_free = true;
        self.allocated -= piece.size;
        let index = self.join(index);
        self.put(index);
    }

    fn best_fit(&mut self, size: u64, is_small: bool) -> Option<u32> {
        let free = &mut self.free[usize::from(is_small)];
        let at = free.partition_point(|entry| entry.0 < size);
        (at < free.len()).then(|| free.remove(at).2)
    }

    /// A free block of at least `size` in new memory; where there is none, once more without what is unused.
    fn more(&mut self, size: u64, is_small: bool) -> Result<u32, Full> {
        if let Some(index) = self.try_more(size, is_small) {
            return Ok(index);
        }
        self.release();
        if let Some(index) = self.try_more(size, is_small) {
            return Ok(index);
        }
        Err(Full { missing: self.refused.saturating_sub(self.card - self.reserved) })
    }

    fn try_more(&mut self, size: u64, is_small: bool) -> Option<u32> {
        if self.is_expandable {
            return self.expand(size, is_small);
        }
        let segment = match size {
            _ if is_small => SMALL_SEGMENT,
            size if size < LARGE => LARGE_SEGMENT,
            size => size.next_multiple_of(ROUND),
        };
        if !self.reserve(segment) {
            return None;
        }
        let address = self.top;
        self.top = self.top.saturating_add(segment);
        Some(self.add(piece(address, segment, is_small)))
    }

    fn reserve(&mut self, bytes: u64) -> bool {
        if self.reserved + bytes > self.card {
            self.refused = bytes;
            return false;
        }
        self.reserved += bytes;
        self.most_reserved = self.most_reserved.max(self.reserved);
        true
    }

    /// Splits off what a block has beyond `size`, where that is worth it.
    fn cut(&mut self, index: u32, size: u64) {
        let whole = self.pieces[index as usize];
        let left = whole.size - size;
        let splits =
            if whole.is_small || self.is_expandable { left >= BLOCK } else { left > SMALL };
        if splits {
            let rest = self.split(index, size);
            self.put(rest);
        }
    }

    /// Cuts a block in two; returns the second.
    fn split(&mut self, index: u32, size: u64) -> u32 {
        let whole = self.pieces[index as usize];
        let rest = self.add(Piece {
            address: whole.address + size,
            size: whole.size - size,
            before: index,
            ..whole
        });
        self.pieces[index as usize].size = size;
        self.pieces[index as usize].after = rest;
        if whole.after != NONE {
            self.pieces[whole.after as usize].before = rest;
        }
        rest
    }

    /// Joins a free block with its free neighbours, which leave their pool.
    fn join(&mut self, index: u32) -> u32 {
        let Piece { before, after, .. } = self.pieces[index as usize];
        let mut first = index;
        if self.joins(index, before) {
            self.leave(before);
            self.absorb(before);
            first = before;
        }
        if self.joins(first, after) {
            self.leave(after);
            self.absorb(first);
        }
        first
    }

    fn joins(&self, index: u32, neighbour: u32) -> bool {
        neighbour != NONE && {
            let (one, other) = (self.pieces[index as usize], self.pieces[neighbour as usize]);
            other.is_free && one.is_mapped == other.is_mapped
        }
    }

    /// Makes a block and the one behind it one.
    fn absorb(&mut self, index: u32) {
        let behind = self.pieces[index as usize].after;
        let Piece { size, after, .. } = self.pieces[behind as usize];
        let piece = &mut self.pieces[index as usize];
        piece.size += size;
        piece.after = after;
        if after != NONE {
            self.pieces[after as usize].before = index;
        }
        self.vacant.push(behind);
    }

    /// Adds a free block to its pool.
    fn put(&mut self, index: u32) {
        let Piece { address, size, is_small, is_mapped, .. } = self.pieces[index as usize];
        let pool = usize::from(is_small);
        if is_mapped {
            let free = &mut self.free[pool];
            let at = free.partition_point(|entry| (entry.0, entry.1) < (size, address));
            free.insert(at, (size, address, index));
        } else {
            let unmapped = &mut self.unmapped[pool];
            let at = unmapped.partition_point(|entry| entry.0 < address);
            unmapped.insert(at, (address, index));
        }
    }

    /// Takes a free block out of its pool.
    fn leave(&mut self, index: u32) {
        let Piece { address, size, is_small, is_mapped, .. } = self.pieces[index as usize];
        let pool = usize::from(is_small);
        if is_mapped {
            let free = &mut self.free[pool];
            let at = free.partition_point(|entry| (entry.0, entry.1) < (size, address));
            free.remove(at);
        } else {
            let unmapped = &mut self.unmapped[pool];
            let at = unmapped.partition_point(|entry| entry.0 < address);
            unmapped.remove(at);
        }
    }

    fn add(&mut self, piece: Piece) -> u32 {
        if let Some(index) = self.vacant.pop() {
            self.pieces[index as usize] = piece;
            return index;
        }
        self.pieces.push(piece);
        u32::try_from(self.pieces.len() - 1).unwrap_or(NONE)
    }

    /// Gives back the segments, or the pages, that nothing lives in.
    fn release(&mut self) {
        for pool in 0..2 {
            let free = std::mem::take(&mut self.free[pool]);
            if self.is_expandable {
                self.free[pool].clone_from(&free);
                for (.., index) in free {
                    self.unmap(index);
                }
                continue;
            }
            for entry in free {
                let Piece { before, after, size, .. } = self.pieces[entry.2 as usize];
                if before == NONE && after == NONE {
                    self.reserved -= size;
                    self.vacant.push(entry.2);
                } else {
                    self.free[pool].push(entry);
                }
            }
        }
    }

    /// Maps memory to the first addresses that have room for `size`, a free block before them included.
    fn expand(&mut self, size: u64, is_small: bool) -> Option<u32> {
        let pool = usize::from(is_small);
        let found = self.unmapped[pool].iter().find_map(|&(_, index)| {
            let before = self.pieces[index as usize].before;
            let is_free = before != NONE && self.pieces[before as usize].is_free;
            let first = if is_free { before } else { index };
            self.has_room(first, size).then_some(first)
        })?;
        let mut index = found;
        while !self.pieces[index as usize].is_mapped || self.pieces[index as usize].size < size {
            let Piece { is_mapped, size: has, after, .. } = self.pieces[index as usize];
            let (next, missing) = if is_mapped { (after, size - has) } else { (index, size) };
            index = self.map(next, missing)?;
        }
        self.leave(index);
        Some(index)
    }

    /// Whether the free addresses from a block on are enough.
    fn has_room(&self, mut index: u32, size: u64) -> bool {
        let mut room = 0;
        while room < size && index != NONE && self.pieces[index as usize].is_free {
            room += self.pieces[index as usize].size;
            index = self.pieces[index as usize].after;
        }
        room >= size
    }

    /// Maps memory to the first `size` addresses of a block without any; returns the free block that it is then in.
    fn map(&mut self, index: u32, size: u64) -> Option<u32> {
        let Piece { size: room, is_small, .. } = self.pieces[index as usize];
        let page = if is_small { SMALL_SEGMENT } else { LARGE_SEGMENT };
        let mapped = size.min(room).next_multiple_of(page).min(room);
        if !self.reserve(mapped) {
            return None;
        }
        self.leave(index);
        if mapped < room {
            let rest = self.split(index, mapped);
            self.put(rest);
        }
        self.pieces[index as usize].is_mapped = true;
        let index = self.join(index);
        self.put(index);
        Some(index)
    }

    /// Takes the memory from the pages that lie in a free block wholly.
    fn unmap(&mut self, index: u32) {
        let Piece { address, size, is_small, .. } = self.pieces[index as usize];
        let page = if is_small { SMALL_SEGMENT } else { LARGE_SEGMENT };
        let (from, to) = (address.next_multiple_of(page), (address + size) / page * page);
        if from >= to {
            return;
        }
        self.leave(index);
        let mut middle = index;
        if from > address {
            middle = self.split(index, from - address);
            self.put(index);
        }
        if to < address + size {
            let rest = self.split(middle, to - from);
            self.put(rest);
        }
        self.pieces[middle as usize].is_mapped = false;
        self.reserved -= to - from;
        let middle = self.join(middle);
        self.put(middle);
    }
}

const fn piece(address: u64, size: u64, is_small: bool) -> Piece {
    Piece { address, size, before: NONE, after: NONE, is_small, is_free: true, is_mapped: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn plenty() -> Caching {
        Caching::new(1 << 40, false)
    }

    #[test]
    fn single_requests_take_what_pytorch_documents() {
        for (asked, allocated, reserved) in [
            (1, 512, 2 * MIB),
            (513, 1024, 2 * MIB),
            (MIB, MIB, 2 * MIB),
            (MIB + 1, MIB + 512, 20 * MIB),
            (10 * MIB - 512, 10 * MIB - 512, 20 * MIB),
            (10 * MIB, 10 * MIB, 10 * MIB),
            // A remainder of 1 MiB and less is not split off.
            (11 * MIB, 12 * MIB, 12 * MIB),
            (21 * MIB + 1, 22 * MIB, 22 * MIB),
        ] {
            let mut one = plenty();
            let block = one.take(asked).unwrap();
            assert_eq!((one.most_allocated(), one.reserved()), (allocated, reserved), "{asked}");
            one.give(block);
            assert_eq!(one.reserved(), reserved);
        }
    }

    #[test]
    fn the_smallest_block_that_is_large_enough_is_cut() {
        let mut one = plenty();
        let [first, second, third] = [40 * MIB; 3].map(|size| one.take(size).unwrap());
        one.give(second);
        let part = one.take(30 * MIB).unwrap();
        assert_eq!(one.reserved(), 120 * MIB);
        for block in [part, first, third] {
            one.give(block);
        }
        // Segments are never joined: 120 MiB are free, 41 are not to be had.
        let _ = one.take(41 * MIB).unwrap();
        assert_eq!(one.reserved(), 162 * MIB);
    }

    #[test]
    fn a_full_card_gives_back_what_nothing_lives_in() {
        let mut one = Caching::new(100 * MIB, false);
        let first = one.take(40 * MIB).unwrap();
        one.give(first);
        let _ = one.take(70 * MIB).unwrap();
        assert_eq!(one.reserved(), 70 * MIB);
        assert_eq!(one.take(40 * MIB), Err(Full { missing: 10 * MIB }));
        one.grow_card(10 * MIB);
        assert!(one.take(40 * MIB).is_ok());
    }

    #[test]
    fn pages_of_an_expandable_segment_join_where_segments_do_not() {
        let mut one = Caching::new(1 << 40, true);
        let blocks = [30 * MIB; 2].map(|size| one.take(size).unwrap());
        assert_eq!(one.reserved(), 60 * MIB);
        for block in blocks {
            one.give(block);
        }
        let _ = one.take(60 * MIB).unwrap();
        assert_eq!(one.reserved(), 60 * MIB);
    }

    #[test]
    fn a_full_card_unmaps_free_pages() {
        let mut one = Caching::new(80 * MIB, true);
        let [first, second] = [40 * MIB, 20 * MIB].map(|size| one.take(size).unwrap());
        one.give(first);
        // 40 MiB are free before the 20 that are in use: not enough in one piece.
        let third = one.take(60 * MIB).unwrap();
        assert_eq!(one.reserved(), 80 * MIB);
        one.give(second);
        one.give(third);
        assert!(one.take(80 * MIB).is_ok());
    }

    #[test]
    fn nothing_is_lost_in_random_orders() {
        for is_expandable in [false, true] {
            let mut one = Caching::new(1 << 40, is_expandable);
            let mut held = Vec::new();
            let mut state = 1_u64;
            for _ in 0..4000 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let chance = state >> 33;
                if chance % 9 < 4 && !held.is_empty() {
                    let at = usize::try_from(chance >> 4).unwrap() % held.len();
                    one.give(held.swap_remove(at));
                } else {
                    held.push(one.take(1 << (chance % 26)).unwrap());
                }
            }
            for block in held {
                one.give(block);
            }
            one.release();
            assert_eq!((one.reserved(), one.allocated), (0, 0));
        }
    }
}
