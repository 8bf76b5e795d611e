//! Predictions meet their targets on public runs and on the engines' own answers:
//! `cargo run -p vramplan-scoreboard`.

use vramplan_planner::read::Catalog;
use vramplan_planner::spec::Runtime::{LlamaCpp, Transformers, Vllm};
use vramplan_planner::spec::{Runtime, RuntimeSpec};
use vramplan_scoreboard::statistics::Statistics;
use vramplan_scoreboard::{Board, Origin, Part, csv, transformers};

/// What a group has to meet.
struct Target {
    group: (Runtime, Origin, Part),
    rows: usize,
    median: f64,
    p90: f64,
    /// How far the high bound may be over at the median of the rows held aside.
    slack: f64,
}

const fn target(
    group: (Runtime, Origin, Part),
    rows: usize,
    median: f64,
    p90: f64,
    slack: f64,
) -> Target {
    Target { group, rows, median, p90, slack }
}

use Origin::{Engine, Log};
use Part::{Compute, Kv, Overhead, Reserved, Total, Weights};

/// One log has llama.cpp's overhead and total.
const TARGETS: [Target; 21] = [
    target((LlamaCpp, Log, Weights), 28, 0.0001, 0.005, 0.08),
    target((LlamaCpp, Log, Kv), 20, 0.0001, 0.0001, 0.08),
    target((LlamaCpp, Log, Compute), 20, 0.0001, 0.0001, 0.08),
    target((LlamaCpp, Log, Overhead), 1, 0.03, 0.03, 0.6),
    target((LlamaCpp, Log, Total), 1, 0.02, 0.02, 0.08),
    target((LlamaCpp, Engine, Weights), 1500, 0.0, 0.0, 0.08),
    target((LlamaCpp, Engine, Kv), 1500, 0.0, 0.0, 0.08),
    target((LlamaCpp, Engine, Compute), 1500, 0.0, 0.0, 0.08),
    target((LlamaCpp, Engine, Total), 1500, 0.0, 0.0, 0.08),
    target((Vllm, Log, Weights), 55, 0.005, 0.005, 0.08),
    target((Vllm, Log, Kv), 65, 0.001, 0.01, 0.08),
    target((Vllm, Log, Compute), 55, 0.005, 0.03, 0.08),
    target((Vllm, Log, Overhead), 50, 0.03, 0.3, 0.08),
    target((Vllm, Log, Total), 49, 0.001, 0.01, 0.08),
    target((Vllm, Engine, Weights), 141, 0.0, 0.0001, 0.08),
    target((Vllm, Engine, Kv), 114, 0.0, 0.0, 0.08),
    target((Transformers, Engine, Weights), 40, 0.0, 0.0, 0.08),
    target((Transformers, Engine, Kv), 1000, 0.0, 0.0, 0.08),
    target((Transformers, Engine, Compute), 1900, 0.0005, 0.002, 0.08),
    target((Transformers, Engine, Total), 900, 0.0005, 0.001, 0.08),
    target((Transformers, Engine, Reserved), 20, 0.01, 0.08, 0.08),
];

/// Least share of the rows at most the high bound, and between both bounds.
const BELOW_HIGH: f64 = 0.97;
const WITHIN: f64 = 0.95;

#[test]
fn targets_are_met() {
    let board = Board::new().unwrap();
    assert_eq!(board.groups().count(), TARGETS.len(), "a group has no target");
    for Target { group, rows, median, p90, slack } in TARGETS {
        let (runtime, origin, part) = group;
        let hits = board.of(runtime, origin, part);
        let all = Statistics::of(hits.iter().copied()).unwrap();
        let name = format!("{runtime} {origin} {part}: {all:#?}");
        assert!(all.rows >= rows, "{name}");
        assert!(all.median <= median && all.p90 <= p90, "{name}");
        assert!(all.within >= WITHIN && all.below_high >= BELOW_HIGH, "{name}");
        let aside = Statistics::of(hits.iter().copied().filter(|hit| !hit.is_set_from()));
        let aside = aside.unwrap();
        let name = format!("{runtime} {origin} {part}, held aside: {aside:#?}");
        assert!(aside.below_high >= BELOW_HIGH && aside.slack < slack, "{name}");
    }
}

#[test]
fn half_of_the_models_are_held_aside() {
    let names = Catalog::built_in();
    let names = names.names(vramplan_planner::read::Kind::Model).unwrap();
    let (set_from, aside): (Vec<_>, Vec<_>) =
        names.partition(|name| vramplan_scoreboard::is_set_from(name));
    let share = set_from.len() * 100 / (set_from.len() + aside.len());
    assert!((40..=60).contains(&share), "{share}%");
}

#[test]
fn every_public_row_is_used_or_left_out_with_a_reason() {
    let board = Board::new().unwrap();
    for (runtime, log) in [
        (LlamaCpp, vramplan_scoreboard::llama_cpp::LOGS),
        (Vllm, vramplan_scoreboard::vllm::LOGS),
        (Transformers, transformers::LOGS),
    ] {
        for row in csv::rows(log) {
            let line = row.line();
            let used = board.hits.iter().any(|hit| hit.runtime == runtime && hit.row == line);
            let reasons = board.left_out.keys().filter(|(of, _)| *of == runtime);
            let pipelined = runtime == Vllm && row.text("pipeline") != "1";
            let mut reasons = reasons.map(|(_, reason)| reason.as_str());
            let left_out = pipelined || reasons.any(|reason| reason == row.text("left_out"));
            assert!(used || left_out, "{line}");
        }
    }
}

/// What `PyTorch` reserved while a notebook loaded and adapted a model bounds from above what stays.
#[test]
fn notebooks_reserved_at_least_what_is_predicted() {
    let catalog = Catalog::built_in();
    let runtime: RuntimeSpec = catalog.runtime(Transformers).unwrap();
    let mut compared = 0;
    for row in csv::rows(transformers::LOGS) {
        if !row.text("left_out").starts_with("an upper bound") {
            continue;
        }
        let model = catalog.model(row.text("profile")).unwrap();
        let gpu = catalog.gpu(row.text("gpu")).unwrap();
        let predicted = transformers::reserved(&row, &model, &gpu, &runtime).unwrap();
        let reserved = row.get::<f64>("reserved_gib").unwrap() * 1024.0;
        assert!(predicted.low.as_mib() <= reserved, "{}: {predicted:?}", row.line());
        compared += 1;
    }
    assert!(compared >= 18);
}
