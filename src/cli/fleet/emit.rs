//! `fleet emit`.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;

use super::nodes::{NodesArgs, known};
use crate::cli::args::CatalogArgs;
use crate::cli::problem::Problem;
use crate::cli::{Outcome, files};
use vramplan_planner::fleet::emit::{Jobs, JobsError, Target, jobs, together};
use vramplan_planner::text::printable_path;
use vramplan_planner::units::Bytes;

/// What is run where nothing is said: the smallest model of which a real run has every part.
const COMMAND: [&str; 9] = [
    "vramplan",
    "calibrate",
    "--model",
    "qwen2.5-0.5b",
    "--synthetic",
    "--cache-tokens",
    "4096",
    "--learn",
    "--json",
];

/// Write a small job for each kind that is to be measured.
#[derive(Clone, Debug, Args)]
pub struct EmitArgs {
    /// For which scheduler: `slurm`, `k8s`, `sky` or `dstack`.
    #[arg(value_name = "SCHEDULER")]
    target: Target,

    /// The nodes.
    #[command(flatten)]
    nodes: NodesArgs,

    /// The directory that jobs write into, by its whole path on the nodes: all of them have to see it.
    #[arg(long, value_name = "DIR", help_heading = "Jobs")]
    reports: String,

    /// Runs of each kind: an array, or an indexed Job.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000), help_heading = "Jobs")]
    runs: u64,

    /// Minutes that a run may take.
    #[arg(long, value_name = "MINUTES", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=1440), help_heading = "Jobs")]
    minutes: u64,

    /// Main memory of a run.
    #[arg(long, value_name = "SIZE", default_value = "8GiB", help_heading = "Jobs")]
    memory: Bytes,

    /// Processors of a run.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=1024), help_heading = "Jobs")]
    cpus: u64,

    /// `vramplan` on the nodes.
    #[arg(long, value_name = "PATH", default_value = "vramplan", help_heading = "Jobs")]
    program: String,

    /// The image that pods run, with `vramplan` in it (k8s).
    #[arg(long, value_name = "IMAGE", help_heading = "Jobs")]
    image: Option<String>,

    /// The claim of the volume that is mounted at `--reports` (k8s).
    #[arg(long, value_name = "NAME", help_heading = "Jobs")]
    claim: Option<String>,

    /// Kinds that are calibrated, too.
    #[arg(long, help_heading = "Jobs")]
    all: bool,

    /// Write a file for each kind into this directory, instead of all to standard output.
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: Option<PathBuf>,

    /// The command of a run, in which `{gpu}` stands for the card's name [default: `vramplan calibrate --model
    /// qwen2.5-0.5b --synthetic --cache-tokens 4096 --learn --json`].
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

/// `fleet emit`.
pub fn run(args: &EmitArgs, catalog: &CatalogArgs) -> anyhow::Result<Outcome> {
    let plan = args.nodes.plan(&known(catalog)?)?;
    let written = match jobs(args.target, &plan, &asked(args)) {
        Ok(written) => written,
        Err(JobsError::Nothing) => {
            let told = format!(
                "{}: `--all` writes jobs for what is calibrated, too\n",
                JobsError::Nothing
            );
            anstream::stderr().write_all(told.as_bytes())?;
            return Ok(Outcome::Done);
        }
        Err(error) => return Err(Problem::usage(error.to_string()).into()),
    };
    if let Some(folder) = &args.out {
        fs_err::create_dir_all(folder)?;
        for job in &written {
            let path = folder.join(format!("{}.{}", job.kind, args.target.ending()));
            files::write(&path, &job.text)?;
            let told = format!("wrote `{}`\n", printable_path(&path));
            anstream::stderr().write_all(told.as_bytes())?;
        }
        return Ok(Outcome::Done);
    }
    if args.target == Target::Dstack && written.len() > 1 {
        return Err(Problem::usage(
            "dstack takes one task a file, and several kinds are to be measured",
        )
        .hint("name a directory for them with `--out`")
        .into());
    }
    anstream::stdout().write_all(together(args.target, &written).as_bytes())?;
    Ok(Outcome::Done)
}

fn asked(args: &EmitArgs) -> Jobs {
    let command = if args.command.is_empty() {
        let default = COMMAND.map(str::to_owned);
        let own = |word: String| if word == "vramplan" { args.program.clone() } else { word };
        default.map(own).into()
    } else {
        args.command.clone()
    };
    Jobs {
        command,
        program: args.program.clone(),
        runs: args.runs,
        minutes: args.minutes,
        memory: args.memory,
        cpus: args.cpus,
        reports: args.reports.clone(),
        image: args.image.clone(),
        claim: args.claim.clone(),
        all: args.all,
    }
}
