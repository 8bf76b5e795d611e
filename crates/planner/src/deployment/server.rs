//! What a question says of a server beside its limits; what a runtime has not is refused.

use std::num::NonZeroU32;

use super::{DeploymentError, Question};
use crate::dtype::WeightFormat;
use crate::estimate::rules;
use crate::spec::{
    Drafter, Gibibytes, Grid, LoraSlots, Media, MediaLimits, ModelSpec, Optimization, Runtime,
    Server, Split,
};
use crate::units::Bytes;

/// More adapters than any batch has.
const MOST_SLOTS: u64 = 4096;
/// More tokens than are ever predicted ahead.
const MOST_AHEAD: u64 = 64;
/// The longest block.
const MOST_BLOCK: u64 = 1 << 20;
/// More tokens than any captured step has.
const MOST_CAPTURED: u64 = 1 << 16;
/// More pixels than any image has.
const MOST_PIXELS: u64 = 1 << 31;
/// More ranks than any one kind of parallelism has.
const MOST_RANKS: u64 = 1024;

/// What a server is told.
///
/// # Errors
/// Where another runtime is told, a value is out of range, or kinds of parallelism do not make up the GPUs.
pub(super) fn server(
    question: &Question,
    (model, runtime): (&ModelSpec, Runtime),
    gpus: u64,
    split: Split,
) -> Result<Server, DeploymentError> {
    refuse_others(question, runtime)?;
    if !rules(runtime).is_server() {
        return Ok(Server::default());
    }
    if question.data_parallel_size.is_some_and(|copies| copies > 1)
        && !question.enable_dp_attention
        && rules(runtime).server_flags().contains(&"--enable-dp-attention")
    {
        return Err(DeploymentError::refused(
            "`--data-parallel-size` alone runs engines that share nothing: each is planned by itself",
            "drop it and plan one of them, or add `--enable-dp-attention`",
        ));
    }
    let ahead = ahead(question, (model, runtime))?;
    let size = |given: Option<Gibibytes>| given.map_or(Bytes::ZERO, |size| size.0);
    let grid = grid(question, gpus, split)?;
    Ok(Server {
        lora: lora(question)?,
        ahead,
        drafter: drafter(question),
        cpu_offload: size(question.cpu_offload_gb),
        kv_offload: size(question.kv_offloading_size),
        swap: question.swap_space.map(|size| size.0),
        optimization: optimization(question)?,
        cache_bytes: question.kv_cache_memory_bytes,
        block_tokens: block_tokens(question, rules(runtime).block_step())?,
        shares_prefixes: match (question.enable_prefix_caching, question.no_enable_prefix_caching) {
            (_, true) => Some(false),
            (true, false) => Some(true),
            (false, false) => None,
        },
        most_captured: in_range(
            "--max-cudagraph-capture-size",
            question.max_cudagraph_capture_size,
            MOST_CAPTURED,
        )?,
        context_ranks: context_ranks(question, model, grid.map_or(gpus, |grid| grid.tensor))?,
        grid,
    })
}

/// Refuses what the runtime has not.
fn refuse_others(question: &Question, runtime: Runtime) -> Result<(), DeploymentError> {
    let own = rules(runtime).server_flags();
    // Where drafts are loaded beside the model, how far they predict is said the same way.
    let is_of_draft = |flag: &str| {
        flag == "--draft-tokens" && question.draft.is_some() && rules(runtime).places_tensors()
    };
    let is_other = |flag: &&str| !own.contains(flag) && !is_of_draft(flag);
    let Some(flag) = given(question).find(is_other) else { return Ok(()) };
    let spreads = ["--tensor-parallel-size", "--pipeline-parallel-size"];
    let takes = |other: &&Runtime| rules(**other).server_flags().contains(&flag);
    let instead = if spreads.contains(&flag) {
        "say `--gpus N` and `--split tensor` or `layer`".to_owned()
    } else {
        let other = Runtime::ALL.iter().find(takes);
        let or = other.map(|other| format!(", or use `--runtime {other}`")).unwrap_or_default();
        format!("drop `{flag}`{or}")
    };
    Err(DeploymentError::refused(format!("the `{runtime}` runtime has no `{flag}`"), instead))
}

/// Bytes of an element of recurrent layers' states, where they are told.
pub(super) fn state_bytes(question: &Question) -> Result<Option<u64>, DeploymentError> {
    match question.mamba_ssm_cache_dtype {
        None => Ok(None),
        Some(WeightFormat::F32) => Ok(Some(4)),
        Some(WeightFormat::F16 | WeightFormat::Bf16) => Ok(Some(2)),
        Some(other) => Err(DeploymentError::refused(
            format!("`--mamba-ssm-cache-dtype {other}`: states are floats"),
            "use `float32`, `bfloat16` or `float16`",
        )),
    }
}

/// The flags of servers that were given.
pub(super) fn given(question: &Question) -> impl Iterator<Item = &'static str> {
    let flags = [
        ("--limit-mm-per-prompt", question.limit_mm_per_prompt.is_some()),
        ("--language-model-only", question.language_model_only),
        ("--skip-mm-profiling", question.skip_mm_profiling),
        ("--max-pixels", question.max_pixels.is_some()),
        ("--max-loras", question.max_loras.is_some()),
        ("--max-lora-rank", question.max_lora_rank.is_some()),
        ("--draft-tokens", question.draft_tokens.is_some()),
        ("--cpu-offload-gb", question.cpu_offload_gb.is_some()),
        ("--kv-offloading-size", question.kv_offloading_size.is_some()),
        ("--swap-space", question.swap_space.is_some()),
        ("--kv-cache-memory-bytes", question.kv_cache_memory_bytes.is_some()),
        ("--block-size", question.block_size.is_some()),
        ("--enable-prefix-caching", question.enable_prefix_caching),
        ("--no-enable-prefix-caching", question.no_enable_prefix_caching),
        ("--max-cudagraph-capture-size", question.max_cudagraph_capture_size.is_some()),
        ("--optimization-level", question.optimization_level.is_some()),
        ("--tensor-parallel-size", question.tensor_parallel_size.is_some()),
        ("--pipeline-parallel-size", question.pipeline_parallel_size.is_some()),
        ("--data-parallel-size", question.data_parallel_size.is_some()),
        ("--enable-expert-parallel", question.enable_expert_parallel),
        ("--decode-context-parallel-size", question.decode_context_parallel_size.is_some()),
        ("--enable-dp-attention", question.enable_dp_attention),
        ("--mamba-ssm-cache-dtype", question.mamba_ssm_cache_dtype.is_some()),
        ("--max-total-tokens", question.max_total_tokens.is_some()),
    ];
    flags.into_iter().filter(|(_, given)| *given).map(|(flag, _)| flag)
}

/// How many images and videos prompts may have: `--images` says the same of images, and that there are no videos.
pub(super) fn limits(question: &Question) -> MediaLimits {
    match (question.limit_mm_per_prompt, question.images) {
        _ if question.language_model_only => MediaLimits::NONE,
        (Some(limits), _) => limits,
        (None, images) => MediaLimits {
            images: images.map(|images| u16::try_from(images).unwrap_or(u16::MAX)),
            videos: images.map(|_| 0),
        },
    }
}

/// What of them a server encodes when it starts.
pub(super) fn media(question: &Question) -> Result<Media, DeploymentError> {
    let pixels = in_range("--max-pixels", question.max_pixels, MOST_PIXELS)?;
    Ok(Media {
        limits: limits(question),
        max_pixels: pixels.and_then(|pixels| NonZeroU32::new(u32::try_from(pixels).ok()?)),
        is_skipped: question.skip_mm_profiling,
    })
}

fn in_range(
    flag: &'static str,
    value: Option<u64>,
    most: u64,
) -> Result<Option<u64>, DeploymentError> {
    match value {
        Some(value) if !(1..=most).contains(&value) => {
            Err(DeploymentError::out_of_range(flag, value, format!("1 to {most}")))
        }
        value => Ok(value),
    }
}

fn optimization(question: &Question) -> Result<Optimization, DeploymentError> {
    Ok(match question.optimization_level {
        Some(0) => Optimization::None,
        Some(1) => Optimization::Pieces,
        None | Some(2 | 3) => Optimization::Whole,
        Some(level) => {
            return Err(DeploymentError::out_of_range("--optimization-level", level, "0 to 3"));
        }
    })
}

fn lora(question: &Question) -> Result<Option<LoraSlots>, DeploymentError> {
    let slots = in_range("--max-loras", question.max_loras, MOST_SLOTS)?;
    if slots.is_none() && question.max_lora_rank.is_none() {
        return Ok(None);
    }
    let rank = question.max_lora_rank.unwrap_or(LoraSlots::DEFAULT_RANK);
    if !LoraSlots::RANKS.contains(&rank) {
        let ranks: Vec<_> = LoraSlots::RANKS.iter().map(u64::to_string).collect();
        let expected = format!("one of {}", ranks.join(", "));
        return Err(DeploymentError::out_of_range("--max-lora-rank", rank, expected));
    }
    Ok(Some(LoraSlots { slots: slots.unwrap_or(LoraSlots::DEFAULT_SLOTS), rank }))
}

/// Tokens that are predicted ahead.
fn ahead(
    question: &Question,
    (model, runtime): (&ModelSpec, Runtime),
) -> Result<u64, DeploymentError> {
    let tokens = in_range("--draft-tokens", question.draft_tokens, MOST_AHEAD)?;
    match (&question.draft, question.mtp, tokens) {
        (Some(_), Some(_), _) => Err(DeploymentError::refused(
            format!("the `{runtime}` runtime predicts by `--draft` or by `--mtp`, not by both"),
            "drop one of them",
        )),
        (Some(_), None, None) => {
            let own = rules(runtime).tokens_ahead(model, drafter(question));
            own.ok_or_else(|| {
                DeploymentError::refused(
                    format!(
                        "`--draft` under `{runtime}` needs the number of tokens that are predicted ahead"
                    ),
                    "add `--draft-tokens 3`",
                )
            })
        }
        (None, None, Some(_)) => Err(DeploymentError::refused(
            "`--draft-tokens` says how far `--draft` predicts, and there is none",
            "add `--draft MODEL`, or use `--mtp N` for the model's own layer",
        )),
        (None, Some(_), Some(_)) => Err(DeploymentError::refused(
            "`--mtp` says itself how many tokens are predicted ahead",
            "drop `--draft-tokens`",
        )),
        (Some(_), None, Some(tokens)) => Ok(tokens),
        (None, Some(ahead), None) => Ok(in_range("--mtp", Some(ahead), MOST_AHEAD)?.unwrap_or(0)),
        (None, None, None) => Ok(0),
    }
}

/// What predicts.
fn drafter(question: &Question) -> Drafter {
    match question.draft.as_deref() {
        None => Drafter::Layer,
        Some(name) => Drafter::named(name).unwrap_or(Drafter::Model),
    }
}

fn block_tokens(question: &Question, step: u64) -> Result<Option<u64>, DeploymentError> {
    match in_range("--block-size", question.block_size, MOST_BLOCK)? {
        Some(tokens) if !tokens.is_multiple_of(step) => {
            let expected = format!("a multiple of {step}");
            Err(DeploymentError::out_of_range("--block-size", tokens, expected))
        }
        tokens => Ok(tokens),
    }
}

/// The GPUs that kinds of parallelism make up, where any is given.
pub(super) fn gpus(question: &Question) -> Option<u64> {
    // Copies of attention are among the ranks.
    let copies = question.data_parallel_size.filter(|_| !question.enable_dp_attention);
    let sizes = [question.tensor_parallel_size, question.pipeline_parallel_size, copies];
    let given = sizes.iter().any(Option::is_some);
    given.then(|| sizes.into_iter().flatten().fold(1, u64::saturating_mul))
}

/// How GPUs share layers, where more than `--split` is said of it.
fn grid(question: &Question, gpus: u64, split: Split) -> Result<Option<Grid>, DeploymentError> {
    let tensor = in_range("--tensor-parallel-size", question.tensor_parallel_size, MOST_RANKS)?;
    let stages = in_range("--pipeline-parallel-size", question.pipeline_parallel_size, MOST_RANKS)?;
    let copies = in_range("--data-parallel-size", question.data_parallel_size, MOST_RANKS)?;
    let whole_experts = question.enable_expert_parallel;
    if tensor.is_none() && stages.is_none() && copies.is_none() && !whole_experts {
        return Ok(None);
    }
    let copies = copies.unwrap_or(1);
    let tensor = if question.enable_dp_attention {
        Some(of_a_copy(tensor.unwrap_or(gpus / stages.unwrap_or(1).max(1)), copies)?)
    } else {
        tensor
    };
    let left = gpus / copies.max(1);
    let (tensor, stages) = match (tensor, stages) {
        (Some(tensor), Some(stages)) => (tensor, stages),
        (Some(tensor), None) => (tensor, 1),
        (None, Some(stages)) => ((left / stages.max(1)).max(1), stages),
        (None, None) if split == Split::Layer => (1, left.max(1)),
        (None, None) => (left.max(1), 1),
    };
    let grid = Grid { tensor, stages, copies, whole_experts };
    if grid.gpus() != gpus {
        let message = format!(
            "{tensor} ranks of tensor parallelism, {stages} stages and {copies} engines are {} GPUs, not {gpus}",
            grid.gpus()
        );
        return Err(DeploymentError::refused(message, "give sizes whose product is `--gpus`"));
    }
    Ok(Some(grid).filter(|grid| grid.gpus() > 1))
}

/// Ranks of each copy of attention.
fn of_a_copy(ranks: u64, copies: u64) -> Result<u64, DeploymentError> {
    if copies == 0 || !ranks.is_multiple_of(copies) {
        let expected = format!("a divisor of {ranks}, the ranks of `--tensor-parallel-size`");
        return Err(DeploymentError::out_of_range("--data-parallel-size", copies, expected));
    }
    Ok(ranks / copies)
}

/// Ranks that a cache is dealt out over: at most as many as have the same heads (`config/parallel.py`).
fn context_ranks(
    question: &Question,
    model: &ModelSpec,
    tensor: u64,
) -> Result<u64, DeploymentError> {
    let flag = "--decode-context-parallel-size";
    let Some(ranks) = in_range(flag, question.decode_context_parallel_size, MOST_RANKS)? else {
        return Ok(1);
    };
    let heads = if model.shape.mla.is_some() { 1 } else { model.shape.kv_heads.max(1) };
    let most = (tensor / heads).max(1);
    if ranks > most || !tensor.is_multiple_of(ranks) {
        let expected = format!(
            "a divisor of {tensor} ranks, at most {most}, for `{}` caches {heads} heads",
            model.name
        );
        return Err(DeploymentError::out_of_range(flag, ranks, expected));
    }
    Ok(ranks)
}
