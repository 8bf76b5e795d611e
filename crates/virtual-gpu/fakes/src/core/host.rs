//! Page-locked host memory. It is not locked here: a program that pins its model would hold it.

use std::collections::BTreeMap;

use vramplan_virtual_gpu::shared::Kind;

use super::accounting::{self, Request};
use super::{context, world};
use crate::error::{Code, Result};

#[derive(Debug, Clone, Copy)]
pub(crate) struct HostBlock {
    pub(crate) at: usize,
    pub(crate) len: usize,
    pub(crate) flags: u32,
    pub(crate) card: usize,
    kind: Kind,
}

impl HostBlock {
    fn request(&self, call: &'static str) -> Request {
        Request::exact(self.card, self.kind, self.len as u64, call)
    }
}

/// What this process has pinned and registered.
#[derive(Default)]
pub(crate) struct Host {
    blocks: BTreeMap<usize, HostBlock>,
}

impl Host {
    pub(crate) fn find(&self, at: usize) -> Option<HostBlock> {
        let (_, block) = self.blocks.range(..=at).next_back()?;
        (at - block.at < block.len).then_some(*block)
    }
}

/// Host memory that the program may use at once; pages come as it writes.
pub(crate) fn allocate(card: usize, bytes: usize, flags: u32) -> Result<usize> {
    context::enter(card)?;
    if bytes == 0 {
        return Ok(0);
    }
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let how = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a fresh mapping at an address of the kernel's choice.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, how, -1, 0) };
    if at == libc::MAP_FAILED {
        return Err(Code::OUT_OF_MEMORY);
    }
    let block = HostBlock { at: at as usize, len: bytes, flags, card, kind: Kind::Pinned };
    world().host.blocks.insert(block.at, block);
    charge(block, "cudaHostAlloc")?;
    Ok(block.at)
}

/// Takes note of memory that the program has.
pub(crate) fn register(card: usize, at: usize, len: usize, flags: u32) -> Result {
    context::enter(card)?;
    if at == 0 || len == 0 {
        return Err(Code::INVALID_VALUE);
    }
    let block = HostBlock { at, len, flags, card, kind: Kind::Registered };
    let mut world = world();
    let before = world.host.blocks.range(..at + len).next_back();
    if before.is_some_and(|(_, other)| other.at + other.len > at) {
        return Err(Code::ALREADY_REGISTERED);
    }
    world.host.blocks.insert(at, block);
    drop(world);
    charge(block, "cudaHostRegister")
}

fn charge(block: HostBlock, call: &'static str) -> Result {
    accounting::take(block.request(call))
}

/// Frees pinned memory.
pub(crate) fn free(at: usize) -> Result {
    if at == 0 {
        return Ok(());
    }
    let block = remove(at, Kind::Pinned).ok_or(Code::INVALID_VALUE)?;
    // SAFETY: mapped by `allocate` with this length, and given back by the program.
    unsafe { libc::munmap(block.at as *mut _, block.len) };
    accounting::give(block.request("its end"));
    Ok(())
}

/// Forgets registered memory.
pub(crate) fn unregister(at: usize) -> Result {
    let block = remove(at, Kind::Registered).ok_or(Code::NOT_REGISTERED)?;
    accounting::give(block.request("its end"));
    Ok(())
}

fn remove(at: usize, kind: Kind) -> Option<HostBlock> {
    let mut world = world();
    let block = world.host.blocks.get(&at).copied().filter(|block| block.kind == kind)?;
    world.host.blocks.remove(&at);
    Some(block)
}
