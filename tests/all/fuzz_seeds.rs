//! The seeds of the fuzz targets, among them every input that ever broke something, answered without
//! a panic.

use std::path::{Path, PathBuf};
use std::process::Command;

fn seeds(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    fs_err::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Runs the command on a seed: it may answer or refuse, but must end in one of its own ways.
fn answers(args: &[&str], seed: &Path) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vramplan"));
    let output = command.args(args).arg(seed).output().unwrap();
    let code = output.status.code();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(code, Some(0 | 1 | 3 | 4)), "{}: {code:?}: {message}", seed.display());
    let printable = |byte: &u8| *byte >= b' ' || *byte == b'\n';
    assert!(output.stdout.iter().chain(&output.stderr).all(printable), "{}", seed.display());
}

#[test]
fn every_seed_is_answered() {
    let model = ["budget", "--gpu", "L4", "--system-tokens", "10", "--model"];
    let mut answered = 0;
    for target in ["gguf", "config", "profile"] {
        for seed in seeds(target) {
            answers(&model, &seed);
            answered += 1;
        }
    }
    for seed in seeds("scenario") {
        answers(&["budget", "--scenario"], &seed);
        answered += 1;
    }
    for seed in seeds("manifest") {
        answers(&["budget", "--gpu", "L4", "--offline", "--scenario"], &seed);
        answered += 1;
    }
    for seed in seeds("table") {
        answers(&["check"], &seed);
        answered += 1;
    }
    for seed in seeds("why") {
        answers(&["why"], &seed);
        answered += 1;
    }
    assert!(answered >= 35, "only {answered} seeds");
}
