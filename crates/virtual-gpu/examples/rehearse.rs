//! Rehearses a program on a described machine and prints the report as JSON.
//!
//!     cargo run --example rehearse -- MACHINE.json [--events FILE] -- COMMAND ARGUMENTS...
//!
//! The program's own output goes where this one's goes; its exit code is this one's.
#![allow(clippy::print_stdout, clippy::print_stderr)]

#[cfg(target_os = "linux")]
use {
    std::error::Error,
    std::io::Write,
    std::process::{Command, ExitCode},
    vramplan_virtual_gpu::{Machine, Rehearsal},
};

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(1)
        }
    }
}

#[cfg(target_os = "linux")]
fn run() -> Result<u8, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let at = arguments.iter().position(|a| a == "--").ok_or("usage: MACHINE.json -- COMMAND")?;
    let (ours, theirs) = (&arguments[..at], &arguments[at + 1..]);
    let (program, rest) = theirs.split_first().ok_or("no command")?;
    let machine = ours.first().ok_or("no machine")?;
    let machine = Machine::from_json(&fs_err::read_to_string(machine)?)?;
    let rehearsal = Rehearsal::new(&machine)?;
    if let Some(path) = ours.iter().position(|a| a == "--events").and_then(|at| ours.get(at + 1)) {
        let mut file = std::io::BufWriter::new(fs_err::File::create(path)?);
        rehearsal.observe(move |event| {
            let written = event.line().map(|line| file.write_all(&line));
            if !matches!(written, Some(Ok(()))) {
                eprintln!("an event was not recorded");
            }
        });
    }
    let mut command = Command::new(program);
    command.args(rest);
    rehearsal.prepare(&mut command)?;
    let status = command.spawn()?.wait()?;
    let report = rehearsal.finish();
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(u8::try_from(status.code().unwrap_or(101)).unwrap_or(101))
}
