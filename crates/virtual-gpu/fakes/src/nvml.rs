//! NVML: the machine's cards as a monitor sees them. What is not here answers "not supported".
#![allow(non_snake_case, unused_variables)]

use std::ffi::{c_char, c_int, c_uint};

use crate::call::{Handle, In, Out, Text, fill_text};
use crate::core::accounting;
use crate::machine::{bus, card, machine, uuid_text};

const SUCCESS: c_int = 0;
const INVALID_ARGUMENT: c_int = 2;
const NOT_SUPPORTED: c_int = 3;
const NOT_FOUND: c_int = 6;
const TOO_SMALL: c_int = 7;
/// A device's handle is its number and this.
const BASE: usize = 0x4e56_4d00;

type Answer = Result<(), c_int>;

macro_rules! nvml {
    ($(fn $name:ident($($arg:ident: $type:ty),* $(,)?) $body:block)*) => {$(
        #[unsafe(no_mangle)]
        pub(crate) extern "C" fn $name($($arg: $type),*) -> c_int {
            let answer = || -> Answer { $body };
            answer().map_or_else(|code| code, |()| SUCCESS)
        }
    )*};
}

fn put<T>(out: Out<T>, value: T) -> Answer {
    out.set(value).map_err(|_| INVALID_ARGUMENT)
}

fn number(device: Handle) -> Result<usize, c_int> {
    let at = device.wrapping_sub(BASE);
    (at < machine().cards.len()).then_some(at).ok_or(INVALID_ARGUMENT)
}

fn text(out: Out<c_char>, room: c_uint, text: &str) -> Answer {
    if text.len() >= room as usize {
        return Err(TOO_SMALL);
    }
    fill_text(out, room as usize, text).map_err(|_| INVALID_ARGUMENT)
}

fn by_index(out: Out<Handle>, at: c_uint) -> Answer {
    let at = at as usize;
    if at < machine().cards.len() { put(out, BASE + at) } else { Err(INVALID_ARGUMENT) }
}

fn by_text(out: Out<Handle>, wanted: Text, of: impl Fn(usize) -> String) -> Answer {
    let wanted = wanted.get().map_err(|_| INVALID_ARGUMENT)?.to_lowercase();
    let found = (0..machine().cards.len()).find(|&at| wanted.ends_with(&of(at).to_lowercase()));
    put(out, BASE + found.ok_or(NOT_FOUND)?)
}

fn bus_text(at: usize) -> String {
    format!(":{:02X}:00.0", bus(at))
}

/// Free and used as NVML's first form says them: the reserve counts as used.
fn memory(at: usize) -> (u64, u64, u64) {
    let (total, free) = (card(at).total, accounting::levels(at).free);
    (total, free, total.saturating_sub(free))
}

/// The processes on a card; `size` is that of the structure, whose number is at 0 and memory at 8.
fn processes(device: Handle, count: Out<c_uint>, out: Out<u8>, size: usize) -> Answer {
    let holders = accounting::holders(number(device)?);
    let room = count.get().map_err(|_| INVALID_ARGUMENT)? as usize;
    put(count, c_uint::try_from(holders.len()).unwrap_or(0))?;
    if holders.len() > room {
        return Err(TOO_SMALL);
    }
    for (n, (pid, bytes)) in holders.into_iter().enumerate() {
        put(out.byte(n * size).cast::<c_int>(), pid)?;
        put(out.byte(n * size + 8).cast::<u64>(), bytes)?;
        if size > 16 {
            put(out.byte(n * size + 16).cast::<u64>(), u64::MAX)?; // no instance of a divided card
        }
    }
    Ok(())
}

/// `nvmlPciInfo_t`: the short bus name, four numbers, two identities, the bus name.
fn pci(device: Handle, out: Out<u8>) -> Answer {
    let at = number(device)?;
    for byte in 0..68 {
        put(out.byte(byte), 0)?;
    }
    fill_text(out.cast(), 16, &format!("0000{}", bus_text(at))).map_err(|_| INVALID_ARGUMENT)?;
    put(out.byte(20).cast(), bus(at))?;
    put(out.byte(28).cast(), card(at).pci_id)?;
    fill_text(out.byte(36).cast(), 32, &format!("00000000{}", bus_text(at)))
        .map_err(|_| INVALID_ARGUMENT)
}

nvml! {
    fn nvmlInit() { Ok(()) }
    fn nvmlInit_v2() { Ok(()) }
    fn nvmlInitWithFlags(flags: c_uint) { Ok(()) }
    fn nvmlShutdown() { Ok(()) }
    fn nvmlSystemGetDriverVersion(out: Out<c_char>, room: c_uint) { text(out, room, &machine().driver_name) }
    fn nvmlSystemGetNVMLVersion(out: Out<c_char>, room: c_uint) {
        text(out, room, &format!("13.{}", machine().driver_name))
    }
    fn nvmlSystemGetCudaDriverVersion(out: Out<c_int>) { put(out, machine().driver_version.cast_signed()) }
    fn nvmlSystemGetCudaDriverVersion_v2(out: Out<c_int>) { put(out, machine().driver_version.cast_signed()) }
    fn nvmlDeviceGetCount(out: Out<c_uint>) { put(out, c_uint::try_from(machine().cards.len()).unwrap_or(0)) }
    fn nvmlDeviceGetCount_v2(out: Out<c_uint>) { put(out, c_uint::try_from(machine().cards.len()).unwrap_or(0)) }
    fn nvmlDeviceGetHandleByIndex(at: c_uint, out: Out<Handle>) { by_index(out, at) }
    fn nvmlDeviceGetHandleByIndex_v2(at: c_uint, out: Out<Handle>) { by_index(out, at) }
    fn nvmlDeviceGetHandleByUUID(uuid: Text, out: Out<Handle>) { by_text(out, uuid, uuid_text) }
    fn nvmlDeviceGetHandleByPciBusId(bus: Text, out: Out<Handle>) { by_text(out, bus, bus_text) }
    fn nvmlDeviceGetHandleByPciBusId_v2(bus: Text, out: Out<Handle>) { by_text(out, bus, bus_text) }
    fn nvmlDeviceGetIndex(device: Handle, out: Out<c_uint>) {
        put(out, c_uint::try_from(number(device)?).unwrap_or(0))
    }
    fn nvmlDeviceGetMinorNumber(device: Handle, out: Out<c_uint>) {
        put(out, c_uint::try_from(number(device)?).unwrap_or(0))
    }
    fn nvmlDeviceGetName(device: Handle, out: Out<c_char>, room: c_uint) {
        text(out, room, &card(number(device)?).name)
    }
    fn nvmlDeviceGetUUID(device: Handle, out: Out<c_char>, room: c_uint) {
        text(out, room, &uuid_text(number(device)?))
    }
    fn nvmlDeviceGetMemoryInfo(device: Handle, out: Out<u64>) {
        let (total, free, used) = memory(number(device)?);
        put(out, total)?;
        put(out.nth(1), free)?;
        put(out.nth(2), used)
    }
    // The version, then total, reserved, free and used, without the reserve.
    fn nvmlDeviceGetMemoryInfo_v2(device: Handle, out: Out<u64>) {
        let at = number(device)?;
        let (total, free, used) = memory(at);
        let reserved = card(at).reserved;
        put(out.nth(1), total)?;
        put(out.nth(2), reserved)?;
        put(out.nth(3), free)?;
        put(out.nth(4), used.saturating_sub(reserved))
    }
    fn nvmlDeviceGetComputeRunningProcesses(device: Handle, count: Out<c_uint>, out: Out<u8>) {
        processes(device, count, out, 16)
    }
    fn nvmlDeviceGetComputeRunningProcesses_v2(device: Handle, count: Out<c_uint>, out: Out<u8>) {
        processes(device, count, out, 24)
    }
    fn nvmlDeviceGetComputeRunningProcesses_v3(device: Handle, count: Out<c_uint>, out: Out<u8>) {
        processes(device, count, out, 24)
    }
    fn nvmlDeviceGetGraphicsRunningProcesses(device: Handle, count: Out<c_uint>, out: Out<u8>) { put(count, 0) }
    fn nvmlDeviceGetGraphicsRunningProcesses_v2(device: Handle, count: Out<c_uint>, out: Out<u8>) { put(count, 0) }
    fn nvmlDeviceGetGraphicsRunningProcesses_v3(device: Handle, count: Out<c_uint>, out: Out<u8>) { put(count, 0) }
    fn nvmlDeviceGetCudaComputeCapability(device: Handle, major: Out<c_int>, minor: Out<c_int>) {
        let (a, b) = card(number(device)?).compute_capability;
        put(major, a.cast_signed())?;
        put(minor, b.cast_signed())
    }
    fn nvmlDeviceGetPciInfo(device: Handle, out: Out<u8>) { pci(device, out) }
    fn nvmlDeviceGetPciInfo_v2(device: Handle, out: Out<u8>) { pci(device, out) }
    fn nvmlDeviceGetPciInfo_v3(device: Handle, out: Out<u8>) { pci(device, out) }
    // GPU and memory in percent: nothing runs.
    fn nvmlDeviceGetUtilizationRates(device: Handle, out: Out<[c_uint; 2]>) {
        number(device)?;
        put(out, [0; 2])
    }
    fn nvmlDeviceGetTemperature(device: Handle, sensor: c_int, out: Out<c_uint>) {
        number(device)?;
        put(out, 30)
    }
    fn nvmlDeviceGetNumGpuCores(device: Handle, out: Out<c_uint>) { put(out, card(number(device)?).sm_count * 128) }
    fn nvmlDeviceGetMemoryBusWidth(device: Handle, out: Out<c_uint>) {
        put(out, card(number(device)?).memory_bus_bits)
    }
    fn nvmlDeviceGetMaxClockInfo(device: Handle, kind: c_int, out: Out<c_uint>) {
        let card = card(number(device)?);
        put(out, if kind == 2 { card.memory_clock_khz / 1000 } else { card.clock_khz / 1000 })
    }
    fn nvmlDeviceGetEccMode(device: Handle, now: Out<c_int>, pending: Out<c_int>) {
        let ecc = c_int::from(card(number(device)?).ecc);
        put(now, ecc)?;
        put(pending, ecc)
    }
    fn nvmlDeviceGetP2PStatus(device: Handle, other: Handle, kind: c_int, out: Out<c_int>) {
        number(device)?;
        number(other)?;
        put(out, if machine().peer_access { 0 } else { 5 })
    }
    fn nvmlDeviceGetComputeMode(device: Handle, out: Out<c_int>) { put(out, 0) }
    fn nvmlDeviceGetPersistenceMode(device: Handle, out: Out<c_int>) { put(out, 1) }
    fn nvmlDeviceGetMigMode(device: Handle, now: Out<c_uint>, pending: Out<c_uint>) { Err(NOT_SUPPORTED) }
    fn nvmlDeviceGetBrand(device: Handle, out: Out<c_int>) { put(out, 0) }
    fn nvmlDeviceGetTopologyCommonAncestor(device: Handle, other: Handle, out: Out<c_int>) { put(out, 50) }
    fn nvmlDeviceGetHandleBySerial(serial: Text, out: Out<Handle>) { Err(NOT_FOUND) }
    fn nvmlSystemGetProcessName(pid: c_uint, out: Out<c_char>, room: c_uint) { text(out, room, "") }
    fn nvmlDeviceGetMemoryAffinity(device: Handle, n: c_uint, out: In<u8>, scope: c_uint) { Err(NOT_SUPPORTED) }
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn nvmlErrorString(code: c_int) -> *const c_char {
    let text = match code {
        SUCCESS => c"Success",
        1 => c"Uninitialized",
        INVALID_ARGUMENT => c"Invalid Argument",
        NOT_SUPPORTED => c"Not Supported",
        NOT_FOUND => c"Not Found",
        TOO_SMALL => c"Insufficient Size",
        _ => c"Unknown Error",
    };
    text.as_ptr()
}
