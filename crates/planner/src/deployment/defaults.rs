//! What is planned where the question is silent. What a runtime does then is its own
//! ([`Defaults`](crate::estimate::rules::Defaults)); here is what follows from the model.

use std::path::Path;

use crate::read::{Files, Found};
use crate::spec::Runtime;

/// What GGUF files are for.
const OF_GGUF: Runtime = Runtime::LlamaCpp;
/// What serves checkpoints as they are published.
const OF_CHECKPOINTS: Runtime = Runtime::Vllm;
/// What a model is planned for of which there is a name only.
const OF_NAMES: Runtime = Runtime::Vramplan;

/// The runtime that a model is for by its form, where none is named: llama.cpp for a GGUF file, vLLM for a checkpoint
/// (a folder of safetensors, one of its files, a `config.json`), vramplan's own for a name.
///
/// ```
/// use vramplan_planner::deployment::runtime_of;
/// use vramplan_planner::read::MemoryFiles;
/// use vramplan_planner::spec::Runtime;
///
/// let files = MemoryFiles::from([("phi/config.json".into(), Vec::new())]);
/// assert_eq!(runtime_of("models/phi-q4_k_m.gguf", &files), Runtime::LlamaCpp);
/// assert_eq!(runtime_of("phi", &files), Runtime::Vllm);
/// assert_eq!(runtime_of("qwen2.5-14b", &files), Runtime::Vramplan);
/// ```
pub fn runtime_of(model: &str, files: &dyn Files) -> Runtime {
    let path = Path::new(model);
    let ends_with = |path: &Path, ending: &str| {
        path.extension().is_some_and(|found| found.eq_ignore_ascii_case(ending))
    };
    if ends_with(path, "gguf") {
        return OF_GGUF;
    }
    match files.find(path) {
        Found::File if ends_with(path, "safetensors") || ends_with(path, "json") => OF_CHECKPOINTS,
        Found::Folder => {
            let inside = files.list(path).unwrap_or_default();
            let has = |ending| inside.iter().any(|file| ends_with(file, ending));
            if has("safetensors") || has("json") {
                OF_CHECKPOINTS
            } else if has("gguf") {
                OF_GGUF
            } else {
                OF_NAMES
            }
        }
        Found::File | Found::Neither => OF_NAMES,
    }
}
