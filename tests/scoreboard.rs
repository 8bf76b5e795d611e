//! Predictions meet their targets on the public runs at hand: `cargo run --example scoreboard`.

#![allow(clippy::unwrap_used, reason = "test code")]

#[path = "../examples/scoreboard/score.rs"]
mod score;

use score::{Board, covered, errors, quantile};

/// Largest median and 90th percentile of the error, and the least share within the bounds.
const TARGETS: [(&str, &str, f64, f64, f64); 3] = [
    ("llama.cpp", "weights", 0.005, 0.02, 0.97),
    ("llama.cpp", "kv", 0.001, 0.005, 0.9),
    ("llama.cpp", "compute", 0.05, 0.15, 0.9),
];

#[test]
fn targets_are_met() {
    let board = Board::new().unwrap();
    for (runtime, quantity, median, ninth, share) in TARGETS {
        let hits = &board.hits[&(runtime, quantity)];
        let errors = errors(hits);
        assert!(hits.len() >= 15, "{runtime} {quantity}: only {} runs", hits.len());
        assert!(quantile(&errors, 50) <= median, "{runtime} {quantity}: {errors:?}");
        assert!(quantile(&errors, 90) <= ninth, "{runtime} {quantity}: {errors:?}");
        let runs = u32::try_from(hits.len()).unwrap();
        let within = f64::from(u32::try_from(covered(hits)).unwrap()) / f64::from(runs);
        assert!(within >= share, "{runtime} {quantity}: {within} within the bounds");
        let mut margins: Vec<f64> = hits.iter().map(|hit| hit.margin).collect();
        margins.sort_by(f64::total_cmp);
        assert!(quantile(&margins, 50) < 0.08, "{runtime} {quantity}: bounds too wide");
    }
    let left_out: usize = board.left_out.values().sum();
    assert!(left_out > 0, "every reason for leaving a run out is printed");
}
