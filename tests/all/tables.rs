//! Tables of limits: committed ones are up to date, drift is found, updates change nothing else.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::skip::skipped;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn check(paths: &[&Path], flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vramplan"));
    command.current_dir(root()).arg("check").args(paths).args(flags);
    command.env("XDG_CONFIG_HOME", "/nonexistent").output().unwrap()
}

/// The drifted table, in a folder of its own.
fn drifted() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("limits.toml");
    fs_err::copy(root().join("tests/fixtures/tables/drifted.toml"), &path).unwrap();
    (folder, path)
}

#[test]
fn committed_tables_are_up_to_date() {
    let output = check(&[Path::new("profiles/tables"), Path::new("examples/team-repo")], &[]);
    assert!(
        output.status.success(),
        "{}run `just regenerate`",
        String::from_utf8_lossy(&output.stdout)
    );
    let tables = fs_err::read_dir(root().join("profiles/tables")).unwrap().count();
    assert!(tables >= 10, "{tables} tables");
}

#[test]
fn an_update_mends_what_drifted_and_nothing_else() {
    let (_folder, path) = drifted();
    let before = fs_err::read_to_string(&path).unwrap();
    assert_eq!(check(&[&path], &[]).status.code(), Some(4));
    assert_eq!(fs_err::read_to_string(&path).unwrap(), before, "a check only reads");

    assert_eq!(check(&[&path], &["--update"]).status.code(), Some(0));
    let after = fs_err::read_to_string(&path).unwrap();
    let kept: Vec<_> = before.lines().filter(|line| after.lines().any(|l| l == *line)).collect();
    let lost: Vec<_> = before.lines().filter(|line| !kept.contains(line)).collect();
    assert_eq!(lost.len(), 2, "{lost:?}");
    assert!(after.contains("high = \"11405 MiB\" } # measured in March"), "{after}");
    assert!(after.contains("balanced = 18042"), "{after}");
    assert_eq!(check(&[&path], &[]).status.code(), Some(0));
}

#[cfg(unix)]
#[test]
fn an_update_keeps_permissions_and_links() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let (folder, path) = drifted();
    fs_err::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    let link = folder.path().join("link.toml");
    symlink(&path, &link).unwrap();
    assert_eq!(check(&[&link], &["--update"]).status.code(), Some(0));
    assert!(fs_err::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs_err::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(check(&[&path], &[]).status.code(), Some(0));
}

#[test]
fn python_reads_the_limits() {
    let python = |arguments: &[&str]| {
        Command::new("python3")
            .args(arguments)
            .current_dir(root().join("examples/team-repo"))
            .output()
    };
    if !python(&["-c", "import tomllib"]).is_ok_and(|output| output.status.success()) {
        skipped("no python3 with tomllib (3.11)");
        return;
    }
    let output = python(&["-B", "-m", "doctest", "limits.py"]).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
