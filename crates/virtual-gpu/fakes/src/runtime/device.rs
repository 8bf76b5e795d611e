//! Devices, errors, versions.

use std::ffi::{c_char, c_int, c_uint};

use super::current;
use crate::call::{Address, In, Out, Text, api, fill_text, last_error, runtime};
use crate::core::{accounting, attributes, context, pools};
use crate::driver::lookup;
use crate::error::{self, Code, Result};
use crate::machine::{self, device_of, machine, ordinal, runtime_major, visible};

/// `cudaLimitStackSize` and `cudaLimitMallocHeapSize`.
const STACK_SIZE: c_uint = 0;
const HEAP_SIZE: c_uint = 2;

/// Makes a card this thread's, with its context, as the runtime does since CUDA 12.
fn choose(device: c_int) -> Result {
    let card = ordinal(device)?;
    context::ensure(card)?;
    context::set(context::primary(card))
}

fn runtime_version() -> c_int {
    match runtime_major() {
        11 => 11_080,
        12 => 12_080,
        _ => c_int::try_from(machine().driver_version.max(13_000)).unwrap_or(13_000),
    }
}

api! { runtime;
    fn cudaGetDeviceCount(count: Out<c_int>) {
        count.set(c_int::try_from(visible().len()).unwrap_or(0))?;
        if visible().is_empty() { Err(Code::NO_DEVICE) } else { Ok(()) }
    }
    fn cudaGetDevice(device: Out<c_int>) {
        device.set(device_of(current()?))
    }
    fn cudaSetDevice(device: c_int) { choose(device) }
    fn cudaInitDevice(device: c_int, device_flags: c_uint, flags: c_uint) {
        context::ensure(ordinal(device)?)
    }
    fn cudaSetValidDevices(devices: In<c_int>, count: c_int) { Ok(()) }
    fn cudaSetDeviceFlags(flags: c_uint) { Ok(()) }
    fn cudaGetDeviceFlags(flags: Out<c_uint>) { flags.set(8) }
    fn cudaChooseDevice(device: Out<c_int>, properties: In<u8>) { device.set(0) }
    fn cudaDriverGetVersion(version: Out<c_int>) {
        version.set(c_int::try_from(machine().driver_version).unwrap_or(0))
    }
    fn cudaRuntimeGetVersion(version: Out<c_int>) { version.set(runtime_version()) }
    fn cudaDeviceGetAttribute(value: Out<c_int>, attribute: c_int, device: c_int) {
        let card = ordinal(device)?;
        value.set(attributes::attribute(attribute, card).ok_or(Code::INVALID_VALUE)?)
    }
    fn cudaDeviceGetPCIBusId(text: Out<c_char>, len: c_int, device: c_int) {
        let bus = machine::bus(ordinal(device)?);
        fill_text(text, usize::try_from(len).unwrap_or(0), &format!("0000:{bus:02X}:00.0"))
    }
    fn cudaDeviceGetByPCIBusId(device: Out<c_int>, bus: Text) {
        let bus = bus.get()?;
        let known = |card: &&usize| bus.ends_with(&format!("{:02X}:00.0", machine::bus(**card)));
        let card = visible().iter().find(known).ok_or(Code::INVALID_DEVICE)?;
        device.set(device_of(*card))
    }
    fn cudaDeviceGetStreamPriorityRange(least: Out<c_int>, greatest: Out<c_int>) {
        least.maybe(0);
        greatest.maybe(-5);
        Ok(())
    }
    fn cudaDeviceGetLimit(value: Out<usize>, limit: c_uint) {
        value.set(match limit {
            STACK_SIZE => 1 << 10,
            HEAP_SIZE => 8 << 20,
            _ => 1 << 20,
        })
    }
    fn cudaDeviceSetLimit(limit: c_uint, value: usize) { Ok(()) }
    fn cudaDeviceGetCacheConfig(config: Out<c_int>) { config.set(0) }
    fn cudaDeviceSetCacheConfig(config: c_int) { Ok(()) }
    fn cudaDeviceGetSharedMemConfig(config: Out<c_int>) { config.set(0) }
    fn cudaDeviceSetSharedMemConfig(config: c_int) { Ok(()) }
    fn cudaDeviceGetP2PAttribute(value: Out<c_int>, attribute: c_int, from: c_int, to: c_int) {
        ordinal(from)?;
        ordinal(to)?;
        value.set(c_int::from(machine().peer_access))
    }
    fn cudaDeviceCanAccessPeer(can: Out<c_int>, device: c_int, peer: c_int) {
        let (card, other) = (ordinal(device)?, ordinal(peer)?);
        can.set(c_int::from(card != other && machine().peer_access))
    }
    fn cudaDeviceEnablePeerAccess(peer: c_int, flags: c_uint) {
        context::enable_peer(current()?, ordinal(peer)?)
    }
    fn cudaDeviceDisablePeerAccess(peer: c_int) {
        context::disable_peer(current()?, ordinal(peer)?)
    }
    fn cudaDeviceSynchronize() {
        context::enter(current()?)?;
        pools::settle();
        Ok(())
    }
    fn cudaThreadSynchronize() {
        pools::settle();
        Ok(())
    }
    fn cudaDeviceReset() {
        context::reset(current()?);
        Ok(())
    }
    fn cudaDeviceFlushGPUDirectRDMAWrites(target: c_int, scope: c_int) { Ok(()) }
    fn cudaMemGetInfo(free: Out<usize>, total: Out<usize>) {
        let card = current()?;
        context::enter(card)?;
        let levels = accounting::levels(card);
        free.set(usize::try_from(levels.free).unwrap_or(usize::MAX))?;
        total.set(usize::try_from(levels.total).unwrap_or(usize::MAX))
    }
    fn cudaGetDriverEntryPoint(name: Text, function: Out<Address>, flags: u64, result: Out<c_int>) {
        // CUDA 11's has no fourth parameter.
        let major = runtime_major();
        entry_point(name, function, major * 1000, if major < 12 { None } else { Some(result) })
    }
    fn cudaGetDriverEntryPointByVersion(
        name: Text, function: Out<Address>, version: c_uint, flags: u64, result: Out<c_int>,
    ) { entry_point(name, function, version, Some(result)) }
    fn cudaGetExportTable(table: Out<Address>, id: In<u8>) {
        table.maybe(0);
        Err(Code::NOT_SUPPORTED)
    }
    fn cudaProfilerStart() { Ok(()) }
    fn cudaProfilerStop() { Ok(()) }
}

fn entry_point(
    name: Text,
    function: Out<Address>,
    version: c_uint,
    result: Option<Out<c_int>>,
) -> Result {
    let found = lookup::driver_function(&name.get()?, version);
    if let Some(result) = result {
        result.maybe(c_int::from(found.is_none())); // 1: no such symbol
    }
    function.set(found.unwrap_or(0))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cudaGetLastError() -> c_int {
    last_error(true)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cudaPeekAtLastError() -> c_int {
    last_error(false)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cudaGetErrorName(code: c_int) -> *const c_char {
    error::runtime_name(code)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cudaGetErrorString(code: c_int) -> *const c_char {
    error::message(code).unwrap_or(c"unrecognized error code".as_ptr())
}
