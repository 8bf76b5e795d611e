//! What is known about the cards of a machine. What NVML does not say is unknown.

use serde::{Deserialize, Serialize};

use vramplan_planner::units::Bytes;

/// A machine's driver and cards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Inventory {
    /// The driver's version.
    pub driver: Option<String>,
    /// NVML's version.
    pub nvml: Option<String>,
    /// The newest CUDA that the driver serves.
    pub cuda: Option<String>,
    /// Why cards could not be listed.
    pub error: Option<String>,
    /// Every card.
    pub devices: Vec<DeviceFacts>,
}

/// A card.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DeviceFacts {
    /// Its number in NVML, which a reboot can change.
    pub index: u32,
    /// Its name.
    pub name: Option<String>,
    /// Its UUID, which nothing changes.
    pub uuid: Option<String>,
    /// All of its memory.
    pub total: Option<Bytes>,
    /// What the driver keeps.
    pub reserved: Option<Bytes>,
    /// What processes hold.
    pub used: Option<Bytes>,
    /// What is free.
    pub free: Option<Bytes>,
    /// CUDA's compute capability.
    pub compute_capability: Option<String>,
    /// Who holds memory.
    pub processes: Option<Vec<Occupant>>,
    /// Whether it is cut into instances.
    pub mig: Option<bool>,
    /// Whether errors are corrected.
    pub ecc: Option<bool>,
    /// Whether the driver stays loaded while nothing runs.
    pub persistence: Option<bool>,
    /// Who may use it: `Default` for everyone.
    pub compute_mode: Option<String>,
    /// Why something could not be read.
    pub error: Option<String>,
}

/// A process that holds memory of a card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Occupant {
    /// Its number, as the driver counts.
    pub pid: u32,
    /// Its name, where it can be seen from here.
    pub name: Option<String>,
    /// What it holds, where the driver says so.
    pub bytes: Option<Bytes>,
}

impl DeviceFacts {
    /// A card of which nothing can be read.
    pub fn unreadable(index: u32, error: String) -> Self {
        Self { index, error: Some(error), ..Self::default() }
    }
}
