//! What is made for an installation: completions and man pages.

use std::path::Path;
use std::process::Command;

use crate::skip::skipped;

const COMMANDS: [&str; 17] = [
    "budget",
    "explore",
    "mcp",
    "sweep",
    "quants",
    "compare",
    "check",
    "synth",
    "sparse",
    "calibrate",
    "observe",
    "rehearse",
    "why",
    "doctor",
    "profiles",
    "completions",
    "man",
];

fn printed(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_vramplan")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_shell_completes_every_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = printed(&["completions", shell]);
        for command in COMMANDS {
            assert!(script.contains(command), "{shell} does not know `{command}`");
        }
        assert!(script.contains("system-tokens"), "{shell} does not know `--system-tokens`");
        if shell != "elvish" && shell != "powershell" {
            // These two complete flags alone.
            for value in ["RTX-4090", "qwen2.5-14b", "llama.cpp", "q4_k_m", "hqq8"] {
                assert!(script.contains(value), "{shell} does not know `{value}`");
            }
        }
    }
}

#[test]
fn bash_takes_its_completions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vramplan.bash");
    fs_err::write(&path, printed(&["completions", "bash"])).unwrap();
    match Command::new("bash").arg("-n").arg(&path).status() {
        Ok(status) => assert!(status.success()),
        Err(error) => skipped(format_args!("bash: {error}")),
    }
}

#[test]
fn every_command_has_a_man_page() {
    assert!(printed(&["man"]).contains(".TH vramplan 1"));
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("share/man1");
    assert_eq!(printed(&["man", inside.to_str().unwrap()]), "");
    let page = |name: &str| fs_err::read_to_string(Path::new(&inside).join(name)).unwrap();
    assert!(page("vramplan.1").contains("vramplan"));
    for command in COMMANDS {
        assert!(page(&format!("vramplan-{command}.1")).contains("vramplan"), "{command}");
    }
    assert!(page("vramplan-budget.1").contains("RTX 4090"));
    assert!(page("vramplan-profiles-list.1").contains("gpus"));
    assert!(!inside.join("vramplan-help.1").exists(), "`help` repeats the others");
}
