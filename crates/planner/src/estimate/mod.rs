//! What a run holds in GPU memory, buffer by buffer. Pure: specifications in, buffers out.
//!
//! One file per component holds its formulas; `runtime/` says which of them a runtime has, and when.
//!
//! | symbol | meaning |
//! |---|---|
//! | rows | tokens that a step processes at once: the prefill chunk, or one per sequence at decode |
//! | S | tokens that attention sees: system prompt + conversation |
//! | `q_width`, `kv_width` | `n_heads · head_dim`, `kv_heads · head_dim` |

pub(crate) mod buffer;
mod buffer_id;
pub(crate) mod capture;
pub(crate) mod deviation;
pub(crate) mod fragmentation;
mod group;
pub(crate) mod holdings;
pub(crate) mod kv_cache;
pub mod llama_cpp;
mod ollama;
pub(crate) mod overhead;
pub mod placement;
pub mod rules;
pub mod runtimes;
pub(crate) mod scenario;
pub(crate) mod serving;
pub mod sglang;
pub mod transformers;
pub(crate) mod vision;
pub mod vllm;
pub mod vramplan;
pub mod weights;

pub use buffer::{Buffer, Buffers, Component, Formula, Kind, Life, Moment, Phase};
pub use buffer_id::BufferId;
pub use deviation::Deviation;
pub use group::Group;
pub(crate) use holdings::push_weights;
pub use holdings::{Captured, Holdings, Pool, Retention, Start, buffers, holdings};
pub use runtimes::{rules, weights_of, weights_of_part, weights_per_rank};
pub use scenario::{EstimateError, Scenario};
