//! `vramplan explore`.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use clap::Args;

use super::Outcome;
use super::args::CatalogArgs;
use super::known::Known;
use super::problem::{Problem, told};
use super::scenario;
use crate::explore::{Planned, Planner, run as open};
use vramplan_planner::deployment::{Deployment, Question};
use vramplan_planner::form::{self, Given, Lists, command, question};
use vramplan_planner::recommend::{answer, outline};
use vramplan_planner::render::Document;

/// Change a plan with the keys and see what follows.
#[derive(Clone, Debug, Args)]
pub struct ExploreArgs {
    /// Where profiles are looked for.
    #[command(flatten)]
    catalog: CatalogArgs,

    /// What is planned to begin with.
    #[command(flatten)]
    plan: Question,

    /// Read flags from a TOML file; flags on the command line win.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
}

/// Where nothing is said, the page begins with the first plan of the README.
const MODEL: &str = "qwen2.5-14b";
const GPU: &str = "L4";

/// Opens the page, and prints the command of what was planned at last.
pub fn run(args: &ExploreArgs) -> anyhow::Result<Outcome> {
    let begin = given(scenario::merged(&args.plan, args.scenario.as_deref())?)?;
    is_a_terminal()?;
    let catalog = args.catalog.clone();
    let lists = Lists::of(&catalog.quiet())?;
    let has_colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let last = open(lists, begin, has_colours, move || OfKnown(catalog.quiet()))?;
    if let Ok(Some(line)) = command(&last) {
        anstream::stdout().write_all(format!("{line}\n").as_bytes())?;
    }
    Ok(Outcome::Done)
}

fn is_a_terminal() -> anyhow::Result<()> {
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && !is_dumb {
        return Ok(());
    }
    let message = "`explore` needs a terminal for its keys and its screen: expected one as standard input and output";
    let hint = "`vramplan budget` prints a plan, for programs with `--json`";
    Err(Problem::usage(message).hint(hint).into())
}

/// The question as the page holds it: this machine's card where none is named and it has one.
fn given(mut question: Question) -> anyhow::Result<Given> {
    question.model.get_or_insert_with(|| MODEL.to_owned());
    if question.gpu.is_none() {
        let local = crate::local::local_card().is_ok();
        question.gpu = Some(if local { "auto" } else { GPU }.to_owned());
    }
    match serde_json::to_value(question)? {
        serde_json::Value::Object(given) => Ok(given),
        _ => Ok(Given::new()),
    }
}

/// Plans as `budget` does.
struct OfKnown(Known);

impl OfKnown {
    fn deployment(&self, given: &Given) -> Result<Deployment, form::Problem> {
        scenario::resolve(&question(given)?, &self.0).map_err(|error| told(&error))
    }
}

impl Planner for OfKnown {
    fn outline(&self, given: &Given) -> Result<Option<Planned>, form::Problem> {
        let deployment = self.deployment(given)?;
        let found = outline(&deployment)?;
        Ok(found.map(|found| Planned::new(Document::new(&deployment, &found), true)))
    }

    fn plan(&self, given: &Given) -> Result<Planned, form::Problem> {
        let deployment = self.deployment(given)?;
        Ok(Planned::new(Document::new(&deployment, &answer(&deployment)?), false))
    }
}
