//! Runs of transformers on a virtual GPU (`evidence/allocator`): what was asked for and alive at most in every
//! phase, and the smallest card on which `PyTorch`'s own allocator grants all of it.

use vramplan_planner::dtype::{KvFormat, WeightFormat};
use vramplan_planner::estimate::transformers::allocator::{Needed, needed};
use vramplan_planner::estimate::{Scenario, buffers, weights_of};
use vramplan_planner::read::Catalog;
use vramplan_planner::spec::{Attention, Bounds, ModelSpec, Runtime, Workload};

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
    let runtime = &catalog.runtime(Runtime::Transformers)?;
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

/// The model with so many layers.
fn cut(model: &ModelSpec, layers: u64) -> anyhow::Result<ModelSpec> {
    let mut shape = model.shape.clone();
    shape.n_layers = layers;
    // `AutoModelForCausalLM` of a text configuration has none.
    shape.vision = None;
    Ok(ModelSpec::new(&model.name, shape, &model.source)?)
}
