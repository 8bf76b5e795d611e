//! The tensors of a GGUF file of which the type is known and the size of all, as a log of llama.cpp prints them: makers choose types
//! of their own for some tensors, which neither tells.

use crate::dtype::WeightFormat;
use crate::estimate::llama_cpp::placement::TensorTable;
use crate::estimate::llama_cpp::weights::file_tensors;
use crate::estimate::weights::gguf::{is_quantized_role, sized};
use crate::spec::{ModelSpec, StoredTensor, StoredWeights};
use crate::units::Bytes;

/// Where the sizes of such tensors are from.
pub const PRINTED: &str =
    "the size of the file that the log prints, dealt out over its tensors as its type would";

/// The tensors of a file of this size, each as much larger or smaller than the type's rule has it as all of them are; nothing where
/// they are within a few thousandths of the rule, or so far from it that it is another file.
pub fn of_size(model: &ModelSpec, format: WeightFormat, size: Bytes) -> Option<StoredWeights> {
    if model.stored.is_some() || !matches!(format, WeightFormat::Gguf(_)) {
        return None;
    }
    let tensors = file_tensors(model, format).ok()?;
    let tensors =
        tensors.into_iter().map(|(tensor, kind)| sized(&tensor, kind).map(|s| (tensor, s)));
    let tensors: Vec<_> = tensors.collect::<Result<_, _>>().ok()?;
    let quantized = |with: bool| {
        let of = tensors.iter().filter(|(tensor, _)| is_quantized_role(tensor.role) == with);
        Bytes::sum(of.map(|(_, sized)| sized.size))
    };
    let (types, others) = (quantized(true).ok()?, quantized(false).ok()?);
    let left = size.minus_or_zero(others);
    let away = left.max(types).minus_or_zero(left.min(types));
    let is_near = away.scale(NEAR, 1).is_ok_and(|away| away <= types);
    let is_far = away.scale(FAR, 1).is_ok_and(|away| away > types);
    if is_near || is_far || types.is_zero() {
        return None;
    }
    // As the table has them: without layers that are not loaded.
    let n_layers = model.shape.n_layers;
    let table = TensorTable::new(model, format).ok()?;
    let loaded = tensors.into_iter().filter(|(tensor, sized)| {
        tensor.layer.is_none_or(|layer| layer < n_layers) && !sized.size.is_zero()
    });
    let stored = loaded.zip(&table.rows).map(|((tensor, sized), row)| {
        let size = if is_quantized_role(tensor.role) {
            sized.size.scale(left.get(), types.get()).ok()?
        } else {
            sized.size
        };
        Some(StoredTensor {
            name: (*row.name).into(),
            role: sized.role,
            layer: sized.layer,
            row: sized.row,
            elements: tensor.row.checked_mul(tensor.rows)?,
            size,
            ggml: sized.ggml,
        })
    });
    let tensors = stored.collect::<Option<Vec<_>>>()?;
    let label = format!("{format} in {size}");
    Some(StoredWeights { label, source: PRINTED.to_owned(), tensors, prequantized: false })
}

/// One part in so many is what the rule and a printed size may differ by.
const NEAR: u64 = 300;
/// One part in so many is more than what makers choose differs by.
const FAR: u64 = 2;
