//! The program that runs the engine.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

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

/// How long a worker may take to say what it can do: a driver that was asleep takes seconds to start.
const PATIENCE: Duration = Duration::from_secs(20);
/// The longest answer.
const LONGEST: u64 = 64 << 10;

/// What a worker prints that is asked for itself, as far as an answer is long.
fn said(worker: &Path, name: &str, patience: Duration) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("`{name}` cannot be started: {error}");
    let mut child = Command::new(worker)
        .arg("--about")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let stdout = child.stdout.take();
    let reader = std::thread::Builder::new().spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.map(|stdout| stdout.take(LONGEST).read_to_end(&mut bytes));
        let _ = tell.send(read.transpose().map(|_| bytes));
    });
    let answer = match reader {
        Ok(_) => told.recv_timeout(patience),
        Err(_) => Err(std::sync::mpsc::RecvTimeoutError::Disconnected),
    };
    // One that has answered has ended, or is not waited for.
    let _ = child.kill();
    let _ = child.wait();
    match answer {
        Ok(read) => read.map_err(|error| format!("`{name} --about` cannot be read: {error}")),
        Err(_) => Err(format!("`{name} --about` does not end within {} s", patience.as_secs())),
    }
}

/// What the worker says that it can do.
pub fn about() -> Result<(PathBuf, About), String> {
    let worker = find().map_err(|error| error.to_string())?;
    let name = printable_path(&worker);
    let said = said(&worker, &name, PATIENCE)?;
    let about: About = serde_json::from_slice(&said)
        .map_err(|_| format!("`{name} --about` does not say what it can do"))?;
    if about.protocol != PROTOCOL {
        return Err(format!("`{name}` speaks protocol {}, not {PROTOCOL}", about.protocol));
    }
    Ok((worker, about))
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    /// A program that does so when it is asked for itself.
    fn worker(dir: &Path, does: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = dir.join("worker");
        fs_err::write(&path, format!("#!/bin/sh\n{does}\n")).unwrap();
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn a_worker_that_does_not_end_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let said = |does: &str, patience| said(&worker(dir.path(), does), "worker", patience);
        let long = Duration::from_secs(60);
        assert_eq!(said("echo hello", long).unwrap(), b"hello\n");
        assert_eq!(said("exec yes", long).unwrap().len() as u64, LONGEST);
        let error = said("exec sleep 60", Duration::from_millis(200)).unwrap_err();
        assert!(error.contains("does not end within"), "{error}");
    }
}
