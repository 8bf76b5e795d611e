//! Tensors as the engine holds them: a GGUF file's, each an allocation of its own.

use std::borrow::Cow;

use super::capabilities::MATRIX_TYPES;
use crate::dtype::{GgmlType, WeightFormat};
use crate::estimate::llama_cpp::weights::{check_gguf, gguf_bounds};
use crate::estimate::weights::gguf::{self, Types};
use crate::estimate::weights::{
    Asked, Modules, SizedTensor, Sizer, TensorRule, WeightsError, each_tensor, rounded_apart,
};
use crate::spec::{Bounds, ModelSpec, Runtime, RuntimeSpec, TensorSpec};
use crate::units::{Bytes, Overflow};

/// The rule of vramplan's engine.
pub struct EngineTensors;

impl TensorRule for EngineTensors {
    fn check(&self, model: &ModelSpec, format: WeightFormat) -> Result<(), WeightsError> {
        check_gguf(model, format, Runtime::Vramplan)?;
        if has_kernels(model, format)? {
            return Ok(());
        }
        Err(WeightsError::Unsupported {
            runtime: Runtime::Vramplan,
            format,
            reason: "candle has no kernels for IQ and MXFP4 types",
            hint: "use a type such as `--weights q4_k_m`, or `--runtime llama.cpp`",
        })
    }

    fn tensors<'a>(&self, model: &'a ModelSpec, _ranks: u64) -> Cow<'a, [TensorSpec]> {
        gguf::file_tensors(model).into()
    }

    fn sizer<'a>(
        &self,
        model: &'a ModelSpec,
        format: WeightFormat,
        _modules: Modules,
    ) -> Sizer<'a> {
        let types = Types::new(model, format);
        Box::new(move |tensor| gguf::sized(tensor, types.of(tensor)))
    }

    /// Quantized matrices are padded by a row's end (candle-core `quantized/cuda.rs`, `load_quantized`).
    fn rounding(&self, tensor: &SizedTensor, spec: &RuntimeSpec) -> Result<Bytes, Overflow> {
        let granule = spec.allocation_granule.value;
        let Some(ty) = tensor.ggml.filter(|ty| ty.is_quantized()) else {
            return rounded_apart(tensor, |size| size.round_up(granule));
        };
        let padded = tensor.size.plus(ty.layout().size_of(gguf::MATRIX_ROW_PADDING)?)?;
        Ok(padded.round_up(granule)?.minus_or_zero(tensor.size))
    }

    fn bounds(&self, device: Bytes, format: WeightFormat) -> Result<Bounds, Overflow> {
        gguf_bounds(device, format)
    }
}

/// Whether the engine has kernels for the types of every tensor.
fn has_kernels(model: &ModelSpec, format: WeightFormat) -> Result<bool, WeightsError> {
    let known = |ty: GgmlType| MATRIX_TYPES.contains(&ty);
    let mut all = true;
    let asked = Asked { model, format, ranks: 1, part: None, modules: Modules::default() };
    each_tensor(&EngineTensors, &asked, |tensor| {
        all &= tensor.ggml.is_none_or(known);
        Ok(())
    })?;
    Ok(all)
}
