//! `vramplan check`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::Outcome;
use super::args::CatalogArgs;
use super::format;
use super::known::Known;
use super::problem::Problem;
use super::scenario;
use vramplan_planner::deployment::{Deployment, Question};
use vramplan_planner::limits_table::{Entry, Leaf, Limits, LimitsTable, TableError};
use vramplan_planner::read::profile;
use vramplan_planner::recommend::{RecommendError, Solver, settle_share};
use vramplan_planner::render::{
    FileReport, Format, Printers, ScenarioReport, drift_to_markdown, to_github, to_gitlab,
    to_report,
};
use vramplan_planner::text::printable_path;

/// Where tables are unless a path is given.
const TABLES: &str = "profiles/tables";

/// What `check` prints.
struct Checks {
    reports: Vec<FileReport>,
    updated: bool,
}

/// The formats of a check. What was updated is nothing to annotate.
const CHECK: Printers<Checks, serde_json::Error> = Printers(&[
    (Format::Text, |checks| Ok(to_report(&checks.reports, checks.updated))),
    (Format::Github, |checks| {
        Ok(if checks.updated { String::new() } else { to_github(&checks.reports) })
    }),
    (Format::Gitlab, |checks| to_gitlab(if checks.updated { &[] } else { &checks.reports })),
    (Format::Markdown, |checks| Ok(drift_to_markdown(&checks.reports, checks.updated))),
]);

/// Check that committed tables of limits still follow from the model.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// Where profiles are looked for.
    #[command(flatten)]
    catalog: CatalogArgs,

    /// Tables, or directories with tables [default: profiles/tables].
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// Write what is computed into the tables.
    #[arg(long)]
    update: bool,

    /// Output format.
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "text",
        value_parser = format::one_of(&CHECK),
        help_heading = "Output"
    )]
    format: Format,
}

/// Computes every scenario anew, compares and prints.
pub fn run(args: &CheckArgs) -> anyhow::Result<Outcome> {
    let catalog = args.catalog.known().without_own_records();
    let mut checked = Vec::new();
    for path in files(&args.paths)? {
        checked.push(Checked::read(path, &catalog)?);
    }
    if args.update {
        checked.iter().try_for_each(Checked::update)?;
    }
    let reports = checked.iter().map(Checked::report).collect();
    let checks = Checks { reports, updated: args.update };
    let text = format::print(&CHECK, &checks, args.format)?;
    anstream::stdout().write_all(text.as_bytes())?;
    let drifted: usize = checks.reports.iter().map(FileReport::drifted).sum();
    if drifted == 0 || args.update {
        return Ok(Outcome::Done);
    }
    let words = ["vramplan check --update".to_owned()];
    let words: Vec<_> =
        words.into_iter().chain(args.paths.iter().map(|path| quoted(path))).collect();
    let command = words.join(" ");
    let hint = format!("hint: `{command}` writes what is computed into the tables\n");
    anstream::stderr().write_all(hint.as_bytes())?;
    Ok(Outcome::Drifted)
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let path = printable_path(path);
    shlex::try_quote(&path).map_or_else(|_| path.clone(), std::borrow::Cow::into_owned)
}

/// The tables to check: those given, of a directory every TOML file in it.
fn files(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let default = [PathBuf::from(TABLES)];
    let paths = if paths.is_empty() { &default } else { paths };
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut inside = Vec::new();
        for entry in fs_err::read_dir(path)? {
            inside.push(entry?.path());
        }
        inside.retain(|path| path.extension().is_some_and(|ending| ending == "toml"));
        if inside.is_empty() {
            let message =
                format!("`{}` has no tables: expected `.toml` files", printable_path(path));
            return Err(Problem::new(message).hint(HINT).into());
        }
        inside.sort();
        files.extend(inside);
    }
    Ok(files)
}

const HINT: &str = "a table has `schema = 1` and a `[[scenario]]` with the flags of \
    `vramplan budget`; `vramplan check --help` shows one";

/// A table with its limits as computed.
struct Checked {
    path: PathBuf,
    table: LimitsTable,
    labels: Vec<String>,
    limits: Vec<Limits>,
    /// What each scenario assumes, as it can be stated.
    assumed: Vec<Vec<(String, Leaf)>>,
}

impl Checked {
    fn read(path: PathBuf, catalog: &Known) -> anyhow::Result<Self> {
        if !path.exists() {
            let message = format!("`{}` does not exist: expected a table", printable_path(&path));
            return Err(Problem::new(message).hint(HINT).into());
        }
        let text = profile::text_of(&vramplan_disk::Disk, &path)?;
        let invalid = |error: TableError| {
            Problem::new(format!("`{}`: {error}", printable_path(&path))).hint(HINT)
        };
        let table = LimitsTable::parse(&text).map_err(invalid)?;
        let defaults: Question = table.defaults.read().map_err(invalid)?;
        let (mut labels, mut limits, mut assumed) = (Vec::new(), Vec::new(), Vec::new());
        for entry in &table.entries {
            let flags = entry.flags.read::<Question>().map_err(invalid)?.or(defaults.clone());
            let computed = compute(&flags, catalog).with_context(|| at(&path, entry))?;
            labels.push(computed.label);
            limits.push(computed.limits);
            assumed.push(computed.assumed);
        }
        Ok(Self { path, table, labels, limits, assumed })
    }

    fn report(&self) -> FileReport {
        let computed = self.labels.iter().zip(&self.limits);
        let scenario = |(entry, (label, limits)): (&Entry, (&String, &Limits))| ScenarioReport {
            line: entry.line,
            label: label.clone(),
            changes: limits.changes(&entry.limits),
        };
        FileReport {
            path: printable_path(&self.path),
            scenarios: self.table.entries.iter().zip(computed).map(scenario).collect(),
        }
    }

    /// Writes the table anew where it changed: all of it or nothing.
    fn update(&self) -> anyhow::Result<()> {
        let text = self.table.updated(&self.limits, &self.assumed)?;
        if text == self.table.text() {
            return Ok(());
        }
        replace(&self.path, &text)
    }
}

fn at(path: &Path, entry: &Entry) -> String {
    format!("`{}`: line {}", printable_path(path), entry.flags.line)
}

/// A scenario, computed.
struct Computed {
    label: String,
    limits: Limits,
    assumed: Vec<(String, Leaf)>,
}

fn compute(question: &Question, catalog: &Known) -> anyhow::Result<Computed> {
    let deployment = scenario::resolve(question, catalog)?;
    let label = label(&deployment);
    let limits = || -> Result<Limits, RecommendError> {
        let settled = settle_share(&deployment)?;
        let solver = Solver::new(&settled)?;
        Ok(Limits::new(&solver.summary()?, &solver.recommend()?))
    };
    let limits = limits().with_context(|| label.clone())?;
    Ok(Computed { label, limits, assumed: assumed(&deployment) })
}

/// What limits follow from that a default could change: runtime, formats and the pinned prompt.
fn assumed(deployment: &Deployment) -> Vec<(String, Leaf)> {
    let text = |key: &str, value: String| (key.to_owned(), Leaf::Text(value));
    let system = i64::try_from(deployment.workload.system_tokens).unwrap_or(i64::MAX);
    vec![
        text("runtime", deployment.kind().to_string()),
        text("weights", deployment.weights.to_string()),
        text("kv", deployment.kv.to_string()),
        ("system_tokens".to_owned(), Leaf::Number(system)),
    ]
}

fn label(deployment: &Deployment) -> String {
    let Deployment { cards, model, weights, kv, .. } = deployment;
    let gpus: Vec<_> = cards.iter().map(|card| card.gpu.name.as_str()).collect();
    let runtime = deployment.kind();
    format!("{} · {} · {runtime} · {weights} · {kv}", gpus.join(" + "), model.name)
}

/// Puts a new text in the place of a file, whose permissions stay.
fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let path = fs_err::canonicalize(path)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)
        .with_context(|| format!("cannot write into `{}`", printable_path(folder)))?;
    file.write_all(text.as_bytes())?;
    let permissions = fs_err::metadata(&path)?.permissions();
    file.as_file().set_permissions(permissions)?;
    file.persist(&path).with_context(|| format!("cannot write `{}`", printable_path(&path)))?;
    Ok(())
}
