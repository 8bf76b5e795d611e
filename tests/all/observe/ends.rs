//! How runs end: signals, crashes, orphans, a full disk. Nothing may be left behind.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::support::{Place, codes, runs, stderr};

/// Starts `observe` around a shell script and waits until the script says that it is ready.
fn start(place: &Place, script: &str) -> Child {
    let given = ["observe", "--device", "cpu", "--record", "run.jsonl", "--report", "report.txt"];
    let script = format!("{script}\ntouch ready; while :; do sleep 0.05; done");
    let mut command = place.command(&[&given[..], &["--", "bash", "-c", &script]].concat());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("the script is ready", || place.path("ready").exists());
    child
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(30), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// A word that no other process has in its command line.
fn marker(name: &str) -> String {
    format!("vramplan-test-{name}-{}", std::process::id())
}

fn replays(place: &Place) -> serde_json::Value {
    let output = place.run(&["observe", "--replay", "run.jsonl", "--format", "json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn ctrl_c_reaches_the_command_which_may_end_as_it_likes() {
    let place = Place::new();
    let child = start(&place, "trap 'exit 7' INT");
    send(&child, Signal::INT);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(7));
    assert!(place.path("report.txt").exists());
    assert_eq!(replays(&place)["exit"]["code"], 7);
}

#[test]
fn ctrl_c_twice_kills_what_does_not_listen() {
    let place = Place::new();
    let marker = marker("deaf");
    // The child has a session of its own, the grandchild too.
    let script = format!(
        "trap '' INT TERM; setsid bash -c 'trap \"\" INT TERM; while :; do sleep 0.1; done; : {marker}' &"
    );
    let child = start(&place, &script);
    assert!(runs(&marker));
    send(&child, Signal::INT);
    std::thread::sleep(Duration::from_millis(300));
    assert!(runs(&marker), "one Ctrl-C is only forwarded");
    send(&child, Signal::INT);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(128 + 9));
    assert!(!runs(&marker), "a grandchild was left behind");
    assert_eq!(replays(&place)["exit"]["signal"], 9);
}

#[test]
fn a_signal_that_ends_the_command_is_in_the_exit_code() {
    let place = Place::new();
    let (report, output) = place.report(&["--device", "cpu", "--", "sh", "-c", "kill -SEGV $$"]);
    assert_eq!(output.status.code(), Some(128 + 11));
    assert_eq!(report["exit"]["signal"], 11);
    let child = start(&place, "");
    send(&child, Signal::TERM);
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(128 + 15));
}

#[test]
fn other_signals_are_forwarded() {
    let place = Place::new();
    let child = start(&place, "trap 'touch told' USR1");
    send(&child, Signal::USR1);
    until("the signal arrives", || place.path("told").exists());
    send(&child, Signal::TERM);
    child.wait_with_output().unwrap();
}

#[test]
fn what_outlives_the_command_is_ended_and_told() {
    let place = Place::new();
    let marker = marker("orphan");
    let script = format!("setsid bash -c 'sleep 60; : {marker}' & exit 0");
    let (report, output) = place.report(&["--device", "cpu", "--", "bash", "-c", &script]);
    assert_eq!(output.status.code(), Some(0));
    assert!(codes(&report).contains(&"processes-left"), "{report:#}");
    assert!(!runs(&marker));
}

#[test]
fn a_killed_observer_leaves_a_record_that_is_valid() {
    let place = Place::new();
    let mut child =
        start(&place, "echo '{\"phase\":\"load\"}' > $VRAMPLAN_PHASE_PATH; echo $$ > pid");
    std::thread::sleep(Duration::from_millis(400));
    send(&child, Signal::KILL);
    child.wait().unwrap();
    let report = replays(&place);
    assert_eq!(report["exit"], serde_json::Value::Null);
    assert_eq!(report["phases"][1]["name"], "load");
    // Nothing can forward a KILL; the command is this test's to end.
    let pid: i32 = fs_err::read_to_string(place.path("pid")).unwrap().trim().parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn a_full_disk_is_told_with_its_phase_and_the_command_goes_on() {
    let place = Place::new();
    let script =
        "echo '{\"phase\":\"prefill\"}' > $VRAMPLAN_PHASE_PATH; sleep 0.3; echo done > finished";
    let run = |script: &str| {
        place.run(&[
            "observe",
            "--device",
            "cpu",
            "--record",
            "/dev/full",
            "--",
            "sh",
            "-c",
            script,
        ])
    };
    let output = run(script);
    assert_eq!(output.status.code(), Some(1));
    assert!(place.path("finished").exists());
    let message = stderr(&output);
    assert!(message.contains("cannot be written in phase `start`"), "{message}");
    assert!(message.contains("No space left on device") && message.contains("hint:"), "{message}");
    assert!(message.contains("prefill"), "the report is there all the same: {message}");
    assert_eq!(run("exit 5").status.code(), Some(5), "the command's own failure comes first");
}

#[test]
fn a_disk_that_fills_up_leaves_whole_lines() {
    let place = Place::new();
    // A limit on the size of files stands for a small disk; its signal is ignored, as on a full one.
    let script = "i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo \"{\\\"phase\\\":\\\"p$i\\\"}\" > $VRAMPLAN_PHASE_PATH; sleep 0.01; done";
    let vramplan = env!("CARGO_BIN_EXE_vramplan");
    let limited = format!(
        "trap '' XFSZ; ulimit -f 2; exec {vramplan} observe --device cpu --record run.jsonl -- sh -c '{script}'"
    );
    let mut command = place.command(&[]);
    let environment: Vec<_> = command
        .get_envs()
        .filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned())))
        .collect();
    command = std::process::Command::new("bash");
    command.args(["-c", &limited]).current_dir(place.path("")).envs(environment);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("File too large"), "{}", stderr(&output));
    let text = fs_err::read_to_string(place.path("run.jsonl")).unwrap();
    assert!(text.ends_with('\n') && text.len() <= 2048, "{} bytes", text.len());
    assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    replays(&place);
}

#[test]
fn a_closed_standard_output_ends_the_command_as_it_would_alone() {
    let place = Place::new();
    let vramplan = env!("CARGO_BIN_EXE_vramplan");
    let line =
        format!("{vramplan} observe --device cpu --report r.txt --phase x=never -- yes | head -1");
    let output = std::process::Command::new("bash")
        .args(["-c", &line])
        .current_dir(place.path(""))
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"y\n");
    assert!(place.path("r.txt").exists());
}
