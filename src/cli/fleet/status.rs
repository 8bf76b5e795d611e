//! `fleet status`.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;

use super::nodes::{NodesArgs, known};
use crate::cli::args::CatalogArgs;
use crate::cli::{Outcome, files};
use vramplan_planner::fleet::{merged_text, plan_text, to_labels, to_prometheus};

/// Say whether every kind is calibrated.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// The nodes.
    #[command(flatten)]
    nodes: NodesArgs,

    /// Print a line of labels for each node instead, as `kubectl label node` takes them.
    #[arg(long)]
    labels: bool,

    /// Write the state as metrics to a file, too, for the textfile collector of Prometheus' node exporter.
    #[arg(long, value_name = "FILE")]
    prometheus: Option<PathBuf>,

    /// Print the plan as it is judged now as JSON, schema `vramplan/fleet-plan/v1`.
    #[arg(long, conflicts_with = "labels")]
    json: bool,
}

/// `fleet status`.
pub fn run(args: &StatusArgs, catalog: &CatalogArgs) -> anyhow::Result<Outcome> {
    let known = known(catalog)?;
    let plan = args.nodes.plan(&known)?;
    let merged = known.document();
    if let Some(path) = &args.prometheus {
        files::write(path, &to_prometheus(&plan, &merged))?;
    }
    let text = if args.labels {
        to_labels(&plan)
    } else if args.json {
        serde_json::to_string_pretty(&plan)? + "\n"
    } else {
        format!("{}\n{}", plan_text(&plan), merged_text(&merged))
    };
    anstream::stdout().write_all(text.as_bytes())?;
    Ok(if plan.is_in_order() { Outcome::Done } else { Outcome::Drifted })
}
