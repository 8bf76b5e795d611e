//! Lines of llama.cpp from before it named its buffers by device, which was until early 2024; and the forms by which builds of
//! before mid-2025 are told.

use crate::text::printable;
use crate::units::Bytes;
use crate::why::evidence::{Evidence, Failure, FailureKind, Place, Term, TermKind};
use crate::why::grammar::Line;
use crate::why::scan::{Gb, after, between, number, number_after, size_after};
use crate::why::{Engine, Printed};

/// Reads a line.
pub(super) fn read(line: Line<'_>, evidence: &mut Evidence) {
    age(line, evidence);
    sizes(line, evidence);
    metal(line, evidence);
    if let Some(path) = after(line.text, "llama.cpp: loading model from ") {
        evidence.is(Engine::LlamaCpp, line.number);
        evidence.begin(line.number);
        evidence.run.loads = true;
        evidence.name(path);
    }
}

/// Whether the build is one of before mid-2025: by the forms that it prints, of which later ones still have the first where they say
/// that they failed.
fn age(line: Line<'_>, evidence: &mut Evidence) {
    if line.says(&["llama_context: "]) {
        evidence.run.is_old = Some(false);
    }
    let sized = line.says(&["buffer size", "KV self size", "n_ctx", "graph "]);
    let is_old = line.says(&["llama_kv_cache_init:", "KV self size", "kv self size"])
        || (sized && line.says(&["llama_new_context_with_model:", "llama_init_from_model:"]));
    if is_old {
        evidence.run.is_old.get_or_insert(true);
    }
}

fn add(line: Line<'_>, evidence: &mut Evidence, kind: TermKind, place: Place, size: Printed) {
    if size.bytes.is_zero() {
        return;
    }
    evidence.is(Engine::LlamaCpp, line.number);
    evidence.term(Term { kind, place, size, estimated: false, line: line.number });
}

/// `mem required = 9508.66 MB`, `VRAM used: 4474.93 MB`, `VRAM kv self = 1024.00 MB`, `VRAM scratch buffer: 624.02 MB`: their MB are
/// those of 1024².
fn sizes(line: Line<'_>, evidence: &mut Evidence) {
    let size = |words: &str| {
        let rest = after(line.text, words)?;
        size_after(rest, "", Gb::Binary)
    };
    let has = |evidence: &Evidence, kind: TermKind| {
        evidence.run.terms.iter().any(|term| term.kind == kind && term.place != Place::Host)
    };
    for (words, kind, place) in [
        ("llm_load_tensors: mem required", TermKind::Weights, Place::Host),
        ("llama_model_load_internal: mem required", TermKind::Weights, Place::Host),
        ("llm_load_tensors: VRAM used", TermKind::Weights, Place::Cards),
        ("llama_kv_cache_init: VRAM kv self", TermKind::Cache, Place::Cards),
        ("VRAM scratch buffer", TermKind::Compute, Place::Cards),
        ("compute buffer total size", TermKind::Compute, Place::Host),
        ("compute allocated memory", TermKind::Encoder, Place::Cards),
    ] {
        if let Some(size) = size(words) {
            add(line, evidence, kind, place, size);
        }
    }
    let cache = size("KV self size").or_else(|| size("kv self size"));
    if let Some(size) = cache
        && !evidence.run.terms.iter().any(|term| term.kind == TermKind::Cache)
    {
        let place = self_place(evidence);
        add(line, evidence, TermKind::Cache, place, size);
    }
    let model = between(line.text, "total VRAM used: ", ")").and_then(|rest| after(rest, "(model"));
    if let Some(size) = model.and_then(|rest| size_after(rest, "", Gb::Binary))
        && !has(evidence, TermKind::Weights)
    {
        add(line, evidence, TermKind::Weights, Place::Cards, size);
    }
}

/// Where a cache is of which only the size is told: with the weights, where those are all in main memory.
fn self_place(evidence: &Evidence) -> Place {
    let mut weights = evidence.run.terms.iter().filter(|term| term.kind == TermKind::Weights);
    let is_any = weights.clone().next().is_some();
    if is_any && weights.all(|term| term.place == Place::Host) { Place::Host } else { Place::Cards }
}

/// Metal: its card, and the buffers that it was refused.
fn metal(line: Line<'_>, evidence: &mut Evidence) {
    if !line.says(&["ggml_metal_"]) {
        return;
    }
    if let Some(name) = after(line.text, "found device: ")
        && let Some(card) = evidence.card(0)
    {
        card.name.get_or_insert_with(|| printable(name.trim()));
    }
    let most = after(line.text, "recommendedMaxWorkingSetSize").and_then(working_set);
    if let Some(most) = most
        && let Some(card) = evidence.card(0).filter(|card| card.free.is_none())
    {
        card.total = card.total.or(Some(most));
    }
    let Some(name) = between(line.text, "'", "'").map(str::trim) else { return };
    let term = match name {
        "data" => Some(TermKind::Weights),
        "kv" => Some(TermKind::Cache),
        "eval" | "alloc" | "scr0" | "scr1" => Some(TermKind::Compute),
        _ => None,
    };
    let context = evidence.run.contexts;
    let place = Some(Place::Card(0));
    if line.says(&["error: failed to allocate '"]) {
        evidence.is(Engine::LlamaCpp, line.number);
        let asked = size_after(line.text, "size = ", Gb::Binary);
        let kind = FailureKind::Allocation(term);
        evidence.fail(Failure { place, asked, context, ..line.failure(kind) });
    }
    let most = number_after(line.text, "is larger than buffer maximum of ");
    if let Some(most) = most {
        evidence.is(Engine::LlamaCpp, line.number);
        let exactly = |bytes| Printed::exactly(Bytes::new(bytes));
        let asked = after(line.text, "' size ").and_then(number).map(|(bytes, _)| exactly(bytes));
        let kind = FailureKind::BufferLimit(exactly(most));
        evidence.fail(Failure { place, asked, context, ..line.failure(kind) });
    }
}

/// Memories of Apple's chips, in GiB, of which Metal recommends two thirds or three quarters.
const APPLES: [u64; 14] = [8, 16, 18, 24, 32, 36, 48, 64, 96, 128, 192, 256, 384, 512];

/// `=  5461.34 MB`: of 1024² in builds of 2023, of 1000² in those after; whichever is a share of a memory that is sold.
fn working_set(text: &str) -> Option<Bytes> {
    let [binary, decimal] = [Gb::Binary, Gb::Decimal].map(|gb| size_after(text, "=", gb));
    let (binary, decimal) = (binary?.bytes, decimal?.bytes);
    let is_share = |size: Bytes| {
        APPLES.iter().map(|gib| gib << 30).any(|all| {
            let near = |share: u64| size.get().abs_diff(share) <= share / 5000;
            near(all / 3 * 2) || near(all / 4 * 3)
        })
    };
    Some(if is_share(decimal) { decimal } else { binary })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn working_sets_are_of_a_memory_that_is_sold() {
        for (text, mib) in
            [("  =  5461.34 MB", 5461), ("  = 22906.50 MB", 21_845), ("  = 49152.00 MiB", 49_152)]
        {
            assert_eq!(working_set(text).map(|set| set.get() >> 20), Some(mib), "{text}");
        }
        assert_eq!(working_set("  = many"), None);
    }
}
