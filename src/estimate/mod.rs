//! What a run holds in GPU memory, buffer by buffer. Pure: specifications in, buffers out.
//!
//! One file per component holds its formula; `runtime/` says which of them a runtime has, and when.

pub mod buffer;
pub mod weights;
