//! `calibrate` with the real worker: whole runs of a real model, and every way in which one can end.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

mod ends;
mod quality;
mod steps;
mod virtual_card;
mod whole;

use std::process::{Command, Output};

use serde_json::Value;

use crate::observe::support::{Place, stderr};

/// A model small enough that a run takes no time, large enough that memory is not all process.
const PROFILE: &str = "schema = 1\nname = \"tiny\"\nsource = \"test\"\n[shape]\n\
    architecture = \"llama\"\nn_layers = 8\nhidden_size = 512\nn_heads = 8\nkv_heads = 8\n\
    head_dim = 64\nffn_size = 1024\nvocab_size = 2000\ncontext_len = 16384\n\
    tied_embeddings = false\n";

/// A folder with the profile of that model.
fn place() -> Place {
    let place = Place::new();
    fs_err::create_dir_all(place.path("mine/models")).unwrap();
    fs_err::write(place.path("mine/models/tiny.toml"), PROFILE).unwrap();
    place
}

/// `calibrate` of that model on the CPU.
fn tiny(place: &Place, more: &[&str]) -> Command {
    let given = [
        "calibrate",
        "--device",
        "cpu",
        "--profiles",
        "mine",
        "--model",
        "tiny",
        "--synthetic",
        "--system-tokens",
        "16",
        "--prefill-chunk",
        "64",
        "--format",
        "json",
    ];
    place.command(&[&given[..], more].concat())
}

/// The JSON report that was printed.
fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(output)))
}

/// Whether a worker runs in this place.
fn worker_runs(place: &Place) -> bool {
    let here = fs_err::canonicalize(place.path("")).unwrap();
    let processes = fs_err::read_dir("/proc").unwrap().flatten();
    let mut paths = processes.map(|entry| entry.path());
    paths.any(|path| {
        let name = fs_err::read_to_string(path.join("comm")).unwrap_or_default();
        let folder = fs_err::read_link(path.join("cwd")).unwrap_or_default();
        name.starts_with("vramplan-worker") && folder == here
    })
}
