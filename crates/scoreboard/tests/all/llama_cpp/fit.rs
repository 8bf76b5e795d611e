//! Placements that llama.cpp's own `--fit` chose on stub cards, beside those solved here for the same cards.

use std::collections::HashMap;
use std::sync::Arc;

use vramplan_planner::deployment::{Card, Cards, Deployment, Question, resolve};
use vramplan_planner::estimate::llama_cpp::placement::{Placing, TensorTable, parts, weights_of};
use vramplan_planner::estimate::weights::file_layers;
use vramplan_planner::plan::Capacity;
use vramplan_planner::read::{Catalog, MemoryFiles};
use vramplan_planner::recommend::solve;
use vramplan_planner::spec::{
    Basis, Bounds, Count, Fact, Headroom, Launch, LlamaCppGeneration, ModelSpec, TensorOverride,
};
use vramplan_planner::units::Bytes;
use vramplan_scoreboard::csv::Row;
use vramplan_scoreboard::llama_cpp::format;
use vramplan_scoreboard::placement::tables;

use super::{csv, shapes};

const ROWS: &str = include_str!("../../../../../evidence/llama_cpp/fit.csv");

/// Cards that have so much free, of which nothing but weights, caches and compute buffers takes any: as the stub's.
fn cards(row: &Row, like: &Card) -> Cards {
    let margin = Headroom::Size(Bytes::mib(row.number("margin_mib")).unwrap());
    let card = |mib: &str| {
        let total = Bytes::mib(mib.parse().unwrap()).unwrap();
        let mut gpu = like.gpu.clone();
        let fact = |value| Fact::new(value, Basis::Exact, "a stub");
        gpu.total = fact(total);
        gpu.reserved = fact(Bytes::ZERO);
        gpu.context = Some(Fact::new(Bounds::ZERO, Basis::Exact, "a stub"));
        Card { gpu, capacity: Capacity::new(total, Bytes::ZERO, Bytes::ZERO, margin).unwrap() }
    };
    let mut all: Vec<Card> = row.text("free_mib").split(';').map(card).collect();
    let first = all.remove(0);
    Cards::new(first, all)
}

fn deployment(row: &Row, model: &ModelSpec) -> Deployment {
    let question = serde_json::json!({
        "gpu": "RTX 4090",
        "model": "llama-3.1-8b",
        "runtime": "llama.cpp",
        "ram": "4TiB",
        "runtime_version": row.text("llama_cpp_version").split(['-', ' ']).next().unwrap(),
        "kv": row.text("type_k"),
        "prefill_chunk": row.number("n_ubatch"),
        "cache_tokens": row.number("n_ctx"),
        "logits": "last",
    });
    let question: Question = serde_json::from_value(question).unwrap();
    let mut found =
        resolve(&question, &Catalog::built_in(), &MemoryFiles::default(), None).unwrap();
    found.cards = cards(row, found.cards.first());
    found.model = Arc::new(model.clone());
    found.weights = format(row.text("file_type")).unwrap();
    let runtime = Arc::make_mut(&mut found.runtime);
    let none = || Fact::new(Bounds::ZERO, Basis::Exact, "a stub");
    (runtime.libraries, runtime.blas_workspace) =
        (none(), Fact::new(Bytes::ZERO, Basis::Exact, "a stub"));
    found
}

/// What `--fit` told the loader.
fn chosen(row: &Row, model: &ModelSpec) -> Launch {
    // It counts layers that predict tokens ahead, which the model has none of here.
    let layer = |text: &str| text.split(r"\.").nth(1).and_then(|n| n.parse::<u64>().ok());
    let is_loaded = |text: &&str| layer(text).is_some_and(|layer| layer < model.shape.n_layers);
    let overrides = row.text("overrides").split(';').filter(is_loaded);
    let overrides: Vec<TensorOverride> = overrides.map(|text| text.parse().unwrap()).collect();
    let split = row.text("tensor_split").replace(';', ",");
    Launch {
        gpu_layers: Some(Count::Some(row.number("ngl"))),
        overrides,
        tensor_split: (!split.is_empty()).then(|| split.parse().unwrap()),
        ..Launch::default()
    }
}

/// Bytes of weights that a token reads from main memory.
fn read_off_cards(row: &Row, model: &ModelSpec, table: &TensorTable, launch: &Launch) -> u64 {
    let free: Vec<Bytes> = row
        .text("free_mib")
        .split(';')
        .map(|mib| Bytes::mib(mib.parse().unwrap()).unwrap())
        .collect();
    let placing = Placing {
        table,
        file_layers: file_layers(model),
        free: &free,
        launch,
        version: LlamaCppGeneration::NEWEST,
        output_first: true,
        by_rows: false,
        ada: true,
        turing: true,
    };
    let placed = Arc::new(placing.place(placing.counts().unwrap()).unwrap());
    let parts = parts(model, &placed);
    let host = parts.last().unwrap();
    let format = format(row.text("file_type")).unwrap();
    weights_of(table, model, format, (&placed, host)).unwrap().per_token.get()
}

#[test]
fn placements_load_where_those_of_fit_do() {
    let models: HashMap<String, ModelSpec> = shapes::models();
    let rows: Vec<Row> = csv::rows(ROWS).collect();
    let tables = tables(&rows, &models).unwrap();
    let (mut compared, mut more, mut unsolved, mut ratios) =
        (0, Vec::new(), Vec::new(), Vec::new());
    for row in &rows {
        let model = &models[row.text("model")];
        let table = &tables[row.text("model")];
        let is_moved = row.number("ngl") <= file_layers(model) || !row.text("overrides").is_empty();
        if row.text("status") != "0" || !is_moved {
            continue;
        }
        let deployment = deployment(row, model);
        let Some(ours) = solve(&deployment).unwrap() else { continue };
        compared += 1;
        if !ours.fits {
            unsolved.push(row.line());
            continue;
        }
        let theirs = read_off_cards(row, model, table, &chosen(row, model));
        let own = read_off_cards(row, model, table, &ours.launch);
        #[allow(clippy::cast_precision_loss, reason = "sizes below 2^53")]
        let ratio = own as f64 / theirs.max(1) as f64;
        ratios.push(ratio);
        if own > theirs {
            more.push(ratio);
        }
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "{compared} compared, {} not solved, {} read more off the cards; median ratio {:.3}",
        unsolved.len(),
        more.len(),
        ratios[ratios.len() / 2]
    );
    assert!(unsolved.is_empty(), "{}", unsolved.join("\n"));
    assert!(compared > 50, "{compared}");
    // `--fit` puts parts of a layer's experts on a card, where whole layers are solved for here.
    assert!(more.len() * 3 <= compared, "{} of {compared} read more off the cards", more.len());
}
