//! Memory of cards and host, copies, pools.

use std::ffi::{c_int, c_uint};

use vramplan_virtual_gpu::shared::Kind;

use super::current;
use crate::call::{Address, Handle, In, Out, Unused, api, runtime};
use crate::core::{context, copies, host, memory, pools, process, streams, world};
use crate::error::{Code, Result};
use crate::machine::{device_of, ordinal, runtime_major};

const PITCH: usize = 512;
/// `cudaDevAttrMemoryPoolsSupported`'s pools: the attributes of `cudaMemPoolAttr`.
pub(crate) mod pool_attribute {
    pub(crate) const RELEASE_THRESHOLD: i32 = 4;
    pub(crate) const RESERVED: i32 = 5;
    pub(crate) const RESERVED_HIGH: i32 = 6;
    pub(crate) const USED: i32 = 7;
    pub(crate) const USED_HIGH: i32 = 8;
}
/// `cudaMemoryType`.
const UNREGISTERED: c_int = 0;
const HOST: c_int = 1;
const DEVICE: c_int = 2;
const MANAGED: c_int = 3;

fn give(out: Out<Address>, kind: Kind, bytes: usize, call: &'static str) -> Result {
    out.set(memory::allocate(current()?, kind, bytes as u64, call)?)
}

fn pooled(out: Out<Address>, pool: usize, bytes: usize, call: &'static str) -> Result {
    out.set(pools::allocate(pool, bytes as u64, call)?)
}

fn default_pool() -> Result<usize> {
    let card = current()?;
    Ok(world().pools.current_of(card))
}

/// Work that a stream would do: under capture it is only remembered.
pub(crate) fn on_stream(stream: Handle, work: impl FnOnce() -> Result) -> Result {
    if streams::note_work(stream, current()?)? { Ok(()) } else { work() }
}

/// A rectangle of a copy in bytes.
pub(crate) struct Rectangle {
    pub(crate) to: Address,
    pub(crate) to_pitch: usize,
    pub(crate) from: Address,
    pub(crate) from_pitch: usize,
    pub(crate) width: usize,
    pub(crate) height: usize,
}

impl Rectangle {
    pub(crate) fn copy(&self) -> Result {
        if self.width == self.to_pitch && self.width == self.from_pitch {
            return copies::copy(self.to, self.from, self.width * self.height);
        }
        (0..self.height).try_for_each(|row| {
            copies::copy(
                self.to + row * self.to_pitch,
                self.from + row * self.from_pitch,
                self.width,
            )
        })
    }
}

api! { runtime;
    fn cudaMalloc(out: Out<Address>, bytes: usize) { give(out, Kind::Malloc, bytes, "cudaMalloc") }
    fn cudaMallocManaged(out: Out<Address>, bytes: usize, flags: c_uint) {
        give(out, Kind::Managed, bytes, "cudaMallocManaged")
    }
    fn cudaMallocPitch(out: Out<Address>, pitch: Out<usize>, width: usize, height: usize) {
        let row = width.checked_next_multiple_of(PITCH).ok_or(Code::INVALID_VALUE)?;
        let bytes = row.checked_mul(height).ok_or(Code::INVALID_VALUE)?;
        pitch.set(row)?;
        give(out, Kind::Malloc, bytes, "cudaMallocPitch")
    }
    fn cudaFree(at: Address) {
        context::enter(current()?)?;
        if at == 0 { Ok(()) } else { memory::free(at) }
    }
    fn cudaMallocAsync(out: Out<Address>, bytes: usize, stream: Handle) {
        pooled(out, default_pool()?, bytes, "cudaMallocAsync")
    }
    fn cudaMallocFromPoolAsync(out: Out<Address>, bytes: usize, pool: Handle, stream: Handle) {
        pooled(out, pool, bytes, "cudaMallocFromPoolAsync")
    }
    fn cudaFreeAsync(at: Address, stream: Handle) { if at == 0 { Ok(()) } else { memory::free(at) } }

    fn cudaMallocHost(out: Out<Address>, bytes: usize) { out.set(host::allocate(current()?, bytes, 0)?) }
    fn cudaHostAlloc(out: Out<Address>, bytes: usize, flags: c_uint) {
        out.set(host::allocate(current()?, bytes, flags)?)
    }
    fn cudaFreeHost(at: Address) { host::free(at) }
    fn cudaHostRegister(at: Address, bytes: usize, flags: c_uint) {
        host::register(current()?, at, bytes, flags)
    }
    fn cudaHostUnregister(at: Address) { host::unregister(at) }
    fn cudaHostGetDevicePointer(out: Out<Address>, at: Address, flags: c_uint) {
        let known = world().host.find(at).is_some();
        if known { out.set(at) } else { Err(Code::INVALID_VALUE) }
    }
    fn cudaHostGetFlags(flags: Out<c_uint>, at: Address) {
        let block = world().host.find(at).ok_or(Code::INVALID_VALUE)?;
        flags.set(block.flags)
    }

    fn cudaMemcpy(to: Address, from: Address, bytes: usize, kind: c_int) {
        context::enter(current()?)?;
        copies::copy(to, from, bytes)
    }
    fn cudaMemcpyAsync(to: Address, from: Address, bytes: usize, kind: c_int, stream: Handle) {
        on_stream(stream, || copies::copy(to, from, bytes))
    }
    fn cudaMemcpyPeer(to: Address, to_device: c_int, from: Address, from_device: c_int, bytes: usize) {
        copies::copy(to, from, bytes)
    }
    fn cudaMemcpyPeerAsync(
        to: Address, to_device: c_int, from: Address, from_device: c_int, bytes: usize, stream: Handle,
    ) { on_stream(stream, || copies::copy(to, from, bytes)) }
    fn cudaMemcpy2D(
        to: Address, to_pitch: usize, from: Address, from_pitch: usize, width: usize, height: usize,
        kind: c_int,
    ) { Rectangle { to, to_pitch, from, from_pitch, width, height }.copy() }
    fn cudaMemcpy2DAsync(
        to: Address, to_pitch: usize, from: Address, from_pitch: usize, width: usize, height: usize,
        kind: c_int, stream: Handle,
    ) { on_stream(stream, || Rectangle { to, to_pitch, from, from_pitch, width, height }.copy()) }
    // Of three dimensions no value is carried: textures and transfers between cards use them.
    fn cudaMemcpy3D(what: Unused) { context::enter(current()?) }
    fn cudaMemcpy3DAsync(what: Unused, stream: Handle) { on_stream(stream, || Ok(())) }
    fn cudaMemcpy3DPeer(what: Unused) { context::enter(current()?) }
    fn cudaMemcpy3DPeerAsync(what: Unused, stream: Handle) { on_stream(stream, || Ok(())) }
    fn cudaMemset(at: Address, value: c_int, bytes: usize) { copies::fill(at, byte(value), bytes) }
    fn cudaMemsetAsync(at: Address, value: c_int, bytes: usize, stream: Handle) {
        on_stream(stream, || copies::fill(at, byte(value), bytes))
    }
    fn cudaMemset2D(at: Address, pitch: usize, value: c_int, width: usize, height: usize) {
        (0..height).try_for_each(|row| copies::fill(at + row * pitch, byte(value), width))
    }
    fn cudaMemset2DAsync(
        at: Address, pitch: usize, value: c_int, width: usize, height: usize, stream: Handle,
    ) {
        on_stream(stream, || {
            (0..height).try_for_each(|row| copies::fill(at + row * pitch, byte(value), width))
        })
    }
    fn cudaMemPrefetchAsync(at: Address, bytes: usize, to: u64, flags: c_uint, stream: Handle) { Ok(()) }
    fn cudaMemAdvise(at: Address, bytes: usize, advice: c_int, to: u64) { Ok(()) }

    fn cudaPointerGetAttributes(attributes: Out<c_int>, at: Address) {
        let (kind, device, on_device, on_host) = pointer(at);
        // type, device, device pointer, host pointer: the same in every version.
        attributes.set(kind)?;
        attributes.nth(1).set(device)?;
        attributes.byte(8).cast::<Address>().set(on_device)?;
        attributes.byte(16).cast::<Address>().set(on_host)
    }
    fn cudaIpcGetMemHandle(handle: Out<u64>, at: Address) {
        let block = memory::find(at).ok_or(Code::INVALID_VALUE)?;
        let pid = u64::try_from(process::pid()).unwrap_or(0);
        for (n, word) in [pid, block.at as u64, block.bytes, block.card as u64].into_iter().enumerate() {
            handle.nth(n).set(word)?;
        }
        Ok(())
    }
    fn cudaIpcOpenMemHandle(out: Out<Address>, handle: IpcHandle, flags: c_uint) {
        let card = usize::try_from(handle.0[3]).map_err(|_| Code::INVALID_VALUE)?;
        out.set(memory::open_foreign(card, handle.0[2])?)
    }
    fn cudaIpcCloseMemHandle(at: Address) { memory::free(at) }

    fn cudaDeviceGetDefaultMemPool(pool: Out<Handle>, device: c_int) {
        let card = ordinal(device)?;
        pool.set(world().pools.default_of(card))
    }
    fn cudaDeviceGetMemPool(pool: Out<Handle>, device: c_int) {
        let card = ordinal(device)?;
        pool.set(world().pools.current_of(card))
    }
    fn cudaDeviceSetMemPool(device: c_int, pool: Handle) {
        let card = ordinal(device)?;
        world().pools.make_current(card, pool)
    }
    fn cudaMemPoolCreate(pool: Out<Handle>, properties: In<u8>) {
        let card = ordinal(properties.field(12)?)?;
        pool.set(world().pools.create(card))
    }
    fn cudaMemPoolDestroy(pool: Handle) { pools::destroy(pool) }
    fn cudaMemPoolTrimTo(pool: Handle, keep: usize) { pools::trim(pool, keep as u64) }
    fn cudaMemPoolSetAttribute(pool: Handle, attribute: c_int, value: In<u64>) {
        set_pool_attribute(pool, attribute, value)
    }
    fn cudaMemPoolGetAttribute(pool: Handle, attribute: c_int, value: Out<u64>) {
        get_pool_attribute(pool, attribute, value)
    }
    fn cudaMemPoolSetAccess(pool: Handle, access: Unused, count: usize) { Ok(()) }
    fn cudaMemPoolGetAccess(flags: Out<c_int>, pool: Handle, location: Unused) { flags.set(3) }
    fn cudaDeviceGetGraphMemAttribute(device: c_int, attribute: c_int, value: Out<u64>) { value.set(0) }
    fn cudaDeviceSetGraphMemAttribute(device: c_int, attribute: c_int, value: Unused) { Ok(()) }
    fn cudaDeviceGraphMemTrim(device: c_int) { Ok(()) }

    fn cudaMallocArray(array: Out<Handle>, format: In<[c_int; 5]>, width: usize, height: usize, flags: c_uint) {
        array.set(new_array(format.get()?, width, height, 1)?)
    }
    fn cudaMalloc3DArray(array: Out<Handle>, format: In<[c_int; 5]>, extent: Extent, flags: c_uint) {
        array.set(new_array(format.get()?, extent.0[0], extent.0[1], extent.0[2])?)
    }
    fn cudaFreeArray(array: Handle) { if array == 0 { Ok(()) } else { memory::free(array) } }
}

/// `cudaIpcMemHandle_t`, by value.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct IpcHandle([u64; 8]);

/// `cudaExtent`: width, height, depth.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Extent([usize; 3]);

/// Bytes of an array: `format` holds the bits of each channel.
fn new_array(format: [c_int; 5], width: usize, height: usize, depth: usize) -> Result<Address> {
    let bits: c_int = format[..4].iter().sum();
    let element = usize::try_from(bits / 8).unwrap_or(0).max(1);
    let sizes = [width, height.max(1), depth.max(1)];
    let bytes = sizes.iter().try_fold(element, |bytes, n| bytes.checked_mul(*n));
    let bytes = bytes.ok_or(Code::INVALID_VALUE)?;
    memory::allocate(current()?, Kind::Array, bytes as u64, "cudaMallocArray")
}

fn byte(value: c_int) -> u8 {
    value.to_le_bytes()[0]
}

/// What an address is: type, device, its device and host pointer.
pub(crate) fn pointer(at: Address) -> (c_int, c_int, Address, Address) {
    let world = world();
    if let Some(block) = world.memory.find(at) {
        return match block.kind {
            Kind::Managed => (MANAGED, device_of(block.card), at, at),
            _ => (DEVICE, device_of(block.card), at, 0),
        };
    }
    if let Some(piece) = world.reservations.find(at) {
        return (DEVICE, device_of(piece.card), at, 0);
    }
    // The card for which it was pinned.
    if let Some(block) = world.host.find(at) {
        return (HOST, device_of(block.card), at, at);
    }
    (UNREGISTERED, if runtime_major() >= 11 { -2 } else { 0 }, 0, at)
}

pub(crate) fn set_pool_attribute(pool: Handle, attribute: c_int, value: In<u64>) -> Result {
    let mut world = world();
    let pool = world.pools.get(pool)?;
    match attribute {
        1..=3 => {} // how memory is reused between streams: there is one order here
        pool_attribute::RELEASE_THRESHOLD => pool.threshold = value.get()?,
        pool_attribute::RESERVED_HIGH => pool.reserved_high = pool.reserved,
        pool_attribute::USED_HIGH => pool.used_high = pool.used,
        _ => return Err(Code::INVALID_VALUE),
    }
    Ok(())
}

pub(crate) fn get_pool_attribute(pool: Handle, attribute: c_int, value: Out<u64>) -> Result {
    let mut world = world();
    let pool = world.pools.get(pool)?;
    value.set(match attribute {
        1..=3 => return value.cast::<c_int>().set(1),
        pool_attribute::RELEASE_THRESHOLD => pool.threshold,
        pool_attribute::RESERVED => pool.reserved,
        pool_attribute::RESERVED_HIGH => pool.reserved_high,
        pool_attribute::USED => pool.used,
        pool_attribute::USED_HIGH => pool.used_high,
        _ => return Err(Code::INVALID_VALUE),
    })
}
