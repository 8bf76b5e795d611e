//! Memory of a card, as NVML reports it: `nvmlDeviceGetMemoryInfo_v2`, whose `used` is without what the
//! driver reserves, and the driver's list of processes.
//!
//! Inside a container the driver counts processes by other numbers than `/proc`, on Windows it does not
//! say what they hold: unknown is unknown, and the device's own figure stays.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::{Device as Handle, Nvml};

use super::devices::{DeviceFacts, Inventory, Occupant};
use super::meter::{Device, Holder, Meter, MeterError, MeterKind, Reading};
use super::tree;

use vramplan_planner::text::printable;
use vramplan_planner::units::Bytes;

/// How often the driver is asked who holds memory while how much does not change: that takes longer
/// than to ask how much is held.
const WHO: Duration = Duration::from_millis(10);

/// Reads one card.
pub struct NvmlMeter<'n> {
    handle: Handle<'n>,
    device: Device,
    holders: Option<Vec<Holder>>,
    /// When that was last answered, and how long it took.
    asked: Option<(Instant, Duration)>,
    /// What was held then.
    used: u64,
    silent: bool,
}

/// Why a card cannot be measured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// Several, and none was named.
    #[error("this machine has {} devices: {}", .0.len(), .0.join(", "))]
    Several(Vec<String>),
    /// None.
    #[error("NVML lists no device")]
    None,
    /// The one that was named is not there.
    #[error("there is no device `{wanted}`: {message}")]
    Unknown {
        /// As given.
        wanted: String,
        /// What NVML said.
        message: String,
    },
}

impl<'n> NvmlMeter<'n> {
    /// The card that `wanted` names by number or UUID; the only one where nothing is named.
    pub fn open(nvml: &'n Nvml, wanted: Option<&str>) -> Result<Self, DeviceError> {
        let handle = find(nvml, wanted)?;
        let memory = handle.memory_info().ok();
        let device = Device {
            meter: MeterKind::Nvml,
            name: handle.name().map_or_else(|_| "unknown".to_owned(), |name| printable(&name)),
            uuid: handle.uuid().ok().map(|uuid| printable(&uuid)),
            total: memory.as_ref().map(|memory| Bytes::new(memory.total)),
            reserved: memory.as_ref().map(|memory| Bytes::new(memory.reserved)),
            driver: nvml.sys_driver_version().ok().map(|version| printable(&version)),
        };
        Ok(Self { handle, device, holders: None, asked: None, used: 0, silent: false })
    }

    /// Asks who holds memory: at once where how much has changed, so that what others take is not
    /// counted as the run's, but never for more than half of the time.
    fn ask_who(&mut self, used: u64) {
        let due = |(answered, took): (Instant, Duration)| {
            let pause = if used == self.used { WHO } else { took };
            answered.elapsed() >= pause
        };
        if self.silent || !self.asked.is_none_or(due) {
            return;
        }
        let begun = Instant::now();
        match self.handle.running_compute_processes() {
            Ok(processes) => self.holders = Some(holders(&processes)),
            Err(error) => {
                self.holders = None;
                self.silent = is_final(&error);
            }
        }
        self.used = used;
        self.asked = Some((Instant::now(), begun.elapsed()));
    }
}

fn find<'n>(nvml: &'n Nvml, wanted: Option<&str>) -> Result<Handle<'n>, DeviceError> {
    let unknown = |error: NvmlError| DeviceError::Unknown {
        wanted: wanted.unwrap_or("0").to_owned(),
        message: printable(&error.to_string()),
    };
    if let Some(wanted) = wanted {
        return match wanted.parse() {
            Ok(index) => nvml.device_by_index(index),
            Err(_) => nvml.device_by_uuid(wanted),
        }
        .map_err(unknown);
    }
    match nvml.device_count().map_err(unknown)? {
        0 => Err(DeviceError::None),
        1 => nvml.device_by_index(0).map_err(unknown),
        count => Err(DeviceError::Several((0..count).map(|index| label(nvml, index)).collect())),
    }
}

fn label(nvml: &Nvml, index: u32) -> String {
    let name = nvml.device_by_index(index).and_then(|device| device.name());
    name.map_or_else(|_| index.to_string(), |name| format!("{index} ({})", printable(&name)))
}

impl Meter for NvmlMeter<'_> {
    fn device(&self) -> Device {
        self.device.clone()
    }

    fn read(&mut self) -> Result<Reading, MeterError> {
        let memory = self.handle.memory_info().map_err(|error| failure(&error))?;
        self.ask_who(memory.used);
        Ok(Reading { used: Bytes::new(memory.used), holders: self.holders.clone() })
    }

    fn follow(&mut self, _root: u32) {
        self.asked = None;
    }
}

fn failure(error: &NvmlError) -> MeterError {
    let message = printable(&error.to_string());
    if is_final(error) { MeterError::Lost(message) } else { MeterError::Failed(message) }
}

/// Whether asking again is of no use.
const fn is_final(error: &NvmlError) -> bool {
    matches!(
        error,
        NvmlError::GpuLost
            | NvmlError::NotFound
            | NvmlError::NotSupported
            | NvmlError::NoPermission
            | NvmlError::Uninitialized
            | NvmlError::DriverNotLoaded
            | NvmlError::FunctionNotFound
            | NvmlError::InvalidArg
            | NvmlError::FailedToLoadSymbol(_)
            | NvmlError::LibRmVersionMismatch
    )
}

/// One row a process: it can be listed once for each of its contexts.
fn holders(processes: &[ProcessInfo]) -> Vec<Holder> {
    let own = tree::descendants();
    let mut rows: BTreeMap<u32, Option<Bytes>> = BTreeMap::new();
    for process in processes {
        let bytes = match process.used_gpu_memory {
            UsedGpuMemory::Used(bytes) => Some(Bytes::new(bytes)),
            UsedGpuMemory::Unavailable => None,
        };
        let sum = |known: Option<Bytes>| known?.plus(bytes?).ok();
        let row = rows.get(&process.pid).map_or(bytes, |known| sum(*known));
        rows.insert(process.pid, row);
    }
    let row = |(pid, bytes)| Holder { pid, bytes, own: own.contains(&pid) };
    rows.into_iter().map(row).collect()
}

/// What NVML says about this machine.
pub fn inventory(nvml: &Nvml) -> Inventory {
    let cuda = nvml.sys_cuda_driver_version().ok();
    let count = nvml.device_count();
    Inventory {
        driver: nvml.sys_driver_version().ok().map(|version| printable(&version)),
        nvml: nvml.sys_nvml_version().ok().map(|version| printable(&version)),
        cuda: cuda.map(|version| format!("{}.{}", version / 1000, version % 1000 / 10)),
        error: count.as_ref().err().map(|error| printable(&error.to_string())),
        devices: (0..count.unwrap_or(0)).map(|index| facts(nvml, index)).collect(),
    }
}

fn facts(nvml: &Nvml, index: u32) -> DeviceFacts {
    let device = match nvml.device_by_index(index) {
        Ok(device) => device,
        Err(error) => return DeviceFacts::unreadable(index, printable(&error.to_string())),
    };
    let memory = device.memory_info();
    let size = |of: fn(&nvml_wrapper::struct_wrappers::device::MemoryInfo) -> u64| {
        memory.as_ref().ok().map(|memory| Bytes::new(of(memory)))
    };
    DeviceFacts {
        index,
        name: device.name().ok().map(|name| printable(&name)),
        uuid: device.uuid().ok().map(|uuid| printable(&uuid)),
        total: size(|memory| memory.total),
        reserved: size(|memory| memory.reserved),
        used: size(|memory| memory.used),
        free: size(|memory| memory.free),
        compute_capability: device
            .cuda_compute_capability()
            .ok()
            .map(|capability| format!("{}.{}", capability.major, capability.minor)),
        processes: device.running_compute_processes().ok().map(|processes| occupants(&processes)),
        mig: device.mig_mode().ok().map(|mode| mode.current == 1),
        ecc: device.is_ecc_enabled().ok().map(|mode| mode.currently_enabled),
        persistence: device.is_in_persistent_mode().ok(),
        compute_mode: device.compute_mode().ok().map(|mode| format!("{mode:?}")),
        error: memory.err().map(|error| printable(&error.to_string())),
    }
}

fn occupants(processes: &[ProcessInfo]) -> Vec<Occupant> {
    let occupant = |Holder { pid, bytes, .. }| Occupant { pid, name: tree::name(pid), bytes };
    holders(processes).into_iter().map(occupant).collect()
}
