//! `fleet run`: a job's command, and the mark that says how it ended.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use clap::Args;

use crate::calibrate::now;
use crate::cli::problem::Problem;
use crate::cli::{Outcome, files};
use crate::evidence::machine;
use vramplan_planner::fleet::{JOB_SCHEMA, JobMark, JobState};
use vramplan_planner::text::printable;

/// Where a scheduler says which of an array's jobs this is.
const INDICES: [&str; 3] = ["VRAMPLAN_INDEX", "SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX"];

/// Run the command of a job, and leave a mark of how it ended.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// The kind of card, by the plan's name for it.
    #[arg(long, value_name = "KIND", value_parser = kind)]
    kind: String,

    /// Which of the kind's jobs [default: as the scheduler says, else 0].
    #[arg(long, value_name = "N")]
    index: Option<u64>,

    /// The directory that jobs write into.
    #[arg(long, value_name = "DIR")]
    reports: PathBuf,

    /// Run it again where it was done before.
    #[arg(long)]
    again: bool,

    /// The command with its arguments. It finds the directory for its records in `VRAMPLAN_EVIDENCE`.
    #[arg(last = true, value_name = "CMD", required = true)]
    command: Vec<OsString>,
}

fn kind(text: &str) -> Result<String, String> {
    let is_safe = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty() || text.len() > 50 || !text.chars().all(is_safe) {
        return Err("expected letters a-z, digits and `-`".to_owned());
    }
    Ok(text.to_owned())
}

/// `fleet run`.
pub fn run(args: &RunArgs) -> anyhow::Result<Outcome> {
    let index = args.index.or_else(scheduled).unwrap_or(0);
    let folder = args.reports.join("jobs");
    fs_err::create_dir_all(&folder)?;
    let path = folder.join(format!("{}.{index}.json", args.kind));
    let before = before(&path);
    if before.as_ref().is_some_and(|mark| mark.state == JobState::Done) && !args.again {
        let told =
            format!("`{}` {index} was done before: `--again` runs it once more\n", args.kind);
        anstream::stderr().write_all(told.as_bytes())?;
        return Ok(Outcome::Done);
    }
    let begun = JobMark {
        schema: JOB_SCHEMA.to_owned(),
        kind: args.kind.clone(),
        index,
        state: JobState::Begun,
        tries: before.map_or(1, |mark| mark.tries.saturating_add(1)),
        begun: now(),
        code: None,
        signal: None,
        job: machine().job,
    };
    mark(&path, &begun)?;
    let evidence = args.reports.join("evidence");
    let started = Command::new(&args.command[0])
        .args(&args.command[1..])
        .env("VRAMPLAN_EVIDENCE", &evidence)
        .status();
    let status = match started {
        Ok(status) => status,
        Err(error) => {
            mark(&path, &JobMark { state: JobState::Failed, code: Some(127), ..begun })?;
            let name = printable(&args.command[0].to_string_lossy());
            let hint = "give the command as a shell would find it, after `--`";
            return Err(Problem::new(format!("cannot run `{name}`: {error}")).hint(hint).into());
        }
    };
    mark(&path, &ended(begun, status))?;
    Ok(match (status.success(), status.code()) {
        (true, _) => Outcome::Done,
        (false, code) => Outcome::Child(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
    })
}

fn scheduled() -> Option<u64> {
    INDICES.iter().find_map(|name| std::env::var(name).ok()?.trim().parse().ok())
}

/// What an earlier try left; nothing of a mark that cannot be read.
fn before(path: &Path) -> Option<JobMark> {
    JobMark::read(&fs_err::read_to_string(path).ok()?).ok()
}

fn mark(path: &Path, mark: &JobMark) -> anyhow::Result<()> {
    files::write(path, &(serde_json::to_string_pretty(mark)? + "\n"))
}

fn ended(begun: JobMark, status: ExitStatus) -> JobMark {
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    #[cfg(not(unix))]
    let signal = None;
    // A run outside of its plan's bounds is a measurement like any other.
    let done = status.success() || status.code() == Some(4);
    let state = if done { JobState::Done } else { JobState::Failed };
    let code = status.code().filter(|_| !done);
    JobMark { state, code, signal, ..begun }
}
