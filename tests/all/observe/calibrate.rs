//! The supervisor with a scripted worker: whole runs, and every way in which one can go wrong.

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::support::{Place, file, mib, runs, stderr};

const HELLO: &str = r#"{"type":"hello","protocol":3,"version":"0"}"#;
const PHASES: [&str; 4] = ["weights", "system_prefill", "prefill", "decode"];
const FLAGS: [&str; 14] = [
    "calibrate",
    "--device",
    "cpu",
    "--gpu",
    "L4",
    "--model",
    "qwen2.5-0.5b",
    "--synthetic",
    "--cache-tokens",
    "1000",
    "--record",
    "run.jsonl",
    "--format",
    "json",
];

fn begin(phase: &str) -> String {
    format!(r#"{{"type":"begin","phase":"{phase}"}}"#)
}

fn end(phase: &str) -> String {
    format!(r#"{{"type":"end","phase":"{phase}"}}"#)
}

/// The script up to and into a phase.
fn until(phase: &str) -> String {
    let mut steps = vec![HELLO.to_owned()];
    for known in PHASES {
        steps.push(begin(known));
        steps.push("sleep 0.03".to_owned());
        if known == phase {
            break;
        }
        steps.push(end(known));
    }
    steps.join("\n")
}

fn command(place: &Place, script: &str, more: &[&str]) -> Command {
    let mut command = place.command(&[&FLAGS[..], more].concat());
    command.env("VRAMPLAN_WORKER", file("worker.py")).env("WORKER_SCRIPT", script);
    command
}

fn run(place: &Place, script: &str, more: &[&str]) -> Output {
    command(place, script, more).output().unwrap()
}

/// The report that was printed, and that the recording gives again.
fn report(place: &Place, output: &Output) -> Value {
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("no report: {}", stderr(output)));
    let again = place.run(&["calibrate", "--replay", "run.jsonl", "--format", "json"]);
    assert_eq!(serde_json::from_slice::<Value>(&again.stdout).unwrap(), report);
    report
}

#[test]
fn a_whole_run_is_measured_and_compared() {
    let place = Place::new();
    let script = format!(
        "{HELLO}\n{}\nhold 64\n{}\nsleep 0.05\n{}\n{}\nhold 32\n{}\n{}\nsleep 0.05\n{}\n{}\n",
        begin("weights"),
        r#"{"type":"holds","component":"weights","bytes":67108864}"#,
        end("weights"),
        begin("decode"),
        r#"{"type":"speed","phase":"decode","tokens":50,"milliseconds":2000}"#,
        r#"{"type":"pool","used":100663296,"reserved":134217728}"#,
        end("decode"),
        r#"{"type":"done"}"#,
    );
    let output = run(&place, &script, &["--decode-tokens", "9"]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    let report = report(&place, &output);
    let names: Vec<_> =
        report["phases"].as_array().unwrap().iter().map(|row| row["name"].clone()).collect();
    assert_eq!(names, ["start", "weights", "decode"]);
    assert_eq!(mib(&report["comparison"]["components"][0]["stated"]["measured"]), 64);
    assert_eq!(mib(&report["counters"]["pool_reserved_bytes"]), 128);
    assert_eq!(report["counters"]["decode_milliseconds"], 2000);
    let order: Value =
        serde_json::from_slice(&fs_err::read(place.path("order.json")).unwrap()).unwrap();
    assert_eq!(
        (order["deployment"]["model"].as_str(), order["device"].as_str()),
        (Some("qwen2.5-0.5b"), Some("cpu"))
    );
    assert_eq!(
        (order["deployment"]["cache_tokens"].as_u64(), order["decode_tokens"].as_u64()),
        (Some(1000), Some(9))
    );
    assert_eq!(order["synthetic"], true);
    let lenient = run(&place, &script, &["--tolerance", "100"]);
    assert_eq!(lenient.status.code(), Some(0), "{}", stderr(&lenient));
}

#[test]
fn a_worker_that_is_killed_is_told_with_its_phase() {
    for phase in PHASES {
        let place = Place::new();
        let marker = format!("vramplan-test-killed-{phase}-{}", std::process::id());
        let script = format!("child {marker}\n{}\nhold 16\nsleep 0.05\ndie SIGKILL", until(phase));
        let output = run(&place, &script, &[]);
        assert_eq!(output.status.code(), Some(1));
        let text = stderr(&output);
        assert!(
            text.contains(&format!("the worker ended in phase `{phase}` by signal 9")),
            "{text}"
        );
        assert!(text.contains("hint: "), "{text}");
        assert!(!runs(&marker), "a child of the worker was left behind");
        // What was measured so far is kept.
        let report = report(&place, &output);
        let last = report["phases"].as_array().unwrap().last().unwrap();
        assert_eq!(last["name"], phase);
    }
}

#[test]
fn every_other_end_has_its_message() {
    let failed = |kind: &str| format!(r#"{{"type":"failed","kind":"{kind}","message":"no room"}}"#);
    for (steps, message, hint) in [
        ("exit 3".to_owned(), "in phase `prefill` with exit code 3", "its own words"),
        ("exit 0".to_owned(), "in phase `prefill` with exit code 0", "its own words"),
        ("die SIGSEGV".to_owned(), "by signal 11", "its own words"),
        ("say garbage".to_owned(), "said `garbage`, which is not a message", "hint: "),
        ("say {\"type\":\"sing\"}".to_owned(), "which is not a message", "hint: "),
        (begin("decode"), "said `begin` out of turn", "hint: "),
        (
            format!("{}\nexit 1", failed("out-of-memory")),
            "memory was exhausted in phase `prefill`: no room",
            "a smaller cache",
        ),
        (
            "stderr CUDA_ERROR_OUT_OF_MEMORY\nsleep 0.05\nexit 1".to_owned(),
            "memory was exhausted in phase `prefill`",
            "a smaller cache",
        ),
        (format!("{}\nexit 1", failed("no-device")), "no room", "vramplan doctor"),
    ] {
        let place = Place::new();
        let output = run(&place, &format!("{}\n{steps}", until("prefill")), &[]);
        assert_eq!(output.status.code(), Some(1), "{steps}");
        let text = stderr(&output);
        assert!(text.contains(message) && text.contains(hint), "{steps}: {text}");
        report(&place, &output);
    }
}

#[test]
fn a_worker_that_hangs_is_ended_even_if_it_does_not_listen() {
    for (script, message) in [
        ("hang".to_owned(), "before it said hello: the worker was silent for 1 s"),
        (
            format!("deaf\n{}\nhang", until("decode")),
            "in phase `decode`: the worker was silent for 1 s",
        ),
    ] {
        let place = Place::new();
        let begun = Instant::now();
        let output = run(&place, &script, &["--patience", "1"]);
        assert_eq!(output.status.code(), Some(1));
        let text = stderr(&output);
        assert!(text.contains(message) && text.contains("--patience"), "{text}");
        assert!(begun.elapsed() < Duration::from_secs(60));
        report(&place, &output);
    }
}

#[test]
fn a_worker_that_lives_is_not_silent() {
    let place = Place::new();
    let alive = "{\"type\":\"alive\"}\nsleep 0.5\n".repeat(4);
    let script =
        format!("{}\n{alive}\n{}\n{}", until("decode"), end("decode"), r#"{"type":"done"}"#);
    let output = run(&place, &script, &["--patience", "2", "--tolerance", "100"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

fn started(place: &Place, script: &str) -> Child {
    let mut command = command(place, &format!("{script}\ntouch ready\nhang"), &[]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while !place.path("ready").exists() {
        assert!(begun.elapsed() < Duration::from_secs(30), "the worker never got there");
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

#[test]
fn ctrl_c_ends_the_run_and_keeps_what_was_measured() {
    let place = Place::new();
    let child = started(&place, &until("prefill"));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    let report = report(&place, &output);
    assert_eq!(report["phases"].as_array().unwrap().last().unwrap()["name"], "prefill");
}

#[test]
fn ctrl_c_twice_ends_a_worker_that_does_not_listen() {
    let place = Place::new();
    let marker = format!("vramplan-test-twice-{}", std::process::id());
    let child = started(&place, &format!("child {marker}\ndeaf\n{}", until("decode")));
    for _ in 0..2 {
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        std::thread::sleep(Duration::from_millis(200));
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(!runs(&marker));
    report(&place, &output);
}

#[test]
fn a_worker_does_not_outlive_a_supervisor_that_is_killed() {
    let place = Place::new();
    let mut child = started(&place, &until("decode"));
    let script = file("worker.py").display().to_string();
    child.kill().unwrap();
    child.wait().unwrap();
    // Other tests run workers too: this one's folder tells it from theirs.
    let ours = || {
        let processes = fs_err::read_dir("/proc").unwrap().flatten();
        let mut paths = processes.map(|entry| entry.path());
        paths.any(|path| {
            let line = fs_err::read_to_string(path.join("cmdline")).unwrap_or_default();
            let folder = fs_err::read_link(path.join("cwd")).unwrap_or_default();
            line.contains(&script) && folder == fs_err::canonicalize(place.path("")).unwrap()
        })
    };
    let begun = Instant::now();
    while ours() {
        assert!(begun.elapsed() < Duration::from_secs(10), "the worker lives on");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_full_disk_is_told_once_the_run_is_over() {
    let place = Place::new();
    let script = format!("{}\n{}\n{}", until("decode"), end("decode"), r#"{"type":"done"}"#);
    let flags: Vec<_> =
        FLAGS.iter().map(|flag| if *flag == "run.jsonl" { "/dev/full" } else { flag }).collect();
    let mut command = place.command(&flags);
    command.env("VRAMPLAN_WORKER", file("worker.py")).env("WORKER_SCRIPT", script);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("the record cannot be written in phase"), "{text}");
    assert!(text.contains("No space left") && text.contains("hint: "), "{text}");
    serde_json::from_slice::<Value>(&output.stdout).unwrap();
}

#[test]
fn without_a_worker_there_is_a_message() {
    let place = Place::new();
    let mut command = place.command(&FLAGS);
    let output = command.env("VRAMPLAN_WORKER", "/nonexistent/worker").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("there is no file `/nonexistent/worker`"), "{output:?}");
    assert!(stderr(&output).contains("hint: name a `vramplan-worker` there"), "{output:?}");
    assert!(!place.path("run.jsonl").exists());
}

/// On the fake driver: what is learned here is no evidence about any card.
#[cfg(feature = "nvml")]
#[test]
fn what_cannot_be_learned_is_said_before_anything_runs() {
    let place = Place::new();
    let output = run(&place, &until("decode"), &["--write", "known"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("only a run on a GPU says what a GPU holds"));
    assert!(!place.path("run.jsonl").exists() && !place.path("known").exists());
}

#[test]
fn what_a_run_teaches_is_planned_with() {
    let card = "name=NVIDIA L4\nuuid=GPU-fake\ntotal=23034\nreserved=476\nused=100\n";
    let place = Place::with_driver(card);
    let script = format!(
        "{}\ngpu used=1100\nsleep 0.05\n{}\n{}\ngpu used=100\n{}",
        until("decode"),
        r#"{"type":"pool","used":681574400,"reserved":734003200}"#,
        end("decode"),
        r#"{"type":"done"}"#
    );
    let calibrate = |more: &[&str]| {
        let given = [
            "calibrate",
            "--model",
            "qwen2.5-0.5b",
            "--synthetic",
            "--write",
            "mine",
            "--tolerance",
            "100",
        ];
        let mut command = place.command(&[&given[..], more].concat());
        command.env("VRAMPLAN_WORKER", file("worker.py")).env("WORKER_SCRIPT", &script);
        command.output().unwrap()
    };
    let budget = || -> Value {
        let flags = ["--gpu", "L4", "--model", "qwen2.5-0.5b", "--format", "json"];
        let output = place.run(&[&["budget", "--profiles", "mine"], &flags[..]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(&output)))
    };
    for _ in 0..2 {
        let output = calibrate(&["--record", "run.jsonl"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        // Runs are told apart by their second.
        std::thread::sleep(Duration::from_millis(1100));
    }
    let text = fs_err::read_to_string(place.path("mine/calibrated/l4+vramplan.toml")).unwrap();
    // Held 1000 MiB, of which the pool took 700.
    assert_eq!(text.matches("overhead = \"314572800 B\"").count(), 2, "{text}");
    let plan = budget();
    let rows = plan["components"].as_array().unwrap();
    let overhead = rows.iter().find(|row| row["id"] == "runtime_overhead").unwrap();
    assert_eq!(overhead["basis"], "calibrated");
    let context = &overhead["buffers"][0];
    assert_eq!([&context["low"], &context["expected"], &context["high"]].map(mib), [297, 300, 303]);
    let again =
        place.run(&["calibrate", "--replay", "run.jsonl", "--write", "mine", "--tolerance", "100"]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert!(stderr(&again).contains("2 run(s)"), "a run counts once: {}", stderr(&again));
    fs_err::write(place.path("mine/calibrated/l4+vramplan.toml"), "schema = 1").unwrap();
    let broken = calibrate(&[]);
    assert_eq!(broken.status.code(), Some(1));
    assert!(stderr(&broken).contains("l4+vramplan.toml"), "{}", stderr(&broken));
}
