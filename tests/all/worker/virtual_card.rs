//! The worker with `cuda` on cards that are not there: what it takes of them is the plan's, to the byte.
//!
//! `scripts/build-cuda --virtual target/virtual` builds it, without a compiler of CUDA: on a virtual GPU no kernel
//! runs, and sizes do not depend on values.

#![cfg(all(target_arch = "x86_64", target_env = "gnu"))]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use super::whole::assert_exact;
use super::{PROFILE, place, report};
use crate::observe::support::{Place, stderr};
use crate::skip::skipped;

const MIB: u64 = 1 << 20;

/// The worker, where it was built.
fn worker() -> Option<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/virtual/vramplan-worker");
    let path = std::env::var_os("VRAMPLAN_VIRTUAL_WORKER").map_or(built, PathBuf::from);
    if !path.is_file() {
        skipped(
            "no worker for a virtual GPU: `scripts/build-cuda --virtual target/virtual` builds it",
        );
        return None;
    }
    Some(path)
}

/// `rehearse --gpu CARD -- calibrate …` of the model of these tests.
fn rehearsed(place: &Place, worker: &Path, card: &str, more: &[&str]) -> Output {
    let command = env!("CARGO_BIN_EXE_vramplan");
    let rehearse = ["rehearse", "--gpu", card, "--report", "rehearsal.json", "--", command];
    let calibrate = ["calibrate", "--device", "0", "--profiles", "mine", "--synthetic"];
    let written = ["--format", "json", "--system-tokens", "16", "--prefill-chunk", "64"];
    let mut asked: Command = place.command(&[&rehearse[..], &calibrate, &written, more].concat());
    // The virtual card's own library, in place of the one that the other tests name.
    asked.env_remove("VRAMPLAN_NVML_LIB").env("VRAMPLAN_WORKER", worker);
    asked.output().unwrap()
}

/// Bytes that the process had of the card at most, by kind.
fn taken(place: &Place, kind: &str) -> u64 {
    let text = fs_err::read_to_string(place.path("rehearsal.json")).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let kinds = document["runs"][0]["cards"][0]["by_kind"].as_array();
    let row = kinds.and_then(|kinds| kinds.iter().find(|row| row["kind"] == kind));
    row.and_then(|row| row["bytes"].as_u64()).unwrap_or_else(|| panic!("{document:#}"))
}

#[test]
fn on_every_generation_of_cards_the_worker_takes_what_is_planned() {
    let Some(worker) = worker() else { return };
    for card in ["T4", "RTX 3060", "A100-40GB", "L4", "H100"] {
        let place = place();
        let more = ["--model", "tiny", "--cache-tokens", "300", "--decode-tokens", "20"];
        let output = rehearsed(&place, &worker, card, &more);
        assert_eq!(output.status.code(), Some(0), "{card}: {}", stderr(&output));
        let report = report(&output);
        assert_eq!(report["device"]["meter"], "nvml");
        assert_exact(&report, 22);
        let stated: u64 = report["comparison"]["components"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|row| row["stated"]["measured"].as_u64())
            .sum();
        let pool = taken(&place, "pool");
        assert!(
            (stated..stated + 64 * MIB).contains(&pool),
            "{card}: {stated} B in a pool of {pool}"
        );
    }
}

#[test]
fn families_formats_and_captures_too() {
    let Some(worker) = worker() else { return };
    for more in [
        &["--model", "smollm2-135m", "--weights", "q4_k_m"][..],
        &["--model", "qwen3-0.6b", "--weights", "q8_0", "--cache-tokens", "200"],
        &[
            "--model",
            "qwen2.5-0.5b",
            "--weights",
            "q4_0",
            "--capture-layers",
            "2",
            "--capture-tokens",
            "8",
        ],
        &[
            "--model",
            "tiny",
            "--weights",
            "f16",
            "--capture-layers",
            "3",
            "--capture-tokens",
            "30",
            "--capture-keep",
        ],
        &[
            "--model",
            "tiny",
            "--weights",
            "q6_k",
            "--capture-layers",
            "8",
            "--capture-tokens",
            "20",
            "--capture-attention",
        ],
    ] {
        let place = place();
        let sizes = ["--context", "512", "--decode-tokens", "4"];
        let output = rehearsed(&place, &worker, "L4", &[more, &sizes].concat());
        assert_eq!(output.status.code(), Some(0), "{more:?}: {}", stderr(&output));
        assert_exact(&report(&output), 22);
    }
}

#[test]
fn it_runs_out_where_the_plan_says() {
    let Some(worker) = worker() else { return };
    let of = |capacity: &str, tokens: &str| {
        let place = place();
        let long = PROFILE.replace("16384", "131072");
        fs_err::write(place.path("mine/models/tiny.toml"), long).unwrap();
        let more = ["--model", "tiny", "--capacity", capacity, "--cache-tokens", tokens];
        rehearsed(&place, &worker, "L4", &[&more[..], &["--decode-tokens", "4"]].concat())
    };
    // The second is the card's own size: nothing of it is held.
    for capacity in ["1200MiB", "23034MiB"] {
        let fits = of(capacity, "400");
        assert_eq!(fits.status.code(), Some(0), "{}", stderr(&fits));
    }
    // Beside the reserve of 476 MiB and the context of 258 there is no room for a cache of 498 MiB.
    let short = of("1200MiB", "60000");
    assert_eq!(short.status.code(), Some(3), "{}", stderr(&short));
    let said = "memory was exhausted in phase `caches`";
    assert!(stderr(&short).contains(said), "{}", stderr(&short));
}
