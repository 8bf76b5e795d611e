//! vLLM's pipelines: a log shows the weights of some stage, and the tokens of the smallest pool.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "test code")]

use crate::support::Case;
use vramplan_planner::spec::{Headroom, Runtime, RuntimeOptions, Serving, Split};
use vramplan_planner::units::Bytes;
use vramplan_scoreboard::csv::Row;

const LOGS: &str = include_str!("../../../../tests/corpus/vllm.csv");
const NO_HEADROOM: Headroom = Headroom::Size(Bytes::ZERO);

fn gib(n: f64) -> Bytes {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Bytes::new((n * 1_073_741_824.0) as u64)
}

/// The plan of a log, one card of its kind for every stage.
fn case(row: &Row) -> Case {
    let gpu = if row.text("gpu").is_empty() { "H100" } else { row.text("gpu") };
    let mut case = Case::new(gpu, row.text("profile"), Runtime::Vllm).cache(1);
    case = case.weights(row.text("weights")).kv(row.text("kv"));
    let mut gpu = case.gpu().clone();
    if let Some(total) = row.maybe("total_gib").unwrap() {
        gpu.total.value = gib(total);
        gpu.reserved.value = Bytes::ZERO;
    }
    let version = row.get("version").unwrap();
    let default = Serving::on(&gpu, version);
    let chunk = Serving::default_chunk(&gpu, version, case.workload.context);
    case.workload.system_tokens = 0;
    case.workload.prefill_chunk = row.maybe("chunk").unwrap().unwrap_or(chunk);
    case.set_options(RuntimeOptions::Vllm(Serving {
        ranks: row.get("ranks").unwrap(),
        max_seqs: row.maybe("max_seqs").unwrap().unwrap_or(default.max_seqs),
        utilization: row.maybe("utilization").unwrap().unwrap_or(default.utilization),
        ..default
    }));
    // Stages, of which each has ranks: not what a question asks for.
    case.split = Split::Layer;
    let stages: usize = row.get("pipeline").unwrap();
    let card = crate::support::card(gpu, NO_HEADROOM);
    case.on(card.clone(), vec![card; stages - 1])
}

#[test]
fn stages_of_pipelines() {
    let mut compared = 0;
    for row in vramplan_scoreboard::csv::rows(LOGS).filter(|row| row.text("pipeline") != "1") {
        let answer = case(&row).answer();
        let logged: f64 = row.get("weights_gib").unwrap();
        let errors = answer.devices.iter().map(|device| {
            let weights = device.weights.0.as_mib() / 1024.0;
            println!("stage {:?}: {weights:.2} GiB for {logged}", device.part.layers);
            (weights / logged - 1.0).abs()
        });
        assert!(errors.fold(f64::INFINITY, f64::min) < 0.01, "{}", row.line());
        let tokens = answer.plan.pool.unwrap().tokens as f64;
        if let Some(logged) = row.maybe::<f64>("kv_tokens").unwrap() {
            println!("{tokens} tokens for {logged}");
            assert!((tokens / logged - 1.0).abs() < 0.03, "{tokens} tokens for {}", row.line());
        }
        compared += 1;
    }
    assert_eq!(compared, 3);
}
