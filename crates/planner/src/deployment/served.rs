//! A server's command, as somebody would run it, as a question: what `budget -- COMMAND` plans.
//!
//! Where [`recognise`](super::recognise) answers only what is certain, here a flag that is not known is left out, and
//! named: whoever asks has typed the command and can judge that.

use std::path::Path;

use super::Question;
use super::command_line::{
    Effect, Flag, LLAMA, VLLM, cache_type, cells, context, copies, number, parsed, ranks,
    settle_ranks, stages,
};
use super::llama_flags::PLACED;
use super::seen::SGLANG;
use crate::dtype::WeightFormat;
use crate::spec::{Attention, Count, Runtime};
use crate::text::printable;

/// A command that was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Served {
    /// What it asks for.
    pub question: Question,
    /// Flags and variables that are not known here, as they are written.
    pub left_out: Vec<String>,
    /// What the plan takes for granted where the command is silent.
    pub note: Option<&'static str>,
}

/// Why a command says nothing that can be planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// A program that is not known: its name.
    Program(String),
    /// A value that cannot be read.
    Value(String),
}

/// Reads a command: variables before it, `docker run`, `python -m`, and the flags of llama.cpp, Ollama, LM Studio,
/// `KoboldCpp`, vLLM and `SGLang`.
///
/// ```
/// use vramplan_planner::deployment::served;
///
/// let command = ["env", "OLLAMA_CONTEXT_LENGTH=8192", "ollama", "run", "qwen3:8b"];
/// let question = served(&command).unwrap().question;
/// assert_eq!((question.model.as_deref(), question.context), (Some("qwen3:8b"), Some(8192)));
/// ```
///
/// # Errors
/// Where the program is not known, or a value of a flag that is known cannot be read.
pub fn served(command: &[&str]) -> Result<Served, Unread> {
    let Peeled { variables, words } = peel(command);
    let unknown = || Unread::Program(printable(words.first().copied().unwrap_or_default()));
    let (engine, rest) = engine(&words).ok_or_else(unknown)?;
    let mut served = Served::default();
    served.question.runtime = Some(engine.runtime());
    match engine {
        Engine::LlamaCpp => llama_cpp(&mut served, rest)?,
        Engine::Kobold => served.read(rest, &[KOBOLD], false)?,
        Engine::Ollama => ollama(&mut served, rest, &variables)?,
        Engine::LmStudio => served.read(rest, &[LM_STUDIO], true)?,
        Engine::Vllm => {
            served.read(rest, &[VLLM_HERE, VLLM], true)?;
            settle(&mut served.question);
        }
        Engine::Sglang => {
            served.read(rest, &[SGLANG_HERE, SGLANG], false)?;
            settle(&mut served.question);
        }
    }
    if engine != Engine::Ollama {
        let of_engine = |name: &&str| {
            ["LLAMA_ARG_", "VLLM_", "SGLANG_", "SGL_"].iter().any(|own| name.starts_with(own))
        };
        let named = variables.iter().map(|(name, _)| *name).filter(of_engine);
        served.left_out.extend(named.map(printable));
    }
    Ok(served)
}

/// Whether a word runs a program whose command [`served`] reads.
pub fn is_program(word: &str) -> bool {
    engine(&[word, "serve"]).is_some() || ["docker", "podman", "python", "python3"].contains(&word)
}

/// Whether an engine's flag is known to change nothing that is planned; then whether it takes a value.
pub fn changes_no_memory(flag: &str) -> Option<bool> {
    let tables = [LLAMA_HERE, LLAMA, VLLM_HERE, VLLM, SGLANG_HERE, SGLANG];
    let found = tables.into_iter().flatten().find(|(known, _)| *known == flag)?;
    match found.1 {
        Effect::Bare => Some(false),
        Effect::Value => Some(true),
        Effect::Model | Effect::Turns(_) | Effect::Switches(_) | Effect::Sets(_) => None,
    }
}

/// Programs whose flags are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    LlamaCpp,
    Kobold,
    Ollama,
    LmStudio,
    Vllm,
    Sglang,
}

impl Engine {
    const fn runtime(self) -> Runtime {
        match self {
            Self::LlamaCpp | Self::Kobold | Self::Ollama | Self::LmStudio => Runtime::LlamaCpp,
            Self::Vllm => Runtime::Vllm,
            Self::Sglang => Runtime::Sglang,
        }
    }
}

/// The engine that words run, and its arguments.
fn engine<'a>(words: &'a [&'a str]) -> Option<(Engine, &'a [&'a str])> {
    let (first, rest) = words.split_first()?;
    let name = first.rsplit(['/', '\\']).next().unwrap_or(first);
    let name = name.strip_suffix(".exe").or(name.strip_suffix(".py")).unwrap_or(name);
    let engine = match name {
        "llama-server" | "llama-cli" | "llama-completion" | "llama-simple" | "llama-run"
        | "llama-mtmd-cli" | "llama-fit-params" | "llamafile" => Engine::LlamaCpp,
        // What they were called in 2024.
        "server" | "main" if first.contains('/') => Engine::LlamaCpp,
        "koboldcpp" => Engine::Kobold,
        "ollama" => Engine::Ollama,
        "lms" => return Some((Engine::LmStudio, rest.strip_prefix(&["load"]).unwrap_or(rest))),
        "vllm" => return Some((Engine::Vllm, rest.strip_prefix(&["serve"])?)),
        "vllm.entrypoints.openai.api_server" | "vllm.entrypoints.api_server" => Engine::Vllm,
        "sglang" => return Some((Engine::Sglang, rest.strip_prefix(&["serve"])?)),
        "sglang.launch_server" => Engine::Sglang,
        _ => return None,
    };
    Some((engine, rest))
}

/// A command without what only runs it.
#[derive(Default)]
struct Peeled<'a> {
    variables: Vec<(&'a str, &'a str)>,
    words: Vec<&'a str>,
}

fn peel<'a>(command: &[&'a str]) -> Peeled<'a> {
    const RUNNERS: [&str; 6] = ["env", "sudo", "nohup", "time", "exec", "nice"];
    let mut peeled = Peeled::default();
    let mut words = command;
    while let [first, rest @ ..] = words {
        if let Some(variable) = variable(first) {
            peeled.variables.push(variable);
        } else if !RUNNERS.contains(first) {
            break;
        }
        words = rest;
    }
    let file =
        |word: &str| Path::new(word).file_name().map(|name| name.to_string_lossy().into_owned());
    let program = words.first().and_then(|word| file(word)).unwrap_or_default();
    match (program.as_str(), words) {
        ("docker" | "podman", [_, "run", rest @ ..]) => contained(&mut peeled, rest),
        ("uv" | "poetry" | "pipx", [_, "run", rest @ ..]) => peeled.words = peel(rest).words,
        (python, [_, "-m", rest @ ..]) if python.starts_with("python") => {
            peeled.words = rest.to_vec();
        }
        _ => peeled.words = words.to_vec(),
    }
    peeled
}

/// `NAME=value`.
fn variable(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    let plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    (!name.is_empty() && name.bytes().all(plain)).then_some((name, value))
}

/// Images of engines, and the program that each starts with its arguments; none where they name it themselves.
const IMAGES: [(&str, Option<&[&str]>); 5] = [
    ("vllm/vllm-openai", Some(&["vllm", "serve"])),
    ("ggml-org/llama.cpp", Some(&["llama-server"])),
    ("ggerganov/llama.cpp", Some(&["llama-server"])),
    ("ollama/ollama", Some(&["ollama", "serve"])),
    ("lmsysorg/sglang", None),
];

/// What runs in a container: the arguments behind an image that is known.
fn contained<'a>(peeled: &mut Peeled<'a>, words: &[&'a str]) {
    for (at, word) in words.iter().enumerate() {
        let assigned =
            word.strip_prefix("--env=").or_else(|| word.strip_prefix("-e")).unwrap_or(word);
        peeled.variables.extend(variable(assigned));
        let known = IMAGES.iter().find(|(image, _)| word.contains(image) && !word.contains('='));
        if let Some((_, program)) = known {
            let rest = &words[at + 1..];
            peeled.words = match program {
                Some(program) => program.iter().chain(rest).copied().collect(),
                None => peel(rest).words,
            };
            return;
        }
    }
    peeled.words = vec!["docker"];
}

impl Served {
    /// Reads flags; a word that stands alone may be the model.
    fn read(&mut self, words: &[&str], tables: &[&[Flag]], positional: bool) -> Result<(), Unread> {
        let mut words = words.iter().copied().peekable();
        while let Some(word) = words.next() {
            let (name, given) = match word.split_once('=') {
                Some((name, value)) if name.starts_with('-') => (name, Some(value)),
                _ => (word, None),
            };
            let name = &*dashed(name);
            let known =
                tables.iter().flat_map(|flags| flags.iter()).find(|(flag, _)| *flag == name);
            let Some((_, effect)) = known else {
                self.unknown(
                    word,
                    positional,
                    words
                        .next_if(|next| word.starts_with('-') && given.is_none() && !is_flag(next)),
                );
                continue;
            };
            match effect {
                Effect::Bare => continue,
                Effect::Turns(turn) => {
                    turn(&mut self.question);
                    continue;
                }
                Effect::Switches(set) => {
                    let value = given
                        .or_else(|| words.next_if(|word| super::command_line::is_switch(word)));
                    self.set(*set, name, value.unwrap_or("on"))?;
                    continue;
                }
                Effect::Model | Effect::Value | Effect::Sets(_) => {}
            }
            let missing = || Unread::Value(format!("`{name}` has no value"));
            let value = given.or_else(|| words.next()).ok_or_else(missing)?;
            match effect {
                Effect::Model => self.question.model = Some(value.to_owned()),
                Effect::Sets(set) => self.set(*set, name, value)?,
                Effect::Value | Effect::Bare | Effect::Turns(_) | Effect::Switches(_) => {}
            }
        }
        Ok(())
    }

    fn set(
        &mut self,
        set: fn(&mut Question, &str) -> Result<(), String>,
        name: &str,
        value: &str,
    ) -> Result<(), Unread> {
        set(&mut self.question, value).map_err(|why| {
            let why =
                if why.is_empty() { "is not a value that is known here".to_owned() } else { why };
            Unread::Value(format!("`{name} {}` {why}", printable(value)))
        })
    }

    /// A word that is in no table: the model, or a flag that is left out.
    fn unknown(&mut self, word: &str, positional: bool, value: Option<&str>) {
        const MOST: usize = 16;
        if !word.starts_with('-') && positional && self.question.model.is_none() {
            self.question.model = Some(word.to_owned());
        } else if self.left_out.len() < MOST {
            let words = [Some(word), value].into_iter().flatten().map(printable);
            self.left_out.push(words.collect::<Vec<_>>().join(" "));
        }
    }
}

/// Long flags of Python's programs may be written with `_` for `-`.
fn dashed(name: &str) -> std::borrow::Cow<'_, str> {
    match name.strip_prefix("--") {
        Some(long) if long.contains('_') => format!("--{}", long.replace('_', "-")).into(),
        _ => name.into(),
    }
}

/// Whether a word is a flag, and no negative number.
fn is_flag(word: &str) -> bool {
    word.starts_with('-') && word.parse::<f64>().is_err()
}

/// A server of one GPU says nothing of how many there are.
fn settle(question: &mut Question) {
    settle_ranks(question);
    question.gpus = question.gpus.filter(|gpus| *gpus > 1);
}

fn llama_cpp(served: &mut Served, words: &[&str]) -> Result<(), Unread> {
    served.read(words, &[LLAMA_HERE, PLACED, LLAMA], false)?;
    let question = &mut served.question;
    match (question.cache_tokens, question.parallel) {
        (None, _) => {
            served.note = Some(
                "without `-c` llama.cpp takes the model's context, or less where that does not fit: planned is what fits",
            );
        }
        (Some(cells), Some(slots)) if !question.kv_unified => {
            // A server that is told how many slots it has gives each its part (`common/arg.cpp`, `-kvu`).
            question.no_kv_unified = true;
            let each = (cells / slots).max(1);
            (question.cache_tokens, question.context) = (Some(each), Some(each));
        }
        (Some(_), _) => {}
    }
    Ok(())
}

/// Ollama takes its settings from variables (`envconfig/config.go`), and each of its users has the whole context.
fn ollama(served: &mut Served, words: &[&str], variables: &[(&str, &str)]) -> Result<(), Unread> {
    let words = match words {
        ["run" | "serve" | "start" | "pull" | "show", rest @ ..] => rest,
        all => all,
    };
    served.read(words, &[OLLAMA], true)?;
    for (name, value) in variables {
        match OLLAMA_VARIABLES.iter().find(|(known, _)| known == name) {
            Some((_, Effect::Sets(set))) => served.set(*set, name, value)?,
            None if name.starts_with("OLLAMA_") => served.left_out.push(printable(name)),
            Some(_) | None => {}
        }
    }
    if served.question.context.is_none() {
        served.note = Some(
            "Ollama's own context depends on its version and the card unless `OLLAMA_CONTEXT_LENGTH` or `num_ctx` \
             gives it: planned is what fits",
        );
    }
    Ok(())
}

const OLLAMA_VARIABLES: &[Flag] = &[
    ("OLLAMA_CONTEXT_LENGTH", Effect::Sets(cells)),
    ("OLLAMA_NUM_PARALLEL", Effect::Sets(users)),
    ("OLLAMA_KV_CACHE_TYPE", Effect::Sets(cache_type)),
    ("OLLAMA_FLASH_ATTENTION", Effect::Sets(flash)),
    ("OLLAMA_HOST", Effect::Value),
    ("OLLAMA_MODELS", Effect::Value),
    ("OLLAMA_KEEP_ALIVE", Effect::Value),
    ("OLLAMA_DEBUG", Effect::Value),
    ("OLLAMA_ORIGINS", Effect::Value),
    ("OLLAMA_NOPRUNE", Effect::Value),
    ("OLLAMA_LOAD_TIMEOUT", Effect::Value),
];

const OLLAMA: &[Flag] = &[
    ("--verbose", Effect::Bare),
    ("--nowordwrap", Effect::Bare),
    ("--keepalive", Effect::Value),
    ("--format", Effect::Value),
    ("--think", Effect::Value),
    ("--hidethinking", Effect::Bare),
];

/// LM Studio's `lms load`.
const LM_STUDIO: &[Flag] = &[
    ("--context-length", Effect::Sets(cells)),
    ("-c", Effect::Sets(cells)),
    ("--gpu", Effect::Sets(offload)),
    ("--parallel", Effect::Sets(users)),
    ("--identifier", Effect::Value),
    ("--ttl", Effect::Value),
    ("-y", Effect::Bare),
    ("--yes", Effect::Bare),
];

/// `KoboldCpp`'s.
const KOBOLD: &[Flag] = &[
    ("--model", Effect::Model),
    ("-m", Effect::Model),
    ("--contextsize", Effect::Sets(cells)),
    ("--gpulayers", Effect::Sets(layers)),
    ("--quantkv", Effect::Sets(kobold_cache)),
    ("--flashattention", Effect::Turns(|question| question.attention = Some(Attention::Flash))),
    ("--usecublas", Effect::Bare),
    ("--usecuda", Effect::Bare),
    ("--port", Effect::Value),
    ("--threads", Effect::Value),
];

/// llama.cpp's that [`LLAMA`] and [`PLACED`] do not have, or have only for what is certain.
const LLAMA_HERE: &[Flag] = &[
    ("-c", Effect::Sets(cells_or_own)),
    ("--ctx-size", Effect::Sets(cells_or_own)),
    ("-cb", Effect::Bare),
    ("--cont-batching", Effect::Bare),
    ("-nocb", Effect::Bare),
    ("--no-cont-batching", Effect::Bare),
    ("--context-shift", Effect::Bare),
    ("--no-context-shift", Effect::Bare),
    ("--cache-reuse", Effect::Value),
    ("--reasoning-format", Effect::Value),
    ("--reasoning-budget", Effect::Value),
    ("--chat-template-file", Effect::Value),
    ("--chat-template-kwargs", Effect::Value),
    ("--offline", Effect::Bare),
    ("--slots", Effect::Bare),
    ("--no-slots", Effect::Bare),
    ("--props", Effect::Bare),
    ("--color", Effect::Bare),
    ("-i", Effect::Bare),
    ("--interactive", Effect::Bare),
    ("--repeat-penalty", Effect::Value),
    ("--presence-penalty", Effect::Value),
    ("--rope-scaling", Effect::Value),
    ("--rope-scale", Effect::Value),
    ("--rope-freq-base", Effect::Value),
    ("--rope-freq-scale", Effect::Value),
    ("--yarn-orig-ctx", Effect::Value),
    ("--draft-max", Effect::Value),
    ("--draft-min", Effect::Value),
    ("--draft-p-min", Effect::Value),
    ("--prio", Effect::Value),
    ("--numa", Effect::Value),
    ("-to", Effect::Value),
    ("--timeout", Effect::Value),
    ("--hf-token", Effect::Value),
];

/// vLLM's that [`VLLM`] does not have, or has only for what is certain.
const VLLM_HERE: &[Flag] = &[
    ("--max-model-len", Effect::Sets(longest)),
    ("--quantization", Effect::Sets(quantization)),
    ("-q", Effect::Sets(quantization)),
    ("--dtype", Effect::Sets(dtype)),
    ("--limit-mm-per-prompt", Effect::Sets(images)),
    ("--enable-chunked-prefill", Effect::Bare),
    ("--no-enable-chunked-prefill", Effect::Bare),
    ("--enable-auto-tool-choice", Effect::Bare),
    ("--tool-call-parser", Effect::Value),
    ("--reasoning-parser", Effect::Value),
    ("--enable-reasoning", Effect::Bare),
    ("--enable-log-requests", Effect::Bare),
    ("--no-enable-log-requests", Effect::Bare),
    ("--uvicorn-log-level", Effect::Value),
    ("--allowed-origins", Effect::Value),
    ("--distributed-executor-backend", Effect::Value),
    ("--revision", Effect::Value),
    ("--tokenizer-mode", Effect::Value),
    ("--config-format", Effect::Value),
    ("--generation-config", Effect::Value),
    ("--override-generation-config", Effect::Value),
    ("--max-log-len", Effect::Value),
    ("--disable-fastapi-docs", Effect::Bare),
    ("--response-role", Effect::Value),
];

/// `SGLang`'s that [`SGLANG`] does not have.
const SGLANG_HERE: &[Flag] = &[
    ("--context-length", Effect::Sets(longest)),
    ("--quantization", Effect::Sets(quantization)),
    ("--dtype", Effect::Sets(dtype)),
    ("--pp", Effect::Sets(stages)),
    ("--pp-size", Effect::Sets(stages)),
    ("--pipeline-parallel-size", Effect::Sets(stages)),
    ("--tp", Effect::Sets(ranks)),
    ("--dp", Effect::Sets(copies)),
    ("--dp-size", Effect::Sets(copies)),
    ("--data-parallel-size", Effect::Sets(copies)),
    ("--enable-dp-attention", Effect::Turns(|question| question.enable_dp_attention = true)),
    ("--ep", Effect::Sets(experts)),
    ("--ep-size", Effect::Sets(experts)),
    ("--expert-parallel-size", Effect::Sets(experts)),
    ("--page-size", Effect::Sets(page)),
    ("--max-total-tokens", Effect::Sets(pool)),
    ("--trust-remote-code", Effect::Bare),
    ("--disable-radix-cache", Effect::Bare),
    ("--enable-metrics", Effect::Bare),
    ("--log-level", Effect::Value),
    ("--served-model-name", Effect::Value),
    ("--tokenizer-path", Effect::Value),
    ("--chat-template", Effect::Value),
    ("--reasoning-parser", Effect::Value),
    ("--tool-call-parser", Effect::Value),
    ("--api-key", Effect::Value),
    ("--random-seed", Effect::Value),
    ("--schedule-policy", Effect::Value),
];

/// GPUs that whole experts are dealt out over: 1 splits each of them.
fn experts(question: &mut Question, text: &str) -> Result<(), String> {
    question.enable_expert_parallel = number(text)? > 1;
    Ok(())
}

fn page(question: &mut Question, text: &str) -> Result<(), String> {
    question.block_size = Some(number(text)?);
    Ok(())
}

fn pool(question: &mut Question, text: &str) -> Result<(), String> {
    question.max_total_tokens = Some(number(text)?);
    Ok(())
}

fn users(question: &mut Question, text: &str) -> Result<(), String> {
    question.users = Some(number(text)?).filter(|users| *users > 1);
    Ok(())
}

fn flash(question: &mut Question, text: &str) -> Result<(), String> {
    question.attention = match text {
        "1" | "true" => Some(Attention::Flash),
        "0" | "false" => Some(Attention::Eager),
        _ => return Err(String::new()),
    };
    Ok(())
}

/// LM Studio's share of the layers: `max`, `off`.
fn offload(question: &mut Question, text: &str) -> Result<(), String> {
    question.ngl = match text {
        "max" | "1" | "1.0" => Some(Count::All),
        "off" | "0" => Some(Count::Some(0)),
        "auto" => None,
        _ => return Err("is a share of the layers: say their number with `--ngl`".to_owned()),
    };
    Ok(())
}

fn layers(question: &mut Question, text: &str) -> Result<(), String> {
    question.ngl = Some(parsed(text)?);
    Ok(())
}

/// `KoboldCpp`'s numbers for formats of the cache.
fn kobold_cache(question: &mut Question, text: &str) -> Result<(), String> {
    let format = match text {
        "0" => "f16",
        "1" => "q8_0",
        "2" => "q4_0",
        other => other,
    };
    cache_type(question, format)
}

/// `-c 0` is the model's own context.
fn cells_or_own(question: &mut Question, text: &str) -> Result<(), String> {
    if text == "0" { Ok(()) } else { cells(question, text) }
}

/// vLLM reads `32k` as 32,000 and `32K` as 32,768 (`human_readable_int`); `-1` and `auto` are what fits.
fn longest(question: &mut Question, text: &str) -> Result<(), String> {
    if matches!(text, "auto" | "-1") {
        return Ok(());
    }
    let (digits, factor) = match (text.strip_suffix('k'), text.strip_suffix('K')) {
        (Some(digits), _) => (digits, 1000),
        (None, Some(digits)) => (digits, 1024),
        (None, None) => (text, 1),
    };
    let tokens = number(digits)?.checked_mul(factor).ok_or_else(String::new)?;
    context(question, &tokens.to_string())
}

/// A method that quantizes at load, or that of a checkpoint by its name; what only its files tell is left to them.
#[allow(clippy::unnecessary_wraps, reason = "as all that set a key")]
fn quantization(question: &mut Question, text: &str) -> Result<(), String> {
    if let Ok(format) = text.parse::<WeightFormat>() {
        question.weights = Some(format);
    }
    Ok(())
}

/// The type of what is not quantized.
fn dtype(question: &mut Question, text: &str) -> Result<(), String> {
    if text != "auto" && question.weights.is_none() {
        question.weights = Some(parsed::<WeightFormat>(text)?);
    }
    Ok(())
}

/// `image=4`, or the same as JSON.
fn images(question: &mut Question, text: &str) -> Result<(), String> {
    let plain: String = text.chars().filter(|c| !matches!(c, '{' | '}' | '"' | ' ')).collect();
    let mut pairs = plain.split(',').filter_map(|pair| pair.split_once([':', '=']));
    if let Some((_, count)) = pairs.find(|(name, _)| *name == "image") {
        question.images = Some(parsed(count)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Served {
        let words: Vec<&str> = line.split(' ').collect();
        served(&words).unwrap_or_else(|error| panic!("{line}: {error:?}"))
    }

    #[test]
    fn ollama_is_told_by_variables() {
        let line = "OLLAMA_CONTEXT_LENGTH=8192 OLLAMA_NUM_PARALLEL=4 OLLAMA_KV_CACHE_TYPE=q8_0 OLLAMA_FLASH_ATTENTION=1 \
                    OLLAMA_NEW=1 ollama run llama3.1:8b";
        let Served { question, left_out, note } = of(line);
        assert_eq!(question.model.as_deref(), Some("llama3.1:8b"));
        assert_eq!((question.context, question.cache_tokens), (Some(8192), Some(8192)));
        assert_eq!((question.users, question.attention), (Some(4), Some(Attention::Flash)));
        assert_eq!(question.kv.map(|kv| kv.to_string()).as_deref(), Some("q8_0"));
        assert_eq!((left_out, note), (vec!["OLLAMA_NEW".to_owned()], None));
        assert!(of("ollama run x").note.is_some());
    }

    #[test]
    fn containers_and_modules_are_looked_into() {
        let line = "docker run --gpus all -p 8000:8000 -e HF_TOKEN=x vllm/vllm-openai:v0.11 --model a/b --max-model-len 32k \
                    --quantization fp8 --frobnicate 3 --dtype auto";
        let Served { question, left_out, .. } = of(line);
        assert_eq!((question.model.as_deref(), question.context), (Some("a/b"), Some(32_000)));
        assert_eq!(question.weights.map(|format| format.to_string()).as_deref(), Some("fp8"));
        assert_eq!(left_out, ["--frobnicate 3"]);
        let line = "docker run --gpus all lmsysorg/sglang:latest python3 -m sglang.launch_server --model-path a/b --tp 2";
        let Served { question, .. } = of(line);
        assert_eq!((question.runtime, question.gpus), (Some(Runtime::Sglang), Some(2)));
        let line = "python3 -m sglang.launch_server --model-path a/b --tp 8 --dp 8 --enable-dp-attention --ep-size 8 \
                    --page-size 64 --max-total-tokens 100000 --frobnicate";
        let Served { question, left_out, .. } = of(line);
        assert!(question.enable_dp_attention && question.enable_expert_parallel);
        assert_eq!((question.data_parallel_size, question.block_size), (Some(8), Some(64)));
        assert_eq!((question.max_total_tokens, left_out.len()), (Some(100_000), 1));
        let Served { question, .. } = of(
            "python -m vllm.entrypoints.openai.api_server --model a/b --gpu_memory_utilization=0.8",
        );
        assert_eq!(
            question.gpu_memory_utilization.map(|share| share.to_string()).as_deref(),
            Some("0.8")
        );
        assert_eq!(question.gpus, None);
    }

    #[test]
    fn programs_of_llama_cpp_are_read() {
        let Served { question, note, .. } =
            of("./llama-server -m a.gguf -ngl 99 -cb --jinja --reasoning-format none");
        assert_eq!((question.ngl, question.cache_tokens), (Some(Count::All), None));
        assert!(note.is_some());
        let Served { question, .. } = of("./main -m a.gguf -c 4096 -ngl 33");
        assert_eq!((question.context, question.ngl), (Some(4096), Some(Count::Some(33))));
        let Served { question, .. } =
            of("koboldcpp --model a.gguf --contextsize 8192 --gpulayers 30 --quantkv 1");
        assert_eq!((question.context, question.ngl), (Some(8192), Some(Count::Some(30))));
        let Served { question, .. } = of("lms load qwen/qwen3-8b --context-length 8192 --gpu max");
        assert_eq!(
            (question.model.as_deref(), question.ngl),
            (Some("qwen/qwen3-8b"), Some(Count::All))
        );
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let read = |line: &str| served(&line.split(' ').collect::<Vec<_>>());
        for (line, why) in [
            ("llama-server -m a -c x", "`-c x`"),
            ("vllm serve a --max-model-len", "has no value"),
            ("lms load a --gpu 0.5", "share of the layers"),
        ] {
            let Err(Unread::Value(said)) = read(line) else { panic!("{line}: {:?}", read(line)) };
            assert!(said.contains(why), "{line}: {said}");
        }
        for line in ["python serve.py", "docker run nginx", "", "vllm bench serve"] {
            assert!(matches!(read(line), Err(Unread::Program(_))), "{line}");
        }
        assert!(is_program("vllm") && is_program("ollama") && !is_program("qwen3-8b"));
        assert_eq!(changes_no_memory("--jinja"), Some(false));
        assert_eq!(changes_no_memory("--threads"), Some(true));
        assert_eq!(changes_no_memory("--ctx-size"), None);
    }
}
