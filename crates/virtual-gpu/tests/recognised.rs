//! What cannot be rehearsed is refused before anything runs, with the reason.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use common::{compiled, l4, plain};
use vramplan_virtual_gpu::{CannotRehearse, Error, Machine, Rehearsal};

fn refusal(command: &mut Command) -> Option<CannotRehearse> {
    let rehearsal = Rehearsal::new(&Machine::of(vec![l4()])).unwrap();
    match rehearsal.prepare(command) {
        Ok(()) => None,
        Err(Error::CannotRehearse(why)) => Some(why),
        Err(other) => panic!("{other}"),
    }
}

fn script(folder: &Path, first_line: &str) -> std::path::PathBuf {
    let path = folder.join("script");
    fs_err::write(&path, format!("{first_line}\nexit 0\n")).unwrap();
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_static_executable() {
    let program = compiled("empty", &["-static"]);
    assert_eq!(refusal(&mut Command::new(&program)), Some(CannotRehearse::Static(program.clone())));
    // Also behind a script that names it.
    let folder = tempfile::tempdir().unwrap();
    let script = script(folder.path(), &format!("#!{}", program.display()));
    let why = refusal(&mut Command::new(script)).unwrap();
    assert_eq!(why, CannotRehearse::Static(program));
    assert!(why.to_string().starts_with("cannot be rehearsed because `"), "{why}");
}

#[test]
fn a_program_for_musl() {
    let program = compiled("empty", &["-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1"]);
    assert_eq!(refusal(&mut Command::new(&program)), Some(CannotRehearse::Musl(program)));
}

#[test]
fn a_runtime_that_is_linked_in() {
    let program = compiled("empty", &["-DKERNELS"]);
    let why = refusal(&mut Command::new(&program));
    assert_eq!(why, Some(CannotRehearse::StaticRuntime(program)));
}

/// A program that needs a library made of `empty.c` with these flags, and the library's path.
fn with_library(folder: &Path, flags: &[&str]) -> (std::path::PathBuf, std::path::PathBuf) {
    let shared = ["-shared", "-fPIC", "-Wl,-soname,libkernels.so"];
    let library = compiled("empty", &[flags, &shared].concat());
    let path = folder.join("libkernels.so");
    fs_err::copy(&library, &path).unwrap();
    let search = format!("-L{}", folder.display());
    let run_path = format!("-Wl,-rpath,{}", folder.display());
    let lenient = "-Wl,--no-as-needed,--allow-shlib-undefined";
    (compiled("empty", &[lenient, &search, "-lkernels", &run_path]), path)
}

#[test]
fn a_runtime_that_is_linked_into_a_library_of_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let (program, library) = with_library(folder.path(), &["-DKERNELS"]);
    let why = refusal(&mut Command::new(program));
    assert_eq!(why, Some(CannotRehearse::StaticRuntime(library)));
}

#[test]
fn kernels_that_another_library_registers_are_no_reason() {
    let folder = tempfile::tempdir().unwrap();
    let (program, _) = with_library(folder.path(), &["-DKERNELS", "-DELSEWHERE"]);
    assert_eq!(refusal(&mut Command::new(program)), None);
    assert_eq!(refusal(&mut Command::new(plain())), None);
}

#[test]
fn a_script_is_its_interpreter() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(refusal(&mut Command::new(script(folder.path(), "#!/usr/bin/env -S sh -e"))), None);
    let missing = script(folder.path(), "#!/usr/bin/env no-such-interpreter");
    let why = refusal(&mut Command::new(missing));
    assert_eq!(why, Some(CannotRehearse::NotFound("no-such-interpreter".into())));
}

#[test]
fn what_is_not_there_or_not_a_program() {
    let why = refusal(&mut Command::new("no-such-program"));
    assert_eq!(why, Some(CannotRehearse::NotFound("no-such-program".into())));
    let folder = tempfile::tempdir().unwrap();
    let text = script(folder.path(), "plain text");
    // The shell would run it; `exec` does not.
    assert_eq!(refusal(&mut Command::new(&text)), Some(CannotRehearse::OtherMachine(text)));
}

#[test]
fn a_program_with_another_users_rights() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("setuid");
    fs_err::copy(plain(), &program).unwrap();
    fs_err::set_permissions(&program, std::fs::Permissions::from_mode(0o4755)).unwrap();
    assert_eq!(refusal(&mut Command::new(&program)), Some(CannotRehearse::SetUid(program)));
}

#[test]
fn a_machine_without_cards() {
    let error = Rehearsal::new(&Machine::default()).err().unwrap();
    assert_eq!(error.to_string(), "a rehearsal needs 1 to 16 cards, got 0");
}
