//! Every way in which a run of the real worker can end: the phase is named, a way out is shown, nothing
//! is left behind.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{place, report, tiny, worker_runs};
use crate::observe::support::{Place, file, stderr};
use crate::smollm2;

/// The worker, which `cargo test` builds beside the command.
fn worker() -> std::path::PathBuf {
    let worker =
        std::path::Path::new(env!("CARGO_BIN_EXE_vramplan")).with_file_name("vramplan-worker");
    assert!(worker.is_file(), "no worker: `cargo build -p vramplan-engine` builds it");
    worker
}

/// A worker that is killed as soon as it says that a stage begins, with the shell around it.
fn killed_in(place: &Place, stage: &str) -> Command {
    let path = place.path("worker.sh");
    let script = format!(
        "#!/bin/sh\nexec python3 '{}' '{}' {stage}\n",
        file("../worker/killed.py").display(),
        worker().display()
    );
    fs_err::write(&path, script).unwrap();
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let more = ["--cache-tokens", "100", "--capture-layers", "1", "--capture-tokens", "8"];
    let mut command = tiny(place, &[&more[..], &["--record", "run.jsonl"]].concat());
    command.env("VRAMPLAN_WORKER", path);
    command
}

#[test]
fn killed_in_any_phase_it_is_told_with_its_phase() {
    for stage in [
        "baseline",
        "context",
        "libraries",
        "weights",
        "caches",
        "system_prefill",
        "prefill",
        "decode",
        "capture",
        "released",
    ] {
        let place = place();
        let output = killed_in(&place, stage).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{stage}: {}", stderr(&output));
        let text = stderr(&output);
        assert!(
            text.contains(&format!("the worker ended in phase `{stage}` by signal 9")),
            "{text}"
        );
        assert!(text.contains("hint: "), "{text}");
        assert!(!worker_runs(&place), "{stage}: a worker is left");
        // What was measured so far is kept, and can be read again.
        let report = report(&output);
        assert_eq!(report["phases"].as_array().unwrap().last().unwrap()["name"], stage);
        let again = place.run(&["calibrate", "--replay", "run.jsonl", "--format", "json"]);
        assert_eq!(serde_json::from_slice::<Value>(&again.stdout).unwrap(), report);
    }
}

#[test]
fn memory_that_runs_out_is_told_with_its_phase() {
    // Weights of 18 MiB, caches of 136 MiB.
    for (capacity, stage) in [("24MiB", "weights"), ("80MiB", "caches")] {
        let place = place();
        let sizes = ["--cache-tokens", "16000", "--context", "20000", "--headroom", "0MiB"];
        let more = ["--weights", "q8_0", "--capacity", capacity, "--report", "report.json"];
        let output = tiny(&place, &[&sizes[..], &more].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        let text = stderr(&output);
        assert!(text.contains(&format!("memory was exhausted in phase `{stage}`: ")), "{text}");
        assert!(
            text.contains("more are not to be had") && text.contains("a smaller cache"),
            "{text}"
        );
        assert!(!worker_runs(&place));
        serde_json::from_slice::<Value>(&fs_err::read(place.path("report.json")).unwrap()).unwrap();
    }
}

/// What the worker says of an order, without a supervisor.
fn told(order: &Value) -> (Vec<Value>, Option<i32>) {
    let mut child =
        Command::new(worker()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, format!("{order}\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    drop(input);
    let text = String::from_utf8(output.stdout).unwrap();
    (text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), output.status.code())
}

fn order(model: &str) -> Value {
    json!({ "protocol": 3, "device": "cpu", "synthetic": false, "decode_tokens": 4, "seed": 0,
        "profiles": [], "deployment": { "model": model, "runtime": "vramplan", "weights": "as-stored",
        "kv": "int8", "attention": "fused", "system_tokens": 4, "cache_tokens": 100,
        "recent_window": 64, "prefill_chunk": 32, "batch": 1, "context": 1000 } })
}

#[test]
fn a_damaged_model_is_told_by_planner_and_worker() {
    let Some(model) = smollm2::gguf() else { return };
    let place = Place::new();
    let whole = fs_err::read(&model).unwrap();
    let path = place.path("damaged.gguf");
    let mut other_magic = whole[..1 << 20].to_vec();
    other_magic[0] = b'X';
    for (bytes, part) in
        [(&whole[..whole.len() - 4096], "bytes"), (&other_magic[..], "magic"), (&[][..], "magic")]
    {
        fs_err::write(&path, bytes).unwrap();
        let output = place.run(&["calibrate", "--device", "cpu", "--model", "damaged.gguf"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("damaged.gguf"), "{part}: {}", stderr(&output));
        let (messages, code) = told(&order(path.to_str().unwrap()));
        let last = messages.last().unwrap();
        assert_eq!((&last["type"], &last["kind"]), (&json!("failed"), &json!("model")), "{last}");
        assert_eq!(code, Some(1));
    }
}

#[test]
fn an_order_that_is_none_is_refused() {
    for (order, part) in [
        (json!({ "protocol": 3 }), "is not understood"),
        (json!("hello"), "is not understood"),
        (
            {
                let mut other = order("x.gguf");
                other["protocol"] = json!(1);
                other
            },
            "protocol 1, not 3",
        ),
        (
            {
                let mut other = order("x.gguf");
                other["device"] = json!("tpu");
                other
            },
            "has no `tpu`",
        ),
    ] {
        let (messages, code) = told(&order);
        assert_eq!(messages[0]["type"], "hello");
        let last = messages.last().unwrap();
        assert!(last["message"].as_str().unwrap().contains(part), "{last}");
        assert_eq!(code, Some(1));
    }
}

/// A run that has come to a stage and will be there for long.
fn running(place: &Place, stage: &str) -> Child {
    let more = ["--cache-tokens", "100", "--decode-tokens", "15000", "--record", "run.jsonl"];
    let mut command = tiny(place, &more);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let wanted = format!("\"name\":\"{stage}\"");
    let begun = Instant::now();
    while !fs_err::read_to_string(place.path("run.jsonl")).is_ok_and(|text| text.contains(&wanted))
    {
        assert!(begun.elapsed() < Duration::from_secs(60), "the worker never got there");
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

#[test]
fn ctrl_c_ends_it_and_keeps_what_was_measured() {
    let place = place();
    let child = running(&place, "decode");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(!worker_runs(&place));
    let report = report(&output);
    assert_eq!(report["phases"].as_array().unwrap().last().unwrap()["name"], "decode");
}

#[test]
fn it_does_not_outlive_its_supervisor() {
    let place = place();
    let mut child = running(&place, "decode");
    child.kill().unwrap();
    child.wait().unwrap();
    let begun = Instant::now();
    while worker_runs(&place) {
        assert!(begun.elapsed() < Duration::from_secs(10), "the worker lives on");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn without_a_supervisor_it_explains_itself() {
    let run = |arguments: &[&str]| {
        Command::new(worker()).args(arguments).stdin(Stdio::null()).output().unwrap()
    };
    let about: Value = serde_json::from_slice(&run(&["--about"]).stdout).unwrap();
    assert_eq!((&about["protocol"], &about["devices"][0]), (&json!(3), &json!("cpu")));
    let other = run(&["--help"]);
    assert_eq!(other.status.code(), Some(2));
    assert!(stderr(&other).contains("vramplan calibrate"), "{}", stderr(&other));
    // Nobody there, no order.
    assert_eq!(run(&[]).status.code(), Some(1));
}
