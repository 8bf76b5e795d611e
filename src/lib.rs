//! vramplan plans the GPU memory of a quantized language model with an evicting KV cache.
//!
//! A plan is a table of buffers. Each estimator lists the buffers that one part of an inference run
//! holds; a phase sums the buffers alive in it; the plan's peak is the largest phase. The
//! recommendation is the inverse of the same function.
//!
//! ```text
//! profiles, GGUF, safetensors, config.json ─ source ─→ spec ─ estimate ─→ plan ─→ recommend ─→ render
//! ```
//!
//! Dependencies point one way: `units → dtype → {spec, h2o} → {source, estimate} → {plan, engine} →
//! recommend → {sweep, table} → render → cli`. Only `source` reads files, only `cli` prints.

pub mod cli;
pub mod dtype;
#[cfg(feature = "engine")]
pub mod engine;
pub mod estimate;
#[cfg(feature = "h2o")]
pub mod h2o;
pub mod plan;
pub mod recommend;
pub mod render;
pub mod source;
pub mod spec;
pub mod sweep;
pub mod table;
pub mod units;
