//! What mends a cache that ran full, main memory that ran out, and what engines that are not planned say of themselves:
//! settings only that their own messages or documents name.

use super::remedy;
use crate::why::evidence::{Engine, Evidence, Failure, FailureKind, Killer, TermKind};
use crate::why::remedy::{Checked, Remedy};
use crate::why::sayings::Setting;
use crate::why::scan::number;

fn unchecked(code: &'static str, flags: &str, text: &str) -> Remedy {
    remedy(code, flags, Checked::Unchecked, text.to_owned())
}

/// What the kind of the failure, or the engine, says by itself.
pub(super) fn remedies(evidence: &Evidence, failure: &Failure) -> Option<Vec<Remedy>> {
    let engine = evidence.engine.map(|(engine, _)| engine);
    Some(match &failure.kind {
        FailureKind::Warmup { of_cache, .. } => warmup(*of_cache),
        FailureKind::Woken => vec![
            unchecked(
                "end-others",
                "",
                "free what was taken while it slept (of PyTorch: `torch.cuda.empty_cache()`) before it is woken",
            ),
            unchecked(
                "other-share",
                "--gpu-memory-utilization",
                "a lower `--gpu-memory-utilization`: it has less to get back",
            ),
        ],
        FailureKind::Profiled(..) => {
            vec![unchecked(
                "end-others",
                "",
                "start it again when nothing else on the card starts or ends",
            )]
        }
        FailureKind::Unbalanced(_) => {
            vec![unchecked(
                "end-others",
                "",
                "end what else holds the card with less room (see `nvidia-smi`), or choose cards of one size with `CUDA_VISIBLE_DEVICES`",
            )]
        }
        FailureKind::BufferLimit(_) if failure.text.contains("buffer 'data'") => vec![
            unchecked(
                "newer-build",
                "",
                "a newer build of llama.cpp, which splits weights into several buffers",
            ),
            unchecked("smaller-weights", "", "a smaller file: weights in fewer bits"),
        ],
        FailureKind::BufferLimit(_) => vec![unchecked(
            "shorter-context",
            "",
            "a shorter prompt, or a smaller step of prefill: the buffer grows with both",
        )],
        FailureKind::Build => vec![
            unchecked(
                "smaller-batch",
                "--max_batch_size",
                "a smaller `--max_batch_size` or `--max_num_tokens` where the engine is built",
            ),
            unchecked(
                "smaller-weights",
                "",
                "weights in fewer bits, or an engine for several cards (`--tp_size`)",
            ),
        ],
        FailureKind::MoreThanStates { states: Some(states), .. } => vec![remedy(
            "fewer-sequences",
            format!("--max-num-seqs {states}"),
            Checked::ByLog,
            format!("`--max-num-seqs {states}`, for each of which the cache has a block"),
        )],
        FailureKind::Split => exllama(),
        FailureKind::NoCard { .. } => no_card(),
        FailureKind::Collectives => collectives(engine),
        FailureKind::NoSlots { .. } => vec![unchecked(
            "fewer-sequences",
            "--max-running-requests",
            "a smaller `--max-running-requests`, as the message says: fewer requests are begun together",
        )],
        FailureKind::LayersOnHost { .. } => layers_on_host(evidence),
        FailureKind::PartlyOffloaded => {
            vec![unchecked(
                "smaller-weights",
                "load_in_4bit=True",
                "weights in fewer bits (`load_in_4bit=True`), which leaves none of them on the host",
            )]
        }
        _ => return of_engine(engine?),
    })
}

/// What lets Ollama see a card.
fn no_card() -> Vec<Remedy> {
    vec![
        unchecked(
            "driver",
            "nvidia-smi",
            "see that the driver lists the card where Ollama runs (`nvidia-smi`, `rocminfo`), and restart Ollama after it was loaded",
        ),
        unchecked(
            "container",
            "--gpus all",
            "give a container the card: `docker run --gpus all` with NVIDIA's container toolkit, `--device /dev/kfd --device /dev/dri` for ROCm",
        ),
    ]
}

/// What leaves more of every card beside the engine's share.
fn collectives(engine: Option<Engine>) -> Vec<Remedy> {
    let flags = match engine {
        Some(Engine::Vllm) => "--gpu-memory-utilization",
        Some(Engine::Sglang) => "--mem-fraction-static",
        Some(Engine::TensorRtLlm) => "kv_cache_free_gpu_mem_fraction",
        _ => "",
    };
    let text = if flags.is_empty() {
        "a smaller batch, cache or share of the engine: it leaves more of every card to NCCL"
            .to_owned()
    } else {
        format!("a lower `{flags}` leaves more of every card to NCCL")
    };
    let share = unchecked("other-share", flags, &text);
    let others = unchecked("end-others", "", "see in `nvidia-smi` what else holds the cards");
    vec![share, others]
}

/// What leaves more of the card to layers, in Ollama's words.
fn layers_on_host(evidence: &Evidence) -> Vec<Remedy> {
    let shorter = match evidence.run.question.cache_tokens.map(|tokens| tokens / 2) {
        Some(half) if half > 0 => format!("num_ctx {half}"),
        _ => "num_ctx".to_owned(),
    };
    let text =
        format!("a shorter context (`{shorter}`): its keys and values take room from layers");
    let quantized = "OLLAMA_FLASH_ATTENTION=1 OLLAMA_KV_CACHE_TYPE=q8_0";
    vec![
        unchecked("shorter-context", &shorter, &text),
        unchecked(
            "smaller-cache-type",
            quantized,
            &format!("`{quantized}` stores keys and values in 8.5 bits instead of 16"),
        ),
        unchecked("smaller-weights", "", "a smaller model, or a tag of it in fewer bits"),
    ]
}

/// Engines of which nothing more is known than that the card was full.
fn of_engine(engine: Engine) -> Option<Vec<Remedy>> {
    Some(match engine {
        Engine::Tgi => {
            let mut found = warmup(true);
            found.push(unchecked(
                "other-share",
                "--cuda-memory-fraction",
                "a lower `--cuda-memory-fraction` leaves more beside what it takes for its cache",
            ));
            found
        }
        Engine::TensorRtLlm => vec![
            unchecked(
                "other-share",
                "kv_cache_free_gpu_mem_fraction",
                "a lower `kv_cache_free_gpu_mem_fraction`, which is 0.9 of what is free unless told otherwise",
            ),
            unchecked(
                "smaller-batch",
                "--max_batch_size",
                "an engine that is built with a smaller `--max_batch_size` or `--max_num_tokens`: its buffers are as large as these allow",
            ),
        ],
        Engine::ExLlama => exllama(),
        Engine::LmDeploy => vec![
            unchecked(
                "other-share",
                "--cache-max-entry-count",
                "a lower `--cache-max-entry-count`, such as 0.4: the share of what is free that the cache takes",
            ),
            unchecked("shorter-context", "--session-len", "a shorter `--session-len`"),
        ],
        Engine::Mlx => vec![unchecked(
            "shorter-context",
            "",
            "a shorter prompt, or weights in fewer bits: the memory is the machine's, and other programs hold some of it",
        )],
        _ => return None,
    })
}

fn warmup(of_cache: bool) -> Vec<Remedy> {
    let total = unchecked(
        "smaller-cache",
        "--max-batch-total-tokens",
        "a smaller `--max-batch-total-tokens`: it is what its cache holds",
    );
    let prefill = unchecked(
        "smaller-batch",
        "--max-batch-prefill-tokens",
        "a smaller `--max-batch-prefill-tokens`: a pass computes as many at once",
    );
    let weights = unchecked(
        "smaller-weights",
        "--quantize",
        "weights in fewer bits (`--quantize`), or more cards (`--num-shard`)",
    );
    let first = if of_cache { [total, prefill] } else { [prefill, total] };
    first.into_iter().chain([weights]).collect()
}

fn exllama() -> Vec<Remedy> {
    vec![
        unchecked(
            "shorter-context",
            "max_seq_len",
            "a shorter context (`max_seq_len`, `cache_size`), or a quantized cache (`cache_mode`)",
        ),
        unchecked("smaller-weights", "", "a model in fewer bits per weight"),
        unchecked("end-others", "", "see in `nvidia-smi` what else holds the card"),
    ]
}

pub(super) fn cache_full(evidence: &Evidence) -> Vec<Remedy> {
    match evidence.engine.map(|(engine, _)| engine) {
        Some(Engine::Sglang) => vec![
            unchecked(
                "fewer-sequences",
                "--max-running-requests",
                "a smaller `--max-running-requests`, or a higher `--schedule-conservativeness`: fewer run at once",
            ),
            unchecked(
                "other-share",
                "--mem-fraction-static",
                "a larger `--mem-fraction-static`, where passes leave room: the pool holds more tokens",
            ),
            unchecked(
                "smaller-cache-type",
                "--kv-cache-dtype fp8_e4m3",
                "`--kv-cache-dtype fp8_e4m3`: twice the tokens in the same pool",
            ),
        ],
        Some(Engine::Vllm) => vec![
            unchecked(
                "fewer-sequences",
                "--max-num-seqs",
                "a smaller `--max-num-seqs`: fewer run at once",
            ),
            unchecked(
                "other-share",
                "--gpu-memory-utilization",
                "a larger `--gpu-memory-utilization`, where the card has room: the pool holds more tokens",
            ),
        ],
        engine => {
            let engine = engine.unwrap_or(Engine::LlamaCpp);
            let cells = evidence.run.question.cache_tokens.map(|cells| cells.saturating_mul(2));
            let longer = cells.and_then(|cells| Setting::Context(cells).of(engine));
            let flags = longer.unwrap_or_else(|| "-c".to_owned());
            let text = format!("a longer context (`{flags}`), where the card has room for it");
            let mut found = vec![remedy("longer-context", flags, Checked::Unchecked, text)];
            if let Some(flags) = Setting::OneSlot.of(engine) {
                let text = format!("`{flags}`: one slot has all of it");
                found.push(remedy("one-slot", flags, Checked::Unchecked, text));
            }
            found
        }
    }
}

/// The first build that keeps prompts in main memory (#16391, October 2025).
const KEEPS_PROMPTS: u64 = 6_718;

fn keeps_prompts(evidence: &Evidence) -> bool {
    let version = evidence.version.as_deref().unwrap_or_default();
    let build = version.strip_prefix('b').and_then(number).map(|(build, _)| build);
    evidence.run.is_old != Some(true) && build.is_none_or(|build| build >= KEEPS_PROMPTS)
}

pub(super) fn main_memory(evidence: &Evidence, failure: &Failure) -> Vec<Remedy> {
    let engine = evidence.engine.map(|(engine, _)| engine);
    let mut found = Vec::new();
    if let FailureKind::HostKilled(killed) = &failure.kind
        && killed.by == Killer::Ray
    {
        found.push(unchecked("fewer-workers", "", "fewer workers on the node, or more memory for it: each reads the weights through main memory"));
        found.push(unchecked("later", "RAY_memory_usage_threshold", "a higher `RAY_memory_usage_threshold` lets the node fill further, at the risk that the kernel ends something itself"));
        return found;
    }
    if let FailureKind::HostAllocation(Some(TermKind::Cache)) = failure.kind {
        let cells = evidence.run.question.cache_tokens.map(|cells| (cells / 2).max(1));
        let engine = engine.unwrap_or(Engine::LlamaCpp);
        let flags = cells.and_then(|cells| Setting::Context(cells).of(engine));
        let flags = flags.unwrap_or_else(|| "-c".to_owned());
        let text = format!("a shorter context (`{flags}`): keys and values grow with it");
        found.push(remedy("shorter-context", flags, Checked::Unchecked, text));
    }
    match engine {
        Some(Engine::LlamaCpp) => {
            found.push(unchecked("more-on-the-card", "-ngl", "more layers on the card (`-ngl`), where it has room, or a smaller file"));
            if keeps_prompts(evidence) {
                found.push(unchecked("no-prompt-cache", "--cache-ram 0", "`--cache-ram 0`: llama-server keeps prompts in main memory, 8 GiB unless told otherwise"));
            }
        }
        Some(Engine::Ollama) => {
            found.push(unchecked("smaller-weights", "", "a smaller model or tag, or a smaller `num_ctx`"));
        }
        _ => found.push(unchecked("more-memory", "", "more memory for the process (a container's limit, `--shm-size`, swap), or weights that are read without a copy (safetensors, `low_cpu_mem_usage=True`)")),
    }
    found
}
