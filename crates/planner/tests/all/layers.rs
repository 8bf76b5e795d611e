//! Dependencies between modules point one way.

use std::path::{Path, PathBuf};

/// Each layer may use those before it; those in one row may not use each other.
const LAYERS: [&[&str]; 10] = [
    &["text", "bounded"],
    &["units"],
    &["dtype"],
    &["spec"],
    &["read", "estimate"],
    &["plan", "synth"],
    &["deployment"],
    &["recommend", "protocol"],
    &["sweep", "table"],
    &["render"],
];

fn layer_of(module: &str) -> usize {
    LAYERS.iter().position(|layer| layer.contains(&module)).unwrap_or_else(|| {
        panic!(
            "`{module}` has no layer: add it to tests/all/layers.rs and to the crate's documentation"
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
        if inside == Path::new("lib.rs") {
            continue;
        }
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

/// What a pure crate has no use for: where it is built for a browser none of these is there.
const IMPURE: [&str; 12] = [
    "std::fs",
    "fs_err",
    "std::process",
    "std::env",
    "std::thread",
    "std::net",
    "Instant::now",
    "SystemTime",
    "println!",
    "eprintln!",
    ".is_file()",
    ".exists()",
];

/// A file of unit tests, or the code before a module of them.
fn without_tests<'a>(file: &Path, text: &'a str) -> &'a str {
    let name = file.file_name().unwrap().to_str().unwrap();
    if name.ends_with("tests.rs") || name == "testing.rs" {
        return "";
    }
    text.split("#[cfg(test)]").next().unwrap()
}

#[test]
fn the_planner_is_pure() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut checked = 0;
    for file in rust_files(&root) {
        let text = fs_err::read_to_string(&file).unwrap();
        let code = without_tests(&file, &text);
        for word in IMPURE {
            assert!(!code.contains(word), "{}: `{word}`", file.display());
        }
        checked += code.len();
    }
    assert!(
        checked > 500_000,
        "only {checked} bytes were found: is the test still reading the code?"
    );
}

/// The one file that may tell runtimes apart by a `match`, and the one that names them.
const OF_RUNTIMES: [&str; 2] = ["estimate/runtimes.rs", "spec/runtime.rs"];

#[test]
fn runtimes_are_told_apart_in_one_place() {
    let planner = Path::new(env!("CARGO_MANIFEST_DIR"));
    let roots = ["src", "../engine/src", "../disk/src", "../../src"].map(|root| planner.join(root));
    for file in roots.iter().flat_map(|root| rust_files(root)) {
        if OF_RUNTIMES.iter().any(|own| file.ends_with(own)) {
            continue;
        }
        let text = fs_err::read_to_string(&file).unwrap();
        for (number, line) in without_tests(&file, &text).lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let pattern =
                code.contains("Runtime::") && (code.contains("=>") || code.contains("matches!"));
            assert!(!pattern, "{}:{}: ask `rules(runtime)`", file.display(), number + 1);
        }
    }
}
