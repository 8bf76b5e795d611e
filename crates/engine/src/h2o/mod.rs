//! The evicting key and value cache, and attention over it on the CPU.
//!
//! H2O (arXiv 2306.14048) keeps the tokens that attracted most attention, and the newest. Each layer has
//! a *pinned* region for the system prompt, which every conversation reads and nothing evicts, and per
//! sequence a number of *slots* ([`Policy`] says which slot is for what). A step of a conversation
//!
//! 1. *evicts*: tokens whose slots in the ring are about to be overwritten compete with the heavy
//!    hitters by the scores of all earlier queries; the lowest lose, per key head ([`evict()`]),
//! 2. *writes* the new keys and values as int8, with a score of 0 ([`place()`]),
//! 3. *attends* over pinned and live slots, causally among the new tokens ([`attend`]),
//! 4. *scores*: `score = decay^tokens · score + Σ probabilities` over the new queries and the query
//!    heads that share the key head; `decay` = 1 is H2O.
//!
//! Of equal scores the lower slot loses, and tokens that leave the ring lose last. Keys are stored after
//! RoPE at their original position, so that the order of slots means nothing, and no position is stored.
//!
//! All memory is the caller's: [`Rows`], [`Slots`] and [`Scratch`] borrow it, [`rows_size`] and the like
//! say how much it is, and no step allocates. Threads are those of the current rayon pool.

pub mod attend;
mod error;
pub mod evict;
mod owned;
mod place;
mod policy;
mod quant;
mod replay;
mod scratch;
mod size;
mod slots;
mod smooth;
mod step;
mod store;

pub use error::CacheError;
pub use evict::evict;
pub use owned::{OwnedCache, OwnedRows};
pub use place::{place, relocate};
pub use policy::{Heads, Policy};
pub use quant::quantize;
pub use replay::replay;
pub use scratch::{Scratch, ScratchSize};
pub(crate) use size::to_usize;
pub use slots::Step;
pub use smooth::choose_smoothing;
pub use step::{Layer, Tokens, decay_over};
pub use store::{Pinned, Rows, RowsMut, Slots, rows_size, scores_size, smoothing_size};
