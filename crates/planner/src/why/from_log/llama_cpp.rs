//! What llama.cpp, and what is around it, can be told.

use super::remedy;
use crate::dtype::KvFormat;
use crate::spec::Attention;
use crate::units::Bytes;
use crate::why::Printed;
use crate::why::cause::Cause;
use crate::why::compare::sum;
use crate::why::evidence::{Engine, Evidence, Failure, Place, Term, TermKind};
use crate::why::remedy::{Checked, Remedy};
use crate::why::sayings::Setting;

pub(super) fn llama(evidence: &Evidence, cause: &Cause, failure: &Failure) -> Vec<Remedy> {
    let engine = evidence.engine.map_or(Engine::LlamaCpp, |(engine, _)| engine);
    let mut found = Vec::new();
    if let Some(slots) = evidence.run.question.parallel
        && let Some(flags) = Setting::OneSlot.of(engine)
    {
        let text = format!("`{flags}`: one context instead of {slots}");
        found.push(remedy("one-slot", flags, Checked::Unchecked, text));
    }
    let half = |asked: Printed| Bytes::new(asked.bytes.get() / 2);
    let covers = |freed: Bytes| cause.short_by.is_some_and(|short| freed >= short);
    let checked = |freed: Bytes| if covers(freed) { Checked::ByLog } else { Checked::Unchecked };
    match cause.term {
        Some(TermKind::Cache) => {
            let asked = failure.asked.or_else(|| stated(evidence));
            if let (Some(asked), Some(tokens)) = (asked, evidence.run.question.cache_tokens) {
                let (freed, half_of) = (half(asked), (tokens / 2).max(1));
                let flags = Setting::Context(half_of).of(engine).unwrap_or_default();
                let text = format!("`{flags}` halves keys and values, {freed} less");
                found.push(Remedy {
                    frees: Some(freed),
                    ..remedy("shorter-context", flags, checked(freed), text)
                });
            }
            let flags = "q8_0".parse().ok().and_then(|format| Setting::Cache(format).of(engine));
            let flags = flags.unwrap_or_default();
            let freed = failure.asked.and_then(|asked| asked.bytes.scale(15, 32).ok());
            let text = format!("`{flags}` stores keys and values in 8.5 bits instead of 16");
            let in_16_bits = evidence.run.question.kv.is_none_or(|kv| kv == KvFormat::F16.into());
            found.extend(in_16_bits.then(|| Remedy {
                frees: freed,
                ..remedy(
                    "smaller-cache-type",
                    flags,
                    freed.map_or(Checked::Unchecked, checked),
                    text,
                )
            }));
        }
        Some(TermKind::Weights) => found.extend(fewer_layers(evidence, failure, engine)),
        Some(TermKind::Compute) => {
            let chunk = evidence.run.question.prefill_chunk.unwrap_or(512) / 2;
            let flags = Setting::MicroBatch(chunk).of(engine).unwrap_or_default();
            let text = format!("`{flags}`: the compute buffer grows with the micro-batch");
            let freed = failure.asked.map(half);
            found.push(remedy(
                "smaller-batch",
                flags,
                freed.map_or(Checked::Unchecked, checked),
                text,
            ));
            found.extend(without_scores(evidence, engine));
        }
        Some(TermKind::Encoder) => {
            let flags = "--no-mmproj-offload";
            found.push(remedy(
                "no-encoder",
                flags,
                Checked::Unchecked,
                format!("`{flags}` keeps the image encoder in main memory"),
            ));
        }
        _ => {}
    }
    let flags = Setting::SomeLayers.of(engine).unwrap_or_default();
    if !found.iter().any(|known| known.code == "layers-on-the-host") {
        let experts = match engine {
            Engine::LlamaCpp => ", or of a mixture of experts `--n-cpu-moe`",
            _ => "",
        };
        let text = format!("fewer layers on the card (`{flags}`){experts}");
        found.push(remedy("layers-on-the-host", flags, Checked::Unchecked, text));
    }
    found
}

/// The cache that was stated, where what failed says no size.
fn stated(evidence: &Evidence) -> Option<Printed> {
    let is_cache = |term: &&Term| term.kind == TermKind::Cache && !term.estimated;
    sum(evidence.run.terms.iter().filter(is_cache))
}

/// What keeps the scores of a whole context out of a compute buffer, unless flash attention is on: that, or a shorter
/// context.
fn without_scores(evidence: &Evidence, engine: Engine) -> Vec<Remedy> {
    let question = &evidence.run.question;
    if question.attention == Some(Attention::Flash) {
        return Vec::new();
    }
    let mut found = Vec::new();
    if let Some(flags) = Setting::Flash.of(engine) {
        let text = format!("`{flags}`: without it the scores of every head are in the buffer");
        found.push(remedy("flash-attention", flags, Checked::Unchecked, text));
    }
    let half = question.cache_tokens.map(|cells| (cells / 2).max(1));
    let flags = match half {
        Some(cells) => Setting::Context(cells).of(engine),
        None => Setting::SomeContext.of(engine),
    };
    if let Some(flags) = flags {
        let text = format!("a shorter context (`{flags}`), with which those scores grow");
        found.push(remedy("shorter-context", flags, Checked::Unchecked, text));
    }
    found
}

/// Layers whose share of the weights is what was left, with a tenth of that for caches and buffers.
fn fewer_layers(evidence: &Evidence, failure: &Failure, engine: Engine) -> Option<Remedy> {
    let (asked, layers) = (failure.asked?.bytes, evidence.shape.0?);
    let index = match failure.place? {
        Place::Card(index) => index,
        Place::Cards | Place::Host => return None,
    };
    let free = evidence.cards.iter().find(|card| card.index == index)?.free?;
    let room = free.scale(9, 10).ok()?;
    let count = Bytes::new(layers).scale(room.get(), asked.get().max(1)).ok()?.get();
    let count = count.min(layers.saturating_sub(1));
    let flags = Setting::Layers(count).of(engine)?;
    let text = format!("`{flags}`: about as many layers as {free} hold beside a cache");
    Some(remedy("layers-on-the-host", flags, Checked::ByLog, text))
}
