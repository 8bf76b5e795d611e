//! What a run holds in GPU memory, buffer by buffer. Pure: specifications in, buffers out.
//!
//! One file per component holds its formulas; `runtime/` says which of them a runtime has, and when.
//!
//! | symbol | meaning |
//! |---|---|
//! | rows | tokens that a step processes at once: the prefill chunk, or one per sequence at decode |
//! | S | tokens that attention sees: system prompt + conversation |
//! | `q_width`, `kv_width` | `n_heads · head_dim`, `kv_heads · head_dim` |

pub mod buffer;
mod buffer_id;
pub mod capture;
pub mod fragmentation;
pub mod holdings;
pub mod kv_cache;
pub mod llama_cpp;
pub mod overhead;
pub mod placement;
pub mod rules;
pub mod runtimes;
pub mod scenario;
pub mod spread;
pub mod transformers;
pub mod vision;
pub mod vllm;
pub mod vramplan;
pub mod weights;

pub use buffer::{Buffer, Buffers, Component, Formula, Kind, Life, Moment, Phase};
pub use buffer_id::BufferId;
pub(crate) use holdings::push_weights;
pub use holdings::{Holdings, Pool, Retention, buffers, holdings};
pub use runtimes::{rules, weights_of, weights_of_part, weights_per_rank};
pub use scenario::{EstimateError, Scenario};
pub use spread::Spread;
