//! What is generated and committed still follows from the model.

use std::path::Path;
use std::process::Command;

fn committed(path: &str) -> String {
    fs_err::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// An example, where cargo puts it beside this test.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    Command::new(profile.join("examples").join(name))
}

#[test]
fn the_audit_of_the_seed_is_up_to_date() {
    let fresh = printed(&mut example("seed_audit"));
    assert!(fresh == committed("docs/seed-audit.md"), "run `just regenerate`");
}

#[test]
fn the_picture_in_the_readme_is_up_to_date() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vramplan"));
    command.args(["budget", "--gpu", "L4", "--model", "qwen2.5-14b", "--format", "svg"]);
    let fresh = printed(&mut command);
    assert!(fresh == committed("docs/budget.svg"), "run `just regenerate`");
}
