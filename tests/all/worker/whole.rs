//! Whole runs: stages, figures, the comparison.

use serde_json::{Value, json};

use super::{place, report, tiny};
use crate::observe::support::{Place, stderr};
use crate::smollm2;

const STAGES: [&str; 10] = [
    "start",
    "baseline",
    "context",
    "libraries",
    "weights",
    "caches",
    "system_prefill",
    "prefill",
    "decode",
    "released",
];

fn names(report: &Value) -> Vec<String> {
    let phases = report["phases"].as_array().unwrap();
    phases.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
}

/// Every figure that the engine's accounting states is the plan's, to the byte.
pub(super) fn assert_exact(report: &Value, least: usize) {
    let rows = report["comparison"]["by_phase"].as_array().unwrap();
    assert!(rows.len() >= least, "{} rows", rows.len());
    for row in rows {
        assert_eq!(row["stated"]["difference"], 0, "{row}");
    }
    for row in report["comparison"]["components"].as_array().unwrap() {
        let id = row["id"].as_str().unwrap();
        // What the driver takes, and on a card what its pool rounds up.
        if id == "runtime_overhead" || id == "fragmentation" && row["stated"].is_null() {
            assert!(row["stated"].is_null(), "{row}");
        } else {
            assert_eq!(row["stated"]["difference"], 0, "{row}");
        }
    }
}

#[test]
fn a_real_model_runs_to_beyond_eviction_as_planned() {
    let Some(model) = smollm2::gguf() else { return };
    let place = Place::new();
    let model = model.to_str().unwrap();
    let flags = ["--device", "cpu", "--model", model, "--system-tokens", "64"];
    let sizes = ["--cache-tokens", "256", "--prefill-chunk", "64", "--format", "json"];
    let run = |more: &[&str]| place.run(&[&["calibrate"][..], &flags, &sizes, more].concat());
    let output = run(&["--decode-tokens", "600", "--record", "run.jsonl"]);
    let report = report(&output);
    assert_eq!(output.status.code(), Some(0), "{}\n{report:#}", stderr(&output));
    assert_eq!(names(&report), STAGES);
    assert!(report["figures"].as_str().unwrap().contains("own accounting"), "{report}");
    assert_eq!(report["counters"]["decode_tokens"], 600);
    assert_eq!(report["counters"]["evicted_tokens"], 600);
    assert_eq!(report["counters"]["system_prefill_tokens"], 64);
    assert_exact(&report, 22);
    let caches = &report["comparison"]["components"][2];
    // 2 · layers · kv_heads · head_dim · tokens, 2 B a head for scales; scores of 4 B a head and slot.
    let expected = 256 * 30 * 3 * (2 * (64 + 2) + 4);
    assert_eq!(
        (&caches["id"], &caches["stated"]["measured"]),
        (&json!("conversation_cache"), &json!(expected))
    );
    assert!(report["comparison"]["unexplained"].is_i64());

    // The recording gives the same report again.
    let again = place.run(&["calibrate", "--replay", "run.jsonl", "--format", "json"]);
    assert_eq!(serde_json::from_slice::<Value>(&again.stdout).unwrap(), report);

    // A plan that was made wrong on purpose: exit code 4, and the component by its name.
    let mut wrong = report.clone();
    for bound in ["low", "expected", "high"] {
        wrong["comparison"]["plan"]["components"][2][bound] = json!(expected * 2);
    }
    fs_err::write(place.path("wrong.json"), wrong.to_string()).unwrap();
    let output = run(&["--decode-tokens", "4", "--against", "wrong.json"]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    let text = stderr(&output);
    assert!(text.contains("outside the plan: conversation_cache: "), "{text}");
    let again = place.run(&["calibrate", "--replay", "run.jsonl", "--against", "wrong.json"]);
    assert_eq!(again.status.code(), Some(4), "{}", stderr(&again));
    let table = String::from_utf8(again.stdout).unwrap();
    assert!(table.contains("- conversation_cache: "), "{table}");
}

#[test]
fn a_synthetic_model_runs_with_a_capture() {
    let place = place();
    let more = ["--cache-tokens", "400", "--capture-layers", "3", "--capture-tokens", "16"];
    let output = tiny(&place, &[&more[..], &["--capture-attention"]].concat()).output().unwrap();
    let report = report(&output);
    assert_eq!(output.status.code(), Some(0), "{}\n{report:#}", stderr(&output));
    let mut stages = STAGES.to_vec();
    stages.insert(9, "capture");
    assert_eq!(names(&report), stages);
    assert_exact(&report, 30);
    assert_eq!(report["counters"]["evicted_tokens"], 64);
}

/// A GPU that is named says how large the cache is; what is compared is what the engine holds.
#[test]
fn a_cache_that_is_planned_for_a_gpu_runs_on_the_cpu() {
    let place = place();
    let output = tiny(&place, &["--gpu", "L4", "--context", "700"]).output().unwrap();
    let report = report(&output);
    assert_eq!(output.status.code(), Some(0), "{}\n{report:#}", stderr(&output));
    assert_eq!(report["comparison"]["plan"]["deployment"]["cache_tokens"], 684);
    // All of the context is cached: nothing has to be evicted.
    assert_eq!(report["counters"]["evicted_tokens"], 0);
    assert_eq!(report["counters"]["prefill_tokens"], 684 - 64);
    assert_exact(&report, 22);
}

#[test]
fn what_there_is_nothing_to_run_of_is_refused() {
    let Some(model) = smollm2::gguf() else { return };
    let place = place();
    let model = model.to_str().unwrap();
    let base = ["calibrate", "--device", "cpu", "--model"];
    for (more, message) in [
        (&["qwen2.5-0.5b"][..], "no weights to run"),
        (&["qwen2.5-0.5b", "--synthetic", "--runtime", "vllm"], "vramplan's own engine"),
        (&[model, "--weights", "q8_0"], "not what the file holds"),
        (&["gemma-2-2b", "--synthetic", "--system-tokens", "16"], "gemma2"),
    ] {
        let output = place.run(&[&base[..], more].concat());
        assert_eq!(output.status.code(), Some(1), "{more:?}");
        let text = stderr(&output);
        assert!(text.contains(message) && text.contains("hint: "), "{more:?}: {text}");
    }
}
