//! Environment variables for a program of one's own.

use std::fmt::Write as _;

use super::{EmitError, batch, cached, chunk, quoted};
use crate::render::document::{Document, shown};

pub(super) fn settings(document: &Document) -> Result<String, EmitError> {
    let asked = &document.deployment;
    let [system, cached] = cached(document);
    let numbers = [
        ("SYSTEM_TOKENS", system),
        ("MAX_CACHE_TOKENS", cached),
        ("RECENT_WINDOW", asked.recent_window),
        ("PREFILL_CHUNK", chunk(document)),
        ("BATCH", batch(document)),
        ("CONTEXT", asked.number(|asked| asked.context)),
    ];
    let stored = asked.model.stored.clone();
    let weights = stored.unwrap_or_else(|| shown(asked.resolved.weights.as_ref()));
    let names = [
        ("RUNTIME", asked.runtime()),
        ("WEIGHTS", weights),
        ("KV", asked.kv()),
        ("ATTENTION", shown(asked.resolved.attention.as_ref())),
    ];
    let mut text = String::new();
    if let Some(split) = asked.resolved.split {
        let gpus: Vec<_> = document.devices.iter().map(|device| device.gpu.as_str()).collect();
        let _ = writeln!(text, "VRAMPLAN_GPUS={}", quoted(&gpus.join(","))?);
        let _ = writeln!(text, "VRAMPLAN_SPLIT={split}");
    }
    for (name, value) in numbers {
        let _ = writeln!(text, "VRAMPLAN_{name}={value}");
    }
    for (name, value) in names {
        let _ = writeln!(text, "VRAMPLAN_{name}={}", quoted(&value)?);
    }
    Ok(text)
}
