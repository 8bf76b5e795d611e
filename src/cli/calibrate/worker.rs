//! The program that runs the engine.

use std::path::PathBuf;

use crate::cli::problem::Problem;
use vramplan_planner::protocol::{About, PROTOCOL};
use vramplan_planner::text::printable_path;

/// The environment variable that names another worker.
const WORKER: &str = "VRAMPLAN_WORKER";
/// What it is called.
const NAME: &str = "vramplan-worker";

/// The worker: what the environment names, else what lies beside this program.
pub fn find() -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os(WORKER).map(PathBuf::from) {
        if named.is_file() {
            return Ok(named);
        }
        let message = format!("`{WORKER}`: there is no file `{}`", printable_path(&named));
        let hint = format!("name a `{NAME}` there, or unset it to use the one beside `vramplan`");
        return Err(Problem::new(message).hint(hint).into());
    }
    let program = format!("{NAME}{}", std::env::consts::EXE_SUFFIX);
    let beside = std::env::current_exe()?.with_file_name(program);
    if beside.is_file() {
        return Ok(beside);
    }
    let message = format!("there is no worker: expected `{}`", printable_path(&beside));
    Err(Problem::new(message)
        .hint(
            "build it with `cargo build --release -p vramplan-engine`, or name it in `VRAMPLAN_WORKER`; `vramplan observe` \
             measures any other program beside its plan",
        )
        .into())
}

/// What the worker says that it can do.
pub fn about() -> Result<(PathBuf, About), String> {
    let worker = find().map_err(|error| error.to_string())?;
    let name = printable_path(&worker);
    let output = std::process::Command::new(&worker)
        .arg("--about")
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(|error| format!("`{name}` cannot be started: {error}"))?;
    let about: About = serde_json::from_slice(&output.stdout)
        .map_err(|_| format!("`{name} --about` does not say what it can do"))?;
    if about.protocol != PROTOCOL {
        return Err(format!("`{name}` speaks protocol {}, not {PROTOCOL}", about.protocol));
    }
    Ok((worker, about))
}
