//! The runtimes that there are. This file has the one `match` on [`Runtime`]; everything else asks [`rules`].

use super::rules::RuntimeRules;
use super::weights::{self, Weights, WeightsError};
use super::{llama_cpp, ollama, sglang, transformers, vllm, vramplan};
use crate::dtype::WeightFormat;
use crate::spec::{ModelSpec, Part, Runtime, RuntimeSpec};
use crate::units::Bytes;

/// The rules of a runtime.
pub const fn rules(runtime: Runtime) -> &'static dyn RuntimeRules {
    match runtime {
        Runtime::Vramplan => &vramplan::Rules,
        Runtime::Transformers => &transformers::Rules,
        Runtime::LlamaCpp => &llama_cpp::Rules,
        Runtime::Ollama => &ollama::Rules,
        Runtime::Vllm => &vllm::Rules,
        Runtime::Sglang => &sglang::Rules,
    }
}

/// Sizes the weights of `model` in `format` as its runtime holds them on one GPU.
///
/// # Errors
/// As [`weights::sum`].
pub fn weights_of(
    model: &ModelSpec,
    format: WeightFormat,
    spec: &RuntimeSpec,
) -> Result<Weights, WeightsError> {
    weights_of_part(model, format, spec, &Part::whole(model))
}

/// Sizes the weights that one of `ranks` GPUs holds where a runtime splits every layer.
///
/// # Errors
/// As [`weights::sum`].
pub fn weights_per_rank(
    model: &ModelSpec,
    format: WeightFormat,
    spec: &RuntimeSpec,
    ranks: u64,
) -> Result<Weights, WeightsError> {
    weights_of_part(model, format, spec, &Part::rank(model, 0, ranks))
}

/// Sizes the weights that one of several GPUs holds.
///
/// # Errors
/// As [`weights::sum`].
pub fn weights_of_part(
    model: &ModelSpec,
    format: WeightFormat,
    spec: &RuntimeSpec,
    part: &Part,
) -> Result<Weights, WeightsError> {
    weights::sum(rules(spec.kind()).tensors(), model, format, spec, part)
}

/// Bytes of all tensors in a format that a runtime loads, without alignment or placement.
///
/// # Errors
/// As [`weights::sum`].
pub fn file_size(
    model: &ModelSpec,
    format: WeightFormat,
    runtime: Runtime,
) -> Result<Bytes, WeightsError> {
    weights::file_size(rules(runtime).tensors(), model, format)
}
