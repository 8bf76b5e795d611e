//! What of the libraries on top of CUDA must answer something, and what they take for themselves.
#![allow(non_snake_case, unused_variables)]

use std::collections::BTreeMap;
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::sync::{Mutex, PoisonError};

use vramplan_virtual_gpu::shared::Kind;

use crate::call::{Address, Handle, In, Out, Unused, api, driver, library};
use crate::core::{fresh_handle, memory, process};
use crate::error::{Code, Result};
use crate::machine::{card, machine, runtime_major};
use crate::runtime::current;

/// A cuBLAS handle: the stream it works on, and the workspace it was given or took.
#[derive(Debug, Clone, Copy, Default)]
struct Blas {
    stream: Handle,
    has_workspace: bool,
    math_mode: c_int,
    pointer_mode: c_int,
}

static BLAS: Mutex<BTreeMap<Handle, Blas>> = Mutex::new(BTreeMap::new());

fn blas<T>(handle: Handle, work: impl FnOnce(&mut Blas) -> T) -> Result<T> {
    let mut handles = BLAS.lock().unwrap_or_else(PoisonError::into_inner);
    handles.get_mut(&handle).map(work).ok_or(Code::INVALID_VALUE)
}

/// What cuBLAS takes by itself: 4 MiB, on Hopper and later 32 MiB (the manual on
/// `cublasSetWorkspace`).
fn default_workspace(at: usize) -> u64 {
    let default = if card(at).compute_capability.0 >= 9 { 32 << 20 } else { 4 << 20 };
    machine().cublas_workspace.unwrap_or(default)
}

/// A product: the first of a handle without a workspace takes one.
fn product(handle: Handle) -> Result {
    let at = current()?;
    if !blas(handle, |blas| std::mem::replace(&mut blas.has_workspace, true))? {
        memory::allocate(at, Kind::Library, default_workspace(at), "cuBLAS's workspace")?;
    }
    process::note_launch();
    Ok(())
}

macro_rules! products {
    ($($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        pub(crate) extern "C" fn $name(handle: Handle) -> c_int {
            library(|| product(handle))
        }
    )*};
}

products! {
    cublasSgemm_v2 cublasDgemm_v2 cublasCgemm_v2 cublasZgemm_v2 cublasHgemm cublasSgemmEx cublasGemmEx
    cublasSgemmBatched cublasDgemmBatched cublasHgemmBatched cublasGemmBatchedEx
    cublasSgemmStridedBatched cublasDgemmStridedBatched cublasHgemmStridedBatched
    cublasGemmStridedBatchedEx cublasStrsmBatched cublasSgemv_v2 cublasGemmEx_64
    cublasGemmStridedBatchedEx_64 cublasGemmBatchedEx_64 cublasSgemm_v2_64
}

const fn blas_version(major: u32) -> c_int {
    match major {
        11 => 111_106,
        12 => 120_800,
        _ => 130_600,
    }
}

api! { library;
    fn cublasCreate_v2(out: Out<Handle>) {
        let handle = fresh_handle();
        BLAS.lock().unwrap_or_else(PoisonError::into_inner).insert(handle, Blas::default());
        out.set(handle)
    }
    fn cublasDestroy_v2(handle: Handle) {
        BLAS.lock().unwrap_or_else(PoisonError::into_inner).remove(&handle);
        Ok(())
    }
    fn cublasGetVersion_v2(handle: Handle, version: Out<c_int>) { version.set(blas_version(runtime_major())) }
    fn cublasSetStream_v2(handle: Handle, stream: Handle) { blas(handle, |blas| blas.stream = stream) }
    fn cublasGetStream_v2(handle: Handle, stream: Out<Handle>) {
        stream.set(blas(handle, |blas| blas.stream)?)
    }
    fn cublasSetWorkspace_v2(handle: Handle, at: Address, bytes: usize) {
        blas(handle, |blas| blas.has_workspace = true)
    }
    fn cublasSetMathMode(handle: Handle, mode: c_int) { blas(handle, |blas| blas.math_mode = mode) }
    fn cublasGetMathMode(handle: Handle, mode: Out<c_int>) { mode.set(blas(handle, |blas| blas.math_mode)?) }
    fn cublasSetPointerMode_v2(handle: Handle, mode: c_int) { blas(handle, |blas| blas.pointer_mode = mode) }
    fn cublasGetPointerMode_v2(handle: Handle, mode: Out<c_int>) {
        mode.set(blas(handle, |blas| blas.pointer_mode)?)
    }
    fn cublasGetAtomicsMode(handle: Handle, mode: Out<c_int>) { mode.set(0) }
    fn cublasGetSmCountTarget(handle: Handle, count: Out<c_int>) { count.set(0) }
}

/// A preference of cuBLASLt: the workspace that the caller allows.
static ALLOWED: Mutex<BTreeMap<Handle, u64>> = Mutex::new(BTreeMap::new());
/// `CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES`.
const MAX_WORKSPACE: c_int = 1;

api! { library;
    fn cublasLtCreate(out: Out<Handle>) { out.set(fresh_handle()) }
    fn cublasLtMatmulPreferenceCreate(out: Out<Handle>) { out.set(fresh_handle()) }
    fn cublasLtMatmulPreferenceInit_internal(preference: Handle, bytes: usize) { Ok(()) }
    fn cublasLtMatmulPreferenceDestroy(preference: Handle) {
        ALLOWED.lock().unwrap_or_else(PoisonError::into_inner).remove(&preference);
        Ok(())
    }
    fn cublasLtMatmulPreferenceSetAttribute(preference: Handle, attribute: c_int, value: In<u64>, bytes: usize) {
        if attribute == MAX_WORKSPACE && bytes == 8 {
            ALLOWED.lock().unwrap_or_else(PoisonError::into_inner).insert(preference, value.get()?);
        }
        Ok(())
    }
    // `cublasLtMatmulHeuristicResult_t`: the algorithm of 64 bytes, its workspace, a status, waves.
    fn cublasLtMatmulAlgoGetHeuristic(
        handle: Handle, operation: Unused, a: Unused, b: Unused, c: Unused, d: Unused, preference: Handle,
        wanted: c_int, result: Out<[u64; 12]>, count: Out<c_int>,
    ) {
        let allowed = ALLOWED.lock().unwrap_or_else(PoisonError::into_inner);
        let most = allowed.get(&preference).copied().unwrap_or(0);
        let mut found = [0; 12];
        found[8] = if machine().cublaslt_takes_all { most } else { 0 };
        found[9] = u64::from(1.0f32.to_bits()) << 32;
        result.set(found)?;
        count.set(1)
    }
    fn cublasLtMatmulAlgoCheck(
        handle: Handle, operation: Unused, a: Unused, b: Unused, c: Unused, d: Unused, algorithm: Unused,
        result: Out<[u64; 12]>,
    ) { result.set([0; 12]) }
    fn cublasLtMatmul(handle: Handle) {
        process::note_launch();
        Ok(())
    }
    fn cufftCreate(plan: Out<c_int>) { plan.set(i32::try_from(fresh_handle() / 16).unwrap_or(1)) }
    fn cufftPlan1d(plan: Out<c_int>) { plan.set(1) }
    fn cufftPlan2d(plan: Out<c_int>) { plan.set(1) }
    fn cufftPlan3d(plan: Out<c_int>) { plan.set(1) }
    fn cufftPlanMany(plan: Out<c_int>) { plan.set(1) }
    fn cufftXtMakePlanMany(
        plan: c_int, rank: c_int, n: Unused, a: Unused, b: i64, c: i64, d: c_int, e: Unused, f: i64, g: i64,
        h: c_int, batch: i64, work: Out<usize>, kind: c_int,
    ) {
        work.maybe(0);
        Ok(())
    }
    fn cufftGetVersion(version: Out<c_int>) { version.set(12_000) }
    fn nvrtcVersion(major: Out<c_int>, minor: Out<c_int>) {
        major.set(runtime_major().cast_signed())?;
        minor.set(2)
    }
    fn nvrtcCreateProgram(program: Out<Handle>) { program.set(fresh_handle()) }
    fn nvrtcGetPTXSize(program: Handle, bytes: Out<usize>) { bytes.set(16) }
    fn nvrtcGetCUBINSize(program: Handle, bytes: Out<usize>) { bytes.set(16) }
    fn nvrtcGetProgramLogSize(program: Handle, bytes: Out<usize>) { bytes.set(1) }
    fn nvrtcGetPTX(program: Handle, text: Out<[u8; 16]>) { text.set([0; 16]) }
    fn nvrtcGetCUBIN(program: Handle, image: Out<[u8; 16]>) { image.set([0; 16]) }
    fn nvrtcGetProgramLog(program: Handle, text: Out<u8>) { text.set(0) }
    fn nvrtcGetLoweredName(program: Handle, name: Unused, out: Out<*const c_char>) { out.set(c"kernel".as_ptr()) }
    fn nvrtcGetNumSupportedArchs(count: Out<c_int>) { count.set(0) }
    fn ncclGetVersion(version: Out<c_int>) { version.set(22_800) }
    fn ncclGetUniqueId(id: Out<[u64; 16]>) { id.set([0; 16]) }
    fn ncclCommInitRank(communicator: Out<Handle>) { communicator.set(fresh_handle()) }
    fn ncclCommInitRankConfig(communicator: Out<Handle>) { communicator.set(fresh_handle()) }
    fn ncclCommInitAll(communicators: Out<Handle>, count: c_int, devices: Unused) {
        let count = usize::try_from(count).map_err(|_| Code::INVALID_VALUE)?;
        (0..count).try_for_each(|at| communicators.nth(at).set(fresh_handle()))
    }
    fn ncclCommGetAsyncError(communicator: Handle, error: Out<c_int>) { error.set(0) }
    fn ncclMemAlloc(out: Out<Address>, bytes: usize) {
        out.set(memory::allocate(current()?, Kind::Malloc, bytes as u64, "ncclMemAlloc")?)
    }
    fn ncclMemFree(at: Address) { memory::free(at) }
    fn cuptiGetVersion(version: Out<c_uint>) { version.set(130_200) }
    fn cuptiActivityGetNextRecord(buffer: Unused, bytes: usize, record: Out<Handle>) {
        record.maybe(0);
        Err(Code::INVALID_VALUE)
    }
}

/// Attributes of cuDNN's backend that a program reads.
mod cudnn {
    pub(super) const HEURISTIC_RESULTS: c_int = 202;
    pub(super) const ENGINE_CONFIG_ENGINE: c_int = 300;
    pub(super) const CONFIG_SHARED_MEMORY: c_int = 303;
    pub(super) const CONFIG_INT: c_int = 304;
    pub(super) const PLAN_WORKSPACE: c_int = 402;
    pub(super) const ENGINE_COUNT: c_int = 802;
    pub(super) const ENGINE_INDEX: c_int = 1301;
    use std::ffi::c_int;
}

api! { library;
    fn cudnnCreate(out: Out<Handle>) { out.set(fresh_handle()) }
    fn cudnnGetProperty(kind: c_int, value: Out<c_int>) {
        value.set(match kind {
            0 => 9,
            1 => 26,
            _ => 0,
        })
    }
    fn cudnnGetStream(handle: Handle, stream: Out<Handle>) { stream.set(0) }
    fn cudnnBackendFinalize(descriptor: Handle) { Ok(()) }
    fn cudnnBackendExecute(handle: Handle, plan: Handle, variants: Handle) {
        process::note_launch();
        Ok(())
    }
    fn cudnnBackendCreateDescriptor(kind: c_int, out: Out<Handle>) { out.set(fresh_handle()) }
    // One engine that wants no workspace: what cuDNN would want is not known here.
    fn cudnnBackendGetAttribute(
        descriptor: Handle, name: c_int, kind: c_int, wanted: i64, count: Out<i64>, values: Out<i64>,
    ) {
        let (n, value) = match name {
            cudnn::HEURISTIC_RESULTS | cudnn::ENGINE_CONFIG_ENGINE => (1, None),
            cudnn::CONFIG_SHARED_MEMORY | cudnn::PLAN_WORKSPACE | cudnn::ENGINE_INDEX => (1, Some(0)),
            cudnn::CONFIG_INT => {
                if wanted > 0 {
                    values.cast::<c_int>().maybe(0);
                }
                (1, None)
            }
            cudnn::ENGINE_COUNT => (1, Some(1)),
            _ => (0, None),
        };
        if let (Some(value), true) = (value, wanted > 0) {
            values.maybe(value);
        }
        count.maybe(n);
        Ok(())
    }
    // `cudnnConvolutionFwdAlgoPerf_t`: 48 bytes, all 0: the first algorithm, no workspace.
    fn cudnnGetConvolutionForwardAlgorithm_v7(
        handle: Handle, x: Unused, w: Unused, c: Unused, y: Unused, n: c_int, count: Out<c_int>,
        result: Out<[u64; 6]>,
    ) {
        result.set([0; 6])?;
        count.set(1)
    }
    fn cudnnGetConvolutionForwardWorkspaceSize(
        handle: Handle, x: Unused, w: Unused, c: Unused, y: Unused, algorithm: c_int, bytes: Out<usize>,
    ) { bytes.set(0) }
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cublasLtGetVersion() -> usize {
    usize::try_from(blas_version(runtime_major())).unwrap_or(0)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cublasLtGetCudartVersion() -> usize {
    runtime_major() as usize * 1000
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cudnnGetVersion() -> usize {
    92_600
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cudnnGetCudartVersion() -> usize {
    runtime_major() as usize * 1000
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cudnnGetLastErrorString(text: Out<c_char>, room: usize) {
    if room > 0 {
        text.maybe(0);
    }
}

macro_rules! texts {
    ($($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        pub(crate) extern "C" fn $name(status: c_int) -> *const c_char {
            if status == 0 { c"success".as_ptr() } else { c"error of the virtual GPU".as_ptr() }
        }
    )*};
}

texts! {
    cublasGetStatusString cublasGetStatusName cublasLtGetStatusString cublasLtGetStatusName
    cudnnGetErrorString ncclGetErrorString nvrtcGetErrorString cusparseGetErrorString
    cusparseGetErrorName
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn ncclGetLastError(communicator: Handle) -> *const c_char {
    c"".as_ptr()
}

/// Ranges of a profiler: the value is the depth, or a number.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn nvtxRangePushA(text: *const c_void) -> c_int {
    driver(|| Ok(()))
}
