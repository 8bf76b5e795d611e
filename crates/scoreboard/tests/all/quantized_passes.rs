//! What a forward pass over bitsandbytes layers holds beside weights and cache, under two versions of
//! transformers and two of bitsandbytes, against tracked passes
//! (`evidence/transformers/quantized.py`).

use std::collections::BTreeMap;

use crate::support::Case;
use vramplan_planner::deployment::CacheSize;
use vramplan_planner::estimate::{Buffer, Life, Moment, Phase};
use vramplan_planner::spec::{Bounds, Runtime};
use vramplan_planner::units::Bytes;
use vramplan_scoreboard::csv::{Row, rows};

const PASSES: &str = include_str!("../../../../evidence/transformers/quantized.csv");

/// `Spread::TRANSFORMERS_PASS`, which widens every bound.
const PASS_SPREAD: [f64; 2] = [0.98, 1.01];

/// What a pass of the row's phase holds at most beside what stays.
fn planned(row: &Row) -> Bounds {
    let mut case = Case::new(row.text("gpu"), row.text("model"), Runtime::Transformers);
    case = case.weights(row.text("weights")).kv("bf16");
    case.stack(|stack| {
        stack.transformers = row.get("transformers").unwrap();
        stack.bitsandbytes = row.get("bitsandbytes").unwrap();
    });
    let (new, past) = (row.number("rows"), row.number("past"));
    let workload = &mut case.workload;
    workload.attention = row.get("attention").unwrap();
    workload.grown_cache = true;
    workload.batch = row.number("batch");
    workload.prefill_chunk = new;
    let (system_tokens, cache_tokens) = if past == 0 { (new, 0) } else { (0, past + new) };
    workload.system_tokens = system_tokens;
    case.cache = CacheSize::Fixed(cache_tokens);
    let phase = match row.text("phase") {
        "system_prefill" => Phase::SystemPrefill,
        "prefill" => Phase::Prefill,
        _ => Phase::Decode,
    };
    largest_moment(&case.buffers(), phase)
}

fn largest_moment(listed: &[Buffer], phase: Phase) -> Bounds {
    let at = |moment| {
        let alive = listed.iter().filter(|buffer| {
            matches!(buffer.life, Life::During(p, m) if p == phase && (m == moment || m == Moment::Whole))
        });
        alive.fold(Bounds::ZERO, |sum, buffer| sum.plus(buffer.size).unwrap())
    };
    Moment::ALL.into_iter().map(at).fold(Bounds::ZERO, Bounds::max)
}

/// What the tracker saw, with ids and padding mask, which it takes as given.
fn tracked(row: &Row) -> Bytes {
    let seen = row.number("rows") + row.number("past");
    Bytes::new(row.number("beyond_kv") + 8 * row.number("batch") * (row.number("rows") + seen))
}

#[test]
#[allow(clippy::cast_precision_loss, reason = "bytes of a GPU")]
fn passes_hold_what_was_tracked() {
    let mut versions: BTreeMap<[String; 3], Vec<f64>> = BTreeMap::new();
    for row in rows(PASSES) {
        let (ours, theirs) = (planned(&row), tracked(&row));
        let seen = theirs.get() as f64;
        // All tokens at one expert is the most that a plan allows for; an even share the least, where
        // experts run one by one.
        let planned = match (row.text("experts"), row.text("transformers")) {
            ("one", _) => ours.high.get() as f64 / PASS_SPREAD[1],
            ("spread", "4.57.6") => ours.low.get() as f64 / PASS_SPREAD[0],
            _ => ours.expected.get() as f64,
        };
        let error = planned / seen - 1.0;
        if std::env::var_os("VRAMPLAN_SHOW").is_some() {
            println!("{:+.2}% {} {}", 100.0 * error, ours.expected, row.line());
        }
        let key = ["transformers", "bitsandbytes", "weights"].map(|name| row.text(name).to_owned());
        versions.entry(key).or_default().push(error);
    }
    assert!(versions.len() >= 13, "{:?}", versions.keys());
    for (version, mut errors) in versions {
        errors.sort_by(f64::total_cmp);
        let (least, most) = (errors[0], errors[errors.len() - 1]);
        let median = errors[errors.len() / 2];
        println!(
            "{version:?}: {} rows, {least:+.4} to {most:+.4}, median {median:+.4}",
            errors.len()
        );
        assert!(median.abs() < 0.001, "{version:?}: {median}");
        assert!(least > -0.005 && most < 0.02, "{version:?}: {least} to {most}");
    }
}
