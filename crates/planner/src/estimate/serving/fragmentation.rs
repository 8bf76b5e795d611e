//! What `PyTorch`'s caching allocator cannot use beside caches that are allocated at once.

use crate::estimate::fragmentation::{kind, mib};
use crate::estimate::{Buffers, Formula};
use crate::spec::Basis;

/// Lists the remainders of segments where caches are allocated at once.
pub fn push_remainders(buffers: &mut Buffers) {
    let source = "PyTorch CUDACachingAllocator.cpp, simulated over growing conversations";
    let formula = Formula::text("20 to 40 MiB with pre-allocated caches", &[]);
    buffers.push(kind(Basis::Modelled, source), "segments' remainders", mib(20, 30, 40), formula);
}
