//! What a command line that was found in a log says: flags that are known are taken, others are left.

use super::Question;
use super::command_line::{
    Effect, Flag, LLAMA, VLLM, chunk, is_switch, number, parsed, ranks, sequences, settle_ranks,
};
use super::llama_flags::PLACED;
use crate::dtype::WeightFormat;
use crate::spec::Runtime;

/// A program that a command line runs, as far as it is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The program: `llama-server`, `vllm`, `sglang`.
    pub program: &'static str,
    /// What its flags say.
    pub question: Question,
    /// The share of the card that `--mem-fraction-static` gives, as it is written.
    pub static_share: Option<String>,
}

/// Programs by the words that run them.
const PROGRAMS: [(&[&str], &str); 19] = [
    (&["vllm", "serve"], "vllm"),
    (&["vllm.entrypoints.openai.api_server"], "vllm"),
    (&["vllm.entrypoints.api_server"], "vllm"),
    (&["sglang.launch_server"], "sglang"),
    (&["sglang", "serve"], "sglang"),
    (&["llama-server"], "llama-server"),
    (&["llama-cli"], "llama-cli"),
    (&["llama-bench"], "llama-bench"),
    (&["llama-sweep-bench"], "llama-bench"),
    (&["llama-batched-bench"], "llama-bench"),
    (&["llama-perplexity"], "llama-cli"),
    (&["llama-imatrix"], "llama-cli"),
    (&["llama-simple"], "llama-cli"),
    (&["llama-completion"], "llama-cli"),
    (&["llama-run"], "llama-cli"),
    (&["llama-mtmd-cli"], "llama-cli"),
    (&["llama-fit-params"], "llama-cli"),
    (&["ollama_llama_server"], "ollama"),
    (&["ollama", "runner"], "ollama"),
];

/// Words of a line that are looked at.
const MOST_WORDS: usize = 512;

/// What a line says, where it runs a program that is known with flags.
pub fn seen(line: &str) -> Option<Seen> {
    let known = PROGRAMS.iter().any(|(words, _)| words.iter().all(|word| line.contains(word)));
    if !known || !line.contains(" -") {
        return None;
    }
    let plain = || line.split_whitespace().map(str::to_owned).collect();
    // A path of Windows is no word of a POSIX shell.
    let words = if line.contains(":\\") { None } else { shlex::split(line) };
    let words: Vec<String> = words.unwrap_or_else(plain);
    let words: Vec<&str> = words.iter().take(MOST_WORDS).map(String::as_str).collect();
    // What a shell would take as a comment or a quotation may be neither in a log.
    let unquoted: Vec<&str> = line.split_whitespace().take(MOST_WORDS).collect();
    let (program, rest) = program(&words).or_else(|| program(&unquoted))?;
    let mut seen = Seen { program, question: Question::default(), static_share: None };
    match program {
        "vllm" => {
            seen.question.runtime = Some(Runtime::Vllm);
            seen.read(rest, [VLLM_MORE, VLLM], true);
            settle_ranks(&mut seen.question);
        }
        "sglang" => {
            seen.question.runtime = Some(Runtime::Sglang);
            seen.read(rest, [SGLANG, &[]], false);
            settle_ranks(&mut seen.question);
        }
        _ => {
            seen.question.runtime = Some(Runtime::LlamaCpp);
            seen.read(rest, [PLACED, LLAMA], false);
        }
    }
    Some(seen)
}

/// The program and the words behind it.
fn program<'a>(words: &'a [&'a str]) -> Option<(&'static str, &'a [&'a str])> {
    for at in 0..words.len() {
        let rest = words.get(at..)?;
        let first = rest.first()?;
        let name = first.rsplit(['/', '\\']).next().unwrap_or(first);
        let name = name.strip_suffix(".exe").unwrap_or(name);
        let runs = |(parts, _): &&(&[&str], &str)| match parts {
            [one] => name == *one,
            [one, two] => name == *one && rest.get(1) == Some(two),
            _ => false,
        };
        if let Some((parts, program)) = PROGRAMS.iter().find(runs) {
            return Some((program, rest.get(parts.len()..)?));
        }
    }
    None
}

impl Seen {
    fn read(&mut self, words: &[&str], tables: [&[Flag]; 2], positional: bool) {
        let mut words = words.iter().copied().peekable();
        while let Some(word) = words.next() {
            let (name, given) = match word.split_once('=') {
                Some((name, value)) if name.starts_with('-') => (name, Some(value)),
                _ => (word, None),
            };
            let known =
                tables.iter().flat_map(|flags| flags.iter()).find(|(flag, _)| *flag == name);
            let Some((_, effect)) = known else {
                if positional && self.question.model.is_none() && !word.starts_with('-') {
                    self.question.model = Some(word.to_owned());
                }
                continue;
            };
            if matches!(effect, Effect::Bare) {
                continue;
            }
            if let Effect::Turns(turn) = effect {
                turn(&mut self.question);
                continue;
            }
            if let Effect::Switches(set) = effect {
                let value = words.next_if(|word| is_switch(word));
                let _ = set(&mut self.question, given.or(value).unwrap_or("on"));
                continue;
            }
            let Some(value) = given.or_else(|| words.next_if(|word| !is_flag(word))) else {
                continue;
            };
            match effect {
                Effect::Model => self.question.model = Some(value.to_owned()),
                Effect::Sets(set) => {
                    if name == "--mem-fraction-static" {
                        self.static_share = Some(value.to_owned());
                    }
                    // What cannot be read is left, as a flag that is not known is.
                    drop(set(&mut self.question, value));
                }
                Effect::Value | Effect::Bare | Effect::Turns(_) | Effect::Switches(_) => {}
            }
        }
    }
}

/// Whether a word is a flag, and no negative number.
fn is_flag(word: &str) -> bool {
    word.starts_with('-') && word.parse::<f64>().is_err()
}

/// vLLM's, by `engine/arg_utils.py`.
const VLLM_MORE: &[Flag] = &[
    ("--kv-cache-dtype", Effect::Sets(cache_dtype)),
    ("--quantization", Effect::Sets(quantization)),
    ("-q", Effect::Sets(quantization)),
    ("--limit-mm-per-prompt", Effect::Value),
    ("--dtype", Effect::Value),
];

/// `SGLang`'s, by `srt/server_args.py`.
pub(super) const SGLANG: &[Flag] = &[
    ("--model-path", Effect::Model),
    ("--model", Effect::Model),
    ("--tp", Effect::Sets(ranks)),
    ("--tp-size", Effect::Sets(ranks)),
    ("--tensor-parallel-size", Effect::Sets(ranks)),
    ("--context-length", Effect::Sets(longest)),
    ("--kv-cache-dtype", Effect::Sets(cache_dtype)),
    ("--mem-fraction-static", Effect::Sets(static_share)),
    ("--max-running-requests", Effect::Sets(sequences)),
    ("--chunked-prefill-size", Effect::Sets(chunk)),
    ("--disable-cuda-graph", Effect::Turns(|question| question.enforce_eager = true)),
    ("--port", Effect::Value),
    ("--host", Effect::Value),
];

/// The longest of a request, for which nothing is held before it comes.
fn longest(question: &mut Question, text: &str) -> Result<(), String> {
    question.max_model_len = Some(number(text)?);
    Ok(())
}

fn static_share(question: &mut Question, text: &str) -> Result<(), String> {
    question.mem_fraction_static = Some(parsed(text)?);
    Ok(())
}

/// `--kv-cache-dtype` of vLLM and `SGLang`: `auto` is the model's own.
pub(super) fn cache_dtype(question: &mut Question, text: &str) -> Result<(), String> {
    question.kv = match text {
        "auto" => None,
        eight if eight.starts_with("fp8") => Some(parsed("fp8")?),
        "bfloat16" | "bf16" => Some(parsed("bf16")?),
        "float16" | "fp16" | "half" => Some(parsed("f16")?),
        "nvfp4" | "fp4_e2m1" => Some(parsed("nvfp4")?),
        other => Some(parsed(other)?),
    };
    Ok(())
}

/// A method that quantizes at load; that of a checkpoint is told by its own files.
fn quantization(question: &mut Question, text: &str) -> Result<(), String> {
    if text == "bitsandbytes" {
        question.weights = Some(parsed::<WeightFormat>("nf4")?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Count;

    #[test]
    fn known_flags_are_taken_and_others_left() {
        let line = "$ ./build/bin/llama-server.exe -m /m/Qwen3-30B-A3B-Q4_K_M.gguf -c 32768 -ngl 99 --n-cpu-moe 20 -fa \
                    --unheard-of 3 -ctk q8_0 -ctv q8_0 -np 4 --mmproj mm.gguf --no-mmap";
        let found = seen(line).unwrap();
        let question = found.question;
        assert_eq!(found.program, "llama-server");
        assert_eq!(question.model.as_deref(), Some("/m/Qwen3-30B-A3B-Q4_K_M.gguf"));
        assert_eq!((question.cache_tokens, question.parallel), (Some(32768), Some(4)));
        assert_eq!((question.ngl, question.n_cpu_moe), (Some(Count::All), Some(Count::Some(20))));
        assert_eq!(question.kv.map(|kv| kv.to_string()).as_deref(), Some("q8_0"));
        assert_eq!(question.mmproj.as_deref(), Some("mm.gguf"));
    }

    #[test]
    fn serving_engines_are_told_apart() {
        let line = "python -m vllm.entrypoints.openai.api_server --model Qwen/Qwen2.5-7B --tensor-parallel-size 2 \
                    --kv-cache-dtype fp8_e5m2 --enforce-eager --gpu-memory-utilization=0.95";
        let found = seen(line).unwrap();
        assert_eq!((found.program, found.question.gpus), ("vllm", Some(2)));
        assert!(found.question.enforce_eager);
        assert_eq!(found.question.kv.map(|kv| kv.to_string()).as_deref(), Some("fp8"));
        let line =
            "python3 -m sglang.launch_server --model-path a/b --tp 2 --mem-fraction-static 0.84";
        let found = seen(line).unwrap();
        assert_eq!((found.program, found.static_share.as_deref()), ("sglang", Some("0.84")));
        let share = found.question.mem_fraction_static.map(|share| share.to_string());
        assert_eq!(share.as_deref(), Some("0.84"));
        for line in [
            "",
            "llama-server",
            "I run llama-server on a card",
            "vllm serves - well",
            "'llama-server -m",
        ] {
            let found = seen(line);
            assert!(found.is_none_or(|seen| seen.question.model.is_none()), "{line}");
        }
    }
}
