//! Runs of transformers on a virtual GPU (`evidence/allocator`): what was asked for and alive at most in every
//! phase, and the smallest card on which `PyTorch`'s own allocator grants all of it.

use vramplan_planner::dtype::{KvFormat, WeightFormat};
use vramplan_planner::estimate::transformers::allocator::{Needed, needed};
use vramplan_planner::estimate::{Scenario, buffers, weights_of};
use vramplan_planner::read::Catalog;
use vramplan_planner::spec::{
    Attention, Bounds, ModelSpec, Runtime, RuntimeOptions, TransformersStack, Workload,
};

use super::allocator::held;
use super::csv::Row;

/// The runs.
pub const RUNS: &str = include_str!("../../../evidence/allocator/rehearsed.csv");

/// What the plan of a run says.
#[derive(Clone, Copy, Debug)]
pub struct Planned {
    /// The smallest card, less context and libraries.
    pub card: Bounds,
    /// What the run's requests are played to.
    pub needed: Needed,
}

/// Plans the run of a row.
///
/// # Errors
/// Where the row names what the catalogue does not have, or what cannot be planned.
pub fn plan(catalog: &Catalog, row: &Row) -> anyhow::Result<Planned> {
    let gpu = &catalog.gpu(row.text("card"))?;
    let mut runtime = catalog.runtime(Runtime::Transformers)?;
    runtime.options = RuntimeOptions::Transformers(stack(row)?);
    let runtime = &runtime;
    let model = &cut(&catalog.model(row.text("model"))?, row.number("layers"))?;
    let weights = &weights_of(model, row.get::<WeightFormat>("weights")?, runtime)?;
    let workload = Workload {
        prefill_chunk: row.number("chunk"),
        batch: row.number("batch"),
        attention: row.get::<Attention>("attention")?,
        grown_cache: row.text("cache") == "dynamic",
        ..super::workload(Runtime::Transformers, model, gpu)
    };
    let kv = row.get::<KvFormat>("kv")?;
    let cache_tokens = row.number("prompt") + row.number("generated");
    let scenario = Scenario { model, gpu, runtime, weights, kv, workload, cache_tokens };
    Ok(Planned { card: held(&buffers(&scenario)?)?, needed: needed(&scenario)? })
}

/// The versions that a row names.
fn stack(row: &Row) -> anyhow::Result<TransformersStack> {
    let [transformers, bitsandbytes] = row.texts(["transformers", "bitsandbytes"]);
    let stack = format!("{transformers},bitsandbytes={bitsandbytes}").parse();
    stack.map_err(|error: String| anyhow::anyhow!("{error}: {}", row.line()))
}

/// The model with so many layers.
fn cut(model: &ModelSpec, layers: u64) -> anyhow::Result<ModelSpec> {
    let mut shape = model.shape.clone();
    shape.n_layers = layers;
    // `AutoModelForCausalLM` of a text configuration has none.
    shape.vision = None;
    Ok(ModelSpec::new(&model.name, shape, &model.source)?)
}

/// A seed of which no run was looked at before the formulas had their last change.
const HELD: [&str; 1] = ["anew"];

/// A run, and what is planned for it.
#[derive(Debug)]
pub struct Run {
    /// `PyTorch` and transformers.
    pub versions: [String; 2],
    /// Whether its seed was held back.
    pub is_held_back: bool,
    /// What was asked for at most in each phase.
    pub asked: [u64; 3],
    /// The smallest card on which it ended.
    pub needed: u64,
    /// The card from which on it ended on every one that was tried, where that was asked.
    pub surely: Option<u64>,
    /// What the plan says.
    pub planned: Planned,
}

/// Every run of a file.
///
/// # Errors
/// Where one cannot be planned.
pub fn runs(file: &str) -> anyhow::Result<Vec<Run>> {
    let catalog = Catalog::built_in();
    super::csv::rows(file).map(|row| run(&catalog, &row)).collect()
}

fn run(catalog: &Catalog, row: &Row) -> anyhow::Result<Run> {
    Ok(Run {
        versions: row.texts(["torch", "transformers"]),
        is_held_back: HELD.contains(&row.text("seed")),
        asked: ["peak_load", "peak_prefill", "peak_decode"].map(|phase| row.number(phase)),
        needed: row.number("needed"),
        surely: row.maybe("surely")?,
        planned: plan(catalog, row)?,
    })
}

/// How far plans lie from runs.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// How many runs.
    pub runs: usize,
    /// The error of what is asked for at most while loading, in prefill and in decode: in the middle, and at 95%.
    pub asked: [[f64; 2]; 3],
    /// The share of runs whose smallest card is at most the high bound.
    pub below: f64,
    /// The same of the card from which on every one that was tried does, where that was asked.
    pub surely_below: f64,
    /// The share of runs whose smallest card lies between both bounds.
    pub inside: f64,
    /// High bound − low bound of the smallest card, in the middle.
    pub width: f64,
}

impl Figures {
    /// Those of some runs.
    pub fn of<'r>(runs: impl IntoIterator<Item = &'r Run>) -> Self {
        let runs: Vec<_> = runs.into_iter().collect();
        let card = |run: &Run| run.planned.card;
        let sure = runs.iter().filter_map(|run| Some((run, run.surely?)));
        Self {
            runs: runs.len(),
            asked: [0, 1, 2].map(|phase| {
                let errors: Vec<_> = runs.iter().map(|run| run.error(phase)).collect();
                [50, 95].map(|percent| quantile(errors.clone(), percent))
            }),
            below: share(runs.iter().map(|run| run.needed <= card(run).high.get())),
            surely_below: share(sure.map(|(run, card_of)| card_of <= card(run).high.get())),
            inside: share(
                runs.iter()
                    .map(|run| (card(run).low.get()..=card(run).high.get()).contains(&run.needed)),
            ),
            width: quantile(runs.iter().map(|run| run.width()).collect(), 50),
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "bytes of a GPU")]
impl Run {
    fn error(&self, phase: usize) -> f64 {
        let asked = self.planned.needed.asked;
        let planned = [asked.load, asked.prefill, asked.decode][phase];
        (planned as f64 / self.asked[phase] as f64 - 1.0).abs()
    }

    fn width(&self) -> f64 {
        let card = self.planned.card;
        (card.high.get() - card.low.get()) as f64 / self.needed as f64
    }
}

fn quantile(mut numbers: Vec<f64>, percent: usize) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default()
}

fn share(holds: impl Iterator<Item = bool>) -> f64 {
    let (mut held, mut all) = (0_u32, 0_u32);
    for holds in holds {
        all += 1;
        held += u32::from(holds);
    }
    if all == 0 { 1.0 } else { f64::from(held) / f64::from(all) }
}
