//! The command line: parses, calls, prints. Data goes to stdout, everything else to stderr.

pub mod args;
mod budget;
mod calibrate;
mod check;
mod compare;
mod config;
mod doctor;
mod explore;
mod files;
mod fleet;
mod format;
mod generate;
mod help;
mod known;
mod learn;
mod manifest;
mod mcp;
#[cfg(target_os = "linux")]
mod meter;
mod new_file;
mod observe;
mod problem;
mod profiles;
mod quants;
mod rehearse;
mod scenario;
mod screen;
mod short;
mod sparse;
mod spoken;
mod sweep;
mod synonyms;
mod synth;
mod usage;
#[cfg(target_os = "linux")]
mod watch;
mod why;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use known::Known;
pub use problem::{describe, is_usage};
pub use scenario::deployment;

use args::BudgetArgs;
use calibrate::CalibrateArgs;
use check::CheckArgs;
use compare::CompareArgs;
use doctor::DoctorArgs;
use explore::ExploreArgs;
use fleet::FleetArgs;
use mcp::McpArgs;
use observe::ObserveArgs;
use profiles::ProfilesArgs;
use quants::QuantsArgs;
use rehearse::RehearseArgs;
use sparse::SparseArgs;
use sweep::SweepArgs;
use synth::SynthArgs;
use why::WhyArgs;

/// Exit codes that scripts can rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It fits, or it is done.
    Done,
    /// The plan is possible, but not on this card.
    DoesNotFit,
    /// What is committed is not what is computed.
    Drifted,
    /// What was measured is not what was planned.
    Outside,
    /// The command that was run failed with this exit code.
    Child(u8),
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::DoesNotFit => Self::from(3),
            Outcome::Drifted | Outcome::Outside => Self::from(4),
            Outcome::Child(code) => Self::from(code),
        }
    }
}

/// Plans the GPU memory of a language model: will it fit, with how much context, and what would change the answer.
///
/// For llama.cpp (Ollama, LM Studio), vLLM, SGLang, transformers and an engine with an evicting KV cache. Says what each
/// component takes and how sure that is. `vramplan MODEL [GPU]` is short for `vramplan budget`.
#[derive(Debug, Parser)]
#[command(
    name = "vramplan",
    version,
    max_term_width = 100,
    after_help = help::EXIT_CODES
)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// When to colour what is printed [default: on a terminal, unless `NO_COLOR` is set].
    #[arg(long, value_name = "WHEN", value_enum, hide_default_value = true, global = true)]
    color: Option<config::Color>,
}

// Deferred: the flags of a command are only described where that command runs.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
enum Command {
    /// Plan what a model takes on a GPU, and how much context fits.
    #[command(after_help = help::BUDGET)]
    Budget(Box<BudgetArgs>),
    /// Change a plan with the keys, and see what follows: a page in the terminal.
    #[command(after_help = help::EXPLORE)]
    Explore(Box<ExploreArgs>),
    /// Show what fits where: a matrix of GPUs, models and formats.
    #[command(after_help = help::SWEEP)]
    Sweep(Box<SweepArgs>),
    /// Compare the formats of a repository, a folder or a model: what fits, with how much context.
    #[command(after_help = help::QUANTS)]
    Quants(Box<QuantsArgs>),
    /// Compare two plans component by component: current against proposed.
    #[command(after_help = help::COMPARE)]
    Compare(Box<CompareArgs>),
    /// Check that committed tables of limits still follow from the model.
    #[command(after_help = help::CHECK)]
    Check(CheckArgs),
    /// Run the engine as planned, measure it, and compare.
    #[command(after_help = help::CALIBRATE)]
    Calibrate(Box<CalibrateArgs>),
    /// Measure the memory of any program, phase by phase, beside a plan.
    #[command(after_help = help::OBSERVE)]
    Observe(Box<ObserveArgs>),
    /// Run a program on GPUs that are not there: what it takes, phase by phase, and where it runs out.
    #[command(after_help = help::REHEARSE)]
    Rehearse(Box<RehearseArgs>),
    /// Say why a run ran out of memory, by its log or its error message, and which flag mends it.
    #[command(after_help = help::WHY)]
    Why(Box<WhyArgs>),
    /// Calibrate a fleet on the scheduler that it has: which kinds of card need it, jobs, what they brought.
    #[command(after_help = help::FLEET)]
    Fleet(FleetArgs),
    /// Say what this machine and this build can do: driver, GPUs, libraries.
    #[command(after_help = help::DOCTOR)]
    Doctor(DoctorArgs),
    /// List, show and import profiles of GPUs, models and runtimes.
    #[command(after_help = help::PROFILES)]
    Profiles(ProfilesArgs),
    /// Answer an agent's calls of tools: an MCP server over standard input and output.
    #[command(after_help = help::MCP)]
    Mcp(McpArgs),
    /// Write a GGUF file with random weights in the shape of a model.
    #[command(after_help = help::SYNTH)]
    Synth(SynthArgs),
    /// Write a model of holes to rehearse with: right headers, no weights, kilobytes.
    #[command(after_help = help::SPARSE)]
    Sparse(SparseArgs),
    /// Print completions for a shell.
    #[command(after_help = help::COMPLETIONS)]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the man page, or write one for each command into a directory.
    #[command(after_help = help::MAN)]
    Man {
        /// The directory, which is made where it does not exist.
        #[arg(value_name = "DIR")]
        folder: Option<std::path::PathBuf>,
    },
}

/// Runs the command that the process was started with.
pub fn run() -> anyhow::Result<Outcome> {
    let Cli { command, color } = usage::parse();
    let color = color.or_else(config::color);
    color.unwrap_or_default().choose();
    match command {
        Command::Budget(args) => budget::run(&args),
        Command::Explore(args) => explore::run(&args),
        Command::Sweep(args) => sweep::run(&args),
        Command::Quants(args) => quants::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Calibrate(args) => calibrate::run(&args),
        Command::Observe(args) => observe::run(&args),
        Command::Rehearse(args) => rehearse::run(&args),
        Command::Why(args) => why::run(&args),
        Command::Fleet(args) => fleet::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Profiles(args) => profiles::run(&args),
        Command::Mcp(args) => mcp::run(&args),
        Command::Synth(args) => synth::run(&args),
        Command::Sparse(args) => sparse::run(&args),
        Command::Completions { shell } => generate::completions(shell),
        Command::Man { folder } => generate::man(folder.as_deref()),
    }
}

#[cfg(test)]
mod schemas;

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
