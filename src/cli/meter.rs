//! `--device`: what is measured, and who may.

use std::path::Path;

use super::problem::Problem;
use crate::calibrate::{CpuMeter, Meter, RecordFile};

/// Opens the meter of a device, reserves the device, and hands both over.
pub fn with_meter<T>(
    device: Option<&str>,
    measure: impl FnOnce(&mut dyn Meter) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    if device.is_some_and(|device| device.eq_ignore_ascii_case("cpu")) {
        return measure(&mut CpuMeter::new());
    }
    with_card(device, measure)
}

#[cfg(feature = "nvml")]
fn with_card<T>(
    device: Option<&str>,
    measure: impl FnOnce(&mut dyn Meter) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    use crate::calibrate::{DeviceError, NvmlMeter};
    let nvml = crate::local::open_nvml().map_err(|error| {
        Problem::new(error.to_string())
            .hint("`--device cpu` measures main memory; `vramplan doctor` says what is missing")
    })?;
    let mut meter = NvmlMeter::open(&nvml, device).map_err(|error| {
        let hint = match error {
            DeviceError::Several(_) => "name one: `--device 0`, or its UUID from `vramplan doctor`",
            _ => "see `vramplan doctor` for what there is; `--device cpu` measures main memory",
        };
        Problem::new(error.to_string()).hint(hint)
    })?;
    let _lock = reserve(&meter.device().uuid.unwrap_or_else(|| "unknown".to_owned()))?;
    measure(&mut meter)
}

#[cfg(not(feature = "nvml"))]
fn with_card<T>(
    _device: Option<&str>,
    _measure: impl FnOnce(&mut dyn Meter) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    Err(Problem::new("this build of vramplan cannot read a GPU's memory")
        .hint("install it with the `nvml` feature, or measure main memory: `--device cpu`")
        .into())
}

#[cfg(feature = "nvml")]
fn reserve(uuid: &str) -> anyhow::Result<crate::calibrate::DeviceLock> {
    use crate::calibrate::{DeviceLock, LockError};
    DeviceLock::acquire(uuid).map_err(|error| match error {
        LockError::Held { .. } => Problem::new(error.to_string())
            .hint("wait for it to end: two runs at once would be in each other's figures")
            .into(),
        other => anyhow::Error::new(other),
    })
}

/// Makes the file of a record, where one is asked for.
pub fn record_file(path: Option<&Path>) -> anyhow::Result<Option<RecordFile>> {
    let create = |path| {
        RecordFile::create(path).map_err(|error| {
            Problem::new(format!("the record cannot be made: {error}"))
                .hint("name a file in a directory that exists and can be written to")
        })
    };
    Ok(path.map(create).transpose()?)
}
