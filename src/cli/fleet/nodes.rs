//! `fleet plan`: nodes from a file, from standard input, or from the scheduler itself.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::{Args, ValueEnum};
use jiff::{SignedDuration, Timestamp};

use super::PlanArgs;
use crate::cli::Outcome;
use crate::cli::args::CatalogArgs;
use crate::cli::problem::Problem;
use crate::evidence::Store;
use vramplan_planner::bounded;
use vramplan_planner::fleet::{FleetPlan, Merged, PLAN_SCHEMA, Types, Wanted, nodes, plan_text};
use vramplan_planner::spec::Runtime;
use vramplan_planner::text::{printable_message, printable_path};

/// The longest list of nodes that is read.
const MOST: u64 = 256 << 20;

/// A program that is asked for the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Asked {
    /// `sinfo --json`.
    Sinfo,
    /// `kubectl get nodes -o json`.
    Kubectl,
}

impl Asked {
    const fn words(self) -> &'static [&'static str] {
        match self {
            Self::Sinfo => &["sinfo", "--json"],
            Self::Kubectl => &["kubectl", "get", "nodes", "-o", "json"],
        }
    }
}

/// The nodes of a fleet, and by what its kinds are judged.
#[derive(Clone, Debug, Args)]
pub struct NodesArgs {
    /// What `sinfo --json`, `sinfo -N -o '%N %G %P %T %f'` or `kubectl get nodes -o json` print, lines of
    /// `node,gpu,count,driver`, or a plan that was made before; `-` is standard input.
    #[arg(value_name = "NODES", required_unless_present = "ask", conflicts_with = "ask")]
    nodes: Option<PathBuf>,

    /// Ask the scheduler: runs `sinfo --json`, or `kubectl get nodes -o json`.
    #[arg(long, value_name = "PROGRAM")]
    ask: Option<Asked>,

    /// What a type of the scheduler's means: `a100=A100-80GB`; may be given more than once.
    #[arg(long = "gpu-type", value_name = "TYPE=GPU")]
    types: Vec<String>,

    /// Runs of this runtime are what counts [default: of any].
    #[arg(long, value_name = "RUNTIME")]
    runtime: Option<Runtime>,

    /// Days after which a measurement is old [default: never].
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    max_age: Option<u32>,
}

impl NodesArgs {
    /// The plan of these nodes, judged by what is known.
    pub fn plan(&self, known: &Merged) -> anyhow::Result<FleetPlan> {
        let wanted = Wanted { runtime: self.runtime, since: self.max_age.map(days_ago) };
        let text = self.text()?;
        let name = self.name();
        let wrong = |message: String| {
            Problem::new(format!("{name}: {message}"))
                .hint("give what `sinfo --json` or `kubectl get nodes -o json` print, or a list of `node,gpu,count,driver`")
        };
        if text.contains(PLAN_SCHEMA) {
            let plan = FleetPlan::read(&text).map_err(wrong)?;
            return Ok(plan.judged(known.records(), &wanted));
        }
        let types = Types::parse(self.types.iter().map(String::as_str))
            .map_err(|message| Problem::usage(format!("`--gpu-type`: {message}")))?;
        let inventory = nodes(&text, &types).map_err(|error| wrong(error.to_string()))?;
        Ok(FleetPlan::new(&inventory, known.records(), &wanted))
    }

    fn name(&self) -> String {
        match (&self.nodes, self.ask) {
            (_, Some(asked)) => format!("`{}`", asked.words().join(" ")),
            (Some(path), None) if path.as_os_str() == "-" => "standard input".to_owned(),
            (path, None) => {
                format!("`{}`", printable_path(path.as_deref().unwrap_or(Path::new("-"))))
            }
        }
    }

    fn text(&self) -> anyhow::Result<String> {
        let bytes = match (&self.nodes, self.ask) {
            (_, Some(asked)) => ask(asked)?,
            (Some(path), None) if path.as_os_str() != "-" => {
                bounded::read(fs_err::File::open(path)?, MOST)?
            }
            _ => bounded::read(std::io::stdin().lock(), MOST)?,
        };
        let text = String::from_utf8(bytes);
        Ok(text.map_err(|_| Problem::new(format!("{}: it is not UTF-8", self.name())))?)
    }
}

/// Runs the scheduler's own program.
fn ask(asked: Asked) -> anyhow::Result<Vec<u8>> {
    let (program, words) = asked.words().split_first().unwrap_or((&"", &[]));
    let hint =
        "run it where the scheduler is, and give what it prints: `… | vramplan fleet plan -`";
    let cannot = |message: String| Problem::new(message).hint(hint);
    let output = Command::new(program).args(words).stdin(Stdio::null()).output();
    let output = output.map_err(|error| cannot(format!("`{program}` cannot be run: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = printable_message(said.trim());
        return Err(cannot(format!("`{program}` failed ({}): {said}", output.status)).into());
    }
    Ok(output.stdout)
}

/// The moment so many days ago, as records have it.
fn days_ago(days: u32) -> String {
    let since = Timestamp::now() - SignedDuration::from_hours(24 * i64::from(days));
    Timestamp::from_second(since.as_second()).unwrap_or(since).to_string()
}

/// What is known in these directories.
pub fn known(catalog: &CatalogArgs) -> anyhow::Result<Merged> {
    let read = Store::new(&catalog.evidence).read();
    let hint = "name directories that are there with `--evidence`";
    Ok(read.map_err(|error| Problem::new(format!("records cannot be read: {error}")).hint(hint))?)
}

/// `fleet plan`.
pub fn run(args: &PlanArgs, catalog: &CatalogArgs) -> anyhow::Result<Outcome> {
    let plan = args.nodes.plan(&known(catalog)?)?;
    let text =
        if args.json { serde_json::to_string_pretty(&plan)? + "\n" } else { plan_text(&plan) };
    anstream::stdout().write_all(text.as_bytes())?;
    Ok(Outcome::Done)
}
