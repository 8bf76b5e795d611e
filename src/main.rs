//! The `vramplan` command.

use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    match vramplan::cli::run() {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            let _ = anstream::stderr().write_all(vramplan::cli::describe(&error).as_bytes());
            ExitCode::FAILURE
        }
    }
}
