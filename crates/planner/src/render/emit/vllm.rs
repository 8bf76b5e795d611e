//! Flags of `vllm serve` (`engine/arg_utils.py`, `EngineArgs.add_cli_args`; `config/cache.py`, `CacheDType`).

use std::fmt::Write as _;

use super::{batch, chunk, format_of_weights, longest};
use crate::deployment::Question;
use crate::dtype::{KvFormat, WeightFormat};
use crate::render::document::{Document, shown};
use crate::spec::{DraftKind, Drafter, Gibibytes, LoraSlots, MediaLimits, Split};
use crate::text::shell_word;
use crate::units::Bytes;

/// `auto` is the model's own type for weights and cache, but f16 for one in f32 (`EngineArgs.dtype`).
pub(super) fn settings(document: &Document) -> String {
    let asked = &document.deployment.resolved;
    let kv = match asked.kv.map(|kv| kv.keys) {
        Some(kv @ (KvFormat::Fp8 | KvFormat::Nvfp4 | KvFormat::PerTokenHead(_))) => kv.to_string(),
        _ => "auto".to_owned(),
    };
    let dtype = if format_of_weights(document) == Some(WeightFormat::F32) {
        "--dtype float32 "
    } else {
        ""
    };
    let length = longest(document);
    let gpus = document.devices.len();
    let is_mixed = asked.tensor_parallel_size.is_some()
        || asked.pipeline_parallel_size.is_some()
        || asked.data_parallel_size.is_some();
    let parallel = match asked.split {
        _ if is_mixed => String::new(),
        Some(Split::Tensor) => format!(" --tensor-parallel-size {gpus}"),
        Some(Split::Layer) => format!(" --pipeline-parallel-size {gpus}"),
        None => String::new(),
    };
    let images = asked
        .images
        .map(|images| format!(" --limit-mm-per-prompt '{{\"image\": {images}, \"video\": 0}}'"));
    let eager = if asked.enforce_eager { " --enforce-eager" } else { "" };
    format!(
        "--max-model-len {length} --max-num-seqs {} --max-num-batched-tokens {} \
         {dtype}--kv-cache-dtype {kv} --gpu-memory-utilization {}{parallel}{eager}{}{}\n",
        asked.max_seqs.unwrap_or_else(|| batch(document)),
        chunk(document),
        shown(asked.gpu_memory_utilization.as_ref()),
        images.unwrap_or_default(),
        server(asked),
    )
}

/// What a server is told besides, as `vllm serve` takes it.
fn server(asked: &Question) -> String {
    let mut flags = String::new();
    let gib = |size: Gibibytes| {
        // To the byte: sizes in GiB are fractions of two.
        #[allow(clippy::cast_precision_loss, reason = "below 2^53")]
        let bytes = size.0.get() as f64;
        (bytes / f64::from(1u32 << 30)).to_string()
    };
    let numbers = [
        ("--tensor-parallel-size", asked.tensor_parallel_size),
        ("--pipeline-parallel-size", asked.pipeline_parallel_size),
        ("--data-parallel-size", asked.data_parallel_size),
        ("--decode-context-parallel-size", asked.decode_context_parallel_size),
        ("--block-size", asked.block_size),
        ("--max-cudagraph-capture-size", asked.max_cudagraph_capture_size),
        ("--optimization-level", asked.optimization_level),
        ("--kv-cache-memory-bytes", asked.kv_cache_memory_bytes.map(Bytes::get)),
    ];
    for (flag, value) in numbers {
        if let Some(value) = value {
            let _ = write!(flags, " {flag} {value}");
        }
    }
    let sizes = [
        ("--cpu-offload-gb", asked.cpu_offload_gb),
        ("--kv-offloading-size", asked.kv_offloading_size),
        ("--swap-space", asked.swap_space),
    ];
    for (flag, value) in sizes {
        if let Some(value) = value {
            let _ = write!(flags, " {flag} {}", gib(value));
        }
    }
    flags.push_str(&media(asked));
    if asked.no_enable_prefix_caching {
        flags.push_str(" --no-enable-prefix-caching");
    } else if asked.enable_prefix_caching {
        flags.push_str(" --enable-prefix-caching");
    }
    if asked.enable_expert_parallel {
        flags.push_str(" --enable-expert-parallel");
    }
    if asked.max_loras.is_some() || asked.max_lora_rank.is_some() {
        let slots = asked.max_loras.unwrap_or(LoraSlots::DEFAULT_SLOTS);
        let rank = asked.max_lora_rank.unwrap_or(LoraSlots::DEFAULT_RANK);
        let _ = write!(flags, " --enable-lora --max-loras {slots} --max-lora-rank {rank}");
    }
    if let Some(told) = speculative(asked).map(|told| told.to_string())
        && let Some(word) = shell_word(&told)
    {
        let _ = write!(flags, " --speculative-config {word}");
    }
    flags
}

/// What prompts may have beside text, in the words of every release.
fn media(asked: &Question) -> String {
    let mut flags = String::new();
    let limits =
        if asked.language_model_only { Some(MediaLimits::NONE) } else { asked.limit_mm_per_prompt };
    let named = limits.map(|limits| [("image", limits.images), ("video", limits.videos)]);
    let given = named.into_iter().flatten();
    let given = given.filter_map(|(name, limit)| Some(format!("\"{name}\": {}", limit?)));
    let given = given.collect::<Vec<_>>().join(", ");
    if !given.is_empty() {
        let _ = write!(flags, " --limit-mm-per-prompt '{{{given}}}'");
    }
    if asked.skip_mm_profiling {
        flags.push_str(" --skip-mm-profiling");
    }
    if let Some(pixels) = asked.max_pixels {
        let _ = write!(flags, " --mm-processor-kwargs '{{\"max_pixels\": {pixels}}}'");
    }
    flags
}

/// `--speculative-config`.
fn speculative(asked: &Question) -> Option<serde_json::Value> {
    if let Some(ahead) = asked.mtp {
        return Some(serde_json::json!({"method": "mtp", "num_speculative_tokens": ahead}));
    }
    let name = asked.draft.as_deref()?;
    let (method, model) = match Drafter::named(name) {
        Some(Drafter::Eagle) => ("eagle", "PATH-OF-THE-HEAD"),
        Some(Drafter::Eagle3) => ("eagle3", "PATH-OF-THE-HEAD"),
        Some(Drafter::Published(draft)) => match draft.shape().kind {
            DraftKind::Block { .. } => ("dflash", name),
            DraftKind::Assistant { .. } => ("mtp", name),
        },
        Some(Drafter::Lookup) => {
            let ahead = asked.draft_tokens;
            return Some(serde_json::json!({"method": "ngram", "num_speculative_tokens": ahead}));
        }
        // What was asked for is not known here.
        Some(Drafter::Unknown) => return None,
        Some(Drafter::Layer | Drafter::Model) | None => ("draft_model", name),
    };
    Some(serde_json::json!({
        "method": method, "model": model, "num_speculative_tokens": asked.draft_tokens,
    }))
}
