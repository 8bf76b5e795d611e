//! `--quality`: what eviction loses on a text decides about the recent window.

use super::report;
use crate::observe::support::{Place, stderr};
use crate::smollm2;

#[test]
fn the_window_that_loses_least_is_run_with() {
    let Some(model) = smollm2::gguf() else { return };
    let place = Place::new();
    let text: String = include_str!("../../../LICENSE-APACHE").chars().take(1400).collect();
    fs_err::write(place.path("text.txt"), text).unwrap();
    let flags = [
        "--device",
        "cpu",
        "--system-tokens",
        "4",
        "--cache-tokens",
        "144",
        "--prefill-chunk",
        "48",
    ];
    let model = ["--model", model.to_str().unwrap(), "--decode-tokens", "8", "--format", "json"];
    let run = |more: &[&str]| place.run(&[&["calibrate"][..], &flags, &model, more].concat());
    let output = run(&["--quality", "text.txt"]);
    let report = report(&output);
    assert_eq!(output.status.code(), Some(0), "{}\n{report:#}", stderr(&output));
    let quality = &report["quality"];
    let window = quality["recent_window"].as_u64().unwrap();
    let tried: Vec<u64> = quality["report"]["windows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["recent_window"].as_u64().unwrap())
        .collect();
    assert!(tried.len() > 1 && tried.contains(&window), "{tried:?}");
    assert_eq!(quality["used"], true);
    let planned = &report["comparison"]["plan"]["deployment"]["recent_window"];
    assert_eq!(planned.as_u64(), Some(window));
    let short = run(&["--quality", "/dev/null"]);
    assert_eq!(short.status.code(), Some(1));
    assert!(stderr(&short).contains("a text of 0 tokens"), "{}", stderr(&short));
}
