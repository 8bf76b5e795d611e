//! Addresses of device memory: host addresses without memory behind them until a small value is
//! written there.

use std::collections::BTreeMap;

use vramplan_virtual_gpu::contract::GRANULE_LEN as G;

use crate::machine::machine;

/// Addresses are made accessible in steps, so that they stay one mapping.
const STEP: usize = 1 << 30;

/// A range of addresses, handed out in granules, lowest first.
#[derive(Default)]
pub(crate) struct Arena {
    base: usize,
    len: usize,
    /// Up to where values can be kept.
    accessible: usize,
    /// Start and length of what is free.
    free: BTreeMap<usize, usize>,
}

impl Arena {
    fn prepare(&mut self) {
        if self.len > 0 {
            return;
        }
        let cards: u64 = machine().cards.iter().map(|card| card.total).sum();
        // Fragmentation and managed memory need more addresses than the cards have memory.
        let wanted = usize::try_from(cards.saturating_mul(4)).unwrap_or(usize::MAX).max(64 << 30);
        let mut len = wanted.next_multiple_of(STEP);
        // A limit on the address space (`ulimit -v`) may allow less.
        while len >= STEP {
            if let Some(base) = reserve(len) {
                (self.base, self.len, self.accessible) = (base, len, base);
                self.free.insert(base, len);
                return;
            }
            len /= 2;
        }
    }

    /// Addresses for `bytes`, aligned to a granule.
    pub(crate) fn take(&mut self, bytes: usize) -> Option<usize> {
        self.prepare();
        let bytes = bytes.checked_next_multiple_of(G)?.max(G);
        let (&at, &len) = self.free.iter().find(|(_, len)| **len >= bytes)?;
        self.free.remove(&at);
        if len > bytes {
            self.free.insert(at + bytes, len - bytes);
        }
        self.open_up_to(at + bytes);
        Some(at)
    }

    /// Gives addresses back, and forgets what was written there.
    pub(crate) fn give(&mut self, at: usize, bytes: usize) {
        let mut len = bytes.next_multiple_of(G).max(G);
        let mut start = at;
        if at + len <= self.accessible {
            forget(at, len);
        }
        if let Some((&before, &before_len)) = self.free.range(..at).next_back()
            && before + before_len == at
        {
            self.free.remove(&before);
            start = before;
            len += before_len;
        }
        if let Some(after_len) = self.free.remove(&(start + len)) {
            len += after_len;
        }
        self.free.insert(start, len);
    }

    pub(crate) fn holds(&self, at: usize) -> bool {
        self.len > 0 && (self.base..self.base + self.len).contains(&at)
    }

    /// Whether values can be kept up to an address: not where the system commits memory strictly.
    pub(crate) fn keeps_values(&self, end: usize) -> bool {
        end <= self.accessible
    }

    fn open_up_to(&mut self, end: usize) {
        while self.accessible < end {
            if !open(self.accessible, STEP) {
                return;
            }
            self.accessible += STEP;
        }
    }
}

/// Addresses that nothing else in this process gets.
pub(crate) fn reserve(len: usize) -> Option<usize> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let padded = len.checked_add(G)?;
    // SAFETY: a fresh mapping at an address of the kernel's choice.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), padded, libc::PROT_NONE, flags, -1, 0) };
    if at == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: the mapping was just made; both are advice. A core file would hold nothing of use, and
    // huge pages would make a written byte cost 2 MiB.
    unsafe {
        libc::madvise(at, padded, libc::MADV_DONTDUMP);
        libc::madvise(at, padded, libc::MADV_NOHUGEPAGE);
    }
    Some((at as usize).next_multiple_of(G))
}

/// Lets values be kept in reserved addresses.
pub(crate) fn open(at: usize, len: usize) -> bool {
    // SAFETY: the range was reserved by `reserve` and belongs to this module's callers.
    unsafe { libc::mprotect(at as *mut _, len, libc::PROT_READ | libc::PROT_WRITE) == 0 }
}

/// Gives back the memory behind addresses; they read as zeros.
pub(crate) fn forget(at: usize, len: usize) {
    // SAFETY: as above; private anonymous memory.
    unsafe { libc::madvise(at as *mut _, len, libc::MADV_DONTNEED) };
}

/// Gives reserved addresses back.
pub(crate) fn unreserve(at: usize, len: usize) {
    // SAFETY: the range was reserved by `reserve`.
    unsafe { libc::munmap(at as *mut _, len) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_back_addresses_join_and_are_taken_again() {
        let mut arena = Arena::default();
        let [a, b, c] = [1, G + 1, 5].map(|n| arena.take(n).unwrap());
        assert_eq!((b - a, c - b), (G, 2 * G));
        arena.give(a, 1);
        arena.give(b, G + 1);
        assert_eq!(arena.take(3 * G).unwrap(), a);
        arena.give(c, 5);
    }
}
