//! The cache of one layer (transformers `cache_utils.py`).

use super::attention::Sight;
use super::play::{Held, Play};
use super::quantize::{Quantized, quantize};
use crate::spec::TransformersVersion;

/// What a layer caches of a token, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Bytes of a token's keys and of its values.
    pub token: [u64; 2],
    /// The window, in windowed layers.
    pub window: Option<u64>,
    /// Bytes of a token's keys, and of its values, once they are quantized, and by what.
    pub quantized: Option<Quantized>,
}

impl Kept {
    /// Keys and values of so many tokens quantized, one after the other. The first are a view, which is copied.
    fn quantized_anew(self, play: &mut Play, tokens: u64, is_first: bool) -> [Held; 2] {
        let Some(Quantized { token, by }) = self.quantized else { return NOTHING };
        let mut stored = NOTHING;
        for ((stored, bytes), small) in stored.iter_mut().zip(self.token).zip(token) {
            let copy = play.take(if is_first { bytes * tokens } else { 0 });
            *stored = quantize(play, by, [bytes * tokens, small * tokens]);
            play.give(copy);
        }
        stored
    }
}

/// The cache of one layer.
#[derive(Debug)]
pub enum Cache {
    /// Grown by concatenation.
    Grown { kept: Kept, held: [Held; 2] },
    /// Allocated as a whole, when the layer has its first tokens (`lazy_initialization`). What is quantized is opened
    /// for attention, and quantized anew into its place: transformers has none, an engine on top of it may.
    Whole { kept: Kept, copies: [Held; 2], room: u64, is_there: bool },
    /// Quantized, but for the last tokens.
    Quantized { kept: Kept, held: [Held; 2], tail: Tail, expanded: [Held; 2] },
    /// Layers without keys and values.
    None,
}

const NOTHING: [Held; 2] = [Held::NOTHING, Held::NOTHING];

impl Cache {
    /// One that grows.
    pub fn grown(kept: Kept) -> Self {
        match kept.quantized {
            Some(_) => {
                Self::Quantized { kept, held: NOTHING, tail: Tail::default(), expanded: NOTHING }
            }
            None => Self::Grown { kept, held: NOTHING },
        }
    }

    /// One of `tokens` tokens of every sequence.
    pub fn whole(kept: Kept, tokens: u64) -> Self {
        let room = kept.window.map_or(tokens, |window| window.min(tokens));
        Self::Whole { kept, copies: NOTHING, room, is_there: false }
    }

    /// Allocates what is there as a whole, unless it is already.
    pub fn begin(&mut self, play: &mut Play, sequences: u64) {
        if let Self::Whole { kept, room, is_there, .. } = self {
            let stored = kept.quantized.map_or(kept.token, |quantized| quantized.token);
            for bytes in stored.into_iter().filter(|_| !*is_there) {
                // It stays: nothing gives it back.
                let _ = play.take(bytes * *room * sequences);
            }
            *is_there = true;
        }
    }

    /// Takes the new tokens' keys and values, which are given back.
    pub fn append(&mut self, play: &mut Play, sight: Sight, new: [Held; 2]) {
        let size = |bytes: u64, tokens: u64| bytes * tokens * sight.sequences;
        self.begin(play, sight.sequences);
        if let Self::Grown { held, .. } = self
            && sight.past == 0
            && !sight.version.windows_caches()
        {
            // The first keys and values are kept as they are (4.53.3 `DynamicCache.update`).
            *held = new;
            return;
        }
        match self {
            Self::Grown { kept, held } if kept.window.is_some() => {
                let joined = kept.token.map(|bytes| play.take(size(bytes, sight.seen)));
                play.give_all(std::mem::replace(held, joined));
            }
            Self::Grown { kept, held } => {
                for (held, bytes) in held.iter_mut().zip(kept.token) {
                    play.replace(held, size(bytes, sight.seen));
                }
            }
            Self::Whole { kept, copies, .. } if kept.quantized.is_some() => {
                *copies = opened(play, sight, *kept, sight.past);
                let seen = sight.past + sight.rows;
                for stored in kept.quantized_anew(play, seen * sight.sequences, sight.past == 0) {
                    play.give(stored);
                }
            }
            Self::Whole { kept, copies, room, .. } => {
                if kept.window.is_some() && sight.past + sight.rows > *room {
                    let tokens = if sight.rows > 1 { sight.seen } else { *room };
                    *copies = kept.token.map(|bytes| play.take(size(bytes, tokens)));
                    if sight.rows == 1 {
                        play.give_all(std::mem::replace(copies, NOTHING));
                    }
                }
            }
            Self::Quantized { kept, held, tail, expanded } => {
                quantized(play, sight, *kept, (held, tail, expanded));
                if sight.past == 0 {
                    // What is attended to is what was quantized (`QuantizedLayer.update`).
                    *expanded = new;
                    return;
                }
            }
            Self::None => {}
        }
        play.give_all(new);
    }

    /// What was made for attention only is given back.
    pub fn attended(&mut self, play: &mut Play) {
        match self {
            Self::Whole { copies, .. } | Self::Quantized { expanded: copies, .. } => {
                play.give_all(std::mem::replace(copies, NOTHING));
            }
            Self::Grown { .. } | Self::None => {}
        }
    }
}

/// Tokens that a quantized cache keeps in 16 bits (`residual_length`).
const RESIDUAL: u64 = 128;

/// The last tokens of a quantized cache, in 16 bits.
#[derive(Debug)]
pub struct Tail {
    held: [Held; 2],
    tokens: u64,
}

impl Default for Tail {
    fn default() -> Self {
        Self { held: NOTHING, tokens: 0 }
    }
}

impl Tail {
    /// Whether all is quantized once so many tokens more are there: versions before 5 look at what was there before, of
    /// which there is none right after quantizing.
    fn is_full_with(&self, rows: u64, version: TransformersVersion) -> bool {
        if version == TransformersVersion::Current {
            self.tokens + rows >= RESIDUAL
        } else {
            self.tokens > 0 && self.tokens + 1 >= RESIDUAL
        }
    }
}

type Parts<'c> = (&'c mut [Held; 2], &'c mut Tail, &'c mut [Held; 2]);

/// Expands what is quantized, joins it with the tail and the new tokens, and quantizes all of it once the tail
/// is full (`QuantizedLayer.update`).
fn quantized(play: &mut Play, sight: Sight, kept: Kept, (held, tail, expanded): Parts<'_>) {
    let size = |bytes: u64, tokens: u64| bytes * tokens * sight.sequences;
    let is_first = sight.past == 0;
    let stored = |play: &mut Play, held: &mut [Held; 2]| {
        let new = kept.quantized_anew(play, sight.all_seen(), is_first);
        play.give_all(std::mem::replace(held, new));
    };
    if is_first {
        return stored(play, held);
    }
    let joined = opened(play, sight, kept, sight.past.saturating_sub(tail.tokens));
    if tail.is_full_with(sight.rows, sight.version) {
        stored(play, held);
        play.give_all(std::mem::take(tail).held);
    } else {
        tail.tokens += sight.rows;
        for (held, bytes) in tail.held.iter_mut().zip(kept.token) {
            play.replace(held, size(bytes, tail.tokens));
        }
    }
    *expanded = joined;
}

/// What is quantized of a layer, in 16 bits and with the new tokens.
fn opened(play: &mut Play, sight: Sight, kept: Kept, quantized: u64) -> [Held; 2] {
    let size = |bytes: u64, tokens: u64| bytes * tokens * sight.sequences;
    if sight.past == 0 {
        return NOTHING;
    }
    let opened = kept.token.map(|bytes| play.take(size(bytes, quantized)));
    let joined = kept.token.map(|bytes| play.take(size(bytes, sight.past + sight.rows)));
    play.give_all(opened);
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_before_5_look_at_the_tail_that_was_there_before() {
        let tail = |tokens| Tail { held: NOTHING, tokens };
        for (tokens, rows, version, is_full) in [
            (0, 256, TransformersVersion::Current, true),
            (0, 127, TransformersVersion::Current, false),
            (127, 1, TransformersVersion::Current, true),
            (0, 256, TransformersVersion::ExpertModules, false),
            (256, 1, TransformersVersion::ExpertModules, true),
            (126, 1, TransformersVersion::ExpertModules, false),
            (127, 1, TransformersVersion::ExpertModules, true),
        ] {
            assert_eq!(tail(tokens).is_full_with(rows, version), is_full, "{tokens} {rows}");
        }
    }
}
