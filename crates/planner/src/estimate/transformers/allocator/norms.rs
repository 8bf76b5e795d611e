//! Norms: RMS norms in f32 with the copies that eager `PyTorch` makes, or one kernel.

use super::play::{Held, Play};
use crate::spec::RmsNorm;

/// A norm of `elements` in rows of `row`: its result. The input stays with the caller.
pub fn norm(play: &mut Play, kind: RmsNorm, elements: u64, row: u64) -> Held {
    if kind == RmsNorm::OneKernel {
        return play.take(2 * elements);
    }
    let copy = play.take(4 * elements);
    play.touch(4 * elements);
    let means = play.take(4 * elements.div_ceil(row.max(1)));
    let normed = play.take(4 * elements);
    play.give(copy);
    let result = if kind == RmsNorm::InSixteenBits {
        let rounded = play.take(2 * elements);
        let result = play.take(2 * elements);
        play.give_all([rounded, normed]);
        result
    } else {
        let weighed = play.take(4 * elements);
        let mut normed = Some(normed);
        // Gemma's product takes the normed input's place.
        if kind == RmsNorm::OnePlusWeight {
            play.give_all(normed.take());
        }
        let result = play.take(2 * elements);
        play.give(weighed);
        play.give_all(normed);
        result
    };
    play.give(means);
    result
}
