//! What is planned where the question is silent. What a runtime does then is its own
//! ([`Defaults`](crate::estimate::rules::Defaults)); here is what follows from the model.

use std::path::Path;

use super::Form;
use crate::read::{Files, Found, is_gguf};
use crate::spec::Runtime;

/// The runtime that a model is for by its form, where none is named: llama.cpp for a GGUF file, a tag such as
/// `qwen3:30b` or a repository of GGUF files, vLLM for a checkpoint (a repository, a folder of safetensors, one of its
/// files, a `config.json`), vramplan's own for a bare name.
///
/// ```
/// use vramplan_planner::deployment::runtime_of;
/// use vramplan_planner::read::MemoryFiles;
/// use vramplan_planner::spec::Runtime;
///
/// let files = MemoryFiles::from([("phi/config.json".into(), Vec::new())]);
/// assert_eq!(runtime_of("models/phi-q4_k_m.gguf", &files), Runtime::LlamaCpp);
/// assert_eq!(runtime_of("phi", &files), Runtime::Vllm);
/// assert_eq!(runtime_of("qwen3:30b", &files), Runtime::LlamaCpp);
/// assert_eq!(runtime_of("Qwen/Qwen2.5-14B-Instruct", &files), Runtime::Vllm);
/// assert_eq!(runtime_of("qwen2.5-14b", &files), Runtime::Vramplan);
/// ```
pub fn runtime_of(model: &str, files: &dyn Files) -> Runtime {
    form_of(model, files).runtime()
}

fn form_of(model: &str, files: &dyn Files) -> Form {
    let path = Path::new(model);
    let ends_with = |path: &Path, ending: &str| {
        path.extension().is_some_and(|found| found.eq_ignore_ascii_case(ending))
    };
    if ends_with(path, "gguf") {
        return Form::Gguf;
    }
    match files.find(path) {
        Found::File if ends_with(path, "safetensors") || ends_with(path, "json") => {
            Form::Checkpoint
        }
        Found::File if is_gguf(files, path) => Form::Gguf,
        Found::Folder => {
            let inside = files.list(path).unwrap_or_default();
            let has = |ending| inside.iter().any(|file| ends_with(file, ending));
            if has("safetensors") || has("json") {
                Form::Checkpoint
            } else if has("gguf") {
                Form::Gguf
            } else {
                Form::Name
            }
        }
        Found::File => Form::Name,
        Found::Neither => form_of_name(model),
    }
}

/// Of what is nowhere: by its colons and slashes.
fn form_of_name(name: &str) -> Form {
    let is_path = name.starts_with(['/', '.', '~']) || name.contains('\\') || name.ends_with('/');
    match (name.matches('/').count(), name.contains(':')) {
        _ if is_path => Form::Name,
        (0, true) => Form::Gguf,
        (1, _) if name.to_ascii_lowercase().contains("-gguf") => Form::Gguf,
        (1, _) => Form::Checkpoint,
        _ => Form::Name,
    }
}
