//! The bytes of a synthetic model in order: in pieces, each from a stream of random numbers of its own.

use std::io::{self, Write};

use super::{SynthModel, SynthTensor, fill, padded};
use crate::units::{at_most, to_u64};

/// About the size of a piece. Part of what fixes the values: another size is another model.
const PIECE: u64 = 1 << 20;

impl SynthTensor {
    /// Fills `bytes` with the whole tensor. Anything longer than the tensor is left as it is.
    pub fn fill(&self, seed: u64, bytes: &mut [u8]) {
        let pieces = bytes.chunks_mut(self.piece());
        (0..self.pieces())
            .zip(pieces)
            .for_each(|(index, piece)| self.fill_piece(seed, index, piece));
    }

    /// The number of pieces, in which a tensor can be filled by several threads.
    pub fn pieces(&self) -> u64 {
        self.entry.size.get().div_ceil(self.piece() as u64)
    }

    /// Bytes of a piece but the last: whole blocks.
    pub fn piece(&self) -> usize {
        if let super::Values::Exactly(_) = self.values {
            // A table is not cut.
            return at_most(self.entry.size.get(), usize::MAX).max(1);
        }
        let block = self.entry.ty.layout().bytes;
        at_most(PIECE / block * block, usize::MAX)
    }

    /// Fills `bytes`, at most a piece long, with the piece of this index.
    pub fn fill_piece(&self, seed: u64, index: u64, bytes: &mut [u8]) {
        let own = seed ^ fnv1a(&self.entry.name);
        fill(self.entry.ty, &self.values, own.wrapping_add(index.wrapping_mul(GOLDEN)), bytes);
    }

    /// Bytes of the piece of this index.
    pub fn piece_len(&self, index: u64) -> usize {
        let left = self.entry.size.get().saturating_sub(index * to_u64(self.piece()));
        at_most(left, self.piece())
    }

    /// The zeros between it and what follows it in the file.
    pub fn zeros_behind(&self) -> &'static [u8] {
        let zeros = padded(self) - self.entry.size.get();
        &[0; 32][..usize::try_from(zeros).unwrap_or(0)]
    }
}

impl SynthModel {
    /// Writes the whole file: header, tensors, and the zeros between them.
    ///
    /// `progress` is told the bytes of each piece that was written, and ends the writing with an error.
    ///
    /// # Errors
    /// As `out` and `progress`.
    pub fn write_to(
        &self,
        out: &mut impl Write,
        mut progress: impl FnMut(u64) -> io::Result<()>,
    ) -> io::Result<()> {
        out.write_all(&self.header())?;
        let mut piece = Vec::new();
        for tensor in &self.tensors {
            for number in 0..tensor.pieces() {
                piece.resize(tensor.piece_len(number), 0);
                tensor.fill_piece(self.seed, number, &mut piece);
                out.write_all(&piece)?;
                progress(piece.len() as u64)?;
            }
            out.write_all(tensor.zeros_behind())?;
        }
        Ok(())
    }
}

/// 2⁶⁴ over the golden ratio: spreads the seeds of neighbouring pieces.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// FNV-1a: a tensor's values depend on its name, not on what stands before it.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
