//! Copies. Small values are carried, so that a program reads back what it wrote; of what kernels
//! would have computed nothing is known.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use vramplan_virtual_gpu::contract::Unwritten;
use vramplan_virtual_gpu::shared::count;

use super::{arena, process, world};
use crate::error::{Code, Result};
use crate::machine::machine;

const PAGE: usize = 4096;
/// Device memory that this process may fill with values: a program that uploads its model in small
/// pieces must not fill the host's memory. Beyond it only values up to a page are carried.
const BUDGET: u64 = 1 << 30;

static CARRIED: AtomicU64 = AtomicU64::new(0);

/// Where an address lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Host,
    Device { keeps_values: bool },
}

/// Where an address lies.
///
/// # Errors
/// Where it is a card's, but `len` bytes from it are not allocated.
fn side(at: usize, len: usize) -> Result<Side> {
    if at == 0 {
        return Err(Code::INVALID_VALUE);
    }
    let world = world();
    if world.memory.arena.holds(at) {
        let block = world.memory.find(at).ok_or(Code::INVALID_VALUE)?;
        if (at - block.at + len) as u64 > block.bytes {
            return Err(Code::INVALID_VALUE);
        }
        return Ok(Side::Device { keeps_values: world.memory.arena.keeps_values(at + len) });
    }
    if world.reservations.holds(at) {
        let mapped = world.reservations.covers(at, len);
        return mapped.then_some(Side::Device { keeps_values: true }).ok_or(Code::INVALID_VALUE);
    }
    Ok(Side::Host)
}

/// Whether `len` bytes from an address are a card's memory that keeps values.
pub(crate) fn keeps_values(at: usize, len: usize) -> bool {
    side(at, len) == Ok(Side::Device { keeps_values: true })
}

/// Whether a byte is a card's that keeps values, or lies in a page that the host has.
pub(crate) fn is_reachable(at: usize) -> bool {
    match side(at, 1) {
        Ok(Side::Device { keeps_values }) => keeps_values,
        Ok(Side::Host) => is_mapped(at),
        Err(_) => false,
    }
}

/// Copies `len` bytes between any two places.
pub(crate) fn copy(to: usize, from: usize, len: usize) -> Result {
    if len == 0 {
        return Ok(());
    }
    let counters = process::shared().counters();
    match (side(to, len)?, side(from, len)?) {
        (Side::Host, Side::Host) => move_bytes(to, from, len),
        (Side::Device { keeps_values }, Side::Host) => {
            count(&counters.host_to_device, len as u64);
            if keeps_values && affordable(len) {
                move_bytes(to, from, len);
            }
        }
        (Side::Host, Side::Device { keeps_values }) => {
            count(&counters.device_to_host, len as u64);
            process::note_read();
            read(to, from, len, keeps_values);
        }
        (Side::Device { keeps_values: a }, Side::Device { keeps_values: b }) => {
            count(&counters.device_to_device, len as u64);
            if a && b && affordable(len) {
                for (offset, len) in pages(from, len) {
                    if is_written(from + offset) {
                        move_bytes(to + offset, from + offset, len);
                    }
                }
            }
        }
    }
    Ok(())
}

/// Fills `len` bytes, on the card or the host.
pub(crate) fn fill(at: usize, byte: u8, len: usize) -> Result {
    if len == 0 {
        return Ok(());
    }
    match side(at, len)? {
        Side::Host => set_bytes(at, byte, len),
        Side::Device { keeps_values: false } => {}
        Side::Device { .. } if len as u64 <= machine().copy_limit => {
            if byte != 0 && !affordable(len) {
                return Ok(());
            }
            set_bytes(at, byte, len);
        }
        Side::Device { .. } => {
            // Whole pages lose what was written there and read as zeros; a large fill with
            // anything else is not carried.
            let (start, end) = (at.next_multiple_of(PAGE), (at + len) / PAGE * PAGE);
            arena::forget(start, end.saturating_sub(start));
        }
    }
    Ok(())
}

/// Writes a 32- or 16-bit pattern `n` times.
pub(crate) fn pattern(at: usize, value: &[u8], n: usize) -> Result {
    let len = value.len().checked_mul(n).ok_or(Code::INVALID_VALUE)?;
    if value.iter().all(|byte| *byte == value[0]) {
        return fill(at, value[0], len);
    }
    if side(at, len.max(1))? == (Side::Device { keeps_values: true }) && affordable(len) {
        let bytes = value.repeat(n);
        move_bytes(at, bytes.as_ptr() as usize, len);
    }
    Ok(())
}

fn affordable(len: usize) -> bool {
    let within = CARRIED.load(Relaxed) < BUDGET || len <= PAGE;
    if within && len as u64 <= machine().copy_limit {
        CARRIED.fetch_add(len as u64, Relaxed);
        return true;
    }
    false
}

/// Reads a card's memory: what was written, and the described filler where nothing was.
fn read(to: usize, from: usize, len: usize, keeps_values: bool) {
    for (offset, len) in pages(from, len) {
        if keeps_values && is_written(from + offset) {
            move_bytes(to + offset, from + offset, len);
        } else {
            filler(to, offset, len);
        }
    }
}

fn filler(to: usize, offset: usize, len: usize) {
    match machine().unwritten {
        Unwritten::Zeros | Unwritten::Counting(0) => set_bytes(to + offset, 0, len),
        Unwritten::Counting(n) => {
            let count = |at: usize| (u32::try_from(at / 4).unwrap_or(0) % n).to_le_bytes()[at % 4];
            let bytes: Vec<u8> = (offset..offset + len).map(count).collect();
            move_bytes(to + offset, bytes.as_ptr() as usize, len);
        }
    }
}

/// Splits a range at the pages of its start: offsets and lengths.
fn pages(at: usize, len: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut offset = 0;
    std::iter::from_fn(move || {
        let here = (PAGE - (at + offset) % PAGE).min(len - offset);
        let piece = (offset, here);
        offset += here;
        (here > 0).then_some(piece)
    })
}

/// Whether the host has a page at an address.
fn is_mapped(at: usize) -> bool {
    let mut there = 0u8;
    // SAFETY: one byte is written for one page; a page that is not mapped is an error, not a fault.
    unsafe { libc::mincore((at / PAGE * PAGE) as *mut _, 1, &raw mut there) == 0 }
}

/// Whether a page of device memory was ever written: whether there is memory behind it.
fn is_written(at: usize) -> bool {
    let mut there = 0u8;
    // SAFETY: the page lies in a mapping of ours, and one byte is written for one page.
    let known = unsafe { libc::mincore((at / PAGE * PAGE) as *mut _, 1, &raw mut there) };
    known == 0 && there & 1 == 1
}

fn move_bytes(to: usize, from: usize, len: usize) {
    // SAFETY: host ranges are the program's, which passed them to be read and written by the copy;
    // device ranges are mapped and accessible (`side`). They may overlap.
    unsafe { std::ptr::copy(from as *const u8, to as *mut u8, len) };
}

fn set_bytes(at: usize, byte: u8, len: usize) {
    // SAFETY: as `move_bytes`.
    unsafe { std::ptr::write_bytes(at as *mut u8, byte, len) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_split_at_pages() {
        let all: Vec<_> = pages(PAGE - 10, PAGE + 20).collect();
        assert_eq!(all, [(0, 10), (10, PAGE), (PAGE + 10, 10)]);
    }
}
