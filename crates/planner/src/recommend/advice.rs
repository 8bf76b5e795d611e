//! What would save memory, and how to spend what is left. Every figure is a plan of its own.

use std::sync::Arc;

use super::fewest::more_cards;
use super::placement;
use super::{Limit, RecommendError, Recommendation, Shares, Solver, WindowBasis, start};
use crate::deployment::{CacheSize, Cards, Deployment};
use crate::dtype::{KvFormat, WeightFormat};
use crate::estimate::rules::Refusal;
use crate::estimate::{rules, vision};
use crate::plan::{Demand, Plan, Verdict};
use crate::spec::{Architecture, Attention, Capture, Logits, Runtime, Utilization};
use crate::units::Bytes;

/// One piece of advice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// A stable name.
    pub code: &'static str,
    /// What to do, and what it gives.
    pub text: String,
    /// Bytes that the expected peak falls by; negative where it rises.
    pub saves: i64,
}

/// Most pieces of advice of each kind.
const MOST: usize = 6;
/// Most larger weight formats to name.
const MOST_FORMATS: usize = 2;
/// Savings below this are not worth a line.
const WORTH: i64 = 4 << 20;

/// What advice is given on.
#[derive(Clone, Copy, Debug)]
pub struct Planned<'a> {
    /// The plan of the GPU that binds.
    pub plan: &'a Plan,
    /// Which GPU that is.
    pub binding: usize,
    /// Cached tokens that it is of.
    pub tokens: u64,
    /// Between which shares of the card the runtime starts.
    pub shares: Option<Shares>,
}

/// Advice for a plan: notes on what binds first, then savings where memory is short, or ways to
/// spend where it is left over.
pub fn advise(
    solver: &Solver<'_>,
    planned: Planned<'_>,
    recommendation: &Recommendation,
) -> Result<Vec<Advice>, RecommendError> {
    let Planned { plan, binding, tokens, shares } = planned;
    let deployment = solver.deployment;
    let advisor = Advisor { deployment, solver, plan, binding, tokens, shares, recommendation };
    let mut advice = advisor.notes();
    advice.extend(advisor.starting());
    advice.extend(advisor.other_placement());
    advice.extend(advisor.one_gpu());
    advice.extend(advisor.more_gpus());
    let roomy = plan.verdict == Verdict::Fits && recommendation.limited_by != Limit::Vram;
    let mut ranked = if roomy { advisor.spending()? } else { advisor.savings() };
    if !roomy {
        ranked.sort_by_key(|advice| std::cmp::Reverse(advice.saves));
    }
    ranked.truncate(MOST);
    advice.append(&mut ranked);
    Ok(advice)
}

/// The code of the note that vramplan's engine does not run what is planned: it stands in the first lines.
pub const ENGINE_REFUSES: &str = "engine-refuses";

fn refusal(deployment: &Deployment) -> Option<Refusal> {
    let Deployment { model, kv, workload, .. } = deployment;
    rules(deployment.kind()).refusal(model, workload, *kv)
}

struct Advisor<'a> {
    deployment: &'a Deployment,
    solver: &'a Solver<'a>,
    plan: &'a Plan,
    binding: usize,
    tokens: u64,
    shares: Option<Shares>,
    recommendation: &'a Recommendation,
}

impl Advisor<'_> {
    /// The deployment with a change.
    fn with(&self, change: impl FnOnce(&mut Deployment)) -> Deployment {
        let mut changed = self.deployment.clone();
        change(&mut changed);
        changed
    }

    fn cache_tokens(&self) -> u64 {
        let balanced = self.recommendation.tiers.balanced.max_cache_tokens;
        self.deployment.cache.fixed().unwrap_or(balanced)
    }

    /// What the reader must know before any figure.
    fn notes(&self) -> Vec<Advice> {
        let mut notes = Vec::new();
        let mut note = |code, text| notes.push(Advice { code, text, saves: 0 });
        for remark in &self.deployment.model.remarks {
            note("model", remark.clone());
        }
        if let Some(text) = self.encoder() {
            note("encoder", text);
        }
        let workload = &self.deployment.workload;
        let own = self.deployment.model.shape.context_len;
        let longest = workload.system_tokens.saturating_add(self.cache_tokens());
        if longest > own {
            note(
                "beyond-context",
                format!(
                    "the model's own context is {own} tokens: beyond that it needs RoPE scaling"
                ),
            );
        }
        let balanced = &self.recommendation.tiers.balanced;
        if balanced.limited_by == Limit::Context {
            let left = self.left_at(balanced.max_cache_tokens);
            let evicts = match balanced.recent_window.basis {
                WindowBasis::NoEviction => "",
                _ => ": no eviction is needed",
            };
            note(
                "context-binds",
                format!(
                    "the whole context of {} tokens fits with {left} to spare{evicts}",
                    workload.context
                ),
            );
        }
        if balanced.limited_by == Limit::Speed {
            note(
                "speed-binds",
                format!(
                    "the decode speed asked for is the limit: with more than {} cached tokens, {} cannot reach it",
                    balanced.max_cache_tokens,
                    self.deployment.cards.first().gpu.name
                ),
            );
        }
        if self.plan.verdict != Verdict::Fits && self.deployment.cache != CacheSize::Solve {
            let most = balanced.max_cache_tokens;
            if most > 0 {
                let flag = self.cache_flag(most);
                note("smaller-cache", format!("`{flag}` fits with the headroom"));
            }
        }
        if let Some(refusal) = refusal(self.deployment) {
            let Refusal { what, expected } = refusal;
            note(
                ENGINE_REFUSES,
                format!(
                    "a plan for an engine of this design: vramplan's own does not run {what} (it runs {expected})"
                ),
            );
        }
        notes
    }

    /// A cache of so many tokens in the words of the question.
    fn cache_flag(&self, tokens: u64) -> String {
        let Deployment { given, workload, .. } = self.deployment;
        match given.context_per_user {
            Some(_) => {
                let all = workload.system_tokens.saturating_add(tokens);
                format!("--context-per-user {all}")
            }
            None => format!("--cache-tokens {tokens}"),
        }
    }

    /// So many sequences at once in the words of the question.
    fn batch_flag(&self, batch: u64) -> String {
        let given = &self.deployment.given;
        let flag = match () {
            () if given.users.is_some() || given.context_per_user.is_some() => "--users",
            () if given.parallel.is_some() => "--parallel",
            () => "--batch",
        };
        format!("{flag} {batch}")
    }

    /// So many of the card in the words of the question: one that lists cards has no number beside it.
    fn gpus_flag(&self, gpus: u64) -> String {
        let Deployment { given, cards, .. } = self.deployment;
        if given.gpus.is_none() && cards.len() > 1 {
            return format!("--gpu {}", quoted(&format!("{gpus}x{}", cards.first().gpu.name)));
        }
        format!("--gpus {gpus}")
    }

    /// What of an encoder of images, which the runtime loads, is not planned or only roughly.
    fn encoder(&self) -> Option<String> {
        let Deployment { model, workload, .. } = self.deployment;
        let (kind, shape) = (self.deployment.kind(), &model.shape);
        if shape.vision.is_some() || !vision::loads(kind, workload.images) {
            return None;
        }
        if !model.vision_tensors.is_empty() {
            return Some(format!(
                "the encoder beside `{}` is counted, what it takes while it encodes is not known: somewhere within the bounds",
                model.name
            ));
        }
        let sees_images = matches!(
            shape.architecture,
            Architecture::Llama4 | Architecture::Gemma3n | Architecture::Gemma4
        );
        sees_images.then(|| {
            format!(
                "`{kind}` loads an encoder of images with such a model, which this shape lacks: neither its weights nor \
                 what it takes are planned; `--model` with the repository's name reads them"
            )
        })
    }

    /// What to say to a runtime that takes a share of the card, so that it starts: a shorter context, another share, or the
    /// bytes of its cache outright.
    fn starting(&self) -> Vec<Advice> {
        let (Some(pool), Some(shares)) = (self.plan.pool, self.shares) else { return Vec::new() };
        let note = |code, text| Advice { code, text, saves: 0 };
        let start = pool.start;
        let mut notes = Vec::new();
        if !start.succeeds(|bounds| bounds.expected) && start.longest > 0 {
            let longest = start.longest;
            let text = format!("it starts with `--max-model-len {longest}`, or less");
            notes.push(note("shorter-context", text));
        }
        if self.plan.verdict == Verdict::Fits {
            return notes;
        }
        let given = self.deployment.options().share();
        let others = |share: &Utilization| Some(*share) != given;
        if let Some(best) = shares.best().filter(others) {
            let smallest = shares.smallest.filter(|smallest| *smallest < best);
            let from = smallest.map(|share| format!("; so does any from {share} on"));
            let flag = rules(self.deployment.kind()).pool_words().share;
            let text = format!(
                "`{flag} {best}` starts with a context of {} and leaves room for what is outside of it{}",
                start.context,
                from.unwrap_or_default()
            );
            notes.push(note("other-share", text));
            notes.extend(self.cache_memory(best).map(|text| note("cache-memory", text)));
        }
        notes
    }

    /// The pool of another share in vLLM's own words.
    fn cache_memory(&self, share: Utilization) -> Option<String> {
        let options = self.deployment.options();
        options.serving()?;
        let changed = self.with(|changed| changed.set_options(options.with_share(share)));
        let solver = self.solver.varied(&changed);
        let pool = solver.binding(1).ok()?.0.pool?;
        let bytes = pool.limit.minus_or_zero(pool.fixed.high).get();
        Some(format!("the same without a profile run to decide: `--kv-cache-memory-bytes {bytes}`"))
    }

    /// What is left of what can be taken with a cache of this size, where the least is.
    fn left_at(&self, tokens: u64) -> Bytes {
        let binding = self.solver.binding(tokens);
        binding.map_or(Bytes::ZERO, |(demand, capacity)| demand.left(&capacity))
    }

    /// Says so where one of several GPUs alone holds as large a cache.
    fn one_gpu(&self) -> Option<Advice> {
        let cards = &self.deployment.cards;
        if cards.len() == 1 {
            return None;
        }
        let largest = cards.iter().max_by_key(|card| card.capacity.usable)?;
        let gpu = &largest.gpu;
        let mut changed = self.with(|changed| changed.cards = Cards::one(largest.clone()));
        changed.set_options(changed.options().with_ranks(1));
        let alone = Solver::new(&changed).ok()?.tier(super::TierName::Balanced, 0).ok()?;
        let enough = self.recommendation.tiers.balanced.max_cache_tokens.max(1);
        (alone.max_cache_tokens >= enough).then(|| Advice {
            code: "one-gpu-suffices",
            text: format!("one {} alone holds {} cached tokens", gpu.name, alone.max_cache_tokens),
            saves: 0,
        })
    }

    /// The placement that fits where the one that was asked for does not.
    fn other_placement(&self) -> Option<Advice> {
        if self.plan.verdict == Verdict::Fits {
            return None;
        }
        let placement = placement::other(self.deployment, self.tokens)?;
        let text = format!(
            "`{}` makes it fit, at {} tokens a second",
            placement.flags(),
            placement.speed.range()
        );
        Some(Advice { code: "other-placement", text, saves: 0 })
    }

    /// How many of the card hold what this number does not.
    fn more_gpus(&self) -> Option<Advice> {
        if self.plan.verdict == Verdict::Fits {
            return None;
        }
        let gpus = more_cards(self.deployment)?;
        let name = &self.deployment.cards.first().gpu.name;
        let flag = self.gpus_flag(gpus);
        let text = format!("`{flag}`: {gpus} × {name} hold it");
        Some(Advice { code: "more-gpus", text, saves: 0 })
    }

    /// Bytes that the expected demand falls by.
    fn saves(&self, changed: Demand) -> Option<i64> {
        let (now, then) = (self.plan.demand().varies(), changed.varies());
        i64::try_from(now.expected.diff(then.expected)).ok()
    }

    /// What a changed deployment asks for at the same cache size, and whether it fits.
    fn replan(&self, changed: &Deployment) -> Result<(Demand, Verdict), RecommendError> {
        let tokens = self.tokens;
        let same_weights = changed.weights == self.deployment.weights
            && Arc::ptr_eq(&changed.model, &self.deployment.model);
        if same_weights {
            return self.with_verdict(&self.solver.varied(changed), tokens);
        }
        self.with_verdict(&Solver::new(changed)?, tokens)
    }

    /// What the GPU that binds now is asked for then, and whether all of them fit.
    fn with_verdict(
        &self,
        solver: &Solver<'_>,
        tokens: u64,
    ) -> Result<(Demand, Verdict), RecommendError> {
        let (demand, capacity) = solver.binding(tokens)?;
        let demands = solver.demands(tokens)?;
        let same = demands.get(self.binding).copied();
        let verdict = start::with_start(capacity.verdict(demand)?, &demands);
        Ok((same.unwrap_or(demand), verdict))
    }

    /// Whether the engine would refuse a change although it runs what is planned now.
    fn is_refused(&self, changed: &Deployment) -> bool {
        refusal(self.deployment).is_none() && refusal(changed).is_some()
    }

    /// Advice from a change, where it can be planned and makes a difference.
    fn saving(&self, code: &'static str, what: &str, changed: &Deployment) -> Option<Advice> {
        if self.is_refused(changed) {
            return None;
        }
        let (demand, verdict) = self.replan(changed).ok()?;
        let saves = self.saves(demand)?;
        if saves < WORTH {
            return None;
        }
        let size = Bytes::new(saves.unsigned_abs());
        let fits = match verdict {
            Verdict::Fits if self.plan.verdict != Verdict::Fits => ", which makes it fit",
            _ => "",
        };
        Some(Advice { code, text: format!("{what} frees {size}{fits}"), saves })
    }

    fn savings(&self) -> Vec<Advice> {
        let mut found = Vec::new();
        let workload = &self.deployment.workload;
        if workload.prefill_chunk >= 128 {
            let changed =
                self.with(|changed| changed.workload.prefill_chunk = workload.prefill_chunk / 2);
            let flag = rules(self.deployment.kind()).own_flags().chunk;
            let what = format!("`{flag} {}`", changed.workload.prefill_chunk);
            found.extend(self.saving("smaller-prefill-chunk", &what, &changed));
        }
        for format in smaller_weights(self.deployment.weights, self.deployment.kind()) {
            let changed = self.with(|changed| changed.weights = format);
            let what = format!("`--weights {format}`");
            found.extend(self.saving("smaller-weights", &what, &changed));
        }
        for kv in smaller_kv(self.deployment.kv, self.deployment.kind()) {
            let weights = self.deployment.weights;
            let changed = self.deployment.with_formats(weights, kv.into());
            let flag = (rules(self.deployment.kind()).own_flags().kv)(kv);
            found.extend(self.saving("smaller-kv", &format!("`{flag}`"), &changed));
        }
        self.other_savings(&mut found);
        self.smaller_model(&mut found);
        found
    }

    fn other_savings(&self, found: &mut Vec<Advice>) {
        let workload = &self.deployment.workload;
        let without_scores = rules(self.deployment.kind()).ladders().without_scores;
        if let Some(better) = without_scores.filter(|_| workload.attention == Attention::Eager) {
            let changed = self.with(|changed| changed.workload.attention = better);
            let what = format!("`--attention {better}`");
            found.extend(self.saving("no-score-matrix", &what, &changed));
        }
        if workload.logits == Logits::All {
            let changed = self.with(|changed| changed.workload.logits = Logits::Last);
            found.extend(self.saving("last-logits", "`--logits last`", &changed));
        }
        if let Some(capture) = workload.capture.filter(|capture| capture.keep) {
            let changed = self.with(|changed| {
                changed.workload.capture = Some(Capture { keep: false, ..capture });
            });
            let what = "moving captured activations to the host layer by layer";
            found.extend(self.saving("capture-to-host", what, &changed));
        }
        if workload.batch > 1 {
            let changed = self.with(|changed| changed.workload.batch = workload.batch / 2);
            let what = format!("`{}`", self.batch_flag(changed.workload.batch));
            found.extend(self.saving("smaller-batch", &what, &changed));
        }
        if workload.grown_cache {
            let changed = self.with(|changed| changed.workload.grown_cache = false);
            found.extend(self.saving("preallocated-cache", "`--cache preallocated`", &changed));
        }
        let options = self.deployment.options();
        if let Some(grown) = rules(self.deployment.kind()).with_expandable_segments(&options) {
            let changed = self.with(|changed| changed.set_options(grown));
            let what =
                "`PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True` (`--expandable-segments`)";
            found.extend(self.saving("expandable-segments", what, &changed));
        }
    }

    fn smaller_model(&self, found: &mut Vec<Advice>) {
        let parameters = self.deployment.model.parameters();
        let smaller = self.deployment.siblings.iter().filter(|m| m.parameters() < parameters);
        if let Some(model) = smaller.max_by_key(|model| model.parameters()) {
            let changed = self.with(|changed| changed.model = Arc::clone(model));
            found.extend(self.saving(
                "smaller-model",
                &format!("`--model {}`", quoted(&model.name)),
                &changed,
            ));
        }
    }

    /// Advice from a change that takes more memory but still fits.
    fn spending_on(&self, code: &'static str, what: &str, changed: &Deployment) -> Option<Advice> {
        if self.is_refused(changed) {
            return None;
        }
        let (demand, verdict) = self.replan(changed).ok()?;
        if verdict != Verdict::Fits {
            return None;
        }
        let saves = self.saves(demand)?;
        let size = Bytes::new(saves.unsigned_abs());
        (saves < -WORTH).then(|| Advice {
            code,
            text: format!("{what} takes {size} more and still fits"),
            saves,
        })
    }

    fn spending(&self) -> Result<Vec<Advice>, RecommendError> {
        let mut found = Vec::new();
        let runtime = self.deployment.kind();
        for kv in larger_kv(self.deployment.kv, runtime) {
            let weights = self.deployment.weights;
            let changed = self.deployment.with_formats(weights, kv.into());
            let what = format!("`{}`", (rules(runtime).own_flags().kv)(kv));
            found.extend(self.spending_on("spend-on-kv", &what, &changed));
        }
        let larger = larger_weights(self.deployment.weights, runtime).into_iter();
        let formats = larger.filter_map(|format| {
            let changed = self.with(|changed| changed.weights = format);
            self.spending_on("spend-on-weights", &format!("`--weights {format}`"), &changed)
        });
        found.extend(formats.take(MOST_FORMATS));
        found.extend(self.longer_context()?);
        found.extend(self.more_sequences());
        let parameters = self.deployment.model.parameters();
        let larger = self.deployment.siblings.iter().filter(|m| m.parameters() > parameters);
        if let Some(model) = larger.min_by_key(|model| model.parameters()) {
            let changed = self.with(|changed| changed.model = Arc::clone(model));
            let what = format!("`--model {}`", quoted(&model.name));
            found.extend(self.spending_on("spend-on-model", &what, &changed));
        }
        Ok(found)
    }

    /// How far the context could be extended before memory binds.
    fn longer_context(&self) -> Result<Option<Advice>, RecommendError> {
        let workload = &self.deployment.workload;
        if self.recommendation.limited_by != Limit::Context {
            return Ok(None);
        }
        let changed = self.with(|changed| {
            changed.cache = CacheSize::Solve;
            changed.workload.context = workload.context.saturating_mul(MOST_EXTENSION);
        });
        let balanced = self.solver.varied(&changed).tier(super::TierName::Balanced, 0)?;
        let context = workload.system_tokens + balanced.max_cache_tokens;
        if context <= workload.context {
            return Ok(None);
        }
        let saves =
            i64::try_from(self.plan.peak.expected.diff(balanced.peak.expected)).unwrap_or(0);
        let allowed = if context <= self.deployment.model.shape.context_len {
            ""
        } else {
            "where RoPE scaling allows it, "
        };
        let is_for_users = self.deployment.given.context_per_user.is_some();
        let flag = if is_for_users { "--context-per-user" } else { "--context" };
        let text = format!(
            "memory would hold {} cached tokens: {allowed}`{flag} {context}`",
            balanced.max_cache_tokens
        );
        Ok(Some(Advice { code: "spend-on-context", text, saves }))
    }

    /// How many conversations fit at once.
    fn more_sequences(&self) -> Option<Advice> {
        let with = |batch| self.with(|changed| changed.workload.batch = batch);
        let fits = |batch: u64| {
            self.replan(&with(batch)).is_ok_and(|(_, verdict)| verdict == Verdict::Fits)
        };
        let batch = self.deployment.workload.batch;
        let most = largest_that(batch, batch + MOST_SEQUENCES, fits)?;
        self.spending_on(
            "spend-on-sequences",
            &format!("`{}` ({most} conversations at once)", self.batch_flag(most)),
            &with(most),
        )
    }
}

/// A value as a shell takes it for one word.
fn quoted(value: &str) -> std::borrow::Cow<'_, str> {
    shlex::try_quote(value).unwrap_or(value.into())
}

/// The largest number above `from` and up to `to` that `fits`, given that smaller ones fit too.
fn largest_that(from: u64, to: u64, fits: impl Fn(u64) -> bool) -> Option<u64> {
    if fits(to) {
        return Some(to);
    }
    let found = super::search::bisect(from, to, |n| Ok::<_, ()>(fits(n))).ok()?;
    (found > from).then_some(found)
}

/// How far contexts are extended in advice.
const MOST_EXTENSION: u64 = 8;
/// How many further sequences advice tries.
const MOST_SEQUENCES: u64 = 31;

/// The next smaller and second next smaller format.
fn smaller_weights(format: WeightFormat, runtime: Runtime) -> Vec<WeightFormat> {
    let ladder = rules(runtime).ladders().weights;
    let Some(at) = ladder.iter().position(|&step| step == format) else { return Vec::new() };
    ladder[..at].iter().rev().take(2).copied().collect()
}

/// The largest larger formats, largest first.
fn larger_weights(format: WeightFormat, runtime: Runtime) -> Vec<WeightFormat> {
    let ladder = rules(runtime).ladders().weights;
    let Some(at) = ladder.iter().position(|&step| step == format) else { return Vec::new() };
    ladder[at + 1..].iter().rev().copied().collect()
}

fn smaller_kv(kv: KvFormat, runtime: Runtime) -> Vec<KvFormat> {
    let ladder = rules(runtime).ladders().kv;
    let at = ladder.iter().position(|&step| step == kv).unwrap_or(0);
    ladder[..at].iter().rev().copied().collect()
}

fn larger_kv(kv: KvFormat, runtime: Runtime) -> Vec<KvFormat> {
    let ladder = rules(runtime).ladders().kv;
    let at = ladder.iter().position(|&step| step == kv).unwrap_or(ladder.len() - 1);
    ladder[at + 1..].to_vec()
}
