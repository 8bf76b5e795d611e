//! What can be changed of a run, in the words of its engine.

use super::evidence::{Engine, Evidence};
use super::finding::Planned;
use super::remedy::Change;
use super::sayings::Setting;
use crate::deployment::Question;
use crate::dtype::KvFormat;
use crate::estimate::rules;
use crate::spec::{Attention, Count, Runtime, Split};

/// The next two smaller formats of keys and values that the runtime has.
fn smaller_caches(plan: &Planned) -> Vec<KvFormat> {
    let ladder = rules(plan.deployment.kind()).ladders().kv;
    let at = ladder.iter().position(|&step| step == plan.deployment.kv).unwrap_or(0);
    ladder.iter().take(at).rev().take(2).copied().collect()
}

/// How an engine says things.
pub struct Words {
    engine: Engine,
}

impl Words {
    /// Those of the engine that wrote a log, or else of the runtime that it was planned for.
    pub fn of(evidence: &Evidence, plan: &Planned) -> Self {
        let recognised = evidence.engine.map(|(engine, _)| engine).filter(|engine| {
            engine.runtime().and_then(|name| name.parse().ok()) == Some(plan.deployment.kind())
        });
        let kind = plan.deployment.kind();
        let own = [Engine::LlamaCpp, Engine::Ollama, Engine::Vllm, Engine::Sglang, Engine::PyTorch];
        let by_runtime = own.into_iter().find(|engine| {
            engine.runtime().and_then(|name| name.parse::<Runtime>().ok()) == Some(kind)
        });
        Self { engine: recognised.or(by_runtime).unwrap_or(Engine::PyTorch) }
    }

    /// What is worth trying, what costs the least first.
    pub fn changes(&self, plan: &Planned) -> Vec<Change> {
        match self.engine {
            Engine::LlamaCpp | Engine::KoboldCpp | Engine::Ollama | Engine::LmStudio => {
                self.of_llama(plan)
            }
            Engine::Vllm => self.shorter(plan).into_iter().chain(of_vllm(plan)).collect(),
            Engine::PyTorch => of_transformers(plan),
            Engine::Sglang => self.shorter(plan).into_iter().chain(of_sglang(plan)).collect(),
            _ => Vec::new(),
        }
    }

    fn of_llama(&self, plan: &Planned) -> Vec<Change> {
        let (question, workload) = (&plan.question, &plan.deployment.workload);
        let mut all = Vec::new();
        let mut add = |code, flags: Option<String>, question| {
            all.extend(flags.map(|flags| Change { code, flags, question }));
        };
        let eager = workload.attention == Attention::Eager;
        if eager {
            let flags = Setting::Flash.of(self.engine);
            let changed = Question { attention: Some(Attention::Flash), ..question.clone() };
            add("flash-attention", flags, changed);
        }
        for chunk in [workload.prefill_chunk / 2, workload.prefill_chunk / 4] {
            if chunk >= 64 {
                let flags = Setting::MicroBatch(chunk).of(self.engine);
                let changed = Question { prefill_chunk: Some(chunk), ..question.clone() };
                add("smaller-batch", flags, changed);
            }
        }
        if question.batch.or(question.parallel).is_some_and(|slots| slots > 1) {
            let flags = Setting::OneSlot.of(self.engine);
            let changed =
                Question { batch: None, parallel: None, kv_unified: false, ..question.clone() };
            add("one-slot", flags, changed);
        }
        for format in smaller_caches(plan) {
            let flash = eager && self.engine == Engine::LlamaCpp;
            let flags = Setting::Cache(format)
                .of(self.engine)
                .map(|flags| if flash { format!("-fa on {flags}") } else { flags });
            let attention = Some(Attention::Flash);
            let changed = Question { kv: Some(format.into()), attention, ..question.clone() };
            add("smaller-cache-type", flags, changed);
        }
        all.extend(self.shorter(plan));
        all.extend(self.placed(plan));
        if question.mmproj.is_some() && self.engine == Engine::LlamaCpp {
            let changed = Question { mmproj: None, ..question.clone() };
            all.push(Change {
                code: "no-encoder",
                flags: "--no-mmproj-offload".to_owned(),
                question: changed,
            });
        }
        all
    }

    /// The longest context that fits as everything else is.
    pub fn shorter(&self, plan: &Planned) -> Option<Change> {
        const STEP: u64 = 256;
        let (question, answer) = (&plan.question, &plan.answer);
        if let Some(pool) = answer.plan.pool {
            let longest = pool.start.longest;
            let question = question.clone();
            return (1..pool.start.context).contains(&longest).then(|| Change {
                code: "shorter-context",
                flags: match self.engine {
                    Engine::Sglang => format!("--context-length {longest}"),
                    _ => format!("--max-model-len {longest}"),
                },
                question: Question {
                    max_model_len: Some(longest),
                    context: question.context.map(|_| longest),
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
        // Of llama.cpp it is the context of all slots.
        let cells = if self.engine == Engine::LlamaCpp { all } else { fits };
        let flags = Setting::Context(cells).of(self.engine)?;
        let changed =
            Question { cache_tokens: Some(fits), context: Some(fits), ..question.clone() };
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
        if layers.is_none() && experts.is_none()
            || (experts.is_some() && matches!(self.engine, Engine::Ollama | Engine::KoboldCpp))
        {
            return None;
        }
        let mut flags = Vec::new();
        flags.extend(layers.and_then(|layers| Setting::Layers(layers).of(self.engine)));
        flags.extend(experts.map(|layers| format!("--n-cpu-moe {layers}")));
        let changed =
            Question { ngl: layers.map(Count::Some), n_cpu_moe: experts.map(Count::Some), ..free };
        Some(Change { code: "layers-on-the-host", flags: flags.join(" "), question: changed })
    }
}

fn of_vllm(plan: &Planned) -> Vec<Change> {
    let (question, answer, workload) = (&plan.question, &plan.answer, &plan.deployment.workload);
    let mut all = Vec::new();
    let mut add = |code, flags, question| all.push(Change { code, flags, question });
    let given = plan.deployment.options().serving();
    let share = answer.shares.and_then(|shares| shares.best());
    if let Some(share) =
        share.filter(|share| given.is_some_and(|given| given.utilization != *share))
    {
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
    all.extend(more_cards(question, "--tensor-parallel-size"));
    all
}

fn of_sglang(plan: &Planned) -> Vec<Change> {
    let (question, answer, workload) = (&plan.question, &plan.answer, &plan.deployment.workload);
    let mut all = Vec::new();
    let mut add = |code, flags, question| all.push(Change { code, flags, question });
    let given = plan.deployment.options().token_serving();
    let share = answer.shares.and_then(|shares| shares.best());
    if let Some(share) = share.filter(|share| given.is_some_and(|given| given.fraction != *share)) {
        let asked = share.to_string().parse().ok();
        let changed = Question { mem_fraction_static: asked, ..question.clone() };
        add("other-share", format!("--mem-fraction-static {share}"), changed);
    }
    if !smaller_caches(plan).is_empty() {
        let changed = Question { kv: "fp8".parse().ok(), ..question.clone() };
        add("smaller-cache-type", "--kv-cache-dtype fp8_e4m3".to_owned(), changed);
    }
    if workload.prefill_chunk > 2048 {
        let changed = Question { prefill_chunk: Some(2048), ..question.clone() };
        add("smaller-batch", "--chunked-prefill-size 2048".to_owned(), changed);
    }
    if !question.enforce_eager {
        let changed = Question { enforce_eager: true, ..question.clone() };
        add("no-graphs", "--disable-cuda-graph".to_owned(), changed);
    }
    all.extend(more_cards(question, "--tp"));
    all
}

/// Twice the cards, that every layer is split over.
fn more_cards(question: &Question, flag: &str) -> Option<Change> {
    let ranks = question.gpus.unwrap_or(1);
    let alike = !question.gpu.as_deref().unwrap_or_default().contains(',');
    (ranks <= 4 && alike).then(|| {
        let more = ranks * 2;
        let split = Some(Split::Tensor);
        Change {
            code: "more-cards",
            flags: format!("{flag} {more}"),
            question: Question { gpus: Some(more), split, ..question.clone() },
        }
    })
}

fn of_transformers(plan: &Planned) -> Vec<Change> {
    let question = &plan.question;
    let mut all = Vec::new();
    let mut add = |code, flags: &str, question| {
        all.push(Change { code, flags: flags.to_owned(), question });
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
    all
}
