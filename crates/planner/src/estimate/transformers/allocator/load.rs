//! Loading: the block that warms the allocator up, then every tensor; those to be quantized in 16 bits first,
//! experts one by one before they are joined (transformers 5 `modeling_utils.py`, `core_model_loading.py`).
//!
//! Threads read ahead of what is joined, however far: where they are faster, all experts are there before the first
//! are. Where tensors are quantized as they are loaded, each is read when it is its turn.

use std::sync::OnceLock;

use super::caching::Caching;
use super::play::{Held, MOST, Play};
use super::tape::{Refused, Tape, TooSmall, granted};
use crate::dtype::WeightFormat;
use crate::estimate::weights::{Piece, torch};
use crate::spec::{Role, TransformersVersion};
use crate::units::Bytes;

/// What a card holds beside the allocator's memory, as far as warming up is concerned.
const CONTEXT: u64 = 512 << 20;
/// What transformers leaves of a card when it warms the allocator up (`caching_allocator_warmup`).
const WARMUP_LEAVES: u64 = 6 * (1 << 30) / 5;
/// Parts into which a layer's experts are cut in a play at most.
const MOST_PARTS: u64 = 128;
/// From this much beside the weights on, all of them lie in the block that warms the allocator up. It counts for
/// nothing: they take its place.
const WARM: u64 = WARMUP_LEAVES - CONTEXT;

/// The weights of a model, which stay: the same for every run.
#[derive(Debug)]
pub struct Load {
    tape: Tape,
    /// The block that warms the allocator up, where the card has room for it.
    warm_up: u64,
    /// What is asked for and alive in the end.
    asked: u64,
    most_asked: u64,
    /// Allocators of cards with room for all of it, with their defaults and with segments that grow.
    warm: [OnceLock<Caching>; 2],
}

impl Load {
    /// Weights in the order in which they are loaded.
    pub fn of(pieces: &[Piece], how: How) -> Self {
        let mut play = Play::default();
        load(&mut play, pieces, how);
        let warm_up = warm_up(pieces, how);
        Self {
            warm_up,
            asked: play.asked(),
            most_asked: play.most_asked().max(warm_up),
            tape: play.into_tape(),
            warm: [OnceLock::new(), OnceLock::new()],
        }
    }

    /// What is asked for and alive in the end.
    pub const fn asked(&self) -> u64 {
        self.asked
    }

    /// The most that is asked for and alive.
    pub const fn most_asked(&self) -> u64 {
        self.most_asked
    }

    /// From this card on all weights lie in the first block.
    pub const fn warm_from(&self) -> u64 {
        self.warm_up.saturating_add(WARM)
    }

    /// The allocator of a card once the weights are there.
    ///
    /// # Errors
    /// Where the card is too small and does not grow, or growing does not help.
    pub fn on(
        &self,
        card: u64,
        is_expandable: bool,
        too_small: TooSmall,
    ) -> Result<Caching, Refused> {
        if card >= self.warm_from() {
            let warm = &self.warm[usize::from(is_expandable)];
            if warm.get().is_none() {
                let loaded = self.play(MOST, is_expandable, TooSmall::Ends)?;
                // Another thread's is the same.
                let _ = warm.set(loaded);
            }
            if let Some(warm) = warm.get().filter(|warm| warm.most_reserved() <= card) {
                let mut allocator = warm.clone();
                allocator.set_card(card);
                return Ok(allocator);
            }
        }
        self.play(card, is_expandable, too_small)
    }

    fn play(
        &self,
        card: u64,
        is_expandable: bool,
        too_small: TooSmall,
    ) -> Result<Caching, Refused> {
        let mut allocator = Caching::new(card.min(MOST), is_expandable);
        let first = self.warm_up.min(allocator.card().saturating_sub(WARM));
        if first > 0 {
            granted(&mut allocator, too_small, |allocator| allocator.touch(first))?;
            // A smaller card has a smaller one.
            allocator.forget_most_allocated();
        }
        self.tape.ask(&mut allocator, too_small)?;
        Ok(allocator)
    }
}

/// Tensor by tensor. Threads read all of them as fast as they can, and experts are joined behind that; what is
/// quantized as it is loaded is read when it is its turn.
fn load(play: &mut Play, pieces: &[Piece], how: How) {
    let reads_ahead = !torch::is_bitsandbytes(how.format);
    let mut layers = Vec::new();
    let mut rest = pieces;
    while let Some(first) = rest.first() {
        let run = rest.iter().take(3).take_while(|piece| piece.joined > 0).count();
        let stacks = &rest[..run];
        if run == 0 {
            one(play, first, how);
        } else if reads_ahead {
            layers.push((stacks, read_by_expert(play, stacks)));
        } else {
            for stacks in joined(stacks) {
                let sources = stacks.iter().map(|stack| read(play, stack)).collect();
                join(play, stacks, sources);
            }
        }
        rest = &rest[run.max(1)..];
    }
    for (stacks, mut sources) in layers {
        for stacks in joined(stacks) {
            let sources = sources.drain(..stacks.len()).collect();
            join(play, stacks, sources);
        }
    }
}

/// What weights are made, and by which version.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// The format that they have in the end.
    pub format: WeightFormat,
    /// The version of transformers.
    pub version: TransformersVersion,
    /// Whether the head is the table of embeddings.
    pub tied: bool,
}

/// The first block. Versions before 5 count parameters in 16 bits, and half of them where they will be quantized
/// (`get_accelerator_warm_up_factor`).
fn warm_up(pieces: &[Piece], how: How) -> u64 {
    let How { format, version, tied } = how;
    if version == TransformersVersion::Current {
        return pieces.iter().map(counted).sum();
    }
    let halves = if torch::is_bitsandbytes(format) { 2 } else { 1 };
    let is_counted_again = |piece: &Piece| {
        tied && version.warms_up_tied_twice() && piece.role == Some(Role::TokenEmbedding)
    };
    let times = |piece: &Piece| piece.modules * (1 + u64::from(is_counted_again(piece)));
    pieces.iter().map(|piece| times(piece) * in_sixteen_bits(piece, format)).sum::<u64>() / halves
}

/// A tensor of a piece as its file has it.
pub fn in_sixteen_bits(piece: &Piece, format: WeightFormat) -> u64 {
    match (piece.moved.is_zero(), format) {
        (true, _) => piece.held[0].get(),
        // Eight bits come from bf16 and f16, of which one is counted.
        (false, WeightFormat::Int8) => piece.moved.get() / 2,
        (false, _) => piece.moved.get(),
    }
}

/// What of a tensor the first block is as large as: scales are not counted (`param_element_size`).
fn counted(piece: &Piece) -> u64 {
    let [weight, rest @ ..] = piece.held.map(Bytes::get);
    let scales: u64 = if piece.moved.is_zero() { rest.iter().sum() } else { 0 };
    piece.modules * (weight + scales)
}

fn one(play: &mut Play, piece: &Piece, how: How) {
    for _ in 0..piece.modules {
        if piece.moved.is_zero() {
            for part in piece.held {
                // Weights stay: nothing gives them back.
                let _ = play.take(part.get());
            }
        } else if how.format == WeightFormat::Int8 {
            eight_bit(play, piece);
        } else {
            four_bit(play, piece, how);
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
/// (`quantize_4bit`). Versions before 5 read it onto the card, and put it there again (`create_quantized_param`).
fn four_bit(play: &mut Play, piece: &Piece, how: How) {
    let [weight, scales, rest @ ..] = piece.held.map(Bytes::get);
    let is_current = how.version == TransformersVersion::Current;
    let read = play.take(if is_current { 0 } else { piece.moved.get() });
    let moved = play.take(piece.moved.get());
    let nested = matches!(
        how.format,
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
    play.give_all([moved, read]);
}

/// A layer's stacks by what becomes one tensor: down by itself, gate and up in one.
fn joined(stacks: &[Piece]) -> impl Iterator<Item = &[Piece]> {
    let is_down = |piece: &Piece| piece.role == Some(Role::ExpertDown);
    stacks.chunk_by(move |one, next| !is_down(one) && !is_down(next))
}

/// Matrix by matrix.
fn read(play: &mut Play, stack: &Piece) -> Vec<Held> {
    (0..parts(stack)).map(|_| play.take(stack.held[0].get() / parts(stack))).collect()
}

/// Expert by expert: the matrices of each stack.
fn read_by_expert(play: &mut Play, stacks: &[Piece]) -> Vec<Vec<Held>> {
    let mut sources: Vec<_> = stacks.iter().map(|_| Vec::new()).collect();
    for _ in 0..stacks.first().map_or(0, parts) {
        for (source, stack) in sources.iter_mut().zip(stacks) {
            source.push(play.take(stack.held[0].get() / parts(stack)));
        }
    }
    sources
}

/// Into how many matrices a stack is cut.
fn parts(stack: &Piece) -> u64 {
    stack.joined.clamp(1, MOST_PARTS)
}

/// Each stacked, and two of them in one tensor then.
fn join(play: &mut Play, stacks: &[Piece], sources: Vec<Vec<Held>>) {
    let mut stacked = Vec::with_capacity(stacks.len());
    for (source, stack) in sources.into_iter().zip(stacks) {
        stacked.push(play.take(stack.held[0].get()));
        play.give_all(source);
    }
    if stacked.len() > 1 {
        let size = stacked.iter().map(Held::bytes).sum();
        let _ = play.take(size);
        play.give_all(stacked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A table in 16 bits, and a matrix that becomes 4-bit.
    fn pieces() -> [Piece; 2] {
        let piece = |role, held, moved| Piece {
            role: Some(role),
            layer: None,
            held,
            moved: Bytes::new(moved),
            modules: 1,
            joined: 0,
        };
        let mut table = [Bytes::ZERO; 6];
        table[0] = Bytes::new(100 * MIB);
        let mut matrix = [Bytes::ZERO; 6];
        matrix[0] = Bytes::new(16 * MIB);
        [piece(Role::TokenEmbedding, table, 0), piece(Role::FfnUp, matrix, 64 * MIB)]
    }

    fn loaded(version: TransformersVersion, tied: bool) -> Load {
        let format = WeightFormat::Nf4 { double_quant: false };
        Load::of(&pieces(), How { format, version, tied })
    }

    #[test]
    fn versions_before_5_hold_what_becomes_4_bit_twice() {
        let [old, new] = [TransformersVersion::ExpertModules, TransformersVersion::Current]
            .map(|version| loaded(version, false));
        assert_eq!((old.asked(), new.asked()), (116 * MIB, 116 * MIB));
        assert_eq!((old.most_asked(), new.most_asked()), (244 * MIB, 180 * MIB));
    }

    #[test]
    fn the_first_block_is_half_of_16_bits_and_tied_matrices_count_twice_in_the_oldest() {
        assert_eq!(loaded(TransformersVersion::Current, true).warm_up, 116 * MIB);
        assert_eq!(loaded(TransformersVersion::ExpertModules, true).warm_up, 82 * MIB);
        assert_eq!(loaded(TransformersVersion::RepeatedHeads, true).warm_up, 132 * MIB);
    }
}
