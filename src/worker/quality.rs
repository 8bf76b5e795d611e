//! What eviction loses on a text, instead of a run.

use std::path::Path;

use super::device::Device;
use super::order;
use super::voice::Voice;
use crate::calibrate::protocol::{Message, Order};
use crate::engine::quality::{Measurement, Report};
use crate::engine::{EngineError, GgufSource, Tokenizer};
use crate::h2o::to_usize;
use crate::source::text_file;

/// Measures the text, and says what came of it.
pub fn measure<D: Device>(
    order: &Order,
    voice: &Voice,
    device: D,
    text: &Path,
) -> Result<(), EngineError> {
    let mut source = GgufSource::open(Path::new(&order.model))?;
    let tokenizer = Tokenizer::of_gguf(&source)?;
    let mut tokens = tokenizer.encode(&text_file(text)?)?;
    tokens.truncate(to_usize(order.context));
    let table = order::table(order, &source)?;
    let cache = to_usize(table.workload.cache_tokens);
    let step = to_usize(order.prefill_chunk);
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
