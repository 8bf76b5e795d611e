//! llama.cpp, from 2023 to today: loaders, contexts, buffers, its fitting, and the breakdown at exit.

mod early;
mod failures;

use super::Line;
use crate::deployment::Question;
use crate::dtype::KvPair;
use crate::spec::{Attention, Count};
use crate::text::printable;
use crate::units::Bytes;
use crate::why::evidence::{Evidence, FailureKind, Place, Term, TermKind};
use crate::why::scan::{Gb, after, between, number, number_after, size, size_after};
use crate::why::{Engine, Printed};

/// What no other program prints.
const OWN: [&str; 25] = [
    "alloc_tensor_range:",
    "ggml_cuda_init:",
    "ggml_init_cublas:",
    "ggml_backend_",
    "ggml_gallocr",
    "ggml_cuda",
    "ggml-cuda",
    "llama_model_load",
    "llm_load_",
    "load_tensors:",
    "llama_context:",
    "llama_new_context_with_model:",
    "llama_kv_cache",
    "llama_init_from_model",
    "_params_fit",
    "memory_breakdown_print",
    "llama_server",
    "ggml_vulkan",
    "ggml_metal",
    "ggml-metal",
    "ggml_sycl",
    "ggml-sycl",
    "slot get_availabl",
    "slot update_slots",
    "srv  update_slots",
];

/// Models that one was tuned from, at most.
const MOST_BASES: usize = 8;

/// Reads a line.
pub fn read(line: Line<'_>, evidence: &mut Evidence) {
    if line.says(&OWN) {
        evidence.is(Engine::LlamaCpp, line.number);
    }
    if line.says(&[
        "LM Studio",
        "lmstudio",
        "LMStudio",
        "[LMSInternal]",
        "lms load",
        "🥲 Failed to load",
    ]) {
        evidence.is(Engine::LmStudio, line.number);
    }
    if line.says(&["server is listening on", "llama runner started", "model loaded"]) {
        evidence.run.serves.get_or_insert(line.number);
    }
    model(line, evidence);
    context(line, evidence);
    cards(line, evidence);
    buffers(line, evidence);
    early::read(line, evidence);
    fitting(line, evidence);
    failures::failures(line, evidence);
    failures::cache_full(line, evidence);
}

/// The device of a buffer by its name.
pub fn place(name: &str) -> Place {
    let name = name.trim_end_matches("_Split").trim_end_matches(" (RPC)");
    if name.starts_with("CPU") || name.ends_with("_Host") || name == "Host" {
        return Place::Host;
    }
    let digits = name.trim_start_matches(|c: char| c.is_ascii_alphabetic() || c == '_');
    match digits.parse() {
        Ok(index) => Place::Card(index),
        Err(_) if name == "Metal" => Place::Card(0),
        Err(_) => Place::Cards,
    }
}

/// What stands in the first parentheses, those within it included: `Radeon 8060S Graphics (RADV STRIX_HALO)`.
fn parenthesised(text: &str) -> Option<&str> {
    let inside = after(text, "(")?;
    let mut depth = 1u32;
    let end = inside.char_indices().find(|(_, c)| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    inside.get(..end?.0)
}

fn model(line: Line<'_>, evidence: &mut Evidence) {
    evidence.run.loads |= line.says(&["loading model tensors"]);
    if let Some(rest) = after(line.text, "loaded meta data with ") {
        evidence.begin(line.number);
        evidence.run.loads = true;
        if evidence.run.contexts == 0
            && let Some(path) = between(rest, "tensors from ", " (version")
        {
            evidence.name(path);
        }
    }
    // A server says it before any file is read: `srv    load_model: loading model '/m/a.gguf'`.
    if let Some(path) = between(line.text, "load_model: loading model '", "'") {
        evidence.is(Engine::LlamaCpp, line.number);
        evidence.name(path);
    }
    if line.says(&["failed to load model", "failed to create context"])
        && let Some(path) = between(line.text, "failed to load model, '", "'")
            .or_else(|| between(line.text, "failed to load model '", "'"))
            .or_else(|| between(line.text, "failed to create context with model '", "'"))
    {
        evidence.name(path);
    }
    version(line, evidence);
    if evidence.run.contexts > 0 {
        return;
    }
    if let Some(rest) = after(line.text, "general.name") {
        let name = rest.split_once('=').map(|(_, name)| name.trim());
        evidence.name(name.unwrap_or_default());
    }
    // `general.base_model.0.name str = Qwen2.5 3B`.
    if let Some(rest) =
        after(line.text, "general.base_model.").filter(|rest| rest.contains(".name "))
        && let Some((_, name)) = rest.split_once('=')
        && evidence.bases.len() < MOST_BASES
    {
        evidence.bases.push(printable(name.trim()));
    }
    for key in ["file type", "model ftype"] {
        if let Some(format) = line.setting(key) {
            evidence.format.get_or_insert_with(|| printable(format));
        }
    }
    for key in ["file size", "model size"] {
        // Of an encoder it stands behind a colon.
        let printed = line.setting(key).filter(|value| value.contains("BPW"));
        if let Some((size, _)) = printed.and_then(|value| size(value, Gb::Binary)) {
            evidence.file_size.get_or_insert(size.size);
        }
    }
    // Its fitting counts layers on cards in the same words.
    if line.says(&["params_fit"]) {
        return;
    }
    let count = |name| line.setting(name).and_then(|value| number(value)).map(|(n, _)| n);
    if let Some(layers) = count("n_layer") {
        evidence.shape.0.get_or_insert(layers);
    }
    if let Some(width) = count("n_embd") {
        evidence.shape.1.get_or_insert(width);
    }
}

/// `build: 6081 (hash)`, `version: 3184 (…)`, `build = 3184`, `b9943-c15c5c77a`.
fn version(line: Line<'_>, evidence: &mut Evidence) {
    if evidence.version.is_some() {
        return;
    }
    let builds =
        ["build: ", "build = ", "version: ", "build_info: b", "print_info: build ", "(build "];
    for words in builds {
        let Some((build, rest)) = after(line.text, words).and_then(number) else { continue };
        if (100..100_000).contains(&build) && rest.trim_start().starts_with(['(', '-', ',']) {
            evidence.version = Some(format!("b{build}"));
            evidence.is(Engine::LlamaCpp, line.number);
            return;
        }
    }
}

fn context(line: Line<'_>, evidence: &mut Evidence) {
    let old = line.says(&["llama_new_context_with_model:"]) && line.setting("n_ctx").is_some();
    if old || line.says(&["constructing llama_context"]) {
        evidence.run.contexts = evidence.run.contexts.saturating_add(1);
    }
    if let Some(rest) = after(line.text, "offloaded ") {
        offloaded(rest, evidence);
    }
    if evidence.run.contexts > 1 || !line.says(&["llama_", "llm_", "n_ctx", "kv_unified"]) {
        return;
    }
    // A server's slot says its own part: `slot   load_model: id  0 | task -1 | new slot, n_ctx = 4096`.
    if line.says(&["| task "]) {
        return;
    }
    let question = &mut evidence.run.question;
    let count = |name| line.setting(name).and_then(number).map(|(n, _)| n);
    if let Some(cells) = count("n_ctx") {
        (question.cache_tokens, question.context) = (Some(cells), Some(cells));
    }
    if let Some(batch) = count("n_batch") {
        question.batch_size = Some(batch);
    }
    if let Some(chunk) = count("n_ubatch") {
        question.prefill_chunk = Some(chunk);
    }
    // Of one slot it is the whole context; the lines behind it say where it is not.
    let of_slot = count("n_ctx_seq").or_else(|| number_after(line.text, "n_ctx_seq ("));
    if let Some(cells) = of_slot.filter(|_| question.cache_tokens.is_none()) {
        (question.cache_tokens, question.context) = (Some(cells), Some(cells));
    }
    // `llama_kv_cache: size = 4352.00 MiB (262144 cells, 8 layers, 2/1 seqs)`, of one stream.
    let cells = between(line.text, " MiB (", " cells,").and_then(number).map(|(cells, _)| cells);
    if let Some(cells) =
        cells.filter(|_| question.cache_tokens.is_none() && line.says(&["/1 seqs"]))
    {
        (question.cache_tokens, question.context) = (Some(cells), Some(cells));
    }
    slots_of(line, question);
    if let Some(slots) = count("n_seq_max") {
        question.parallel = (slots > 1).then_some(slots);
    }
    if let Some(unified) = line.setting("kv_unified") {
        question.no_kv_unified = unified == "false" && question.parallel.is_some();
        question.kv_unified = unified == "true" && question.parallel.is_some();
    }
    if let Some(flash) = line.setting("flash_attn") {
        question.attention = match flash {
            "1" | "enabled" | "on" => Some(Attention::Flash),
            "0" | "disabled" | "off" => Some(Attention::Eager),
            _ => question.attention,
        };
    }
    if line.says(&["Flash Attention was auto, set to enabled"]) {
        question.attention = Some(Attention::Flash);
    }
    if line.says(&["Flash Attention was auto, set to disabled"]) {
        question.attention = Some(Attention::Eager);
    }
    formats(line, evidence);
}

/// Builds of 2025 say how long a slot's context is, and how many cells all of them have.
fn slots_of(line: Line<'_>, question: &mut Question) {
    if let Some(per_slot) = number_after(line.text, "n_ctx_per_seq (") {
        question.context = question.context.or(Some(per_slot));
    }
    let cells = line.setting("kv_size").and_then(number).map(|(n, _)| n);
    let Some(cells) = cells.filter(|_| question.cache_tokens.is_none()) else { return };
    let per_slot = question.context.unwrap_or(cells).max(1);
    let slots = cells / per_slot;
    question.parallel = (slots > 1 && cells % per_slot == 0).then_some(slots);
    (question.cache_tokens, question.context) = (Some(cells), Some(cells));
}

/// `K (q8_0): 1.00 MiB, V (q8_0): …`.
fn formats(line: Line<'_>, evidence: &mut Evidence) {
    let (Some(keys), Some(values)) =
        (between(line.text, "K (", ")"), between(line.text, "V (", ")"))
    else {
        return;
    };
    let text = if keys == values { keys.to_owned() } else { format!("{keys}/{values}") };
    if let Ok(pair) = text.parse::<KvPair>() {
        evidence.run.question.kv = Some(pair);
    }
}

/// `offloaded 43/65 layers to GPU`.
fn offloaded(rest: &str, evidence: &mut Evidence) {
    let Some((on_gpu, rest)) = number(rest) else { return };
    let Some((of, rest)) = rest.strip_prefix('/').and_then(number) else { return };
    if rest.trim_start().starts_with("layers") && of > 0 {
        let all = if on_gpu >= of { Count::All } else { Count::Some(on_gpu) };
        evidence.run.question.ngl = Some(all);
    }
}

fn cards(line: Line<'_>, evidence: &mut Evidence) {
    // `  Device 0: NVIDIA GeForce RTX 4090, compute capability 8.9, VMM: yes`.
    if let Some((index, rest)) = after(line.text, "Device ").and_then(number)
        && let Some(name) = between(rest, ": ", ", compute capability")
        && let Some(card) = evidence.card(index)
    {
        card.name = Some(printable(name));
        card.total = size_after(rest, "VRAM: ", Gb::Binary).map(|size| size.bytes).or(card.total);
        evidence.is(Engine::LlamaCpp, line.number);
    }
    // `using device CUDA0 (NVIDIA GeForce RTX 4090) (0000:01:00.0) - 23690 MiB free`.
    if let Some(rest) = after(line.text, "using device ") {
        let device = rest.split(' ').next().unwrap_or_default();
        let free = between(rest, " - ", " free").and_then(|text| size(text, Gb::Binary));
        if let Place::Card(index) = place(device)
            && let Some(card) = evidence.card(index)
        {
            if let Some(name) = parenthesised(rest) {
                card.name = Some(printable(name));
            }
            card.free = free.map(|(size, _)| size.size.bytes).or(card.free);
            card.in_use = true;
        }
    }
    // `  - CUDA0   : NVIDIA GeForce RTX 3090 (24123 MiB, 23755 MiB free)`, since 2026.
    if let Some((device, rest)) = after(line.text, " - ").and_then(|rest| rest.split_once(':'))
        && let Some((name, sizes)) = rest.rsplit_once(" (")
        && let (Some((total, behind)), Place::Card(index)) =
            (size(sizes, Gb::Binary), place(device.trim()))
        && let Some((free, _)) = behind.strip_prefix(", ").and_then(|rest| size(rest, Gb::Binary))
        && let Some(card) = evidence.card(index)
    {
        card.name = Some(printable(name.trim()));
        (card.total, card.free) = (Some(total.size.bytes), Some(free.size.bytes));
    }
    // `  Device 0: Radeon 8060S Graphics, gfx1151 (0x1151), VMM: no, Wave Size: 32, VRAM: 126976 MiB`.
    if let Some((index, rest)) = after(line.text, "Device ").and_then(number)
        && let Some(name) = between(rest, ": ", ", gfx")
        && let Some(card) = evidence.card(index)
    {
        card.name = Some(printable(name));
        card.total = size_after(rest, "VRAM: ", Gb::Binary).map(|size| size.bytes).or(card.total);
        evidence.is(Engine::LlamaCpp, line.number);
    }
    breakdown(line, evidence);
}

/// `|   - CUDA0 (RTX 3090)   | 24124 = 1019 + (14599 =  8148 +    6144 +     307) +        8505 |`, in MiB.
fn breakdown(line: Line<'_>, evidence: &mut Evidence) {
    if !line.says(&["memory_breakdown_print"]) {
        return;
    }
    // What passes a log on may put a `|` of its own before a line.
    let row = after(line.text, "memory_breakdown_print").and_then(|rest| after(rest, "|"));
    let row = row.and_then(|row| row.trim_start().strip_prefix("- "));
    let Some(rest) = row else { return };
    let mut columns = rest.split('|');
    let device = columns.next().unwrap_or_default().trim();
    let numbers: Vec<i64> = columns
        .next()
        .unwrap_or_default()
        .split(|c: char| !c.is_ascii_digit() && c != '-')
        .filter_map(|text| text.parse().ok())
        .take(8)
        .collect();
    let name = parenthesised(device).map(printable);
    let place = place(device.split(' ').next().unwrap_or_default());
    let (sizes, is_trial) = match (place, &*numbers) {
        (Place::Card(index), [total, free, _, model, context, compute, rest @ ..]) => {
            // Before anything is allocated, more is free than is left of what the run takes.
            // Some builds print what is below zero as if it were unsigned.
            let is_trial =
                rest.first().is_some_and(|rest| *rest < 0 || *rest > (*total).max(1) << 8);
            let mib = |n: i64| u64::try_from(n).ok().and_then(|n| Bytes::mib(n).ok());
            let Some(card) = evidence.card(index) else { return };
            card.total = card.total.or(mib(*total));
            card.name = card.name.take().or(name);
            if is_trial {
                card.free = card.free.or(mib(*free));
            }
            evidence.run.trial = is_trial;
            ([*model, *context, *compute], is_trial)
        }
        (Place::Host, [_, model, context, compute]) => {
            ([*model, *context, *compute], evidence.run.trial)
        }
        _ => return,
    };
    for (kind, size) in [TermKind::Weights, TermKind::Cache, TermKind::Compute].iter().zip(sizes) {
        stated(line, evidence, *kind, place, size, is_trial);
    }
}

/// A size of the breakdown, where no line of its own told it before; of the trials of a fit, the last one's.
fn stated(
    line: Line<'_>,
    evidence: &mut Evidence,
    kind: TermKind,
    place: Place,
    mib: i64,
    estimated: bool,
) {
    let of_cache = |kind: TermKind| matches!(kind, TermKind::Cache | TermKind::State);
    let same = |term: &Term| {
        term.place == place
            && term.estimated == estimated
            && (term.kind == kind || (of_cache(kind) && of_cache(term.kind)))
    };
    if estimated {
        evidence.run.terms.retain(|term| !same(term));
    } else if evidence.run.terms.iter().any(same) {
        return;
    }
    let size = Printed::parse(&mib.to_string(), Bytes::MIB).filter(|size| !size.bytes.is_zero());
    if let Some(size) = size {
        evidence.term(Term { kind, place, size, estimated, line: line.number });
    }
}

fn buffers(line: Line<'_>, evidence: &mut Evidence) {
    let add = |evidence: &mut Evidence, kind, place, size| {
        evidence.term(Term { kind, place, size, estimated: false, line: line.number });
    };
    if let Some((before, behind)) = line.text.split_once(" buffer size") {
        let Some(size) =
            behind.trim_start().strip_prefix('=').and_then(|rest| size(rest, Gb::Binary))
        else {
            return;
        };
        let mut words = before.split_whitespace().rev();
        let last = words.next().unwrap_or_default();
        let of_encoder = line.says(&["alloc_compute_meta", "reserve_compute_meta", "clip_"]);
        let (kind, device) = match last {
            "model" => (TermKind::Weights, words.next()),
            "KV" => (TermKind::Cache, words.next()),
            "RS" => (TermKind::State, words.next()),
            "compute" if of_encoder => (TermKind::Encoder, words.next()),
            "backend" if line.says(&["clip_"]) => (TermKind::Encoder, None),
            "compute" => (TermKind::Compute, words.next()),
            "output" => (TermKind::Output, words.next()),
            device if line.says(&["llm_load_tensors:"]) => (TermKind::Weights, Some(device)),
            _ => return,
        };
        evidence.is(Engine::LlamaCpp, line.number);
        add(evidence, kind, place(device.unwrap_or_default()), size.0.size);
        return;
    }
    if line.says(&["clip_model_load", "load_hparams", "clip_ctx"])
        && let Some(size) = size_after(line.text, "model size:", Gb::Binary)
    {
        add(evidence, TermKind::Encoder, Place::Cards, size);
        if evidence.run.question.mmproj.is_none() {
            evidence.run.question.mmproj = Some("auto".to_owned());
        }
    }
}

/// Its own fitting (`common/fit.cpp`, before that `llama_params_fit` in `src/llama.cpp`).
fn fitting(line: Line<'_>, evidence: &mut Evidence) {
    if let Some(used) = size_after(line.text, "projected to use ", Gb::Binary) {
        let behind = after(line.text, " vs. ").map(|rest| rest.trim_start_matches("a total of "));
        if let Some((free, _)) = behind.and_then(|rest| size(rest, Gb::Binary)) {
            evidence.counts.projected = Some((used, free.size));
        }
    }
    if let Some(why) = after(line.text, "failed to fit params to free device memory") {
        let why = printable(why.trim_start_matches(':').trim());
        let mut failure = line.failure(FailureKind::Unfit(why));
        // A warning: loading goes on, and mostly fails by itself.
        failure.went_on = false;
        evidence.fail(failure);
    }
}
