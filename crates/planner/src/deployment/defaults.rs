//! What is planned where the question is silent. What a runtime does then is its own
//! ([`Defaults`](crate::estimate::rules::Defaults)); here is what follows from the model.

use std::path::Path;

use super::cards::is_several;
use super::{Form, Question, launch, server};
use crate::dtype::{KvFormat, WeightFormat};
use crate::estimate::rules;
use crate::estimate::runtimes::file_size;
use crate::read::{Catalog, Files, Found, is_gguf};
use crate::spec::{GpuSpec, ModelSpec, Runtime};
use crate::units::Bytes;

/// The runtime that a model is for by its form, where none is named: llama.cpp for a GGUF file or a repository of GGUF
/// files, Ollama for a tag such as `qwen3:30b`, vLLM for a checkpoint (a repository, a folder of safetensors, one of its
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
/// assert_eq!(runtime_of("qwen3:30b", &files), Runtime::Ollama);
/// assert_eq!(runtime_of("Qwen/Qwen2.5-14B-Instruct", &files), Runtime::Vllm);
/// assert_eq!(runtime_of("qwen2.5-14b", &files), Runtime::Vramplan);
/// ```
pub fn runtime_of(model: &str, files: &dyn Files) -> Runtime {
    form_of(model, files).runtime()
}

/// The runtime of a question: as it says, else that of the model's form. A bare name says nothing of a runtime, so
/// that what else is asked for decides, where vramplan's own does not have it: a format of weights or of the cache,
/// several cards or conversations, a family that it does not run, weights that the card does not hold, a flag of another
/// runtime's.
pub fn runtime_asked(
    question: &Question,
    model: &str,
    catalog: &Catalog,
    files: &dyn Files,
) -> Runtime {
    let form = || match form_of(model, files) {
        Form::Name => runtime_of_name(question, catalog.model(model).ok().as_ref(), catalog),
        form => form.runtime(),
    };
    question.runtime.unwrap_or_else(form)
}

/// Whether vramplan's own engine runs a model on the cards that are named, and holds its weights there, as it has to: it
/// leaves nothing in main memory. It runs one conversation.
fn runs_itself(question: &Question, model: Option<&ModelSpec>, catalog: &Catalog) -> bool {
    let own = rules(Form::Name.runtime());
    let card = question.gpu.as_deref().and_then(|gpu| catalog.gpu(gpu).ok());
    let is_one = question.users.or(question.batch).is_none_or(|sequences| sequences <= 1);
    let holds = match (model, &card) {
        (Some(model), Some(gpu)) => holds_weights(question, model, gpu),
        _ => true,
    };
    let runs_on = card.is_none_or(|gpu| own.runs_on(gpu.maker));
    is_one && holds && runs_on && model.is_none_or(|model| own.runs(model))
}

/// Whether a card has room for the weights under vramplan's own engine, with the least that a run takes beside them.
fn holds_weights(question: &Question, model: &ModelSpec, gpu: &GpuSpec) -> bool {
    const BESIDE: Bytes = Bytes::new(1 << 29);
    let own = Form::Name.runtime();
    let usual = || rules(own).defaults(model, gpu).weights;
    let format = question.weights.or(model.named_format).unwrap_or_else(usual);
    let weights = file_size(model, format, own).unwrap_or(Bytes::ZERO);
    let usable = gpu.total.value.minus_or_zero(gpu.reserved.value);
    weights <= usable.minus_or_zero(BESIDE)
}

/// The runtime of flags that vramplan's own engine has not: what is said of placement is llama.cpp's, a server's limits
/// are those of the first server that has them.
fn by_flags(question: &Question) -> Option<Runtime> {
    let is_placed = launch::given(question).is_some() || question.mmproj.is_some();
    let limits = question.max_seqs.is_some()
        || question.gpu_memory_utilization.is_some()
        || question.max_model_len.is_some()
        || question.enforce_eager;
    let flags: Vec<&str> = server::given(question).collect();
    let takes_all = |runtime: &Runtime| {
        let known = rules(*runtime).server_flags();
        flags.iter().all(|flag| known.contains(flag))
    };
    match () {
        () if is_placed => Some(Runtime::LlamaCpp),
        () if question.mem_fraction_static.is_some() => Some(Runtime::Sglang),
        () if limits => Some(Runtime::Vllm),
        () if flags.is_empty() => None,
        () => Runtime::ALL.into_iter().find(takes_all),
    }
}

fn runtime_of_name(question: &Question, model: Option<&ModelSpec>, catalog: &Catalog) -> Runtime {
    let own = Form::Name.runtime();
    let kv = question.kv.map(|kv| kv.keys).filter(|&kv| !rules(own).takes_kv(kv));
    let named = model.and_then(|model| model.named_format);
    match (question.weights.or(named), kv) {
        (Some(WeightFormat::Nf4 { .. } | WeightFormat::Fp4 { .. } | WeightFormat::Int8), _)
        | (_, Some(KvFormat::Hqq { .. } | KvFormat::Quanto { .. })) => Runtime::Transformers,
        (Some(WeightFormat::Gguf(_)), Some(_)) | (None, Some(KvFormat::Ggml(_))) => {
            Runtime::LlamaCpp
        }
        (
            None
            | Some(
                WeightFormat::AsStored
                | WeightFormat::Gguf(_)
                | WeightFormat::F32
                | WeightFormat::F16
                | WeightFormat::Bf16,
            ),
            None,
        ) => {
            let gpus = question.gpu.as_deref().unwrap_or_default();
            let several =
                question.fewest_gpus || question.gpus.unwrap_or(1) > 1 || is_several(gpus);
            let is_own = !several && runs_itself(question, model, catalog);
            match by_flags(question) {
                Some(runtime) => runtime,
                None if is_own => own,
                None => Runtime::LlamaCpp,
            }
        }
        _ => Runtime::Vllm,
    }
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
        (0, true) => Form::Tag,
        (1, _) if name.to_ascii_lowercase().contains("-gguf") => Form::Gguf,
        (1, _) => Form::Checkpoint,
        _ => Form::Name,
    }
}
