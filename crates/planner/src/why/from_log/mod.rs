//! What mends a cause by the figures of the log alone, where nothing can be planned.

mod engines;
mod llama_cpp;
mod shares;

use super::cause::{Cause, CauseKind, decisive};
use super::evidence::{Engine, Evidence, Failure, FailureKind};
use super::remedy::{Checked, Remedy};
use crate::dtype::WeightFormat;
use crate::units::Bytes;

fn remedy(code: &'static str, flags: impl Into<String>, checked: Checked, text: String) -> Remedy {
    Remedy { code, flags: flags.into(), frees: None, checked, text }
}

/// The remedies of a cause.
pub fn remedies(evidence: &Evidence, cause: &Cause) -> Vec<Remedy> {
    let Some(failure) = decisive(evidence) else { return Vec::new() };
    if let Some(found) = engines::remedies(evidence, failure) {
        return found;
    }
    match cause.kind {
        CauseKind::Allocation if matches!(failure.kind, FailureKind::Torch(_)) => vec![remedy(
            "end-others",
            "",
            Checked::Unchecked,
            "see in `nvidia-smi` what else holds the card while it runs, and try again".to_owned(),
        )],
        CauseKind::Fragmentation => fragmentation(failure),
        CauseKind::OtherProcesses => others(evidence),
        CauseKind::Request => vec![remedy(
            "no-score-matrix",
            "attn_implementation=\"sdpa\"",
            Checked::Unchecked,
            "`attn_implementation=\"sdpa\"` (or flash attention), a shorter input or a smaller batch: eager attention holds a matrix of the context's square".to_owned(),
        )],
        CauseKind::CacheFull => engines::cache_full(evidence),
        CauseKind::CardFull => card_full(evidence, failure),
        CauseKind::NoCache => shares::no_cache(evidence, cause),
        CauseKind::ContextTooLong => shares::context(evidence, failure),
        CauseKind::ShareNotFree => shares::share(evidence, failure),
        CauseKind::StaticShare => shares::static_share(evidence),
        CauseKind::GraphCapture => shares::capture(evidence, cause),
        CauseKind::Offloaded => offloaded(evidence),
        CauseKind::MainMemory => engines::main_memory(evidence, failure),
        CauseKind::Weights
        | CauseKind::Cache
        | CauseKind::Compute
        | CauseKind::Encoder
        | CauseKind::Allocation
        | CauseKind::Unfit => llama_cpp::llama(evidence, cause, failure),
        CauseKind::MoreThanStates | CauseKind::DeviceFault | CauseKind::None => Vec::new(),
    }
}

fn fragmentation(failure: &Failure) -> Vec<Remedy> {
    let kept = match &failure.kind {
        FailureKind::Torch(error) => error.unallocated.map(|kept| kept.bytes),
        _ => None,
    };
    let flags = "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True";
    let text = format!(
        "`{flags}` lets PyTorch put pieces together: what it keeps unused is more than was asked for"
    );
    let sure = kept.zip(failure.asked).is_some_and(|(kept, asked)| kept >= asked.bytes);
    let checked = if sure { Checked::ByLog } else { Checked::Unchecked };
    let text = if sure { text } else { format!("`{flags}` loses less between pieces") };
    vec![Remedy {
        frees: kept.filter(|_| sure),
        ..remedy("expandable-segments", flags, checked, text)
    }]
}

fn others(evidence: &Evidence) -> Vec<Remedy> {
    let mut holders: Vec<_> = evidence.holders.iter().collect();
    holders.sort_by_key(|holder| std::cmp::Reverse(holder.size));
    let named: Vec<String> = holders
        .iter()
        .take(3)
        .map(|holder| {
            let name = holder.name.as_deref().unwrap_or("process");
            let pid = holder.pid.map(|pid| format!(" {pid}")).unwrap_or_default();
            format!("{name}{pid} ({})", holder.size)
        })
        .collect();
    let who =
        if named.is_empty() { "what else holds the card".to_owned() } else { named.join(", ") };
    let frees = Bytes::sum(holders.iter().map(|holder| holder.size)).ok();
    let text = format!("end {who}: without it the request fits");
    vec![Remedy { frees, ..remedy("end-others", "", Checked::ByLog, text) }]
}

fn card_full(evidence: &Evidence, failure: &Failure) -> Vec<Remedy> {
    let engine = evidence.engine.map(|(engine, _)| engine);
    let unchecked =
        |code, flags: &str, text: &str| remedy(code, flags, Checked::Unchecked, text.to_owned());
    let sampler = matches!(failure.kind, FailureKind::Sampler(_));
    match engine {
        Some(Engine::Vllm) if sampler => vec![
            unchecked(
                "fewer-sequences",
                "--max-num-seqs 64",
                "`--max-num-seqs 64`: the sampler is tried with as many requests as may run",
            ),
            unchecked(
                "other-share",
                "--gpu-memory-utilization",
                "a lower `--gpu-memory-utilization` leaves more beside vLLM's share",
            ),
        ],
        Some(Engine::Vllm) => vec![
            unchecked(
                "other-share",
                "--gpu-memory-utilization",
                "a lower `--gpu-memory-utilization` leaves more beside vLLM's share, for what is allocated outside of it",
            ),
            unchecked(
                "fewer-sequences",
                "--max-num-seqs 64",
                "`--max-num-seqs 64` and a smaller `--max-num-batched-tokens`: what the sampler and a step need grows with them",
            ),
        ],
        Some(Engine::Sglang) => vec![unchecked(
            "other-share",
            "--mem-fraction-static",
            "a lower `--mem-fraction-static` or `--chunked-prefill-size`: passes run in what the static share leaves",
        )],
        Some(Engine::Ollama) => vec![unchecked(
            "shorter-context",
            "num_ctx",
            "a smaller `num_ctx`, or fewer layers on the card (`num_gpu`)",
        )],
        Some(Engine::LmStudio) => vec![unchecked(
            "shorter-context",
            "Context Length",
            "a smaller Context Length, or less GPU Offload",
        )],
        Some(Engine::KoboldCpp) => vec![unchecked(
            "headroom",
            "--gpulayers",
            "one layer less on the card (`--gpulayers`), or a smaller `--contextsize` or `--blasbatchsize`: pools grow while passes run",
        )],
        Some(Engine::LlamaCpp) => vec![unchecked(
            "headroom",
            "-ngl",
            "one layer less on the card (`-ngl`), or a smaller `-c` or `-ub`: pools grow while passes run",
        )],
        _ => vec![
            unchecked("smaller-batch", "", "a smaller batch or a shorter input"),
            unchecked(
                "smaller-weights",
                "load_in_4bit=True",
                "weights in fewer bits (`load_in_4bit=True`), where they are what fills the card",
            ),
        ],
    }
}

fn offloaded(evidence: &Evidence) -> Vec<Remedy> {
    let four_bits = matches!(evidence.run.question.weights, Some(WeightFormat::Nf4 { .. }));
    let (flags, smaller) = if four_bits {
        ("", "a smaller model, or a larger card")
    } else {
        ("load_in_4bit=True", "`load_in_4bit=True` instead of 8 bits, or a smaller model")
    };
    let unchecked =
        |code, flags: &str, text: &str| remedy(code, flags, Checked::Unchecked, text.to_owned());
    vec![
        unchecked("smaller-weights", flags, smaller),
        unchecked(
            "whole-card",
            "device_map={\"\": 0}",
            "`device_map={\"\": 0}`, where the weights do fit and accelerate is only careful",
        ),
        unchecked(
            "offload",
            "llm_int8_enable_fp32_cpu_offload=True",
            "`llm_int8_enable_fp32_cpu_offload=True` with a `device_map` of your own: those modules stay in 32 bits on the CPU",
        ),
    ]
}
