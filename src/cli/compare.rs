//! `vramplan compare`.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::Outcome;
use super::args::CatalogArgs;
use super::format;
use super::known::Known;
use super::problem::Problem;
use super::scenario;
use vramplan_planner::deployment::Question;
use vramplan_planner::plan::Verdict;
use vramplan_planner::recommend::answer;
use vramplan_planner::render::{CompareDoc, Document, Format, Printers};
use vramplan_planner::text::printable_path;

/// The formats of a comparison; the JSON's schema is `vramplan/compare/v1`.
const COMPARE: Printers<CompareDoc, serde_json::Error> = Printers(&[
    (Format::Table, |compared| Ok(compared.to_table())),
    (Format::Json, CompareDoc::to_json),
    (Format::Markdown, |compared| Ok(compared.to_markdown())),
]);

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
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "table",
        value_parser = format::one_of(&COMPARE),
        help_heading = "Output"
    )]
    format: Format,

    /// Short for `--format json`.
    #[arg(long, conflicts_with = "format", help_heading = "Output")]
    json: bool,
}

/// Plans both, compares and prints.
pub fn run(args: &CompareArgs) -> anyhow::Result<Outcome> {
    let catalog = args.catalog.known();
    let base = args.proposed.as_ref().unwrap_or(&args.current);
    let current = scenario::read(&args.current)?;
    let proposed = args.plan.clone().or(scenario::read(base)?);
    if args.proposed.is_none() && proposed == current {
        let same = Problem::usage("nothing is proposed: expected a second scenario, or flags");
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
    let text = format::print(&COMPARE, &document, format::chosen(args.format, args.json))?;
    anstream::stdout().write_all(text.as_bytes())?;
    Ok(if document.proposed.verdict == Verdict::DoesNotFit {
        Outcome::DoesNotFit
    } else {
        Outcome::Done
    })
}

/// The plan of one side.
pub(super) fn document(flags: &Question, catalog: &Known) -> anyhow::Result<Document> {
    let deployment = scenario::resolve(flags, catalog)?;
    Ok(Document::new(&deployment, &answer(&deployment)?))
}
