//! Tensors as `SGLang` loads them: a rank has of each what it has under vLLM ([`crate::estimate::serving`]).

use std::borrow::Cow;

use crate::dtype::WeightFormat;
use crate::estimate::Deviation;
use crate::estimate::serving::tensors::{Cut, Unloaded, check, is_replicated, sizer, tensors};
use crate::estimate::weights::{
    Modules, SizedTensor, Sizer, TensorRule, WeightsError, rounded_apart,
};
use crate::spec::{Bounds, ModelSpec, Part, Role, Runtime, RuntimeSpec, TensorSpec};
use crate::units::{Bytes, Overflow};

/// `SGLang`'s rule.
pub struct SglangTensors;

impl TensorRule for SglangTensors {
    fn check(&self, model: &ModelSpec, format: WeightFormat) -> Result<(), WeightsError> {
        let why = Unloaded {
            runtime: Runtime::Sglang,
            gguf: "SGLang's GGUF loader is not planned",
            fp4: "SGLang loads bitsandbytes checkpoints as NF4",
        };
        check(model, format, &why)
    }

    fn tensors<'a>(&self, model: &'a ModelSpec, ranks: u64) -> Cow<'a, [TensorSpec]> {
        tensors(model, Cut::evenly(ranks)).into()
    }

    fn tensors_of<'a>(&self, model: &'a ModelSpec, part: &Part) -> Cow<'a, [TensorSpec]> {
        tensors(model, Cut::with_copies_of_attention(&model.shape, part)).into()
    }

    fn sizer<'a>(&self, model: &'a ModelSpec, format: WeightFormat, modules: Modules) -> Sizer<'a> {
        sizer(model, format, modules)
    }

    fn rounding(&self, tensor: &SizedTensor, spec: &RuntimeSpec) -> Result<Bytes, Overflow> {
        rounded_apart(tensor, |size| allocated(size, spec))
    }

    fn is_on_every_rank(&self, role: Role) -> bool {
        is_replicated(role)
    }

    fn bounds(&self, device: Bytes, format: WeightFormat) -> Result<Bounds, Overflow> {
        match format {
            WeightFormat::Gguf(_) => Deviation::GGUF_FILES.around(device),
            _ => Deviation::SGLANG_WEIGHTS.around(device),
        }
    }
}

/// From this size on a block comes from a segment of its own, which counts whole: free memory is what the driver says.
const LARGE: Bytes = Bytes::new(10 << 20);

/// What the driver gives out for a tensor.
fn allocated(size: Bytes, spec: &RuntimeSpec) -> Result<Bytes, Overflow> {
    let block = size.round_up(spec.allocation_granule.value)?;
    if block < LARGE { Ok(block) } else { block.round_up(spec.segment_granule.value) }
}
