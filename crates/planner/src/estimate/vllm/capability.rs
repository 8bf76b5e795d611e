//! What vLLM's kernels need of a GPU.

use crate::dtype::WeightFormat;
use crate::spec::{ComputeCapability, GpuSpec};

/// The least that its builds have kernels for ("GPU: compute capability 7.0 or higher", its documentation's installation).
const LEAST: ComputeCapability = ComputeCapability { major: 7, minor: 0 };
/// The least that its kernels for AWQ and for 8-bit floats need in any release (`get_min_capability` of
/// `quantization/awq.py`: 75; of `fp8.py`: 80, and 75 where Marlin has kernels for Turing).
const LEAST_PACKED: ComputeCapability = ComputeCapability { major: 7, minor: 5 };

/// Why it does not run weights of this format on this GPU, as far as no release does.
pub fn refuses(weights: WeightFormat, gpu: &GpuSpec) -> Option<String> {
    let has = gpu.compute_capability;
    if !gpu.maker.is_nvidia() || gpu.is_main_memory() {
        return None;
    }
    if has < LEAST {
        return Some(format!(
            "vLLM does not run on the {}, whose compute capability is {has}: its builds have kernels for {LEAST} and above; \
             llama.cpp runs there",
            gpu.name
        ));
    }
    let is_packed = matches!(
        weights,
        WeightFormat::AwqInt4 { .. } | WeightFormat::Fp8 | WeightFormat::Fp8Block
    );
    (is_packed && has < LEAST_PACKED).then(|| {
        format!(
            "vLLM refuses {weights} weights on the {}, whose compute capability is {has}: they need {LEAST_PACKED}",
            gpu.name
        )
    })
}
