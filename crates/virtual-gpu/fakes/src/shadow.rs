//! What the shadow of PyTorch (`python/vramplan_shadow`) asks: which memory it may write values to.

use std::ffi::c_int;

use crate::call::{Address, Text};
use crate::core::{copies, events};

/// Whether a range is device memory that the host can read and write: 1 or 0.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn vramplan_gpu_keeps_values(at: Address, len: usize) -> c_int {
    c_int::from(copies::keeps_values(at, len))
}

/// Whether two addresses can be read and written, each a card's or the host's: 1 or 0.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn vramplan_gpu_reachable(first: Address, last: Address) -> c_int {
    c_int::from(copies::is_reachable(first) && copies::is_reachable(last))
}

/// Says a sentence in the report.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn vramplan_gpu_remark(text: Text) {
    if let Ok(text) = text.get() {
        events::remark(&text);
    }
}
