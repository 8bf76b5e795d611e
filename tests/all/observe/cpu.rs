//! Main memory of real processes.

use super::support::{Place, codes, file, mib, peak_of, stderr, stdout};

#[test]
fn phases_of_a_program_are_measured() {
    let script = file("phases.py");
    let place = Place::new();
    let flags = ["--device", "cpu", "--", "python3", script.to_str().unwrap()];
    let (report, output) = place.report(&flags);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output), "generating\n");
    assert_eq!(report["schema"], "vramplan/observe/v1");
    let names: Vec<_> =
        report["phases"].as_array().unwrap().iter().map(|row| row["name"].clone()).collect();
    assert_eq!(names, ["start", "load", "prefill", "decode"]);
    let start = mib(&report["phases"][0]["end"]);
    let above = |phase| peak_of(&report, phase) - start;
    // What the script holds, and the little that the interpreter takes besides.
    assert!((64..68).contains(&above("load")), "{report:#}");
    assert!((144..148).contains(&above("prefill")), "{report:#}");
    // A phase begins with the last reading of the one before, and the very last may be of a program that
    // is being taken down.
    let end = mib(&report["phases"][3]["end"]).saturating_sub(start);
    assert!(above("decode") >= 96 && end < 100, "{report:#}");
    assert_eq!(report["peak"]["phase"], "prefill");
    assert_eq!(report["exit"]["code"], 0);
    assert!(codes(&report).is_empty(), "{report:#}");
}

#[test]
fn phases_by_pattern_and_by_time() {
    let place = Place::new();
    let script = "echo loading; sleep 0.1; echo generating >&2; sleep 0.4";
    let flags = [
        "--device",
        "cpu",
        "--phase",
        "load=^loading$",
        "--phase",
        "decode=^gen",
        "--phase-at",
        "late=0.3",
        "--",
        "sh",
        "-c",
        script,
    ];
    let (report, output) = place.report(&flags);
    assert_eq!((stdout(&output), stderr(&output)), ("loading\n".into(), "generating\n".into()));
    let names: Vec<_> =
        report["phases"].as_array().unwrap().iter().map(|row| row["name"].clone()).collect();
    assert_eq!(names, ["start", "load", "decode", "late"]);
}

#[test]
fn output_passes_through_byte_by_byte() {
    let place = Place::new();
    let script = "printf 'a\\0b\\377\\r\\nno end'; printf 'e\\001' >&2; cat; exit 3";
    for pattern in [&[][..], &["--phase", "x=never"]] {
        let given = ["observe", "--device", "cpu", "--report", "report.txt"];
        let rest = ["--", "sh", "-c", script];
        let mut command = place.command(&[&given[..], pattern, &rest].concat());
        fs_err::write(place.path("in"), b"from \x00 stdin").unwrap();
        command.stdin(fs_err::File::open(place.path("in")).unwrap().into_parts().0);
        let output = command.output().unwrap();
        assert_eq!(output.stdout, b"a\0b\xff\r\nno endfrom \x00 stdin");
        assert_eq!(output.stderr, b"e\x01");
        assert_eq!(output.status.code(), Some(3));
    }
}

#[test]
fn a_report_is_never_mixed_with_data() {
    let place = Place::new();
    let output = place.run(&["observe", "--device", "cpu", "--", "echo", "data"]);
    assert_eq!(stdout(&output), "data\n");
    assert!(stderr(&output).contains("resident memory of the process tree"), "{output:?}");
}

#[test]
fn what_is_no_phase_line_is_told_and_nothing_breaks() {
    let place = Place::new();
    let script = "echo garbage > $VRAMPLAN_PHASE_PATH; echo '{\"phase\":\"a\"}' >&$VRAMPLAN_PHASE_FD; \
                  printf 'half' > $VRAMPLAN_PHASE_PATH";
    let (report, output) = place.report(&["--device", "cpu", "--", "bash", "-c", script]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(report["phases"][1]["name"], "a");
    let told = codes(&report);
    assert_eq!(told.iter().filter(|code| **code == "phase-line-malformed").count(), 2, "{told:?}");
}

#[test]
fn a_plan_is_compared_and_decides_the_exit_code() {
    let script = file("phases.py");
    let place = Place::new();
    let plan = ["--gpu", "L4", "--model", "qwen2.5-0.5b", "--cache-tokens", "1000"];
    let run = ["--device", "cpu", "--", "python3", script.to_str().unwrap(), "0.02"];
    let (report, output) = place.report(&[&plan[..], &run].concat());
    assert_eq!(output.status.code(), Some(4));
    let comparison = &report["comparison"];
    assert_eq!(comparison["within"], false);
    assert_eq!(comparison["peak"]["verdict"], "below");
    let phases: Vec<_> =
        comparison["phases"].as_array().unwrap().iter().map(|row| row["name"].clone()).collect();
    assert_eq!(phases, ["load", "prefill", "decode"]);
    let weights = &comparison["components"][0];
    assert_eq!(
        (weights["id"].as_str(), mib(&weights["stated"]["measured"])),
        (Some("weights"), 64)
    );
    assert!(comparison["unexplained"].as_i64().unwrap() < 0);
    let (_, failed) = place.report(&[&plan[..], &["--device", "cpu", "--", "false"]].concat());
    assert_eq!(failed.status.code(), Some(1), "the command's own failure comes first");
}

#[test]
fn sampling_is_as_fast_as_promised_or_says_what_it_was() {
    let place = Place::new();
    let (report, _) = place.report(&["--device", "cpu", "--", "sleep", "0.5"]);
    let (readings, rate) = (&report["sampling"]["readings"], &report["sampling"]["rate"]);
    let ratio = readings.as_f64().unwrap() / report["seconds"].as_f64().unwrap();
    assert!((ratio / rate.as_f64().unwrap() - 1.0).abs() < 0.05, "{report:#}");
}

#[test]
fn nothing_runs_where_a_flag_or_a_file_is_wrong() {
    let place = Place::new();
    for (flags, message) in [
        (&["--phase", "decode"][..], "expected NAME=REGEX"),
        (&["--phase-at", "decode=soon"], "expected NAME=SECONDS"),
        (&["--tolerance=-1"], "expected a percentage"),
        (&["--record", "/nonexistent/run.jsonl"], "/nonexistent/run.jsonl"),
        (&["--model", "no-such-model", "--gpu", "L4"], "no-such-model"),
    ] {
        let run = ["--", "touch", "ran"];
        let output = place.run(&[&["observe", "--device", "cpu"], flags, &run].concat());
        assert!(matches!(output.status.code(), Some(1 | 2)), "{output:?}");
        assert!(stderr(&output).contains(message), "{output:?}");
        assert!(!place.path("ran").exists(), "{flags:?}");
    }
    let output =
        place.run(&["observe", "--device", "cpu", "--record", "r", "--", "no-such-command"]);
    assert_eq!(output.status.code(), Some(1));
    let message = stderr(&output);
    assert!(message.contains("`no-such-command` cannot be started: No such file"), "{message}");
    assert!(message.contains("hint: "), "{message}");
    assert!(!place.path("r").exists(), "a record of nothing was left behind");
}
