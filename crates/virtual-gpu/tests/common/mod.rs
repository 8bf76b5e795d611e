//! Cards and programs that the tests share.
#![allow(dead_code, clippy::expect_used)] // each test binary uses some

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use vramplan_virtual_gpu::{Card, Machine, Rehearsal, Report};

pub const MIB: u64 = 1 << 20;
pub const GIB: u64 = 1 << 30;

pub fn l4() -> Card {
    Card::new("NVIDIA L4", (8, 9), 58, 23_034 * MIB).reserving(475 * MIB).with_context(258 * MIB)
}

pub fn rtx_3060() -> Card {
    Card::new("NVIDIA GeForce RTX 3060", (8, 6), 28, 12_288 * MIB)
        .reserving(375 * MIB)
        .with_context(150 * MIB)
}

/// Compiles a C program of `tests/programs` once for the test binary.
pub fn compiled(name: &str, flags: &[&str]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let source =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(format!("{name}.c"));
    let tag: String = flags.concat().chars().filter(char::is_ascii_alphanumeric).collect();
    let out = folder.join(format!("{name}-{tag}"));
    // Tests run at once: each puts a whole file in place.
    let fresh = tempfile::NamedTempFile::new_in(folder).expect("a file").into_temp_path();
    let mut cc = Command::new("cc");
    cc.args(["-w", "-O1", "-o"]).arg(&fresh).arg(source).args(flags);
    assert!(cc.status().expect("a C compiler").success());
    fresh.persist(&out).expect("the program in its place");
    out
}

pub fn plain() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| compiled("plain", &["-ldl", "-lpthread"]))
}

/// What a program showed.
pub struct Shown {
    pub output: Output,
    pub stdout: String,
    pub stderr: String,
    pub report: Report,
    pub folder: PathBuf,
}

/// Rehearses `plain RUNTIME ARGUMENTS` on a machine.
pub fn rehearse(machine: &Machine, runtime: &str, arguments: &[&str]) -> Shown {
    let mut command = Command::new(plain());
    command.arg(runtime).args(arguments);
    rehearse_command(machine, command)
}

pub fn rehearse_command(machine: &Machine, mut command: Command) -> Shown {
    let rehearsal = Rehearsal::new(machine).expect("a rehearsal");
    let folder = rehearsal.folder().to_owned();
    rehearsal.prepare(&mut command).expect("a program that can be rehearsed");
    let output = command.output().expect("the program runs");
    let report = rehearsal.finish();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    Shown { output, stdout, stderr, report, folder }
}
