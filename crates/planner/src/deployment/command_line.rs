//! What a command line says of a deployment.
//!
//! [`recognise`] answers where that is certain: a flag that is not known makes it uncertain. [`seen`](super::seen()) takes what it knows
//! of a line that was found in a log, and leaves the rest.

use std::ffi::OsStr;
use std::path::Path;
use std::str::FromStr;

use super::llama_flags::{PLACED, settle_slots};
use super::vllm_numbers::vllm_number;
use super::{Question, server, speculation};
use crate::dtype::KvFormat;
use crate::spec::{AskedShare, Attention, LoraSlots, Runtime, Split};
use crate::text::printable;
use crate::units::Bytes;

/// What was recognised of a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Recognised {
    /// What it runs, as a question to the planner.
    Deployment(Box<Question>),
    /// A program that is known, run in a way that is not: why.
    Uncertain(String),
    /// Nothing.
    Nothing,
}

/// What a flag does.
#[derive(Clone, Copy)]
pub(super) enum Effect {
    /// Nothing to memory, and takes no value.
    Bare,
    /// Nothing to memory, and takes a value.
    Value,
    /// Names the model.
    Model,
    /// Takes no value, and sets something.
    Turns(fn(&mut Question)),
    /// Turns something on, or off where `off` stands behind it.
    Switches(fn(&mut Question, &str) -> Result<(), String>),
    /// Sets something, by this function.
    Sets(fn(&mut Question, &str) -> Result<(), String>),
}

pub(super) type Flag = (&'static str, Effect);

/// llama.cpp's, by `common/arg.cpp`.
pub(super) const LLAMA: &[Flag] = &[
    ("-m", Effect::Model),
    ("--model", Effect::Model),
    ("-c", Effect::Sets(cells)),
    ("--ctx-size", Effect::Sets(cells)),
    ("-ub", Effect::Sets(chunk)),
    ("--ubatch-size", Effect::Sets(chunk)),
    ("-t", Effect::Value),
    ("--threads", Effect::Value),
    ("-tb", Effect::Value),
    ("--threads-batch", Effect::Value),
    ("-p", Effect::Value),
    ("--prompt", Effect::Value),
    ("-f", Effect::Value),
    ("--file", Effect::Value),
    ("-n", Effect::Value),
    ("--predict", Effect::Value),
    ("--n-predict", Effect::Value),
    ("-s", Effect::Value),
    ("--seed", Effect::Value),
    ("--temp", Effect::Value),
    ("--top-k", Effect::Value),
    ("--top-p", Effect::Value),
    ("--min-p", Effect::Value),
    ("--host", Effect::Value),
    ("--port", Effect::Value),
    ("--alias", Effect::Value),
    ("-a", Effect::Value),
    ("--api-key", Effect::Value),
    ("--log-file", Effect::Value),
    ("--chat-template", Effect::Value),
    ("-lv", Effect::Value),
    ("--log-verbosity", Effect::Value),
    ("-v", Effect::Bare),
    ("--verbose", Effect::Bare),
    ("--jinja", Effect::Bare),
    ("--no-warmup", Effect::Bare),
    ("-no-cnv", Effect::Bare),
    ("-cnv", Effect::Bare),
    ("-st", Effect::Bare),
    ("--single-turn", Effect::Bare),
    ("--mlock", Effect::Bare),
    ("--no-mmap", Effect::Bare),
    ("--no-webui", Effect::Bare),
    ("--metrics", Effect::Bare),
    ("--ignore-eos", Effect::Bare),
    ("--no-display-prompt", Effect::Bare),
];

/// vLLM's, by `engine/arg_utils.py` and `entrypoints/openai/cli_args.py`.
pub(super) const VLLM: &[Flag] = &[
    ("--model", Effect::Model),
    ("--max-model-len", Effect::Sets(longest)),
    ("--max-num-seqs", Effect::Sets(sequences)),
    ("--max-num-batched-tokens", Effect::Sets(batched)),
    ("--gpu-memory-utilization", Effect::Sets(share)),
    ("--tensor-parallel-size", Effect::Sets(ranks)),
    ("-tp", Effect::Sets(ranks)),
    ("--pipeline-parallel-size", Effect::Sets(stages)),
    ("-pp", Effect::Sets(stages)),
    ("--data-parallel-size", Effect::Sets(copies)),
    ("-dp", Effect::Sets(copies)),
    ("--enable-expert-parallel", Effect::Turns(|question| question.enable_expert_parallel = true)),
    ("--decode-context-parallel-size", Effect::Sets(context_ranks)),
    ("-dcp", Effect::Sets(context_ranks)),
    ("--enforce-eager", Effect::Turns(|question| question.enforce_eager = true)),
    ("--enable-lora", Effect::Turns(lora)),
    ("--max-loras", Effect::Sets(slots)),
    ("--max-lora-rank", Effect::Sets(lora_rank)),
    ("--cpu-offload-gb", Effect::Sets(cpu_offload)),
    ("--kv-offloading-size", Effect::Sets(kv_offload)),
    ("--swap-space", Effect::Sets(swap)),
    ("--kv-cache-memory-bytes", Effect::Sets(pool)),
    ("--block-size", Effect::Sets(block)),
    ("--max-cudagraph-capture-size", Effect::Sets(captured)),
    ("--optimization-level", Effect::Sets(level)),
    ("--kv-cache-dtype", Effect::Sets(server_cache)),
    ("--speculative-config", Effect::Sets(speculation::json)),
    ("-sc", Effect::Sets(speculation::json)),
    ("--host", Effect::Value),
    ("--port", Effect::Value),
    ("--served-model-name", Effect::Value),
    ("--api-key", Effect::Value),
    ("--seed", Effect::Value),
    ("--tokenizer", Effect::Value),
    ("--chat-template", Effect::Value),
    ("--load-format", Effect::Value),
    ("--download-dir", Effect::Value),
    ("--trust-remote-code", Effect::Bare),
    ("--enable-prefix-caching", Effect::Turns(shared_prefixes)),
    ("--no-enable-prefix-caching", Effect::Turns(own_prefixes)),
    ("--disable-log-requests", Effect::Bare),
    ("--disable-log-stats", Effect::Bare),
];

/// What a command runs, as far as its command line says so.
pub fn recognise<S: AsRef<OsStr>>(
    command: &[S],
    has_variable: impl Fn(&str) -> bool,
) -> Recognised {
    let words: Option<Vec<&str>> = command.iter().map(|word| word.as_ref().to_str()).collect();
    let Some(words) = words else { return Recognised::Nothing };
    let Some((program, rest)) = words.split_first() else { return Recognised::Nothing };
    let program = Path::new(program).file_name().and_then(OsStr::to_str).unwrap_or_default();
    let found = match (program, rest) {
        ("llama-server" | "llama-cli" | "llama-completion" | "llama-simple", rest) => {
            if has_variable("LLAMA_ARG_") {
                Err("variables `LLAMA_ARG_…` say more than its flags do".to_owned())
            } else {
                llama(rest).map(|mut question| {
                    settle_slots(program, rest, &mut question);
                    question
                })
            }
        }
        ("vllm", ["serve", rest @ ..]) => vllm(rest),
        ("llama-bench" | "vllm", _) => {
            return Recognised::Uncertain(format!(
                "how `{program}` is run here is not read from its flags"
            ));
        }
        _ => return Recognised::Nothing,
    };
    match found {
        Ok(question) => Recognised::Deployment(Box::new(question)),
        Err(why) => Recognised::Uncertain(format!("`{program}`: {why}")),
    }
}

fn llama(words: &[&str]) -> Result<Question, String> {
    let mut question = Question { runtime: Some(Runtime::LlamaCpp), ..Question::default() };
    read(words, &[PLACED, LLAMA], &mut question, false)?;
    let Some(cells) = question.cache_tokens else {
        return Err("without `-c` its context is the model's, or what fits".to_owned());
    };
    if let Some(slots) = question.parallel.filter(|_| !question.kv_unified) {
        // A server that is told how many slots it has gives each its part (`common/arg.cpp`, `-kvu`).
        question.no_kv_unified = true;
        let each = (cells / slots).max(1);
        (question.cache_tokens, question.context) = (Some(each), Some(each));
    }
    named(question)
}

fn vllm(words: &[&str]) -> Result<Question, String> {
    let mut question = Question { runtime: Some(Runtime::Vllm), ..Question::default() };
    read(words, &[VLLM], &mut question, true)?;
    // A server without slots allocates none, whatever is said of them.
    if !words.contains(&"--enable-lora") {
        (question.max_loras, question.max_lora_rank) = (None, None);
    }
    settle_ranks(&mut question);
    named(question)
}

/// A server's ranks are what it is told, however many cards there are.
pub(super) fn settle_ranks(question: &mut Question) {
    let gpus = server::gpus(question).unwrap_or(1);
    question.gpus = Some(gpus);
    let is_plain = !question.enable_expert_parallel && !question.enable_dp_attention;
    if question.tensor_parallel_size == Some(gpus) && is_plain {
        // Every layer over all of them.
        question.split = (gpus > 1).then_some(Split::Tensor);
        question.tensor_parallel_size = None;
        (question.pipeline_parallel_size, question.data_parallel_size) = (None, None);
    }
}

fn named(question: Question) -> Result<Question, String> {
    if question.model.is_some() { Ok(question) } else { Err("it names no model".to_owned()) }
}

/// Reads flags; one that stands alone first may be the model.
fn read(
    words: &[&str],
    tables: &[&[Flag]],
    question: &mut Question,
    positional: bool,
) -> Result<(), String> {
    let mut words = words.iter().copied().peekable();
    while let Some(word) = words.next() {
        let (name, mut given) = match word.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value)),
            _ => (word, None),
        };
        let known = tables.iter().flat_map(|flags| flags.iter()).find(|(known, _)| *known == name);
        let Some((_, effect)) = known else {
            if positional && question.model.is_none() && !word.starts_with('-') {
                question.model = Some(word.to_owned());
                continue;
            }
            return Err(format!("what `{}` does to memory is not known here", printable(word)));
        };
        match effect {
            Effect::Bare => continue,
            Effect::Turns(turn) => {
                turn(question);
                continue;
            }
            Effect::Switches(set) => {
                let value = given.take().or_else(|| words.next_if(|word| is_switch(word)));
                set(question, value.unwrap_or("on"))?;
                continue;
            }
            Effect::Model | Effect::Value | Effect::Sets(_) => {}
        }
        let value = given.take().or_else(|| words.next());
        let value = value.ok_or_else(|| format!("`{name}` has no value"))?;
        match effect {
            Effect::Model => question.model = Some(value.to_owned()),
            Effect::Sets(set) => set(question, value).map_err(|why| {
                let said = format!("`{name} {}`", printable(value));
                if why.is_empty() {
                    format!("{said} is not read here")
                } else {
                    format!("{said} {why}")
                }
            })?,
            Effect::Value | Effect::Bare | Effect::Turns(_) | Effect::Switches(_) => {}
        }
    }
    Ok(())
}

pub(super) fn number(text: &str) -> Result<u64, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| no_number(text))
}

/// What to say of a text that is not a number; nor is one with a `k` to engines.
fn no_number(text: &str) -> String {
    const KIBI: u64 = 1024;
    let thousands = text.strip_suffix(['k', 'K']).and_then(|digits| digits.parse::<u64>().ok());
    match thousands.and_then(|number| number.checked_mul(KIBI)) {
        Some(number) => format!("is not a number to this engine: say {number}"),
        None => "is not a number above 0".to_owned(),
    }
}

pub(super) fn parsed<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| String::new())
}

/// The cells of one sequence's cache, and its positions.
pub(super) fn cells(question: &mut Question, text: &str) -> Result<(), String> {
    let tokens = number(text)?;
    (question.cache_tokens, question.context) = (Some(tokens), Some(tokens));
    Ok(())
}

/// Whether a word is the value of a flag that may stand alone.
pub(super) fn is_switch(word: &str) -> bool {
    matches!(word, "on" | "off" | "auto" | "0" | "1")
}

pub(super) fn chunk(question: &mut Question, text: &str) -> Result<(), String> {
    question.prefill_chunk = Some(number(text)?);
    Ok(())
}

/// vLLM's step of a prompt.
fn batched(question: &mut Question, text: &str) -> Result<(), String> {
    question.prefill_chunk = Some(vllm_number(text)?);
    Ok(())
}

/// vLLM's longest sequence; `-1` and `auto` are the longest that its pool holds (`human_readable_int_or_auto`).
pub(super) fn longest(question: &mut Question, text: &str) -> Result<(), String> {
    if text == "-1" || text.eq_ignore_ascii_case("auto") {
        question.auto_max_model_len = true;
        return Ok(());
    }
    question.context = Some(vllm_number(text)?);
    Ok(())
}

pub(super) fn sequences(question: &mut Question, text: &str) -> Result<(), String> {
    question.max_seqs = Some(number(text)?);
    Ok(())
}

pub(super) fn share(question: &mut Question, text: &str) -> Result<(), String> {
    question.gpu_memory_utilization = Some(parsed::<AskedShare>(text)?);
    Ok(())
}

pub(super) fn ranks(question: &mut Question, text: &str) -> Result<(), String> {
    question.tensor_parallel_size = Some(number(text)?);
    Ok(())
}

pub(super) fn stages(question: &mut Question, text: &str) -> Result<(), String> {
    question.pipeline_parallel_size = Some(number(text)?);
    Ok(())
}

pub(super) fn copies(question: &mut Question, text: &str) -> Result<(), String> {
    question.data_parallel_size = Some(number(text)?);
    Ok(())
}

pub(super) fn context_ranks(question: &mut Question, text: &str) -> Result<(), String> {
    question.decode_context_parallel_size = Some(number(text)?);
    Ok(())
}

fn shared_prefixes(question: &mut Question) {
    (question.enable_prefix_caching, question.no_enable_prefix_caching) = (true, false);
}

fn own_prefixes(question: &mut Question) {
    (question.enable_prefix_caching, question.no_enable_prefix_caching) = (false, true);
}

/// Slots and their rank have defaults of their own.
pub(super) fn lora(question: &mut Question) {
    question.max_loras.get_or_insert(LoraSlots::DEFAULT_SLOTS);
}

pub(super) fn slots(question: &mut Question, text: &str) -> Result<(), String> {
    question.max_loras = Some(number(text)?);
    Ok(())
}

pub(super) fn lora_rank(question: &mut Question, text: &str) -> Result<(), String> {
    question.max_lora_rank = Some(number(text)?);
    Ok(())
}

pub(super) fn cpu_offload(question: &mut Question, text: &str) -> Result<(), String> {
    question.cpu_offload_gb = Some(parsed(text)?);
    Ok(())
}

pub(super) fn kv_offload(question: &mut Question, text: &str) -> Result<(), String> {
    question.kv_offloading_size = Some(parsed(text)?);
    Ok(())
}

pub(super) fn swap(question: &mut Question, text: &str) -> Result<(), String> {
    question.swap_space = Some(parsed(text)?);
    Ok(())
}

pub(super) fn pool(question: &mut Question, text: &str) -> Result<(), String> {
    question.kv_cache_memory_bytes = Some(Bytes::new(vllm_number(text)?));
    Ok(())
}

pub(super) fn block(question: &mut Question, text: &str) -> Result<(), String> {
    question.block_size = Some(number(text)?);
    Ok(())
}

pub(super) fn captured(question: &mut Question, text: &str) -> Result<(), String> {
    question.max_cudagraph_capture_size = Some(number(text)?);
    Ok(())
}

pub(super) fn level(question: &mut Question, text: &str) -> Result<(), String> {
    question.optimization_level = Some(parsed(text)?);
    Ok(())
}

/// `auto` is the model's own.
pub(super) fn server_cache(question: &mut Question, text: &str) -> Result<(), String> {
    if text.starts_with("turboquant") {
        return Err("is not modelled: TurboQuant packs keys and values in blocks with scales and a rotation of their own, \
            whose sizes are not known here"
            .to_owned());
    }
    if text != "auto" {
        question.kv = Some(parsed::<KvFormat>(text)?.into());
    }
    Ok(())
}

pub(super) fn cache_type(question: &mut Question, text: &str) -> Result<(), String> {
    let format = parsed::<KvFormat>(text)?;
    if question.kv.is_some_and(|other| other != format.into()) {
        return Err("caches keys and values in different formats".to_owned());
    }
    question.kv = Some(format.into());
    Ok(())
}

pub(super) fn flash(question: &mut Question, text: &str) -> Result<(), String> {
    question.attention = match text {
        "on" | "1" => Some(Attention::Flash),
        "off" | "0" => Some(Attention::Eager),
        "auto" | "-1" => None,
        _ => return Err(String::new()),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Count;

    fn of(line: &str) -> Recognised {
        recognise(&line.split_whitespace().collect::<Vec<_>>(), |_| false)
    }

    #[test]
    fn llama_server_is_read() {
        let line =
            "/opt/llama-server -m a.gguf -c 32768 -ngl 99 -fa on -ctk q8_0 -ctv q8_0 --port 8080";
        let Recognised::Deployment(question) = of(line) else { panic!("{:?}", of(line)) };
        assert_eq!(question.model.as_deref(), Some("a.gguf"));
        assert_eq!(question.runtime, Some(Runtime::LlamaCpp));
        assert_eq!((question.cache_tokens, question.context), (Some(32768), Some(32768)));
        assert_eq!(question.kv.map(|kv| kv.to_string()).as_deref(), Some("q8_0"));
        assert_eq!(question.attention, Some(Attention::Flash));
    }

    #[test]
    fn a_placement_is_read() {
        let line = "llama-server -m a.gguf -c 32768 -np 4 -ngl 12 --n-cpu-moe 3 -ot exps=CPU -ctk q8_0 -nkvo --swa-full";
        let Recognised::Deployment(question) = of(line) else { panic!("{:?}", of(line)) };
        assert_eq!(
            (question.ngl, question.n_cpu_moe),
            (Some(Count::Some(12)), Some(Count::Some(3)))
        );
        assert_eq!((question.parallel, question.cache_tokens), (Some(4), Some(8192)));
        assert!(question.no_kv_unified && question.no_kv_offload && question.swa_full);
        assert_eq!(question.override_tensor.len(), 1);
        assert_eq!(question.kv.map(|kv| kv.to_string()).as_deref(), Some("q8_0/f16"));
        let Recognised::Deployment(question) = of("llama-server -m a -c 4096 -np 2 -kvu -fa off")
        else {
            panic!()
        };
        assert_eq!((question.cache_tokens, question.no_kv_unified), (Some(4096), false));
        assert_eq!(question.attention, Some(Attention::Eager));
    }

    #[test]
    fn vllm_serve_is_read() {
        let line =
            "vllm serve Qwen/Qwen2.5-7B --max-model-len=8192 --gpu-memory-utilization 0.8 -tp 2";
        let Recognised::Deployment(question) = of(line) else { panic!("{:?}", of(line)) };
        assert_eq!(question.model.as_deref(), Some("Qwen/Qwen2.5-7B"));
        assert_eq!((question.context, question.gpus), (Some(8192), Some(2)));
        assert_eq!(question.split, Some(Split::Tensor));
    }

    #[test]
    fn what_a_server_is_told_is_read() {
        let line = "vllm serve a --enable-lora --max-loras 4 --max-lora-rank 64 --cpu-offload-gb 1.5 --enforce-eager \
            -tp 2 -pp 2 --enable-expert-parallel --kv-cache-dtype fp8_e4m3 --kv-cache-memory-bytes 1073741824";
        let Recognised::Deployment(question) = of(line) else { panic!("{:?}", of(line)) };
        assert_eq!((question.max_loras, question.max_lora_rank), (Some(4), Some(64)));
        assert_eq!(question.cpu_offload_gb.map(|size| size.0), Some(Bytes::new(3 << 29)));
        assert!(question.enforce_eager && question.enable_expert_parallel);
        assert_eq!((question.gpus, question.tensor_parallel_size), (Some(4), Some(2)));
        assert_eq!(question.kv.map(|kv| kv.to_string()).as_deref(), Some("fp8"));
        assert_eq!(question.kv_cache_memory_bytes, Some(Bytes::new(1 << 30)));
        let said = [
            "vllm",
            "serve",
            "a",
            "-sc",
            r#"{"method":"qwen3_next_mtp","num_speculative_tokens":2}"#,
        ];
        let Recognised::Deployment(question) = recognise(&said, |_| false) else { panic!() };
        assert_eq!(question.mtp, Some(2));
        let said =
            ["vllm", "serve", "a", "-sc", r#"{"method":"medusa","num_speculative_tokens":2}"#];
        assert!(matches!(recognise(&said, |_| false), Recognised::Uncertain(_)));
        // Without the switch they are no slots.
        let Recognised::Deployment(question) = of("vllm serve a --max-loras 4") else { panic!() };
        assert_eq!(question.max_loras, None);
    }

    #[test]
    fn what_is_not_certain_is_said() {
        for (line, why) in [
            ("llama-server -m a.gguf", "without `-c` its context is the model's"),
            ("llama-server -c 4096", "it names no model"),
            ("llama-server -m a.gguf -c 4096 --n-cpu-moe x", "`--n-cpu-moe x` is not read here"),
            ("llama-server -m a.gguf -c 4096 --unheard-of 4", "`--unheard-of`"),
            ("llama-server -m a.gguf -c 4096 -ngl many", "`-ngl many` is not read here"),
            ("llama-server -m a.gguf -c", "`-c` has no value"),
            ("llama-server -m a.gguf -c x", "`-c x` is not a number above 0"),
            ("vllm serve a --quantization fp8", "`--quantization`"),
            ("vllm serve a --block-size", "`--block-size` has no value"),
            ("vllm serve a --cpu-offload-gb x", "`--cpu-offload-gb x` is not read here"),
            ("llama-bench -m a.gguf", "llama-bench"),
        ] {
            let Recognised::Uncertain(said) = of(line) else { panic!("{line}: {:?}", of(line)) };
            assert!(said.contains(why), "{line}: {said}");
        }
        let with_variables = recognise(&["llama-server", "-m", "a"], |_| true);
        assert!(matches!(with_variables, Recognised::Uncertain(_)));
        assert_eq!(of("python serve.py"), Recognised::Nothing);
        assert_eq!(of(""), Recognised::Nothing);
    }
}
