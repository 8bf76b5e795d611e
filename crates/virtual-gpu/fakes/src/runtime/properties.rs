//! `cudaGetDeviceProperties`. The structure differs between CUDA 11, 12 and 13: by the soname of the
//! runtime that the program opened, and by the function's name.

use std::ffi::c_int;

use crate::call::{Out, api, runtime};
use crate::core::attributes::attribute;
use crate::error::Result;
use crate::machine::{self, bus, ordinal, runtime_major};

/// A field of `cudaDeviceProp`: its offsets in CUDA 11, 12 and 13, where it has one.
struct Field {
    at: [usize; 3],
    value: Value,
}

enum Value {
    /// A device attribute as an `int`.
    Int(i32),
    /// A device attribute as a `size_t`.
    Size(i32),
    /// The same for every card.
    Is(i32),
    SizeIs(usize),
}

const NONE: usize = usize::MAX;

const fn int(attribute: i32, v11: usize, v12: usize, v13: usize) -> Field {
    Field { at: [v11, v12, v13], value: Value::Int(attribute) }
}

const fn size(attribute: i32, v11: usize, v12: usize, v13: usize) -> Field {
    Field { at: [v11, v12, v13], value: Value::Size(attribute) }
}

const fn is(value: i32, v11: usize, v12: usize, v13: usize) -> Field {
    Field { at: [v11, v12, v13], value: Value::Is(value) }
}

const LENGTHS: [usize; 3] = [728, 1032, 1008];

/// By the public headers `driver_types.h` of 11.8, 12.8 and 13.2.
const FIELDS: &[Field] = &[
    size(8, 296, 296, 296),  // sharedMemPerBlock
    int(12, 304, 304, 304),  // regsPerBlock
    int(10, 308, 308, 308),  // warpSize
    size(11, 312, 312, 312), // memPitch
    int(1, 320, 320, 320),   // maxThreadsPerBlock
    int(2, 324, 324, 324),   // maxThreadsDim
    int(3, 328, 328, 328),
    int(4, 332, 332, 332),
    int(5, 336, 336, 336), // maxGridSize
    int(6, 340, 340, 340),
    int(7, 344, 344, 344),
    int(13, 348, 348, NONE),                                  // clockRate
    size(9, 352, 352, 352),                                   // totalConstMem
    int(75, 360, 360, 360),                                   // major
    int(76, 364, 364, 364),                                   // minor
    size(14, 368, 368, 368),                                  // textureAlignment
    size(51, 376, 376, 376),                                  // texturePitchAlignment
    int(15, 384, 384, NONE),                                  // deviceOverlap
    int(16, 388, 388, 384),                                   // multiProcessorCount
    int(19, 400, 400, 392),                                   // canMapHostMemory
    Field { at: [568, 568, 552], value: Value::SizeIs(512) }, // surfaceAlignment
    int(31, 576, 576, 560),                                   // concurrentKernels
    int(32, 580, 580, 564),                                   // ECCEnabled
    int(33, 584, 584, 568),                                   // pciBusID
    int(40, 600, 600, 584),                                   // asyncEngineCount
    int(41, 604, 604, 588),                                   // unifiedAddressing
    int(36, 608, 608, NONE),                                  // memoryClockRate
    int(37, 612, 612, 592),                                   // memoryBusWidth
    int(38, 616, 616, 596),                                   // l2CacheSize
    int(108, 620, 620, 600),                                  // persistingL2CacheMaxSize
    int(39, 624, 624, 604),                                   // maxThreadsPerMultiProcessor
    int(78, 628, 628, 608),                                   // streamPrioritiesSupported
    int(79, 632, 632, 612),                                   // globalL1CacheSupported
    int(80, 636, 636, 616),                                   // localL1CacheSupported
    size(81, 640, 640, 624),                                  // sharedMemPerMultiprocessor
    int(82, 648, 648, 632),                                   // regsPerMultiprocessor
    int(83, 652, 652, 636),                                   // managedMemory
    int(85, 660, 660, 644),                                   // multiGpuBoardGroupID
    int(87, 668, 668, NONE),                                  // singleToDoublePrecisionPerfRatio
    int(89, 676, 676, 656),                                   // concurrentManagedAccess
    int(90, 680, 680, 660),                                   // computePreemptionSupported
    int(91, 684, 684, 664),                                   // canUseHostPointerForRegisteredMem
    int(95, 688, 688, 668),                                   // cooperativeLaunch
    size(97, 696, 696, 672),                                  // sharedMemPerBlockOptin
    int(106, 712, 712, 688),                                  // maxBlocksPerMultiProcessor
    int(109, 716, 716, 692),                                  // accessPolicyMaxWindowSize
    size(111, 720, 720, 696),                                 // reservedSharedMemPerBlock
    int(99, NONE, 728, 704),                                  // hostRegisterSupported
    int(115, NONE, 744, 720),                                 // memoryPoolsSupported
    int(119, NONE, 760, 736),                                 // memoryPoolSupportedHandleTypes
    is(1, NONE, 768, 744),                                    // ipcEventSupported
    int(120, NONE, 772, 748),                                 // clusterLaunch
    is(-1, NONE, NONE, 768),                                  // hostNumaId
];

/// Where CUDA 13 has the PCI identity of the device.
const PCI_ID_13: usize = 772;

fn write(out: Out<u8>, card_at: usize, layout: usize) -> Result {
    let card = machine::card(card_at);
    for byte in 0..LENGTHS[layout] {
        out.nth(byte).set(0)?;
    }
    for (at, byte) in card.name.bytes().take(255).enumerate() {
        out.nth(at).set(byte)?;
    }
    for (at, byte) in machine::uuid(card_at).into_iter().enumerate() {
        out.nth(256 + at).set(byte)?;
    }
    out.byte(288).cast::<u64>().set(card.cuda_total())?;
    for field in FIELDS.iter().filter(|field| field.at[layout] != NONE) {
        let at = out.byte(field.at[layout]);
        let of = |number| attribute(number, card_at).unwrap_or(0);
        match field.value {
            Value::Int(number) => at.cast::<c_int>().set(of(number))?,
            Value::Size(number) => {
                at.cast::<usize>().set(usize::try_from(of(number)).unwrap_or(0))?;
            }
            Value::Is(value) => at.cast::<c_int>().set(value)?,
            Value::SizeIs(value) => at.cast::<usize>().set(value)?,
        }
    }
    if layout == 2 {
        out.byte(PCI_ID_13).cast::<u32>().set(card.pci_id)?;
    }
    debug_assert_eq!(attribute(33, card_at), i32::try_from(bus(card_at)).ok());
    Ok(())
}

api! { runtime;
    fn cudaGetDeviceProperties(out: Out<u8>, device: c_int) {
        // CUDA 12's own function has another name.
        let layout = if runtime_major() >= 13 { 2 } else { 0 };
        write(out, ordinal(device)?, layout)
    }
    fn cudaGetDeviceProperties_v2(out: Out<u8>, device: c_int) { write(out, ordinal(device)?, 1) }
}
