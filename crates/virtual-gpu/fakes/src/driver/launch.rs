//! Modules, kernels and their launches.

use std::ffi::{c_char, c_int, c_uint};

use vramplan_virtual_gpu::shared::Kind;

use crate::call::{Address, Handle, In, Out, Text, Unused, api, driver};
use crate::core::memory;
use crate::error::{Code, Result};
use crate::fatbin;
use crate::machine::{card, ordinal};
use crate::runtime::current;
use crate::runtime::kernels::{Dim3, Launch, function_attribute, launch, occupancy};

/// A launch's grid, block and shared bytes as the driver passes them.
type Shape = [c_uint; 7];

fn shaped(function: Handle, s: Shape, stream: Handle) -> Result {
    let (grid, block) = (Dim3::new(s[0], s[1], s[2]), Dim3::new(s[3], s[4], s[5]));
    launch(Launch { function, grid, block, shared: s[6] as usize, stream })
}

fn global(out: Out<Address>, bytes: Out<usize>) -> Result {
    bytes.maybe(4096);
    if out.is_null() {
        return Ok(());
    }
    out.set(memory::allocate(current()?, Kind::Library, 4096, "cuModuleGetGlobal")?)
}

api! { driver;
    fn cuModuleLoad(module: Out<Handle>, path: Text) { module.set(fatbin::load()) }
    fn cuModuleLoadData(module: Out<Handle>, image: Unused) { module.set(fatbin::load()) }
    fn cuModuleLoadDataEx(module: Out<Handle>, image: Unused, n: c_uint, options: Unused, values: Unused) {
        module.set(fatbin::load())
    }
    fn cuModuleLoadFatBinary(module: Out<Handle>, image: Unused) { module.set(fatbin::load()) }
    fn cuModuleUnload(module: Handle) {
        fatbin::unregister(module);
        Ok(())
    }
    fn cuModuleGetFunction(function: Out<Handle>, module: Handle, name: Text) {
        function.set(fatbin::kernel_of(module))
    }
    fn cuModuleGetFunctionCount(count: Out<c_uint>, module: Handle) { count.set(0) }
    fn cuModuleGetGlobal_v2(out: Out<Address>, bytes: Out<usize>, module: Handle, name: Text) {
        global(out, bytes)
    }
    fn cuLibraryLoadData(
        library: Out<Handle>, image: Unused, a: Unused, b: Unused, n: c_uint, c: Unused, d: Unused, m: c_uint,
    ) { library.set(fatbin::load()) }
    fn cuLibraryLoadFromFile(
        library: Out<Handle>, path: Text, a: Unused, b: Unused, n: c_uint, c: Unused, d: Unused, m: c_uint,
    ) { library.set(fatbin::load()) }
    fn cuLibraryUnload(library: Handle) {
        fatbin::unregister(library);
        Ok(())
    }
    fn cuLibraryGetKernel(kernel: Out<Handle>, library: Handle, name: Text) {
        kernel.set(fatbin::kernel_of(library))
    }
    fn cuLibraryGetModule(module: Out<Handle>, library: Handle) { module.set(library) }
    fn cuLibraryGetGlobal(out: Out<Address>, bytes: Out<usize>, library: Handle, name: Text) {
        global(out, bytes)
    }
    fn cuLibraryGetKernelCount(count: Out<c_uint>, library: Handle) { count.set(0) }
    fn cuKernelGetFunction(function: Out<Handle>, kernel: Handle) { function.set(kernel) }
    fn cuKernelGetLibrary(library: Out<Handle>, kernel: Handle) { library.set(kernel) }
    fn cuKernelGetName(name: Out<*const c_char>, kernel: Handle) { name.set(c"kernel".as_ptr()) }
    fn cuFuncGetName(name: Out<*const c_char>, function: Handle) { name.set(c"kernel".as_ptr()) }
    fn cuFuncGetModule(module: Out<Handle>, function: Handle) { module.set(function) }
    fn cuFuncGetAttribute(value: Out<c_int>, attribute: c_int, function: Handle) {
        value.set(function_attribute(attribute, function, current()?)?)
    }
    fn cuFuncSetAttribute(function: Handle, attribute: c_int, value: c_int) {
        let limit = card(current()?).shared_memory_per_block.cast_signed();
        if attribute == 8 && value > limit { Err(Code::INVALID_VALUE) } else { Ok(()) }
    }
    fn cuFuncSetCacheConfig(function: Handle, config: c_int) { Ok(()) }
    fn cuFuncSetSharedMemConfig(function: Handle, config: c_int) { Ok(()) }
    fn cuFuncLoad(function: Handle) { Ok(()) }
    fn cuFuncIsLoaded(state: Out<c_int>, function: Handle) { state.set(1) }
    fn cuFuncGetParamInfo(function: Handle, at: usize, offset: Out<usize>, bytes: Out<usize>) {
        Err(Code::INVALID_VALUE)
    }
    fn cuKernelGetAttribute(value: Out<c_int>, attribute: c_int, kernel: Handle, device: c_int) {
        value.set(function_attribute(attribute, kernel, ordinal(device)?)?)
    }
    fn cuKernelSetAttribute(attribute: c_int, value: c_int, kernel: Handle, device: c_int) { Ok(()) }
    fn cuLaunchKernel(
        function: Handle, gx: c_uint, gy: c_uint, gz: c_uint, bx: c_uint, by: c_uint, bz: c_uint,
        shared: c_uint, stream: Handle, args: Unused, extra: Unused,
    ) { shaped(function, [gx, gy, gz, bx, by, bz, shared], stream) }
    fn cuLaunchCooperativeKernel(
        function: Handle, gx: c_uint, gy: c_uint, gz: c_uint, bx: c_uint, by: c_uint, bz: c_uint,
        shared: c_uint, stream: Handle, args: Unused,
    ) { shaped(function, [gx, gy, gz, bx, by, bz, shared], stream) }
    // `CUlaunchConfig`: the seven integers, then the stream at 32.
    fn cuLaunchKernelEx(config: In<Shape>, function: Handle, args: Unused, extra: Unused) {
        shaped(function, config.get()?, config.field(32)?)
    }
    fn cuOccupancyMaxActiveBlocksPerMultiprocessor(out: Out<c_int>, function: Handle, block: c_int, shared: usize) {
        out.set(occupancy(block, shared, current()?)?)
    }
    fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
        out: Out<c_int>, function: Handle, block: c_int, shared: usize, flags: c_uint,
    ) { out.set(occupancy(block, shared, current()?)?) }
    fn cuOccupancyMaxPotentialBlockSize(
        grid: Out<c_int>, block: Out<c_int>, function: Handle, size: Unused, shared: usize, limit: c_int,
    ) {
        block.set(256)?;
        let at = current()?;
        grid.set(occupancy(256, shared, at)?.saturating_mul(card(at).sm_count.cast_signed()))
    }
    fn cuOccupancyMaxActiveClusters(out: Out<c_int>, function: Handle, config: Unused) {
        out.set(card(current()?).sm_count.cast_signed())
    }
    fn cuOccupancyMaxPotentialClusterSize(out: Out<c_int>, function: Handle, config: Unused) { out.set(8) }
    fn cuTensorMapEncodeTiled(map: Out<[u64; 16]>) { map.set([0; 16]) }
    fn cuTensorMapEncodeIm2col(map: Out<[u64; 16]>) { map.set([0; 16]) }
    fn cuLinkCreate_v2(n: c_uint, options: Unused, values: Unused, state: Out<Handle>) {
        state.set(crate::core::fresh_handle())
    }
    fn cuLinkComplete(state: Handle, image: Out<Unused>, bytes: Out<usize>) {
        static EMPTY: [u64; 8] = [0; 8];
        bytes.maybe(size_of_val(&EMPTY));
        image.set(EMPTY.as_ptr().cast())
    }
}
