//! Readers: profiles, GGUF and safetensors headers, `config.json`, over bytes and ranges that [`Files`] hands out.
//!
//! Files come from strangers. What they claim is checked before it is believed, and before anything
//! of that size is allocated; what they call things is made safe before it is printed.

mod apple;
pub mod calibration;
mod card_words;
mod catalog;
mod encoders;
mod error;
mod files;
pub mod gguf;
pub mod hf_config;
mod hf_parts;
mod hf_vision;
mod json;
mod mig;
mod model;
mod name_format;
mod names;
mod pattern;
pub mod profile;
pub mod safetensors;
#[cfg(test)]
mod testing;
mod unmodelled;
pub mod yaml;

pub use calibration::{CalibratedRun, Calibration};
pub(crate) use catalog::size_alone;
pub use catalog::{Catalog, Document, Folder, Listing};
pub use error::SourceError;
pub use files::{Files, Found, MemoryFiles, NoFiles, Opened, ReadSeek, read_bounded, text_bounded};
pub use model::{is_gguf, model};
pub use name_format::format_of_name;
pub use names::Kind;
