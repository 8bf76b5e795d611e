//! From an order to what the engine needs: the model, its table, how many tokens go where.

use std::path::Path;

use crate::{EngineError, GgufSource, Source, SyntheticSource, Table, table_without_card};
use vramplan_disk::Disk;
use vramplan_planner::deployment::{CacheSize, Deployment};
use vramplan_planner::protocol::Order;
use vramplan_planner::read;

/// The model of an order.
pub fn model(order: &Order) -> Result<Box<dyn Source>, EngineError> {
    let asked = &order.deployment;
    let missing = |key: &str| EngineError::unsupported(format!("an order without `{key}`"), "one");
    let name = asked.model.as_deref().ok_or_else(|| missing("model"))?;
    if !order.synthetic {
        return Ok(Box::new(GgufSource::open(Path::new(name))?));
    }
    let catalog = vramplan_disk::catalog(&order.profiles);
    let spec = read::model(&Disk, name, &catalog)?;
    let format = asked.weights.ok_or_else(|| missing("weights"))?;
    Ok(Box::new(SyntheticSource::new(&spec, format, order.seed)?))
}

/// What an order asks for of its model, wherever it runs.
pub fn deployment(order: &Order, source: &dyn Source) -> Result<Deployment, EngineError> {
    let found = crate::host::found(source.spec());
    Deployment::new(order.deployment.clone(), found)
        .map_err(|error| EngineError::unsupported(error.to_string(), "an order that resolves"))
}

/// The table of what the engine is to hold.
pub fn table(order: &Order, source: &dyn Source) -> Result<Table, EngineError> {
    let Deployment { kv, workload, cache, .. } = deployment(order, source)?;
    let CacheSize::Fixed(tokens) = cache else {
        return Err(EngineError::unsupported("an order without `cache_tokens`", "a number"));
    };
    table_without_card(source.spec(), kv, workload, tokens)
}

/// How many tokens each stage takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lengths {
    /// Of the conversation, before anything is generated.
    pub prompt: u64,
    /// To generate.
    pub decode: u64,
    /// To capture.
    pub capture: u64,
}

impl Lengths {
    /// As the order says, as far as the context allows: generating and capturing come first.
    pub fn new(order: &Order, table: &Table) -> Self {
        let workload = &table.workload;
        let room = workload.context.saturating_sub(workload.system_tokens);
        let capture = workload.capture.map_or(0, |capture| capture.tokens).min(room);
        let room = room - capture;
        let decode = order.decode_tokens.min(room.saturating_sub(1));
        let prompt = order.prompt_tokens.unwrap_or(table.cache_tokens).max(1);
        Self { prompt: prompt.min(room - decode), decode, capture }
    }
}
