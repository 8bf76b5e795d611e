//! Several GPUs: which layers each gets, and its three buffers.

use vramplan::estimate::llama_graph::{Stage, cache_sizes, cached_layers, stage_buffer};
use vramplan::estimate::placement::layers_by_memory;
use vramplan::estimate::weights::{file_layers, weights_of_part};
use vramplan::source::Catalog;
use vramplan::spec::{ModelSpec, Part, Runtime, Split};
use vramplan::units::Bytes;

use super::csv::Row;
use super::{context, csv, shapes, weights as rows};

const DEVICES: &str = include_str!("../engines/llama_cpp/llama_cpp_devices.csv");

/// The parts of a row, by the free memory that the GPUs claimed to have.
fn parts(row: &Row<'_>, model: &ModelSpec) -> Vec<Part> {
    let free: Vec<Bytes> =
        list(row, "free_mib").into_iter().map(|mib| Bytes::new(mib << 20)).collect();
    let (of, n_layers) = (free.len() as u64, model.shape.n_layers);
    let count = file_layers(model) + 1;
    let part = |(index, run): (u64, std::ops::Range<u64>)| {
        let has_head = run.contains(&(count - 1));
        let layers = run.start.min(n_layers)..run.end.min(n_layers);
        let (has_embedding, has_norm) = (index == 0, has_head);
        let split = Split::Layer;
        Part { split, index, of, layers, has_embedding, has_norm, has_head, share: None }
    };
    (0..).zip(layers_by_memory(&free, count)).map(part).collect()
}

fn list(row: &Row<'_>, column: &str) -> Vec<u64> {
    row.text(column).split(';').map(|n| n.parse().unwrap()).collect()
}

#[test]
fn every_device_has_what_the_library_gives_it() {
    let models = shapes::models();
    let runtime = Catalog::without_configuration(&[]).runtime(Runtime::LlamaCpp).unwrap();
    let (mut compared, mut off) = (0, Vec::new());
    for row in csv::rows(DEVICES) {
        let model = &models[row.text("model")];
        let shape = &model.shape;
        let layers = cached_layers(shape, &model.layers);
        let context = context(&row, model);
        let mut predicted = [Vec::new(), Vec::new(), Vec::new()];
        for part in parts(&row, model) {
            let format = rows::format(row.text("file_type"));
            let weights = weights_of_part(model, format, &runtime, &part).unwrap();
            let caches = cache_sizes(shape, part.layers_of(&layers), &context).unwrap();
            let caches = Bytes::sum([caches.full, caches.window, caches.recurrent]).unwrap();
            let stage = match row.text("split") {
                "row" => Stage { layers: part.layers.clone(), has_head: part.has_head, copies: 1 },
                _ => Stage::of_pipeline(part.layers.clone(), part.has_head),
            };
            let compute = stage_buffer(shape, &layers, &context.graph, &stage).unwrap();
            predicted[0].push(weights.device.get());
            predicted[1].push(caches.get());
            predicted[2].push(compute.device.get());
        }
        let measured = ["weights_bytes", "kv_bytes", "compute_bytes"].map(|c| list(&row, c));
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
    assert!(compared > 380);
}
