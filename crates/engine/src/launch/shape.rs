//! A launch, as data.

use super::Arguments;
use crate::h2o::Heads;

/// Memory on the device that runs the launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Where it starts.
    pub address: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What launches depend on of a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Compute capability, `(9, 0)` for an H100.
    pub capability: (u32, u32),
}

/// A file of `kernels/`, and for what size of heads it was compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Op {
    /// The file's name without its ending.
    pub name: &'static str,
    /// `HEAD_DIM`, where the file is compiled for one.
    pub head_dim: Option<u32>,
}

/// A kernel with all it needs to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Where the kernel is.
    pub op: Op,
    /// Its name.
    pub function: &'static str,
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: u32,
    /// Dynamic shared memory of a block, in bytes.
    pub shared_bytes: u32,
    /// What it takes.
    pub arguments: Arguments,
}

/// Why something cannot be launched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// Memory is shorter than its shape says.
    #[error("`{name}` has {bytes} bytes: expected at least {expected}")]
    Short {
        /// The memory.
        name: &'static str,
        /// Its size.
        bytes: u64,
        /// What was expected.
        expected: u64,
    },
    /// Memory starts where its numbers cannot.
    #[error("`{name}` starts at {address:#x}: expected a multiple of {alignment}")]
    Misaligned {
        /// The memory.
        name: &'static str,
        /// Where it starts.
        address: u64,
        /// Of what it has to be a multiple.
        alignment: u64,
    },
    /// A number is outside of what the kernels were written for.
    #[error("`{name}` = {value}: expected {expected}")]
    Unsupported {
        /// The number.
        name: &'static str,
        /// Its value.
        value: u64,
        /// What was expected.
        expected: &'static str,
    },
}

impl Span {
    /// The `bytes` bytes from `start` on.
    ///
    /// # Errors
    /// Where it is shorter.
    pub fn part(self, start: usize, bytes: usize) -> Result<Self, LaunchError> {
        let (start, bytes) = (start as u64, bytes as u64);
        let end = start.saturating_add(bytes);
        if end > self.bytes {
            let name = "a part of memory";
            return Err(LaunchError::Short { name, bytes: self.bytes, expected: end });
        }
        Ok(Self { address: self.address + start, bytes })
    }

    /// Refuses a span of fewer than the product of `factors` bytes, or one that vector loads cannot
    /// start at.
    pub(super) fn holds(self, name: &'static str, factors: &[usize]) -> Result<(), LaunchError> {
        self.holds_at(name, factors, VECTOR)
    }

    /// The same for memory that kernels read number by number, `alignment` bytes each.
    pub(super) fn holds_at(
        self,
        name: &'static str,
        factors: &[usize],
        alignment: u64,
    ) -> Result<(), LaunchError> {
        let expected = factors.iter().fold(1_u64, |all, &factor| all.saturating_mul(factor as u64));
        if self.bytes < expected {
            return Err(LaunchError::Short { name, bytes: self.bytes, expected });
        }
        if expected > 0 && !self.address.is_multiple_of(alignment) {
            return Err(LaunchError::Misaligned { name, address: self.address, alignment });
        }
        Ok(())
    }
}

/// Where vector loads can start.
const VECTOR: u64 = 16;

/// A number as a kernel's `int`.
pub(super) fn int(name: &'static str, value: usize) -> Result<i32, LaunchError> {
    let too_large = LaunchError::Unsupported { name, value: value as u64, expected: "below 2^31" };
    i32::try_from(value).map_err(|_| too_large)
}

/// A number of blocks along the second or third dimension of a grid.
pub(super) fn blocks(name: &'static str, value: usize) -> Result<u32, LaunchError> {
    let expected = "1 to 65535";
    let refused = LaunchError::Unsupported { name, value: value as u64, expected };
    u16::try_from(value).ok().filter(|&value| value > 0).map(u32::from).ok_or(refused)
}

/// Refuses heads for which there are no attention kernels.
///
/// # Errors
/// For other sizes than 64, 128 and 256, and for more than 64 query heads to a kv head.
pub fn check_heads(heads: Heads) -> Result<(), LaunchError> {
    if heads.gqa_group() > MAX_SCORED_GROUP {
        let (name, value) = ("gqa_group", heads.gqa_group() as u64);
        return Err(LaunchError::Unsupported { name, value, expected: "at most 64" });
    }
    compiled_for(heads).map(|_| ())
}

/// Query heads of a group that `kernels/scores.cu` has room for.
const MAX_SCORED_GROUP: usize = 64;

/// The `HEAD_DIM` for which attention was compiled.
pub(super) fn compiled_for(heads: Heads) -> Result<Option<u32>, LaunchError> {
    match heads.head_dim() {
        64 => Ok(Some(64)),
        128 => Ok(Some(128)),
        256 => Ok(Some(256)),
        value => Err(LaunchError::Unsupported {
            name: "head_dim",
            value: value as u64,
            expected: "64, 128 or 256",
        }),
    }
}
