//! Tensors as vLLM loads and allocates them. What a rank has of each is shared with SGLang: [`super::super::serving`].

use std::borrow::Cow;

use super::stages;
use crate::dtype::WeightFormat;
use crate::estimate::Deviation;
use crate::estimate::serving::tensors::{Cut, Unloaded, check, is_replicated, sizer, tensors};
use crate::estimate::weights::{
    Modules, SizedTensor, Sizer, TensorRule, WeightsError, rounded_apart,
};
use crate::spec::{
    Architecture, Bounds, ModelSpec, Part, Role, Runtime, RuntimeSpec, Serving, TensorSpec,
};
use crate::units::{Bytes, Overflow};

/// vLLM's rule.
pub struct VllmTensors;

impl TensorRule for VllmTensors {
    fn check(&self, model: &ModelSpec, format: WeightFormat) -> Result<(), WeightsError> {
        let why = Unloaded {
            runtime: Runtime::Vllm,
            gguf: "vLLM's GGUF loader is experimental and not planned",
            fp4: "vLLM loads bitsandbytes checkpoints as NF4",
        };
        check(model, format, &why)
    }

    fn tensors<'a>(&self, model: &'a ModelSpec, ranks: u64) -> Cow<'a, [TensorSpec]> {
        tensors(model, Cut::evenly(ranks)).into()
    }

    fn tensors_of<'a>(&self, model: &'a ModelSpec, part: &Part) -> Cow<'a, [TensorSpec]> {
        tensors(model, Cut::of(&model.shape, part)).into()
    }

    fn sizer<'a>(&self, model: &'a ModelSpec, format: WeightFormat, modules: Modules) -> Sizer<'a> {
        sizer(model, format, modules)
    }

    fn rounding(&self, tensor: &SizedTensor, spec: &RuntimeSpec) -> Result<Bytes, Overflow> {
        rounded_apart(tensor, |size| allocated(size, spec))
    }

    fn is_on_every_stage(&self, family: Architecture, role: Role) -> bool {
        stages::is_on_every_stage(family, role)
    }

    fn is_on_every_rank(&self, role: Role) -> bool {
        is_replicated(role)
    }

    fn bounds(&self, device: Bytes, format: WeightFormat) -> Result<Bounds, Overflow> {
        match format {
            WeightFormat::Gguf(_) => Deviation::GGUF_FILES.around(device),
            _ => Deviation::VLLM_WEIGHTS.around(device),
        }
    }
}

/// Above this a block comes from a segment of its own, rounded up to whole granules.
const LARGE: Bytes = Bytes::new(10 << 20);
/// Remainders up to this stay inside the block.
const REMAINDER: Bytes = Bytes::new(1 << 20);

/// From this on a block is never split under `max_split_size_mb:20`.
const UNSPLIT: Bytes = Bytes::new(20 << 20);

/// What `PyTorch` counts as allocated for a tensor: 512 B at least, and for large ones the rest of
/// the segment where it is too small to be split off (`CUDACachingAllocator.cpp`, `should_split`), or where
/// vLLM forbids to split such blocks. Segments that grow are split wherever 512 B are left; from 0.27 on, which counts what
/// the driver gave out, logs have with them what is kept without, or less.
pub fn allocated(size: Bytes, spec: &RuntimeSpec) -> Result<Bytes, Overflow> {
    let block = size.round_up(spec.allocation_granule.value)?;
    let serving = spec.options.serving();
    let is_split =
        |serving: &Serving| serving.expandable_segments && !serving.version.counts_segments();
    if block < LARGE || serving.as_ref().is_some_and(is_split) {
        return Ok(block);
    }
    let segment = block.round_up(spec.segment_granule.value)?;
    let keeps = serving.is_some_and(|serving| serving.version.keeps_remainders());
    let is_whole = segment.minus_or_zero(block) <= REMAINDER || (keeps && block >= UNSPLIT);
    Ok(if is_whole { segment } else { block })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::RuntimeOptions;
    use crate::spec::samples::runtime;

    #[test]
    fn large_tensors_keep_what_is_too_small_to_split_off() {
        let mut spec = runtime(Runtime::Vllm);
        spec.options = RuntimeOptions::Vllm(Serving {
            version: "0.19".parse().unwrap(),
            ..Serving::default()
        });
        let of = |halves: u64, spec: &_| allocated(Bytes::new(halves << 19), spec).unwrap().get();
        // 259.0, 129.5 and 24.5 MiB of Qwen2.5-7B, and 5.5 MiB
        let sizes = [518, 259, 49, 11];
        assert_eq!(sizes.map(|size| of(size, &spec)), [260 << 20, 130 << 20, 49 << 19, 11 << 19]);
        // The newest splits nothing of 20 MiB and more.
        spec.options = RuntimeOptions::Vllm(Serving::default());
        assert_eq!(sizes.map(|size| of(size, &spec)), [260 << 20, 130 << 20, 26 << 20, 11 << 19]);
        assert_eq!(allocated(Bytes::new(513), &spec), Ok(Bytes::new(1024)));
        // Segments that grow leave nothing in the block, where what is allocated is what counts.
        let grown = |version: &str| {
            RuntimeOptions::Vllm(Serving {
                version: version.parse().unwrap(),
                expandable_segments: true,
                ..Serving::default()
            })
        };
        spec.options = grown("0.24");
        assert_eq!(sizes.map(|size| of(size, &spec)), sizes.map(|size| size << 19));
        spec.options = grown("0.27");
        assert_eq!(sizes.map(|size| of(size, &spec)), [260 << 20, 130 << 20, 26 << 20, 11 << 19]);
    }
}
