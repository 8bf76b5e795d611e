//! What vLLM's encoders of images hold while they encode, against its own towers (`evidence/vllm/encoder.py`), row by row.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "test code")]

use vramplan_planner::estimate::vllm::encoder::peak;
use vramplan_planner::read::Catalog;
use vramplan_planner::spec::{Serving, VllmVersion};
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
    assert_eq!(pixels, row.number::<u64>("pixels"), "{}", row.line());
    100.0 * (ours.get() as f64 / row.number::<u64>("peak") as f64 - 1.0)
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
