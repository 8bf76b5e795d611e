//! What this machine has: its cards, as NVML tells them.

mod card;
mod memory;
#[cfg(feature = "nvml")]
mod nvml;
mod runtime_binary;

pub use card::{LocalCardError, local_card};
pub use memory::available_memory;
#[cfg(all(feature = "nvml", target_os = "linux"))]
pub use nvml::open_nvml;
pub use runtime_binary::version_of;
