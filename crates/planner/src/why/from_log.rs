//! What mends a cause by the figures of the log alone, where nothing can be planned.

use super::Printed;
use super::cause::{Cause, CauseKind, decisive, reserved, thousandths};
use super::evidence::{Engine, Evidence, Failure, FailureKind, TermKind};
use super::remedy::{Checked, Remedy};
use crate::dtype::WeightFormat;
use crate::units::Bytes;

/// Shares of a card above this leave nothing for what is outside of them.
const MOST_SHARE: u64 = 970;

fn remedy(code: &'static str, flags: impl Into<String>, checked: Checked, text: String) -> Remedy {
    Remedy { code, flags: flags.into(), frees: None, checked, text }
}

/// The remedies of a cause.
pub fn remedies(evidence: &Evidence, cause: &Cause) -> Vec<Remedy> {
    let Some(failure) = decisive(evidence) else { return Vec::new() };
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
        CauseKind::CardFull => card_full(evidence),
        CauseKind::NoCache => no_cache(evidence, cause),
        CauseKind::ContextTooLong => context(evidence, failure),
        CauseKind::ShareNotFree => share(evidence, failure),
        CauseKind::StaticShare => static_share(evidence),
        CauseKind::GraphCapture => capture(evidence, cause),
        CauseKind::Offloaded => offloaded(evidence),
        CauseKind::MainMemory => main_memory(evidence),
        CauseKind::Weights
        | CauseKind::Cache
        | CauseKind::Compute
        | CauseKind::Encoder
        | CauseKind::Allocation
        | CauseKind::Unfit => llama(evidence, cause, failure),
        CauseKind::DeviceFault | CauseKind::None => Vec::new(),
    }
}

fn fragmentation(failure: &Failure) -> Vec<Remedy> {
    let kept = match &failure.kind {
        FailureKind::Torch(error) => error.unallocated.map(|kept| kept.bytes),
        _ => None,
    };
    let flags = "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True";
    let text = format!("`{flags}` lets PyTorch put pieces together: what it keeps unused is more than was asked for");
    let sure = kept.zip(failure.asked).is_some_and(|(kept, asked)| kept >= asked.bytes);
    let checked = if sure { Checked::ByLog } else { Checked::Unchecked };
    let text = if sure { text } else { format!("`{flags}` loses less between pieces") };
    vec![Remedy { frees: kept.filter(|_| sure), ..remedy("expandable-segments", flags, checked, text) }]
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
    let who = if named.is_empty() { "what else holds the card".to_owned() } else { named.join(", ") };
    let frees = Bytes::sum(holders.iter().map(|holder| holder.size)).ok();
    let text = format!("end {who}: without it the request fits");
    vec![Remedy { frees, ..remedy("end-others", "", Checked::ByLog, text) }]
}

fn card_full(evidence: &Evidence) -> Vec<Remedy> {
    let engine = evidence.engine.map(|(engine, _)| engine);
    let unchecked = |code, flags: &str, text: &str| remedy(code, flags, Checked::Unchecked, text.to_owned());
    match engine {
        Some(Engine::Vllm) => vec![
            unchecked("other-share", "--gpu-memory-utilization", "a lower `--gpu-memory-utilization` leaves more beside vLLM's share, for what is allocated outside of it"),
            unchecked("fewer-sequences", "--max-num-seqs 64", "`--max-num-seqs 64` and a smaller `--max-num-batched-tokens`: what the sampler and a step need grows with them"),
        ],
        Some(Engine::Sglang) => vec![unchecked(
            "other-share",
            "--mem-fraction-static",
            "a lower `--mem-fraction-static` or `--chunked-prefill-size`: passes run in what the static share leaves",
        )],
        Some(Engine::Ollama) => vec![unchecked("shorter-context", "num_ctx", "a smaller `num_ctx`, or fewer layers on the card (`num_gpu`)")],
        Some(Engine::LmStudio) => vec![unchecked("shorter-context", "Context Length", "a smaller Context Length, or less GPU Offload")],
        Some(Engine::LlamaCpp) => vec![unchecked(
            "headroom",
            "-ngl",
            "one layer less on the card (`-ngl`), or a smaller `-c` or `-ub`: pools grow while passes run",
        )],
        _ => vec![
            unchecked("smaller-batch", "", "a smaller batch or a shorter input"),
            unchecked("smaller-weights", "load_in_4bit=True", "weights in fewer bits (`load_in_4bit=True`), where they are what fills the card"),
        ],
    }
}

/// A share of the card by which so much more is taken, in hundredths rounded up.
fn share_for(evidence: &Evidence, more: Bytes) -> Option<u64> {
    let now = thousandths(&evidence.run.question.gpu_memory_utilization?.to_string())?;
    let total = evidence.cards.iter().find_map(|card| card.total).filter(|total| !total.is_zero())?;
    let more = Bytes::new(1000).scale(more.get(), total.get()).ok()?.get();
    Some((now + more + 1).div_ceil(10) * 10)
}

/// `0.95` of 950 thousandths.
fn shown(thousandths: u64) -> String {
    let text = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn no_cache(evidence: &Evidence, cause: &Cause) -> Vec<Remedy> {
    let mut found = Vec::new();
    let share = cause.short_by.and_then(|short| share_for(evidence, short));
    if let Some(share) = share.filter(|share| *share <= MOST_SHARE) {
        let share = shown(share);
        let flags = format!("--gpu-memory-utilization {share}");
        let text = format!("`{flags}` covers what is missing, and little of a cache: more is better");
        found.push(remedy("other-share", flags, Checked::ByLog, text));
    }
    for (code, flags, text) in [
        ("other-share", "--gpu-memory-utilization 0.95", "a larger share, where nothing else is on the card"),
        ("smaller-batch", "--max-num-batched-tokens 2048", "smaller steps and `--max-num-seqs 64`: the profile run's peak grows with them"),
        ("no-graphs", "--enforce-eager", "no graphs, which newer versions take out of the share"),
        ("smaller-weights", "", "weights in fewer bits (AWQ, GPTQ, FP8), or `--tensor-parallel-size 2`"),
    ] {
        if !found.iter().any(|known| known.code == code) {
            let shown = if flags.is_empty() { text.to_owned() } else { format!("`{flags}`: {text}") };
            found.push(remedy(code, flags, Checked::Unchecked, shown));
        }
    }
    found
}

fn context(evidence: &Evidence, failure: &Failure) -> Vec<Remedy> {
    let FailureKind::ContextTooLong { needs, has, longest, context } = &failure.kind else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let proportional = || {
        let (needs, has, context) = ((*needs)?, (*has)?, (*context)?);
        let tokens = Bytes::new(context).scale(has.bytes.get(), needs.bytes.get().max(1)).ok()?;
        Some(tokens.get() / 16 * 16)
    };
    let said = longest.filter(|longest| *longest > 0);
    if let Some(tokens) = said.or_else(proportional).filter(|tokens| *tokens > 0) {
        let flags = format!("--max-model-len {tokens}");
        let who = if said.is_some() { "vLLM's own estimate" } else { "the cache grows with the length" };
        found.push(remedy("shorter-context", flags.clone(), Checked::ByLog, format!("`{flags}`: {who}")));
    }
    if let (Some(needs), Some(has)) = (needs, has) {
        let half = Bytes::new(needs.bytes.get() / 2);
        let is_16_bit = evidence.run.question.kv.is_none();
        if is_16_bit && half <= has.bytes {
            let flags = "--kv-cache-dtype fp8";
            let text = format!("`{flags}` halves what the request needs to {half}, which fits");
            found.push(Remedy { frees: Some(half), ..remedy("smaller-cache-type", flags, Checked::ByLog, text) });
        }
        let more = needs.bytes.minus_or_zero(has.bytes);
        if let Some(share) = share_for(evidence, more).filter(|share| *share <= MOST_SHARE) {
            let flags = format!("--gpu-memory-utilization {}", shown(share));
            let text = format!("`{flags}` gives the cache the {more} that it lacks, if they are free");
            found.push(remedy("other-share", flags, Checked::ByLog, text));
        }
    }
    found
}

fn share(evidence: &Evidence, failure: &Failure) -> Vec<Remedy> {
    let FailureKind::ShareNotFree { free, total, .. } = &failure.kind else { return Vec::new() };
    let mut found = Vec::new();
    let hundredths = Bytes::new(100).scale(free.bytes.get(), total.bytes.get().max(1));
    let hundredths = hundredths.map_or(0, Bytes::get);
    if hundredths > 2 {
        let flags = format!("--gpu-memory-utilization {}", shown((hundredths - 1) * 10));
        let text = format!("`{flags}` takes what is free; whether weights and cache fit that, a plan says");
        found.push(remedy("other-share", flags, Checked::ByLog, text));
    }
    let held = total.bytes.minus_or_zero(free.bytes);
    let _ = evidence;
    let text = format!("end what else holds the card ({held}, see `nvidia-smi`)");
    found.push(Remedy { frees: Some(held), ..remedy("end-others", "", Checked::ByLog, text) });
    found
}

fn static_share(evidence: &Evidence) -> Vec<Remedy> {
    let mut found = Vec::new();
    if let (Some(before), Some(after)) = (evidence.counts.free_before, evidence.counts.free_after) {
        let rest = Bytes::new(1000).scale(after.bytes.get(), before.bytes.get().max(1));
        let least = 1000u64.saturating_sub(rest.map_or(0, Bytes::get));
        // A cache of nothing starts no server: two hundredths more.
        let share = (least + 20).div_ceil(10) * 10;
        if share <= 950 {
            let flags = format!("--mem-fraction-static {}", shown(share));
            let text = format!(
                "`{flags}` or more: weights fill {} of the card; what is left out is for passes and graphs",
                shown(least)
            );
            found.push(remedy("other-share", flags, Checked::ByLog, text));
        }
    } else {
        let flags = "--mem-fraction-static";
        let text = format!("a larger `{flags}`: it counts weights and cache, and what it leaves is for passes and graphs");
        found.push(remedy("other-share", flags, Checked::Unchecked, text));
    }
    let text = "weights in fewer bits, or more cards (`--tp 2`), where no share has room".to_owned();
    found.push(remedy("smaller-weights", "", Checked::Unchecked, text));
    found
}

fn capture(evidence: &Evidence, cause: &Cause) -> Vec<Remedy> {
    let mut found = Vec::new();
    let total = evidence.cards.iter().find_map(|card| card.total);
    let now = evidence.static_share.as_deref().and_then(thousandths);
    if let (Some(short), Some(total), Some(now)) = (cause.short_by, total, now) {
        let less = Bytes::new(1000).scale(short.get(), total.get().max(1)).map_or(0, Bytes::get);
        let share = now.saturating_sub(less + 10) / 10 * 10;
        if share > 0 && reserved(total, &shown(share)).is_some() {
            let flags = format!("--mem-fraction-static {}", shown(share));
            let text = format!("`{flags}` leaves {short} more beside weights and cache");
            found.push(Remedy { frees: Some(short), ..remedy("other-share", flags, Checked::ByLog, text) });
        }
    } else {
        let flags = "--mem-fraction-static";
        found.push(remedy("other-share", flags, Checked::Unchecked, format!("a lower `{flags}`")));
    }
    let flags = "--cuda-graph-max-bs 16";
    let text = format!("`{flags}`: fewer graphs are captured");
    found.push(remedy("fewer-graphs", flags, Checked::Unchecked, text));
    found
}

fn offloaded(evidence: &Evidence) -> Vec<Remedy> {
    let four_bits = matches!(evidence.run.question.weights, Some(WeightFormat::Nf4 { .. }));
    let (flags, smaller) = match four_bits {
        true => ("", "a smaller model, or a larger card"),
        false => ("load_in_4bit=True", "`load_in_4bit=True` instead of 8 bits, or a smaller model"),
    };
    let unchecked = |code, flags: &str, text: &str| remedy(code, flags, Checked::Unchecked, text.to_owned());
    vec![
        unchecked("smaller-weights", flags, smaller),
        unchecked("whole-card", "device_map={\"\": 0}", "`device_map={\"\": 0}`, where the weights do fit and accelerate is only careful"),
        unchecked("offload", "llm_int8_enable_fp32_cpu_offload=True", "`llm_int8_enable_fp32_cpu_offload=True` with a `device_map` of your own: those modules stay in 32 bits on the CPU"),
    ]
}

fn main_memory(evidence: &Evidence) -> Vec<Remedy> {
    let unchecked = |code, flags: &str, text: &str| remedy(code, flags, Checked::Unchecked, text.to_owned());
    let engine = evidence.engine.map(|(engine, _)| engine);
    let mut found = Vec::new();
    match engine {
        Some(Engine::LlamaCpp) => {
            found.push(unchecked("more-on-the-card", "-ngl", "more layers on the card (`-ngl`), where it has room, or a smaller file"));
            found.push(unchecked("no-prompt-cache", "--cache-ram 0", "`--cache-ram 0`: llama-server keeps prompts in main memory, 8 GiB unless told otherwise"));
        }
        Some(Engine::Ollama) => {
            found.push(unchecked("smaller-weights", "", "a smaller model or tag, or a smaller `num_ctx`"));
        }
        _ => found.push(unchecked("more-memory", "", "more memory for the process (a container's limit, `--shm-size`, swap), or weights that are read without a copy (safetensors, `low_cpu_mem_usage=True`)")),
    }
    found
}

fn llama(evidence: &Evidence, cause: &Cause, failure: &Failure) -> Vec<Remedy> {
    let engine = evidence.engine.map(|(engine, _)| engine);
    let say = |llama: String, ollama: String, studio: String| match engine {
        Some(Engine::Ollama) => ollama,
        Some(Engine::LmStudio) => studio,
        _ => llama,
    };
    let mut found = Vec::new();
    if let Some(slots) = evidence.run.question.parallel {
        let flags = say("-np 1".to_owned(), "OLLAMA_NUM_PARALLEL=1".to_owned(), String::new());
        if !flags.is_empty() {
            let text = format!("`{flags}`: one context instead of {slots}");
            found.push(remedy("one-slot", flags, Checked::Unchecked, text));
        }
    }
    let half = |asked: Printed| Bytes::new(asked.bytes.get() / 2);
    let covers = |freed: Bytes| cause.short_by.is_some_and(|short| freed >= short);
    let checked = |freed: Bytes| if covers(freed) { Checked::ByLog } else { Checked::Unchecked };
    match cause.term {
        Some(TermKind::Cache) => {
            if let (Some(asked), Some(tokens)) = (failure.asked, evidence.run.question.cache_tokens) {
                let (freed, half_of) = (half(asked), (tokens / 2).max(1));
                let flags = say(format!("-c {half_of}"), format!("num_ctx {half_of}"), format!("Context Length: {half_of}"));
                let text = format!("`{flags}` halves keys and values, {freed} less");
                found.push(Remedy { frees: Some(freed), ..remedy("shorter-context", flags, checked(freed), text) });
            }
            let flags = say("-ctk q8_0 -ctv q8_0".to_owned(), "OLLAMA_KV_CACHE_TYPE=q8_0".to_owned(), "K and V Cache Quantization Type: q8_0".to_owned());
            let freed = failure.asked.and_then(|asked| asked.bytes.scale(15, 32).ok());
            let text = format!("`{flags}` stores keys and values in 8.5 bits instead of 16");
            found.push(Remedy { frees: freed, ..remedy("smaller-cache-type", flags, freed.map_or(Checked::Unchecked, checked), text) });
        }
        Some(TermKind::Weights) => found.extend(fewer_layers(evidence, failure, &say)),
        Some(TermKind::Compute) => {
            let chunk = evidence.run.question.prefill_chunk.unwrap_or(512) / 2;
            let flags = say(format!("-ub {chunk}"), format!("num_batch {chunk}"), format!("Evaluation Batch Size: {chunk}"));
            let text = format!("`{flags}`: the compute buffer grows with the micro-batch");
            let freed = failure.asked.map(half);
            found.push(remedy("smaller-batch", flags, freed.map_or(Checked::Unchecked, checked), text));
            if evidence.run.question.attention == Some(crate::spec::Attention::Eager) {
                let flags = say("-fa on".to_owned(), "OLLAMA_FLASH_ATTENTION=1".to_owned(), "Flash Attention: on".to_owned());
                let text = format!("`{flags}`: without it the scores of every head are in the buffer");
                found.push(remedy("flash-attention", flags, Checked::Unchecked, text));
            }
        }
        Some(TermKind::Encoder) => {
            let flags = "--no-mmproj-offload";
            found.push(remedy("no-encoder", flags, Checked::Unchecked, format!("`{flags}` keeps the image encoder in main memory")));
        }
        _ => {}
    }
    let flags = say("-ngl".to_owned(), "num_gpu".to_owned(), "GPU Offload".to_owned());
    if !found.iter().any(|known| known.code == "layers-on-the-host") {
        let text = format!("fewer layers on the card (`{flags}`), or of a mixture of experts `--n-cpu-moe`");
        found.push(remedy("layers-on-the-host", flags, Checked::Unchecked, text));
    }
    found
}

/// Layers whose share of the weights is what was left, with a tenth of that for caches and buffers.
fn fewer_layers(
    evidence: &Evidence,
    failure: &Failure,
    say: &dyn Fn(String, String, String) -> String,
) -> Option<Remedy> {
    let (asked, layers) = (failure.asked?.bytes, evidence.shape.0?);
    let index = match failure.place? {
        super::Place::Card(index) => index,
        super::Place::Cards | super::Place::Host => return None,
    };
    let free = evidence.cards.iter().find(|card| card.index == index)?.free?;
    let room = free.scale(9, 10).ok()?;
    let count = Bytes::new(layers).scale(room.get(), asked.get().max(1)).ok()?.get();
    let count = count.min(layers.saturating_sub(1));
    let flags = say(format!("-ngl {count}"), format!("num_gpu {count}"), format!("GPU Offload: {count}"));
    let text = format!("`{flags}`: about as many layers as {free} hold beside a cache");
    Some(remedy("layers-on-the-host", flags, Checked::ByLog, text))
}
