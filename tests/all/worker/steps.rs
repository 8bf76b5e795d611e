//! `--steps`: sizes of the cache, one after the other, on a device that is made to look small.

use serde_json::Value;

use super::{place, report, tiny};
use crate::observe::support::stderr;

/// 8 layers of 8 heads: 8,704 B a token. Beside 13 MiB of weights there is room for some 12,000.
#[test]
fn sizes_are_climbed_until_one_does_not_run() {
    let place = place();
    let more = ["--steps", "--capacity", "120MiB", "--headroom", "4MiB", "--prompt-tokens", "128"];
    let output = tiny(&place, &more).output().unwrap();
    let report = report(&output);
    let steps = &report["steps"];
    let runs = steps["runs"].as_array().unwrap();
    let tokens = |run: &Value| run["cache_tokens"].as_u64().unwrap();
    let ran = |name: &str| {
        let run = runs.iter().find(|run| run["size"].as_str().unwrap().contains(name)).unwrap();
        (tokens(run), run["ran"].as_bool().unwrap())
    };
    let (conservative, balanced) = (ran("conservative"), ran("balanced"));
    assert!(conservative.1 && balanced.1 && conservative.0 < balanced.0, "{steps:#}");
    let hard = steps["hard_max_cache_tokens"].as_u64().unwrap();
    let failed = runs.iter().find(|run| run["ran"] == false).expect("some size does not run");
    assert!(failed["failure"].as_str().unwrap().contains("memory was exhausted in phase"));
    assert!(tokens(failed) <= hard + 1, "{steps:#}");
    // Narrowed down: the largest that ran and the smallest that did not are close.
    let proven = steps["proven_cache_tokens"].as_u64().unwrap();
    let smallest = runs.iter().filter(|run| run["ran"] == false).map(tokens).min().unwrap();
    assert!(balanced.0 <= proven && proven < smallest, "{steps:#}");
    assert!(smallest - proven <= proven / 8, "{steps:#}");
    assert_eq!(steps["as_planned"], true);
    // The report is of the largest that ran.
    assert_eq!(report["comparison"]["plan"]["deployment"]["cache_tokens"], proven);
    assert_eq!(output.status.code(), Some(0), "{}\n{report:#}", stderr(&output));
}
