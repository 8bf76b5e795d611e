//! Virtual memory management: addresses, memory, and the mapping of one to the other.

use std::collections::BTreeMap;

use vramplan_virtual_gpu::contract::{GRANULE, GRANULE_LEN};
use vramplan_virtual_gpu::shared::Kind;

use super::accounting::{self, Request};
use super::{arena, context, fresh_handle, world};
use crate::error::{Code, Result};

/// Memory without an address. It lives while its handle or a mapping does.
struct Physical {
    card: usize,
    kind: Kind,
    bytes: u64,
    holders: usize,
}

#[derive(Debug, Clone, Copy)]
struct Mapping {
    len: usize,
    handle: usize,
}

/// The reservations of this process.
#[derive(Default)]
pub(crate) struct Reservations {
    ranges: BTreeMap<usize, usize>,
    physical: BTreeMap<usize, Physical>,
    mappings: BTreeMap<usize, Mapping>,
}

/// A mapped piece that holds an address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mapped {
    pub(crate) at: usize,
    pub(crate) len: usize,
    pub(crate) card: usize,
}

impl Reservations {
    /// The mapped piece that holds an address.
    pub(crate) fn find(&self, at: usize) -> Option<Mapped> {
        let (&start, mapping) = self.mappings.range(..=at).next_back()?;
        let physical = self.physical.get(&mapping.handle)?;
        (at - start < mapping.len).then_some(Mapped {
            at: start,
            len: mapping.len,
            card: physical.card,
        })
    }

    /// Whether an address was reserved, mapped or not.
    pub(crate) fn holds(&self, at: usize) -> bool {
        self.ranges.range(..=at).next_back().is_some_and(|(start, len)| at - start < *len)
    }

    /// Whether `len` bytes from an address are mapped without a gap.
    pub(crate) fn covers(&self, at: usize, len: usize) -> bool {
        let mut next = at;
        while next < at + len {
            match self.find(next) {
                Some(piece) => next = piece.at + piece.len,
                None => return false,
            }
        }
        true
    }

    /// Lets go of memory; what was the last hold on it frees it.
    fn release(&mut self, handle: usize) -> Result<Option<Physical>> {
        let physical = self.physical.get_mut(&handle).ok_or(Code::INVALID_VALUE)?;
        physical.holders -= 1;
        Ok(if physical.holders == 0 { self.physical.remove(&handle) } else { None })
    }
}

/// Reserves addresses.
pub(crate) fn reserve(len: usize) -> Result<usize> {
    if len == 0 || !len.is_multiple_of(GRANULE_LEN) {
        return Err(Code::INVALID_VALUE);
    }
    let at = arena::reserve(len).ok_or(Code::OUT_OF_MEMORY)?;
    world().reservations.ranges.insert(at, len);
    Ok(at)
}

/// Gives addresses back.
pub(crate) fn unreserve(at: usize, len: usize) -> Result {
    let mut world = world();
    if world.reservations.ranges.get(&at) != Some(&len) {
        return Err(Code::INVALID_VALUE);
    }
    world.reservations.ranges.remove(&at);
    drop(world);
    arena::unreserve(at, len);
    Ok(())
}

/// Takes memory of a card, or of the host.
pub(crate) fn create(card: usize, kind: Kind, bytes: u64) -> Result<usize> {
    if bytes == 0 || !bytes.is_multiple_of(GRANULE) {
        return Err(Code::INVALID_VALUE);
    }
    context::ensure(card)?;
    accounting::take(Request::exact(card, kind, bytes, "cuMemCreate"))?;
    let handle = fresh_handle();
    world().reservations.physical.insert(handle, Physical { card, kind, bytes, holders: 1 });
    Ok(handle)
}

/// Lets go of a handle.
pub(crate) fn release(handle: usize) -> Result {
    let freed = world().reservations.release(handle)?;
    if let Some(Physical { card, kind, bytes, .. }) = freed {
        accounting::give(Request::exact(card, kind, bytes, "cuMemRelease"));
    }
    Ok(())
}

/// Finds the handle behind a mapped address and holds it.
pub(crate) fn retain(at: usize) -> Result<usize> {
    let mut world = world();
    let start = world.reservations.find(at).ok_or(Code::INVALID_VALUE)?.at;
    let handle = world.reservations.mappings[&start].handle;
    if let Some(physical) = world.reservations.physical.get_mut(&handle) {
        physical.holders += 1;
    }
    Ok(handle)
}

/// Maps memory at reserved addresses.
pub(crate) fn map(at: usize, len: usize, handle: usize) -> Result {
    let mut world = world();
    let reservations = &mut world.reservations;
    let reserved = reservations.holds(at) && reservations.holds(at + len.max(1) - 1);
    if len == 0 || !len.is_multiple_of(GRANULE_LEN) || !reserved || reservations.find(at).is_some()
    {
        return Err(Code::INVALID_VALUE);
    }
    let physical = reservations.physical.get_mut(&handle).ok_or(Code::INVALID_VALUE)?;
    if len as u64 > physical.bytes {
        return Err(Code::INVALID_VALUE);
    }
    physical.holders += 1;
    reservations.mappings.insert(at, Mapping { len, handle });
    drop(world);
    // Where it fails (strict commit), copies there carry no values: `copies` asks the kernel.
    arena::open(at, len);
    Ok(())
}

/// Ends the mappings within a range.
pub(crate) fn unmap(at: usize, len: usize) -> Result {
    let mut world = world();
    let inside: Vec<(usize, Mapping)> =
        world.reservations.mappings.range(at..at + len).map(|(&at, &m)| (at, m)).collect();
    if inside.is_empty() {
        return Err(Code::INVALID_VALUE);
    }
    let mut freed = Vec::new();
    for (start, mapping) in inside {
        world.reservations.mappings.remove(&start);
        freed.extend(world.reservations.release(mapping.handle)?);
        arena::forget(start, mapping.len);
    }
    drop(world);
    for Physical { card, kind, bytes, .. } in freed {
        accounting::give(Request::exact(card, kind, bytes, "cuMemRelease"));
    }
    Ok(())
}
