//! Devices, errors, versions, the way to other functions.

use std::ffi::{c_char, c_int, c_uint};

use vramplan_virtual_gpu::event::What;

use super::lookup;
use crate::call::{Address, Handle, In, Out, Text, Unused, api, driver, fill_text};
use crate::core::{attributes, context, events};
use crate::error::{self, Code};
use crate::machine::{self, device_of, machine, ordinal, visible};

api! { driver;
    // The driver's log of errors: there is none.
    fn cuLogsRegisterCallback(callback: Unused, data: Unused, out: Out<Handle>) {
        out.maybe(crate::core::fresh_handle());
        Ok(())
    }
    fn cuLogsUnregisterCallback(callback: Handle) { Ok(()) }
    fn cuInit(flags: c_uint) { if visible().is_empty() { Err(Code::NO_DEVICE) } else { Ok(()) } }
    fn cuDriverGetVersion(version: Out<c_int>) {
        version.set(c_int::try_from(machine().driver_version).unwrap_or(0))
    }
    fn cuDeviceGetCount(count: Out<c_int>) {
        count.set(c_int::try_from(visible().len()).unwrap_or(0))
    }
    fn cuDeviceGet(device: Out<c_int>, at: c_int) {
        ordinal(at)?;
        device.set(at)
    }
    fn cuDeviceGetName(text: Out<c_char>, len: c_int, device: c_int) {
        let card = machine::card(ordinal(device)?);
        fill_text(text, usize::try_from(len).unwrap_or(0), &card.name)
    }
    fn cuDeviceGetUuid(uuid: Out<[u8; 16]>, device: c_int) { uuid.set(machine::uuid(ordinal(device)?)) }
    fn cuDeviceGetUuid_v2(uuid: Out<[u8; 16]>, device: c_int) { uuid.set(machine::uuid(ordinal(device)?)) }
    fn cuDeviceGetLuid(luid: Out<u64>, mask: Out<c_uint>, device: c_int) { Err(Code::NOT_SUPPORTED) }
    fn cuDeviceTotalMem(bytes: Out<c_uint>, device: c_int) {
        let total = machine::card(ordinal(device)?).cuda_total();
        bytes.set(c_uint::try_from(total).unwrap_or(c_uint::MAX))
    }
    fn cuDeviceTotalMem_v2(bytes: Out<usize>, device: c_int) {
        let total = machine::card(ordinal(device)?).cuda_total();
        bytes.set(usize::try_from(total).unwrap_or(usize::MAX))
    }
    fn cuDeviceGetAttribute(value: Out<c_int>, attribute: c_int, device: c_int) {
        let card = ordinal(device)?;
        value.set(attributes::attribute(attribute, card).ok_or(Code::INVALID_VALUE)?)
    }
    fn cuDeviceComputeCapability(major: Out<c_int>, minor: Out<c_int>, device: c_int) {
        let (a, b) = machine::card(ordinal(device)?).compute_capability;
        major.set(a.cast_signed())?;
        minor.set(b.cast_signed())
    }
    fn cuDeviceGetPCIBusId(text: Out<c_char>, len: c_int, device: c_int) {
        let bus = machine::bus(ordinal(device)?);
        fill_text(text, usize::try_from(len).unwrap_or(0), &format!("0000:{bus:02X}:00.0"))
    }
    fn cuDeviceGetByPCIBusId(device: Out<c_int>, bus: Text) {
        let bus = bus.get()?;
        let known = |card: &&usize| bus.ends_with(&format!("{:02X}:00.0", machine::bus(**card)));
        device.set(device_of(*visible().iter().find(known).ok_or(Code::INVALID_DEVICE)?))
    }
    fn cuDeviceCanAccessPeer(can: Out<c_int>, device: c_int, peer: c_int) {
        let (card, other) = (ordinal(device)?, ordinal(peer)?);
        can.set(c_int::from(card != other && machine().peer_access))
    }
    fn cuDeviceGetP2PAttribute(value: Out<c_int>, attribute: c_int, from: c_int, to: c_int) {
        ordinal(from)?;
        ordinal(to)?;
        value.set(c_int::from(machine().peer_access))
    }
    fn cuGetErrorString(code: c_int, out: Out<*const c_char>) {
        out.set(error::message(code).ok_or(Code::INVALID_VALUE)?)
    }
    fn cuGetErrorName(code: c_int, out: Out<*const c_char>) {
        out.set(error::driver_name(code).ok_or(Code::INVALID_VALUE)?)
    }
    fn cuGetProcAddress(name: Text, function: Out<Address>, version: c_int, flags: u64) {
        procedure(name, function, version, None)
    }
    fn cuGetProcAddress_v2(name: Text, function: Out<Address>, version: c_int, flags: u64, result: Out<c_int>) {
        procedure(name, function, version, Some(result))
    }
    // Who asks for a table that no header describes has the runtime linked in, whose check of its
    // driver is respected.
    fn cuGetExportTable(table: Out<Address>, id: In<u8>) {
        let reason = "the CUDA runtime is linked into the program or one of its libraries, and accepts \
                      NVIDIA's driver only";
        events::send(What::Impossible { reason: reason.to_owned() });
        table.maybe(0);
        Err(Code::NOT_SUPPORTED)
    }
    fn cuModuleGetLoadingMode(mode: Out<c_int>) { mode.set(2) } // lazy
    fn cuDeviceGetExecAffinitySupport(supported: Out<c_int>, kind: c_int, device: c_int) { supported.set(0) }
    fn cuProfilerStart() { Ok(()) }
    fn cuProfilerStop() { Ok(()) }
    fn cuDevicePrimaryCtxRetain(out: Out<Handle>, device: c_int) {
        let card = ordinal(device)?;
        context::ensure(card)?;
        out.set(context::primary(card))
    }
    fn cuDevicePrimaryCtxRelease_v2(device: c_int) { ordinal(device).map(|_| ()) }
    fn cuDevicePrimaryCtxRelease(device: c_int) { ordinal(device).map(|_| ()) }
    fn cuDevicePrimaryCtxReset_v2(device: c_int) {
        context::reset(ordinal(device)?);
        Ok(())
    }
    fn cuDevicePrimaryCtxSetFlags_v2(device: c_int, flags: c_uint) { ordinal(device).map(|_| ()) }
    fn cuDevicePrimaryCtxGetState(device: c_int, flags: Out<c_uint>, active: Out<c_int>) {
        let card = ordinal(device)?;
        flags.maybe(0);
        active.maybe(c_int::from(context::is_made(card)));
        Ok(())
    }
}

fn procedure(
    name: Text,
    function: Out<Address>,
    version: c_int,
    result: Option<Out<c_int>>,
) -> crate::error::Result {
    let found = lookup::driver_function(&name.get()?, version.cast_unsigned());
    if let Some(result) = result {
        result.maybe(c_int::from(found.is_none()));
    }
    function.set(found.unwrap_or(0))?;
    if found.is_none() { Err(Code::NOT_FOUND) } else { Ok(()) }
}
