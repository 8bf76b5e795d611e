//! Whole plans: every row of the matrix that a workload can express, component by component.

use std::collections::HashMap;

use vramplan_planner::dtype::KvFormat;
use vramplan_planner::estimate::weights_of;
use vramplan_planner::estimate::{Component, Life, Moment, Phase, Scenario};
use vramplan_planner::plan::{Capacity, plan};
use vramplan_planner::spec::{
    Attention, Basis, Bounds, CalibratedParts, ComputeCapability, Ecc, Fact, GpuSpec, Headroom,
    Launch, Logits, RuntimeOptions, RuntimeSpec, Workload,
};
use vramplan_planner::units::Bytes;

use super::csv::Row;
use super::{MATRIX, csv, shapes, weights as rows};

fn fact<T>(value: T) -> Fact<T> {
    Fact::new(value, Basis::Assumed, "test")
}

fn gpu() -> GpuSpec {
    GpuSpec {
        maker: vramplan_planner::spec::Maker::Nvidia,
        name: "L4".into(),
        aliases: Vec::new(),
        total: fact(Bytes::mib(23_034).unwrap()),
        reserved: fact(Bytes::ZERO),
        compute_capability: ComputeCapability { major: 8, minor: 9 },
        sm_count: fact(58),
        bandwidth: fact(Bytes::new(300_000_000_000)),
        ecc: Ecc::InbandOn,
        calibrated: CalibratedParts::default(),
        context: None,
    }
}

fn runtime() -> RuntimeSpec {
    RuntimeSpec {
        // The matrix was asked of this release.
        options: RuntimeOptions::LlamaCpp("0.5.0".parse().unwrap()),
        launch: Launch::default(),
        version: String::new(),
        libraries: fact(Bounds::ZERO),
        blas_workspace: fact(Bytes::ZERO),
        blas_workspace_hopper: fact(Bytes::ZERO),
        allocation_granule: fact(Bytes::ZERO),
        segment_granule: fact(Bytes::ZERO),
    }
}

/// The workload of a row, a quarter of whose slot is the system prompt's.
fn workload(row: &Row) -> Workload {
    let slot = row.number("n_ctx") / row.number("n_seq_max");
    Workload {
        system_tokens: slot / 4,
        recent_window: None,
        prefill_chunk: row.number("n_ubatch"),
        batch: row.number("n_seq_max"),
        context: slot,
        attention: if row.flag("flash_attn") { Attention::Flash } else { Attention::Eager },
        capture: None,
        images: None,
        logits: if row.text("outputs") == "all" { Logits::All } else { Logits::Last },
        grown_cache: false,
    }
}

fn is_a_workload(row: &Row) -> bool {
    let default_batch = row.number("n_batch") == row.number("n_ubatch").max(2048);
    default_batch
        && !row.flag("kv_unified")
        && !row.flag("swa_full")
        && row.text("type_k") == row.text("type_v")
}

#[test]
fn plans_match_the_library_component_by_component() {
    let (models, gpu, runtime) = (shapes::models(), gpu(), runtime());
    let capacity =
        Capacity::new(gpu.total.value, Bytes::ZERO, Bytes::ZERO, Headroom::Default).unwrap();
    let mut sized = HashMap::new();
    let mut compared = 0;
    for row in csv::rows(MATRIX).filter(is_a_workload) {
        let model = &models[row.text("model")];
        let weights = sized.entry(row.text("model").to_owned()).or_insert_with(|| {
            weights_of(model, rows::format(row.text("file_type")), &runtime).unwrap()
        });
        let kv: KvFormat = row.text("type_k").parse().unwrap();
        let workload = workload(&row);
        let slot = row.number("n_ctx") / row.number("n_seq_max");
        let (gpu, runtime, cache_tokens) = (&gpu, &runtime, slot - slot / 4);
        let scenario = Scenario { model, gpu, runtime, weights, kv, workload, cache_tokens };
        let plan = plan(&scenario, capacity).unwrap();
        let sum = |wanted: &dyn Fn(Component, Life) -> bool| -> u64 {
            let mine = plan.buffers.iter().filter(|b| wanted(b.component, b.life));
            mine.map(|b| b.size.expected.get()).sum()
        };
        let weights = sum(&|component, _| component == Component::Weights);
        let caches = sum(&|component, _| {
            matches!(component, Component::SystemPromptCache | Component::ConversationCache)
        });
        let whole = Life::During(Phase::Prefill, Moment::Whole);
        let compute = sum(&|_, life| life == whole);
        let measured = ["weights_gpu_bytes", "kv_bytes", "compute_gpu_bytes"];
        let measured = measured.map(|column| row.number(column));
        assert_eq!([weights, caches, compute], measured, "{}", row.line());
        let decode = plan.phases.iter().find(|phase| phase.phase == Phase::Decode).unwrap();
        assert!(decode.total.expected.get() >= weights + caches + compute);
        let parts: u64 = plan.components.iter().map(|c| c.at_peak.expected.get()).sum();
        assert_eq!(parts, plan.peak.expected.get(), "{}", row.line());
        compared += 1;
    }
    println!("{compared} plans match");
    assert!(compared > 700);
}
