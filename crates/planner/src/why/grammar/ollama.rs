//! Ollama's own lines, around those of llama.cpp: `msg=offload`, `msg="model weights"`, what it refuses.

use super::Line;
use super::llama_cpp::place;
use crate::spec::Count;
use crate::text::printable;
use crate::why::evidence::{CardSeen, Evidence, FailureKind, Place, Term, TermKind};
use crate::why::scan::{Gb, after, number, size, size_after, value};
use crate::why::{Engine, Printed};

/// Most sizes of a layout that are kept.
const MOST: usize = 128;

/// Most cards whose free memory one line tells.
const MOST_CARDS: u64 = 16;

/// Reads a line.
pub fn read(line: Line<'_>, evidence: &mut Evidence) {
    refused(line, evidence);
    layers(line, evidence);
    if line.says(&["llama-server startup failed", "llama-server process has terminated"]) {
        evidence.is(Engine::Ollama, line.number);
    }
    if !line.says(&["ollama", "msg=", "OLLAMA_", "llama runner", "[GIN]"]) {
        return;
    }
    if line.says(&[
        "ollama",
        "OLLAMA_",
        "llama runner",
        "source=server.go",
        "source=sched.go",
        "source=gpu.go",
        "source=memory.go",
        "source=ggml.go",
        "source=dyn_ext_server.go",
        "[GIN]",
    ]) {
        evidence.is(Engine::Ollama, line.number);
    }
    settings(line, evidence);
    card(line, evidence);
    free(line, evidence);
    updated(line, evidence);
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

/// `msg="gpu memory" id=0 library=CUDA available="29.8 GiB" free="30.3 GiB"`, of the card's own number or its driver's name.
fn free(line: Line<'_>, evidence: &mut Evidence) {
    if !line.text.contains("msg=\"gpu memory\"") {
        return;
    }
    let id = value(line.text, "id");
    let index = id.and_then(number).filter(|(_, rest)| rest.is_empty()).map(|(index, _)| index);
    let index = index.or_else(|| known(evidence, id?));
    let free = value(line.text, "free").and_then(|text| size(text, Gb::Decimal));
    if let (Some(index), Some((free, _))) = (index, free)
        && let Some(card) = evidence.card(index)
    {
        card.free = Some(free.size.bytes);
    }
}

/// The number of a card that the driver has a name for: `GPU-d0f9ed85-…`.
fn known(evidence: &Evidence, id: &str) -> Option<u64> {
    let mut cards = evidence.cards.iter();
    cards.find(|card| card.id.as_deref() == Some(id)).map(|card| card.index)
}

/// The card of such a name, which may be a new one.
fn of_id<'a>(evidence: &'a mut Evidence, id: &str) -> Option<&'a mut CardSeen> {
    let next = evidence.cards.iter().map(|card| card.index + 1).max().unwrap_or(0);
    let index = known(evidence, id).unwrap_or(next);
    let card = evidence.card(index)?;
    card.id = Some(printable(id));
    Some(card)
}

/// `msg="updating cuda memory data" gpu=GPU-… name="NVIDIA L4" … now.total="22.0 GiB" now.free="21.7 GiB"`: what is told first is of
/// before the run.
fn updated(line: Line<'_>, evidence: &mut Evidence) {
    if !line.text.contains("memory data\"") {
        return;
    }
    let Some(id) = value(line.text, "gpu").filter(|id| id.starts_with("GPU-")) else { return };
    let size = |key| value(line.text, key).and_then(|text| size(text, Gb::Decimal));
    let (total, free) = (size("now.total"), size("now.free"));
    let name = value(line.text, "name").filter(|name| !name.is_empty()).map(printable);
    let Some(card) = of_id(evidence, id) else { return };
    card.name = card.name.take().or(name);
    card.total = card.total.or(total.map(|(size, _)| size.size.bytes));
    card.free = card.free.or(free.map(|(size, _)| size.size.bytes));
}

/// `memory.available="[14.5 GiB 15.2 GiB]"`, of cards of which nothing else told what was free.
fn available(line: Line<'_>, evidence: &mut Evidence) {
    let mut rest = value(line.text, "memory.available").unwrap_or_default();
    rest = rest.trim_start_matches('[');
    for index in 0..MOST_CARDS {
        let Some((found, behind)) = size(rest, Gb::Decimal) else { return };
        if let Some(card) = evidence.card(index) {
            card.free.get_or_insert(found.size.bytes);
        }
        rest = behind;
    }
}

/// `msg="inference compute" id=GPU-… library=cuda name="NVIDIA L4" total="22.2 GiB" available="22.0 GiB"`.
fn card(line: Line<'_>, evidence: &mut Evidence) {
    if !line.text.contains("inference compute") || line.text.contains("library=cpu") {
        return;
    }
    let id = value(line.text, "id").filter(|id| id.starts_with("GPU-"));
    let named = value(line.text, "name").filter(|name| !name.is_empty());
    let described = value(line.text, "description").filter(|name| !name.is_empty());
    let index = match named.map(place) {
        Some(Place::Card(index)) if described.is_some() => index,
        _ => match id.and_then(|id| of_id(evidence, id)) {
            Some(card) => card.index,
            None => evidence.cards.iter().map(|card| card.index + 1).max().unwrap_or(0),
        },
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
    let on_cpu = value(line.text, "library") == Some("cpu") || line.says(&["offload to cpu"]);
    if !on_cpu {
        available(line, evidence);
    }
    let count = |key| value(line.text, key).and_then(number).map(|(n, _)| n);
    if let (Some(of), Some(on_gpu)) = (count("layers.model"), count("layers.offload")) {
        evidence.run.question.ngl =
            Some(if on_gpu >= of { Count::All } else { Count::Some(on_gpu) });
        let needs = value(line.text, "memory.required.full");
        let needs = needs.and_then(|text| size(text, Gb::Decimal)).map(|(size, _)| size.size);
        let is_asked = value(line.text, "layers.requested") != Some("-1");
        put_on_host(line, evidence, (on_gpu, of), needs, is_asked);
        if on_cpu && !is_asked {
            let has = value(line.text, "memory.available").map(|text| text.trim_matches('['));
            let has = has.and_then(|text| size(text, Gb::Decimal)).map(|(size, _)| size.size);
            evidence.run.on_host = Some(line.failure(FailureKind::NoCard { of, needs, has }));
        }
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
        let place = if on_cpu { Place::Host } else { Place::Cards };
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
