//! Memory of the CPU, aligned for every type that lies in it.

use std::ops::Range;

use bytemuck::{AnyBitPattern, NoUninit};

use crate::EngineError;

/// Bytes, aligned to 8.
#[derive(Debug)]
pub struct Buffer {
    words: Vec<u64>,
    len: usize,
}

/// `count` zeros. The system gives its zero pages: nothing is written.
///
/// # Errors
/// [`EngineError::OutOfMemory`].
pub(super) fn zeros<T: Copy + Default>(count: usize) -> Result<Vec<T>, EngineError> {
    // Asked for beforehand, because only a reservation can be refused without ending the process; should
    // another thread take it meanwhile, the supervisor reads the runtime's last words.
    Vec::<T>::new().try_reserve_exact(count).map_err(|_| {
        let bytes = count.saturating_mul(size_of::<T>());
        EngineError::out_of_memory("allocating main memory", bytes)
    })?;
    Ok(vec![T::default(); count])
}

/// Makes a list exactly `len` long.
///
/// # Errors
/// [`EngineError::OutOfMemory`].
pub(super) fn resize<T: Copy>(list: &mut Vec<T>, len: usize, with: T) -> Result<(), EngineError> {
    let more = len.saturating_sub(list.len());
    list.try_reserve_exact(more).map_err(|_| {
        EngineError::out_of_memory("growing a workspace", more.saturating_mul(size_of::<T>()))
    })?;
    list.resize(len, with);
    Ok(())
}

impl Buffer {
    /// `len` zeroed bytes.
    pub(super) fn zeroed(len: usize) -> Result<Self, EngineError> {
        Ok(Self { words: zeros(len.div_ceil(size_of::<u64>()))?, len })
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
