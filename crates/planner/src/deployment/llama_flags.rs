//! llama.cpp's flags of placement, of the cache's types and of what is loaded beside a model.

use super::Question;
use super::command_line::{Effect, Flag, cache_type, cells, chunk, flash, number, parsed};
use crate::dtype::{KvFormat, KvPair};
use crate::spec::{Attention, Count, SplitMode, TensorOverride, TensorSplit};

/// llama.cpp's flags of placement, and Ollama's of its runner, by `common/arg.cpp` and `llm/server.go`.
pub(super) const PLACED: &[Flag] = &[
    ("-hf", Effect::Model),
    ("-hfr", Effect::Model),
    ("--hf-repo", Effect::Model),
    ("-ngl", Effect::Sets(layers)),
    ("--gpu-layers", Effect::Sets(layers)),
    ("--n-gpu-layers", Effect::Sets(layers)),
    ("-np", Effect::Sets(slots)),
    ("--parallel", Effect::Sets(slots)),
    ("-ncmoe", Effect::Sets(expert_layers)),
    ("--n-cpu-moe", Effect::Sets(expert_layers)),
    ("-cmoe", Effect::Switches(all_experts)),
    ("--cpu-moe", Effect::Switches(all_experts)),
    ("-ot", Effect::Sets(overrides)),
    ("--override-tensor", Effect::Sets(overrides)),
    ("-ts", Effect::Sets(proportions)),
    ("--tensor-split", Effect::Sets(proportions)),
    ("-sm", Effect::Sets(mode)),
    ("--split-mode", Effect::Sets(mode)),
    ("-nkvo", Effect::Switches(host_cache)),
    ("--no-kv-offload", Effect::Switches(host_cache)),
    ("-kvu", Effect::Switches(unified)),
    ("--kv-unified", Effect::Switches(unified)),
    ("--swa-full", Effect::Switches(full_window)),
    ("-b", Effect::Sets(batch)),
    ("--batch-size", Effect::Sets(batch)),
    ("--ubatch-size", Effect::Sets(chunk)),
    ("--kv-cache-type", Effect::Sets(cache_type)),
    ("-ctk", Effect::Sets(key_type)),
    ("--cache-type-k", Effect::Sets(key_type)),
    ("-ctv", Effect::Sets(value_type)),
    ("--cache-type-v", Effect::Sets(value_type)),
    ("-mg", Effect::Sets(main_gpu)),
    ("--main-gpu", Effect::Sets(main_gpu)),
    ("--lora", Effect::Sets(adapter)),
    ("-nopo", Effect::Switches(host_operations)),
    ("--no-op-offload", Effect::Switches(host_operations)),
    ("-fa", Effect::Switches(flash_or_bare)),
    ("--flash-attn", Effect::Switches(flash_or_bare)),
    ("--mmproj", Effect::Sets(encoder)),
    ("-md", Effect::Sets(draft)),
    ("--model-draft", Effect::Sets(draft)),
];

/// Slots of a `llama-server` that is not told how many, which share its context (`tools/server/server.cpp`); older releases
/// take one (`LlamaCppVersion::has_four_slots`).
const SLOTS_OF_A_SERVER: u64 = 4;

/// Gives a server its slots where its command says nothing of them.
pub(super) fn settle_slots(program: &str, words: &[&str], question: &mut Question) {
    let says = |word: &&str| matches!(word.split('=').next(), Some("-np" | "--parallel"));
    let is_server = program.strip_suffix(".exe").unwrap_or(program).ends_with("llama-server");
    if is_server && question.parallel.is_none() && !words.iter().any(says) {
        question.parallel = Some(SLOTS_OF_A_SERVER);
        question.kv_unified = true;
    }
}

/// Those of llama-cpp-python's server, by `llama_cpp/server/settings.py`.
pub(super) const PYTHON: &[Flag] = &[
    ("--model", Effect::Model),
    ("--n_ctx", Effect::Sets(cells)),
    ("--n_gpu_layers", Effect::Sets(layers)),
    ("--n_batch", Effect::Sets(batch)),
    ("--n_ubatch", Effect::Sets(chunk)),
    ("--flash_attn", Effect::Value),
    ("--host", Effect::Value),
    ("--port", Effect::Value),
];

/// Those of `KoboldCpp`, by `koboldcpp.py`: its batch is a pass.
pub(super) const KOBOLD: &[Flag] = &[
    ("--model", Effect::Model),
    ("--contextsize", Effect::Sets(cells)),
    ("--gpulayers", Effect::Sets(layers)),
    ("--blasbatchsize", Effect::Sets(chunk)),
    ("--batchsize", Effect::Sets(chunk)),
    ("--flashattention", Effect::Turns(|question| question.attention = Some(Attention::Flash))),
];

fn layers(question: &mut Question, text: &str) -> Result<(), String> {
    const ALL: u64 = 99;
    question.ngl = match parsed::<Count>(text)? {
        Count::Some(layers) if layers >= ALL => Some(Count::All),
        count => Some(count),
    };
    Ok(())
}

fn slots(question: &mut Question, text: &str) -> Result<(), String> {
    let slots = number(text)?;
    question.parallel = (slots > 1).then_some(slots);
    Ok(())
}

fn expert_layers(question: &mut Question, text: &str) -> Result<(), String> {
    question.n_cpu_moe = Some(parsed(text)?);
    Ok(())
}

#[allow(clippy::unnecessary_wraps, reason = "as the others")]
fn all_experts(question: &mut Question, text: &str) -> Result<(), String> {
    question.cpu_moe = text == "on";
    Ok(())
}

fn overrides(question: &mut Question, text: &str) -> Result<(), String> {
    const MOST: usize = 64;
    for one in text.split(',') {
        let one: TensorOverride = parsed(one)?;
        if question.override_tensor.len() < MOST {
            question.override_tensor.push(one);
        }
    }
    Ok(())
}

fn proportions(question: &mut Question, text: &str) -> Result<(), String> {
    question.tensor_split = Some(parsed::<TensorSplit>(text)?);
    Ok(())
}

fn mode(question: &mut Question, text: &str) -> Result<(), String> {
    question.split_mode = match text {
        "none" => Some(SplitMode::None),
        "row" => Some(SplitMode::Row),
        "layer" => Some(SplitMode::Layer),
        _ => return Err(String::new()),
    };
    Ok(())
}

#[allow(clippy::unnecessary_wraps, reason = "as the others")]
fn host_cache(question: &mut Question, text: &str) -> Result<(), String> {
    question.no_kv_offload = text == "on";
    Ok(())
}

#[allow(clippy::unnecessary_wraps, reason = "as the others")]
fn unified(question: &mut Question, text: &str) -> Result<(), String> {
    question.kv_unified = text == "on";
    Ok(())
}

#[allow(clippy::unnecessary_wraps, reason = "as the others")]
fn full_window(question: &mut Question, text: &str) -> Result<(), String> {
    question.swa_full = text == "on";
    Ok(())
}

fn batch(question: &mut Question, text: &str) -> Result<(), String> {
    question.batch_size = Some(number(text)?);
    Ok(())
}

fn flash_or_bare(question: &mut Question, text: &str) -> Result<(), String> {
    flash(question, text)
}

#[allow(clippy::unnecessary_wraps, reason = "as the others")]
fn encoder(question: &mut Question, text: &str) -> Result<(), String> {
    question.mmproj = Some(text.to_owned());
    Ok(())
}

#[allow(clippy::unnecessary_wraps, reason = "as the others")]
fn draft(question: &mut Question, text: &str) -> Result<(), String> {
    question.draft = Some(text.to_owned());
    Ok(())
}

/// The formats of keys and of values; what is not told is `f16`.
fn types(question: &Question) -> [KvFormat; 2] {
    question.kv.map_or([KvFormat::F16; 2], |kv| [kv.keys, kv.values.unwrap_or(kv.keys)])
}

fn set_types(question: &mut Question, [keys, values]: [KvFormat; 2]) {
    question.kv = Some(KvPair { keys, values: (values != keys).then_some(values) });
}

fn key_type(question: &mut Question, text: &str) -> Result<(), String> {
    let [_, values] = types(question);
    set_types(question, [parsed(text)?, values]);
    Ok(())
}

fn value_type(question: &mut Question, text: &str) -> Result<(), String> {
    let [keys, _] = types(question);
    set_types(question, [keys, parsed(text)?]);
    Ok(())
}

fn main_gpu(question: &mut Question, text: &str) -> Result<(), String> {
    question.main_gpu = Some(parsed(text)?);
    Ok(())
}

#[allow(clippy::unnecessary_wraps, reason = "as the others")]
fn adapter(question: &mut Question, text: &str) -> Result<(), String> {
    const MOST: usize = 64;
    if question.lora.len() < MOST {
        question.lora.push(text.to_owned());
    }
    Ok(())
}

#[allow(clippy::unnecessary_wraps, reason = "as the others")]
fn host_operations(question: &mut Question, text: &str) -> Result<(), String> {
    question.no_op_offload = text == "on";
    Ok(())
}
