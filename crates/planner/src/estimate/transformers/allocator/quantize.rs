//! What quantizing a layer's keys or values asks for: HQQ (`hqq/core/quantize.py`, `optimize.py`) and quanto
//! (`optimum/quanto/tensor/weights/qbits.py`), as rehearsed runs did it.

use super::play::{Held, Play};

/// Who quantizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantizer {
    /// HQQ, to so many bits.
    Hqq(u64),
    /// Quanto.
    Quanto,
}

/// A quantized cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantized {
    /// Bytes of a token's keys, and of its values.
    pub token: [u64; 2],
    /// Who makes them.
    pub by: Quantizer,
}

/// One tensor: of so many bytes in 16 bits, and so many in the end.
pub fn quantize(play: &mut Play, by: Quantizer, [bytes, kept]: [u64; 2]) -> Held {
    match by {
        Quantizer::Hqq(bits) => hqq(play, bits, bytes, kept),
        Quantizer::Quanto => quanto(play, bytes, kept),
    }
}

/// What one step of HQQ's optimiser takes and gives back, each of it as large as the tensor in 16 bits
/// (`optimize_weights_proximal_legacy`): by places, of which those below 0 are given back.
const OPTIMISER: [i8; 32] = [
    1, 2, 3, -2, 4, -3, 5, 6, -5, 7, 8, 9, 10, -9, -10, 11, -11, -7, 12, 13, -12, 14, -13, -14, -8,
    15, 16, -15, -16, -1, -4, -6,
];

/// In f32, scales found by the optimiser, then rounded and packed.
fn hqq(play: &mut Play, bits: u64, bytes: u64, kept: u64) -> Held {
    let wide = play.take(2 * bytes);
    let mut places = [const { Held::NOTHING }; 17];
    for step in OPTIMISER {
        let place = &mut places[usize::from(step.unsigned_abs())];
        if step > 0 {
            *place = play.take(bytes);
        } else {
            play.give(std::mem::replace(place, Held::NOTHING));
        }
    }
    let mut rounded = play.take(2 * bytes);
    play.replace(&mut rounded, 2 * bytes);
    play.replace(&mut rounded, 2 * bytes);
    play.give(wide);
    if bits == 8 {
        let stored = play.take(kept);
        play.give(rounded);
        return stored;
    }
    let numbers = play.take(bytes / 2);
    let stored = play.take(kept);
    play.touch(kept);
    play.give(numbers);
    play.give(rounded);
    stored
}

/// In 16 bits all along.
fn quanto(play: &mut Play, bytes: u64, kept: u64) -> Held {
    let mut scaled = play.take(bytes);
    play.replace(&mut scaled, bytes);
    play.replace(&mut scaled, bytes);
    let rounded = play.take(bytes);
    let numbers = play.take(bytes / 2);
    play.give_all([rounded, scaled]);
    let stored = play.take(kept);
    play.touch(kept);
    play.touch(kept);
    play.give(numbers);
    stored
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_what_is_kept_is_given_back() {
        for (by, most) in
            [(Quantizer::Hqq(8), 900), (Quantizer::Hqq(4), 900), (Quantizer::Quanto, 250)]
        {
            let mut play = Play::default();
            let stored = quantize(&mut play, by, [100, 30]);
            assert_eq!((play.asked(), play.most_asked(), stored.bytes()), (30, most, 30));
        }
    }
}
