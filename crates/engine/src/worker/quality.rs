//! What eviction loses on a text, instead of a run.

use std::path::Path;

use super::device::Device;
use super::order;
use super::voice::Voice;
use crate::h2o::to_usize;
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
    let mut source =
        GgufSource::open(Path::new(order.deployment.model.as_deref().unwrap_or_default()))?;
    let tokenizer = Tokenizer::of_gguf(&source)?;
    let text = vramplan_disk::text(text)?;
    let encode = |part: &str| tokenizer.encode(part);
    let table = order::table(order, &source)?;
    let tokens = first_tokens(&text, to_usize(table.workload.context), encode)?;
    let cache = to_usize(table.cache_tokens);
    let step = to_usize(table.workload.prefill_chunk);
    let measurement =
        Measurement { step: step.min(cache), ..Measurement::new(Vec::new(), tokens, cache) };
    let report = measurement.run_while(device, &mut source, &mut || voice.alive())?;
    say(voice, &report)
}

/// Bytes of text that a token stands for, as a rule.
const BYTES_OF_A_TOKEN: usize = 8;
/// Tokens at the end of a part of a text that its cut may have changed.
const CHANGED: usize = 64;

/// The first `most` tokens of a text. No more of it is encoded than that takes: an encoding holds a hundred
/// times the text.
fn first_tokens<E>(
    text: &str,
    most: usize,
    encode: impl Fn(&str) -> Result<Vec<u32>, E>,
) -> Result<Vec<u32>, E> {
    let mut size = most.saturating_add(CHANGED).saturating_mul(BYTES_OF_A_TOKEN);
    loop {
        let cut = size.min(text.len());
        let end = (cut..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
        let mut tokens = encode(&text[..end])?;
        if end == text.len() || tokens.len() >= most.saturating_add(CHANGED) {
            tokens.truncate(most);
            return Ok(tokens);
        }
        size = size.saturating_mul(2);
    }
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn no_more_of_a_text_is_encoded_than_its_first_tokens_take() {
        let text = "é".repeat(1 << 20);
        let longest = Cell::new(0);
        // A token for every `of` characters.
        let encode = |of: usize| {
            let longest = &longest;
            move |part: &str| {
                longest.set(longest.get().max(part.len()));
                let count = u32::try_from(part.chars().count().div_ceil(of)).unwrap();
                Ok::<_, ()>((0..count).collect::<Vec<_>>())
            }
        };
        assert_eq!(first_tokens(&text, 100, encode(1)).unwrap().len(), 100);
        assert!(longest.get() < 2_000, "{} B", longest.get());
        let tokens = first_tokens(&text, 100, encode(64)).unwrap();
        assert_eq!(tokens, (0..100).collect::<Vec<_>>());
        assert!(longest.get() < 64 << 10, "{} B", longest.get());
        assert_eq!(first_tokens("éé", 100, encode(1)).unwrap(), [0, 1]);
        assert_eq!(first_tokens("", 100, encode(1)).unwrap(), [0; 0]);
    }
}
