//! Ollama's own lines, around those of llama.cpp: `msg=offload`, `msg="model weights"`, what it refuses.

use super::Line;
use super::llama_cpp::place;
use crate::spec::Count;
use crate::text::printable;
use crate::why::evidence::{Evidence, FailureKind, Place, Term, TermKind};
use crate::why::scan::{Gb, after, number, size, size_after, value};
use crate::why::{Engine, Printed};

/// Most sizes of a layout that are kept.
const MOST: usize = 128;

/// Reads a line.
pub fn read(line: Line<'_>, evidence: &mut Evidence) {
    refused(line, evidence);
    layers(line, evidence);
    if !line.says(&["ollama", "msg=", "OLLAMA_", "llama runner", "[GIN]"]) {
        return;
    }
    if line.says(&[
        "ollama",
        "OLLAMA_",
        "llama runner",
        "source=server.go",
        "source=sched.go",
        "source=ggml.go",
        "source=dyn_ext_server.go",
        "[GIN]",
    ]) {
        evidence.is(Engine::Ollama, line.number);
    }
    settings(line, evidence);
    card(line, evidence);
    free(line, evidence);
    estimate(line, evidence);
    parts(line, evidence);
}

fn settings(line: Line<'_>, evidence: &mut Evidence) {
    if let Some(rest) = after(line.text, "(version ")
        && line.says(&["Listening on"])
    {
        let version = rest.split(')').next().unwrap_or_default();
        // The version of Ollama says nothing of llama.cpp's build.
        evidence.version.get_or_insert_with(|| format!("Ollama {}", printable(version)));
    }
    if let Some(kind) = value(line.text, "OLLAMA_KV_CACHE_TYPE").filter(|kind| !kind.is_empty())
        && let Ok(kv) = kind.parse()
        && evidence.run.question.kv.is_none()
    {
        evidence.run.question.kv = Some(kv);
    }
    if line.says(&["source=ggml.go"])
        && let Some(name) = value(line.text, "name").filter(|name| !name.is_empty())
        && line.text.contains("architecture=")
    {
        evidence.name(name);
        if let Some(format) = value(line.text, "file_type") {
            evidence.format.get_or_insert_with(|| printable(format));
        }
    }
}

/// `msg="gpu memory" id=0 library=CUDA available="29.8 GiB" free="30.3 GiB"`, of the card's own number.
fn free(line: Line<'_>, evidence: &mut Evidence) {
    if !line.text.contains("msg=\"gpu memory\"") {
        return;
    }
    let index = value(line.text, "id").and_then(number).filter(|(_, rest)| rest.is_empty());
    let free = value(line.text, "free").and_then(|text| size(text, Gb::Decimal));
    if let (Some((index, _)), Some((free, _))) = (index, free)
        && let Some(card) = evidence.card(index)
    {
        card.free = Some(free.size.bytes);
    }
}

/// `msg="inference compute" id=GPU-… library=cuda name="NVIDIA L4" total="22.2 GiB" available="22.0 GiB"`.
fn card(line: Line<'_>, evidence: &mut Evidence) {
    if !line.text.contains("inference compute") || line.text.contains("library=cpu") {
        return;
    }
    let named = value(line.text, "name").filter(|name| !name.is_empty());
    let described = value(line.text, "description").filter(|name| !name.is_empty());
    let index = match named.map(place) {
        Some(Place::Card(index)) if described.is_some() => index,
        _ => evidence.cards.iter().map(|card| card.index + 1).max().unwrap_or(0),
    };
    let size = |key| value(line.text, key).and_then(|text| size(text, Gb::Decimal));
    let (total, free) = (size("total"), size("available"));
    let Some(card) = evidence.card(index) else { return };
    card.name = described.or(named).map(printable).or_else(|| card.name.take());
    card.total = total.map(|(size, _)| size.size.bytes).or(card.total);
    card.free = free.map(|(size, _)| size.size.bytes).or(card.free);
}

/// `msg=offload library=cuda layers.requested=-1 layers.model=81 layers.offload=44 … memory.required.kv="19.5 GiB"`.
fn estimate(line: Line<'_>, evidence: &mut Evidence) {
    if !line.text.contains("memory.required.full") {
        return;
    }
    evidence.begin(line.number);
    let count = |key| value(line.text, key).and_then(number).map(|(n, _)| n);
    if let (Some(of), Some(on_gpu)) = (count("layers.model"), count("layers.offload")) {
        evidence.run.question.ngl =
            Some(if on_gpu >= of { Count::All } else { Count::Some(on_gpu) });
        let needs = value(line.text, "memory.required.full");
        let needs = needs.and_then(|text| size(text, Gb::Decimal)).map(|(size, _)| size.size);
        let is_asked = value(line.text, "layers.requested") != Some("-1");
        put_on_host(line, evidence, (on_gpu, of), needs, is_asked);
    }
    let sizes = [
        ("memory.required.kv", TermKind::Cache),
        ("memory.weights.total", TermKind::Weights),
        ("memory.graph.full", TermKind::Compute),
        ("projector.weights", TermKind::Encoder),
    ];
    for (key, kind) in sizes {
        let found = value(line.text, key).and_then(|text| size(text, Gb::Decimal));
        let Some((size, _)) = found.filter(|(size, _)| !size.size.bytes.is_zero()) else {
            continue;
        };
        let place = Place::Cards;
        // It estimates anew while it decides, and for every start.
        let same = |term: &Term| term.estimated && term.kind == kind && term.place == place;
        evidence.run.terms.retain(|term| !same(term));
        evidence.term(Term { kind, place, size: size.size, estimated: true, line: line.number });
    }
}

/// Some of the layers are in main memory, where nobody asked for so many on the card.
fn put_on_host(
    line: Line<'_>,
    evidence: &mut Evidence,
    (on_gpu, of): (u64, u64),
    needs: Option<Printed>,
    is_asked: bool,
) {
    let is_part = !is_asked && on_gpu < of;
    let kind = FailureKind::LayersOnHost { on_gpu, of, needs };
    evidence.run.on_host = is_part.then(|| line.failure(kind));
}

/// `msg="loading model" "model layers"=65 requested=-1`, and then `offloaded 49/65 layers to GPU`.
fn layers(line: Line<'_>, evidence: &mut Evidence) {
    if line.text.contains("msg=\"loading model\"")
        && let Some(requested) = value(line.text, "requested")
    {
        evidence.run.layers_are_free = requested == "-1";
        evidence.run.on_host = None;
    }
    let Some((on_gpu, rest)) = after(line.text, "offloaded ").and_then(number) else { return };
    let Some((of, rest)) = rest.strip_prefix('/').and_then(number) else { return };
    let is_ours = rest.trim_start().starts_with("layers") && evidence.run.layers_are_free;
    if is_ours && evidence.run.on_host.is_none() {
        put_on_host(line, evidence, (on_gpu, of), None, false);
    }
}

/// `msg="model weights" device=CUDA0 size="11.5 GiB"`, of which the last counts: it is stated while layers are dealt.
fn parts(line: Line<'_>, evidence: &mut Evidence) {
    let kind = if line.text.contains("msg=\"model weights\"") {
        TermKind::Weights
    } else if line.text.contains("msg=\"kv cache\"") {
        TermKind::Cache
    } else if line.text.contains("msg=\"compute graph\"") {
        TermKind::Compute
    } else {
        return;
    };
    let device = ["device", "buffer", "backend"].into_iter().find_map(|key| value(line.text, key));
    let found = value(line.text, "size").and_then(|text| size(text, Gb::Decimal));
    let (Some(device), Some((size, _))) = (device, found) else { return };
    let place = place(device);
    let layout = &mut evidence.run.layout;
    layout.retain(|term| term.kind != kind || term.place != place);
    if !size.size.bytes.is_zero() && layout.len() < MOST {
        layout.push(Term { kind, place, size: size.size, estimated: false, line: line.number });
    }
}

/// Loads that are refused beforehand, by Ollama and by LM Studio's guardrails.
fn refused(line: Line<'_>, evidence: &mut Evidence) {
    let needs = |words: &str| size_after(line.text, words, Gb::Decimal);
    if line.says(&["requires more system memory"]) {
        evidence.is(Engine::Ollama, line.number);
        let kind = FailureKind::Refused {
            needs: needs("requires more system memory ("),
            has: needs("than is available ("),
            host: true,
        };
        evidence.fail(line.failure(kind));
    }
    if let Some(why) = after(line.text, "memory layout cannot be allocated") {
        evidence.is(Engine::Ollama, line.number);
        let why = format!("the layout cannot be allocated{why}");
        evidence.fail(line.failure(FailureKind::Unfit(printable(why.trim_end_matches('"')))));
    }
    if line.says(&["insufficient system resources", "Not enough resources to load"]) {
        evidence.is(Engine::LmStudio, line.number);
        let kind = FailureKind::Refused {
            needs: needs("requires approximately "),
            has: None,
            host: false,
        };
        evidence.fail(line.failure(kind));
    }
}
