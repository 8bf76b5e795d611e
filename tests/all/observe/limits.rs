//! Programs that say too much, or what nobody understands, and files that cannot be had: a run ends in time,
//! takes little memory, and is not lost.

use std::time::{Duration, Instant};

use super::support::{Place, codes, stderr};

/// What the report says of the run's own words.
fn complaints(report: &serde_json::Value) -> String {
    let texts =
        report["diagnoses"].as_array().unwrap().iter().map(|found| found["text"].to_string());
    texts.collect::<Vec<_>>().join("\n")
}

fn phases(report: &serde_json::Value) -> Vec<&str> {
    report["phases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|phase| phase["name"].as_str().unwrap())
        .collect()
}

#[test]
fn orphans_that_have_ended_are_not_left_over() {
    let place = Place::new();
    let begun = Instant::now();
    let script = "for i in 1 2 3 4 5 6 7 8; do (sleep 0.05 &); done; sleep 2.5; \
        cat /proc/$PPID/task/*/children > children";
    let (report, output) = place.report(&["--device", "cpu", "--", "bash", "-c", script]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(!codes(&report).contains(&"processes-left"), "{report:#}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let children = fs_err::read_to_string(place.path("children")).unwrap();
    assert_eq!(children.split_whitespace().count(), 1, "zombies beside the command: {children}");
}

#[test]
fn what_ends_when_it_is_asked_to_costs_no_time() {
    let place = Place::new();
    let begun = Instant::now();
    let (report, _) = place.report(&["--device", "cpu", "--", "bash", "-c", "(sleep 60 &)"]);
    assert!(codes(&report).contains(&"processes-left"), "{report:#}");
    assert!(begun.elapsed() < Duration::from_millis(2_500), "{:?}", begun.elapsed());
}

#[test]
fn no_line_of_the_command_ends_the_hearing() {
    let place = Place::new();
    let script = r#"printf '\0\n' > $VRAMPLAN_PHASE_PATH
        echo '{"phase":"late"}' > $VRAMPLAN_PHASE_PATH
        sleep 0.2
        timeout 1 head -c 65536 /dev/zero > $VRAMPLAN_PHASE_PATH
        true"#;
    let begun = Instant::now();
    let (report, output) = place.report(&["--device", "cpu", "--", "bash", "-c", script]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(phases(&report), ["start", "late"]);
    assert!(complaints(&report).contains("is not a phase line"), "{report:#}");
}

#[test]
fn a_talkative_command_costs_little_memory_and_no_time_after_its_end() {
    let place = Place::new();
    let vramplan = env!("CARGO_BIN_EXE_vramplan");
    let script = r#"timeout 3 yes "{\"phase\":\"a\"}" > $VRAMPLAN_PHASE_PATH; date +%s.%N > ended"#;
    // Far below what it takes to keep all that is said.
    let limited = format!(
        "ulimit -v 1500000; exec {vramplan} observe --device cpu --record run.jsonl --report r.json \
         --format json -- bash -c '{script}'"
    );
    let environment = place.command(&[]);
    let mut command = std::process::Command::new("bash");
    command.args(["-c", &limited]).current_dir(place.path(""));
    command.envs(environment.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let output = command.output().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let ended = fs_err::read_to_string(place.path("ended")).unwrap();
    let late = now.as_secs_f64() - ended.trim().parse::<f64>().unwrap();
    assert!(late < 5.0, "{late} s after the command");
    let report = fs_err::read_to_string(place.path("r.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert!(complaints(&report).contains("were left out"), "{report:#}");
    assert!(phases(&report).contains(&"a"));
    let size = fs_err::metadata(place.path("run.jsonl")).unwrap().len();
    assert!(size < 20 << 20, "{size} B");
}

#[test]
fn a_report_that_cannot_be_written_is_refused_before_the_run() {
    let place = Place::new();
    let run = ["observe", "--device", "cpu", "--report", "/nonexistent/x", "--", "touch", "ran"];
    let output = place.run(&run);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("`/nonexistent/x` cannot be made"), "{}", stderr(&output));
    assert!(!place.path("ran").exists());
}

#[test]
fn a_report_that_cannot_be_written_after_all_is_shown_and_the_exit_code_stays() {
    let place = Place::new();
    let run = |script: &str| {
        fs_err::create_dir(place.path("out")).unwrap();
        place.run(&["observe", "--device", "cpu", "--report", "out/x", "--", "sh", "-c", script])
    };
    let output = run("rmdir out; exit 7");
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(7), "{told}");
    assert!(told.contains("exit code 7") && told.contains("error: cannot write `out/x`"), "{told}");
    let output = run("rmdir out");
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("peak ") && told.contains("error: cannot write `out/x`"), "{told}");
}

#[test]
fn a_record_that_is_there_outlives_a_typo() {
    let place = Place::new();
    let record = |command: &str| {
        place.run(&["observe", "--device", "cpu", "--record", "old.jsonl", "--", command])
    };
    assert_eq!(record("true").status.code(), Some(0));
    let old = fs_err::read_to_string(place.path("old.jsonl")).unwrap();
    assert_eq!(record("/no/such/command").status.code(), Some(1));
    assert_eq!(fs_err::read_to_string(place.path("old.jsonl")).unwrap(), old);
    assert_eq!(record("true").status.code(), Some(0));
    assert_ne!(fs_err::read_to_string(place.path("old.jsonl")).unwrap(), old);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let place = Place::new();
    let mut child = place
        .command(&["profiles", "list"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}
