//! llama.cpp with its CUDA backend, built for the host alone (`scripts/build-llama-cuda`): the folders with what was
//! built, `0.8.0=DIRECTORY`, are listed in `VRAMPLAN_LLAMA_CUDA`, separated by colons.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{rehearse_command, stderr};
use crate::skip::skipped;

/// What was built, by release.
fn builds() -> Vec<(String, PathBuf)> {
    let listed = std::env::var("VRAMPLAN_LLAMA_CUDA").unwrap_or_default();
    let build = |part: &str| {
        part.split_once('=').map(|(version, folder)| (version.to_owned(), PathBuf::from(folder)))
    };
    let builds: Vec<_> = listed.split(':').filter_map(build).collect();
    if builds.is_empty() {
        skipped("no llama.cpp with a CUDA backend was built: `VRAMPLAN_LLAMA_CUDA` names none");
    }
    builds
}

/// A small model of holes.
fn model(folder: &Path) -> String {
    let path = folder.join("model.gguf").to_str().unwrap().to_owned();
    let mut sparse = Command::new(env!("CARGO_BIN_EXE_vramplan"));
    sparse.args(["sparse", "llama-3.2-1b", &path, "--offline", "--force"]);
    assert!(sparse.env("XDG_CONFIG_HOME", "/nonexistent").output().unwrap().status.success());
    path
}

#[test]
fn an_engine_takes_what_is_planned_to_the_byte() {
    let folder = tempfile::tempdir().unwrap();
    for (version, bin) in builds() {
        let model = model(folder.path());
        let plan = ["--gpu", "RTX 4090", "--model", &model, "--runtime", "llama.cpp"];
        let of_run = ["--runtime-version", &version, "--cache-tokens", "8192"];
        for (attention, fused) in [("eager", "off"), ("flash", "on")] {
            let flags = [&plan[..], &of_run[..], &["--attention", attention]].concat();
            let arguments = [&model, "-c", "8192", "-fa", fused, "-p", "-1", "-n", "2"];
            let program = bin.join("rehearsal");
            let run = rehearse_command(&flags, program.to_str().unwrap(), &arguments);
            let (document, output) = run.json();
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
            let run = &document["runs"][0];
            assert_eq!(run["stubs"], Value::Array(Vec::new()), "{version}");
            assert_eq!(run["plan"]["within"], true, "{version}: {}", run["plan"]["outside"]);
            let groups = run["plan"]["cards"][0]["groups"].as_array().unwrap();
            let stated: Vec<_> = groups.iter().filter(|group| !group["stated"].is_null()).collect();
            assert_eq!(stated.len(), 3, "{version}: weights, caches, computed");
            for group in stated {
                assert_eq!(group["stated"]["difference"], 0, "{version}, {attention}: {group}");
            }
        }
    }
}

#[test]
fn programs_that_people_run_end_well() {
    let folder = tempfile::tempdir().unwrap();
    for (version, bin) in builds() {
        let program = bin.join("llama-bench");
        if !program.exists() {
            skipped(format!("llama-bench {version} was not built"));
            continue;
        }
        let model = model(folder.path());
        let arguments = ["-m", &model, "-p", "512", "-n", "4", "-r", "1"];
        let run = rehearse_command(&["--gpu", "L4"], program.to_str().unwrap(), &arguments);
        let (document, output) = run.json();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(document["runs"][0]["outcome"]["well"], true, "{version}");
    }
}
