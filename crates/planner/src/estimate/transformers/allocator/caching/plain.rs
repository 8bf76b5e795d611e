//! The same rules written down as plainly as they go: every question looks at every block of every segment. What the
//! allocator of the plays answers is compared with it, request by request.

#![allow(clippy::cast_possible_truncation, reason = "indices of short lists, in a test")]

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

use super::{BLOCK, Block, Caching, LARGE, LARGE_SEGMENT, ROUND, SMALL, SMALL_SEGMENT};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Used,
    Free,
    /// Addresses without memory.
    Unmapped,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    address: u64,
    size: u64,
    state: State,
}

#[derive(Debug)]
struct Segment {
    is_small: bool,
    parts: Vec<Part>,
}

struct Plain {
    card: u64,
    is_expandable: bool,
    segments: Vec<Segment>,
    top: u64,
    reserved: u64,
    refused: u64,
}

/// Where a part is: its segment, and its place there.
type At = (usize, usize);

impl Plain {
    fn new(card: u64, is_expandable: bool) -> Self {
        let mut new =
            Self { card, is_expandable, segments: Vec::new(), top: 0, reserved: 0, refused: 0 };
        if is_expandable {
            new.segment(false, 1 << 60, State::Unmapped);
            new.segment(true, 1 << 60, State::Unmapped);
        }
        new
    }

    fn segment(&mut self, is_small: bool, size: u64, state: State) -> At {
        let parts = vec![Part { address: self.top, size, state }];
        self.top += size;
        self.segments.push(Segment { is_small, parts });
        (self.segments.len() - 1, 0)
    }

    /// Where the block begins and how large it is, or how many bytes the card lacks.
    fn take(&mut self, bytes: u64) -> Result<(u64, u64), u64> {
        let size = bytes.max(1).next_multiple_of(BLOCK);
        let is_small = size <= SMALL;
        let at = self.best(size, is_small).or_else(|| self.more(size, is_small)).or_else(|| {
            self.release();
            self.more(size, is_small)
        });
        let Some((segment, part)) = at else {
            return Err(self.refused.saturating_sub(self.card - self.reserved));
        };
        let parts = &mut self.segments[segment].parts;
        let whole = parts[part];
        let left = whole.size - size;
        if left > SMALL || ((is_small || self.is_expandable) && left >= BLOCK) {
            let rest = Part { address: whole.address + size, size: left, state: State::Free };
            parts.insert(part + 1, rest);
            parts[part].size = size;
        }
        parts[part].state = State::Used;
        Ok((parts[part].address, parts[part].size))
    }

    fn best(&self, size: u64, is_small: bool) -> Option<At> {
        let of_pool = |(_, segment): &(usize, &Segment)| segment.is_small == is_small;
        let parts = self.segments.iter().enumerate().filter(of_pool).flat_map(|(at, segment)| {
            segment.parts.iter().enumerate().map(move |(part, it)| ((at, part), it))
        });
        let fits = parts.filter(|(_, part)| part.state == State::Free && part.size >= size);
        Some(fits.min_by_key(|(_, part)| (part.size, part.address))?.0)
    }

    fn reserve(&mut self, bytes: u64) -> bool {
        let has_room = self.reserved + bytes <= self.card;
        if has_room {
            self.reserved += bytes;
        } else {
            self.refused = bytes;
        }
        has_room
    }

    fn more(&mut self, size: u64, is_small: bool) -> Option<At> {
        if self.is_expandable {
            return self.expand(size, is_small);
        }
        let segment = match size {
            _ if is_small => SMALL_SEGMENT,
            size if size < LARGE => LARGE_SEGMENT,
            size => size.next_multiple_of(ROUND),
        };
        self.reserve(segment).then(|| self.segment(is_small, segment, State::Free))
    }

    fn expand(&mut self, size: u64, is_small: bool) -> Option<At> {
        let segment = usize::from(is_small);
        let page = if is_small { SMALL_SEGMENT } else { LARGE_SEGMENT };
        let parts = &self.segments[segment].parts;
        let from = (0..parts.len()).find_map(|at| {
            if parts[at].state != State::Unmapped {
                return None;
            }
            let first = if at > 0 && parts[at - 1].state == State::Free { at - 1 } else { at };
            let free = parts[first..].iter().take_while(|part| part.state != State::Used);
            (free.map(|part| part.size).sum::<u64>() >= size).then_some(parts[first].address)
        })?;
        loop {
            let parts = &self.segments[segment].parts;
            // What is mapped joins what is free before it.
            let at = parts.iter().rposition(|part| part.address <= from)?;
            let (next, missing) = match parts[at] {
                Part { state: State::Unmapped, .. } => (at, size),
                Part { size: has, .. } if has >= size => return Some((segment, at)),
                Part { size: has, .. } => (at + 1, size - has),
            };
            let room = parts[next].size;
            let mapped = missing.next_multiple_of(page).min(room);
            if !self.reserve(mapped) {
                return None;
            }
            self.set(segment, next, mapped, State::Free);
        }
    }

    /// Gives the first bytes of a part another state.
    fn set(&mut self, segment: usize, at: usize, bytes: u64, state: State) {
        let parts = &mut self.segments[segment].parts;
        let whole = parts[at];
        parts[at] = Part { size: bytes, state, ..whole };
        if bytes < whole.size {
            let rest = Part { address: whole.address + bytes, size: whole.size - bytes, ..whole };
            parts.insert(at + 1, rest);
        }
        self.join(segment);
    }

    /// Joins neighbours that are both free, or both without memory.
    fn join(&mut self, segment: usize) {
        let parts = &mut self.segments[segment].parts;
        parts.dedup_by(|next, part| {
            let joins = next.state == part.state && part.state != State::Used;
            if joins {
                part.size += next.size;
            }
            joins
        });
    }

    fn give(&mut self, address: u64) {
        for segment in 0..self.segments.len() {
            let parts = &mut self.segments[segment].parts;
            if let Some(part) = parts.iter_mut().find(|part| part.address == address) {
                assert_eq!(part.state, State::Used);
                part.state = State::Free;
                self.join(segment);
                return;
            }
        }
        panic!("nothing is at {address}");
    }

    fn release(&mut self) {
        if self.is_expandable {
            return self.unmap();
        }
        let reserved = &mut self.reserved;
        self.segments.retain(|segment| {
            let is_unused = matches!(segment.parts[..], [Part { state: State::Free, .. }]);
            if is_unused {
                *reserved -= segment.parts[0].size;
            }
            !is_unused
        });
    }

    /// Page by page.
    fn unmap(&mut self) {
        for segment in 0..2 {
            let page = if segment == 1 { SMALL_SEGMENT } else { LARGE_SEGMENT };
            let mut parts = Vec::new();
            for part in &self.segments[segment].parts {
                let end = part.address + part.size;
                let (from, to) = (part.address.next_multiple_of(page), end / page * page);
                if part.state != State::Free || from >= to {
                    parts.push(*part);
                    continue;
                }
                self.reserved -= to - from;
                let ranges = [
                    (part.address, from, State::Free),
                    (from, to, State::Unmapped),
                    (to, end, State::Free),
                ];
                let ranges = ranges.into_iter().filter(|(from, to, _)| from < to);
                parts.extend(ranges.map(|(address, to, state)| Part {
                    address,
                    size: to - address,
                    state,
                }));
            }
            self.segments[segment].parts = parts;
            self.join(segment);
        }
    }
}

/// Requests of the sizes that matter: around what pools and segments begin with, and a few that come again and again.
fn size(random: &mut Xoshiro256PlusPlus) -> u64 {
    const OFTEN: [u64; 6] = [512, SMALL, SMALL + 1, LARGE, 3 * LARGE_SEGMENT / 2, 70 << 20];
    let chance = random.next_u64();
    match chance % 4 {
        0 => OFTEN[(chance >> 8) as usize % OFTEN.len()],
        1 => OFTEN[(chance >> 8) as usize % OFTEN.len()] + (chance >> 16) % (2 * SMALL),
        _ => (chance >> 16) >> (22 + (chance >> 8) % 26),
    }
}

fn compare(seed: u64, is_expandable: bool) {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let card = (40 << 20) + random.next_u64() % (2 << 30);
    let (mut plain, mut fast) =
        (Plain::new(card, is_expandable), Caching::new(card, is_expandable));
    let mut held: Vec<(Block, u64)> = Vec::new();
    let (mut refused, mut granted) = (0, 0);
    for step in 0..3000 {
        let chance = random.next_u64();
        // As often given back as asked for, now and then for a while more often, so that segments become unused.
        let gives = if step / 500 % 2 == 0 { 4 } else { 6 };
        if chance % 10 < gives && !held.is_empty() {
            let (block, address) = held.swap_remove((chance >> 8) as usize % held.len());
            fast.give(block);
            plain.give(address);
        } else if chance % 10 == 9 {
            let bytes = size(&mut random);
            let asked = plain.take(bytes).map(|(address, _)| plain.give(address));
            assert_eq!(fast.touch(bytes).map_err(|full| full.missing), asked);
        } else {
            let bytes = size(&mut random);
            match (fast.take(bytes), plain.take(bytes)) {
                (Ok(block), Ok((address, size))) => {
                    let piece = fast.blocks[block.0];
                    assert_eq!((piece.address, piece.size), (address, size), "{seed} {step}");
                    held.push((block, address));
                    granted += 1;
                }
                (fast, plain) => {
                    assert_eq!(fast.unwrap_err().missing, plain.unwrap_err(), "{seed} {step}");
                    refused += 1;
                }
            }
        }
        assert_eq!(fast.reserved(), plain.reserved, "{seed} {step}");
    }
    assert!(granted > 500, "{seed}: {refused} refused");
}

#[test]
fn every_answer_is_that_of_the_plain_rules() {
    for seed in 0..24 {
        compare(seed, seed % 2 == 1);
    }
}
