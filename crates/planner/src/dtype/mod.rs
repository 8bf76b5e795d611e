//! Storage formats of weights and of cached keys and values, as exact integer sizes.
//!
//! Nothing here is a float: a format that stores 4.5 bits per weight stores 18 bytes per 32 weights,
//! and [`BlockLayout`] says just that.

mod ggml;
mod kv;
mod pair;
mod scheme;
mod weight;

pub use ggml::GgmlType;
pub use kv::{KvFormat, PerTokenHead};
pub use pair::KvPair;
pub use scheme::{Beside, Scheme};
pub use weight::{FileType, WeightFormat};

use crate::text::printable;
use crate::units::{Bytes, Overflow};

/// How many elements share a block, and how many bytes the block takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockLayout {
    /// Elements in a block.
    pub elements: u64,
    /// Bytes of a block, its scales included.
    pub bytes: u64,
}

impl BlockLayout {
    /// `elements` values in `bytes` bytes.
    pub const fn new(elements: u64, bytes: u64) -> Self {
        Self { elements, bytes }
    }

    /// The size of `elements` values: whole blocks, the last one filled up.
    ///
    /// ```
    /// use vramplan_planner::dtype::GgmlType;
    /// use vramplan_planner::units::Bytes;
    /// // 5120 weights in Q4_K: 20 blocks of 144 B.
    /// assert_eq!(GgmlType::Q4K.layout().size_of(5120)?, Bytes::new(20 * 144));
    /// # Ok::<(), vramplan_planner::units::Overflow>(())
    /// ```
    pub fn size_of(self, elements: u64) -> Result<Bytes, Overflow> {
        Bytes::new(self.bytes).times(elements.div_ceil(self.elements))
    }

    /// Whether rows of `elements` values divide into whole blocks.
    pub const fn divides(self, elements: u64) -> bool {
        elements.is_multiple_of(self.elements)
    }
}

/// A name that is no format of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a {kind} format: expected {known}", printable(.name))]
pub struct UnknownFormat {
    /// The name as given.
    pub name: String,
    /// `weight` or `KV cache`.
    pub kind: &'static str,
    /// The names that are known.
    pub known: String,
}
