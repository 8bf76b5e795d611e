//! Blocks and their neighbours: what segments are cut into.

/// Index of a block that is none.
pub const NONE: u32 = u32::MAX;

/// A block of a segment, or of a range of pages.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// Where it begins.
    pub address: u64,
    /// Its bytes.
    pub size: u64,
    /// The block before it in its segment.
    pub before: u32,
    /// The block behind it in its segment.
    pub after: u32,
    /// Its place in its pool's list, where it is free.
    pub place: usize,
    /// Whether it is of the small pool.
    pub is_small: bool,
    /// Whether nobody has it.
    pub is_free: bool,
    /// Whether there is memory behind the addresses.
    pub is_mapped: bool,
}

impl Piece {
    /// A free block that is a segment.
    pub const fn segment(address: u64, size: u64, is_small: bool) -> Self {
        let (before, after, place) = (NONE, NONE, 0);
        Self { address, size, before, after, place, is_small, is_free: true, is_mapped: true }
    }
}

/// All blocks.
#[derive(Clone, Debug, Default)]
pub struct Blocks {
    pieces: Vec<Piece>,
    /// Indices of `pieces` to use again.
    vacant: Vec<u32>,
}

impl std::ops::Index<u32> for Blocks {
    type Output = Piece;

    fn index(&self, index: u32) -> &Piece {
        &self.pieces[index as usize]
    }
}

impl std::ops::IndexMut<u32> for Blocks {
    fn index_mut(&mut self, index: u32) -> &mut Piece {
        &mut self.pieces[index as usize]
    }
}

impl Blocks {
    /// Adds one; returns its index.
    pub fn add(&mut self, piece: Piece) -> u32 {
        if let Some(index) = self.vacant.pop() {
            self[index] = piece;
            return index;
        }
        self.pieces.push(piece);
        u32::try_from(self.pieces.len() - 1).unwrap_or(NONE)
    }

    /// Forgets one without neighbours.
    pub fn drop(&mut self, index: u32) {
        self.vacant.push(index);
    }

    /// Cuts a block in two; returns the second.
    pub fn split(&mut self, index: u32, size: u64) -> u32 {
        let whole = self[index];
        let rest = self.add(Piece {
            address: whole.address + size,
            size: whole.size - size,
            before: index,
            ..whole
        });
        self[index].size = size;
        self[index].after = rest;
        if whole.after != NONE {
            self[whole.after].before = rest;
        }
        rest
    }

    /// Makes a block and the one behind it one.
    pub fn absorb(&mut self, index: u32) {
        let behind = self[index].after;
        let Piece { size, after, .. } = self[behind];
        self[index].size += size;
        self[index].after = after;
        if after != NONE {
            self[after].before = index;
        }
        self.vacant.push(behind);
    }

    /// Whether a block and its neighbour are both free, and both with memory or both without.
    pub fn joins(&self, index: u32, neighbour: u32) -> bool {
        neighbour != NONE
            && self[neighbour].is_free
            && self[neighbour].is_mapped == self[index].is_mapped
    }
}
