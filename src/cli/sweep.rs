//! `vramplan sweep`.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueEnum};

use super::Outcome;
use super::args::{CatalogArgs, PlanArgs};
use super::gpus;
use super::problem::Problem;
use super::scenario::{self, default_kv, default_weights};
use vramplan_disk::Disk;
use vramplan_planner::dtype::{KvFormat, WeightFormat};
use vramplan_planner::read::{self, Catalog, Kind};
use vramplan_planner::recommend::Card;
use vramplan_planner::render::{SweepDoc, to_matrix};
use vramplan_planner::spec::{ModelSpec, Runtime, Workload};
use vramplan_planner::sweep::{Cell, Column, Row, Sweep};

/// A format of `vramplan sweep`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SweepFormat {
    /// A matrix for a terminal of 80 columns.
    Table,
    /// One line for each combination.
    Csv,
    /// Schema `vramplan/sweep/v1`.
    Json,
}

/// Show what fits where: a matrix of GPUs, models and formats.
#[derive(Clone, Debug, Args)]
pub struct SweepArgs {
    /// Where profiles are looked for.
    #[command(flatten)]
    catalog: CatalogArgs,

    /// What is to be planned.
    #[command(flatten)]
    matrix: MatrixArgs,

    /// Read flags from a TOML file; flags on the command line win.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,

    /// Output format.
    #[arg(long, value_name = "FORMAT", default_value = "table", help_heading = "Output")]
    format: SweepFormat,
}

/// The flags of a plan, four of which take lists.
#[derive(Clone, Debug, Default)]
struct MatrixArgs {
    gpus: Vec<String>,
    models: Vec<String>,
    weights: Vec<WeightFormat>,
    kv: Vec<KvFormat>,
    /// The others; of the lists the first.
    plan: PlanArgs,
}

impl Args for MatrixArgs {
    fn augment_args(command: Command) -> Command {
        let list = |arg: Arg| arg.action(ArgAction::Append).value_delimiter(',');
        PlanArgs::augment_args(command)
            .mut_arg("gpu", |arg| {
                let help = "GPUs or MIG slices by name, separated by commas; `auto` for the local card, or `all`";
                list(arg).value_name("GPU,…").help(help)
            })
            .mut_arg("gpus", |arg| arg.help("Equal GPUs of each name [default: 1]"))
            .mut_arg("model", |arg| {
                let help = "Models by name or files, separated by commas, or `all`";
                list(arg).value_name("MODEL,…").help(help)
            })
            .mut_arg("weights", |arg| list(arg).value_name("FORMAT,…"))
            .mut_arg("kv", |arg| list(arg).value_name("FORMAT,…"))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for MatrixArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self {
            gpus: list(matches, "gpu"),
            models: list(matches, "model"),
            weights: list(matches, "weights"),
            kv: list(matches, "kv"),
            plan: PlanArgs::from_arg_matches(matches)?,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// What was given, each once.
fn list<T: Clone + PartialEq + Send + Sync + 'static>(matches: &ArgMatches, id: &str) -> Vec<T> {
    let mut list: Vec<T> = Vec::new();
    for value in matches.get_many::<T>(id).into_iter().flatten() {
        if !list.contains(value) {
            list.push(value.clone());
        }
    }
    list
}

impl MatrixArgs {
    /// These flags, and `other`'s where these are silent.
    fn or(self, other: PlanArgs) -> Self {
        let plan = self.plan.or(other);
        Self {
            gpus: or(self.gpus, plan.gpu.as_ref()),
            models: or(self.models, plan.model.as_ref()),
            weights: or(self.weights, plan.weights.as_ref()),
            kv: or(self.kv, plan.kv.as_ref()),
            plan,
        }
    }
}

fn or<T: Clone>(list: Vec<T>, other: Option<&T>) -> Vec<T> {
    if list.is_empty() { other.cloned().into_iter().collect() } else { list }
}

/// Answers every combination and prints.
pub fn run(args: &SweepArgs) -> anyhow::Result<Outcome> {
    let catalog = vramplan_disk::catalog(&args.catalog.profiles);
    let matrix = match &args.scenario {
        Some(path) => args.matrix.clone().or(scenario::read(path)?),
        None => args.matrix.clone(),
    };
    let document = document(&matrix, &catalog)?;
    let text = match args.format {
        SweepFormat::Table => to_matrix(&document),
        SweepFormat::Csv => document.to_csv()?,
        SweepFormat::Json => document.to_json()?,
    };
    anstream::stdout().write_all(text.as_bytes())?;
    Ok(Outcome::Done)
}

fn document(matrix: &MatrixArgs, catalog: &Catalog) -> anyhow::Result<SweepDoc> {
    let plan = &matrix.plan;
    let runtime = catalog.runtime(plan.runtime.unwrap_or(Runtime::Vramplan))?;
    let gpus = gpus(matrix, runtime.runtime, catalog)?;
    let models = models(matrix, runtime.runtime, &gpus, catalog)?;
    let sweep = Sweep {
        runtime: &runtime,
        rows: models.iter().flat_map(|model| rows(matrix, model, runtime.runtime)).collect(),
        columns: gpus.iter().filter_map(|cards| column(cards)).collect(),
        split: gpus::split(plan, runtime.runtime),
        fixed_cache: plan.cache_tokens.is_some(),
        min_decode_speed: scenario::min_decode_speed(plan)?,
    };
    Ok(SweepDoc::new(&sweep, &answer(&sweep)))
}

/// A column of one GPU, or of several equal ones.
fn column(cards: &[Card]) -> Option<Column<'_>> {
    let (Card { gpu, capacity }, others) = cards.split_first()?;
    Some(Column { gpu, capacity: *capacity, others })
}

/// The GPUs, `--gpus` of each; all of them in the order of what they offer.
fn gpus(
    matrix: &MatrixArgs,
    runtime: Runtime,
    catalog: &Catalog,
) -> anyhow::Result<Vec<Vec<Card>>> {
    let mut gpus = Vec::new();
    for name in named(&matrix.gpus, Kind::Gpu, catalog)? {
        gpus.push(gpus::cards(&matrix.plan, &[name.as_str()], runtime, catalog)?);
    }
    if matrix.gpus.iter().any(|name| is_all(name)) {
        gpus.sort_by_key(|cards| cards.first().map(|card| card.capacity.total));
    }
    Ok(gpus)
}

fn models(
    matrix: &MatrixArgs,
    runtime: Runtime,
    gpus: &[Vec<Card>],
    catalog: &Catalog,
) -> anyhow::Result<Vec<(ModelSpec, Vec<Workload>)>> {
    let names = named(&matrix.models, Kind::Model, catalog)?;
    let model = |name: &String| {
        let model = read::model(&Disk, name, catalog)?;
        let on = |cards: &Vec<Card>| {
            let gpu = &cards[0].gpu;
            scenario::workload(&matrix.plan, &model, gpu, runtime, cards.len())
        };
        let workloads: anyhow::Result<Vec<_>> = gpus.iter().map(on).collect();
        let workloads = workloads.with_context(|| format!("model `{}`", model.name))?;
        Ok((model, workloads))
    };
    names.iter().map(model).collect()
}

/// A row for each format of the weights and of the cache.
fn rows<'a>(
    matrix: &MatrixArgs,
    (model, workloads): &'a (ModelSpec, Vec<Workload>),
    runtime: Runtime,
) -> Vec<Row<'a>> {
    let weights = or(matrix.weights.clone(), Some(&default_weights(model, runtime)));
    let kv = or(matrix.kv.clone(), Some(&default_kv(runtime)));
    let with = |weights| kv.iter().map(move |&kv| Row { model, weights, kv, workloads });
    weights.into_iter().flat_map(with).collect()
}

fn is_all(name: &str) -> bool {
    name.eq_ignore_ascii_case("all")
}

/// The names given, every profile's in the place of `all`.
fn named(given: &[String], kind: Kind, catalog: &Catalog) -> anyhow::Result<Vec<String>> {
    if given.is_empty() {
        let flag = kind.name().to_lowercase();
        let missing = format!("`--{flag}` is missing: expected names, or `all`");
        let hint = "try `vramplan sweep --gpu L4,T4 --model all`";
        return Err(Problem::new(missing).hint(hint).into());
    }
    if given.iter().any(|name| is_all(name)) {
        return Ok(catalog.list(kind)?.into_iter().map(|listing| listing.name).collect());
    }
    Ok(given.to_vec())
}

/// A matrix with a refused combination, for tests.
/// Combinations below which a second thread costs more than it gives.
const CELLS_FOR_THREADS: usize = 1024;

/// Answers a matrix, a large one on every core.
fn answer(sweep: &Sweep<'_>) -> Vec<Vec<Cell>> {
    if sweep.rows.len() * sweep.columns.len() < CELLS_FOR_THREADS {
        return sweep.answer();
    }
    let groups = sweep.groups();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(group) = groups.get(index) else { return done };
            done.push((index, sweep.answer_group(group)));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut done = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut done = work();
        for other in others {
            match other.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().flat_map(|(_, rows)| rows).collect()
}

#[cfg(test)]
pub(super) fn example() -> SweepDoc {
    let matrix = MatrixArgs {
        gpus: vec!["L4".to_owned(), "T4".to_owned()],
        models: vec!["qwen2.5-32b".to_owned()],
        weights: vec![WeightFormat::Int8, WeightFormat::F16],
        ..MatrixArgs::default()
    };
    document(&matrix, &Catalog::built_in()).unwrap()
}
