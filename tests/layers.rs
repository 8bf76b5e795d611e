//! Dependencies between modules point one way.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::path::{Path, PathBuf};

/// Each layer may use those before it; those in one row may not use each other.
const LAYERS: [&[&str]; 12] = [
    &["text", "bounded"],
    &["units"],
    &["dtype"],
    &["spec", "h2o"],
    &["source", "estimate", "kernels"],
    &["plan", "synth"],
    &["engine"],
    &["recommend", "calibrate"],
    &["sweep", "table", "worker"],
    &["render"],
    &["cli"],
    &["main", "worker_main", "lib"],
];

fn layer_of(module: &str) -> usize {
    LAYERS.iter().position(|layer| layer.contains(&module)).unwrap_or_else(|| {
        panic!(
            "`{module}` has no layer: add it to tests/layers.rs and to the crate's documentation"
        )
    })
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs_err::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    files
}

/// The top-level modules that a line of code names.
fn named(line: &str) -> impl Iterator<Item = &str> {
    let code = line.split("//").next().unwrap_or_default();
    code.split("crate::").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        (end > 0).then(|| &rest[..end])
    })
}

#[test]
fn modules_use_only_what_lies_below_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut checked = 0;
    for file in rust_files(&root) {
        let inside = file.strip_prefix(&root).unwrap();
        let module = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        for (number, line) in fs_err::read_to_string(&file).unwrap().lines().enumerate() {
            for used in named(line) {
                let allowed = used == module || layer_of(used) < layer_of(module);
                assert!(allowed, "{}:{}: `{module}` uses `{used}`", inside.display(), number + 1);
                checked += 1;
            }
        }
    }
    assert!(checked > 100, "only {checked} uses were found: is the test still reading the code?");
}

#[test]
fn only_the_outer_layers_touch_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in rust_files(&root) {
        let inside = file.strip_prefix(&root).unwrap();
        // Unit tests in a file of their own write what they read.
        let is_test = inside.ends_with("tests.rs");
        let outer = ["source", "cli", "calibrate"].iter().any(|outer| inside.starts_with(outer));
        let allowed = outer || is_test;
        let text = fs_err::read_to_string(&file).unwrap();
        assert!(allowed || !text.contains("fs_err"), "{} reads files", inside.display());
    }
}
