//! Device memory by `cudaMalloc` and its like.

use std::collections::BTreeMap;

use vramplan_virtual_gpu::contract::{GRANULE, GRANULE_LEN};
use vramplan_virtual_gpu::shared::Kind;

use super::accounting::{self, Request};
use super::arena::Arena;
use super::{context, world};
use crate::error::{Code, Result};

/// Up to this size requests share a granule.
const SHARED_LIMIT: u64 = GRANULE / 2;
/// Addresses are aligned to this, as the CUDA manual promises at least 256.
const ALIGN: u64 = 512;

/// A piece of memory that a program holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block {
    pub(crate) at: usize,
    /// As asked for.
    pub(crate) bytes: u64,
    pub(crate) card: usize,
    pub(crate) kind: Kind,
    home: Home,
}

#[derive(Debug, Clone, Copy)]
enum Home {
    /// Granules of its own.
    Own,
    /// In a granule that small requests share.
    Slab(usize),
    /// In a pool, which does the accounting.
    Pool,
    /// Of another process, opened by IPC: that process holds the memory.
    Foreign,
}

/// A granule that small requests share.
struct Slab {
    card: usize,
    kind: Kind,
    holes: BTreeMap<u64, u64>,
}

/// The blocks of this process.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) arena: Arena,
    blocks: BTreeMap<usize, Block>,
    slabs: BTreeMap<usize, Slab>,
}

/// Takes memory of a card for the program.
pub(crate) fn allocate(card: usize, kind: Kind, bytes: u64, call: &'static str) -> Result<usize> {
    context::enter(card)?;
    if bytes == 0 {
        return Ok(0);
    }
    if bytes <= SHARED_LIMIT {
        small(card, kind, bytes, call)
    } else {
        large(card, kind, bytes, call)
    }
}

fn large(card: usize, kind: Kind, bytes: u64, call: &'static str) -> Result<usize> {
    // Sizes near 2⁶⁴ come of negative numbers: they are refused as too large, not rounded to 0.
    let rounded = bytes.checked_next_multiple_of(GRANULE).unwrap_or(u64::MAX);
    let request = Request { card, kind, bytes: rounded, asked: bytes, call };
    accounting::take(request)?;
    let mut world = world();
    let Some(at) = usize::try_from(rounded).ok().and_then(|n| world.memory.arena.take(n)) else {
        drop(world);
        accounting::give(request);
        return Err(Code::OUT_OF_MEMORY);
    };
    world.memory.add(Block { at, bytes, card, kind, home: Home::Own });
    Ok(at)
}

fn small(card: usize, kind: Kind, bytes: u64, call: &'static str) -> Result<usize> {
    let len = bytes.next_multiple_of(ALIGN);
    let mut world = world();
    if let Some(at) = world.memory.in_slab(card, kind, bytes, len) {
        return Ok(at);
    }
    drop(world);
    let request = Request { card, kind, bytes: GRANULE, asked: bytes, call };
    accounting::take(request)?;
    world = self::world();
    let Some(slab) = world.memory.arena.take(GRANULE_LEN) else {
        drop(world);
        accounting::give(request);
        return Err(Code::OUT_OF_MEMORY);
    };
    let holes = BTreeMap::from([(0, GRANULE)]);
    world.memory.slabs.insert(slab, Slab { card, kind, holes });
    world.memory.in_slab(card, kind, bytes, len).ok_or(Code::OUT_OF_MEMORY)
}

/// Gives back what [`allocate`] gave.
///
/// # Errors
/// Where no block begins at the address.
pub(crate) fn free(at: usize) -> Result {
    let mut world = world();
    let block = world.memory.blocks.get(&at).copied().ok_or(Code::INVALID_VALUE)?;
    if matches!(block.home, Home::Pool) {
        drop(world);
        return super::pools::free(at);
    }
    world.memory.blocks.remove(&at);
    let given = world.memory.vacate(block);
    drop(world);
    let Block { card, kind, bytes: asked, .. } = block;
    accounting::give(Request { card, kind, bytes: given, asked, call: "cudaFree" });
    Ok(())
}

/// Gives back all blocks on a card.
pub(crate) fn free_all(card: usize) {
    let of_card: Vec<usize> = {
        let world = world();
        let blocks = world.memory.blocks.values().filter(|block| block.card == card);
        blocks.map(|block| block.at).collect()
    };
    for at in of_card {
        // Another thread may have freed it since.
        let _ = free(at);
    }
    super::pools::settle();
}

/// The block that holds an address.
pub(crate) fn find(at: usize) -> Option<Block> {
    world().memory.find(at)
}

/// Makes addresses for memory that another process holds.
pub(crate) fn open_foreign(card: usize, bytes: u64) -> Result<usize> {
    context::enter(card)?;
    let mut world = world();
    let len = usize::try_from(bytes).map_err(|_| Code::INVALID_VALUE)?;
    let at = world.memory.arena.take(len).ok_or(Code::OUT_OF_MEMORY)?;
    world.memory.add(Block { at, bytes, card, kind: Kind::Malloc, home: Home::Foreign });
    Ok(at)
}

impl Memory {
    fn add(&mut self, block: Block) {
        self.blocks.insert(block.at, block);
    }

    /// A block inside a pool's chunk.
    pub(crate) fn add_pooled(&mut self, at: usize, bytes: u64, card: usize) {
        self.add(Block { at, bytes, card, kind: Kind::Pool, home: Home::Pool });
    }

    pub(crate) fn remove(&mut self, at: usize) -> Option<Block> {
        self.blocks.remove(&at)
    }

    pub(crate) fn find(&self, at: usize) -> Option<Block> {
        let (_, block) = self.blocks.range(..=at).next_back()?;
        ((at - block.at) as u64 <= block.bytes.saturating_sub(1)).then_some(*block)
    }

    fn in_slab(&mut self, card: usize, kind: Kind, bytes: u64, len: u64) -> Option<usize> {
        let of_kind = self.slabs.iter_mut().filter(|(_, s)| s.card == card && s.kind == kind);
        let (slab_at, offset) = of_kind.into_iter().find_map(|(&at, slab)| {
            let (&offset, &room) = slab.holes.iter().find(|(_, room)| **room >= len)?;
            slab.holes.remove(&offset);
            if room > len {
                slab.holes.insert(offset + len, room - len);
            }
            Some((at, offset))
        })?;
        let at = slab_at + usize::try_from(offset).ok()?;
        self.add(Block { at, bytes, card, kind, home: Home::Slab(slab_at) });
        Some(at)
    }

    /// Frees a block's addresses, and says what that gives back to the card.
    fn vacate(&mut self, block: Block) -> u64 {
        let Home::Slab(slab_at) = block.home else {
            let rounded = block.bytes.next_multiple_of(GRANULE);
            self.arena.give(block.at, usize::try_from(block.bytes).unwrap_or(0));
            return if matches!(block.home, Home::Own) { rounded } else { 0 };
        };
        let Some(slab) = self.slabs.get_mut(&slab_at) else { return 0 };
        join(&mut slab.holes, (block.at - slab_at) as u64, block.bytes.next_multiple_of(ALIGN));
        if slab.holes.get(&0) != Some(&GRANULE) {
            return 0;
        }
        self.slabs.remove(&slab_at);
        self.arena.give(slab_at, GRANULE_LEN);
        GRANULE
    }
}

/// Adds a hole to disjoint holes, joined with its neighbours.
pub(crate) fn join(holes: &mut BTreeMap<u64, u64>, mut at: u64, mut len: u64) {
    if let Some((&before, &room)) = holes.range(..at).next_back()
        && before + room == at
    {
        holes.remove(&before);
        at = before;
        len += room;
    }
    if let Some(room) = holes.remove(&(at + len)) {
        len += room;
    }
    holes.insert(at, len);
}
