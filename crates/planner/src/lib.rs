//! What a language model takes of a GPU, buffer by buffer: bytes in, plan out.
//!
//! A plan is a table of buffers. Each estimator lists the buffers that one part of an inference run
//! holds; a phase sums the buffers alive in it; the plan's peak is the largest phase. The
//! recommendation is the inverse of the same function.
//!
//! ```text
//! profiles, GGUF, safetensors, config.json ─ read ─→ spec ─ estimate ─→ plan ─→ recommend ─→ render
//! ```
//!
//! Pure: no files, processes, clock, threads or terminal. Readers are given [`read::Files`]; it builds for
//! `wasm32-unknown-unknown`. Dependencies point one way: `{text, bounded} → units → dtype → spec → {read, estimate}
//! → {plan, synth} → deployment → {recommend, protocol, evidence} → {sweep, limits_table, why, fleet} → render → form`.

pub mod bounded;
pub mod deployment;
pub mod dtype;
pub mod estimate;
pub mod evidence;
pub mod fleet;
pub mod form;
pub mod limits_table;
pub mod plan;
pub mod protocol;
pub mod read;
pub mod recommend;
pub mod render;
pub mod spec;
pub mod sweep;
pub mod synth;
pub mod text;
pub mod units;
pub mod why;
