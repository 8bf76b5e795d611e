//! Programs that misbehave: how they ended is said, and nothing is left behind.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{L4_CONTEXT, L4_USABLE, MIB, bytes, held, rehearse, stderr};

const L4: [&str; 2] = ["--gpu", "L4"];

#[test]
fn memory_that_runs_out_is_exit_code_3_whatever_the_program_says() {
    let (document, output) = rehearse(&L4, &["take", "30000"]).json();
    assert_eq!(output.status.code(), Some(3));
    let outcome = &document["runs"][0]["outcome"];
    assert_eq!((&outcome["code"], &outcome["id"]), (&7.into(), &"out_of_memory".into()));
    assert_eq!(outcome["said"], "CUDA error: out of memory (2)");
    let refused = &outcome["refused"];
    assert_eq!(
        (bytes(&refused["asked"]), bytes(&refused["free"])),
        (30_000 * MIB, L4_USABLE - L4_CONTEXT)
    );
}

#[test]
fn memory_runs_out_in_the_phase_in_which_it_does() {
    for (sizes, phase) in [
        (["23000", "1", "1"], "load"),
        (["20000", "9000", "1"], "load"),
        (["20000", "100", "9000"], "context"),
    ] {
        let arguments = [&["engine"], &sizes[..]].concat();
        let (document, output) = rehearse(&L4, &arguments).json();
        assert_eq!(output.status.code(), Some(3));
        let refused = &document["runs"][0]["outcome"]["refused"];
        // The cache was never there to tell where its phase begins, so the line does, as it was read.
        if sizes[1] == "9000" {
            assert!(["load", "context"].contains(&refused["phase"].as_str().unwrap()), "{refused}");
        } else {
            assert_eq!(refused["phase"], phase, "{sizes:?}");
        }
    }
}

#[test]
fn a_program_that_is_refused_and_goes_on_ends_well() {
    let (document, output) = rehearse(&L4, &["retry", "500"]).json();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = &document["runs"][0];
    assert_eq!(
        (&run["outcome"]["id"], held(&run["cards"][0], "malloc")),
        (&"ended".into(), 500 * MIB)
    );
    assert!(
        run["remarks"].to_string().contains("1 request was refused, the last of 1024.00 GiB"),
        "{run}"
    );
}

#[test]
fn a_crash_is_the_programs_own() {
    let (document, output) = rehearse(&L4, &["crash", "300"]).json();
    assert_eq!(output.status.code(), Some(128 + 11), "{}", stderr(&output));
    let run = &document["runs"][0];
    assert_eq!((&run["outcome"]["id"], &run["outcome"]["signal"]), (&"failed".into(), &11.into()));
    assert_eq!(held(&run["cards"][0], "malloc"), 300 * MIB);
}

#[test]
fn a_killed_child_gives_its_memory_back() {
    let (document, output) = rehearse(&L4, &["child", "12000"]).json();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = &document["runs"][0];
    assert_eq!(held(&run["cards"][0], "malloc"), 12_000 * MIB);
    assert_eq!(run["calls"]["processes"], 2);
}

#[test]
fn a_flood_of_events_is_bounded_and_the_peak_exact() {
    let (document, output) = rehearse(&L4, &["flood", "5000"]).json();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = &document["runs"][0];
    assert_eq!(held(&run["cards"][0], "malloc"), 5000 * MIB);
    assert!(bytes(&run["calls"]["events_lost"]) > 100_000, "{}", run["calls"]);
    assert!(run["cards"][0]["timeline"].as_array().unwrap().len() <= 401);
    assert!(output.stdout.len() < 1 << 20);
}

#[test]
fn a_server_that_nobody_asks_is_ended() {
    let started = Instant::now();
    let (document, output) =
        rehearse(&["--gpu", "L4", "--idle", "1"], &["serve", "300", "200", "100"]).json();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(document["runs"][0]["outcome"]["id"], "ready");
    assert!(
        document["answer"]
            .as_str()
            .unwrap()
            .starts_with("ready to serve, ended as nobody asked: peak ")
    );
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_program_is_stopped_where_it_was_asked_to() {
    for stop in ["context", "first-token", "1s"] {
        let flags = ["--gpu", "L4", "--idle", "0", "--stop-after", stop];
        let (document, output) = rehearse(&flags, &["serve", "300", "200", "100"]).json();
        assert_eq!(output.status.code(), Some(0), "{stop}: {}", stderr(&output));
        assert_eq!(document["runs"][0]["outcome"]["id"], "stopped");
        let answer = document["answer"].as_str().unwrap();
        assert!(answer.starts_with(&format!("stopped after {stop}: peak ")), "{answer}");
    }
}

#[test]
fn a_hang_is_noticed_and_said() {
    for (what, says) in
        [("wait", "its processes wait"), ("poll", "it goes on asking for something")]
    {
        let (document, output) =
            rehearse(&["--gpu", "L4", "--patience", "2"], &[what, "100"]).json();
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        let run = &document["runs"][0];
        assert_eq!(run["outcome"]["id"], "hung");
        assert!(run["remarks"].to_string().contains(says), "{what}: {}", run["remarks"]);
    }
}

#[test]
fn an_interrupted_program_is_reported() {
    let mut run = rehearse(&L4, &["wait", "700"]);
    let child = run.command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(stderr(&output).contains("interrupted: peak 958.00 MiB"), "{}", stderr(&output));
}

#[test]
fn two_at_once_do_not_see_each_other() {
    let both = std::thread::scope(|scope| {
        let run = |size: &'static str| move || rehearse(&L4, &["take", size]).json().0;
        let (a, b) = (scope.spawn(run("20000")), scope.spawn(run("21000")));
        [a.join().unwrap(), b.join().unwrap()]
    });
    let malloc = |document: &serde_json::Value| held(&document["runs"][0]["cards"][0], "malloc");
    assert_eq!([malloc(&both[0]), malloc(&both[1])], [20_000 * MIB, 21_000 * MIB]);
}
