//! A fake driver stands for a GPU. These figures are scripted: they say nothing about any card.

use std::process::Stdio;
use std::time::{Duration, Instant};

use super::support::{Place, codes, mib, peak_of, stderr};

const CARD: &str = "name=NVIDIA L4\nuuid=GPU-fake\ntotal=23034\nreserved=476\nused=100\n";

#[test]
fn what_was_there_before_is_deducted() {
    let place = Place::with_driver(CARD);
    let script = "phase load; gpu used=1100 process=$$:1000; sleep 0.1
        phase prefill; gpu used=2100; sleep 0.1; gpu used=1600; sleep 0.05
        phase decode; sleep 0.1; gpu used=100 process=";
    let (report, output) = place.report_of(&[], script);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(mib(&report["baseline"]), 100);
    let peaks = ["load", "prefill", "decode"].map(|phase| peak_of(&report, phase));
    assert_eq!(peaks, [1000, 2000, 1500]);
    assert_eq!((mib(&report["peak"]["bytes"]), mib(&report["after"])), (2000, 0));
    assert_eq!(report["device"]["uuid"], "GPU-fake");
    assert!(codes(&report).is_empty(), "{report:#}");
}

#[test]
fn a_plan_is_made_for_the_card_that_is_measured() {
    let place = Place::with_driver(CARD);
    let flags = ["--model", "qwen2.5-0.5b", "--cache-tokens", "1000", "--tolerance", "100"];
    let script = "gpu used=1100; sleep 0.05; gpu used=100";
    let (report, output) = place.report_of(&flags, script);
    assert_eq!(output.status.code(), Some(0), "{report:#}");
    assert_eq!(report["comparison"]["plan"]["deployment"]["gpu"], "L4");
    assert_eq!(mib(&report["comparison"]["peak"]["measured"]), 1000);
}

#[test]
fn another_process_that_grows_is_deducted_and_told() {
    let place = Place::with_driver(&format!("{CARD}process=1:100\n"));
    let script = "gpu process=1:100,$$:500 used=600; sleep 0.1
        gpu process=1:800,$$:500 used=1300; sleep 0.1; gpu process=1:800 used=800";
    let (report, _) = place.report_of(&[], script);
    assert!(codes(&report).contains(&"other-process-grew"), "{report:#}");
    assert_eq!(mib(&report["others"][0]["most"]), 800);
    assert_eq!(mib(&report["peak"]["bytes"]), 500);
}

#[test]
fn numbers_of_another_namespace_are_no_others() {
    let place = Place::with_driver(&format!("{CARD}process=1:100\n"));
    let script = "gpu process=1:100,99999999:500 used=600; sleep 0.1; gpu process=1:100 used=100";
    let (report, _) = place.report_of(&[], script);
    assert_eq!(codes(&report), ["not-told-apart"]);
    assert_eq!(mib(&report["peak"]["bytes"]), 500);
}

#[test]
fn a_driver_that_does_not_say_who_is_believed_about_how_much() {
    for processes in ["process=1:?\n", "error.processes=3\n"] {
        let place = Place::with_driver(&format!("{CARD}{processes}"));
        let (report, _) = place.report_of(&[], "gpu used=600; sleep 0.05; gpu used=100");
        assert_eq!(mib(&report["peak"]["bytes"]), 500, "{processes}");
    }
}

#[test]
fn exhausted_memory_is_told_with_its_phase() {
    let place = Place::with_driver(CARD);
    let script = "phase prefill; gpu used=22000; sleep 0.05
        echo 'torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB' >&2
        gpu used=100; exit 1";
    let (report, output) = place.report_of(&[], script);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(codes(&report), ["out-of-memory"]);
    let text = report["diagnoses"][0]["text"].as_str().unwrap();
    assert!(text.contains("in phase `prefill`") && text.contains("Tried to allocate"), "{text}");
}

#[test]
fn memory_that_stays_is_told() {
    let place = Place::with_driver(CARD);
    let (report, output) = place.report_of(&[], "gpu used=900; sleep 0.05");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!((codes(&report), mib(&report["after"])), (vec!["memory-not-returned"], 800));
}

#[test]
fn a_device_that_disappears_ends_sampling_not_the_command() {
    let place = Place::with_driver(CARD);
    let script = "gpu used=600; sleep 0.1; gpu error.memory=15; sleep 0.1; touch finished";
    let (report, output) = place.report_of(&[], script);
    assert_eq!(output.status.code(), Some(0));
    assert!(place.path("finished").exists());
    assert!(codes(&report).contains(&"meter-failed"), "{report:#}");
    assert_eq!(mib(&report["peak"]["bytes"]), 500);
}

#[test]
fn a_reading_that_fails_now_and_then_is_a_gap() {
    let place = Place::with_driver(CARD);
    let script = "gpu used=600; sleep 0.05; gpu error.memory=999; sleep 0.05
        gpu error.memory=0 used=800; sleep 0.05; gpu used=100";
    let (report, _) = place.report_of(&[], script);
    assert_eq!(codes(&report), ["meter-failed"]);
    assert_eq!(mib(&report["peak"]["bytes"]), 700);
}

#[test]
fn nothing_runs_where_memory_cannot_be_read() {
    for (flags, state, message) in [
        (&[][..], "error.memory=3\n", "cannot be read"),
        (&[], "error.init=9\n", "cannot be read"),
        (&["-DNO_MEMORY_V2"], "", "nvmlDeviceGetMemoryInfo_v2"),
    ] {
        let place = Place::with_library(flags, &format!("{CARD}{state}"));
        let output = place.run(&["observe", "--", "touch", "ran"]);
        assert_eq!(output.status.code(), Some(1));
        let text = stderr(&output);
        assert!(text.contains(message) && text.contains("hint: "), "{text}");
        assert!(!place.path("ran").exists());
    }
    let output = Place::new().run(&["observe", "--", "true"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("--device cpu"), "{output:?}");
}

#[test]
fn a_device_is_named_where_there_are_several() {
    let place = Place::with_driver(&format!("{CARD}count=2\n"));
    let output = place.run(&["observe", "--", "true"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("this machine has 2 devices"), "{output:?}");
    for device in ["1", "GPU-fake"] {
        let output = place.run(&["observe", "--device", device, "--", "true"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
    for device in ["2", "GPU-other"] {
        let output = place.run(&["observe", "--device", device, "--", "true"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(&format!("there is no device `{device}`")), "{output:?}");
    }
}

#[test]
fn two_runs_on_one_device_refuse_each_other() {
    let place = Place::with_driver(CARD);
    let first = ["observe", "--report", "a", "--", "sh", "-c", "touch ready; sleep 30"];
    let mut first = place.command(&first).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while !place.path("ready").exists() && begun.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let second = place.run(&["observe", "--", "touch", "ran"]);
    assert_eq!(second.status.code(), Some(1));
    let text = stderr(&second);
    assert!(text.contains("`GPU-fake` is being measured by another run: process"), "{text}");
    assert!(!place.path("ran").exists());
    let pid = rustix::process::Pid::from_child(&first);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    first.wait().unwrap();
    let third = place.run(&["observe", "--", "true"]);
    assert_eq!(third.status.code(), Some(0), "{}", stderr(&third));
}

#[test]
fn the_local_card_is_the_one_that_the_driver_lists() {
    let place = Place::with_driver(CARD);
    let output =
        place.run(&["budget", "--gpu", "auto", "--model", "qwen2.5-14b", "--format", "json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(mib(&plan["capacity"]["other_use"]), 100);
    assert_eq!(mib(&plan["capacity"]["reserved"]), 476);
}
