//! `vramplan fleet`.

mod emit;
mod merge;
mod nodes;
mod run;
mod status;

use clap::{Args, Subcommand};

use super::Outcome;
use super::args::CatalogArgs;

/// Calibrate a fleet on the scheduler that it has.
#[derive(Clone, Debug, Args)]
pub struct FleetArgs {
    #[command(subcommand)]
    command: FleetCommand,

    /// Where profiles and records are looked for.
    #[command(flatten)]
    catalog: CatalogArgs,
}

#[derive(Clone, Debug, Subcommand)]
enum FleetCommand {
    /// Say which kinds of card the nodes have, and which of them were not measured, or long ago.
    Plan(PlanArgs),
    /// Write a small job for each kind that is to be measured.
    Emit(Box<emit::EmitArgs>),
    /// Run the command of a job, and leave a mark of how it ended: what emitted jobs call.
    Run(run::RunArgs),
    /// Put together what jobs brought: medians and bounds, each run once, failed jobs listed.
    Merge(merge::MergeArgs),
    /// Say whether every kind is calibrated; exit code 4 where one is not.
    Status(status::StatusArgs),
}

/// Say which kinds of card the nodes have.
#[derive(Clone, Debug, Args)]
pub struct PlanArgs {
    /// The nodes.
    #[command(flatten)]
    nodes: nodes::NodesArgs,

    /// Print the plan as JSON, schema `vramplan/fleet-plan/v1`: what `emit` and `status` take.
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &FleetArgs) -> anyhow::Result<Outcome> {
    match &args.command {
        FleetCommand::Plan(plan) => nodes::run(plan, &args.catalog),
        FleetCommand::Emit(emit) => emit::run(emit, &args.catalog),
        FleetCommand::Run(run) => run::run(run),
        FleetCommand::Merge(merge) => merge::run(merge, &args.catalog),
        FleetCommand::Status(status) => status::run(status, &args.catalog),
    }
}
