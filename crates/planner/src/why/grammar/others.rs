//! Engines that are recognised and not planned: their names, and what they say of memory in words of their own.

use super::{Line, settings};
use crate::text::printable;
use crate::units::Bytes;
use crate::why::evidence::{Evidence, Failure, FailureKind, Place, Term, TermKind};
use crate::why::scan::{Gb, after, number, number_after, size_after};
use crate::why::{Engine, Printed};

/// What no other program prints.
const NAMES: [(Engine, &[&str]); 6] = [
    (
        Engine::Tgi,
        &[
            "text_generation_launcher",
            "text-generation-launcher",
            "text_generation_server",
            "text_generation_client",
            "text_generation_router",
        ],
    ),
    (Engine::TensorRtLlm, &["[TensorRT-LLM]", "[TRT-LLM]", "tensorrt_llm/", "trtllm-serve"]),
    (
        Engine::ExLlama,
        &[
            "exllamav2/",
            "exllamav2\\",
            "exllamav3/",
            "exllamav3\\",
            "ExLlamaV2Cache",
            "ExLlamav2_HF",
            "ExLlamav3_HF",
            "Exllamav2HF",
            "Exllamav3HF",
            "tabbyapi",
            "Insufficient VRAM for model and cache",
            "Insufficient VRAM in split",
        ],
    ),
    (Engine::LmDeploy, &["lmdeploy", "[TM][ERROR]", "TurbomindEngineConfig"]),
    (Engine::Mlx, &["[METAL] Command buffer", "[metal::malloc]", "mlx_lm", "mlx-lm", "mlx_engine"]),
    (Engine::KoboldCpp, &["KoboldCpp", "koboldcpp"]),
];

/// Lines within which one failure is told.
const NEAR: u64 = 8;

/// Reads a line.
pub fn read(line: Line<'_>, evidence: &mut Evidence) {
    for (engine, words) in NAMES {
        if line.says(words) {
            evidence.is(engine, line.number);
        }
    }
    warmup(line, evidence);
    lm_studio(line, evidence);
    tensorrt(line, evidence);
    metal(line, evidence);
    if line.says(&["Insufficient VRAM for model and cache", "Insufficient VRAM in split"]) {
        evidence.fail(line.failure(FailureKind::Split));
    }
    if line.says(&["Welcome to KoboldCpp"])
        && let Some(version) = after(line.text, "Version ")
    {
        evidence.version.get_or_insert_with(|| format!("KoboldCpp {}", printable(version.trim())));
    }
    if line.says(&["Namespace("]) && line.says(&["contextsize="]) {
        settings::of_koboldcpp(line.text, evidence);
    }
}

/// `Not enough memory to handle 16000 total tokens with 2 prefill tokens. You need to decrease …` (`flash_causal_lm.py`).
fn warmup(line: Line<'_>, evidence: &mut Evidence) {
    let Some(rest) = after(line.text, "Not enough memory to handle ") else { return };
    let Some((tokens, rest)) = number(rest) else { return };
    let of_cache = rest.trim_start().starts_with("total tokens");
    evidence.is(Engine::Tgi, line.number);
    evidence.fail(line.failure(FailureKind::Warmup { tokens, of_cache }));
}

/// LM Studio's estimate, a line each: `  Model: 14.87 GB`, `  Context: 936.03 MB`.
fn lm_studio(line: Line<'_>, evidence: &mut Evidence) {
    if evidence.engine.is_none_or(|(engine, _)| engine != Engine::LmStudio) {
        return;
    }
    let text = line.text.trim_start();
    for (words, kind) in [("Model: ", TermKind::Weights), ("Context: ", TermKind::Cache)] {
        let size = text.strip_prefix(words).and_then(|rest| size_after(rest, "", Gb::Decimal));
        if let Some(size) = size {
            let place = Place::Cards;
            evidence.term(Term { kind, place, size, estimated: true, line: line.number });
        }
    }
    if text.starts_with("Model load size estimate") || line.says(&["Model load size estimate"]) {
        let cells = number_after(line.text, "context length '");
        let question = &mut evidence.run.question;
        question.cache_tokens = question.cache_tokens.or(cells);
        question.context = question.context.or(cells);
    }
}

/// `TensorRT`'s allocator and loader, and the sizes that `TensorRT-LLM` prints.
fn tensorrt(line: Line<'_>, evidence: &mut Evidence) {
    let mut state = |kind, size: Option<Printed>, estimated| {
        let Some(size) = size else { return };
        let place = Place::Cards;
        evidence.term(Term { kind, place, size, estimated, line: line.number });
    };
    state(TermKind::Weights, size_after(line.text, "Loaded engine size: ", Gb::Binary), false);
    if let Some(rest) = after(line.text, "[MemUsageChange] Allocated ")
        && rest.contains("execution context memory")
    {
        state(TermKind::Compute, size_after(line.text, "Allocated ", Gb::Binary), false);
    }
    if let Some(tokens) = number_after(line.text, "Max tokens in paged KV cache: ") {
        state(TermKind::Cache, size_after(line.text, "Allocating ", Gb::Binary), true);
        evidence.counts.cache_tokens = Some(tokens);
    }
    pool_of_tensorrt(line, evidence);
    let asked = number_after(line.text, "Requested amount of GPU memory (")
        .or_else(|| number_after(line.text, "Requested size was "));
    let said = line.says(&["Error Code 2: OutOfMemory", "Cuda Runtime (out of memory)"]);
    if asked.is_none() && !said {
        if line.says(&["Failed to deserialize cuda engine"]) {
            settle(line, evidence, FailureKind::Allocation(Some(TermKind::Weights)));
        }
        if line.says(&["Engine building failed"]) {
            settle(line, evidence, FailureKind::Build);
        }
        return;
    }
    evidence.is(Engine::TensorRtLlm, line.number);
    if near(line, evidence).is_none() {
        evidence.fail(line.failure(FailureKind::Allocation(None)));
    }
    if let Some(failure) = near(line, evidence) {
        let asked = asked.map(|bytes| Printed::exactly(Bytes::new(bytes)));
        failure.asked = failure.asked.or(asked);
    }
    if line.says(&["deserialize.cpp"]) {
        settle(line, evidence, FailureKind::Allocation(Some(TermKind::Weights)));
    }
}

/// Its cache in the words of other releases: `Allocate 69524783104 bytes for k/v cache.`, `Using 132608 tokens in paged KV cache.`,
/// `Allocated 4.53 GiB for max tokens in paged KV cache (395776).`
fn pool_of_tensorrt(line: Line<'_>, evidence: &mut Evidence) {
    let bytes = line.says(&["bytes for k/v cache"]);
    let using = number_after(line.text, "Using ").filter(|_| line.says(&["in paged KV cache"]));
    let allocated = number_after(line.text, "for max tokens in paged KV cache (");
    if bytes || allocated.is_some() {
        let size = ["Allocate ", "Allocated "];
        let size = size.iter().find_map(|words| size_after(line.text, words, Gb::Binary));
        if let Some(size) = size {
            let (kind, place) = (TermKind::Cache, Place::Cards);
            evidence.term(Term { kind, place, size, estimated: false, line: line.number });
        }
    }
    let tokens = using.or(allocated);
    if bytes || tokens.is_some() || line.says(&["TensorRT-managed allocation"]) {
        evidence.is(Engine::TensorRtLlm, line.number);
    }
    evidence.counts.cache_tokens = tokens.or(evidence.counts.cache_tokens);
}

fn near<'a>(line: Line<'_>, evidence: &'a mut Evidence) -> Option<&'a mut Failure> {
    let last = evidence.run.failures.last_mut()?;
    let same = matches!(last.kind, FailureKind::Allocation(_) | FailureKind::Build);
    (same && line.number.saturating_sub(last.line) <= NEAR).then_some(last)
}

/// What a failure that was told a few lines ago was of.
fn settle(line: Line<'_>, evidence: &mut Evidence, kind: FailureKind) {
    if let Some(failure) = near(line, evidence) {
        failure.kind = kind;
    }
}

/// Metal's refusals as MLX passes them on.
fn metal(line: Line<'_>, evidence: &mut Evidence) {
    if line.says(&["[METAL] Command buffer execution failed: Insufficient Memory"]) {
        evidence.fail(line.failure(FailureKind::Runtime));
    }
    let Some(rest) = after(line.text, "Attempting to allocate ") else { return };
    let most = number_after(rest, "maximum allowed buffer size of ");
    if let (Some((asked, _)), Some(most)) = (number(rest), most) {
        let exactly = |bytes| Printed::exactly(Bytes::new(bytes));
        let mut failure = line.failure(FailureKind::BufferLimit(exactly(most)));
        failure.asked = Some(exactly(asked));
        evidence.fail(failure);
    }
}
