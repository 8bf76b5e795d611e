//! Tensors as transformers and its quantization libraries hold them: each an allocation of its own.

use std::borrow::Cow;

use super::FP8;
use crate::dtype::WeightFormat;
use crate::estimate::weights::gguf::{self, loaded_experts};
use crate::estimate::weights::{
    Modules, SizedTensor, Sizer, TensorRule, WeightsError, is_gguf_file, rounded_apart, torch,
};
use crate::spec::{ModelSpec, Role, Runtime, RuntimeSpec, TensorSpec};
use crate::units::{Bytes, Overflow};

/// The rule of transformers.
pub struct TransformersTensors;

impl TensorRule for TransformersTensors {
    fn check(&self, model: &ModelSpec, format: WeightFormat) -> Result<(), WeightsError> {
        let hint = match format {
            WeightFormat::Gguf(_) => {
                "use `--weights nf4`, `nf4-dq`, `int8`, `gptq-int4`, `awq-int4` or `bf16`, or `--runtime llama.cpp`"
            }
            WeightFormat::AsStored if torch::described(model, format).is_some() => return Ok(()),
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

    /// 8-bit floats in blocks, where the card cannot compute with them or `dequantize=True` is given.
    fn expands(&self, label: &str, format: WeightFormat) -> bool {
        label == FP8 && format == WeightFormat::Bf16
    }

    fn tensors<'a>(&self, model: &'a ModelSpec, _ranks: u64) -> Cow<'a, [TensorSpec]> {
        if model.vision_tensors.is_empty() {
            return Cow::Borrowed(&model.tensors);
        }
        model.tensors.iter().chain(&model.vision_tensors).copied().collect()
    }

    fn sizer<'a>(&self, model: &'a ModelSpec, format: WeightFormat, modules: Modules) -> Sizer<'a> {
        if let Some(checkpoint) = torch::described(model, format) {
            let experts = model.shape.moe.map_or(1, |moe| moe.n_experts);
            return Box::new(move |tensor| {
                if is_f32(tensor.role, modules) {
                    return Ok(torch::whole(tensor, torch::dense(tensor, WeightFormat::F32)?));
                }
                torch::in_checkpoint(tensor, checkpoint, experts)
            });
        }
        let experts = loaded_experts(model, format);
        // What is published in MXFP4 has its experts in it, and nothing else.
        let format = if experts.is_some() { WeightFormat::Bf16 } else { format };
        Box::new(move |tensor| match experts.filter(|_| tensor.role.is_routed_expert()) {
            Some(ty) => gguf::sized(tensor, ty),
            None if is_f32(tensor.role, modules) => {
                Ok(torch::whole(tensor, torch::dense(tensor, WeightFormat::F32)?))
            }
            None => torch::sized(tensor, format, modules),
        })
    }

    fn rounding(&self, tensor: &SizedTensor, spec: &RuntimeSpec) -> Result<Bytes, Overflow> {
        let granule = spec.allocation_granule.value;
        rounded_apart(tensor, |size| size.round_up(granule))
    }
}

/// Whether transformers keeps a tensor in f32 whatever the model's type is: routers of some families, and what mixes
/// DeepSeek-V4's residual streams.
fn is_f32(role: Role, modules: Modules) -> bool {
    role == Role::StreamMix || (role == Role::Router && modules.router_in_f32)
}
