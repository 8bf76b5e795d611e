//! What a question may ask: ranges, and options that a runtime does not have.

use super::{CacheAllocation, CacheSize, CaptureLayers, Cards, DeploymentError, Question, server};
use crate::estimate::rules;
use crate::estimate::rules::{Asked, Defaults};
use crate::spec::{Capture, ModelSpec, Runtime, RuntimeOptions, Split, Workload};

/// More GPUs than one machine has.
pub const MOST_GPUS: u64 = 64;
/// More tokens than any model has positions.
pub const MOST_TOKENS: u64 = 1 << 32;
pub use crate::spec::MOST_SEQUENCES;
/// More images than any prompt has.
pub const MOST_IMAGES: u64 = 1 << 16;

/// Tokens of a captured pass where none are given.
const CAPTURE_TOKENS: u64 = 100;

fn positive(flag: &'static str, value: u64) -> Result<u64, DeploymentError> {
    match value {
        0 => Err(DeploymentError::out_of_range(flag, 0, "1 or more")),
        value if value > MOST_TOKENS => {
            Err(DeploymentError::out_of_range(flag, value, format!("at most {MOST_TOKENS}")))
        }
        value => Ok(value),
    }
}

fn at_most(flag: &'static str, value: u64, most: u64) -> Result<u64, DeploymentError> {
    if value > most {
        return Err(DeploymentError::out_of_range(flag, value, format!("at most {most}")));
    }
    Ok(value)
}

/// The size of the cache: as given, or what the prompt leaves of a user's conversation or of a context that is planned
/// whole.
pub(super) fn cache(
    question: &Question,
    runtime: Runtime,
    system_tokens: u64,
) -> Result<CacheSize, DeploymentError> {
    let context = question.context.filter(|_| rules(runtime).plans_given_context());
    match (question.cache_tokens, question.context_per_user.or(context)) {
        (Some(tokens), _) => positive("--cache-tokens", tokens).map(CacheSize::Fixed),
        // A prompt that fills the context is refused where it is planned.
        (None, Some(tokens)) => Ok(CacheSize::Fixed(tokens.saturating_sub(system_tokens).max(1))),
        (None, None) => Ok(CacheSize::Solve),
    }
}

/// Refuses two words for one thing, which a file and flags together can say.
fn one_word(question: &Question) -> Result<(), DeploymentError> {
    let twice = [
        ("--users", question.users, "--batch", question.batch),
        ("--users", question.users, "--parallel", question.parallel),
        ("--context-per-user", question.context_per_user, "--context", question.context),
        ("--context-per-user", question.context_per_user, "--cache-tokens", question.cache_tokens),
    ];
    match twice.into_iter().find(|(_, first, _, second)| first.is_some() && second.is_some()) {
        Some((first, _, second, _)) => Err(DeploymentError::refused(
            format!("`{first}` and `{second}` are both given"),
            format!("drop one of them: `{first}` sets what `{second}` does"),
        )),
        None => Ok(()),
    }
}

pub(super) fn min_decode_speed(
    question: &Question,
    cards: &Cards,
) -> Result<Option<f64>, DeploymentError> {
    let unknown =
        |card: &&super::Card| !card.gpu.is_main_memory() && card.gpu.bandwidth.value.is_zero();
    match (question.min_decode_speed, cards.iter().find(unknown)) {
        (Some(_), Some(card)) => Err(DeploymentError::refused(
            format!(
                "`--min-decode-speed`: the memory bandwidth of `{}` is not known",
                card.gpu.name
            ),
            "name a card, or write a profile of it",
        )),
        (speed, _) => in_range(speed),
    }
}

fn in_range(speed: Option<f64>) -> Result<Option<f64>, DeploymentError> {
    match speed {
        Some(speed) if !speed.is_finite() || speed <= 0.0 => {
            let expected = "more than 0 tokens a second";
            Err(DeploymentError::out_of_range("--min-decode-speed", speed, expected))
        }
        speed => Ok(speed),
    }
}

/// Users at once, as far as the runtime runs so many sequences together.
fn at_once(users: u64, options: &RuntimeOptions) -> Result<u64, DeploymentError> {
    let most = rules(options.runtime()).most_sequences(options);
    match positive("--users", users)? {
        users if users <= most => Ok(users),
        users => {
            let more = if options.share().is_some() { "; `--max-seqs` raises it" } else { "" };
            let expected = format!("at most {most} sequences at once{more}");
            Err(DeploymentError::out_of_range("--users", users, expected))
        }
    }
}

/// The work that is asked for on so many GPUs, with the runtime's defaults.
pub(super) fn workload(
    question: &Question,
    model: &ModelSpec,
    defaults: &Defaults,
    (options, cards): (&RuntimeOptions, &Cards),
) -> Result<Workload, DeploymentError> {
    one_word(question)?;
    let (runtime, gpus) = (options.runtime(), cards.len());
    let grown =
        question.cache.map_or(defaults.grown_cache, |cache| cache == CacheAllocation::Grown);
    if grown && !rules(runtime).grows_cache() {
        return Err(DeploymentError::refused(
            format!("the `{runtime}` runtime allocates its cache at full size"),
            "drop `--cache grown`, or use `--runtime transformers`",
        ));
    }
    let context = if let Some(context) = question.context_per_user {
        positive("--context-per-user", context)?
    } else {
        let longest = question.context.or(question.max_model_len);
        positive("--context", longest.unwrap_or(model.shape.context_len))?
    };
    let system_tokens = question.system_tokens.unwrap_or_else(|| defaults.system_tokens(context));
    let chunk = rules(runtime).prefill_chunk(options, &cards.first().gpu, context);
    Ok(Workload {
        system_tokens: at_most("--system-tokens", system_tokens, MOST_TOKENS)?,
        recent_window: question.recent_window,
        prefill_chunk: positive(
            "--prefill-chunk",
            question.prefill_chunk.or(chunk).unwrap_or(defaults.prefill_chunk),
        )?,
        batch: match (question.users, question.parallel) {
            _ if rules(runtime).runs_one_sequence(model) => 1,
            (Some(users), _) => at_once(users, options)?,
            (None, Some(slots)) => positive("--parallel", slots)?,
            (None, None) => positive("--batch", question.batch.unwrap_or(1))?,
        },
        context,
        attention: question.attention.unwrap_or_else(|| {
            rules(runtime).own_attention(options, model).unwrap_or(defaults.attention)
        }),
        capture: capture(question, model, runtime, gpus)?,
        images: images(question, options)?,
        logits: question.logits.unwrap_or(defaults.logits),
        grown_cache: grown,
    })
}

/// Images per prompt, 0 where the encoder is left out: `--images 0` asks for that, and a server leaves it out where prompts have
/// neither images nor videos.
fn images(question: &Question, options: &RuntimeOptions) -> Result<Option<u64>, DeploymentError> {
    if let Some(images) = question.images {
        return at_most("--images", images, MOST_IMAGES).map(Some);
    }
    let leaves_out = options.serving().is_some_and(|serving| serving.version.leaves_encoders_out());
    let is_text = server::limits(question).allow_nothing();
    Ok((is_text && leaves_out).then_some(0))
}

/// The runtime's options; those of other runtimes are refused.
pub(super) fn options(
    question: &Question,
    (model, runtime): (&ModelSpec, Runtime),
    cards: &Cards,
    split: Split,
) -> Result<RuntimeOptions, DeploymentError> {
    let newest = RuntimeOptions::newest(runtime);
    refuse_options_of_servers(question, &newest)?;
    if question.expandable_segments && !rules(runtime).takes_expandable_segments() {
        let message = format!("segments that grow are not planned under the `{runtime}` runtime");
        let hint = "drop `--expandable-segments`, or use `--runtime transformers` or `vllm`";
        return Err(DeploymentError::refused(message, hint));
    }
    if newest.version().is_none() && question.runtime_version.is_some() {
        let message = format!("the version of the `{runtime}` runtime cannot be chosen");
        return Err(DeploymentError::refused(message, "drop `--runtime-version`"));
    }
    if let Some(max_seqs) = question.max_seqs.filter(|seqs| !(1..=MOST_SEQUENCES).contains(seqs)) {
        let expected = format!("1 to {MOST_SEQUENCES}");
        return Err(DeploymentError::out_of_range("--max-seqs", max_seqs, expected));
    }
    let gpus = cards.len() as u64;
    let server = server::server(question, (model, runtime), gpus, split)?;
    let ranks = if split == Split::Tensor { gpus } else { 1 };
    let asked = Asked {
        version: question.runtime_version.as_deref(),
        model,
        prefill_chunk: question.prefill_chunk,
        images: question.images,
        gpus: cards.len() as u64,
        others: cards.first().capacity.other_use,
        max_seqs: question.max_seqs,
        share: question.share(),
        ranks: server.grid.map_or(ranks, |grid| grid.tensor),
        eager: question.enforce_eager,
        expandable_segments: question.expandable_segments,
        max_model_len: max_model_len(question, model)?,
        fits_length: question.auto_max_model_len,
        max_total_tokens: question.max_total_tokens,
        server,
        media: server::media(question)?,
    };
    rules(runtime)
        .options(&asked, &cards.first().gpu)
        .map_err(|message| DeploymentError::refused(message, ""))
}

/// Options of servers that size a pool, under a runtime that is none, or of the other one's share.
fn refuse_options_of_servers(
    question: &Question,
    newest: &RuntimeOptions,
) -> Result<(), DeploymentError> {
    let runtime = newest.runtime();
    let serves = newest.share().is_some();
    let given = [
        ("--max-seqs", question.max_seqs.is_some() && !serves, "use `--runtime vllm`"),
        (
            "--gpu-memory-utilization",
            question.gpu_memory_utilization.is_some() && newest.serving().is_none(),
            if serves { "say `--mem-fraction-static`" } else { "use `--runtime vllm`" },
        ),
        (
            "--mem-fraction-static",
            question.mem_fraction_static.is_some() && newest.token_serving().is_none(),
            if serves { "say `--gpu-memory-utilization`" } else { "use `--runtime sglang`" },
        ),
        ("--enforce-eager", question.enforce_eager && !serves, "use `--runtime vllm`"),
        ("--max-model-len", question.max_model_len.is_some() && !serves, "use `--runtime vllm`"),
        (
            "--max-model-len auto",
            question.auto_max_model_len && newest.serving().is_none(),
            "use `--runtime vllm`",
        ),
    ];
    let Some((flag, _, instead)) = given.into_iter().find(|(_, given, _)| *given) else {
        return Ok(());
    };
    let message = format!("the `{runtime}` runtime has no `{flag}`");
    Err(DeploymentError::refused(message, format!("drop `{flag}`, or {instead}")))
}

/// The longest sequence that a server is told to serve: as given, else the context as given, else what a given cache holds
/// with the system prompt, else the model's context.
fn max_model_len(question: &Question, model: &ModelSpec) -> Result<u64, DeploymentError> {
    if let Some(tokens) = question.max_model_len {
        return positive("--max-model-len", tokens);
    }
    if question.auto_max_model_len {
        return Ok(model.shape.context_len);
    }
    let system = question.system_tokens.unwrap_or(0);
    let held = question.cache_tokens.map(|cached| cached.saturating_add(system));
    let context = question.context_per_user.or(question.context);
    Ok(context.or(held).unwrap_or(model.shape.context_len))
}

fn capture(
    question: &Question,
    model: &ModelSpec,
    runtime: Runtime,
    gpus: usize,
) -> Result<Option<Capture>, DeploymentError> {
    let Some(layers) = question.capture_layers else {
        let rest = question.capture_tokens.is_some()
            || question.capture_attention
            || question.capture_keep;
        if rest {
            return Err(DeploymentError::refused(
                "something is to be captured, but no `--capture-layers`",
                "add a number of layers, or `all`",
            ));
        }
        return Ok(None);
    };
    if gpus > 1 {
        return Err(DeploymentError::refused(
            "`--capture-layers` is planned on one GPU only",
            "drop `--capture-layers`, or `--gpus`",
        ));
    }
    if !rules(runtime).captures() {
        return Err(DeploymentError::refused(
            format!("the `{runtime}` runtime cannot capture activations"),
            "drop `--capture-layers`, or use `--runtime transformers`",
        ));
    }
    let all = model.shape.n_layers;
    let layers = match layers {
        CaptureLayers::All => all,
        CaptureLayers::Some(layers) if (1..=all).contains(&layers) => layers,
        CaptureLayers::Some(layers) => {
            let message = format!(
                "`--capture-layers {layers}` is out of range: `{}` has {all} layers",
                model.name
            );
            return Err(DeploymentError::refused(message, ""));
        }
    };
    let tokens = question.capture_tokens.unwrap_or(CAPTURE_TOKENS);
    if tokens == 0 || tokens > MOST_TOKENS {
        let expected = format!("1 to {MOST_TOKENS}");
        return Err(DeploymentError::out_of_range("--capture-tokens", tokens, expected));
    }
    let (attention, keep) = (question.capture_attention, question.capture_keep);
    Ok(Some(Capture { layers, tokens, attention, keep }))
}
