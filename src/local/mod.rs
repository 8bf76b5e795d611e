//! What this machine has: its cards, as NVML tells them.

mod card;
#[cfg(feature = "nvml")]
mod nvml;

pub use card::{LocalCardError, local_card};
#[cfg(feature = "nvml")]
pub use nvml::open_nvml;
