//! `vramplan compare`.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use super::Outcome;
use super::args::CatalogArgs;
use super::problem::Problem;
use super::scenario;
use vramplan_planner::deployment::Question;
use vramplan_planner::plan::Verdict;
use vramplan_planner::read::Catalog;
use vramplan_planner::recommend::answer;
use vramplan_planner::render::{CompareDoc, Document};
use vramplan_planner::text::printable_path;

/// A format of `vramplan compare`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompareFormat {
    /// For a terminal of 80 columns.
    Table,
    /// Schema `vramplan/compare/v1`.
    Json,
    /// Tables for a repository or an issue.
    Markdown,
}

/// Compare two plans component by component: current against proposed.
#[derive(Clone, Debug, Args)]
pub struct CompareArgs {
    /// Where profiles are looked for.
    #[command(flatten)]
    catalog: CatalogArgs,

    /// The current scenario: flags of `budget` in a TOML file.
    #[arg(value_name = "CURRENT")]
    current: PathBuf,

    /// The proposed scenario [default: the current one, with the flags given].
    #[arg(value_name = "PROPOSED")]
    proposed: Option<PathBuf>,

    /// What is proposed; wins over the file.
    #[command(flatten)]
    plan: Question,

    /// Output format.
    #[arg(long, value_name = "FORMAT", default_value = "table", help_heading = "Output")]
    format: CompareFormat,
}

/// Plans both, compares and prints.
pub fn run(args: &CompareArgs) -> anyhow::Result<Outcome> {
    let catalog = vramplan_disk::catalog(&args.catalog.profiles);
    let base = args.proposed.as_ref().unwrap_or(&args.current);
    let current = scenario::read(&args.current)?;
    let proposed = args.plan.clone().or(scenario::read(base)?);
    if args.proposed.is_none() && proposed == current {
        let same = Problem::new("nothing is proposed: expected a second scenario, or flags");
        let hint = format!("try `vramplan compare {} --kv f16`", printable_path(&args.current));
        return Err(same.hint(hint).into());
    }
    let plan = |flags: &Question, path: &PathBuf| {
        document(flags, &catalog).with_context(|| format!("scenario `{}`", printable_path(path)))
    };
    let with_flags = args.plan != Question::default();
    let suffix = if with_flags { " with flags" } else { "" };
    let names = (printable_path(&args.current), format!("{}{suffix}", printable_path(base)));
    let (current, proposed) = (plan(&current, &args.current)?, plan(&proposed, base)?);
    let document = CompareDoc::new((&names.0, &current), (&names.1, &proposed));
    let text = match args.format {
        CompareFormat::Table => document.to_table(),
        CompareFormat::Json => document.to_json()?,
        CompareFormat::Markdown => document.to_markdown(),
    };
    anstream::stdout().write_all(text.as_bytes())?;
    Ok(if document.proposed.verdict == Verdict::DoesNotFit {
        Outcome::DoesNotFit
    } else {
        Outcome::Done
    })
}

fn document(flags: &Question, catalog: &Catalog) -> anyhow::Result<Document> {
    let deployment = scenario::resolve(flags, catalog)?;
    Ok(Document::new(&deployment, &answer(&deployment)?))
}
