//! From an order to what the engine needs: the model, its table, how many tokens go where.

use std::path::Path;

use crate::{
    EngineError, GgufSource, Settings, Source, SyntheticSource, Table, table_without_card,
};
use vramplan_disk::Disk;
use vramplan_planner::dtype::{KvFormat, WeightFormat};
use vramplan_planner::protocol::{CaptureOrder, Order};
use vramplan_planner::read;
use vramplan_planner::spec::{Attention, Capture, Logits, Workload};

/// The model of an order.
pub fn model(order: &Order) -> Result<Box<dyn Source>, EngineError> {
    if !order.synthetic {
        return Ok(Box::new(GgufSource::open(Path::new(&order.model))?));
    }
    let catalog = vramplan_disk::catalog(&order.profiles);
    let spec = read::model(&Disk, &order.model, &catalog)?;
    let format: WeightFormat = parsed(&order.weights)?;
    Ok(Box::new(SyntheticSource::new(&spec, format, order.seed)?))
}

/// The table of what the engine is to hold.
pub fn table(order: &Order, source: &dyn Source) -> Result<Table, EngineError> {
    let settings = Settings {
        system_tokens: order.system_tokens,
        max_cache_tokens: order.cache_tokens,
        recent_window: order.recent_window,
        prefill_chunk: order.prefill_chunk,
        logits: if order.all_logits { Logits::All } else { Logits::Last },
    };
    let kv: KvFormat = parsed(&order.kv)?;
    let attention: Attention = parsed(&order.attention)?;
    let workload = Workload {
        batch: order.batch,
        attention,
        capture: order.capture.map(capture),
        ..settings.workload(order.context)
    };
    table_without_card(source.spec(), kv, workload)
}

fn capture(order: CaptureOrder) -> Capture {
    let CaptureOrder { layers, tokens, attention, keep } = order;
    Capture { layers, tokens, attention, keep }
}

fn parsed<T: std::str::FromStr>(text: &str) -> Result<T, EngineError> {
    let unknown = || EngineError::unsupported(format!("`{text}`"), "a format by its name");
    text.parse().map_err(|_| unknown())
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
    pub fn new(order: &Order) -> Self {
        let room = order.context.saturating_sub(order.system_tokens);
        let capture = order.capture.map_or(0, |capture| capture.tokens).min(room);
        let room = room - capture;
        let decode = order.decode_tokens.min(room.saturating_sub(1));
        let prompt = order.prompt_tokens.unwrap_or(order.cache_tokens).max(1);
        Self { prompt: prompt.min(room - decode), decode, capture }
    }
}
