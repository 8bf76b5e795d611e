//! llama.cpp's own buffer sizes and file types, row by row: nothing may be a byte off.
//!
//! `evidence/llama_cpp/README.md` says where the rows come from.

mod archs;
mod devices;
mod fit;
mod logs;
mod newest;
mod placement;
mod plan;
mod rehearsed;
mod weights;

use std::collections::HashMap;

use vramplan_planner::estimate::llama_cpp::graph::compute_buffer;
use vramplan_planner::estimate::llama_cpp::graph::{Context, cache_sizes};
use vramplan_planner::spec::ModelSpec;

use vramplan_scoreboard::csv::{self, Row};
use vramplan_scoreboard::llama_cpp::{FAMILIES, HOLDOUT, MATRIX};
use vramplan_scoreboard::shapes;

fn context(row: &Row, model: &ModelSpec) -> Context {
    vramplan_scoreboard::llama_cpp::context(row).unwrap().resolve(&model.shape).unwrap()
}

/// Compares a prediction with a column of every row; returns how many rows there were.
fn compare(
    models: &HashMap<String, ModelSpec>,
    predict: impl Fn(&Row, &ModelSpec) -> Vec<(&'static str, u64)>,
) -> usize {
    let mut compared = 0;
    let mut misses = Vec::new();
    for row in [MATRIX, HOLDOUT, FAMILIES].into_iter().flat_map(csv::rows) {
        let predictions = predict(&row, &models[row.text("model")]);
        compared += usize::from(!predictions.is_empty());
        for (column, predicted) in predictions {
            let measured = row.number(column);
            if predicted != measured {
                misses.push(format!("{column}: {predicted} for {measured}: {}", row.line()));
            }
        }
    }
    assert!(misses.is_empty(), "{} of {compared}:\n{}", misses.len(), misses.join("\n"));
    compared
}

#[test]
fn compute_buffers_match_the_library_to_the_byte() {
    let models = shapes::models();
    let predict = |row: &Row, model: &ModelSpec| {
        let layers = &model.gguf_layers;
        let graph = context(row, model).graph;
        let compute = compute_buffer(&model.shape, layers, &graph).unwrap();
        let parts = [
            compute.attention_transients,
            compute.activations,
            compute.logits,
            compute.small_buffers,
        ];
        assert_eq!(parts.iter().map(|part| part.get()).sum::<u64>(), compute.device.get());
        vec![
            ("compute_gpu_bytes", compute.device.get()),
            ("compute_host_bytes", compute.host.get()),
        ]
    };
    let compared = compare(&models, predict);
    println!("{compared} compute buffers match");
    assert!(compared > 1490);
}

#[test]
fn caches_match_the_library_to_the_byte() {
    let models = shapes::models();
    let predict = |row: &Row, model: &ModelSpec| {
        let layers = &model.gguf_layers;
        let context = context(row, model);
        let sizes =
            cache_sizes(&model.shape, layers, &(0..model.shape.n_layers), &context).unwrap();
        vec![
            ("n_ctx", context.n_ctx),
            ("kv_full_cells", if sizes.full.is_zero() { 0 } else { context.graph.cells }),
            ("kv_swa_cells", context.graph.window_cells.unwrap_or(0)),
            ("kv_full_bytes", sizes.full.get()),
            ("kv_swa_bytes", sizes.window.get()),
            ("recurrent_bytes", sizes.recurrent.get()),
        ]
    };
    let compared = compare(&models, predict);
    println!("{compared} caches match");
    assert!(compared > 1490);
}
