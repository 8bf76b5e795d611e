//! What mends a cause by the figures of the log alone, where nothing can be planned.

mod engines;
mod llama_cpp;
mod shares;

use super::cause::{Cause, CauseKind, beside, decisive};
use super::evidence::{Around, Engine, Evidence, Failure, FailureKind, TorchError};
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
        CauseKind::MoreThanStates
        | CauseKind::DeviceFault
        | CauseKind::Unknown
        | CauseKind::None => Vec::new(),
    }
}

fn fragmentation(failure: &Failure) -> Vec<Remedy> {
    let error = match &failure.kind {
        FailureKind::Torch(error) => Some(&**error),
        _ => None,
    };
    if let Some(error) = error.filter(|error| error.is_old()) {
        return whole_blocks(error);
    }
    let kept = error.and_then(|error| error.unallocated).map(|kept| kept.bytes);
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

/// What `PyTorch` of before 2.1 has against pieces, which knows no segments that grow; and where others hold more than was
/// short, that.
fn whole_blocks(error: &TorchError) -> Vec<Remedy> {
    let flags = "PYTORCH_CUDA_ALLOC_CONF=max_split_size_mb:512";
    let text = format!(
        "`{flags}` keeps large blocks whole (from PyTorch 2.1 on, `expandable_segments:True` puts pieces together)"
    );
    let mut found = vec![remedy("larger-blocks", flags, Checked::Unchecked, text)];
    let short = error.asked.zip(error.free);
    let short = short.map(|(asked, free)| asked.bytes.minus_or_zero(free.bytes));
    if let Some(outside) = beside(error, short) {
        let text = format!("see in `nvidia-smi` what else holds the card: up to {outside}");
        found.push(remedy("end-others", "", Checked::Unchecked, text));
    }
    found
}

/// What `ComfyUI` can be told where it starts.
fn comfy_ui() -> Vec<Remedy> {
    let unchecked =
        |code, flags: &str, text: &str| remedy(code, flags, Checked::Unchecked, text.to_owned());
    vec![
        unchecked(
            "offload",
            "--lowvram",
            "`--lowvram`: parts of the models come to the card as they are used",
        ),
        unchecked(
            "headroom",
            "--reserve-vram 1",
            "`--reserve-vram 1` leaves 1 GiB more to what is not ComfyUI's",
        ),
        unchecked(
            "smaller-weights",
            "",
            "models in fewer bits (FP8, GGUF), or a smaller picture or batch, with which activations grow",
        ),
    ]
}

/// What pipelines of diffusers can be told.
fn diffusers() -> Vec<Remedy> {
    let unchecked =
        |code, flags: &str, text: &str| remedy(code, flags, Checked::Unchecked, text.to_owned());
    vec![
        unchecked(
            "offload",
            "pipe.enable_model_cpu_offload()",
            "`pipe.enable_model_cpu_offload()` instead of `pipe.to(\"cuda\")`: one model at a time is on the card",
        ),
        unchecked(
            "smaller-batch",
            "pipe.vae.enable_tiling()",
            "`pipe.vae.enable_tiling()`, or a smaller picture or batch, with which activations grow",
        ),
        unchecked(
            "smaller-weights",
            "torch_dtype=torch.float16",
            "weights in 16 bits or fewer (`torch_dtype=torch.float16`, a quantized transformer)",
        ),
    ]
}

/// What a Mac can be told, whose limit is a share of its own memory.
fn metal() -> Vec<Remedy> {
    let unchecked =
        |code, flags: &str, text: &str| remedy(code, flags, Checked::Unchecked, text.to_owned());
    vec![
        unchecked("smaller-batch", "", "a smaller batch or a shorter input"),
        unchecked(
            "empty-cache",
            "torch.mps.empty_cache()",
            "`torch.mps.empty_cache()` between steps gives back what was freed",
        ),
        unchecked(
            "smaller-weights",
            "torch_dtype=torch.float16",
            "weights in 16 bits (`torch_dtype=torch.float16`), where they are in 32",
        ),
        unchecked(
            "higher-limit",
            "PYTORCH_MPS_HIGH_WATERMARK_RATIO=0.0",
            "`PYTORCH_MPS_HIGH_WATERMARK_RATIO=0.0` lifts the limit: the machine swaps, and may stop",
        ),
    ]
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
    if matches!(&failure.kind, FailureKind::Torch(error) if error.metal) {
        return metal();
    }
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
        _ if evidence.around == Some(Around::ComfyUi) => comfy_ui(),
        _ if evidence.around == Some(Around::Diffusers) => diffusers(),
        _ if evidence.is_message_alone() => vec![
            unchecked(
                "other-share",
                "--gpu-memory-utilization",
                "of a server: a lower share (`--gpu-memory-utilization` of vLLM, `--mem-fraction-static` of SGLang), which leaves more beside its pool",
            ),
            unchecked(
                "smaller-batch",
                "",
                "of a script: a smaller batch, a shorter input, or weights in fewer bits",
            ),
        ],
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
