//! The kit that measures a card, rehearsed on one that is not there: its scripts run before they are on a machine with
//! a GPU.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use super::{L4_CONTEXT, MIB, stderr};

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/kit/take.py")
}

/// `take.py --virtual L4` of these steps, into a folder.
fn taken(out: &Path, steps: &[&str], python: &str) -> Output {
    let programs = Path::new(env!("CARGO_BIN_EXE_vramplan")).parent().unwrap();
    let mut asked = Command::new("python3");
    asked.arg(script()).args(["--virtual", "L4", "--out"]).arg(out).arg("--only").args(steps);
    asked.env("VRAMPLAN_BIN", programs).env("PYTHON", python).env("PYTHONDONTWRITEBYTECODE", "1");
    asked.env("XDG_CONFIG_HOME", "/nonexistent").output().unwrap()
}

fn assert_done(output: &Output, out: &Path, steps: &[&str]) {
    let said = String::from_utf8_lossy(&output.stdout);
    for step in steps {
        let log = fs_err::read_to_string(out.join("logs").join(format!("{step}.log")));
        let is_done = said.lines().any(|line| line.starts_with(step) && line.contains(" done in "));
        assert!(is_done, "{said}{}{}", stderr(output), log.unwrap_or_default());
    }
}

/// Every figure of a record, by question and act; no question failed.
fn figures(record: &Path) -> Vec<Value> {
    let text = fs_err::read_to_string(record).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(rows.iter().all(|row| row["error"].is_null()), "{text}");
    rows
}

#[test]
fn a_card_is_asked_by_steps_that_are_not_taken_twice() {
    let out = tempfile::tempdir().unwrap();
    let steps = ["machine", "card_driver", "doctor", "card_objects"];
    assert_done(&taken(out.path(), &steps, "python3"), out.path(), &steps);

    let rows = figures(&out.path().join("card-machine.jsonl"));
    let grown = |question: &str, what: &str, size: Option<u64>| {
        let is_it = |row: &&Value| {
            row["question"] == question && row["what"] == what && row["size"].as_u64() == size
        };
        rows.iter().find(is_it).unwrap_or_else(|| panic!("{question} {what}"))["grown"].clone()
    };
    assert_eq!(grown("context", "context", None)["nvml"], L4_CONTEXT);
    assert_eq!(grown("second_process", "context of a second process", None)["used"], L4_CONTEXT);
    assert_eq!(grown("malloc", "cuMemAlloc", Some(1))["used"], 2 * MIB);
    assert_eq!(grown("malloc", "cuMemAlloc", Some(3 * MIB))["used"], 4 * MIB);
    assert_eq!(grown("pool", "cuMemAllocAsync", Some(1))["used"], 32 * MIB);
    assert_eq!(grown("virtual", "cuMemCreate", Some(20 * MIB))["used"], 20 * MIB);
    let objects = figures(&out.path().join("card-objects.jsonl"));
    assert!(objects.iter().any(|row| row["what"] == "cuBLASLt's handle"), "{objects:#?}");

    let again = taken(out.path(), &steps, "python3");
    let said = String::from_utf8_lossy(&again.stdout).into_owned();
    assert_eq!(said.matches("done before").count(), steps.len(), "{said}");
}

/// With a Python that has everything and does nothing, the steps around an engine's start run.
#[test]
fn starts_of_vllm_are_taken_with_a_model_of_holes() {
    let out = tempfile::tempdir().unwrap();
    let python = out.path().join("python");
    fs_err::write(&python, "#!/bin/sh\nexit 0\n").unwrap();
    fs_err::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
    let steps = ["vllm_cold", "vllm_warm", "vllm_eager"];
    let output = taken(out.path(), &steps, python.to_str().unwrap());
    assert_done(&output, out.path(), &steps);
    assert!(out.path().join("qwen2.5-0.5b/config.json").is_file());
}

#[test]
fn a_budget_leaves_out_what_it_has_no_time_for() {
    let out = tempfile::tempdir().unwrap();
    let mut asked = Command::new("python3");
    asked.arg(script()).args(["--device", "cpu", "--budget", "15", "--out"]).arg(out.path());
    let programs = Path::new(env!("CARGO_BIN_EXE_vramplan")).parent().unwrap();
    asked.env("VRAMPLAN_BIN", programs).env("PYTHON", "/nonexistent/python");
    let output = asked.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let line = |step: &str| said.lines().find(|line| line.starts_with(step)).unwrap_or_default();
    assert!(line("machine").contains(" done in "), "{said}{}", stderr(&output));
    assert!(line("calibrate_14b").contains("left out: it is given 90 s"), "{said}");
    assert!(output.status.success(), "{said}");
}
