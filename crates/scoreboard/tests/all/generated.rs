//! `docs/accuracy.md` and its pictures still follow from the model.

use std::path::{Path, PathBuf};
use std::process::Command;

fn committed(path: &str) -> String {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    fs_err::read_to_string(docs.join(path)).unwrap()
}

fn pictures() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("accuracy")
}

#[test]
fn the_accuracy_is_up_to_date() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vramplan-scoreboard"));
    let output =
        command.args(["--format", "markdown", "--plots"]).arg(pictures()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document = String::from_utf8(output.stdout).unwrap();
    assert!(document == committed("accuracy.md"), "run `just regenerate`");
    for picture in ["llama-cpp.svg", "vllm.svg", "transformers.svg"] {
        let drawn = fs_err::read_to_string(pictures().join(picture)).unwrap();
        let known = committed(&format!("accuracy/{picture}"));
        assert!(drawn == known, "{picture}: run `just regenerate`");
    }
}
