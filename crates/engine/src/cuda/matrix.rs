//! Products with quantized matrices: candle's kernels, on our memory.
//!
//! Up to 8 rows go to the kernels that take a row of the matrix to a block (`fast_mmvq.rs` of
//! candle-core), more to those that take tiles (`fast_mmq.rs`). Both first write the activations in 8
//! bits. candle allocates scratch and output for each; here they are the caller's.

#![allow(unsafe_code, reason = "candle's launchers are C functions")]

use std::ffi::c_void;

use candle_kernels::ffi;
use cudarc::driver::sys;

use super::card::refused;
use super::runner::Runner;
use crate::EngineError;
use crate::gpu::Product;
use vramplan_planner::dtype::GgmlType;

/// Elements to a multiple of which rows of activations are padded.
const ROW_PADDING: usize = 512;
/// Elements of a block of 8-bit activations for few rows.
const Q8_1: usize = 32;
/// `ids`, strides of batches: there are none.
const NONE: i64 = 0;

/// What the kernels for many rows choose their tiles by.
#[derive(Clone, Copy, Debug)]
pub struct MatrixLimits {
    /// 100 · major + 10 · minor.
    capability: i32,
    multiprocessors: i32,
    /// Shared memory that a block can ask for.
    shared_bytes: i64,
}

impl MatrixLimits {
    /// What the GPU of `runner` has; the driver is asked for the shared memory.
    pub fn of(runner: &Runner) -> Result<Self, EngineError> {
        let most = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
        let shared = runner.stream().context().attribute(most);
        let shared = shared.map_err(|error| refused("asking what the GPU can do", error))?;
        let gpu = runner.gpu();
        let (major, minor) = gpu.capability;
        Ok(Self {
            capability: (100 * major + 10 * minor).cast_signed(),
            multiprocessors: gpu.multiprocessors.cast_signed(),
            shared_bytes: i64::from(shared),
        })
    }
}

type Vector = unsafe extern "C" fn(
    *const c_void,
    *const c_void,
    *mut c_void,
    i32,
    i32,
    i32,
    i32,
    i32,
    *mut c_void,
);

type Tiles = unsafe extern "C" fn(
    *mut c_void,
    *const c_void,
    *const c_void,
    *mut c_void,
    i64,
    i64,
    i64,
    i64,
    i64,
    i32,
    i32,
    i64,
    i32,
    *mut c_void,
);

type Quantize = unsafe extern "C" fn(
    *const c_void,
    *const i32,
    *mut c_void,
    i32,
    i64,
    i64,
    i64,
    i64,
    i64,
    i64,
    i64,
    i64,
    *mut c_void,
);

/// For a type: the kernel for few rows, and for many rows the kernel and how it wants its activations
/// (`ds_layout_for` of candle-core).
struct Kernels {
    vector: Vector,
    tiles: Tiles,
    quantize: Quantize,
}

impl Kernels {
    fn of(ty: GgmlType) -> Option<Self> {
        use ffi::{
            launch_mmq_quantize_q8_1_D2S6 as d2s6, launch_mmq_quantize_q8_1_D4 as d4,
            launch_mmq_quantize_q8_1_DS4 as ds4,
        };
        macro_rules! kernels {
            ($vector:ident, $tiles:ident, $quantize:ident) => {
                Self { vector: ffi::$vector, tiles: ffi::$tiles, quantize: $quantize }
            };
        }
        Some(match ty {
            GgmlType::Q4_0 => kernels!(launch_mmvq_gguf_q4_0_f32_plain, launch_mmq_gguf_q4_0, ds4),
            GgmlType::Q4_1 => kernels!(launch_mmvq_gguf_q4_1_f32_plain, launch_mmq_gguf_q4_1, ds4),
            GgmlType::Q5_0 => kernels!(launch_mmvq_gguf_q5_0_f32_plain, launch_mmq_gguf_q5_0, d4),
            GgmlType::Q5_1 => kernels!(launch_mmvq_gguf_q5_1_f32_plain, launch_mmq_gguf_q5_1, ds4),
            GgmlType::Q8_0 => kernels!(launch_mmvq_gguf_q8_0_f32_plain, launch_mmq_gguf_q8_0, d4),
            GgmlType::Q2K => kernels!(launch_mmvq_gguf_q2_k_f32_plain, launch_mmq_gguf_q2_k, d2s6),
            GgmlType::Q3K => kernels!(launch_mmvq_gguf_q3_k_f32_plain, launch_mmq_gguf_q3_k, d4),
            GgmlType::Q4K => kernels!(launch_mmvq_gguf_q4_k_f32_plain, launch_mmq_gguf_q4_k, ds4),
            GgmlType::Q5K => kernels!(launch_mmvq_gguf_q5_k_f32_plain, launch_mmq_gguf_q5_k, ds4),
            GgmlType::Q6K => kernels!(launch_mmvq_gguf_q6_k_f32_plain, launch_mmq_gguf_q6_k, d4),
            _ => return None,
        })
    }
}

/// The numbers of a product as the kernels take them.
struct Sizes {
    rows: i32,
    width: i32,
    padded: i32,
    columns: i32,
    /// Blocks of a row of the matrix.
    blocks: i64,
}

impl Sizes {
    /// Kernels index outputs and blocks with 32 bits.
    fn of(product: &Product) -> Result<Self, EngineError> {
        let Product { rows, width, columns, .. } = *product;
        let padded = width.next_multiple_of(ROW_PADDING);
        let fits = |count: Option<usize>| count.is_some_and(|count| i32::try_from(count).is_ok());
        let all = [
            rows.checked_mul(columns),
            rows.checked_mul(padded),
            columns.checked_mul(padded / Q8_1),
        ];
        if !all.into_iter().all(fits) {
            let what = format!("a product of {rows} rows with a matrix of {columns} × {width}");
            return Err(EngineError::unsupported(what, "fewer than 2^31 numbers: a smaller chunk"));
        }
        let int = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        let elements = product.ty.layout().elements;
        let blocks = i64::try_from(width as u64 / elements).unwrap_or(i64::MAX);
        let [rows, width, padded, columns] = [rows, width, padded, columns].map(int);
        Ok(Self { rows, width, padded, columns, blocks })
    }
}

/// Queues a product.
///
/// # Errors
/// Where the type has no kernel, or a launch failed.
///
/// # Safety
/// As [`crate::gpu::Device::multiply`]; this thread's context is the stream's.
pub unsafe fn multiply(
    product: &Product,
    limits: &MatrixLimits,
    stream: sys::CUstream,
) -> Result<(), EngineError> {
    let Some(kernels) = Kernels::of(product.ty) else {
        let what = format!("matrices of type {}", product.ty);
        return Err(EngineError::unsupported(what, "Q4_0 to Q8_0, or Q2_K to Q6_K"));
    };
    if !product.x.address.is_multiple_of(16) {
        let message = format!("activations at {:#x}: expected a multiple of 16", product.x.address);
        return Err(EngineError::device("multiplying with a matrix", message));
    }
    let sizes = Sizes::of(product)?;
    // SAFETY: the caller vouches for the memory and the stream; sizes are the product's.
    unsafe {
        if product.rows <= Product::FEW_ROWS {
            by_rows(product, &kernels, &sizes, stream.cast());
        } else {
            by_tiles(product, &kernels, &sizes, limits, stream.cast());
        }
    }
    launched()
}

unsafe fn by_rows(product: &Product, kernels: &Kernels, sizes: &Sizes, stream: *mut c_void) {
    let Sizes { rows, width, padded, columns, .. } = *sizes;
    let quantized = product.quantized.address as *mut c_void;
    let block = i32::try_from(Q8_1).unwrap_or(i32::MAX);
    // SAFETY: as the caller says.
    unsafe {
        let x = product.x.address as *const c_void;
        ffi::launch_mmvq_gguf_quantize_q8_1_f32(x, quantized, width, padded, rows, stream);
        let matrix = product.weight.address as *const c_void;
        let out = product.out.address as *mut c_void;
        let stride = padded / block;
        (kernels.vector)(matrix, quantized, out, width, columns, stride, columns, rows, stream);
    }
}

unsafe fn by_tiles(
    product: &Product,
    kernels: &Kernels,
    sizes: &Sizes,
    limits: &MatrixLimits,
    stream: *mut c_void,
) {
    const WARP: i32 = 32;
    let [rows, width, padded, columns] =
        [sizes.rows, sizes.width, sizes.padded, sizes.columns].map(i64::from);
    let quantized = product.quantized.address as *mut c_void;
    let x = product.x.address as *const c_void;
    let no_ids = std::ptr::null();
    // SAFETY: as the caller says.
    unsafe {
        (kernels.quantize)(
            x, no_ids, quantized, 0, width, width, NONE, NONE, padded, rows, 1, 1, stream,
        );
        (kernels.tiles)(
            product.partial.address as *mut c_void,
            product.weight.address as *const c_void,
            quantized,
            product.out.address as *mut c_void,
            width,
            columns,
            rows,
            sizes.blocks,
            columns,
            limits.capability,
            limits.multiprocessors,
            limits.shared_bytes,
            WARP,
            stream,
        );
    }
}

unsafe extern "C" {
    /// Of the CUDA runtime, which candle's launchers call and whose result they do not look at.
    fn cudaGetLastError() -> i32;
}

/// `cudaErrorNoKernelImageForDevice`.
const NO_KERNEL_IMAGE: i32 = 209;

/// Whether the launches since the last call succeeded.
fn launched() -> Result<(), EngineError> {
    // SAFETY: takes nothing, and returns the calling thread's last error.
    match unsafe { cudaGetLastError() } {
        0 => Ok(()),
        NO_KERNEL_IMAGE => {
            let message = "the program was built for other GPUs: expected a build for this one";
            Err(EngineError::device("multiplying with a matrix", message))
        }
        error => {
            let message = format!("the CUDA runtime says error {error}");
            Err(EngineError::device("multiplying with a matrix", message))
        }
    }
}
