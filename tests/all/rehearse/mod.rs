//! `rehearse` as users run it: a plain C program on cards that are not there.

#![cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]

mod faults;
mod kit;
mod llama;
mod python;
mod several;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

const MIB: u64 = 1 << 20;
/// An L4 by its profile: total, reserve, context.
const L4_USABLE: u64 = (23_034 - 476) * MIB;
const L4_CONTEXT: u64 = 258 * MIB;

/// The program, compiled once.
fn program() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let path = FOLDER.get_or_init(|| tempfile::tempdir().unwrap()).path().join("program");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/all/rehearse/program.c");
        let mut cc = Command::new("cc");
        cc.args(["-w", "-O1", "-o"]).arg(&path).arg(source).arg("-ldl");
        assert!(cc.status().expect("the tests need a C compiler").success());
        path
    })
}

/// `vramplan rehearse FLAGS -- program ARGUMENTS`, whose temporary files lie in a folder of its own.
struct Run {
    temporary: tempfile::TempDir,
    command: Command,
}

fn rehearse(flags: &[&str], arguments: &[&str]) -> Run {
    rehearse_command(flags, program().to_str().unwrap(), arguments)
}

fn rehearse_command(flags: &[&str], program: &str, arguments: &[&str]) -> Run {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vramplan"));
    command.arg("rehearse").args(flags).args(["--", program]).args(arguments);
    command.env("XDG_CONFIG_HOME", "/nonexistent").env("TMPDIR", temporary.path());
    command.stdin(std::process::Stdio::null());
    Run { temporary, command }
}

impl Run {
    fn output(mut self) -> Output {
        let output = self.command.output().unwrap();
        let left: Vec<_> = fs_err::read_dir(self.temporary.path()).unwrap().collect();
        assert!(left.is_empty(), "files are left behind: {left:?}");
        output
    }

    /// The document on standard output.
    fn json(mut self) -> (Value, Output) {
        // Before `--`.
        let words: Vec<_> = self.command.get_args().map(ToOwned::to_owned).collect();
        let mut command = Command::new(self.command.get_program());
        command.arg(&words[0]).arg("--json").args(&words[1..]);
        for (name, value) in self.command.get_envs() {
            command.env(name, value.unwrap());
        }
        self.command = command;
        let output = self.output();
        let document = serde_json::from_slice(&output.stdout);
        (document.unwrap_or_else(|error| panic!("{error}: {}", stderr(&output))), output)
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn bytes(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is not a size"))
}

/// What a kind of memory held at the peak of a card.
fn held(card: &Value, kind: &str) -> u64 {
    let kinds = card["by_kind"].as_array().unwrap();
    kinds.iter().find(|held| held["kind"] == kind).map_or(0, |held| bytes(&held["bytes"]))
}

#[test]
fn an_l4_is_filled_until_it_refuses() {
    let (document, output) = rehearse(&["--gpu", "L4"], &["fill", "1024"]).json();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    // What the program prints gives way to the document.
    let fits = (L4_USABLE - L4_CONTEXT) / (1024 * MIB) * 1024;
    assert!(stderr(&output).contains(&format!("taken {fits} MiB then 2")), "{}", stderr(&output));
    let run = &document["runs"][0];
    let card = &run["cards"][0];
    assert_eq!((card["name"].as_str(), bytes(&card["usable"])), (Some("L4"), L4_USABLE));
    assert_eq!((held(card, "malloc"), held(card, "context")), (fits * MIB, L4_CONTEXT));
    assert_eq!(bytes(&card["peak"]), fits * MIB + L4_CONTEXT);
    let outcome = &run["outcome"];
    assert_eq!((&outcome["id"], &outcome["code"]), (&"out_of_memory".into(), &0.into()));
    let refused = &outcome["refused"];
    assert_eq!((bytes(&refused["asked"]), &refused["call"]), (1024 * MIB, &"cudaMalloc".into()));
    assert_eq!(bytes(&refused["free"]), L4_USABLE - L4_CONTEXT - fits * MIB);
    assert!(
        document["answer"]
            .as_str()
            .unwrap()
            .starts_with("ran out of memory on L4: 1.00 GiB asked for")
    );
}

#[test]
fn a_3060_is_filled_and_the_first_line_says_so() {
    let output = rehearse(&["--gpu", "RTX 3060"], &["fill", "64"]).output();
    assert_eq!(output.status.code(), Some(3));
    assert!(stdout(&output).starts_with("taken 11776 MiB then 2\n"), "{}", stdout(&output));
    let report = stderr(&output);
    assert!(
        report.starts_with("ran out of memory on RTX 3060: 64.00 MiB asked for (cudaMalloc), "),
        "{report}"
    );
    assert!(
        report.lines().all(|line| line.chars().count() <= 80 || line.contains('/')),
        "{report}"
    );
    for part in ["at the peak", "cudaMalloc", "context (profile's)", "not seen:", "speed"] {
        assert!(report.contains(part), "{part}: {report}");
    }
}

#[test]
fn two_l4s_are_two_cards_however_they_are_named() {
    for flags in [&["--gpu", "2xL4"][..], &["--gpu", "L4,L4"], &["--gpu", "L4", "--gpus", "2"]] {
        let (document, output) = rehearse(flags, &["take", "1000"]).json();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let cards = document["runs"][0]["cards"].as_array().unwrap();
        assert_eq!(cards.len(), 2);
        assert_eq!([held(&cards[0], "malloc"), held(&cards[1], "malloc")], [1000 * MIB, 0]);
    }
}

#[test]
fn what_the_program_prints_passes_through() {
    let output = rehearse(&["--gpu", "L4"], &["print"]).output();
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), "out\n"));
    assert!(
        stderr(&output).starts_with("err\nended: it took no memory of the card\n"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn the_phases_of_an_engine_follow_from_its_buffers() {
    let (document, output) = rehearse(&["--gpu", "L4"], &["engine", "3000", "500", "200"]).json();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = &document["runs"][0];
    assert_eq!(run["engine"], "llama.cpp");
    let phases: Vec<_> = run["phases"].as_array().unwrap().iter().collect();
    let level = |name: &str, which: &str| {
        let phase = phases.iter().find(|phase| phase["name"] == name);
        bytes(&phase.unwrap_or_else(|| panic!("no {name}: {phases:?}"))["cards"][0][which])
    };
    let held = |mib: u64| mib * MIB + L4_CONTEXT;
    assert_eq!(level("load", "peak"), held(3000));
    // However late its line was read.
    assert_eq!([level("context", "begin"), level("context", "peak")], [held(3000), held(3700)]);
    assert_eq!(
        [level("first token", "begin"), level("first token", "peak")],
        [held(3700), held(3704)]
    );
    assert_eq!(level("steady", "peak"), held(3704));
}

#[test]
fn phases_on_the_pipe_hold_what_was_taken_in_them() {
    for _ in 0..5 {
        let (document, output) = rehearse(&["--gpu", "L4"], &["phases", "100", "50", "30"]).json();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let run = &document["runs"][0];
        let peak = |at: usize| bytes(&run["phases"][at]["cards"][0]["peak"]) - L4_CONTEXT;
        let names: Vec<_> =
            run["phases"].as_array().unwrap().iter().map(|phase| &phase["name"]).collect();
        assert_eq!(names[1..], ["load", "prefill", "decode"], "{names:?}");
        assert_eq!([peak(1), peak(2), peak(3)], [100 * MIB, 150 * MIB, 130 * MIB]);
        let remarks = run["remarks"].to_string();
        assert!(remarks.contains("`no phase` is not a phase line"), "{remarks}");
    }
}

#[test]
fn phases_by_output_win_over_those_that_are_inferred() {
    let flags = ["--gpu", "L4", "--phase", "mine=constructing"];
    let (document, _) = rehearse(&flags, &["engine", "3000", "500", "200"]).json();
    let phases = document["runs"][0]["phases"].as_array().unwrap();
    let names: Vec<_> = phases.iter().map(|phase| phase["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["start", "mine"]);
}

#[test]
fn the_run_is_beside_the_plan_that_is_given() {
    let flags = [
        "--gpu",
        "L4",
        "--model",
        "qwen2.5-0.5b",
        "--runtime",
        "llama.cpp",
        "--cache-tokens",
        "4096",
    ];
    let (document, output) = rehearse(&flags, &["engine", "3000", "500", "200"]).json();
    let plan = &document["runs"][0]["plan"];
    assert_eq!(
        (&plan["source"], &plan["judged"], &plan["within"]),
        (&"given".into(), &true.into(), &false.into())
    );
    assert_eq!(output.status.code(), Some(4));
    let groups = plan["cards"][0]["groups"].as_array().unwrap();
    let stated = |id: &str| {
        let group = groups.iter().find(|group| group["id"] == id).unwrap();
        group["stated"]["measured"].as_u64()
    };
    assert_eq!(stated("weights"), Some(3000 * MIB));
    assert_eq!(
        [stated("caches"), stated("computed"), stated("overhead")],
        [Some(500 * MIB), Some(200 * MIB), None]
    );
    // A run that was cut short is not judged.
    let stopped = [&flags[..], &["--stop-after", "context"]].concat();
    let (document, output) = rehearse(&stopped, &["serve", "3000", "500", "200"]).json();
    assert_eq!(
        (output.status.code(), &document["runs"][0]["plan"]["judged"]),
        (Some(0), &false.into())
    );
}

#[test]
fn reports_and_a_recording_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for (name, holds) in [
        ("a.md", "| cudaMalloc | 1000.00 MiB |"),
        ("a.html", "<td>cudaMalloc</td><td>1000.00 MiB</td>"),
        ("a.json", "\"vramplan/rehearsal/v1\""),
        ("a.svg", "at the peak on NVIDIA L4"),
        ("a.txt", "cudaMalloc"),
    ] {
        let (report, record) = (path(name), path("run.jsonl"));
        let flags = ["--gpu", "L4", "--report", &report, "--record", &record];
        let output = rehearse(&flags, &["take", "1000"]).output();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let text = fs_err::read_to_string(&report).unwrap();
        assert!(text.contains(holds), "{name}: {text}");
    }
    let mut replay = Command::new(env!("CARGO_BIN_EXE_vramplan"));
    replay.args(["observe", "--replay", &path("run.jsonl"), "--format", "json"]);
    let output = replay.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let replayed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(bytes(&replayed["peak"]["bytes"]), 1000 * MIB + L4_CONTEXT);
    assert_eq!(replayed["device"]["meter"], "virtual");
}

#[test]
fn what_is_wrong_is_said_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("ran");
    let arguments = ["-c", &format!("touch {}", mark.display())];
    for (flags, code, says) in [
        (&["--gpu", "L99"][..], 2, "error: unknown GPU `L99`"),
        (&[], 2, "error: "),
        (&["--gpu", "0xL4"], 2, "`--gpu 0` is out of range: expected 1xL4 to"),
        (&["--gpu", "L4", "--model", "nothing-such"], 2, "nothing-such"),
        (&["--gpu", "L4", "--report", "x.pdf"], 1, "its ending names no format"),
        (&["--gpu", "L4", "--stop-after", "soon"], 2, "expected `context`"),
        (&["--gpu", "L4,RTX 3060", "--smallest"], 1, "these differ"),
        (&["--sweep", "L4,L99"], 2, "unknown GPU `L99`"),
    ] {
        let output = rehearse_command(flags, "sh", &arguments).output();
        assert_eq!(output.status.code(), Some(code), "{flags:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(says), "{flags:?}: {}", stderr(&output));
        assert!(!mark.exists(), "{flags:?}");
    }
}

#[test]
fn what_cannot_be_rehearsed_is_refused_with_the_reason() {
    let output = rehearse_command(&["--gpu", "L4"], "no-such-program", &[]).output();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        stderr(&output),
        "error: cannot be rehearsed because `no-such-program` was not found\n"
    );
    let started = std::time::Instant::now();
    let output = rehearse(&["--gpu", "L4"], &["static"]).output();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("error: cannot be rehearsed because "), "{}", stderr(&output));
    assert!(started.elapsed().as_secs() < 60);
}

#[test]
fn libraries_that_are_missing_are_named() {
    // A copy of the command somewhere else has none beside it.
    let folder = tempfile::tempdir().unwrap();
    let alone = folder.path().join("vramplan");
    fs_err::copy(env!("CARGO_BIN_EXE_vramplan"), &alone).unwrap();
    let output =
        Command::new(alone).args(["rehearse", "--gpu", "L4", "--", "true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(
        said.starts_with(
            "error: the library `libvramplan_gpu.so` of the virtual GPU was not found"
        ),
        "{said}"
    );
    assert!(said.contains("cargo build --release --workspace"), "{said}");
    assert_eq!(said.lines().count(), 2, "{said}");
}

#[test]
fn documents_follow_their_schema() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/rehearsal-v1.schema.json");
    let schema: Value = serde_json::from_str(&fs_err::read_to_string(path).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let given = ["--gpu", "2xL4", "--model", "qwen2.5-0.5b", "--runtime", "llama.cpp"];
    for (flags, arguments) in [
        (&["--gpu", "L4"][..], &["fill", "1024"][..]),
        (&given, &["engine", "300", "50", "20"]),
        (&["--gpu", "L4", "--smallest"], &["take", "300"]),
        (&["--sweep", "L4,RTX 3060"], &["print"]),
    ] {
        let (document, output) = rehearse(flags, arguments).json();
        let errors: Vec<_> =
            validator.iter_errors(&document).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:#?} {}", stderr(&output));
    }
}
