//! `fleet`, `--learn` and `--evidence`: what is kept, by how many at once, and what plans and schedulers get of it.

#![cfg(target_os = "linux")]

mod kubernetes;
mod slurm;

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::observe::support::{Place, file, stderr, stdout};

/// A log that teaches: vLLM's, in the form of its release, with figures of a public thread.
fn log() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/why/vllm-13882.log")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(output)))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs_err::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// `calibrate` of the scripted worker on the fake card: it holds 1000 MiB, of which its pool took 700.
fn calibrate(place: &Place, more: &[&str]) -> Output {
    let script = "{\"type\":\"hello\",\"protocol\":3,\"version\":\"0\"}\n{\"type\":\"begin\",\"phase\":\"decode\"}\n\
                  gpu used=1100\nsleep 0.05\n{\"type\":\"pool\",\"used\":681574400,\"reserved\":734003200}\n\
                  {\"type\":\"end\",\"phase\":\"decode\"}\n{\"type\":\"done\"}\ngpu used=100";
    let given = ["calibrate", "--model", "qwen2.5-0.5b", "--synthetic", "--tolerance", "100"];
    let mut command = place.command(&[&given[..], more].concat());
    command.env("VRAMPLAN_WORKER", file("worker.py")).env("WORKER_SCRIPT", script);
    command.output().unwrap()
}

const CARD: &str =
    "name=NVIDIA L4\nuuid=GPU-fake\ndriver=550.54.15\ntotal=23034\nreserved=476\nused=100\n";

#[test]
fn what_a_run_held_is_learned_and_planned_with() {
    let place = Place::with_driver(CARD);
    let output =
        calibrate(&place, &["--learn", "--evidence", "e", "--json", "--report", "run.json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let [kept]: [PathBuf; 1] = files(&place.path("e")).try_into().unwrap();
    let record: Value = serde_json::from_str(&fs_err::read_to_string(&kept).unwrap()).unwrap();
    assert_eq!((&record["how"], &record["card"]["name"]), (&"calibrated".into(), &"L4".into()));
    let text = record.to_string();
    assert!(
        !text.contains("GPU-fake") && !text.contains(place.path("").to_str().unwrap()),
        "{text}"
    );
    let plan = || {
        let flags = ["budget", "--gpu", "L4", "--model", "qwen2.5-0.5b", "--evidence", "e"];
        json(&place.run(&[&flags[..], &["--json"]].concat()))
    };
    let planned = plan();
    let overhead = planned["components"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["id"] == "runtime_overhead");
    let context = &overhead.unwrap()["buffers"][0];
    assert_eq!(
        (&context["basis"], context["size"]["expected"].as_u64().or(context["expected"].as_u64())),
        (&"calibrated".into(), Some(300 << 20))
    );
    assert!(context["source"].as_str().unwrap().starts_with("1 run, 20"), "{context}");

    // The report, as it is, says the same as the record: they are one run, but for the host.
    let merged = json(&place.run(&["fleet", "merge", "run.json", "--json"]));
    assert_eq!(merged["groups"][0]["median"], 300 << 20, "{merged:#}");
    let known = place.run(&["fleet", "merge", "e", "run.json", "--json"]);
    assert_eq!(json(&known)["groups"][0]["low"], 300 << 20);
}

#[test]
fn a_log_is_learned_once_whoever_reads_it() {
    let place = Place::new();
    let log = log();
    let learn =
        || place.run(&["why", log.to_str().unwrap(), "--gpu", "L4", "--learn", "--evidence", "e"]);
    let first = learn();
    assert!(first.status.success(), "{}", stderr(&first));
    assert!(stderr(&first).contains("kept in `e/"), "{}", stderr(&first));
    assert!(stderr(&learn()).contains("known already"), "{}", stderr(&learn()));
    assert_eq!(files(&place.path("e")).len(), 1);
    let nothing = place.run(&["why", "/dev/null", "--learn"]);
    assert_eq!(nothing.status.code(), Some(1));
    fs_err::write(place.path("little.log"), "load_tensors: CUDA0 model buffer size = 100.00 MiB\n")
        .unwrap();
    let little = place.run(&["why", "little.log", "--learn", "--evidence", "e"]);
    assert_eq!(little.status.code(), Some(1), "{}", stderr(&little));
    assert!(
        stderr(&little).contains("names no card") && stderr(&little).contains("hint: "),
        "{}",
        stderr(&little)
    );
}

#[test]
fn the_users_own_records_are_planned_with_and_tables_are_not() {
    let place = Place::with_driver(CARD);
    let learned = calibrate(&place, &["--learn", "--evidence", "data/vramplan/evidence"]);
    assert!(learned.status.success(), "{}", stderr(&learned));
    let budget = |data: &str| {
        let flags =
            ["budget", "--gpu", "L4", "--model", "qwen2.5-0.5b", "--explain", "runtime_overhead"];
        let mut command = place.command(&flags);
        stdout(&command.env("XDG_DATA_HOME", place.path(data)).output().unwrap())
    };
    assert!(
        budget("data").contains("300.00 MiB, 297.00 MiB to 303.00 MiB · calibrated"),
        "{}",
        budget("data")
    );
    assert!(!budget("none").contains("calibrated"), "{}", budget("none"));
    fs_err::write(
        place.path("t.toml"),
        "schema = 1\n[[scenario]]\ngpu = 'L4'\nmodel = 'qwen2.5-0.5b'\n",
    )
    .unwrap();
    let check = |data: &str, more: &[&str]| {
        let mut command = place.command(&[&["check", "t.toml"][..], more].concat());
        command.env("XDG_DATA_HOME", place.path(data)).output().unwrap()
    };
    assert!(check("none", &["--update"]).status.success());
    assert_eq!(check("data", &[]).status.code(), Some(0), "a table is everybody's");
    assert_eq!(check("none", &["--evidence", "data/vramplan/evidence"]).status.code(), Some(4));
    let missing =
        place.run(&["budget", "--gpu", "L4", "--model", "qwen2.5-0.5b", "--evidence", "nowhere"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("nowhere"), "{}", stderr(&missing));
}

/// 200 processes write at once, 20 of them the same; none is lost, none is half there, nothing else is left.
#[test]
fn two_hundred_writers_lose_nothing() {
    let place = Place::new();
    let text = fs_err::read_to_string(log()).unwrap();
    let line = text.lines().find(|line| line.contains("model weights take")).unwrap();
    let folder = place.path("e");
    for writer in 0..181 {
        let other = line.replacen(
            "model weights take 5.20GiB",
            &format!("model weights take 5.{writer:03}GiB"),
            1,
        );
        fs_err::write(place.path(&format!("{writer}.log")), other).unwrap();
    }
    let mut children = Vec::new();
    for writer in 0..200 {
        let name = format!("{}.log", if writer < 180 { writer } else { 180 });
        let mut command = place.command(&["why", &name, "--gpu", "L4", "--learn", "--evidence"]);
        command
            .arg(&folder)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped());
        children.push(command.spawn().unwrap());
    }
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let kept = files(&folder);
    assert_eq!(kept.len(), 181);
    assert!(
        kept.iter().all(|path| path.extension().is_some_and(|ending| ending == "json")),
        "{kept:?}"
    );
    let merged = json(&place.run(&["fleet", "merge", "e", "--json"]));
    assert_eq!((&merged["records"], merged["refused"].as_array().unwrap().len()), (&181.into(), 0));
}

#[test]
fn merging_names_what_it_cannot_read_and_gives_the_same_again() {
    let place = Place::with_driver(CARD);
    assert!(calibrate(&place, &["--learn", "--evidence", "d/evidence"]).status.success());
    let record = fs_err::read_to_string(&files(&place.path("d/evidence"))[0]).unwrap();
    for (name, text) in [
        ("cut.json", &record[..record.len() / 2]),
        ("later.json", &record.replace("evidence/v1", "evidence/v9")),
        ("named.json", &record.replace("\"L4\"", "\"alice's card\"")),
        ("binary.json", "\u{1b}]0;pwned\u{7}"),
        ("notes.txt", "not ours"),
    ] {
        fs_err::write(place.path("d").join(name), text).unwrap();
    }
    std::os::unix::fs::symlink("/etc/passwd", place.path("d/link.json")).unwrap();
    let merge = |more: &[&str]| place.run(&[&["fleet", "merge"][..], more].concat());
    let output = merge(&["d", "d/evidence", "--out", "all.jsonl", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let merged = json(&output);
    assert_eq!(merged["records"], 1);
    let refused: Vec<_> =
        merged["refused"].as_array().unwrap().iter().map(|r| r["file"].as_str().unwrap()).collect();
    assert_eq!(refused, ["d/binary.json", "d/cut.json", "d/later.json", "d/named.json"]);
    let text = stdout(&merge(&["d"]));
    assert!(text.contains("not read: d/cut.json: ") && !text.contains('\u{1b}'), "{text}");
    // Again, and with its own result: the same.
    assert!(merge(&["all.jsonl", "d", "--out", "again.jsonl"]).status.success());
    let read = |name| fs_err::read_to_string(place.path(name)).unwrap();
    assert_eq!(read("all.jsonl"), read("again.jsonl"));
    assert_eq!(merge(&["d", "--out", "all.json"]).status.code(), Some(2));
    assert_eq!(merge(&["nowhere"]).status.code(), Some(1));
    for name in ["d/cut.json", "d/binary.json"] {
        fs_err::remove_file(place.path(name)).unwrap();
    }
}

#[test]
fn a_job_leaves_a_mark_and_does_nothing_twice() {
    let place = Place::new();
    let run = |more: &[&str]| {
        let given = ["fleet", "run", "--kind", "l4", "--reports", "r"];
        place.run(&[&given[..], more].concat())
    };
    let mark = |name: &str| -> Value {
        serde_json::from_str(&fs_err::read_to_string(place.path("r/jobs").join(name)).unwrap())
            .unwrap()
    };
    let script = "echo \"$VRAMPLAN_EVIDENCE\"; exit 7";
    let failed = run(&["--", "sh", "-c", script]);
    assert_eq!((failed.status.code(), stdout(&failed)), (Some(7), "r/evidence\n".to_owned()));
    assert_eq!(
        (&mark("l4.0.json")["state"], &mark("l4.0.json")["code"]),
        (&"failed".into(), &7.into())
    );
    let killed = run(&["--index", "1", "--", "sh", "-c", "kill -9 $$"]);
    assert_eq!(killed.status.code(), Some(1));
    assert_eq!(mark("l4.1.json")["signal"], 9);
    assert!(run(&["--", "true"]).status.success());
    assert_eq!(
        (&mark("l4.0.json")["state"], &mark("l4.0.json")["tries"]),
        (&"done".into(), &2.into())
    );
    let again = run(&["--", "false"]);
    assert!(
        again.status.success() && stderr(&again).contains("was done before"),
        "{}",
        stderr(&again)
    );
    assert_eq!(run(&["--again", "--", "false"]).status.code(), Some(1));
    assert_eq!(run(&["--index", "2", "--", "/no/such/command"]).status.code(), Some(1));
    assert_eq!(mark("l4.2.json")["code"], 127);
    let odd = place.run(&["fleet", "run", "--kind", "../x", "--reports", "r", "--", "true"]);
    assert_eq!(odd.status.code(), Some(2));
    let text = stdout(&place.run(&["fleet", "merge", "r"]));
    assert!(text.contains("failed, not counted: l4 1: ended by signal 9"), "{text}");
}

#[test]
fn a_fleet_is_planned_and_judged() {
    let place = Place::with_driver(CARD);
    fs_err::write(place.path("nodes.csv"), "l4-[1-2],L4,1,550.54.15\nt4-1,T4,4,550.54.15\n")
        .unwrap();
    let status = |more: &[&str]| {
        let given = ["fleet", "status", "nodes.csv", "--evidence", "e"];
        place.run(&[&given[..], more].concat())
    };
    fs_err::create_dir(place.path("e")).unwrap();
    assert_eq!(status(&[]).status.code(), Some(4));
    assert!(calibrate(&place, &["--learn", "--evidence", "e"]).status.success());
    let output = status(&["--prometheus", "fleet.prom"]);
    assert_eq!(output.status.code(), Some(4));
    let text = stdout(&output);
    assert!(
        text.contains("l4: 1 run, the last on 20")
            && text.contains("t4: no run says what it holds"),
        "{text}"
    );
    let metrics = fs_err::read_to_string(place.path("fleet.prom")).unwrap();
    assert!(metrics.contains("state=\"calibrated\"} 1"), "{metrics}");
    let labels = stdout(&status(&["--labels"]));
    assert!(
        labels.contains("l4-2 vramplan.dev/kind=l4 vramplan.dev/state=calibrated\n"),
        "{labels}"
    );
    fs_err::write(place.path("l4.csv"), "l4-1,L4,1,550.54.15\n").unwrap();
    let fine = place.run(&["fleet", "status", "l4.csv", "--evidence", "e", "--max-age", "1"]);
    assert_eq!(fine.status.code(), Some(0), "{}", stdout(&fine));
    // Another driver is another kind.
    fs_err::write(place.path("new.csv"), "l4-1,L4,1,560.35.03\n").unwrap();
    let drifted = place.run(&["fleet", "status", "new.csv", "--evidence", "e"]);
    assert_eq!(drifted.status.code(), Some(4));
    assert!(
        stdout(&drifted).contains("measured under driver 550.54.15 only"),
        "{}",
        stdout(&drifted)
    );
    // Nothing to do is no error; what is no list is one.
    let nothing =
        place.run(&["fleet", "emit", "slurm", "l4.csv", "--evidence", "e", "--reports", "/r"]);
    assert!(
        nothing.status.success() && stderr(&nothing).contains("no kind needs a run"),
        "{}",
        stderr(&nothing)
    );
    fs_err::write(place.path("odd"), "{\"a\": \"\\u001b\"}").unwrap();
    let odd = place.run(&["fleet", "plan", "odd"]);
    assert_eq!(odd.status.code(), Some(1));
    assert!(
        stderr(&odd).contains("`odd`: not a list of nodes") && stderr(&odd).contains("hint: "),
        "{}",
        stderr(&odd)
    );
    let absent = place
        .command(&["fleet", "plan", "--ask", "kubectl"])
        .env("PATH", "/nonexistent")
        .output()
        .unwrap();
    assert_eq!(absent.status.code(), Some(1));
    assert!(stderr(&absent).contains("`kubectl` cannot be run"), "{}", stderr(&absent));
}
