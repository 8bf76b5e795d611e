//! Several GPUs: which layers each gets, and its three buffers.

use vramplan_planner::dtype::KvFormat;
use vramplan_planner::estimate::llama_cpp::graph::{
    Context, ContextParams, LlamaCppGeneration, Outputs, Stage, cache_sizes, is_certain,
    stage_buffer,
};
use vramplan_planner::estimate::llama_cpp::placement::layers_by_memory;
use vramplan_planner::estimate::weights::file_layers;
use vramplan_planner::estimate::weights_of_part;
use vramplan_planner::read::Catalog;
use vramplan_planner::spec::{LlamaCppVersion, ModelSpec, Part, Runtime, Split};
use vramplan_planner::units::Bytes;

use super::csv::Row;
use super::{context, csv, shapes, weights as rows};

const DEVICES: &str = include_str!("../../../../../evidence/llama_cpp/llama_cpp_devices.csv");

/// The parts of a row, by the free memory that the GPUs claimed to have.
fn parts(row: &Row, model: &ModelSpec) -> Vec<Part> {
    let free: Vec<Bytes> =
        list(row, "free_mib").into_iter().map(|mib| Bytes::new(mib << 20)).collect();
    let (of, n_layers) = (free.len() as u64, model.shape.n_layers);
    let count = file_layers(model) + 1;
    let part = |(index, run): (u64, std::ops::Range<u64>)| {
        let has_head = run.contains(&(count - 1));
        let layers = run.start.min(n_layers)..run.end.min(n_layers);
        let (has_embedding, has_norm) = (index == 0, has_head);
        let split = Split::Layer;
        let has_vision = false;
        Part {
            split,
            index,
            of,
            layers,
            has_embedding,
            has_norm,
            has_head,
            has_vision,
            share: None,
            grid: None,
            placed: None,
            is_host: false,
        }
    };
    (0..).zip(layers_by_memory(&free, count)).map(part).collect()
}

fn list(row: &Row, column: &str) -> Vec<u64> {
    row.text(column).split(';').map(|n| n.parse().unwrap()).collect()
}

#[test]
fn every_device_has_what_the_library_gives_it() {
    let models = shapes::models();
    let runtime = Catalog::built_in().runtime(Runtime::LlamaCpp).unwrap();
    let (mut compared, mut off) = (0, Vec::new());
    for row in csv::rows(DEVICES) {
        let model = &models[row.text("model")];
        let shape = &model.shape;
        let layers = &model.gguf_layers;
        let context = context(&row, model);
        let mut predicted = [Vec::new(), Vec::new(), Vec::new()];
        for part in parts(&row, model) {
            let format = rows::format(row.text("file_type"));
            let weights = weights_of_part(model, format, &runtime, &part).unwrap();
            let caches = cache_sizes(shape, layers, &part.layers, &context).unwrap();
            let caches = Bytes::sum([caches.full, caches.window, caches.recurrent]).unwrap();
            let stage = match row.text("split") {
                "row" => Stage { layers: part.layers.clone(), has_head: part.has_head, copies: 1 },
                _ => Stage::of_pipeline(part.layers.clone(), part.has_head),
            };
            let compute = stage_buffer(shape, layers, &context.graph, &stage).unwrap();
            predicted[0].push(weights.device.get());
            predicted[1].push(caches.get());
            predicted[2].push(compute.device.get());
        }
        let mut measured = ["weights_bytes", "kv_bytes", "compute_bytes"].map(|c| list(&row, c));
        if shape.ssm.is_some() {
            hybrid(&row, &mut predicted, &mut measured);
        }
        if predicted != measured {
            off.push(format!(
                "{}\n  predicted {predicted:?}\n  measured  {measured:?}",
                row.line()
            ));
        }
        compared += 1;
    }
    println!("{compared} rows of several devices, {} off", off.len());
    assert!(off.is_empty(), "{} of {compared} rows are off:\n{}", off.len(), off.join("\n"));
    assert!(compared > 450);
}

/// Compute buffers of state-space hybrids: a stage is no run of layers (`placement.rs` compares them); under `row` they are
/// within 4%.
fn hybrid(row: &Row, predicted: &mut [Vec<u64>; 3], measured: &mut [Vec<u64>; 3]) {
    assert!(!is_certain(&shapes::models()[row.text("model")], LlamaCppGeneration::HalfMask));
    if row.text("split") == "row" {
        for (size, logged) in predicted[2].iter().zip(&measured[2]) {
            assert!(size.abs_diff(*logged) * 100 <= logged * 4, "{size}: {}", row.line());
        }
    }
    predicted[2].clear();
    measured[2].clear();
}

const LOGS: &str = include_str!("../../../../../evidence/llama_cpp/logs_devices.csv");

/// Public logs of two GPUs print hundredths of a MiB.
#[test]
fn devices_match_public_logs() {
    let models = shapes::models();
    let runtime = Catalog::built_in().runtime(Runtime::LlamaCpp).unwrap();
    let printed = |sizes: Vec<Bytes>| -> String {
        let printed = sizes.iter().map(|size| format!("{:.2}", size.as_mib()));
        printed.collect::<Vec<_>>().join(";")
    };
    for row in csv::rows(LOGS) {
        let model = &models[row.text("model")];
        let layers = &model.gguf_layers;
        let context = logged_context(&row, model);
        let (mut weights, mut caches, mut compute) = (Vec::new(), Vec::new(), Vec::new());
        for part in parts(&row, model) {
            let format = rows::format(row.text("file_type"));
            weights.push(weights_of_part(model, format, &runtime, &part).unwrap().device);
            let sizes = cache_sizes(&model.shape, layers, &part.layers, &context).unwrap();
            caches.push(Bytes::sum([sizes.full, sizes.window]).unwrap());
            let stage = Stage::of_pipeline(part.layers.clone(), part.has_head);
            let buffer = stage_buffer(&model.shape, layers, &context.graph, &stage).unwrap();
            compute.push(buffer.device);
        }
        println!(
            "{} {} {}",
            printed(weights.clone()),
            printed(caches.clone()),
            printed(compute.clone())
        );
        assert_eq!(printed(caches), row.text("kv_mib"), "{}", row.line());
        assert_eq!(printed(compute), row.text("compute_mib"), "{}", row.line());
        // The files of these logs are not llama.cpp's own mixtures to the byte.
        for (predicted, logged) in weights.iter().zip(row.text("weights_mib").split(';')) {
            let error = predicted.as_mib() / logged.parse::<f64>().unwrap() - 1.0;
            assert!(error.abs() < 0.02, "{error:+.4} of {}", row.line());
        }
    }
}

fn logged_context(row: &Row, model: &ModelSpec) -> Context {
    let params = ContextParams {
        n_ctx: row.number("n_ctx"),
        n_batch: row.number("n_batch"),
        n_ubatch: row.number("n_ubatch"),
        n_seq: row.number("n_seq_max"),
        unified: row.flag("kv_unified"),
        swa_full: false,
        outputs: Outputs::All,
        flash: row.flag("flash_attn"),
        ada: true,
        metal: false,
        type_k: KvFormat::F16,
        type_v: KvFormat::F16,
        version: row.get::<LlamaCppVersion>("version").unwrap().generation(),
    };
    params.resolve(&model.shape).unwrap()
}
