//! The board in each of its formats.

pub mod json;
pub mod markdown;
pub mod plot;
pub mod table;
