//! What can be asked how much memory is in use.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use vramplan_planner::units::Bytes;

/// Something that knows how much memory a device, or a process tree, holds now.
pub trait Meter: Send {
    /// What is measured.
    fn device(&self) -> Device;

    /// What is held now.
    ///
    /// # Errors
    /// [`MeterError::Lost`] when nothing more can come, [`MeterError::Failed`] when this reading
    /// failed only.
    fn read(&mut self) -> Result<Reading, MeterError>;

    /// The process whose tree is the one that is measured; until then nothing is.
    fn follow(&mut self, root: u32);

    /// The time from one reading to the next, where it answers that fast: 2 kHz.
    fn interval(&self) -> Duration {
        Duration::from_micros(500)
    }
}

/// What is measured, as a recording states it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Device {
    /// What reads it.
    pub meter: MeterKind,
    /// The card's name in NVML, or `CPU`.
    pub name: String,
    /// The card's UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// All of its memory, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Bytes>,
    /// What the driver keeps, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved: Option<Bytes>,
    /// The driver's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
}

/// What reads the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum MeterKind {
    /// NVML: memory of the whole device.
    Nvml,
    /// `/proc`: resident memory of the process tree.
    Cpu,
    /// A virtual GPU: what a rehearsed program took, with the context of the card's profile.
    Virtual,
    /// A script of readings.
    Mock,
}

impl MeterKind {
    /// What its figures are, in words.
    pub const fn figures(self) -> &'static str {
        match self {
            Self::Nvml => "memory of the device beyond what it held before (NVML)",
            Self::Cpu => "resident memory of the process tree (/proc)",
            Self::Virtual => {
                "what the program took of a virtual card, with the context of its profile"
            }
            Self::Mock => "scripted memory",
        }
    }
}

/// One reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Memory that is held: by everyone on a device, by the tree on a CPU.
    pub used: Bytes,
    /// Who holds it, as of the last time that was asked; nothing where the driver does not say.
    pub holders: Option<Vec<Holder>>,
}

/// A process that holds memory of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Holder {
    /// Its number.
    pub pid: u32,
    /// What it holds; nothing where the driver does not say.
    pub bytes: Option<Bytes>,
    /// Whether it belongs to the tree that is measured.
    #[serde(default)]
    pub own: bool,
}

/// Why there is no reading.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MeterError {
    /// The device is gone, or never answers this question.
    #[error("{0}")]
    Lost(String),
    /// This reading failed; the next may not.
    #[error("{0}")]
    Failed(String),
}

/// A meter whose readings are given in advance; the last one stays.
#[cfg(test)]
pub struct Scripted {
    readings: std::collections::VecDeque<Result<Reading, MeterError>>,
    last: Result<Reading, MeterError>,
}

#[cfg(test)]
impl Scripted {
    /// A meter that gives these readings in this order.
    pub fn new(readings: impl IntoIterator<Item = Result<Reading, MeterError>>) -> Self {
        Self { readings: readings.into_iter().collect(), last: Ok(Reading::default()) }
    }
}

#[cfg(test)]
impl Meter for Scripted {
    fn device(&self) -> Device {
        Device {
            meter: MeterKind::Mock,
            name: "mock".to_owned(),
            uuid: None,
            total: None,
            reserved: None,
            driver: None,
        }
    }

    fn read(&mut self) -> Result<Reading, MeterError> {
        if let Some(next) = self.readings.pop_front() {
            self.last = next;
        }
        self.last.clone()
    }

    fn follow(&mut self, _root: u32) {}
}
