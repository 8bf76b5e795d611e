//! Committed recordings, analysed again. Those named `fake-nvml-…` come from the fake driver: they test
//! the analysis, and are no evidence about any card.

use super::support::{Place, codes, mib, peak_of, stderr, stdout};

fn recording(name: &str) -> String {
    format!("{}/tests/recordings/{name}.jsonl", env!("CARGO_MANIFEST_DIR"))
}

fn replay(name: &str, flags: &[&str]) -> (serde_json::Value, Option<i32>) {
    let place = Place::new();
    let path = recording(name);
    let given = ["observe", "--replay", &path, "--format", "json"];
    let output = place.run(&[&given[..], flags].concat());
    let report = serde_json::from_slice(&output.stdout);
    (report.unwrap_or_else(|_| panic!("{}", stderr(&output))), output.status.code())
}

#[test]
fn the_recorded_script_is_measured_as_when_it_ran() {
    let (report, code) = replay("cpu-phases", &[]);
    assert_eq!(code, Some(0));
    let start = mib(&report["phases"][0]["end"]);
    assert!((64..68).contains(&(peak_of(&report, "load") - start)), "{report:#}");
    assert!((144..148).contains(&(peak_of(&report, "prefill") - start)), "{report:#}");
    assert!(codes(&report).is_empty(), "{report:#}");
}

#[test]
fn a_plan_can_be_given_anew() {
    let plan = ["--gpu", "L4", "--model", "qwen2.5-0.5b", "--cache-tokens", "1000"];
    let (report, code) = replay("cpu-phases", &plan);
    assert_eq!((code, &report["comparison"]["within"]), (Some(4), &false.into()));
}

#[test]
fn the_recorded_plan_is_compared_again() {
    let (report, code) = replay("fake-nvml-plan", &[]);
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!(report["comparison"]["peak"]["verdict"], "within");
    assert_eq!(report["comparison"]["plan"]["deployment"]["model"], "qwen2.5-14b");
    let (_, code) = replay("fake-nvml-oom", &[]);
    assert_eq!(code, Some(0), "a recording without a plan is not judged");
}

#[test]
fn what_was_noticed_is_noticed_again() {
    assert_eq!(codes(&replay("fake-nvml-oom", &[]).0), ["out-of-memory"]);
    assert_eq!(codes(&replay("fake-nvml-cotenant", &[]).0), ["other-process-grew"]);
}

#[test]
fn every_format_tells_the_same() {
    let place = Place::new();
    let path = recording("fake-nvml-plan");
    for (format, start) in [("table", "`"), ("markdown", "## Measured run"), ("svg", "<svg")] {
        let output = place.run(&["observe", "--replay", &path, "--format", format]);
        let text = stdout(&output);
        assert!(text.starts_with(start), "{text}");
        for part in ["prefill", "decode", "10.25 GiB"] {
            assert!(text.contains(part), "{format}: no `{part}` in {text}");
        }
    }
}

#[test]
fn what_is_no_recording_is_refused() {
    let place = Place::new();
    let whole = fs_err::read_to_string(recording("cpu-phases")).unwrap();
    let middle = whole.replacen("\"sample\"", "\"other\"", 1);
    for (text, message) in [
        ("", "header"),
        ("{}\n", "header"),
        (middle.as_str(), "is not a line of a recording"),
        (whole.lines().next().unwrap(), "before the command started"),
    ] {
        fs_err::write(place.path("damaged"), text).unwrap();
        let output = place.run(&["observe", "--replay", "damaged"]);
        assert_eq!(output.status.code(), Some(1));
        let told = stderr(&output);
        assert!(told.contains(message) && told.contains("hint: "), "{told}");
    }
    let output = place.run(&["observe", "--replay", "missing.jsonl"]);
    assert!(stderr(&output).contains("missing.jsonl"), "{output:?}");
    fs_err::write(place.path("damaged"), [0xff, 0xfe]).unwrap();
    assert!(stderr(&place.run(&["observe", "--replay", "damaged"])).contains("not UTF-8"));
}

#[test]
fn a_recording_cut_anywhere_is_replayed_or_refused_but_never_breaks() {
    let place = Place::new();
    let whole = fs_err::read(recording("fake-nvml-oom")).unwrap();
    for length in (0..whole.len()).step_by(whole.len() / 12 + 1) {
        fs_err::write(place.path("damaged"), &whole[..length]).unwrap();
        let output = place.run(&["observe", "--replay", "damaged"]);
        assert!(matches!(output.status.code(), Some(0 | 1)), "{length}: {}", stderr(&output));
    }
}
