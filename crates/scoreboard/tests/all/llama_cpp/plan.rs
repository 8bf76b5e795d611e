//! Whole plans: every row of the matrix that a workload can express, component by component: what a server with so many
//! slots takes, each with its part of the context or all with one.

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
        reserved_range: None,
        compute_capability: ComputeCapability { major: 8, minor: 9 },
        sm_count: fact(58),
        bandwidth: fact(Bytes::new(300_000_000_000)),
        ecc: Ecc::InbandOn,
        unified: false,
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

/// What llama-server is told: `--kv-unified`, `--swa-full`, `-ctv`.
fn launch(row: &Row) -> Launch {
    let values: KvFormat = row.text("type_v").parse().unwrap();
    Launch {
        unified: row.flag("kv_unified"),
        full_window: row.flag("swa_full"),
        values: (row.text("type_v") != row.text("type_k")).then_some(values),
        ..Launch::default()
    }
}

/// Tokens of a slot: of the whole context, where all slots share its cells.
fn slot_of(row: &Row) -> u64 {
    let slots = if row.flag("kv_unified") { 1 } else { row.number("n_seq_max") };
    row.number("n_ctx") / slots
}

/// The workload of a row, a quarter of whose slot is the system prompt's.
fn workload(row: &Row) -> Workload {
    let slot = slot_of(row);
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
    row.number("n_batch") == row.number("n_ubatch").max(2048)
}

#[test]
fn plans_match_the_library_component_by_component() {
    let (models, gpu, runtime) = (shapes::models(), gpu(), runtime());
    let capacity =
        Capacity::new(gpu.total.value, Bytes::ZERO, Bytes::ZERO, Headroom::Default).unwrap();
    let mut sized = HashMap::new();
    let (mut compared, mut slots_shared) = (0, 0);
    for row in csv::rows(MATRIX).filter(is_a_workload) {
        let model = &models[row.text("model")];
        let weights = sized.entry(row.text("model").to_owned()).or_insert_with(|| {
            weights_of(model, rows::format(row.text("file_type")), &runtime).unwrap()
        });
        let kv: KvFormat = row.text("type_k").parse().unwrap();
        let workload = workload(&row);
        let slot = slot_of(&row);
        let runtime = RuntimeSpec { launch: launch(&row), ..runtime.clone() };
        slots_shared += usize::from(row.flag("kv_unified") && row.number("n_seq_max") > 1);
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
    println!("{compared} plans match, {slots_shared} of slots that share their cells");
    assert!(compared > 900 && slots_shared > 100);
}
