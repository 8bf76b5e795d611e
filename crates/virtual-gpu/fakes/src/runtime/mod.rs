//! The CUDA runtime, `libcudart`. Names and signatures are the public header's.
#![allow(non_snake_case, unused_variables)]

mod device;
pub(crate) mod graphs;
pub(crate) mod kernels;
pub(crate) mod memory;
mod properties;
pub(crate) mod streams;

use crate::core::context;
use crate::error::Result;

/// The card that this thread works on.
pub(crate) fn current() -> Result<usize> {
    context::current_card()
}
