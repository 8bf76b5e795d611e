//! The command that the page shows asks what the page asked.

use clap::{Args as _, Command, FromArgMatches as _};
use serde_json::json;
use vramplan_planner::deployment::Question;
use vramplan_web::{change_of, command, parse, question};

/// The question that the command's own parser reads out of a line.
fn read(line: &str) -> Question {
    let words = shlex::split(line).unwrap();
    let matches = Question::augment_args(Command::new("budget"))
        .try_get_matches_from(words.into_iter().skip(1))
        .unwrap();
    Question::from_arg_matches(&matches).unwrap()
}

#[test]
fn the_command_asks_what_the_page_asks() {
    let questions = [
        json!({"gpu": "2xL4,T4", "model": "qwen2.5-14b", "split": "tensor"}),
        json!({"gpu": "24GiB", "model": "it's a file; rm -rf.gguf", "kv": "q8_0/q4_0", "runtime": "llama.cpp"}),
        json!({"gpu": "3090", "model": "m", "context": "32k", "cache_tokens": "8_192", "recent_window": "512"}),
        json!({"gpu": "L4", "model": "m", "ngl": "20", "n_cpu_moe": "auto", "ram": "64GiB", "no_kv_offload": "true"}),
        json!({"gpu": "L4", "model": "m", "override_tensor": ["exps=CPU", "blk.0=CUDA0"], "lora": ["a b.gguf"]}),
        json!({"gpu": "L4", "model": "m", "gpu_memory_utilization": "0.85", "min_decode_speed": "12.5", "headroom": "5%"}),
        json!({"gpu": "L4", "model": "m", "capture_layers": "all", "capture_tokens": "100", "capture_keep": true}),
        json!({"gpu": "L4", "model": "-m"}),
    ];
    for given in questions {
        let asked = question(given.as_object().unwrap()).unwrap();
        let line = command(given.as_object().unwrap()).unwrap().unwrap();
        assert_eq!(read(&line), asked, "{line}");
        let pasted = parse(&line).unwrap();
        assert_eq!(question(&pasted).unwrap(), asked, "{line}");
    }
}

#[test]
fn wrong_values_are_told_with_what_was_expected() {
    for (given, expected) in [
        (
            json!({"context": "many"}),
            "`--context many`: expected a whole number, such as `8192` or `8k`",
        ),
        (json!({"context": "99999999999999999999"}), "expected a whole number"),
        (json!({"batch": 1e300}), "`--batch 1e+300`: expected a whole number"),
        (json!({"batch": "-1"}), "expected a whole number"),
        (json!({"weights": "q9"}), "`q9` is not a weight format"),
        (json!({"ngl": "half"}), "`--ngl half`"),
        (json!({"gpu-s": "1"}), "`--gpu-s` is not a flag of a plan"),
        (json!({"no\u{1b}such": "1"}), "is not a flag of a plan"),
        (json!({"lora": [1]}), "`--lora [1]`"),
    ] {
        let problem = question(given.as_object().unwrap()).unwrap_err();
        assert!(problem.message.contains(expected), "{given}: {}", problem.message);
        assert!(!problem.message.contains('\u{1b}'), "{given}");
    }
    for (line, expected) in [
        ("--gpu 'L4", "a quote is left open"),
        ("vramplan budget --gpu RTX 4090", "`4090` stands behind no flag"),
    ] {
        assert!(parse(line).unwrap_err().message.contains(expected), "{line}");
    }
}

#[test]
fn advice_says_what_it_would_change() {
    for (text, expected) in [
        ("`--kv q8_0` frees 1.2 GiB", Some(json!({"kv": "q8_0"}))),
        ("`-ngl 20 --n-cpu-moe 5` holds 8192 tokens", Some(json!({"ngl": "20", "n_cpu_moe": "5"}))),
        ("`--batch 8` (8 conversations at once) takes", Some(json!({"batch": "8"}))),
        (
            "`PYTORCH_CUDA_ALLOC_CONF=x` (`--expandable-segments`) frees",
            Some(json!({"expandable_segments": true})),
        ),
        ("it starts with `--max-model-len 100`, or less", Some(json!({"max_model_len": "100"}))),
        ("one L4 alone holds 100 cached tokens", None),
        ("`--model` of a stranger's `--gpu", None),
    ] {
        let change = change_of(text).map(serde_json::Value::Object);
        assert_eq!(change, expected, "{text}");
    }
}
