//! Tensors as transformers and its quantization libraries hold them: each an allocation of its own.

use std::borrow::Cow;

use crate::dtype::WeightFormat;
use crate::estimate::weights::gguf::{self, published_experts};
use crate::estimate::weights::{
    Modules, SizedTensor, Sizer, TensorRule, WeightsError, is_gguf_file, rounded_apart, torch,
};
use crate::spec::{ModelSpec, Runtime, RuntimeSpec, TensorSpec};
use crate::units::{Bytes, Overflow};

/// The rule of transformers.
pub struct TransformersTensors;

impl TensorRule for TransformersTensors {
    fn check(&self, model: &ModelSpec, format: WeightFormat) -> Result<(), WeightsError> {
        let hint = match format {
            WeightFormat::Gguf(_) => {
                "use `--weights nf4`, `nf4-dq`, `int8`, `gptq-int4`, `awq-int4` or `bf16`, or `--runtime llama.cpp`"
            }
            WeightFormat::AsStored if is_gguf_file(model) => {
                "use `--weights bf16`, or `--runtime llama.cpp`"
            }
            _ => return Ok(()),
        };
        Err(WeightsError::Unsupported {
            runtime: Runtime::Transformers,
            format,
            reason: "transformers expands GGUF weights to bf16 when it loads them",
            hint,
        })
    }

    fn tensors<'a>(&self, model: &'a ModelSpec, _ranks: u64) -> Cow<'a, [TensorSpec]> {
        if model.vision_tensors.is_empty() {
            return Cow::Borrowed(&model.tensors);
        }
        model.tensors.iter().chain(&model.vision_tensors).copied().collect()
    }

    fn sizer<'a>(&self, model: &'a ModelSpec, format: WeightFormat, modules: Modules) -> Sizer<'a> {
        let experts = published_experts(model, format);
        Box::new(move |tensor| match experts.filter(|_| tensor.role.is_routed_expert()) {
            Some(ty) => gguf::sized(tensor, ty),
            None => torch::sized(tensor, format, modules),
        })
    }

    fn rounding(&self, tensor: &SizedTensor, spec: &RuntimeSpec) -> Result<Bytes, Overflow> {
        let granule = spec.allocation_granule.value;
        rounded_apart(tensor, |size| size.round_up(granule))
    }
}
