//! Loading: the block that warms the allocator up, then every tensor; those to be quantized in 16 bits first,
//! experts one by one before they are joined (transformers 5 `modeling_utils.py`, `core_model_loading.py`).

use super::play::{Held, Play};
use crate::estimate::weights::Piece;

/// What a card holds beside the allocator's memory, as far as warming up is concerned.
const CONTEXT: u64 = 512 << 20;
/// What transformers leaves of a card when it warms the allocator up (`caching_allocator_warmup`).
const WARMUP_LEAVES: u64 = 6 * (1 << 30) / 5;
/// Parts into which a layer's experts are cut in a play: as many matrices as there are would take too long.
const MOST_PARTS: u64 = 8;

/// From this much beside the weights on, all of them lie in the block that warms the allocator up.
pub const WARM: u64 = WARMUP_LEAVES - CONTEXT;

/// The weights, behind one block of their sum that is given back at once.
pub fn load(play: &mut Play, pieces: &[Piece], card: u64) {
    let size =
        |piece: &Piece| piece.modules * piece.held.iter().map(|held| held.get()).sum::<u64>();
    let sum: u64 = pieces.iter().map(size).sum();
    // It counts for nothing: the weights take its place.
    play.workspace(sum.min(card.saturating_sub(WARM)));
    play.begin_phase();
    let mut rest = pieces;
    while let Some(first) = rest.first() {
        let run = rest.iter().take(3).take_while(|piece| piece.joined > 0).count();
        if run == 0 {
            one(play, first);
            rest = &rest[1..];
        } else {
            join(play, &rest[..run]);
            rest = &rest[run..];
        }
    }
}

fn one(play: &mut Play, piece: &Piece) {
    for _ in 0..piece.modules {
        let moved = play.take(piece.moved.get());
        for part in piece.held {
            // Weights stay: nothing gives them back.
            let _ = play.take(part.get());
        }
        play.give(moved);
    }
}

/// A layer's experts: gate, up and down of each, then gate and up stacked and joined, then down.
fn join(play: &mut Play, stacks: &[Piece]) {
    let parts = stacks[0].joined.clamp(1, MOST_PARTS);
    let mut sources: Vec<Vec<Held>> = stacks.iter().map(|_| Vec::new()).collect();
    for _ in 0..parts {
        for (source, stack) in sources.iter_mut().zip(stacks) {
            source.push(play.take(stack.held[0].get() / parts));
        }
    }
    let mut stacked = Vec::with_capacity(stacks.len());
    for (source, stack) in sources.into_iter().zip(stacks) {
        if stacked.len() == 2 {
            joined(play, &mut stacked);
        }
        stacked.push(play.take(stack.held[0].get()));
        play.give_all(source);
    }
}

/// Gate and up in one tensor.
fn joined(play: &mut Play, halves: &mut Vec<Held>) {
    let size = halves.iter().map(Held::bytes).sum();
    let _ = play.take(size);
    play.give_all(halves.drain(..));
}
