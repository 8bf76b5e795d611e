//! The `vramplan-worker` command: runs the engine for `vramplan calibrate`.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    vramplan_engine::worker::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    use std::io::Write as _;
    let _ = std::io::stderr().write_all(b"error: the engine can be measured on Linux only\n");
    ExitCode::FAILURE
}
