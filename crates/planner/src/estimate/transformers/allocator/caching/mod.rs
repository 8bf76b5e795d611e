//! `PyTorch`'s caching allocator on one stream, with its defaults or with `expandable_segments:True`
//! (`c10/cuda/CUDACachingAllocator.cpp`): `round_size`, `get_free_block`, `get_allocation_size`, `alloc_block`,
//! `should_split`, `free_block`, `try_merge_blocks`, `release_cached_blocks`, `map_block`, `unmap_block`.
//!
//! A request takes the smallest free block of its pool that is large enough, else a new segment; what a block
//! has left is split off from 512 B on in the small pool, from more than 1 MiB on in the large one. A freed
//! block joins free neighbours of its segment. Where the card is full, segments that nothing lives in are
//! given back, and the segment is asked for once more. Expandable segments are one range of addresses a pool
//! to which pages are mapped as they are needed, and unmapped where the card is full.

mod blocks;
mod expandable;
#[cfg(test)]
mod plain;
mod pool;

use self::blocks::{Blocks, NONE, Piece};
use self::pool::Pool;

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

/// A block that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block(u32);

impl Block {
    /// That of nobody.
    pub const NONE: Self = Self(NONE);
}

/// No free block is large enough, and the card has no room for a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// How many bytes more the card would have to have.
    pub missing: u64,
}

/// The allocator.
#[derive(Clone, Debug)]
pub struct Caching {
    card: u64,
    /// The last segment, or range of pages, that the card had no room for.
    refused: u64,
    is_expandable: bool,
    blocks: Blocks,
    /// Free blocks of the large pool and of the small one.
    free: [Pool; 2],
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
            blocks: Blocks::default(),
            free: [Pool::new(), Pool::new()],
            unmapped: [Vec::new(), Vec::new()],
            top: 0,
            reserved: 0,
            most_reserved: 0,
            allocated: 0,
            most_allocated: 0,
        };
        if is_expandable {
            new.add_ranges();
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

    /// The same allocator on a card of another size, where it never came to what either has.
    pub fn set_card(&mut self, card: u64) {
        self.card = card;
    }

    /// Bytes taken of the card.
    pub fn reserved(&self) -> u64 {
        self.reserved
    }

    /// The most of them so far.
    pub fn most_reserved(&self) -> u64 {
        self.most_reserved
    }

    /// Counts the most that is in use anew.
    pub fn forget_most_allocated(&mut self) {
        self.most_allocated = self.allocated;
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
        let size = rounded(bytes);
        let is_small = size <= SMALL;
        let index = match self.free[usize::from(is_small)].take(&mut self.blocks, size) {
            Some(index) => index,
            None => self.more(size, is_small)?,
        };
        self.cut(index, size);
        self.blocks[index].is_free = false;
        self.count(self.blocks[index].size);
        Ok(Block(index))
    }

    /// Returns a block to its pool.
    pub fn give(&mut self, block: Block) {
        let index = block.0;
        self.blocks[index].is_free = true;
        self.allocated -= self.blocks[index].size;
        let index = self.join(index);
        self.put(index);
    }

    /// Takes a block and gives it back at once: where a free one is large enough nothing changes but what is counted.
    ///
    /// # Errors
    /// Where the card is full.
    pub fn touch(&mut self, bytes: u64) -> Result<(), Full> {
        let size = rounded(bytes);
        let is_small = size <= SMALL;
        let Some(found) = self.free[usize::from(is_small)].best_size(size) else {
            let block = self.take(bytes)?;
            self.give(block);
            return Ok(());
        };
        let taken = if self.splits(is_small, found - size) { size } else { found };
        self.most_allocated = self.most_allocated.max(self.allocated + taken);
        Ok(())
    }

    fn count(&mut self, size: u64) {
        self.allocated += size;
        self.most_allocated = self.most_allocated.max(self.allocated);
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
        Some(self.blocks.add(Piece::segment(address, segment, is_small)))
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
        let Piece { size: whole, is_small, .. } = self.blocks[index];
        if self.splits(is_small, whole - size) {
            let rest = self.blocks.split(index, size);
            self.put(rest);
        }
    }

    const fn splits(&self, is_small: bool, left: u64) -> bool {
        if is_small || self.is_expandable { left >= BLOCK } else { left > SMALL }
    }

    /// Joins a free block with its free neighbours, which leave their pool.
    fn join(&mut self, index: u32) -> u32 {
        let Piece { before, after, .. } = self.blocks[index];
        let mut first = index;
        if self.blocks.joins(index, before) {
            self.leave(before);
            self.blocks.absorb(before);
            first = before;
        }
        if self.blocks.joins(first, after) {
            self.leave(after);
            self.blocks.absorb(first);
        }
        first
    }

    /// Adds a free block to its pool.
    fn put(&mut self, index: u32) {
        let Piece { is_small, is_mapped, .. } = self.blocks[index];
        if is_mapped {
            self.free[usize::from(is_small)].put(&mut self.blocks, index);
        } else {
            self.put_unmapped(index);
        }
    }

    /// Takes a free block out of its pool.
    fn leave(&mut self, index: u32) {
        let Piece { is_small, is_mapped, .. } = self.blocks[index];
        if is_mapped {
            self.free[usize::from(is_small)].remove(&mut self.blocks, index);
        } else {
            self.leave_unmapped(index);
        }
    }

    /// Gives back the segments, or the pages, that nothing lives in.
    fn release(&mut self) {
        for pool in 0..2 {
            for index in self.free[pool].all() {
                let Piece { before, after, size, .. } = self.blocks[index];
                if self.is_expandable {
                    self.unmap(index);
                } else if before == NONE && after == NONE {
                    self.free[pool].remove(&mut self.blocks, index);
                    self.reserved -= size;
                    self.blocks.drop(index);
                }
            }
        }
    }
}

/// What is taken for so many bytes.
fn rounded(bytes: u64) -> u64 {
    bytes.max(1).next_multiple_of(BLOCK)
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
