//! Tensors as llama.cpp holds them: all in one buffer, embeddings in main memory.

use std::borrow::Cow;

use super::graph::Gates;
use super::placement::{self, TensorTable};
use crate::dtype::{GgmlType, WeightFormat};
use crate::estimate::Deviation;
use crate::estimate::weights::gguf::{self, Types};
use crate::estimate::weights::{
    Modules, Place, SizedTensor, Sizer, TensorRule, Weights, WeightsError, is_gguf_file,
};
use crate::spec::{Bounds, ModelSpec, Part, Role, Runtime, RuntimeSpec, TensorSpec};
use crate::units::{Bytes, Overflow};

/// Alignment of llama.cpp's buffers on the GPU and in main memory.
const DEVICE_ALIGNMENT: Bytes = Bytes::new(128);
const HOST_ALIGNMENT: Bytes = Bytes::new(32);

/// llama.cpp's rule.
pub struct LlamaCppTensors;

impl TensorRule for LlamaCppTensors {
    fn check(&self, model: &ModelSpec, format: WeightFormat) -> Result<(), WeightsError> {
        check_gguf(model, format, Runtime::LlamaCpp)
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

    /// Quantized rows are padded to 512 elements, once per tensor, and tensors start at multiples of 128 bytes
    /// (`ggml_backend_cuda_buffer_type_get_alloc_size` in `ggml-cuda.cu`).
    fn in_buffer(&self, tensor: &SizedTensor) -> Result<Bytes, Overflow> {
        let padding = match tensor.ggml {
            Some(ty) if ty.is_quantized() => {
                let whole = tensor.row.next_multiple_of(gguf::MATRIX_ROW_PADDING);
                ty.layout().size_of(whole - tensor.row)?
            }
            _ => Bytes::ZERO,
        };
        tensor.size.plus(padding)?.round_up(DEVICE_ALIGNMENT)
    }

    /// Nothing: all tensors are placed in one buffer.
    fn rounding(&self, _tensor: &SizedTensor, _spec: &RuntimeSpec) -> Result<Bytes, Overflow> {
        Ok(Bytes::ZERO)
    }

    fn in_main_memory(&self, part: &Part, tensor: &SizedTensor) -> Result<Bytes, Overflow> {
        let is_table = matches!(
            tensor.role,
            Some(Role::TokenEmbedding | Role::LayerEmbedding | Role::RunEmbedding)
        );
        if is_table && part.has_embedding {
            return tensor.size.round_up(HOST_ALIGNMENT);
        }
        Ok(Bytes::ZERO)
    }

    fn embedding(&self, part: &Part, tied: bool) -> Place {
        match () {
            () if tied && part.has_head => Place::Here,
            () if part.has_embedding => Place::Host,
            () => Place::Elsewhere,
        }
    }

    fn placed(
        &self,
        model: &ModelSpec,
        format: WeightFormat,
        part: &Part,
    ) -> Result<Option<Weights>, WeightsError> {
        let Some(placed) = &part.placed else { return Ok(None) };
        let table = TensorTable::new(model, format)?;
        placement::weights_of(&table, model, format, (placed, part)).map(Some)
    }

    fn bounds(&self, device: Bytes, format: WeightFormat) -> Result<Bounds, Overflow> {
        gguf_bounds(device, format)
    }
}

/// Every tensor that llama.cpp's converters and quantizer would write for `model` in `format`, with its type.
///
/// # Errors
/// Where GGUF files have no such format, or it is that of a file which is not there.
pub fn file_tensors(
    model: &ModelSpec,
    format: WeightFormat,
) -> Result<Vec<(TensorSpec, GgmlType)>, WeightsError> {
    LlamaCppTensors.check(model, format)?;
    if format == WeightFormat::AsStored {
        return Err(WeightsError::NothingStored { model: model.name.clone() });
    }
    let types = Types::new(model, format);
    let with_type = |tensor: TensorSpec| (tensor, types.of(&tensor));
    Ok(gguf::file_tensors(model).into_iter().map(with_type).collect())
}

/// What the types of a model's weights in `format` allow the backend to fuse.
pub fn gates_of(model: &ModelSpec, format: WeightFormat) -> Gates {
    if format == WeightFormat::AsStored {
        return Gates::stored(model);
    }
    let types = Types::new(model, format);
    let tensors = gguf::file_tensors(model);
    let stored = tensors.iter().map(|tensor| (tensor.role, tensor.layer, types.of(tensor)));
    Gates::of(&model.shape, stored)
}

/// What published GGUF files differ by from the rule.
pub fn gguf_bounds(device: Bytes, format: WeightFormat) -> Result<Bounds, Overflow> {
    match format {
        WeightFormat::Gguf(_) => Deviation::GGUF_FILES.around(device),
        _ => Ok(Bounds::exactly(device)),
    }
}

/// Refuses what GGUF files do not have.
pub fn check_gguf(
    model: &ModelSpec,
    format: WeightFormat,
    runtime: Runtime,
) -> Result<(), WeightsError> {
    let refuse = |reason, hint| Err(WeightsError::Unsupported { runtime, format, reason, hint });
    match format {
        WeightFormat::AsStored if !is_gguf_file(model) => refuse(
            "it reads GGUF files, and this is a safetensors checkpoint",
            "name the file type that it will be converted to, such as `--weights q4_k_m`, or use `--runtime transformers`",
        ),
        format if model.file_caches.is_some() && format != WeightFormat::AsStored => refuse(
            "the tensors of its architecture are known from its file alone",
            "drop `--weights`",
        ),
        format if !format.is_gguf() => refuse(
            "it reads GGUF files, which have no such format",
            "use `--runtime transformers`, or a GGUF type such as `--weights q4_k_m`",
        ),
        _ => Ok(()),
    }
}
