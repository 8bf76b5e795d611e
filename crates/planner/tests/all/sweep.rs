//! A matrix says what single plans say.

use vramplan_planner::dtype::WeightFormat;
use vramplan_planner::plan::Capacity;
use vramplan_planner::read::{Catalog, Kind};
use vramplan_planner::recommend::{Request, answer};
use vramplan_planner::spec::{
    Attention, GpuSpec, Headroom, LlamaCppVersion, Logits, ModelSpec, Runtime, Split, Workload,
};
use vramplan_planner::sweep::{Column, Row, Sweep};
use vramplan_planner::units::Bytes;

const MODELS: [&str; 5] =
    ["qwen2.5-0.5b", "qwen2.5-14b", "qwen2.5-32b", "gemma-2-9b", "deepseek-v2-lite"];
const WEIGHTS: [&str; 4] = ["q2_k", "q4_k_m", "q8_0", "nf4"];

fn workload(model: &ModelSpec) -> Workload {
    Workload {
        system_tokens: 6000,
        cache_tokens: 1,
        recent_window: None,
        prefill_chunk: 512,
        batch: 1,
        context: model.shape.context_len,
        attention: Attention::Fused,
        capture: None,
        images: None,
        logits: Logits::Last,
        grown_cache: false,
        llama_cpp: LlamaCppVersion::default(),
        serving: None,
    }
}

fn capacity(gpu: &GpuSpec) -> Capacity {
    let (total, reserved) = (gpu.total.value, gpu.reserved.value);
    Capacity::new(total, reserved, Bytes::ZERO, Headroom::Default).unwrap()
}

#[test]
fn every_cell_is_the_answer_of_its_plan() {
    let catalog = Catalog::built_in();
    let runtime = catalog.runtime(Runtime::Vramplan).unwrap();
    let names = catalog.list(Kind::Gpu).unwrap();
    let gpus: Vec<_> = names.iter().map(|gpu| catalog.gpu(&gpu.name).unwrap()).collect();
    let models = MODELS.map(|name| catalog.model(name).unwrap());
    let works: Vec<_> = models.iter().map(|model| vec![workload(model); gpus.len()]).collect();
    let rows = models.iter().zip(&works).flat_map(|(model, workloads)| {
        let formats = WEIGHTS.map(|name| name.parse::<WeightFormat>().unwrap());
        let kv = "int8".parse().unwrap();
        formats.map(|weights| Row { model, weights, kv, workloads })
    });
    let columns = gpus.iter().map(|gpu| Column { gpu, capacity: capacity(gpu), others: &[] });
    let sweep = Sweep {
        runtime: &runtime,
        rows: rows.collect(),
        columns: columns.collect(),
        split: Split::Layer,
        fixed_cache: false,
        min_decode_speed: None,
    };
    let cells = sweep.answer();
    assert!(cells.len() * cells[0].len() > 1024, "enough for threads");
    for (row, cells) in sweep.rows.iter().zip(&cells) {
        // Every seventh keeps the test short.
        for (column, cell) in sweep.columns.iter().zip(cells).step_by(7) {
            let request = Request {
                model: row.model,
                gpu: column.gpu,
                runtime: &runtime,
                weights: row.weights,
                kv: row.kv,
                workload: row.workloads[0].clone(),
                capacity: column.capacity,
                others: &[],
                split: Split::Layer,
                fixed_cache: false,
                min_decode_speed: None,
                siblings: &[],
            };
            let what = format!("{} {} {}", row.model.name, row.weights, column.gpu.name);
            match (cell, answer(&request)) {
                (Err(refused), Err(error)) => assert_eq!(*refused, error, "{what}"),
                (Ok(cell), Ok(answer)) => {
                    let balanced = &answer.recommendation.tiers[1];
                    assert_eq!(cell.verdict, answer.plan.verdict, "{what}");
                    assert_eq!(cell.max_cache_tokens, balanced.max_cache_tokens, "{what}");
                    assert_eq!(cell.recent_window, balanced.recent_window, "{what}");
                    assert_eq!(cell.cache_tokens, answer.workload.cache_tokens, "{what}");
                    assert_eq!(cell.peak, answer.plan.peak, "{what}");
                    assert_eq!(cell.limited_by, balanced.limited_by, "{what}");
                }
                (cell, answer) => panic!("{what}: {cell:?}, but {answer:?}"),
            }
        }
    }
}
