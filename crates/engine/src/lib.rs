//! The engine: runs a quantized model over the evicting cache, in memory allocated from a plan.
//!
//! ```text
//! GGUF file ─ source ─→ config, weights ┐
//! plan ─→ table ─→ memory (arena, caches) ├─→ session: prefill, step ─→ forward ─→ backend
//! ```
//!
//! A [`Table`] is the plan's list of buffers. [`Engine::load`] asks for each of them by its `BufferId`, and
//! refuses to run where a size differs from what it needs: what a plan says is what is allocated.
//! [`Backend`] is where it runs; [`Cpu`] is the reference. [`h2o`] is the cache that evicts, [`launch`] the same in
//! CUDA, [`worker`] the process that `vramplan calibrate` starts.

pub mod backend;
mod capture;
mod config;
#[cfg(feature = "cuda")]
pub mod cuda;
mod error;
mod forward;
mod generate;
pub mod gpu;
pub mod h2o;
mod host;
pub mod launch;
mod memory;
mod observe;
mod plan_table;
mod positions;
pub mod quality;
mod rope;
mod sample;
mod session;
mod source;
mod spans;
mod synthetic;
mod text;
pub mod weights;
#[cfg(target_os = "linux")]
pub mod worker;

pub use backend::{Backend, Cpu};
pub use capture::{Captured, CapturedLayer};
pub use config::{Config, PairOrder};
pub use error::EngineError;
pub use generate::Generation;
pub use host::{Settings, table_without_card};
pub use memory::{Entry, Ledger, Span};
pub use observe::{Observer, Unobserved};
pub use plan_table::{NOT_OURS, Table};
pub use positions::Positions;
pub use rope::{Rope, Yarn};
pub use sample::{Sampler, Sampling, most_likely};
pub use session::{Engine, Model};
pub use source::{GgufSource, Source};
pub use synthetic::SyntheticSource;
pub use text::{ChatTemplate, Message, Role, Tokenizer};
