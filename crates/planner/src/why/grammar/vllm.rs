//! vLLM, from 0.2 to today: its settings, what its profile run saw, its pool, and why it refuses.

use super::{Line, Message, arguments, settings};
use crate::text::printable;
use crate::units::Bytes;
use crate::why::evidence::{Evidence, FailureKind, Place, Term, TermKind};
use crate::why::scan::{Gb, after, between, number, number_after, size, size_after};
use crate::why::{Engine, Printed};

const OWN: [&str; 12] = [
    "vLLM",
    "vllm/",
    "vllm.",
    "vllm serve",
    "(EngineCore",
    "gpu_model_runner.py",
    "llm_engine.py",
    "kv_cache_utils.py",
    "gpu_executor.py",
    "VllmWorker",
    "RayWorkerVllm",
    "cumem_allocator",
];

/// Reads a line.
pub fn read(line: Line<'_>, evidence: &mut Evidence) {
    if line.says(&OWN) {
        evidence.is(Engine::Vllm, line.number);
    }
    version(line, evidence);
    if line.says(&["with config: model", "non-default args", "Namespace(", "EngineArgs("])
        && !line.says(&["ServerArgs("])
    {
        settings::of_vllm(line.text, evidence);
        if let Some(told) = arguments::of_vllm(line.text) {
            let known = std::mem::take(&mut evidence.run.question);
            evidence.run.question = told.or(known);
        }
        if line.says(&["with config: model"]) {
            evidence.is(Engine::Vllm, line.number);
            evidence.begin(line.number);
        }
    }
    called(line, evidence);
    running(line, evidence);
    if line.says(&["initialize_kv_cache_tensors", "_allocate_kv_cache_tensors"]) {
        evidence.run.pools = Some(line.number);
    }
    loaded(line, evidence);
    profiled(line, evidence);
    pool(line, evidence);
    in_use(line, evidence);
    if line.says(&["Application startup complete", "Uvicorn running on"]) {
        evidence.run.serves.get_or_insert(line.number);
    }
    failures(line, evidence);
    if line.says(&["No available memory for the cache blocks"]) {
        evidence.is(Engine::Vllm, line.number);
        evidence.fail(line.failure(FailureKind::NoCache));
    }
}

/// What a start and a step fail of beside the share and the cache.
fn failures(line: Line<'_>, evidence: &mut Evidence) {
    if line.says(&["Capturing CUDA graph", "Capturing the model for CUDA graphs"]) {
        evidence.run.captures = true;
    }
    if line.says(&["Graph capturing finished"]) {
        evidence.run.captures = false;
    }
    if line.says(&["warming up sampler with"]) && line.says(&["out of memory"]) {
        evidence.is(Engine::Vllm, line.number);
        let requests = number_after(line.text, "warming up sampler with ");
        evidence.fail(line.failure(FailureKind::Sampler(requests)));
    }
    if line.says(&["cumem_allocator"]) && line.says(&["out of memory"]) {
        evidence.fail(line.failure(FailureKind::Woken));
    }
    if line.says(&["is preempted by", "not enough KV cache space"])
        && line.says(&["KV cache space"])
    {
        evidence.is(Engine::Vllm, line.number);
        evidence.cache_full(line.failure(FailureKind::CacheFull { asked: None, left: None }));
    }
    if let Some(rest) = after(line.text, "max_num_seqs (")
        && line.says(&["exceeds available Mamba cache"])
    {
        evidence.is(Engine::Vllm, line.number);
        let asked = number(rest).map(|(asked, _)| asked);
        let states = number_after(rest, "blocks (");
        evidence.fail(line.failure(FailureKind::MoreThanStates { asked, states }));
    }
    if let Some(rest) = after(line.text, "Error in memory profiling") {
        let before = size_after(rest, "Initial free memory ", Gb::Binary);
        let now = size_after(rest, "current free memory ", Gb::Binary);
        if let Some((before, now)) = before.zip(now) {
            evidence.is(Engine::Vllm, line.number);
            evidence.fail(line.failure(FailureKind::Profiled(before, now)));
        }
    }
}

fn version(line: Line<'_>, evidence: &mut Evidence) {
    for words in [
        "LLM engine (v",
        "API server version ",
        "vLLM Version",
        "vLLM version",
        "vLLM server version ",
    ] {
        let Some(rest) = after(line.text, words) else { continue };
        let rest = rest.trim_start_matches([' ', ':', '=', '*', '`']).trim_start_matches('v');
        let end = rest.find(|c: char| c != '.' && !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let version = rest.get(..end).unwrap_or_default();
        if version.starts_with(|c: char| c.is_ascii_digit()) {
            evidence.version.get_or_insert_with(|| printable(version));
            evidence.is(Engine::Vllm, line.number);
        }
    }
}

/// The card of the worker that prints a line.
fn place(line: Line<'_>) -> Place {
    let rank = between(line.text, "rank=", " ").or_else(|| between(line.text, "_TP", " "));
    rank.and_then(number).map_or(Place::Cards, |(rank, _)| Place::Card(rank))
}

fn add(line: Line<'_>, evidence: &mut Evidence, kind: TermKind, size: Printed) {
    let place = place(line);
    let term = Term { kind, place, size, estimated: false, line: line.number };
    evidence
        .run
        .terms
        .retain(|known| known.kind != kind || known.place != place || known.estimated);
    evidence.term(term);
}

/// Python code that makes an engine: `llm = LLM(model="org/name", gpu_memory_utilization=0.95)`; and the name that a worker loads.
fn called(line: Line<'_>, evidence: &mut Evidence) {
    if let Some(name) = after(line.text, "Starting to load model ") {
        evidence.is(Engine::Vllm, line.number);
        evidence.name(name.trim_end().trim_end_matches("...").trim_end_matches('…'));
    }
    let begins = |at: usize| {
        let before = line.text.get(..at).and_then(|head| head.chars().next_back());
        before.is_none_or(|c| c == ' ' || c == '=')
    };
    if line.text.find("LLM(").is_some_and(begins) && line.says(&["model=", "model ="]) {
        evidence.is(Engine::Vllm, line.number);
        settings::of_vllm(line.text, evidence);
    }
}

/// What a server says while it runs: `Engine 000: Avg prompt throughput: 0.0 tokens/s, … GPU KV cache usage: 91.2%`.
fn running(line: Line<'_>, evidence: &mut Evidence) {
    if line.says(&["Avg prompt throughput: "]) && line.says(&["KV cache usage: "]) {
        evidence.is(Engine::Vllm, line.number);
        evidence.run.serves.get_or_insert(line.number);
    }
}

fn loaded(line: Line<'_>, evidence: &mut Evidence) {
    for words in [
        "Model loading took ",
        "Loading model weights took ",
        "model weights take ",
        "weights memory: ",
    ] {
        if let Some(size) = size_after(line.text, words, Gb::Binary) {
            evidence.is(Engine::Vllm, line.number);
            add(line, evidence, TermKind::Weights, size);
            return;
        }
    }
}

/// `Memory profiling results: total_gpu_memory=23.58GiB …`, `PyTorch activation peak memory takes 1.44GiB`.
fn profiled(line: Line<'_>, evidence: &mut Evidence) {
    for (words, kind) in [
        ("activation peak memory takes ", TermKind::Activations),
        ("torch peak memory increase: ", TermKind::Activations),
        ("non_torch_memory takes ", TermKind::NonTorch),
        ("non_torch_memory=", TermKind::NonTorch),
        ("non-torch forward increase memory: ", TermKind::NonTorch),
    ] {
        if let Some(size) = size_after(line.text, words, Gb::Binary) {
            add(line, evidence, kind, size);
        }
    }
    let total = size_after(line.text, "total_gpu_memory=", Gb::Binary)
        .or_else(|| size_after(line.text, "total_gpu_memory (", Gb::Binary));
    if let Some(total) = total
        && let Some(card) = evidence.card(0)
    {
        card.total = card.total.or(Some(total.bytes));
    }
    let peak = size_after(line.text, "peak_torch_memory=", Gb::Binary);
    let before = size_after(line.text, "initial_memory_usage=", Gb::Binary);
    let weights = evidence.run.terms.iter().find(|term| term.kind == TermKind::Weights);
    if let (Some(peak), Some(_), Some(weights)) = (peak, before, weights) {
        let bytes = peak.bytes.minus_or_zero(weights.size.bytes);
        let within = peak.within.plus(weights.size.within).unwrap_or(Bytes::ZERO);
        add(line, evidence, TermKind::Activations, Printed { bytes, within });
    }
    for words in ["gpu_memory_utilization=", "gpu_memory_utilization ("] {
        let Some(rest) = after(line.text, words).filter(|_| line.says(&["total_gpu_memory"]))
        else {
            continue;
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let share = rest.get(..end).and_then(|share| share.parse().ok());
        evidence.run.question.gpu_memory_utilization =
            evidence.run.question.gpu_memory_utilization.or(share);
    }
}

fn pool(line: Line<'_>, evidence: &mut Evidence) {
    for words in ["Available KV cache memory: ", "reserved for KV Cache is ", "kv_cache_size="] {
        let Some((left, _)) = after(line.text, words).and_then(|rest| size(rest, Gb::Binary))
        else {
            continue;
        };
        evidence.is(Engine::Vllm, line.number);
        evidence.counts.cache_left = Some((left.size, left.negative));
        if left.negative {
            evidence.run.no_room = Some(line.failure(FailureKind::NoCache));
        } else {
            add(line, evidence, TermKind::Cache, left.size);
        }
    }
    if let Some(tokens) = number_after(line.text, "GPU KV cache size: ") {
        evidence.counts.cache_tokens = Some(tokens);
        evidence.is(Engine::Vllm, line.number);
    }
    tokens(line, evidence);
    if let Some(rest) = after(line.text, "Graph capturing finished in ")
        && let Some(size) = size_after(rest, "took ", Gb::Binary)
    {
        add(line, evidence, TermKind::Graphs, size);
    }
    if line.says(&["# GPU blocks: 0,", "# cuda blocks: 0,"]) {
        evidence.is(Engine::Vllm, line.number);
        evidence.run.no_room = Some(line.failure(FailureKind::NoCache));
    }
}

/// Tokens of a block, unless it is told otherwise.
const BLOCK: u64 = 16;

/// `# GPU blocks: 715, # CPU blocks: 1310`, `Maximum concurrency for 16,384 tokens per request: 2.83x`, and the share that it names
/// where it estimates what graphs take.
fn tokens(line: Line<'_>, evidence: &mut Evidence) {
    let blocks = number_after(line.text, "# GPU blocks: ")
        .or_else(|| number_after(line.text, "# CUDA blocks: "))
        .filter(|blocks| *blocks > 0);
    if let Some(blocks) = blocks {
        evidence.is(Engine::Vllm, line.number);
        evidence.counts.cache_tokens = Some(blocks.saturating_mul(BLOCK));
    }
    let longest = number_after(line.text, "Maximum concurrency for ");
    let question = &mut evidence.run.question;
    if let Some(longest) = longest.filter(|longest| *longest > 0)
        && question.max_model_len.is_none()
        && question.context.is_none()
    {
        (question.context, question.max_model_len) = (Some(longest), Some(longest));
    }
    if let Some(rest) = after(line.text, "The current --gpu-memory-utilization=") {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let share = rest.get(..end).and_then(|share| share.trim_end_matches('.').parse().ok());
        question.gpu_memory_utilization = question.gpu_memory_utilization.or(share);
    }
    if let Some(size) = size_after(line.text, "Estimated CUDA graph memory: ", Gb::Binary) {
        let (kind, place) = (TermKind::Graphs, place(line));
        evidence.term(Term { kind, place, size, estimated: true, line: line.number });
    }
}

/// What it says once graphs are captured, beside the `--kv-cache-memory` that it proposes:
/// `Free memory on device (21.66/22.03 GiB) on startup. Desired GPU memory utilization is (0.9, 19.83 GiB). Actual usage is
/// 14.25 GiB for weight, 1.44 GiB for peak activation, 0.09 GiB for non-torch memory, and 0.55 GiB for CUDAGraph memory. …
/// Current kv cache memory in use is 4.05 GiB.`
fn in_use(line: Line<'_>, evidence: &mut Evidence) {
    let Some(usage) = after(line.text, "Actual usage") else { return };
    if !line.says(&["--kv-cache-memory"]) {
        return;
    }
    evidence.is(Engine::Vllm, line.number);
    for (words, kind) in [
        (" for weight", TermKind::Weights),
        (" for consumed memory", TermKind::Consumed),
        (" for peak activation", TermKind::Activations),
        (" for non-torch memory", TermKind::NonTorch),
        (" for CUDAGraph memory", TermKind::Graphs),
    ] {
        if let Some(size) = size_before(usage, words) {
            add(line, evidence, kind, size);
        }
    }
    let in_use = after(usage, "kv cache memory in use is ").and_then(|rest| size(rest, Gb::Binary));
    if let Some((in_use, _)) = in_use.filter(|(size, _)| !size.negative) {
        evidence.counts.cache_left = Some((in_use.size, false));
        add(line, evidence, TermKind::Cache, in_use.size);
    }
    let total = after(line.text, "Free memory on device").and_then(|rest| between(rest, "/", ")"));
    if let Some((total, _)) = total.and_then(|total| size(total, Gb::Binary)) {
        let index = match place(line) {
            Place::Card(index) => index,
            Place::Cards | Place::Host => 0,
        };
        if let Some(card) = evidence.card(index) {
            card.total = card.total.or(Some(total.size.bytes));
        }
    }
    let share = between(line.text, "Desired GPU memory utilization is (", ",");
    let share = share.and_then(|share| share.trim().parse().ok());
    let question = &mut evidence.run.question;
    question.gpu_memory_utilization = question.gpu_memory_utilization.or(share);
    evidence.run.serves.get_or_insert(line.number);
}

/// The size that stands before some words.
fn size_before(text: &str, words: &str) -> Option<Printed> {
    let head = text.get(..text.find(words)?)?;
    let unit = head.rfind(' ')?;
    let number = head.get(..unit)?.rfind(' ').map_or(0, |at| at + 1);
    let (size, _) = size(head.get(number..)?, Gb::Binary)?;
    (!size.negative).then_some(size.size)
}

/// Reads a message that may have been broken over several lines.
pub fn message(message: &Message, evidence: &mut Evidence) {
    let line = message.line();
    let text = line.text;
    if text.contains("To serve at least one request") {
        evidence.is(Engine::Vllm, line.number);
        let needs = message.find(|text| {
            let rest = between(text, "max seq len (", "KV cache is needed")?;
            let rest = after(rest, ")")?.trim_start_matches([',', ' ', '(']);
            size(rest, Gb::Binary).map(|(size, _)| size.size)
        });
        let has = |text: &str| size_after(text, "available KV cache memory (", Gb::Binary);
        let context = longest_asked(message, evidence);
        let kind = FailureKind::ContextTooLong {
            context,
            needs,
            has: message.find(has),
            longest: message.find(|text| number_after(text, "estimated maximum model length is ")),
        };
        evidence.fail(line.failure(kind));
    } else if text.contains("is larger than the maximum number of tokens") {
        evidence.is(Engine::Vllm, line.number);
        let context = longest_asked(message, evidence);
        let kind = FailureKind::ContextTooLong {
            context,
            needs: None,
            has: None,
            longest: message
                .find(|text| between(text, "KV cache (", ")").and_then(number).map(|(n, _)| n)),
        };
        evidence.fail(line.failure(kind));
    } else if let Some(rest) = after(text, "Free memory on device") {
        share_not_free(line, rest, evidence);
    }
}

/// The longest sequence that vLLM was told to serve, or took from the model: what is planned where no setting says it.
fn longest_asked(message: &Message, evidence: &mut Evidence) -> Option<u64> {
    let context = message.find(|text| number_after(text, "max seq len ("));
    let question = &mut evidence.run.question;
    if question.max_model_len.is_none() && question.context.is_none() {
        (question.context, question.max_model_len) = (context, context);
    }
    context
}

/// `Free memory on device cuda:0 (7.34/15.49 GiB) on startup is less than desired GPU memory utilization (0.8, 12.39 GiB)`.
fn share_not_free(line: Line<'_>, rest: &str, evidence: &mut Evidence) {
    let Some((free, total)) = between(rest, "(", ")").and_then(|text| text.split_once('/')) else {
        return;
    };
    let free = Printed::parse(free.trim(), Bytes::GIB);
    let total = size(total, Gb::Binary).map(|(size, _)| size.size);
    let desired = after(rest, "GPU memory utilization (").and_then(|text| text.split_once(','));
    let wanted =
        desired.and_then(|(_, wanted)| size(wanted, Gb::Binary)).map(|(size, _)| size.size);
    let (Some(free), Some(total), Some(wanted)) = (free, total, wanted) else { return };
    evidence.is(Engine::Vllm, line.number);
    let index = number_after(rest, "cuda:").unwrap_or(0);
    if let Some(card) = evidence.card(index) {
        (card.total, card.free) = (card.total.or(Some(total.bytes)), Some(free.bytes));
    }
    let share = desired.map(|(share, _)| printable(share.trim()));
    if let Some(share) = share.as_deref().and_then(|share| share.parse().ok()) {
        evidence.run.question.gpu_memory_utilization = Some(share);
    }
    evidence.fail(line.failure(FailureKind::ShareNotFree { free, total, share, wanted }));
}
