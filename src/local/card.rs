//! The card of this machine, as NVML reports it.

#[cfg(feature = "nvml")]
use super::nvml::unavailable;
use vramplan_planner::read::{Catalog, SourceError};
use vramplan_planner::spec::{Basis, Fact, GpuSpec};
#[cfg(feature = "nvml")]
use vramplan_planner::text::printable;
use vramplan_planner::units::Bytes;

/// What NVML says about the local card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalCard {
    /// The card's name in NVML.
    pub name: String,
    /// Its total memory.
    pub total: Bytes,
    /// What the driver keeps.
    pub reserved: Bytes,
    /// What processes hold now.
    pub used: Bytes,
    /// The driver's version.
    pub driver: String,
}

impl LocalCard {
    /// The profile of a card of this name, with this card's own total and reserve: cards of one name
    /// come in several sizes, and drivers differ.
    pub fn spec(&self, catalog: &Catalog) -> Result<GpuSpec, SourceError> {
        let mut gpu = catalog.gpu(&self.name).or_else(|unknown| {
            // One name is sold with several sizes.
            let gb = self.total.get().div_ceil(1 << 30);
            catalog.gpu(&format!("{} {gb}GB", self.name)).map_err(|_| unknown)
        })?;
        let source = format!("NVML on this machine, driver {}", self.driver);
        gpu.total = Fact::new(self.total, Basis::Exact, source.clone());
        gpu.reserved = Fact::new(self.reserved, Basis::Exact, source);
        Ok(gpu)
    }
}

/// Why the local card cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(not(feature = "nvml"), allow(dead_code, reason = "what NVML says where it is asked"))]
pub enum LocalCardError {
    /// Built without the `nvml` feature.
    #[cfg(not(feature = "nvml"))]
    #[error("this build of vramplan cannot read the local card")]
    NotBuilt,
    /// No driver, no card, or no permission.
    #[error("the local card cannot be read: {message}")]
    Unavailable {
        /// What NVML or the loader said.
        message: String,
    },
    /// A card in MIG mode of which no slice can be read.
    #[error("`{name}` is in MIG mode, and none of its slices can be read")]
    NoSlice {
        /// The card's name in NVML.
        name: String,
    },
    /// More than one card, or slice of one: which one was meant?
    #[error("this machine has {count} cards or MIG slices: {}", names.join(", "))]
    Several {
        /// How many.
        count: u32,
        /// Their names in NVML.
        names: Vec<String>,
    },
}

impl LocalCardError {
    /// Whether nothing is known of this machine's cards, not even that there are some.
    pub const fn is_of_the_driver(&self) -> bool {
        match self {
            #[cfg(not(feature = "nvml"))]
            Self::NotBuilt => true,
            Self::Unavailable { .. } => true,
            Self::NoSlice { .. } | Self::Several { .. } => false,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            #[cfg(not(feature = "nvml"))]
            Self::NotBuilt => "install it with the `nvml` feature, or name the GPU: `--gpu L4`",
            Self::Unavailable { .. } => {
                "name the GPU instead, such as `--gpu L4`; planning needs no driver"
            }
            Self::NoSlice { .. } => "name the slice to plan for, such as `--gpu H100-3g.40gb`",
            Self::Several { .. } => "name the one to plan for, such as `--gpu L4`",
        }
        .to_owned()
    }
}

/// Reads the one card of this machine.
#[cfg(feature = "nvml")]
pub fn local_card() -> Result<LocalCard, LocalCardError> {
    let nvml = super::nvml::open_nvml()?;
    let mut devices = Vec::new();
    for index in 0..nvml.device_count().map_err(|error| unavailable(&error))? {
        let device = nvml.device_by_index(index).map_err(|error| unavailable(&error))?;
        devices.extend(slices(device)?);
    }
    match devices.as_slice() {
        [] => Err(LocalCardError::Unavailable { message: "NVML lists no device".into() }),
        [device] => read(&nvml, device).map_err(|error| unavailable(&error)),
        several => {
            let names = several.iter().filter_map(|device| device.name().ok());
            let names: Vec<_> = names.map(|name| printable(&name)).collect();
            let count = u32::try_from(several.len()).unwrap_or(u32::MAX);
            Err(LocalCardError::Several { count, names })
        }
    }
}

/// A card's slices where it is in MIG mode, for then nothing runs on the card itself; else the card.
#[cfg(feature = "nvml")]
fn slices(card: nvml_wrapper::Device<'_>) -> Result<Vec<nvml_wrapper::Device<'_>>, LocalCardError> {
    const ENABLED: u32 = 1;
    // Cards without MIG say that it is not supported.
    let is_cut = card.mig_mode().is_ok_and(|mode| mode.current == ENABLED);
    if !is_cut {
        return Ok(vec![card]);
    }
    let most = card.mig_device_count().unwrap_or(0);
    let slices: Vec<_> = (0..most).filter_map(|i| card.mig_device_by_index(i).ok()).collect();
    if slices.is_empty() {
        let name = card.name().map_or_else(|_| "the local card".into(), |name| printable(&name));
        return Err(LocalCardError::NoSlice { name });
    }
    Ok(slices)
}

#[cfg(feature = "nvml")]
fn read(
    nvml: &nvml_wrapper::Nvml,
    device: &nvml_wrapper::Device<'_>,
) -> Result<LocalCard, nvml_wrapper::error::NvmlError> {
    let memory = device.memory_info()?;
    Ok(LocalCard {
        name: device.name()?,
        total: Bytes::new(memory.total),
        reserved: Bytes::new(memory.reserved),
        used: Bytes::new(memory.used),
        driver: printable(&nvml.sys_driver_version()?),
    })
}

/// Reads the one card of this machine: not in this build.
#[cfg(not(feature = "nvml"))]
pub fn local_card() -> Result<LocalCard, LocalCardError> {
    Err(LocalCardError::NotBuilt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_card_keeps_its_own_figures() {
        let card = LocalCard {
            name: "NVIDIA GeForce RTX 4060 Ti".into(),
            total: Bytes::new(8188 << 20),
            reserved: Bytes::new(300 << 20),
            used: Bytes::new(5 << 20),
            driver: "580.0".into(),
        };
        let gpu = card.spec(&Catalog::built_in()).unwrap();
        assert_eq!(gpu.total.value, card.total);
        assert_eq!(gpu.total.basis, Basis::Exact);
        let unknown = LocalCard { name: "NVIDIA Imaginary 1".into(), ..card };
        assert!(unknown.spec(&Catalog::built_in()).is_err());
    }
}
