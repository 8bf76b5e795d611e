//! Memory of cards and host, copies, pools.

use std::ffi::{c_int, c_uint};

use vramplan_virtual_gpu::shared::Kind;

use crate::call::{Address, Handle, In, Out, Unused, api, driver};
use crate::core::{accounting, context, copies, host, memory, pools, world};
use crate::error::{Code, Result};
use crate::machine::ordinal;
use crate::runtime::current;
use crate::runtime::memory as rt;

fn give(out: Out<Address>, kind: Kind, bytes: usize, call: &'static str) -> Result {
    if bytes == 0 {
        return Err(Code::INVALID_VALUE);
    }
    out.set(memory::allocate(current()?, kind, bytes as u64, call)?)
}

fn info(free: Out<usize>, total: Out<usize>) -> Result {
    let card = current()?;
    context::ensure(card)?;
    let levels = accounting::levels(card);
    free.set(usize::try_from(levels.free).unwrap_or(usize::MAX))?;
    total.set(usize::try_from(levels.total).unwrap_or(usize::MAX))
}

fn range(base: Out<Address>, bytes: Out<usize>, at: Address) -> Result {
    let block = memory::find(at).ok_or(Code::INVALID_VALUE)?;
    base.maybe(block.at);
    bytes.maybe(usize::try_from(block.bytes).unwrap_or(usize::MAX));
    Ok(())
}

fn pitched(out: Out<Address>, pitch: Out<usize>, width: usize, height: usize) -> Result {
    let row = width.checked_next_multiple_of(512).ok_or(Code::INVALID_VALUE)?;
    pitch.set(row)?;
    give(out, Kind::Malloc, row.checked_mul(height).ok_or(Code::INVALID_VALUE)?, "cuMemAllocPitch")
}

/// `CUDA_ARRAY_DESCRIPTOR`: width, height, format, channels; the 3D form has a depth before the
/// format.
fn array(out: Out<Handle>, description: In<usize>, depth: bool) -> Result {
    let width: usize = description.field(0)?;
    let height: usize = description.field(8)?;
    let depth_of: usize = if depth { description.field(16)? } else { 1 };
    let at = if depth { 24 } else { 16 };
    let (format, channels): (c_int, c_uint) = (description.field(at)?, description.field(at + 4)?);
    let element = match format {
        1 | 8 => 1,
        2 | 9 | 16 => 2,
        _ => 4,
    };
    let sizes = [height.max(1), depth_of.max(1), channels as usize, element];
    let bytes = sizes.iter().try_fold(width, |bytes, n| bytes.checked_mul(*n));
    give(out, Kind::Array, bytes.ok_or(Code::INVALID_VALUE)?, "cuArrayCreate")
}

/// The attributes of `CUpointer_attribute`.
fn pointer_attribute(value: Out<u64>, attribute: c_int, at: Address) -> Result {
    let (kind, device, on_device, on_host) = rt::pointer(at);
    if kind == 0 {
        return Err(Code::INVALID_VALUE);
    }
    let block = || memory::find(at).ok_or(Code::INVALID_VALUE);
    match attribute {
        1 => value.set(context::primary(ordinal(device)?) as u64),
        2 => value.cast::<c_uint>().set(if kind == 1 { 1 } else { 2 }),
        3 => value.set(on_device as u64),
        4 if on_host != 0 => value.set(on_host as u64),
        7 => value.set(at as u64),
        8 => value.cast::<c_uint>().set(c_uint::from(kind == 3)),
        9 => value.cast::<c_int>().set(device),
        11 => value.set(block()?.at as u64),
        12 => value.set(block()?.bytes),
        15 => value.cast::<c_int>().set(1),
        _ => value.cast::<c_int>().set(0),
    }
}

api! { driver;
    fn cuMemGetInfo(free: Out<usize>, total: Out<usize>) { info(free, total) }
    fn cuMemGetInfo_v2(free: Out<usize>, total: Out<usize>) { info(free, total) }
    fn cuMemAlloc(out: Out<Address>, bytes: usize) { give(out, Kind::Malloc, bytes, "cuMemAlloc") }
    fn cuMemAlloc_v2(out: Out<Address>, bytes: usize) { give(out, Kind::Malloc, bytes, "cuMemAlloc") }
    fn cuMemAllocManaged(out: Out<Address>, bytes: usize, flags: c_uint) {
        give(out, Kind::Managed, bytes, "cuMemAllocManaged")
    }
    fn cuMemAllocPitch_v2(out: Out<Address>, pitch: Out<usize>, width: usize, height: usize, element: c_uint) {
        pitched(out, pitch, width, height)
    }
    fn cuMemFree(at: Address) { if at == 0 { Ok(()) } else { memory::free(at) } }
    fn cuMemFree_v2(at: Address) { if at == 0 { Ok(()) } else { memory::free(at) } }
    fn cuMemAllocAsync(out: Out<Address>, bytes: usize, stream: Handle) {
        let card = current()?;
        let pool = world().pools.current_of(card);
        out.set(pools::allocate(pool, bytes as u64, "cuMemAllocAsync")?)
    }
    fn cuMemAllocFromPoolAsync(out: Out<Address>, bytes: usize, pool: Handle, stream: Handle) {
        out.set(pools::allocate(pool, bytes as u64, "cuMemAllocFromPoolAsync")?)
    }
    fn cuMemFreeAsync(at: Address, stream: Handle) { if at == 0 { Ok(()) } else { memory::free(at) } }
    fn cuMemAllocHost(out: Out<Address>, bytes: usize) { out.set(host::allocate(current()?, bytes, 0)?) }
    fn cuMemAllocHost_v2(out: Out<Address>, bytes: usize) { out.set(host::allocate(current()?, bytes, 0)?) }
    fn cuMemHostAlloc(out: Out<Address>, bytes: usize, flags: c_uint) {
        out.set(host::allocate(current()?, bytes, flags)?)
    }
    fn cuMemFreeHost(at: Address) { host::free(at) }
    fn cuMemHostRegister_v2(at: Address, bytes: usize, flags: c_uint) {
        host::register(current()?, at, bytes, flags)
    }
    fn cuMemHostUnregister(at: Address) { host::unregister(at) }
    fn cuMemHostGetDevicePointer_v2(out: Out<Address>, at: Address, flags: c_uint) {
        let known = world().host.find(at).is_some();
        if known { out.set(at) } else { Err(Code::INVALID_VALUE) }
    }
    fn cuMemHostGetFlags(flags: Out<c_uint>, at: Address) {
        let block = world().host.find(at).ok_or(Code::INVALID_VALUE)?;
        flags.set(block.flags)
    }
    fn cuMemGetAddressRange(base: Out<Address>, bytes: Out<usize>, at: Address) { range(base, bytes, at) }
    fn cuMemGetAddressRange_v2(base: Out<Address>, bytes: Out<usize>, at: Address) { range(base, bytes, at) }
    fn cuPointerGetAttribute(value: Out<u64>, attribute: c_int, at: Address) {
        pointer_attribute(value, attribute, at)
    }
    fn cuPointerGetAttributes(count: c_uint, attributes: In<c_int>, values: In<Out<u64>>, at: Address) {
        for n in 0..count as usize {
            let (attribute, value) = (attributes.field(4 * n)?, values.field::<Out<u64>>(8 * n)?);
            // What an address does not have reads as 0, by the manual.
            if pointer_attribute(value, attribute, at).is_err() {
                let wide = matches!(attribute, 1 | 3 | 4 | 7 | 11 | 12);
                if wide { value.maybe(0) } else { value.cast::<c_int>().maybe(0) };
            }
        }
        Ok(())
    }
    fn cuPointerSetAttribute(value: Unused, attribute: c_int, at: Address) { Ok(()) }

    fn cuMemcpy(to: Address, from: Address, bytes: usize) { copies::copy(to, from, bytes) }
    fn cuMemcpyAsync(to: Address, from: Address, bytes: usize, stream: Handle) {
        rt::on_stream(stream, || copies::copy(to, from, bytes))
    }
    fn cuMemcpyHtoD_v2(to: Address, from: Address, bytes: usize) { copies::copy(to, from, bytes) }
    fn cuMemcpyDtoH_v2(to: Address, from: Address, bytes: usize) { copies::copy(to, from, bytes) }
    fn cuMemcpyDtoD_v2(to: Address, from: Address, bytes: usize) { copies::copy(to, from, bytes) }
    fn cuMemcpyHtoDAsync_v2(to: Address, from: Address, bytes: usize, stream: Handle) {
        rt::on_stream(stream, || copies::copy(to, from, bytes))
    }
    fn cuMemcpyDtoHAsync_v2(to: Address, from: Address, bytes: usize, stream: Handle) {
        rt::on_stream(stream, || copies::copy(to, from, bytes))
    }
    fn cuMemcpyDtoDAsync_v2(to: Address, from: Address, bytes: usize, stream: Handle) {
        rt::on_stream(stream, || copies::copy(to, from, bytes))
    }
    fn cuMemcpyPeer(to: Address, to_context: Handle, from: Address, from_context: Handle, bytes: usize) {
        copies::copy(to, from, bytes)
    }
    fn cuMemcpyPeerAsync(
        to: Address, to_context: Handle, from: Address, from_context: Handle, bytes: usize, stream: Handle,
    ) { rt::on_stream(stream, || copies::copy(to, from, bytes)) }
    fn cuMemsetD8_v2(at: Address, value: u8, n: usize) { copies::fill(at, value, n) }
    fn cuMemsetD16_v2(at: Address, value: u16, n: usize) { copies::pattern(at, &value.to_le_bytes(), n) }
    fn cuMemsetD32_v2(at: Address, value: u32, n: usize) { copies::pattern(at, &value.to_le_bytes(), n) }
    fn cuMemsetD8Async(at: Address, value: u8, n: usize, stream: Handle) {
        rt::on_stream(stream, || copies::fill(at, value, n))
    }
    fn cuMemsetD16Async(at: Address, value: u16, n: usize, stream: Handle) {
        rt::on_stream(stream, || copies::pattern(at, &value.to_le_bytes(), n))
    }
    fn cuMemsetD32Async(at: Address, value: u32, n: usize, stream: Handle) {
        rt::on_stream(stream, || copies::pattern(at, &value.to_le_bytes(), n))
    }
    fn cuMemPrefetchAsync(at: Address, bytes: usize, device: c_int, stream: Handle) { Ok(()) }
    fn cuMemAdvise(at: Address, bytes: usize, advice: c_int, device: c_int) { Ok(()) }

    fn cuArrayCreate_v2(out: Out<Handle>, description: In<usize>) { array(out, description, false) }
    fn cuArray3DCreate_v2(out: Out<Handle>, description: In<usize>) { array(out, description, true) }
    fn cuArrayDestroy(array: Handle) { memory::free(array) }

    fn cuDeviceGetDefaultMemPool(pool: Out<Handle>, device: c_int) {
        let card = ordinal(device)?;
        pool.set(world().pools.default_of(card))
    }
    fn cuDeviceGetMemPool(pool: Out<Handle>, device: c_int) {
        let card = ordinal(device)?;
        pool.set(world().pools.current_of(card))
    }
    fn cuDeviceSetMemPool(device: c_int, pool: Handle) {
        let card = ordinal(device)?;
        world().pools.make_current(card, pool)
    }
    fn cuMemPoolCreate(pool: Out<Handle>, properties: In<u8>) {
        let card = ordinal(properties.field(12)?)?;
        pool.set(world().pools.create(card))
    }
    fn cuMemPoolDestroy(pool: Handle) { pools::destroy(pool) }
    fn cuMemPoolTrimTo(pool: Handle, keep: usize) { pools::trim(pool, keep as u64) }
    fn cuMemPoolSetAttribute(pool: Handle, attribute: c_int, value: In<u64>) {
        rt::set_pool_attribute(pool, attribute, value)
    }
    fn cuMemPoolGetAttribute(pool: Handle, attribute: c_int, value: Out<u64>) {
        rt::get_pool_attribute(pool, attribute, value)
    }
    fn cuMemPoolSetAccess(pool: Handle, access: Unused, count: usize) { Ok(()) }
}
