//! Every architecture of the library: random shapes and options, several versions.

use std::collections::{BTreeMap, HashMap};

use vramplan_planner::dtype::WeightFormat;
use vramplan_planner::estimate::llama_cpp::graph::{
    Gates, Stage, caches_of, graph_bounds, is_certain, model_buffer,
};
use vramplan_planner::estimate::weights_of;
use vramplan_planner::read::Catalog;
use vramplan_planner::spec::{ModelSpec, Runtime};
use vramplan_scoreboard::archs::File;
use vramplan_scoreboard::{csv, llama_cpp};

const SEEDS: [[&str; 2]; 2] = [
    [
        include_str!("../../../../../evidence/llama_cpp/archs-1.jsonl"),
        include_str!("../../../../../evidence/llama_cpp/archs-1.csv"),
    ],
    [
        include_str!("../../../../../evidence/llama_cpp/archs-2.jsonl"),
        include_str!("../../../../../evidence/llama_cpp/archs-2.csv"),
    ],
];

fn models(lines: &str) -> HashMap<String, ModelSpec> {
    let file = |line| {
        let file = File::parse(line);
        let model = file.model();
        (file.name, model.unwrap())
    };
    lines.lines().map(file).collect()
}

/// Whether caches are right: to the byte, where their rules are known.
fn keeps(model: &ModelSpec, planned: u64, measured: u64) -> bool {
    let known = model.file_caches.as_ref().is_none_or(|file| file.is_exact);
    if known { planned == measured } else { (planned / 20..=planned * 2).contains(&measured) }
}

/// Whether weights are right: to the byte, but for small vectors whose operation the library finds no kernel for in the
/// types of these files, and keeps in main memory.
fn holds(architecture: &str, planned: u64, measured: u64) -> bool {
    let apart = match architecture {
        // `ssm_a` of a scan that it takes for Mamba-1's, of six layers.
        "plamo2" => 6 * 128,
        // `indexer_compressor_ape` in q8_0, of four layers.
        "glm5-next" => 4 * 1024,
        _ => 0,
    };
    planned == measured + apart
}

#[test]
fn every_architecture_has_what_the_library_gives_it() {
    let runtime = Catalog::built_in().runtime(Runtime::LlamaCpp).unwrap();
    let mut misses = Vec::new();
    let mut counts: BTreeMap<String, [usize; 4]> = BTreeMap::new();
    let mut doubts: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for [lines, rows] in SEEDS {
        let models = models(lines);
        let weights: HashMap<_, _> = models
            .iter()
            .map(|(name, model)| {
                let weights = weights_of(model, WeightFormat::AsStored, &runtime).unwrap();
                (name.as_str(), weights.device.get())
            })
            .collect();
        for row in csv::rows(rows) {
            let model = &models[row.text("model")];
            let mut context = llama_cpp::context(&row).unwrap().resolve_for(model).unwrap();
            context.graph.gates = Gates::stored(model);
            let stage = Stage::all(&model.shape);
            let caches = caches_of(model, &stage.layers, &context).unwrap();
            let compute = model_buffer(model, &context.graph, &stage).unwrap();
            let bounds = graph_bounds(model, context.graph.version, compute.device).unwrap();
            let kept = caches.full.get() + caches.window.get() + caches.recurrent.get();
            let measured = row.number("compute_gpu_bytes");
            let is_exact = measured == compute.device.get();
            let is_within = (bounds.low.get()..=bounds.high.get()).contains(&measured);
            if !is_exact {
                let off =
                    compute.device.as_f64() / row.get::<f64>("compute_gpu_bytes").unwrap() - 1.0;
                doubts.entry(row.text("architecture").to_owned()).or_default().push(off * 100.0);
            }
            let count = counts.entry(row.text("llama_cpp_version").to_owned()).or_default();
            count[0] += 1;
            count[1] += usize::from(is_exact);
            count[2] += usize::from(is_within);
            count[3] += usize::from(is_certain(model, context.graph.version));
            let (planned, held) = (weights[row.text("model")], row.number("weights_gpu_bytes"));
            let wrong = [
                (!holds(row.text("architecture"), planned, held), "weights"),
                (!keeps(model, kept, row.number("kv_bytes")), "caches"),
                (!is_within, "compute"),
            ];
            for (is_wrong, what) in wrong {
                if is_wrong {
                    misses.push(format!("{what}: {}", row.line()));
                }
            }
        }
    }
    for (architecture, off) in doubts {
        let (least, most) =
            off.iter().fold((f64::MAX, f64::MIN), |(a, b), n| (a.min(*n), b.max(*n)));
        println!("{architecture}: {} rows off by {least:+.2} to {most:+.2}%", off.len());
    }
    for (version, [rows, exact, within, certain]) in counts {
        println!("{version}: {rows} rows, {exact} exact of {certain} certain, {within} within");
    }
    assert!(misses.is_empty(), "{} misses:\n{}", misses.len(), misses.join("\n"));
}
