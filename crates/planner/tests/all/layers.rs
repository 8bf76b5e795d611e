//! Dependencies between modules point one way.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Each layer may use those before it; those in one row may not use each other.
const LAYERS: [&[&str]; 11] = [
    &["text", "bounded"],
    &["units"],
    &["dtype"],
    &["spec"],
    &["read", "estimate"],
    &["plan", "synth"],
    &["deployment"],
    &["recommend", "protocol", "evidence"],
    &["sweep", "limits_table", "why", "fleet"],
    &["render"],
    &["form"],
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

/// The code before the block of unit tests that ends a file; nothing of a file of them. Other items for tests only
/// are code like the rest: what stands behind them counts.
fn without_tests<'a>(file: &Path, text: &'a str) -> &'a str {
    let name = file.file_name().unwrap().to_str().unwrap();
    if name.ends_with("tests.rs") || name == "testing.rs" {
        return "";
    }
    let begins_tests = |from: usize| {
        let mut behind = text[from..].lines().skip(1).skip_while(|line| line.starts_with("#["));
        behind.next() == Some("mod tests {")
    };
    let found = text.match_indices("#[cfg(test)]\n").find(|(from, _)| begins_tests(*from));
    found.map_or(text, |(from, _)| &text[..from])
}

#[test]
fn only_the_block_of_unit_tests_is_left_out() {
    let code =
        "use a;\n#[cfg(test)]\nuse b;\n\n#[cfg(test)]\n#[path = \"c_tests.rs\"]\nmod tests;\n\n";
    let attributed = format!("{code}#[cfg(test)]\n#[allow(d)]\nmod tests {{\n}}\n");
    let plain = format!("{code}#[cfg(test)]\nmod tests {{\n}}\n");
    for text in [code, &attributed, &plain] {
        assert_eq!(without_tests(Path::new("c.rs"), text), code);
    }
    assert_eq!(without_tests(Path::new("c_tests.rs"), code), "");
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

/// A runtime's own folder may look into the options that it is handed.
const ROOMS: [&str; 6] = [
    "estimate/llama_cpp",
    "estimate/ollama",
    "estimate/vllm",
    "estimate/sglang",
    "estimate/transformers",
    "estimate/vramplan",
];

/// Files that may ask whether a runtime is one in particular, and why.
const ASKS_WHICH: [(&str, &str); 2] = [
    ("engine/src/plan_table.rs", "the engine runs its own plans only"),
    ("src/cli/calibrate/mod.rs", "the engine is what is run and measured"),
];

/// What a line of code tells runtimes apart by.
#[derive(Debug, PartialEq, Eq)]
enum ToldApartBy {
    /// An arm, or a pattern, on [`vramplan_planner::spec::Runtime`].
    Name,
    /// The same on what holds a runtime's options.
    Options,
    /// A comparison.
    Comparison,
}

fn told_apart(line: &str) -> Option<ToldApartBy> {
    let code = line.split("//").next().unwrap_or_default();
    let is_pattern = |of: &str| {
        let Some((before, behind)) = code.split_once(of) else { return false };
        behind.contains("=>") || before.contains("matches!") || before.ends_with("let ")
    };
    let compared = ["== Runtime::", "!= Runtime::"].iter().any(|compared| code.contains(compared));
    if is_pattern("RuntimeOptions::") {
        Some(ToldApartBy::Options)
    } else if is_pattern("Runtime::") {
        Some(ToldApartBy::Name)
    } else {
        compared.then_some(ToldApartBy::Comparison)
    }
}

#[test]
fn what_tells_runtimes_apart_is_seen() {
    for (line, seen) in [
        ("        Runtime::Vllm => 1,", Some(ToldApartBy::Name)),
        ("if matches!(runtime, Runtime::Vllm | Runtime::LlamaCpp) {", Some(ToldApartBy::Name)),
        ("RuntimeOptions::Vramplan if asked => {", Some(ToldApartBy::Options)),
        ("if let RuntimeOptions::Vllm(serving) = options {", Some(ToldApartBy::Options)),
        ("if kind != Runtime::Vramplan {", Some(ToldApartBy::Comparison)),
        ("let runtime = plan.runtime.unwrap_or(Runtime::Vramplan);", None),
        ("options: RuntimeOptions::newest(runtime), // Runtime::Vllm => no", None),
    ] {
        assert_eq!(told_apart(line), seen, "{line}");
    }
}

#[test]
fn runtimes_are_told_apart_in_one_place() {
    let planner = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspace = planner.parent().unwrap().parent().unwrap();
    let crates =
        ["planner", "engine", "disk", "scoreboard", "web"].map(|name| format!("crates/{name}/src"));
    let roots = crates.iter().map(|root| workspace.join(root)).chain([workspace.join("src")]);
    let mut asking = BTreeSet::new();
    for file in roots.flat_map(|root| rust_files(&root)) {
        if OF_RUNTIMES.iter().any(|own| file.ends_with(own)) {
            continue;
        }
        let room = file.parent().is_some_and(|folder| {
            ROOMS.iter().any(|room| folder.ancestors().any(|above| above.ends_with(room)))
        });
        let listed = ASKS_WHICH.iter().find(|(own, _)| file.ends_with(own));
        let text = fs_err::read_to_string(&file).unwrap();
        for (number, line) in without_tests(&file, &text).lines().enumerate() {
            let allowed = match told_apart(line) {
                None => true,
                Some(ToldApartBy::Name) => false,
                Some(ToldApartBy::Options) => room,
                Some(ToldApartBy::Comparison) => {
                    asking.extend(listed.map(|(own, _)| *own));
                    listed.is_some()
                }
            };
            assert!(allowed, "{}:{}: ask `rules(runtime)`", file.display(), number + 1);
        }
    }
    for (own, why) in ASKS_WHICH {
        assert!(asking.contains(own), "`{own}` no longer asks: `{why}` can leave the list");
    }
}
