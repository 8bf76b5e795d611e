//! Public reports of vLLM on cards of consumers and others: weights of a rank, pools, and what the engine refuses.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "test code")]

use vramplan_planner::deployment::{Question, resolve};
use vramplan_planner::estimate::BufferId;
use vramplan_planner::plan::{Reason, Verdict};
use vramplan_planner::read::{Catalog, MemoryFiles};
use vramplan_planner::recommend::{Answer, answer};
use vramplan_planner::spec::{Bounds, Runtime, Split};
use vramplan_planner::units::Bytes;
use vramplan_scoreboard::csv::{Row, rows};

const REPORTS: &str = include_str!("../../../../tests/corpus/vllm_reports.csv");
const GIB: f64 = 1_073_741_824.0;

/// What the report says was asked.
fn question(row: &Row) -> Question {
    let gpus: u64 = row.get("gpus").unwrap();
    Question {
        gpu: Some(row.text("gpu").to_owned()),
        gpus: Some(gpus),
        split: (gpus > 1).then_some(Split::Tensor),
        model: Some(row.text("profile").to_owned()),
        runtime: Some(Runtime::Vllm),
        runtime_version: Some(row.text("version").to_owned()),
        weights: row.maybe("weights").unwrap(),
        kv: row.maybe("kv").unwrap(),
        context: row.maybe("context").unwrap(),
        prefill_chunk: row.maybe("chunk").unwrap(),
        max_seqs: row.maybe("max_seqs").unwrap(),
        gpu_memory_utilization: row.maybe("utilization").unwrap(),
        images: row.maybe("images").unwrap(),
        ..told(row)
    }
}

/// What else was asked, `key=value` each.
fn told(row: &Row) -> Question {
    let pairs = row.text("told").split(';').filter_map(|pair| pair.split_once('='));
    let value = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| text.into());
    let told = pairs.map(|(key, text)| (key.to_owned(), value(text))).collect();
    serde_json::from_value(serde_json::Value::Object(told)).unwrap()
}

fn planned(row: &Row) -> Answer {
    let files = MemoryFiles::default();
    answer(&resolve(&question(row), &Catalog::built_in(), &files, None).unwrap()).unwrap()
}

/// What vLLM calls weights: all that loading leaves allocated.
fn weights(answer: &Answer) -> Bounds {
    let loaded = [
        BufferId::Weights,
        BufferId::PredictingLayer,
        BufferId::Other("hidden states to predict from"),
        BufferId::ExpertPadding,
        BufferId::WeightRounding,
        BufferId::VisionTower,
        BufferId::ImageLayerInputs,
        BufferId::RotaryTables,
        BufferId::DraftWeights,
    ];
    sum(answer, &loaded)
}

/// What vLLM estimates its graphs to take.
fn graphs(answer: &Answer) -> Bounds {
    let captured = [
        BufferId::CudaGraphs,
        BufferId::CapturedResults,
        BufferId::CapturedSplits,
        BufferId::AttentionWorkspace,
    ];
    sum(answer, &captured)
}

fn sum(answer: &Answer, ids: &[BufferId]) -> Bounds {
    let listed = answer.plan.buffers.iter().filter(|buffer| ids.contains(&buffer.id));
    let mut sizes = listed.map(|buffer| buffer.size);
    sizes.try_fold(Bounds::ZERO, Bounds::plus).unwrap()
}

fn pool(answer: &Answer) -> Bounds {
    let pool = answer.plan.pool.unwrap();
    let left = |fixed: Bytes| pool.limit.minus_or_zero(fixed);
    Bounds::new(left(pool.fixed.high), left(pool.fixed.expected), left(pool.fixed.low))
}

fn gib(size: Bytes) -> f64 {
    size.get() as f64 / GIB
}

/// How far off a report's figure is from ours, in percent, and whether our bounds hold it.
fn compared(row: &Row, answer: &Answer) -> (f64, bool) {
    let measured: f64 = row.get("measured").unwrap();
    let of_blocks = |bounds: Bounds| {
        let block = answer.plan.pool.unwrap().block.get();
        [bounds.low, bounds.expected, bounds.high].map(|size| (size.get() / block) as f64)
    };
    let [low, ours, high] = match row.text("part") {
        "weights" => {
            let bounds = weights(answer);
            [bounds.low, bounds.expected, bounds.high].map(gib)
        }
        "pool" => {
            let bounds = pool(answer);
            [bounds.low, bounds.expected, bounds.high].map(gib)
        }
        "short" => {
            let pool = answer.plan.pool.unwrap();
            let bounds = [pool.fixed.low, pool.fixed.expected, pool.fixed.high];
            bounds.map(|fixed| gib(fixed) - gib(pool.limit))
        }
        "blocks" => of_blocks(pool(answer)),
        "graphs" => {
            let bounds = graphs(answer);
            [bounds.low, bounds.expected, bounds.high].map(gib)
        }
        "tokens" => {
            let (tokens, bounds) = (answer.plan.pool.unwrap().tokens, pool(answer));
            let of_a_byte = tokens as f64 / bounds.expected.get() as f64;
            [bounds.low, bounds.expected, bounds.high].map(|size| size.get() as f64 * of_a_byte)
        }
        "longest" => [answer.plan.pool.unwrap().start.longest as f64; 3],
        part => panic!("{part}"),
    };
    let digit = if row.text("unit") == "GiB" { 0.005 } else { 0.0 };
    (100.0 * (ours / measured - 1.0), (low - digit..=high + digit).contains(&measured))
}

#[test]
fn reports_of_other_cards_are_met() {
    let (mut missed, mut met) = (Vec::new(), 0);
    let is_compared = |row: &Row| row.text("part") != "refused" && row.text("left_out").is_empty();
    for row in rows(REPORTS).filter(is_compared) {
        let answer = planned(&row);
        let (off, is_inside) = compared(&row, &answer);
        let most = match row.text("part") {
            "weights" => 1.0,
            "graphs" => 15.0,
            // Of a pool that is given to the hundredth of a GiB.
            "tokens" if row.text("told").contains("kv_cache_memory_bytes") => 0.3,
            // What the system takes of a memory that it shares differs from start to start.
            "pool" | "tokens" if row.text("gpu") == "GB10" => 60.0,
            _ => 3.0,
        };
        let is_bounded = !["longest", "tokens"].contains(&row.text("part"));
        // A small pool is what large numbers leave: a percent of the card is several of it.
        let is_near = ["pool", "tokens"].contains(&row.text("part"))
            && gib(pool(&answer).expected) * off.abs() / 100.0 < 0.3;
        if (off.abs() > most && !is_near) || (is_bounded && !is_inside) {
            missed.push(format!("{off:+.2}%, inside {is_inside}: {}", row.line()));
        } else {
            met += 1;
        }
    }
    assert!(missed.is_empty(), "{met} met\n{}", missed.join("\n"));
}

#[test]
fn what_the_engine_refuses_is_refused() {
    let refused = |row: &Row| row.text("part") == "refused" || row.text("part") == "longest";
    for row in rows(REPORTS).filter(refused).filter(|row| row.text("left_out").is_empty()) {
        let answer = planned(&row);
        assert_eq!(answer.verdict, Verdict::DoesNotFit, "{}", row.line());
        assert_eq!(answer.reason, Some(Reason::WillNotStart), "{}", row.line());
    }
}
