//! What to launch on a GPU: the kernels of `kernels/*.cu` with their grids, shared memory and checked
//! arguments. Nothing here touches a GPU: a [`Launch`] is data, which the CUDA backend executes and the
//! tests execute on an emulator.
//!
//! Memory is named by [`Span`]s, an address and a length; every function refuses spans that are shorter
//! than the shapes say. Shapes and semantics are those of [`crate::h2o`].

mod argument;
mod cache;
mod decode;
mod ops;
mod prefill;
mod ptx;
mod shape;
mod weights;
mod write;

pub use argument::{Argument, Arguments};
pub use cache::{LayerMemory, RegionMemory, clock_words};
pub use decode::{DecodeMemory, Scoring, Variant, decode, splits, update_scores};
pub use ops::{
    HeadRows, ProductShape, Rows, TableShape, add, add_bias, angles, embed, linear, rms_norm, rope,
    silu_mul,
};
pub use prefill::{PrefillMemory, advance, evict, next_victim, prefill, prefill_scores};
pub use ptx::{ops, ptx};
pub use shape::{Gpu, Launch, LaunchError, Op, Span, check_heads};
pub use weights::{LookMemory, attention_weights};
pub use write::{Leavers, WriteMemory, write};

/// Slots that one tile of scores covers: `TILE` of `kernels/cache.cuh`.
pub const TILE: usize = 64;
