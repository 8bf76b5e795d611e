//! Counts of the planner, and lengths in this machine's memory.

// The cache and the engine run where lengths have the planner's 64 bits: no count is too large for one.
const _: () = assert!(usize::BITS == u64::BITS);

/// A count as a length or an index.
#[allow(clippy::cast_possible_truncation, reason = "both have 64 bits")]
pub(crate) const fn to_usize(count: u64) -> usize {
    count as usize
}
