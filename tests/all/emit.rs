//! What `--emit` writes, read by those that it is for.

use std::io::Write as _;
use std::process::{Command, Stdio};

use vramplan_planner::read::Catalog;
use vramplan_planner::render::{Document, Target, emit, from_json};

use crate::skip::skipped;
use vramplan_planner::spec::Runtime;

fn printed(flags: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vramplan"));
    command.args(["budget", "--gpu", "L4", "--model", "qwen2.5-14b"]).args(flags);
    let output = command.env("XDG_CONFIG_HOME", "/nonexistent").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn document() -> Document {
    from_json(&printed(&["--format", "json"])).unwrap()
}

#[test]
fn flags_of_vllm() {
    let text =
        printed(&["--runtime", "vllm", "--weights", "awq-int4", "--kv", "fp8", "--emit", "vllm"]);
    assert_eq!(
        text,
        "--max-model-len 32768 --max-num-seqs 256 --max-num-batched-tokens 2048 \
         --kv-cache-dtype fp8 --gpu-memory-utilization 0.92\n"
    );
}

#[test]
fn vllm_is_told_where_it_would_halve_a_model() {
    let mut document = document();
    document.deployment.resolved.runtime = Some(Runtime::Vllm);
    document.deployment.resolved.weights = "f32".parse().ok();
    let gpu = Catalog::built_in().gpu("L4").unwrap();
    let flags = emit(&document, Target::Vllm, None, gpu.compute_capability).unwrap();
    assert!(flags.contains(" --dtype float32 --kv-cache-dtype auto "), "{flags}");
}

#[test]
fn files_are_named_and_quoted() {
    let mut document = document();
    document.deployment.resolved.runtime = Some(Runtime::LlamaCpp);
    let gpu = Catalog::built_in().gpu("L4").unwrap();
    let of = |target, file| emit(&document, target, Some(file), gpu.compute_capability).unwrap();
    let command = of(Target::LlamaCpp, "my model.gguf");
    assert!(command.starts_with("llama-server -m 'my model.gguf' -c 32768 "), "{command}");
    document.deployment.resolved.kv = "q8_0".parse().ok();
    let modelfile = emit(&document, Target::Ollama, Some("a.gguf"), gpu.compute_capability);
    assert!(modelfile.unwrap().starts_with("FROM a.gguf\n"));
}

#[test]
fn python_takes_the_dictionary() {
    let formats = ["--weights", "nf4", "--kv", "hqq8", "--system-tokens", "6000"];
    let flags = ["--runtime", "transformers", "--emit", "transformers"];
    let text = printed(&[flags.as_slice(), formats.as_slice()].concat());
    let script = format!(
        "{text}\nassert plan['quantization_config']['bnb_4bit_quant_type'] == 'nf4'\n\
         assert plan['generate']['cache_config']['nbits'] == 8\n\
         assert plan['max_cache_tokens'] == 26768\n"
    );
    let Ok(mut python) = Command::new("python3").arg("-").stdin(Stdio::piped()).spawn() else {
        skipped("no python3");
        return;
    };
    python.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(python.wait().unwrap().success(), "{script}");
}
