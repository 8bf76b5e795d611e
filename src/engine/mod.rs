//! The engine.

#[cfg(feature = "cuda")]
pub mod cuda;
