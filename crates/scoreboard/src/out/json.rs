//! The scoreboard as data.

use serde_json::{Value, json};

use vramplan_scoreboard::statistics::Statistics;
use vramplan_scoreboard::{Board, Hit};

/// Every group with its statistics and its figures, and what was left out.
pub fn to_json(board: &Board) -> serde_json::Result<String> {
    let groups: Vec<Value> = board
        .groups()
        .map(|(runtime, origin, part, hits)| {
            let half = |set_from: bool| {
                let half = hits.iter().copied().filter(|hit| hit.is_set_from() == set_from);
                Statistics::of(half).as_ref().map(statistics)
            };
            json!({
                "runtime": runtime.name(),
                "against": origin.name(),
                "part": part.name(),
                "all": Statistics::of(hits.iter().copied()).as_ref().map(statistics),
                "set_from": half(true),
                "held_aside": half(false),
                "figures": hits.iter().map(|hit| figure(hit)).collect::<Vec<_>>(),
            })
        })
        .collect();
    let left_out: Vec<Value> = board
        .left_out
        .iter()
        .map(|((runtime, reason), rows)| json!({ "runtime": runtime.name(), "reason": reason, "rows": rows }))
        .collect();
    serde_json::to_string_pretty(&json!({ "groups": groups, "left_out": left_out }))
}

fn statistics(of: &Statistics) -> Value {
    json!({
        "rows": of.rows,
        "median": of.median,
        "p90": of.p90,
        "worst": of.worst,
        "bias": of.bias,
        "within": of.within,
        "below_high": of.below_high,
        "slack": of.slack,
    })
}

fn figure(hit: &Hit) -> Value {
    let [low, expected, high] = hit.predicted;
    json!({
        "model": hit.model,
        "what": hit.what,
        "measured_mib": hit.measured,
        "low_mib": low,
        "expected_mib": expected,
        "high_mib": high,
        "row": hit.row,
    })
}
