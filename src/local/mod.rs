//! What this machine has: its cards, as NVML tells them.

mod card;
#[cfg(feature = "nvml")]
mod nvml;

pub use card::{LocalCardError, local_card};
#[cfg(all(feature = "nvml", target_os = "linux"))]
pub use nvml::open_nvml;
