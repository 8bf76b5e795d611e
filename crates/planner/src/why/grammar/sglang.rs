//! `SGLang`: its settings, memory before and after loading, its cache, and its two ways to run out.

use super::{Line, settings};
use crate::units::Bytes;
use crate::why::Engine;
use crate::why::Printed;
use crate::why::evidence::{Evidence, FailureKind, Place, Term, TermKind};
use crate::why::scan::{Gb, after, between, number, number_after, size, size_after, value};

const OWN: [&str; 11] = [
    "sglang",
    "SGLang",
    "Load weight begin",
    "Load weight end",
    "KV Cache is allocated. ",
    "Memory pool end. avail mem",
    "Capture cuda graph begin.",
    "max_total_num_tokens=",
    "alloc_req_slots runs out of memory",
    "--mem-fraction-static",
    "ServerArgs(",
];

/// Reads a line.
pub fn read(line: Line<'_>, evidence: &mut Evidence) {
    // A list of packages names those that are not at work.
    if line.says(&OWN) && !line.says(&["sglang==", "sgl-kernel=="]) {
        evidence.is(Engine::Sglang, line.number);
    }
    if line.says(&["#running-req", "#new-seq: ", "#retracted_reqs"]) {
        evidence.is(Engine::Sglang, line.number);
    }
    if line.says(&["Capture cuda graph begin"]) {
        evidence.run.captures = true;
    }
    full(line, evidence);
    slots(line, evidence);
    settled(line, evidence);
    unbalanced(line, evidence);
    if line.says(&["ServerArgs(", "server_args="]) {
        evidence.begin(line.number);
        settings::of_sglang(line.text, evidence);
    }
    weights(line, evidence);
    caches(line, evidence);
    if line.says(&["The server is fired up"]) {
        evidence.run.serves.get_or_insert(line.number);
    }
    if line.says(&["Not enough memory. Please try to increase --mem-fraction-static"]) {
        let share = value(line.text, "mem_fraction_static");
        let asked = share.and_then(|share| share.parse().ok());
        let question = &mut evidence.run.question;
        question.mem_fraction_static = asked.or(question.mem_fraction_static);
        evidence.static_share =
            share.map(crate::text::printable).or_else(|| evidence.static_share.take());
        evidence.fail(line.failure(FailureKind::StaticShare));
    }
    if let Some(why) = after(line.text, "Capture cuda graph failed") {
        evidence.is(Engine::Sglang, line.number);
        let memory = why.contains("out of memory") || !why.contains(|c: char| c.is_alphabetic());
        evidence.fail(line.failure(FailureKind::Capture { memory }));
    }
}

/// The pool of tokens is full: requests are put back, or the server ends.
fn full(line: Line<'_>, evidence: &mut Evidence) {
    let said = line.says(&[
        "KV cache pool is full",
        "Decode out of memory happened",
        "Prefill out of memory",
        "Decode out of memory. ",
        "No space left for only one request",
    ]);
    if said {
        evidence.is(Engine::Sglang, line.number);
        evidence.cache_full(line.failure(FailureKind::CacheFull { asked: None, left: None }));
    }
    let last = evidence.run.failures.iter_mut().find_map(|failure| match &mut failure.kind {
        FailureKind::CacheFull { asked, left } => Some((asked, left)),
        _ => None,
    });
    if let Some((asked, left)) = last {
        *asked = asked.or(number_after(line.text, "Try to allocate "));
        *left = left
            .or(number_after(line.text, "Available full tokens: "))
            .or(number_after(line.text, "Available tokens: "));
    }
}

/// `alloc_req_slots runs out of memory. … self.req_to_token_pool.available_size()=1, num_reqs=2,`.
fn slots(line: Line<'_>, evidence: &mut Evidence) {
    if !line.says(&["alloc_req_slots runs out of memory"]) {
        return;
    }
    let (asked, left) = (number_after(line.text, "num_reqs="), number_after(line.text, "size()="));
    let is = |known: &FailureKind| matches!(known, FailureKind::NoSlots { .. });
    if !evidence.run.failures.iter().any(|failure| is(&failure.kind)) {
        evidence.fail(line.failure(FailureKind::NoSlots { asked, left }));
    }
}

/// What became of the settings: `max_total_num_tokens=2086558, chunked_prefill_size=8192, …, context_len=256000, …`.
fn settled(line: Line<'_>, evidence: &mut Evidence) {
    let count = |key| value(line.text, key).and_then(number).map(|(n, _)| n).filter(|n| *n > 0);
    let Some(tokens) = count("max_total_num_tokens") else { return };
    evidence.counts.cache_tokens = Some(tokens);
    let question = &mut evidence.run.question;
    question.prefill_chunk = question.prefill_chunk.or(count("chunked_prefill_size"));
    question.max_seqs = question.max_seqs.or(count("max_running_requests"));
    question.max_model_len = question.max_model_len.or(count("context_len"));
}

/// `The memory capacity is unbalanced. … pre_model_load_memory=19.22, local_gpu_memory=30.54, …` (`model_runner.py`).
fn unbalanced(line: Line<'_>, evidence: &mut Evidence) {
    if !line.says(&["memory capacity is unbalanced"]) {
        return;
    }
    evidence.is(Engine::Sglang, line.number);
    let gib = |key| {
        let text = value(line.text, key)?;
        Printed::parse(text.get(..text.len().min(8))?, Bytes::GIB)
    };
    let least = gib("pre_model_load_memory").or_else(|| gib("min_per_gpu_memory"));
    evidence.fail(line.failure(FailureKind::Unbalanced(least.zip(gib("local_gpu_memory")))));
}

/// The rank that prints a line: `[2025-07-02 07:41:58 DP0 TP0]`.
fn place(line: Line<'_>) -> Place {
    let rank = between(line.text, " TP", "]").and_then(number);
    rank.map_or(Place::Cards, |(rank, _)| Place::Card(rank))
}

fn add(line: Line<'_>, evidence: &mut Evidence, kind: TermKind, size: Printed) {
    let place = place(line);
    evidence.term(Term { kind, place, size, estimated: false, line: line.number });
}

fn weights(line: Line<'_>, evidence: &mut Evidence) {
    let free = size_after(line.text, "avail mem=", Gb::Binary);
    if line.says(&["Load weight begin"]) {
        evidence.counts.free_before = free.or(evidence.counts.free_before);
    }
    if line.says(&["Load weight end"]) {
        evidence.counts.free_after = free.or(evidence.counts.free_after);
        if let Some(used) = size_after(line.text, "mem usage=", Gb::Binary) {
            add(line, evidence, TermKind::Weights, used);
        }
    }
    if line.says(&["Capture cuda graph end"]) {
        evidence.run.captures = false;
    }
    if line.says(&["Capture cuda graph end"])
        && let Some(used) = size_after(line.text, "mem usage=", Gb::Binary)
    {
        add(line, evidence, TermKind::Graphs, used);
    }
}

fn caches(line: Line<'_>, evidence: &mut Evidence) {
    if line.says(&["KV Cache is allocated"]) {
        evidence.counts.cache_tokens = number_after(line.text, "#tokens: ");
        let size = |words| size_after(line.text, words, Gb::Binary);
        let both = match (size(" K size: "), size(" V size: ")) {
            (Some(keys), Some(values)) => keys.plus(values),
            (one, other) => one.or(other),
        };
        if let Some(size) = both.or(size(" KV size: ")) {
            add(line, evidence, TermKind::Cache, size);
        }
    }
    if line.says(&["Mamba Cache is allocated"]) {
        for words in ["conv_state size: ", "ssm_state size: "] {
            let found = after(line.text, words).and_then(|rest| size(rest, Gb::Binary));
            if let Some((size, _)) = found {
                add(line, evidence, TermKind::State, size.size);
            }
        }
    }
}
