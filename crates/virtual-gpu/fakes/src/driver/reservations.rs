//! Virtual memory management.

use std::ffi::{c_int, c_uint};

use vramplan_virtual_gpu::contract::GRANULE_LEN;
use vramplan_virtual_gpu::shared::Kind;

use crate::call::{Address, Handle, In, Out, Unused, api, driver};
use crate::core::{reservations, world};
use crate::error::{Code, Result};
use crate::machine::{machine, ordinal};
use crate::runtime::current;

/// `CU_MEM_LOCATION_TYPE_DEVICE`.
const DEVICE: c_int = 1;

/// The card of a `CUmemAllocationProp`: its location is a type at 8 and a number at 12.
fn place(properties: In<u8>) -> Result<(usize, Kind)> {
    let (kind, number): (c_int, c_int) = (properties.field(8)?, properties.field(12)?);
    if kind == DEVICE {
        Ok((ordinal(number)?, Kind::Virtual))
    } else {
        Ok((current()?, Kind::Pinned))
    }
}

fn offered() -> Result {
    machine().virtual_memory.then_some(()).ok_or(Code::NOT_SUPPORTED)
}

api! { driver;
    fn cuMemGetAllocationGranularity(bytes: Out<usize>, properties: In<u8>, option: c_int) {
        offered()?;
        bytes.set(GRANULE_LEN)
    }
    fn cuMemAddressReserve(out: Out<Address>, bytes: usize, alignment: usize, hint: Address, flags: u64) {
        offered()?;
        out.set(reservations::reserve(bytes)?)
    }
    fn cuMemAddressFree(at: Address, bytes: usize) { reservations::unreserve(at, bytes) }
    fn cuMemCreate(out: Out<Handle>, bytes: usize, properties: In<u8>, flags: u64) {
        offered()?;
        let (card, kind) = place(properties)?;
        out.set(reservations::create(card, kind, bytes as u64)?)
    }
    fn cuMemRelease(handle: Handle) { reservations::release(handle) }
    fn cuMemMap(at: Address, bytes: usize, offset: usize, handle: Handle, flags: u64) {
        reservations::map(at, bytes, handle)
    }
    fn cuMemUnmap(at: Address, bytes: usize) { reservations::unmap(at, bytes) }
    fn cuMemSetAccess(at: Address, bytes: usize, access: Unused, count: usize) {
        let known = world().reservations.covers(at, bytes);
        known.then_some(()).ok_or(Code::INVALID_VALUE)
    }
    fn cuMemGetAccess(flags: Out<u64>, location: Unused, at: Address) { flags.set(3) }
    fn cuMemRetainAllocationHandle(out: Out<Handle>, at: Address) { out.set(reservations::retain(at)?) }
    // Sharing between processes is not offered: the memory would have two owners here.
    fn cuMemExportToShareableHandle(out: Out<u64>, handle: Handle, kind: c_int, flags: u64) {
        Err(Code::NOT_SUPPORTED)
    }
    fn cuMemImportFromShareableHandle(out: Out<Handle>, shared: Unused, kind: c_int) {
        Err(Code::NOT_SUPPORTED)
    }
    fn cuMulticastGetGranularity(bytes: Out<usize>, properties: Unused, option: c_uint) {
        Err(Code::NOT_SUPPORTED)
    }
    fn cuMulticastCreate(out: Out<Handle>, properties: Unused) { Err(Code::NOT_SUPPORTED) }
}
