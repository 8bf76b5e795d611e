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
//! With the feature `h2o` there is the cache itself: int8 keys and values, attention that keeps scores,
//! and eviction by them. It uses `units` alone. `engine` runs a model over it, `kernels` are the same in
//! CUDA.
//!
//! Dependencies point one way: `{text, bounded} → units → dtype → {spec, h2o} → {source, estimate, kernels} → {plan, synth}
//! → engine → {recommend, calibrate} → {sweep, table, worker} → render → cli`. Only `source` reads files, only
//! `cli` prints; `calibrate` runs programs and reads what they hold.

pub mod bounded;
pub mod calibrate;
pub mod cli;
pub mod dtype;
#[cfg(feature = "engine")]
pub mod engine;
pub mod estimate;
#[cfg(feature = "h2o")]
pub mod h2o;
#[cfg(feature = "h2o")]
pub mod kernels;
pub mod plan;
pub mod recommend;
pub mod render;
pub mod source;
pub mod spec;
pub mod sweep;
pub mod synth;
pub mod table;
pub mod text;
pub mod units;
#[cfg(all(feature = "engine", target_os = "linux"))]
pub mod worker;
