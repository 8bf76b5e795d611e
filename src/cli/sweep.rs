//! `vramplan sweep`.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::Outcome;
use super::args::CatalogArgs;
use super::config::Config;
use super::format;
use super::known::{Known, runtime_of_one};
use super::problem::Problem;
use super::scenario;
use vramplan_planner::deployment::{self, Cards, Deployment, Form, Found, Question};
use vramplan_planner::dtype::{KvPair, WeightFormat};
use vramplan_planner::estimate::rules;
use vramplan_planner::read::{Catalog, Kind};
use vramplan_planner::render::{
    Format, Printers, SweepDoc, sweep_to_html, sweep_to_markdown, to_matrix,
};
use vramplan_planner::spec::Runtime;
use vramplan_planner::sweep::{Cell, Sweep};
use vramplan_planner::text::printable;

/// The formats of a sweep; the JSON's schema is `vramplan/sweep/v1`.
const SWEEP: Printers<SweepDoc, anyhow::Error> = Printers(&[
    (Format::Table, |sweep| Ok(to_matrix(sweep))),
    (Format::Csv, |sweep| Ok(sweep.to_csv()?)),
    (Format::Json, |sweep| Ok(sweep.to_json()?)),
    (Format::Markdown, |sweep| Ok(sweep_to_markdown(sweep))),
    (Format::Html, |sweep| Ok(sweep_to_html(sweep))),
]);

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
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "table",
        value_parser = format::one_of(&SWEEP),
        help_heading = "Output"
    )]
    format: Format,

    /// Short for `--format json`.
    #[arg(long, conflicts_with = "format", help_heading = "Output")]
    json: bool,
}

/// The flags of a plan, eight of which take lists.
#[derive(Clone, Debug, Default)]
struct MatrixArgs {
    gpus: Vec<String>,
    models: Vec<String>,
    weights: Vec<WeightFormat>,
    kv: Vec<KvPair>,
    runtimes: Vec<Runtime>,
    users: Vec<u64>,
    contexts: Vec<u64>,
    windows: Vec<u64>,
    /// The others; of the lists the first.
    plan: Question,
}

impl Args for MatrixArgs {
    fn augment_args(command: Command) -> Command {
        let list = |arg: Arg| arg.action(ArgAction::Append).value_delimiter(',');
        Question::augment_args(command)
            .mut_arg("gpu", |arg| {
                let help = "GPUs or MIG slices by name, separated by commas; `auto` for the local card, or `all`";
                list(arg).value_name("GPU,…").help(help)
            })
            .mut_arg("gpus", |arg| arg.help("Equal GPUs of each name [default: 1]"))
            .mut_arg("model", |arg| {
                let help = "Models by name or files, separated by commas, or `all`";
                list(arg).value_name("MODEL,…").help(help).alias("models")
            })
            .mut_arg("runtime", |arg| list(arg).value_name("RUNTIME,…"))
            .mut_arg("context", |arg| list(arg).value_name("TOKENS,…"))
            .mut_arg("weights", |arg| list(arg).value_name("FORMAT,…"))
            .mut_arg("kv", |arg| list(arg).value_name("FORMAT,…"))
            .mut_arg("users", |arg| list(arg).value_name("N,…"))
            .mut_arg("context_per_user", |arg| list(arg).value_name("TOKENS,…"))
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
            runtimes: list(matches, "runtime"),
            windows: list(matches, "context"),
            users: list(matches, "users"),
            contexts: list(matches, "context_per_user"),
            plan: Question::from_arg_matches(matches)?,
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
    /// These flags, and a user's defaults where they are silent.
    fn configured(self, config: &Config) -> anyhow::Result<Self> {
        let asked = Question { gpu: self.gpus.first().cloned(), ..self.plan };
        let configured = config.fill(asked, |_| false);
        configured.note()?;
        let plan = configured.question;
        let runtimes = or(self.runtimes, plan.runtime.as_ref());
        Ok(Self { gpus: or(self.gpus, plan.gpu.as_ref()), runtimes, plan, ..self })
    }

    /// These flags, and `other`'s where these are silent.
    fn or(self, other: Question) -> Self {
        let plan = self.plan.or(other);
        Self {
            gpus: or(self.gpus, plan.gpu.as_ref()),
            models: or(self.models, plan.model.as_ref()),
            weights: or(self.weights, plan.weights.as_ref()),
            kv: or(self.kv, plan.kv.as_ref()),
            runtimes: or(self.runtimes, plan.runtime.as_ref()),
            windows: or(self.windows, plan.context.as_ref()),
            users: or(self.users, plan.users.as_ref()),
            contexts: or(self.contexts, plan.context_per_user.as_ref()),
            plan,
        }
    }
}

fn or<T: Clone>(list: Vec<T>, other: Option<&T>) -> Vec<T> {
    if list.is_empty() { other.cloned().into_iter().collect() } else { list }
}

/// Answers every combination and prints.
pub fn run(args: &SweepArgs) -> anyhow::Result<Outcome> {
    let catalog = args.catalog.known();
    let matrix = match &args.scenario {
        Some(path) => args.matrix.clone().or(scenario::read(path)?),
        None => args.matrix.clone(),
    };
    let matrix = matrix.configured(&args.catalog.config()?)?;
    let format = format::chosen(args.format, args.json);
    let document = document(&matrix, &catalog, says_largest(format))?;
    let text = format::print(&SWEEP, &document, format)?;
    anstream::stdout().write_all(text.as_bytes())?;
    Ok(Outcome::Done)
}

/// Whether a format says which cache is the largest of a combination whose cache is given too.
const fn says_largest(format: Format) -> bool {
    matches!(format, Format::Json | Format::Csv)
}

fn document(matrix: &MatrixArgs, catalog: &Known, largest: bool) -> anyhow::Result<SweepDoc> {
    let models = named(&matrix.models, Kind::Model, catalog)?;
    let runtimes = match (matrix.runtimes.as_slice(), matrix.plan.runtime) {
        ([], None) => vec![runtime_of_all(&models, matrix, catalog)?],
        ([], Some(runtime)) => vec![runtime],
        (runtimes, _) => runtimes.to_vec(),
    };
    let mut plan = matrix.plan.clone();
    if runtimes.len() > 1 {
        // Their defaults differ; what is compared is the same work.
        plan.system_tokens = plan.system_tokens.or(Some(0));
    }
    let on: Vec<Vec<Cards>> = runtimes
        .iter()
        .map(|&runtime| gpus(matrix, (&plan, runtime), &runtimes, catalog))
        .collect::<Result<_, _>>()?;
    let mut rows = Vec::new();
    for name in models {
        for (&runtime, gpus) in runtimes.iter().zip(&on) {
            let question =
                Question { model: Some(name.clone()), runtime: Some(runtime), ..plan.clone() };
            let rows_of = rows_of(&question, matrix, gpus, catalog);
            rows.extend(rows_of.with_context(|| format!("model `{name}`"))?);
        }
    }
    let sweep = Sweep { rows, largest };
    Ok(SweepDoc::new(&sweep, &answer(&sweep)))
}

/// The runtime that a matrix has where none is named: that of every model on every card, or for names of models llama.cpp
/// where vramplan's own engine has nothing to say of one of the models, or on one of the cards.
fn runtime_of_all(
    models: &[String],
    matrix: &MatrixArgs,
    known: &Known,
) -> anyhow::Result<Runtime> {
    let gpus: Vec<Option<&String>> =
        if matrix.gpus.is_empty() { vec![None] } else { matrix.gpus.iter().map(Some).collect() };
    let mut runtimes = Vec::new();
    for model in models {
        let located = known.locate(model)?;
        let on = |gpu: Option<&String>| {
            let plan = Question { gpu: gpu.cloned(), ..matrix.plan.clone() };
            runtime_of_one(&plan, &located, known)
        };
        runtimes.push((model, gpus.iter().copied().map(on).collect::<Vec<_>>()));
    }
    let own = |runtime: Runtime| runtime == runtime_by_name();
    let of_models = runtimes.iter().all(|(_, on)| on.iter().copied().any(own));
    let of_cards = (0..gpus.len()).all(|at| runtimes.iter().any(|(_, on)| own(on[at])));
    if of_models && of_cards {
        return Ok(runtime_by_name());
    }
    let all: Vec<(&String, Runtime)> = runtimes
        .iter()
        .flat_map(|(model, on)| on.iter().map(|runtime| (*model, *runtime)))
        .collect();
    let others: Vec<_> = all.iter().filter(|(_, runtime)| !own(*runtime)).collect();
    if let Some((_, runtime)) = others.first()
        && others.iter().all(|(_, other)| other == runtime)
        && (others.len() == all.len() || rules(*runtime).places_tensors())
    {
        return Ok(*runtime);
    }
    let Some(&(first, runtime)) = all.first() else { return Ok(runtime_by_name()) };
    let Some(&(other, found)) = all.iter().find(|(_, found)| *found != runtime) else {
        return Ok(runtime);
    };
    let (first, other) = (printable(first), printable(other));
    let message = format!(
        "`{first}` is planned for `{runtime}` and `{other}` for `{found}`: expected one runtime"
    );
    Err(Problem::usage(message).hint("name it for the whole matrix: `--runtime NAME`").into())
}

/// The runtime of a bare name.
const fn runtime_by_name() -> Runtime {
    Form::Name.runtime()
}

/// The numbers of a list, or one that is not given.
fn given(list: &[u64]) -> Vec<Option<u64>> {
    if list.is_empty() { vec![None] } else { list.iter().copied().map(Some).collect() }
}

/// The questions of a model's rows: one for each number of users, and of those one for each length of a conversation.
/// Where there is one GPU lengths are columns, so that they share a row.
fn questions(question: &Question, matrix: &MatrixArgs, gpus: usize) -> Vec<Vec<Question>> {
    let mut rows = Vec::new();
    for users in given(&matrix.users) {
        let of = |context_per_user| Question { users, context_per_user, ..question.clone() };
        let window = |context| Question { users, context, ..question.clone() };
        let contexts: Vec<Question> = if matrix.windows.is_empty() {
            given(&matrix.contexts).into_iter().map(of).collect()
        } else {
            given(&matrix.windows).into_iter().map(window).collect()
        };
        if gpus == 1 {
            rows.push(contexts);
        } else {
            rows.extend(contexts.into_iter().map(|question| vec![question]));
        }
    }
    rows
}

/// A row of a model for each format of the weights and of the cache: first its defaults, on every GPU.
fn rows_of(
    question: &Question,
    matrix: &MatrixArgs,
    gpus: &[Cards],
    known: &Known,
) -> anyhow::Result<Vec<Vec<Deployment>>> {
    let Some(first) = gpus.first() else { return Ok(Vec::new()) };
    let located = known.locate(question.model.as_deref().unwrap_or_default())?;
    let found = known.resolve_on(question, &located, first.clone())?;
    let on = |question: &Question, cards: &Cards| {
        let found = Found {
            model: Arc::clone(&found.model),
            file: found.file.clone(),
            runtime: Arc::clone(&found.runtime),
            cards: cards.clone(),
            siblings: Arc::new([]),
        };
        Deployment::new(question.clone(), found)
    };
    let cells = |questions: &Vec<Question>| -> Result<Vec<Deployment>, _> {
        let cells = questions.iter().flat_map(|question| gpus.iter().map(|gpu| on(question, gpu)));
        cells.collect()
    };
    let questions = questions(question, matrix, gpus.len());
    let base: Vec<Vec<Deployment>> = questions.iter().map(cells).collect::<Result<_, _>>()?;
    let weights = or(matrix.weights.clone(), Some(&found.weights));
    let kv = or(matrix.kv.clone(), Some(&found.cache_formats()));
    let mut rows = Vec::with_capacity(weights.len() * kv.len() * base.len());
    for &weights in &weights {
        for &kv in &kv {
            for row in &base {
                rows.push(row.iter().map(|cell| cell.with_formats(weights, kv)).collect());
            }
        }
    }
    Ok(rows)
}

/// The GPUs, `--gpus` of each; all of them in the order of what they offer.
fn gpus(
    matrix: &MatrixArgs,
    (plan, runtime): (&Question, Runtime),
    runtimes: &[Runtime],
    catalog: &Catalog,
) -> anyhow::Result<Vec<Cards>> {
    let mut gpus = Vec::new();
    let is_all = matrix.gpus.iter().any(|name| is_all(name));
    let runs = |name: &String| match catalog.gpu(name) {
        Ok(gpu) => runtimes.iter().all(|&runtime| rules(runtime).runs_on(gpu.maker)),
        Err(_) => true,
    };
    let names = named(&matrix.gpus, Kind::Gpu, catalog)?;
    for name in names.into_iter().filter(|name| !is_all || runs(name)) {
        let question = Question { gpu: Some(name), ..plan.clone() };
        let local = scenario::local_card_for(&question, catalog)?;
        gpus.push(deployment::cards(&question, runtime, catalog, local.as_ref())?);
    }
    if is_all {
        gpus.sort_by_key(|cards| cards.first().capacity.total);
    }
    Ok(gpus)
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
        return Err(Problem::usage(missing).hint(hint).into());
    }
    if given.iter().any(|name| is_all(name)) {
        return Ok(catalog.list(kind)?.into_iter().map(|listing| listing.name).collect());
    }
    Ok(given.to_vec())
}

/// Combinations below which a second thread costs more than it gives.
const CELLS_FOR_THREADS: usize = 48;

/// What each thread takes of a matrix: rows that share their weights, or where that is too few for all threads, as in a ladder
/// of users, each row by itself.
fn parts(sweep: &Sweep, threads: usize) -> Vec<&[Vec<Deployment>]> {
    let groups = sweep.groups();
    if groups.len() < threads { sweep.rows.chunks(1).collect() } else { groups }
}

/// Answers a matrix, a large one on every core.
fn answer(sweep: &Sweep) -> Vec<Vec<Cell>> {
    if sweep.rows.iter().map(Vec::len).sum::<usize>() < CELLS_FOR_THREADS {
        return sweep.answer();
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let groups = parts(sweep, threads);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(group) = groups.get(index) else { return done };
            done.push((index, sweep.answer_group(group)));
        }
    };
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

/// A matrix with a refused combination, for tests.
#[cfg(test)]
pub(super) fn example() -> SweepDoc {
    let matrix = MatrixArgs {
        gpus: vec!["L4".to_owned(), "T4".to_owned()],
        models: vec!["qwen2.5-32b".to_owned()],
        weights: vec![WeightFormat::Int8, WeightFormat::F16],
        ..MatrixArgs::default()
    };
    document(&matrix, &Known::built_in(), true).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ladder_is_divided_by_rows_where_it_is_one_model() {
        let plan = |users| {
            let text = format!(
                "gpu = 'L4'\nmodel = 'qwen2.5-7b'\nruntime = 'llama.cpp'\nusers = {users}\ncontext_per_user = 4096"
            );
            let question: Question = toml::from_str(&text).unwrap();
            scenario::resolve(&question, &Known::built_in()).unwrap()
        };
        let first = plan(1);
        let rows: Vec<Vec<Deployment>> = (1..=4)
            .map(|users| vec![Deployment { model: Arc::clone(&first.model), ..plan(users) }])
            .collect();
        let sweep = Sweep { rows, largest: true };
        assert_eq!((parts(&sweep, 1).len(), parts(&sweep, 2).len()), (1, 4));
        let divided: Vec<_> =
            parts(&sweep, 8).into_iter().flat_map(|rows| sweep.answer_group(rows)).collect();
        assert_eq!(divided, sweep.answer());
    }
}
