//! Loading: the block that warms the allocator up, then every tensor; those to be quantized in 16 bits first,
//! experts one by one before they are joined (transformers 5 `modeling_utils.py`, `core_model_loading.py`).
//!
//! Threads read ahead of what is joined, so that a layer's experts are there before any of them are; where tensors
//! are quantized as they are loaded, each is read when it is its turn.

use super::play::{Held, Play};
use crate::dtype::WeightFormat;
use crate::estimate::weights::{Piece, torch};
use crate::spec::Role;
use crate::units::Bytes;

/// What a card holds beside the allocator's memory, as far as warming up is concerned.
const CONTEXT: u64 = 512 << 20;
/// What transformers leaves of a card when it warms the allocator up (`caching_allocator_warmup`).
const WARMUP_LEAVES: u64 = 6 * (1 << 30) / 5;
/// Parts into which a layer's experts are cut in a play at most.
const MOST_PARTS: u64 = 128;

/// From this much beside the weights on, all of them lie in the block that warms the allocator up.
const WARM: u64 = WARMUP_LEAVES - CONTEXT;

/// The weights, behind one block of their sum that is given back at once.
pub fn load(play: &mut Play, pieces: &[Piece], format: WeightFormat) {
    let sum: u64 = pieces.iter().map(counted).sum();
    let card = play.allocator().card();
    // It counts for nothing: the weights take its place.
    play.workspace(sum.min(card.saturating_sub(WARM)));
    play.begin_phase();
    let reads_ahead = !torch::is_bitsandbytes(format);
    let mut rest = pieces;
    while let Some(first) = rest.first() {
        let run = rest.iter().take(3).take_while(|piece| piece.joined > 0).count();
        if run == 0 {
            one(play, first, format);
            rest = &rest[1..];
        } else {
            layer(play, &rest[..run], reads_ahead);
            rest = &rest[run..];
        }
    }
}

/// What of a tensor the first block is as large as: scales are not counted (`param_element_size`).
fn counted(piece: &Piece) -> u64 {
    let [weight, rest @ ..] = piece.held.map(Bytes::get);
    let scales: u64 = if piece.moved.is_zero() { rest.iter().sum() } else { 0 };
    piece.modules * (weight + scales)
}

fn one(play: &mut Play, piece: &Piece, format: WeightFormat) {
    for _ in 0..piece.modules {
        if piece.moved.is_zero() {
            for part in piece.held {
                // Weights stay: nothing gives them back.
                let _ = play.take(part.get());
            }
        } else if format == WeightFormat::Int8 {
            eight_bit(play, piece);
        } else {
            four_bit(play, piece, format);
        }
    }
}

/// In bf16, in f16, quantized (`int8_vectorwise_quant`).
fn eight_bit(play: &mut Play, piece: &Piece) {
    let copies = [play.take(piece.moved.get() / 2), play.take(piece.moved.get() / 2)];
    for part in piece.held.iter().rev() {
        let _ = play.take(part.get());
    }
    play.give_all(copies);
}

/// In 16 bits, scales in f32, quantized; scales once more less their mean, then quantized themselves
/// (`quantize_4bit`).
fn four_bit(play: &mut Play, piece: &Piece, format: WeightFormat) {
    let [weight, scales, rest @ ..] = piece.held.map(Bytes::get);
    let moved = play.take(piece.moved.get());
    let nested = matches!(
        format,
        WeightFormat::Nf4 { double_quant: true } | WeightFormat::Fp4 { double_quant: true }
    );
    let wide = play.take(if nested { 4 * scales } else { 0 });
    let _ = play.take(if nested { 0 } else { scales });
    let _ = play.take(weight);
    if nested {
        let centred = play.take(4 * scales);
        let _ = play.take(scales);
        play.give(centred);
    }
    for part in rest {
        let _ = play.take(part);
    }
    play.give(wide);
    play.give(moved);
}

/// A layer's experts: down by themselves, gate and up in one.
fn layer(play: &mut Play, stacks: &[Piece], reads_ahead: bool) {
    let mut sources: Vec<_> = stacks.iter().map(|_| Vec::new()).collect();
    if reads_ahead {
        read(play, stacks, &mut sources);
    }
    let mut at = 0;
    while at < stacks.len() {
        let is_down = stacks[at].role == Some(Role::ExpertDown);
        let end = if is_down { at + 1 } else { (at + 2).min(stacks.len()) };
        if !reads_ahead {
            read(play, &stacks[at..end], &mut sources[at..end]);
        }
        join(play, &stacks[at..end], &mut sources[at..end]);
        at = end;
    }
}

/// Expert by expert.
fn read(play: &mut Play, stacks: &[Piece], sources: &mut [Vec<Held>]) {
    let parts = stacks[0].joined.clamp(1, MOST_PARTS);
    for _ in 0..parts {
        for (source, stack) in sources.iter_mut().zip(stacks) {
            source.push(play.take(stack.held[0].get() / parts));
        }
    }
}

/// Each stacked, and two of them in one tensor then.
fn join(play: &mut Play, stacks: &[Piece], sources: &mut [Vec<Held>]) {
    let mut stacked = Vec::with_capacity(stacks.len());
    for (source, stack) in sources.iter_mut().zip(stacks) {
        stacked.push(play.take(stack.held[0].get()));
        play.give_all(source.drain(..));
    }
    if stacked.len() > 1 {
        let size = stacked.iter().map(Held::bytes).sum();
        let _ = play.take(size);
        play.give_all(stacked);
    }
}
