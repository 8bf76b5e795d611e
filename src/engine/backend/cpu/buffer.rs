//! Memory of the CPU, aligned for every type that lies in it.

use std::ops::Range;

use bytemuck::{AnyBitPattern, NoUninit};

use crate::engine::EngineError;

/// Bytes, aligned to 8.
#[derive(Debug)]
pub struct Buffer {
    words: Vec<u64>,
    len: usize,
}

impl Buffer {
    /// `len` zeroed bytes.
    pub(super) fn zeroed(len: usize) -> Result<Self, EngineError> {
        let count = len.div_ceil(size_of::<u64>());
        Vec::<u64>::new()
            .try_reserve_exact(count)
            .map_err(|error| EngineError::device("allocating on the host", error))?;
        // Asked for as zeroed, so that the system gives its zero pages and nothing is written.
        Ok(Self { words: vec![0; count], len })
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.len]
    }

    /// Its bytes, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.words)[..self.len]
    }

    /// A part of it as numbers.
    ///
    /// # Panics
    /// When the range is not in it, or not of whole numbers.
    pub fn part<T: AnyBitPattern>(&self, bytes: Range<usize>) -> &[T] {
        bytemuck::cast_slice(&self.bytes()[bytes])
    }

    /// Disjoint parts of it as numbers.
    ///
    /// # Panics
    /// When they overlap, are not in it, or not of whole numbers.
    pub fn parts<T: AnyBitPattern + NoUninit, const N: usize>(
        &mut self,
        bytes: [Range<usize>; N],
    ) -> [&mut [T]; N] {
        match self.bytes_mut().get_disjoint_mut(bytes) {
            Ok(parts) => parts.map(bytemuck::cast_slice_mut),
            Err(error) => panic!("spans of the arena: {error}"),
        }
    }
}
