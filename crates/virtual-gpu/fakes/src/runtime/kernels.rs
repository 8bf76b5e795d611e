//! Kernels: registered, asked about, launched, never run.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_uint};

use vramplan_virtual_gpu::shared::Kind;

use super::current;
use crate::call::{Address, Handle, In, Out, Text, Unused, api, code, runtime};
use crate::core::{context, memory, process, streams};
use crate::error::{Code, Result};
use crate::fatbin;
use crate::machine::{card, runtime_major};

/// What a kernel is taken to use: its code is not read.
const REGISTERS: u32 = 64;
const REGISTERS_PER_SM: u32 = 65_536;
const WARP: u32 = 32;
/// Shared memory that the system keeps for each block.
const SYSTEM_SHARED: usize = 1024;

/// `dim3`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dim3 {
    x: u32,
    y: u32,
    z: u32,
}

impl Dim3 {
    pub(crate) fn new(x: u32, y: u32, z: u32) -> Self {
        Self { x, y, z }
    }

    fn count(self) -> u64 {
        u64::from(self.x) * u64::from(self.y) * u64::from(self.z)
    }
}

/// A launch as it was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Launch {
    pub(crate) function: Handle,
    pub(crate) grid: Dim3,
    pub(crate) block: Dim3,
    pub(crate) shared: usize,
    pub(crate) stream: Handle,
}

/// Accepts a launch that the card could run.
pub(crate) fn launch(launch: Launch) -> Result {
    let at = current()?;
    context::enter(at)?;
    let limit = card(at).shared_memory_per_block as usize;
    if launch.grid.count() == 0 || launch.block.count() == 0 || launch.block.count() > 1024 {
        return Err(Code::INVALID_CONFIGURATION);
    }
    if launch.shared > limit {
        return Err(Code::INVALID_VALUE);
    }
    fatbin::architecture(launch.function, at)?;
    fatbin::charge(launch.function, at)?;
    process::note_launch();
    streams::note_work(launch.stream, at).map(|_| ())
}

/// Blocks of a kernel that an SM holds at once.
pub(crate) fn occupancy(block: c_int, shared: usize, at: usize) -> Result<c_int> {
    let threads = u32::try_from(block).ok().filter(|n| *n > 0).ok_or(Code::INVALID_VALUE)?;
    let card = card(at);
    if threads > 1024 {
        return Ok(0);
    }
    let warps = threads.div_ceil(WARP);
    let by_threads = card.threads_per_sm / (warps * WARP);
    let by_registers = REGISTERS_PER_SM / (REGISTERS * warps * WARP);
    let by_shared = card.shared_memory_per_sm as usize / (shared + SYSTEM_SHARED);
    let by_shared = u32::try_from(by_shared).unwrap_or(u32::MAX);
    let blocks = by_threads.min(by_registers).min(by_shared).min(card.blocks_per_sm);
    c_int::try_from(blocks).map_err(|_| Code::INVALID_VALUE)
}

/// The attributes that `cuFuncGetAttribute` numbers.
pub(crate) fn function_attribute(number: c_int, function: Handle, at: usize) -> Result<c_int> {
    let arch = || fatbin::architecture(function, at).map(u32::cast_signed);
    Ok(match number {
        0 => 1024,
        4 => REGISTERS.cast_signed(),
        5 | 6 => arch()?,
        8 => card(at).shared_memory_per_block.cast_signed(),
        9 => -1,
        _ => 0,
    })
}

/// What `<<<…>>>` says of a launch: grid, block, shared bytes, stream.
#[derive(Clone, Copy)]
struct Configuration(Dim3, Dim3, usize, Handle);

const NO_BLOCKS: Dim3 = Dim3 { x: 0, y: 0, z: 0 };
/// Configurations that can wait at once: arguments of a launch may launch themselves.
const WAITING: usize = 8;

thread_local! {
    // Plain cells, as for contexts: launches may come from destructors.
    static CONFIGURED: Cell<[Configuration; WAITING]> =
        const { Cell::new([Configuration(NO_BLOCKS, NO_BLOCKS, 0, 0); WAITING]) };
    static CONFIGURATIONS: Cell<usize> = const { Cell::new(0) };
}

api! { runtime;
    fn __cudaPopCallConfiguration(grid: Out<Dim3>, block: Out<Dim3>, shared: Out<usize>, stream: Out<Handle>) {
        let top = CONFIGURATIONS.get().checked_sub(1).ok_or(Code(52))?; // missing configuration
        CONFIGURATIONS.set(top);
        let Configuration(g, b, m, s) = CONFIGURED.get()[top];
        grid.set(g)?;
        block.set(b)?;
        shared.set(m)?;
        stream.set(s)
    }
    fn cudaLaunchKernel(function: Handle, grid: Dim3, block: Dim3, args: Unused, shared: usize, stream: Handle) {
        launch(Launch { function, grid, block, shared, stream })
    }
    fn __cudaLaunchKernel(function: Handle, grid: Dim3, block: Dim3, args: Unused, shared: usize, stream: Handle) {
        launch(Launch { function, grid, block, shared, stream })
    }
    fn cudaLaunchCooperativeKernel(
        function: Handle, grid: Dim3, block: Dim3, args: Unused, shared: usize, stream: Handle,
    ) { launch(Launch { function, grid, block, shared, stream }) }
    // `cudaLaunchConfig_t`: grid, block, shared bytes at 24, stream at 32.
    fn cudaLaunchKernelExC(config: In<Dim3>, function: Handle, args: Unused) {
        let (grid, block) = (config.get()?, config.field(12)?);
        let (shared, stream) = (config.field(24)?, config.field(32)?);
        launch(Launch { function, grid, block, shared, stream })
    }
    fn __cudaGetKernel(kernel: Out<Handle>, function: Handle) { kernel.set(function) }
    fn cudaGetKernel(kernel: Out<Handle>, function: Handle) { kernel.set(function) }
    fn cudaGetFuncBySymbol(out: Out<Handle>, function: Handle) { out.set(function) }
    fn cudaFuncGetAttributes(out: Out<usize>, function: Handle) {
        let at = current()?;
        let arch = function_attribute(5, function, at)?;
        // cudaFuncAttributes: three sizes, then integers; 56 bytes in CUDA 11, 144 since.
        let len = if runtime_major() < 12 { 56 } else { 144 };
        for byte in 0..len {
            out.byte(byte).set(0)?;
        }
        let int = |byte: usize, value: c_int| out.byte(byte).cast::<c_int>().set(value);
        int(24, 1024)?;
        int(28, REGISTERS.cast_signed())?;
        int(32, arch)?;
        int(36, arch)?;
        int(44, card(at).shared_memory_per_block.cast_signed())?;
        int(48, -1)
    }
    fn cudaFuncSetAttribute(function: Handle, attribute: c_int, value: c_int) {
        let limit = card(current()?).shared_memory_per_block.cast_signed();
        // 8: the largest dynamic shared memory.
        if attribute == 8 && value > limit { Err(Code::INVALID_VALUE) } else { Ok(()) }
    }
    fn cudaFuncSetCacheConfig(function: Handle, config: c_int) { Ok(()) }
    fn cudaFuncSetSharedMemConfig(function: Handle, config: c_int) { Ok(()) }
    fn cudaOccupancyMaxActiveBlocksPerMultiprocessor(out: Out<c_int>, function: Handle, block: c_int, shared: usize) {
        out.set(occupancy(block, shared, current()?)?)
    }
    fn cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
        out: Out<c_int>, function: Handle, block: c_int, shared: usize, flags: c_uint,
    ) { out.set(occupancy(block, shared, current()?)?) }
    fn cudaOccupancyAvailableDynamicSMemPerBlock(out: Out<usize>, function: Handle, blocks: c_int, block: c_int) {
        let blocks = usize::try_from(blocks).ok().filter(|n| *n > 0).ok_or(Code::INVALID_VALUE)?;
        let card = card(current()?);
        let share = (card.shared_memory_per_sm as usize / blocks).saturating_sub(SYSTEM_SHARED);
        out.set(share.min(card.shared_memory_per_block as usize))
    }
    fn cudaOccupancyMaxActiveClusters(out: Out<c_int>, function: Handle, config: Unused) {
        out.set(card(current()?).sm_count.cast_signed())
    }
    fn cudaOccupancyMaxPotentialClusterSize(out: Out<c_int>, function: Handle, config: Unused) { out.set(8) }

    fn cudaGetSymbolAddress(out: Out<Address>, symbol: Handle) {
        out.set(memory::allocate(current()?, Kind::Library, 4096, "cudaGetSymbolAddress")?)
    }
    fn cudaGetSymbolSize(out: Out<usize>, symbol: Handle) { out.set(4096) }
    fn cudaMemcpyToSymbol(symbol: Handle, from: Unused, bytes: usize, offset: usize, kind: c_int) { Ok(()) }
    fn cudaMemcpyToSymbolAsync(
        symbol: Handle, from: Unused, bytes: usize, offset: usize, kind: c_int, stream: Handle,
    ) { Ok(()) }

    fn cudaLibraryLoadData(
        library: Out<Handle>, image: Unused, a: Unused, b: Unused, n: c_uint, c: Unused, d: Unused, m: c_uint,
    ) { library.set(fatbin::load()) }
    fn cudaLibraryLoadFromFile(
        library: Out<Handle>, path: Text, a: Unused, b: Unused, n: c_uint, c: Unused, d: Unused, m: c_uint,
    ) { library.set(fatbin::load()) }
    fn cudaLibraryUnload(library: Handle) {
        fatbin::unregister(library);
        Ok(())
    }
    fn cudaLibraryGetKernel(kernel: Out<Handle>, library: Handle, name: Text) {
        kernel.set(fatbin::kernel_of(library))
    }
    fn cudaLibraryGetKernelCount(count: Out<c_uint>, library: Handle) { count.set(0) }
    fn cudaLibraryGetGlobal(out: Out<Address>, bytes: Out<usize>, library: Handle, name: Text) {
        bytes.maybe(4096);
        out.set(memory::allocate(current()?, Kind::Library, 4096, "cudaLibraryGetGlobal")?)
    }
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn __cudaPushCallConfiguration(
    grid: Dim3,
    block: Dim3,
    shared: usize,
    stream: Handle,
) -> c_uint {
    let at = CONFIGURATIONS.get();
    let mut waiting = CONFIGURED.get();
    let Some(free) = waiting.get_mut(at) else { return 1 };
    *free = Configuration(grid, block, shared, stream);
    CONFIGURED.set(waiting);
    CONFIGURATIONS.set(at + 1);
    0
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn __cudaRegisterFatBinary(wrapper: In<u32>) -> Handle {
    fatbin::register(wrapper)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn __cudaRegisterFatBinaryEnd(module: Handle) {}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn __cudaUnregisterFatBinary(module: Handle) {
    fatbin::unregister(module);
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn __cudaRegisterFunction(
    module: Handle,
    function: Handle,
    device_function: Unused,
    name: *const c_char,
    thread_limit: c_int,
    thread: Unused,
    block: Unused,
    block_dim: Unused,
    grid_dim: Unused,
    warp: Unused,
) {
    fatbin::add_kernel(module, function);
}

/// A variable of the card. Its memory is the module's.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn __cudaRegisterVar(
    module: Handle,
    variable: Unused,
    device: Unused,
    name: *const c_char,
    external: c_int,
    bytes: usize,
    constant: c_int,
    global: c_int,
) {
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn __cudaRegisterManagedVar(
    module: Handle,
    variable: Out<Address>,
    device: Unused,
    name: *const c_char,
    external: c_int,
    bytes: usize,
    constant: c_int,
    global: c_int,
) {
    let call = "a managed variable";
    let made = current().and_then(|at| memory::allocate(at, Kind::Managed, bytes as u64, call));
    code(made.and_then(|at| variable.set(at)));
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn __cudaInitModule(module: Handle) -> c_char {
    1
}
