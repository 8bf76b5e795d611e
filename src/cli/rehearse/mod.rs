//! `vramplan rehearse`.

#[cfg(target_os = "linux")]
mod asked;
#[cfg(target_os = "linux")]
mod live;
#[cfg(target_os = "linux")]
mod several;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Outcome;
use super::args::CatalogArgs;
use crate::calibrate::comparison::Tolerance;
use crate::calibrate::marks::{Pattern, Timed};
use vramplan_planner::deployment::Question;
use vramplan_planner::units::Bytes;

/// A setting of PyTorch's allocator that is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Setting {
    /// Segments that grow instead of new ones: less is lost to fragmentation.
    #[value(name = "expandable_segments")]
    ExpandableSegments,
    /// The driver's own pools instead of PyTorch's.
    #[value(name = "cudaMallocAsync")]
    CudaMallocAsync,
}

#[cfg(target_os = "linux")]
impl Setting {
    /// As `PYTORCH_CUDA_ALLOC_CONF` has it.
    const fn variable(self) -> &'static str {
        match self {
            Self::ExpandableSegments => "expandable_segments:True",
            Self::CudaMallocAsync => "backend:cudaMallocAsync",
        }
    }
}

/// Run a program on GPUs that are not there: what it takes, phase by phase, and where it runs out.
#[derive(Clone, Debug, Args)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "programs are rehearsed on Linux"))]
pub struct RehearseArgs {
    /// Where profiles are looked for.
    #[command(flatten)]
    catalog: CatalogArgs,

    /// The cards, by `--gpu`, and what the run was planned as; without `--model`, what the command line of
    /// llama.cpp's programs and `vllm serve` says is planned, where that is certain.
    #[command(flatten)]
    plan: Question,

    /// Read plan flags from a TOML file; flags on the command line win.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,

    /// A phase begins where a line of the command's output matches; may be given more than once.
    #[arg(long = "phase", value_name = "NAME=REGEX", help_heading = "Rehearsal")]
    patterns: Vec<Pattern>,

    /// A phase begins that long after the start; may be given more than once.
    #[arg(long = "phase-at", value_name = "NAME=SECONDS", help_heading = "Rehearsal")]
    timed: Vec<Timed>,

    /// Stop once the context is made (`context`), the first token is out (`first-token`), or after a time
    /// (`30s`).
    #[cfg(target_os = "linux")]
    #[arg(long, value_name = "WHEN", help_heading = "Rehearsal")]
    stop_after: Option<crate::rehearse::guard::StopAfter>,

    /// The same elsewhere.
    #[cfg(not(target_os = "linux"))]
    #[arg(long, value_name = "WHEN", help_heading = "Rehearsal")]
    stop_after: Option<String>,

    /// Find the smallest memory on which the command still ends well, by rehearsing it again and again.
    #[arg(
        long,
        conflicts_with_all = ["sweep", "attempts", "record"],
        help_heading = "Rehearsal"
    )]
    smallest: bool,

    /// How close what is enough and what is not are in the end, with `--smallest`.
    #[arg(long, value_name = "SIZE", default_value = "32 MiB", help_heading = "Rehearsal")]
    within: Bytes,

    /// Rehearse on each of these cards instead: `'RTX 3060,RTX 4090,2xL4'`.
    #[arg(
        long,
        value_name = "GPUS",
        value_delimiter = ',',
        conflicts_with_all = ["gpu", "attempts", "record"],
        help_heading = "Rehearsal"
    )]
    sweep: Vec<String>,

    /// Rehearse as it is, and again with a setting of PyTorch's allocator.
    #[arg(
        long = "try",
        value_name = "SETTING",
        conflicts_with = "record",
        help_heading = "Rehearsal"
    )]
    attempts: Vec<Setting>,

    /// End a server that waits for requests after so many seconds in which nobody asks; 0 never does.
    #[arg(long, value_name = "SECONDS", default_value = "3", help_heading = "Rehearsal")]
    idle: u64,

    /// End a program that gets on with nothing for so many seconds; unless given, a hang is told of after
    /// 60 seconds, and ended where several rehearsals wait.
    #[arg(
        long,
        value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(1..),
        help_heading = "Rehearsal"
    )]
    patience: Option<u64>,

    /// How far a figure may lie outside of the plan's bounds, in percent of what is expected; given, a plan
    /// that was only recognised decides the exit code, too [default: 5].
    #[arg(long, value_name = "PCT", help_heading = "Rehearsal")]
    tolerance: Option<Tolerance>,

    /// Keep what was rehearsed as evidence, in the first directory of `--evidence` [default: the user's data directory]. No
    /// plan takes it: a virtual card is none.
    #[arg(long, help_heading = "Output")]
    learn: bool,

    /// Write a recording of the card that comes closest to being full, for `observe --replay`.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    record: Option<PathBuf>,

    /// Write the report to a file, too: `.md`, `.html`, `.json`, `.svg` or `.txt`.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    report: Option<PathBuf>,

    /// Print the report as JSON on standard output, schema `vramplan/rehearsal/v1`; what the command prints
    /// goes to standard error.
    #[arg(long, help_heading = "Output")]
    json: bool,

    /// The command with its arguments.
    #[arg(last = true, value_name = "CMD", required = true)]
    command: Vec<OsString>,
}

/// Rehearses and reports.
#[cfg(target_os = "linux")]
pub fn run(args: &RehearseArgs) -> anyhow::Result<Outcome> {
    live::run(args)
}

/// Says where programs can be rehearsed.
#[cfg(not(target_os = "linux"))]
pub fn run(_args: &RehearseArgs) -> anyhow::Result<Outcome> {
    let message = "cannot be rehearsed because the virtual GPU exists for Linux on x86-64 only";
    Err(super::problem::Problem::new(message)
        .hint("rehearse it there; `vramplan budget` plans anywhere")
        .into())
}
