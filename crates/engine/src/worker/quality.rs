//! What eviction loses on a text, instead of a run.

use std::path::Path;

use super::device::Device;
use super::order;
use super::voice::Voice;
use crate::quality::{Measurement, Report};
use crate::{EngineError, GgufSource, Tokenizer};
use vramplan_planner::protocol::{Message, Order};

/// Measures the text, and says what came of it.
pub fn measure<D: Device>(
    order: &Order,
    voice: &Voice,
    device: D,
    text: &Path,
) -> Result<(), EngineError> {
    let mut source = GgufSource::open(Path::new(order.deployment.model.as_deref().unwrap_or_default()))?;
    let tokenizer = Tokenizer::of_gguf(&source)?;
    let mut tokens = tokenizer.encode(&vramplan_disk::text(text)?)?;
    let table = order::table(order, &source)?;
    tokens.truncate(usize::try_from(table.workload.context).unwrap_or(usize::MAX));
    let cache = usize::try_from(table.cache_tokens).unwrap_or(usize::MAX);
    let step = usize::try_from(table.workload.prefill_chunk).unwrap_or(usize::MAX);
    let measurement =
        Measurement { step: step.min(cache), ..Measurement::new(Vec::new(), tokens, cache) };
    let report = measurement.run_while(device, &mut source, &mut || voice.alive())?;
    say(voice, &report)
}

fn say(voice: &Voice, report: &Report) -> Result<(), EngineError> {
    let json = serde_json::to_value(report)
        .map_err(|error| EngineError::device("writing the report", error))?;
    voice.say(&Message::Quality {
        report: json,
        text: report.table(),
        recent_window: report.chosen.recent_window as u64,
    });
    Ok(())
}
