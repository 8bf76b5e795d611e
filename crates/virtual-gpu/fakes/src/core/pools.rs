//! Stream-ordered memory: pools that keep what is freed, up to a threshold.

use std::collections::BTreeMap;

use vramplan_virtual_gpu::contract::GRANULE;
use vramplan_virtual_gpu::shared::Kind;

use super::accounting::{self, Request};
use super::memory::join;
use super::{context, fresh_handle, world};
use crate::error::{Code, Result};
use crate::machine::machine;

const ALIGN: u64 = 512;

/// One pool of `cudaMallocAsync`.
pub(crate) struct Pool {
    pub(crate) card: usize,
    /// What it may keep at a synchronisation.
    pub(crate) threshold: u64,
    pub(crate) reserved: u64,
    pub(crate) reserved_high: u64,
    pub(crate) used: u64,
    pub(crate) used_high: u64,
    chunks: BTreeMap<usize, Chunk>,
}

/// A part of a pool, as the driver took it.
struct Chunk {
    len: u64,
    holes: BTreeMap<u64, u64>,
}

/// The pools of this process.
#[derive(Default)]
pub(crate) struct Pools {
    by_handle: BTreeMap<usize, Pool>,
    /// Each card's own pool, and the one that is current.
    default: BTreeMap<usize, usize>,
    current: BTreeMap<usize, usize>,
}

impl Pools {
    pub(crate) fn create(&mut self, card: usize) -> usize {
        let handle = fresh_handle();
        let pool = Pool {
            card,
            threshold: 0,
            reserved: 0,
            reserved_high: 0,
            used: 0,
            used_high: 0,
            chunks: BTreeMap::new(),
        };
        self.by_handle.insert(handle, pool);
        handle
    }

    pub(crate) fn default_of(&mut self, card: usize) -> usize {
        if let Some(&handle) = self.default.get(&card) {
            return handle;
        }
        let handle = self.create(card);
        self.default.insert(card, handle);
        handle
    }

    pub(crate) fn current_of(&mut self, card: usize) -> usize {
        self.current.get(&card).copied().unwrap_or_else(|| self.default_of(card))
    }

    pub(crate) fn make_current(&mut self, card: usize, handle: usize) -> Result {
        self.get(handle)?;
        self.current.insert(card, handle);
        Ok(())
    }

    pub(crate) fn get(&mut self, handle: usize) -> Result<&mut Pool> {
        self.by_handle.get_mut(&handle).ok_or(Code::INVALID_VALUE)
    }

    fn owner(&mut self, at: usize) -> Option<&mut Pool> {
        self.by_handle.values_mut().find(|pool| pool.chunk_of(at).is_some())
    }
}

impl Pool {
    fn chunk_of(&self, at: usize) -> Option<usize> {
        let (&base, chunk) = self.chunks.range(..=at).next_back()?;
        (((at - base) as u64) < chunk.len).then_some(base)
    }

    fn fit(&mut self, len: u64) -> Option<usize> {
        let (base, offset) = self.chunks.iter_mut().find_map(|(&base, chunk)| {
            let (&offset, &room) = chunk.holes.iter().find(|(_, room)| **room >= len)?;
            chunk.holes.remove(&offset);
            if room > len {
                chunk.holes.insert(offset + len, room - len);
            }
            Some((base, offset))
        })?;
        self.used += len;
        self.used_high = self.used_high.max(self.used);
        Some(base + usize::try_from(offset).ok()?)
    }

    fn grow(&mut self, base: usize, len: u64) {
        self.chunks.insert(base, Chunk { len, holes: BTreeMap::from([(0, len)]) });
        self.reserved += len;
        self.reserved_high = self.reserved_high.max(self.reserved);
    }

    /// Takes out whole free chunks until no more than `keep` is reserved.
    fn shrink(&mut self, keep: u64) -> Vec<(usize, u64)> {
        let idle: Vec<usize> = self
            .chunks
            .iter()
            .filter(|(_, chunk)| chunk.holes.get(&0) == Some(&chunk.len))
            .map(|(&base, _)| base)
            .collect();
        let mut out = Vec::new();
        for base in idle {
            if self.reserved <= keep {
                break;
            }
            if let Some(chunk) = self.chunks.remove(&base) {
                self.reserved -= chunk.len;
                out.push((base, chunk.len));
            }
        }
        out
    }
}

/// Takes memory from a pool, which grows where it must.
pub(crate) fn allocate(handle: usize, bytes: u64, call: &'static str) -> Result<usize> {
    let card = world().pools.get(handle)?.card;
    context::enter(card)?;
    if bytes == 0 {
        return Ok(0);
    }
    let len = bytes.checked_next_multiple_of(ALIGN).ok_or(Code::OUT_OF_MEMORY)?;
    let mut world = world();
    let mut at = world.pools.get(handle)?.fit(len);
    if at.is_none() {
        drop(world);
        let (base, size) = chunk(card, len, call)?;
        world = self::world();
        let pool = world.pools.get(handle)?;
        pool.grow(base, size);
        at = pool.fit(len);
    }
    let at = at.ok_or(Code::OUT_OF_MEMORY)?;
    world.memory.add_pooled(at, bytes, card);
    Ok(at)
}

/// Memory for a pool to grow by: of the card, else of what other pools of the card keep unused.
fn chunk(card: usize, len: u64, call: &'static str) -> Result<(usize, u64)> {
    let bytes = len.next_multiple_of(GRANULE).max(machine().pool_chunk.max(GRANULE));
    let request = Request { card, kind: Kind::Pool, bytes, asked: len, call };
    if !accounting::take_quietly(request)? {
        let handles: Vec<usize> = {
            let world = world();
            let of_card = world.pools.by_handle.iter().filter(|(_, pool)| pool.card == card);
            of_card.map(|(&handle, _)| handle).collect()
        };
        for handle in handles {
            trim(handle, 0)?;
        }
        accounting::take(request)?;
    }
    let at = usize::try_from(bytes).ok().and_then(|n| world().memory.arena.take(n));
    at.map(|at| (at, bytes)).ok_or_else(|| {
        accounting::give(request);
        Code::OUT_OF_MEMORY
    })
}

/// Gives memory back to its pool.
pub(crate) fn free(at: usize) -> Result {
    let mut world = world();
    let block = world.memory.remove(at).ok_or(Code::INVALID_VALUE)?;
    let len = block.bytes.next_multiple_of(ALIGN);
    let pool = world.pools.owner(at).ok_or(Code::INVALID_VALUE)?;
    pool.used = pool.used.saturating_sub(len);
    let base = pool.chunk_of(at).ok_or(Code::INVALID_VALUE)?;
    if let Some(chunk) = pool.chunks.get_mut(&base) {
        join(&mut chunk.holes, (at - base) as u64, len);
    }
    Ok(())
}

/// Lets a pool keep no more than `keep` bytes.
pub(crate) fn trim(handle: usize, keep: u64) -> Result {
    let mut world = world();
    let pool = world.pools.get(handle)?;
    let (card, out) = (pool.card, pool.shrink(keep));
    for &(base, len) in &out {
        world.memory.arena.give(base, usize::try_from(len).unwrap_or(0));
    }
    drop(world);
    for (_, len) in out {
        accounting::give(Request::exact(card, Kind::Pool, len, "a pool's trim"));
    }
    Ok(())
}

/// What a synchronisation does: pools give back what is beyond their threshold.
pub(crate) fn settle() {
    let beyond: Vec<(usize, u64)> = {
        let world = world();
        let pools = world.pools.by_handle.iter();
        let beyond = pools.filter(|(_, pool)| pool.reserved > pool.threshold);
        beyond.map(|(&handle, pool)| (handle, pool.threshold)).collect()
    };
    for (handle, threshold) in beyond {
        let _ = trim(handle, threshold);
    }
}

/// Ends a pool; what the program still holds of it stays until it is freed.
pub(crate) fn destroy(handle: usize) -> Result {
    trim(handle, 0)?;
    let mut world = world();
    let pool = world.pools.get(handle)?;
    pool.threshold = 0;
    if pool.reserved == 0 {
        world.pools.by_handle.remove(&handle);
    }
    world.pools.current.retain(|_, current| *current != handle);
    Ok(())
}
