//! The `vramplan` command.

use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    match vramplan::cli::run() {
        Ok(outcome) => outcome.into(),
        // Who was to read has gone away, as `head` does: nobody is left to tell.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = anstream::stderr().write_all(vramplan::cli::describe(&error).as_bytes());
            if vramplan::cli::is_usage(&error) { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

/// Whether the output's own reader is gone: an error of a file or a worker says more than that.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<std::io::Error>().filter(|_| error.chain().count() == 1);
    error.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
