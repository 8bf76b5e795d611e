//! Public reports of llama.cpp, Ollama and LM Studio, each as one question: what it names is right within 1% (weights and
//! caches) or 5% (the rest), or a doubt about the report is written beside it.

use vramplan_planner::deployment::{Question, resolve};
use vramplan_planner::estimate::{Buffer, BufferId, Component};
use vramplan_planner::read::{Catalog, MemoryFiles};
use vramplan_planner::recommend::{Answer, answer};
use vramplan_planner::spec::Runtime;

const REPORTS: &str = include_str!("../../../../tests/corpus/llama_cpp_reports.csv");
const MIB: f64 = 1_048_576.0;

/// Of models that have no profile.
const QWEN1_5_7B: &str = r#"{"model_type": "qwen2", "hidden_size": 4096, "intermediate_size": 11008,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 151936,
    "max_position_embeddings": 32768, "tie_word_embeddings": false}"#;
const TRILM_3_9B: &str = r#"{"model_type": "llama", "hidden_size": 3072, "intermediate_size": 9216,
    "num_hidden_layers": 30, "num_attention_heads": 24, "num_key_value_heads": 24, "vocab_size": 50688,
    "max_position_embeddings": 2048, "tie_word_embeddings": false}"#;

/// A figure of a report.
struct Row<'a> {
    line: &'a str,
    question: &'a str,
    part: &'a str,
    gpu: usize,
    measured: f64,
    doubt: &'a str,
}

fn rows() -> impl Iterator<Item = Row<'static>> {
    REPORTS.lines().skip(1).map(|line| {
        let cells: Vec<_> = line.split(',').collect();
        let [_, _, question, part, gpu, measured, doubt] = cells[..] else { panic!("{line}") };
        let (gpu, measured) = (gpu.parse().unwrap(), measured.parse().unwrap());
        Row { line, question, part, gpu, measured, doubt }
    })
}

fn planned(row: &Row<'_>) -> Answer {
    // Keys are parted by semicolons, items of a list by bars: commas part the columns.
    let question = row.question.replace("; ", "\n").replace('|', ",");
    let question: Question = toml::from_str(&question).unwrap();
    let question = Question { runtime: Some(Runtime::LlamaCpp), ..question };
    let files = MemoryFiles::from([
        ("qwen1.5-7b/config.json".into(), QWEN1_5_7B.into()),
        ("trilm-3.9b/config.json".into(), TRILM_3_9B.into()),
    ]);
    let found = resolve(&question, &Catalog::built_in(), &files, None);
    answer(&found.unwrap_or_else(|error| panic!("{}: {error}", row.line))).unwrap()
}

/// What we say of it, in MiB.
fn ours(row: &Row<'_>, answer: &Answer) -> f64 {
    let device = answer.devices.get(row.gpu);
    let plan = device.map_or(&answer.plan, |device| &device.plan);
    let sum = |is_part: &dyn Fn(&Buffer) -> bool| -> f64 {
        let buffers = plan.buffers.iter().filter(|buffer| is_part(buffer));
        buffers.map(|buffer| buffer.size.expected.as_f64()).sum()
    };
    let of = |ids: &[BufferId]| sum(&|buffer| ids.contains(&buffer.id));
    let bytes = match row.part {
        "weights" => of(&[BufferId::Weights, BufferId::MappedEmbeddings]),
        "weights with predicting layer" => of(&[BufferId::Weights, BufferId::PredictingLayer]),
        "states" => of(&[BufferId::RecurrentStates]),
        "predicting cache" => of(&[BufferId::PredictingCache]),
        "encoder" => of(&[BufferId::Encoder, BufferId::EncoderResults]),
        "caches" => {
            of(&[BufferId::KeysAndValues, BufferId::WindowKeysAndValues, BufferId::RecurrentStates])
        }
        "compute" => sum(&|buffer| {
            matches!(
                buffer.component,
                Component::AttentionTransients
                    | Component::Activations
                    | Component::Logits
                    | Component::SmallBuffers
            )
        }),
        "peak" => plan.peak.expected.as_f64(),
        part => panic!("{part}"),
    };
    bytes / MIB
}

#[test]
fn reports_are_met_or_doubted() {
    let mut missed = Vec::new();
    for row in rows() {
        let ours = ours(&row, &planned(&row));
        let off = 100.0 * (ours / row.measured - 1.0);
        let exact = ["weights", "caches", "states", "predicting cache"].contains(&row.part);
        let most = if exact { 1.0 } else { 5.0 };
        println!("{off:+7.2}% {ours:9.2} {}", row.line);
        if off.abs() > most && row.doubt.is_empty() {
            missed.push(format!("{off:+.2}%: {}", row.line));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

/// L22, 5p00kyy/club-5060ti#2: keys in `q5_0` and values in `q4_1`, without a figure. Blocks of 32 elements have 22 and 20
/// bytes; every fourth of 64 layers keeps keys and values, each of four heads of 256.
#[test]
fn keys_and_values_have_formats_of_their_own() {
    let row = Row {
        line: "L22",
        question: "gpu = 'RTX 5060 Ti 16GB'; gpus = 2; model = 'qwen3.6-27b'; runtime_version = '0.5.0'; \
                   weights = 'q4_k_m'; kv = 'q5_0/q4_1'; cache_tokens = 32768",
        part: "caches",
        gpu: 0,
        measured: 0.0,
        doubt: "",
    };
    let answer = planned(&row);
    let kept = |buffer: &&Buffer| buffer.id == BufferId::KeysAndValues;
    let buffers = answer.devices.iter().flat_map(|device| &device.plan.buffers);
    let sum: u64 = buffers.filter(kept).map(|buffer| buffer.size.expected.get()).sum();
    assert_eq!(sum, 16 * 32_768 * (4 * 256 / 32) * (22 + 20));
}
