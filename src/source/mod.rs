//! The only readers of files: profiles, GGUF and safetensors headers, `config.json`.
//!
//! Files come from strangers. What they claim is checked before it is believed, and before anything
//! of that size is allocated; what they call things is made safe before it is printed.

pub mod calibration;
mod catalog;
mod error;
pub mod gguf;
pub mod hf_config;
mod hf_vision;
mod json;
mod local_gpu;
mod mig;
mod model;
mod names;
#[cfg(feature = "nvml")]
mod nvml;
mod pattern;
pub mod profile;
pub mod safetensors;
mod text;
mod unmodelled;

pub use calibration::{CalibratedRun, Calibration};
pub use catalog::{Catalog, Document, Listing};
pub use error::SourceError;
pub use local_gpu::{LocalCard, LocalCardError, local_card};
pub use model::model;
pub use names::Kind;
#[cfg(feature = "nvml")]
pub use nvml::open_nvml;
pub use text::{text_file, text_of_at_most};
