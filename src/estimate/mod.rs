//! What a run holds in GPU memory, buffer by buffer. Pure: specifications in, buffers out.
//!
//! One file per component holds its formulas; `runtime/` says which of them a runtime has, and when.
//!
//! | symbol | meaning |
//! |---|---|
//! | rows | tokens that a step processes at once: the prefill chunk, or one per sequence at decode |
//! | S | tokens that attention sees: system prompt + conversation |
//! | `q_width`, `kv_width` | `n_heads · head_dim`, `kv_heads · head_dim` |

pub mod activations;
pub mod attention;
pub mod buffer;
pub mod capture;
pub mod dequantization;
pub mod expert_modules;
pub mod experts;
pub mod fragmentation;
pub mod gemm_4bit;
pub mod graphs;
pub mod instant;
pub mod kv_cache;
pub mod llama_graph;
pub mod logits;
pub mod overhead;
pub mod paged;
pub mod pass;
pub mod placement;
pub mod query_norm;
pub mod runtime;
pub mod scenario;
pub mod small;
pub mod spread;
pub mod vision;
pub mod weights;
pub mod window_remainder;

pub use buffer::{Buffer, Buffers, Component, Formula, Kind, Life, Moment, Phase};
pub use runtime::{Holdings, Pool, Retention, buffers, holdings};
pub use scenario::{EstimateError, Scenario};
pub use spread::Spread;
