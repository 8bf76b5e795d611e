//! The free blocks of a pool: the smallest that is large enough is looked for, and of equal ones the first.
//!
//! A play asks for them some ten thousand times. One sorted list is moved about as often, and a tree follows a pointer
//! a level; here sizes are cut into eighths of powers of two, each with a list of its own, which is mostly a few blocks
//! long and in no order, so that a block is put in and taken out at once.

use super::blocks::Blocks;

/// Eighths of a power of two that sizes are cut into.
const PARTS: u32 = 8;
/// Lists: eight for each power of two that a `u64` has.
const LISTS: usize = 64 * PARTS as usize;

/// A free block.
#[derive(Clone, Copy, Debug)]
struct Entry {
    size: u64,
    address: u64,
    index: u32,
}

/// Free blocks, found by size.
#[derive(Clone, Debug)]
pub struct Pool {
    lists: Vec<Vec<Entry>>,
    /// Which lists have any.
    has: [u64; LISTS / 64],
}

impl Pool {
    /// One without blocks.
    pub const fn new() -> Self {
        Self { lists: Vec::new(), has: [0; LISTS / 64] }
    }

    /// Adds a block.
    pub fn put(&mut self, blocks: &mut Blocks, index: u32) {
        let piece = &mut blocks[index];
        let (size, address) = (piece.size, piece.address);
        let list = list_of(size);
        if list >= self.lists.len() {
            self.lists.resize_with(list + 1, Vec::new);
        }
        let entries = &mut self.lists[list];
        piece.place = entries.len();
        entries.push(Entry { size, address, index });
        self.has[list / 64] |= 1 << (list % 64);
    }

    /// Takes a block out, of the size that it was put in with.
    pub fn remove(&mut self, blocks: &mut Blocks, index: u32) {
        let piece = blocks[index];
        self.remove_at(blocks, list_of(piece.size), piece.place);
    }

    fn remove_at(&mut self, blocks: &mut Blocks, list: usize, place: usize) {
        let entries = &mut self.lists[list];
        entries.swap_remove(place);
        if let Some(moved) = entries.get(place) {
            blocks[moved.index].place = place;
        } else if entries.is_empty() {
            self.has[list / 64] &= !(1 << (list % 64));
        }
    }

    /// The size of the smallest block of at least `size`.
    pub fn best_size(&self, size: u64) -> Option<u64> {
        let (list, place) = self.best(size)?;
        Some(self.lists[list][place].size)
    }

    /// Takes out the smallest block of at least `size`, the first of equal ones.
    pub fn take(&mut self, blocks: &mut Blocks, size: u64) -> Option<u32> {
        let (list, place) = self.best(size)?;
        let index = self.lists[list][place].index;
        self.remove_at(blocks, list, place);
        Some(index)
    }

    /// In which list it is, and where.
    fn best(&self, size: u64) -> Option<(usize, usize)> {
        let list = self.next(list_of(size))?;
        if let Some(place) = smallest(&self.lists[list], size) {
            return Some((list, place));
        }
        // Not all of the first list are large enough; of those behind it all are.
        let list = self.next(list + 1)?;
        Some((list, smallest(&self.lists[list], size)?))
    }

    /// All of them, in no order.
    pub fn all(&self) -> Vec<u32> {
        self.lists.iter().flatten().map(|entry| entry.index).collect()
    }

    /// The first list from this one on that has a block.
    fn next(&self, list: usize) -> Option<usize> {
        let (mut word, bit) = (list / 64, list % 64);
        let mut has = self.has.get(word)? >> bit << bit;
        while has == 0 {
            word += 1;
            has = *self.has.get(word)?;
        }
        Some(word * 64 + has.trailing_zeros() as usize)
    }
}

/// Where the smallest entry of at least `size` is.
fn smallest(entries: &[Entry], size: u64) -> Option<usize> {
    let mut best: Option<(usize, &Entry)> = None;
    for (place, entry) in entries.iter().enumerate() {
        let is_better = best.is_none_or(|(_, best)| {
            entry.size < best.size || (entry.size == best.size && entry.address < best.address)
        });
        if entry.size >= size && is_better {
            best = Some((place, entry));
        }
    }
    Some(best?.0)
}

/// The list that blocks of a size are in: the power of two, and the three digits behind its first.
#[allow(clippy::cast_possible_truncation, reason = "three digits")]
const fn list_of(size: u64) -> usize {
    let size = if size < PARTS as u64 { PARTS as u64 } else { size };
    let power = size.ilog2();
    let part = (size >> (power - PARTS.ilog2())) as usize & (PARTS as usize - 1);
    power as usize * PARTS as usize + part
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand_xoshiro::Xoshiro256PlusPlus;
    use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

    use super::super::blocks::Piece;
    use super::*;

    #[test]
    fn larger_sizes_are_never_in_a_list_before() {
        let sizes =
            (0..58).flat_map(|power| (0..32).map(move |part| (1 << power) + (part << power) / 32));
        let lists: Vec<_> = sizes.map(list_of).collect();
        assert!(lists.is_sorted());
        assert!(list_of(u64::MAX) < LISTS);
    }

    #[test]
    fn blocks_are_found_as_in_one_sorted_set() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(7);
        let (mut blocks, mut pool, mut set) = (Blocks::default(), Pool::new(), BTreeSet::new());
        for _ in 0..20_000 {
            let size = 512 * (1 + (random.next_u64() >> 32 >> (random.next_u64() % 24)));
            if random.next_u64() % 8 < 3 {
                let piece = Piece::segment(random.next_u64() >> 40, size, false);
                let index = blocks.add(piece);
                pool.put(&mut blocks, index);
                set.insert((size, piece.address, index));
                continue;
            }
            let best = set.range((size, 0, 0)..).next().copied();
            assert_eq!(pool.best_size(size), best.map(|(size, ..)| size));
            if random.next_u64() % 2 == 0 {
                assert_eq!(pool.take(&mut blocks, size), best.map(|(.., index)| index));
            } else if let Some((.., index)) = best {
                pool.remove(&mut blocks, index);
            }
            best.inspect(|best| assert!(set.remove(best)));
        }
        let mut all = pool.all();
        all.sort_unstable();
        let mut left: Vec<_> = set.into_iter().map(|(.., index)| index).collect();
        left.sort_unstable();
        assert!(all.len() > 10 && all == left);
    }
}
