//! What vLLM's encoders of images hold while they encode, against its own towers (`evidence/vllm/encoder.py`), row by row.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "test code")]

use std::num::NonZeroU32;

use vramplan_planner::estimate::vllm::encoder::{budget, peak};
use vramplan_planner::read::Catalog;
use vramplan_planner::spec::{MediaLimits, Serving, Vision, VllmVersion};
use vramplan_scoreboard::csv::{Row, rows};

const ASKED: &str = include_str!("../../../../evidence/vllm/encoder-0.33.0.csv");
const DRAWN: &str = include_str!("../../../../evidence/vllm/holdout-encoder-0.33.0.csv");

/// How far off our peak is, in percent.
fn off(row: &Row) -> f64 {
    let catalog = Catalog::built_in();
    let model = catalog.model(row.text("model")).unwrap();
    let tower = model.shape.vision.unwrap();
    let version: VllmVersion = row.get("vllm").unwrap();
    let gpu = catalog.gpu("H100").unwrap();
    let serving = Serving { ranks: row.number("ranks"), ..Serving::on(&gpu, version) };
    let patches = row.number("patches");
    let embeddings = patches / tower.patches_per_token();
    let hidden = model.shape.hidden_size;
    let ours = peak(&tower, serving, (patches, embeddings, hidden)).unwrap();
    let pixels = patches * tower.patch_values() * 2;
    assert_eq!(pixels, row.number("pixels"), "{}", row.line());
    100.0 * (ours.get() as f64 / row.number("peak") as f64 - 1.0)
}

fn compare(file: &'static str, least: usize) {
    let all: Vec<(f64, String)> = rows(file).map(|row| (off(&row), row.line())).collect();
    assert!(all.len() >= least, "{}", all.len());
    let missed: Vec<String> = all
        .iter()
        .filter(|(off, _)| off.abs() > 3.0)
        .map(|(off, line)| format!("{off:+.2}%: {line}"))
        .collect();
    assert!(missed.is_empty(), "{} of {}\n{}", missed.len(), all.len(), missed.join("\n"));
}

#[test]
fn encoders_hold_what_vllm_holds() {
    compare(ASKED, 50);
}

#[test]
fn encoders_drawn_by_a_seed_hold_what_vllm_holds() {
    compare(DRAWN, 20);
}

fn tower(model: &str) -> Vision {
    Catalog::built_in().model(model).unwrap().shape.vision.unwrap()
}

fn serving(version: &str, max_seqs: u64) -> Serving {
    let gpu = Catalog::built_in().gpu("A100-80GB").unwrap();
    Serving { max_seqs, ..Serving::on(&gpu, version.parse().unwrap()) }
}

#[test]
fn budgets_and_items_are_those_that_logs_print() {
    for (model, version, told, limits, expected) in [
        // A log of 0.8.1, of a context of 128,000 tokens: less an image that is six pairs of frames.
        ("qwen2.5-vl-7b", "0.8.1", [128_000, 2048, 256], "", (98_304, 1)),
        ("qwen2.5-vl-7b", "0.23.0", [128_000, 2048, 256], "", (114_688, 1)),
        ("qwen2.5-vl-3b", "0.9.2", [16_384, 16_384, 1], "", (16_384, 1)),
        ("qwen3-vl-30b-a3b", "0.11.0", [65_536, 2048, 256], "", (153_600, 1)),
        ("qwen3.5-9b", "0.19.0", [262_144, 8192, 256], "", (16_384, 1)),
        ("qwen3.6-35b-a3b", "0.19.2", [65_536, 32_768, 4], "", (32_768, 2)),
        ("qwen3-vl-8b", "0.16.0", [32_768, 2048, 256], "image=0", (12_288, 1)),
        ("gemma-3-27b", "0.11.0", [4096, 8192, 1024], "image=2", (8192, 31)),
        ("gemma-3-4b", "0.11.0", [8192, 2048, 256], "", (2048, 7)),
        ("gemma-3-27b", "0.19.0", [8192, 8192, 256], "", (8192, 32)),
    ] {
        let [context, chunk, max_seqs] = told;
        let mut serving = serving(version, max_seqs);
        serving.media.limits = limits.parse().unwrap();
        let printed = budget(&tower(model), (context, chunk), serving);
        assert_eq!(printed, Some(expected), "{model} {version}");
    }
}

#[test]
fn fewer_pixels_are_fewer_tokens() {
    let mut serving = serving("0.19.1", 16);
    serving.media.max_pixels = NonZeroU32::new(1_003_520);
    serving.media.limits.images = Some(1);
    // Of 980 tokens each, as many as a step of 8,192 has room for; with five sequences a log has five.
    assert_eq!(budget(&tower("qwen3-vl-8b"), (4096, 8192), serving), Some((8192, 8)));
    serving.max_seqs = 5;
    assert_eq!(budget(&tower("qwen3-vl-8b"), (4096, 8192), serving), Some((8192, 5)));
    serving.media.limits = MediaLimits::NONE;
    assert_eq!(budget(&tower("qwen3-vl-8b"), (4096, 8192), serving), None);
}
