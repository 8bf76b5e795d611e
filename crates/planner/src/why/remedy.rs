//! What mends it: each change is planned again where there is a plan, else judged by the log's own figures.

use super::cause::{Cause, CauseKind};
use super::evidence::{Engine, Evidence};
use super::finding::{Planned, Resolve};
use super::from_log;
use crate::deployment::Question;
use crate::dtype::{KvFormat, WeightFormat};
use crate::estimate::rules;
use crate::plan::{Plan, Verdict};
use crate::recommend::{Answer, answer};
use crate::spec::{Attention, Count, Runtime};
use crate::units::Bytes;

/// How sure it is that a remedy mends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Checked {
    /// Planned again, it fits.
    Fits,
    /// By the figures of the log it fits.
    ByLog,
    /// Planned again, it fits without all of its headroom.
    Tight,
    /// Planned again, it frees more than was short.
    Covers,
    /// Planned again, it is not enough alone.
    NotEnough,
    /// Nothing could be computed.
    Unchecked,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remedy {
    /// A stable name.
    pub code: &'static str,
    /// The flag or setting, in the engine's own words; empty where it is none.
    pub flags: String,
    /// What it frees, where that is known.
    pub frees: Option<Bytes>,
    /// How sure that is.
    pub checked: Checked,
    /// In a sentence.
    pub text: String,
}

/// Most remedies that are named.
const MOST: usize = 6;
/// What is not worth a line.
const WORTH: i64 = 4 << 20;

/// What mends a cause, the surest first.
pub fn remedies(
    evidence: &Evidence,
    cause: &Cause,
    plan: Option<&Planned>,
    resolve: Resolve<'_>,
) -> Vec<Remedy> {
    let failed = !matches!(cause.kind, CauseKind::None | CauseKind::DeviceFault);
    if !failed {
        return Vec::new();
    }
    let on_card = !matches!(cause.kind, CauseKind::MainMemory);
    let mut found = match plan.filter(|_| on_card) {
        Some(plan) => planned(evidence, cause, plan, resolve),
        None => Vec::new(),
    };
    let mends = found.iter().any(|remedy| remedy.checked <= Checked::Covers);
    for remedy in from_log::remedies(evidence, cause) {
        if cause.kind == CauseKind::ContextTooLong && remedy.checked == Checked::ByLog {
            // The engine has counted its own cache.
            found.retain(|other| other.code != remedy.code);
        }
        let known = found.iter().any(|other| other.code == remedy.code || other.flags == remedy.flags);
        let needed = remedy.checked != Checked::Unchecked || !mends;
        if !known && needed {
            found.push(remedy);
        }
    }
    found.sort_by_key(|remedy| remedy.checked);
    found.truncate(MOST);
    found
}

/// A change that is planned.
struct Change {
    code: &'static str,
    /// In the engine's own words.
    flags: String,
    question: Question,
}

fn planned(
    evidence: &Evidence,
    cause: &Cause,
    plan: &Planned,
    resolve: Resolve<'_>,
) -> Vec<Remedy> {
    let words = Words::of(evidence, plan);
    let mut changes = words.changes(plan);
    changes.extend(other_weights(plan));
    let tried: Vec<(Remedy, Planned)> =
        changes.iter().filter_map(|change| check(change, cause, plan, resolve)).collect();
    let mends = |(remedy, _): &(Remedy, Planned)| remedy.checked <= Checked::Covers;
    let both = match tried.iter().any(mends) {
        true => None,
        false => together(&words, &tried, cause, plan, resolve),
    };
    let mut found: Vec<Remedy> = tried.into_iter().map(|(remedy, _)| remedy).chain(both).collect();
    for advice in plan.answer.advice.iter().filter(|advice| advice.code == "smaller-model") {
        let fits = advice.text.contains("which makes it fit");
        found.push(Remedy {
            code: advice.code,
            flags: String::new(),
            frees: Some(Bytes::new(advice.saves.unsigned_abs())),
            checked: if fits { Checked::Fits } else { Checked::NotEnough },
            text: format!("{} (planned again)", advice.text),
        });
    }
    // Where enough mends, what does not is no help.
    if found.iter().filter(|remedy| remedy.checked <= Checked::Covers).count() >= 2 {
        found.retain(|remedy| remedy.checked != Checked::NotEnough);
    }
    found
}

/// What frees the most, and the longest context that fits with it.
fn together(
    words: &Words,
    tried: &[(Remedy, Planned)],
    cause: &Cause,
    plan: &Planned,
    resolve: Resolve<'_>,
) -> Option<Remedy> {
    let (first, changed) = tried.iter().max_by_key(|(remedy, _)| remedy.frees)?;
    let shorter = words.shorter(changed)?;
    let change = Change {
        code: "several",
        flags: format!("{} {}", first.flags, shorter.flags),
        question: shorter.question,
    };
    check(&change, cause, plan, resolve).map(|(remedy, _)| remedy)
}

/// The next two smaller formats of weights that the runtime has: another file, or another checkpoint.
fn other_weights(plan: &Planned) -> Vec<Change> {
    let ladder = rules(plan.deployment.kind()).ladders().weights;
    let at = ladder.iter().position(|&step| step == plan.deployment.weights).unwrap_or(0);
    let change = |format: &WeightFormat| Change {
        code: "smaller-weights",
        flags: format!("weights in {format}"),
        question: Question { weights: Some(*format), ..plan.question.clone() },
    };
    ladder.iter().take(at).rev().take(2).map(change).collect()
}

/// Plans a change, and says what it gives; nothing where it cannot be planned or makes no difference.
fn check(
    change: &Change,
    cause: &Cause,
    plan: &Planned,
    resolve: Resolve<'_>,
) -> Option<(Remedy, Planned)> {
    let deployment = resolve(&change.question).ok()?;
    let again = answer(&deployment).ok()?;
    let saves = saved(&plan.answer, &again)?;
    let frees = Bytes::new(saves.unsigned_abs());
    let fits_now =
        plan.answer.verdict == Verdict::DoesNotFit && again.verdict != Verdict::DoesNotFit;
    if saves < WORTH && !fits_now {
        return None;
    }
    let checked = judged((plan.answer.verdict, again.verdict), frees, cause.short_by);
    let flags = &change.flags;
    let gain = if saves >= WORTH { format!(" frees {frees}") } else { String::new() };
    let text = match checked {
        Checked::Fits => format!("`{flags}`{gain}: planned again, it fits"),
        Checked::Tight => format!("`{flags}`{gain}: planned again, it fits, but tightly"),
        Checked::Covers => format!("`{flags}`{gain}: more than was short"),
        Checked::NotEnough => format!("`{flags}`{gain}, which alone is not enough"),
        Checked::ByLog | Checked::Unchecked => format!("`{flags}`{gain}"),
    };
    let frees = (saves >= WORTH).then_some(frees);
    let remedy = Remedy { code: change.code, flags: flags.clone(), frees, checked, text };
    let question = change.question.clone();
    Some((remedy, Planned { deployment, question, answer: again }))
}

/// How sure a change is, by the verdicts before and after it.
fn judged(
    (before, after): (Verdict, Verdict),
    frees: Bytes,
    short_by: Option<Bytes>,
) -> Checked {
    match (before, after) {
        (_, Verdict::DoesNotFit) => Checked::NotEnough,
        (Verdict::DoesNotFit, Verdict::Fits) => Checked::Fits,
        (Verdict::DoesNotFit, Verdict::Tight) => Checked::Tight,
        // The plan fits, and the run did not: what counts is what was short.
        _ => match short_by {
            Some(short) if frees >= short => Checked::Covers,
            Some(_) => Checked::NotEnough,
            None if (before, after) == (Verdict::Tight, Verdict::Fits) => Checked::Fits,
            None => Checked::Unchecked,
        },
    }
}

/// What the card that binds is asked for less.
fn saved(before: &Answer, after: &Answer) -> Option<i64> {
    let of = |answer: &Answer, at: usize| {
        let plan: &Plan = answer.devices.get(at).map_or(&answer.plan, |device| &device.plan);
        plan.demand().varies().expected
    };
    i64::try_from(of(before, before.binding).diff(of(after, before.binding))).ok()
}

/// The next two smaller formats of keys and values that the runtime has.
fn smaller_caches(plan: &Planned) -> Vec<KvFormat> {
    let ladder = rules(plan.deployment.kind()).ladders().kv;
    let at = ladder.iter().position(|&step| step == plan.deployment.kv).unwrap_or(0);
    ladder.iter().take(at).rev().take(2).copied().collect()
}

/// How an engine says things.
struct Words {
    engine: Engine,
}

impl Words {
    fn of(evidence: &Evidence, plan: &Planned) -> Self {
        let recognised = evidence.engine.map(|(engine, _)| engine).filter(|engine| {
            engine.runtime().and_then(|name| name.parse().ok()) == Some(plan.deployment.kind())
        });
        let kind = plan.deployment.kind();
        let own = [Engine::LlamaCpp, Engine::Vllm, Engine::Sglang, Engine::PyTorch];
        let by_runtime = own.into_iter().find(|engine| {
            engine.runtime().and_then(|name| name.parse::<Runtime>().ok()) == Some(kind)
        });
        Self { engine: recognised.or(by_runtime).unwrap_or(Engine::PyTorch) }
    }

    fn changes(&self, plan: &Planned) -> Vec<Change> {
        match self.engine {
            Engine::LlamaCpp | Engine::Ollama | Engine::LmStudio => self.of_llama(plan),
            Engine::Vllm => self.shorter(plan).into_iter().chain(of_vllm(plan)).collect(),
            Engine::PyTorch => of_transformers(plan),
            Engine::Sglang | Engine::NvidiaSmi | Engine::Linux => Vec::new(),
        }
    }

    /// The word of llama.cpp, of Ollama and of LM Studio.
    fn say(&self, llama: String, ollama: String, studio: String) -> String {
        match self.engine {
            Engine::Ollama => ollama,
            Engine::LmStudio => studio,
            _ => llama,
        }
    }

    fn of_llama(&self, plan: &Planned) -> Vec<Change> {
        let (question, workload) = (&plan.question, &plan.deployment.workload);
        let mut changes = Vec::new();
        let mut add = |code, flags, question| changes.push(Change { code, flags, question });
        let eager = workload.attention == Attention::Eager;
        if eager {
            let flags = self.say(
                "-fa on".to_owned(),
                "OLLAMA_FLASH_ATTENTION=1".to_owned(),
                "Flash Attention: on".to_owned(),
            );
            let changed = Question { attention: Some(Attention::Flash), ..question.clone() };
            add("flash-attention", flags, changed);
        }
        for chunk in [workload.prefill_chunk / 2, workload.prefill_chunk / 4] {
            if chunk >= 64 {
                let flags = self.say(
                    format!("-ub {chunk}"),
                    format!("num_batch {chunk}"),
                    format!("Evaluation Batch Size: {chunk}"),
                );
                let changed = Question { prefill_chunk: Some(chunk), ..question.clone() };
                add("smaller-batch", flags, changed);
            }
        }
        if question.batch.or(question.parallel).is_some_and(|slots| slots > 1) {
            let flags = self.say("-np 1".to_owned(), "OLLAMA_NUM_PARALLEL=1".to_owned(), String::new());
            let changed = Question { batch: None, parallel: None, kv_unified: false, ..question.clone() };
            if !flags.is_empty() {
                add("one-slot", flags, changed);
            }
        }
        for format in smaller_caches(plan) {
            let flash = if eager { "-fa on " } else { "" };
            let flags = self.say(
                format!("{flash}-ctk {format} -ctv {format}"),
                format!("OLLAMA_FLASH_ATTENTION=1 OLLAMA_KV_CACHE_TYPE={format}"),
                format!("K and V Cache Quantization Type: {format}"),
            );
            let attention = Some(Attention::Flash);
            let changed = Question { kv: Some(format.into()), attention, ..question.clone() };
            changes.push(Change { code: "smaller-cache-type", flags, question: changed });
        }
        changes.extend(self.shorter(plan));
        changes.extend(self.placed(plan));
        if question.mmproj.is_some() {
            let changed = Question { mmproj: None, ..question.clone() };
            changes.push(Change { code: "no-encoder", flags: "--no-mmproj-offload".to_owned(), question: changed });
        }
        changes
    }

    /// The longest context that fits as everything else is.
    fn shorter(&self, plan: &Planned) -> Option<Change> {
        const STEP: u64 = 256;
        let (question, answer) = (&plan.question, &plan.answer);
        if let Some(pool) = answer.plan.pool {
            let longest = pool.start.longest;
            let question = question.clone();
            return (1..pool.start.context).contains(&longest).then(|| Change {
                code: "shorter-context",
                flags: format!("--max-model-len {longest}"),
                question: Question {
                    max_model_len: Some(longest),
                    context: Some(longest),
                    ..question
                },
            });
        }
        let asked = question.cache_tokens?;
        let fits = answer.recommendation.tiers.balanced.max_cache_tokens / STEP * STEP;
        if fits == 0 || fits >= asked {
            return None;
        }
        let slots = question.batch.unwrap_or(1).max(1);
        let all = fits.saturating_mul(slots);
        let flags = self.say(
            format!("-c {all}"),
            format!("num_ctx {fits}"),
            format!("Context Length: {fits}"),
        );
        let changed = Question { cache_tokens: Some(fits), context: Some(fits), ..question.clone() };
        Some(Change { code: "shorter-context", flags, question: changed })
    }

    /// Layers or experts in main memory, as many as have to be.
    fn placed(&self, plan: &Planned) -> Option<Change> {
        let free = Question {
            ngl: None,
            n_cpu_moe: None,
            cpu_moe: false,
            override_tensor: Vec::new(),
            tensor_split: None,
            ..plan.question.clone()
        };
        let mut deployment = plan.deployment.clone();
        let mut launch = deployment.runtime.launch.clone();
        (launch.gpu_layers, launch.cpu_moe) = (None, None);
        launch.overrides.clear();
        launch.tensor_split = None;
        deployment.set_launch(launch);
        let placement = crate::recommend::solve(&deployment).ok()??;
        if !placement.fits {
            return None;
        }
        let layers = (placement.gpu_layers < placement.of_layers).then_some(placement.gpu_layers);
        let experts = (placement.cpu_moe > 0).then_some(placement.cpu_moe);
        if layers.is_none() && experts.is_none() || (experts.is_some() && self.engine == Engine::Ollama) {
            return None;
        }
        let mut flags = Vec::new();
        flags.extend(layers.map(|layers| {
            self.say(format!("-ngl {layers}"), format!("num_gpu {layers}"), format!("GPU Offload: {layers}"))
        }));
        flags.extend(experts.map(|layers| format!("--n-cpu-moe {layers}")));
        let changed = Question {
            ngl: layers.map(Count::Some),
            n_cpu_moe: experts.map(Count::Some),
            ..free
        };
        Some(Change { code: "layers-on-the-host", flags: flags.join(" "), question: changed })
    }
}

fn of_vllm(plan: &Planned) -> Vec<Change> {
    let (question, answer, workload) = (&plan.question, &plan.answer, &plan.deployment.workload);
    let mut changes = Vec::new();
    let mut add = |code, flags, question| changes.push(Change { code, flags, question });
    let given = plan.deployment.options().serving();
    let share = answer.shares.and_then(|shares| shares.best());
    if let Some(share) = share.filter(|share| given.is_some_and(|given| given.utilization != *share)) {
        let asked = share.to_string().parse().ok();
        let changed = Question { gpu_memory_utilization: asked, ..question.clone() };
        add("other-share", format!("--gpu-memory-utilization {share}"), changed);
    }
    if !smaller_caches(plan).is_empty() {
        let changed = Question { kv: "fp8".parse().ok(), ..question.clone() };
        add("smaller-cache-type", "--kv-cache-dtype fp8".to_owned(), changed);
    }
    if given.is_some_and(|given| given.max_seqs > 64) {
        let changed = Question { max_seqs: Some(64), ..question.clone() };
        add("fewer-sequences", "--max-num-seqs 64".to_owned(), changed);
    }
    if workload.prefill_chunk > 2048 {
        let changed = Question { prefill_chunk: Some(2048), ..question.clone() };
        add("smaller-batch", "--max-num-batched-tokens 2048".to_owned(), changed);
    }
    if !question.enforce_eager {
        let changed = Question { enforce_eager: true, ..question.clone() };
        add("no-graphs", "--enforce-eager".to_owned(), changed);
    }
    let ranks = question.gpus.unwrap_or(1);
    if ranks <= 4 && !question.gpu.as_deref().unwrap_or_default().contains(',') {
        let more = ranks * 2;
        let split = Some(crate::spec::Split::Tensor);
        let changed = Question { gpus: Some(more), split, ..question.clone() };
        add("more-cards", format!("--tensor-parallel-size {more}"), changed);
    }
    changes
}

fn of_transformers(plan: &Planned) -> Vec<Change> {
    let question = &plan.question;
    let mut changes = Vec::new();
    let mut add = |code, flags: &str, question| {
        changes.push(Change { code, flags: flags.to_owned(), question });
    };
    if !question.expandable_segments {
        let changed = Question { expandable_segments: true, ..question.clone() };
        add("expandable-segments", "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True", changed);
    }
    if plan.deployment.workload.attention == Attention::Eager {
        let changed = Question { attention: Some(Attention::Sdpa), ..question.clone() };
        add("no-score-matrix", "attn_implementation=\"sdpa\"", changed);
    }
    if let Some(batch) = question.batch.filter(|batch| *batch > 1) {
        let changed = Question { batch: Some(batch / 2), ..question.clone() };
        add("smaller-batch", "half the batch", changed);
    }
    changes
}
