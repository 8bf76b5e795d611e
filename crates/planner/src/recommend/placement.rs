//! Which layers, and whose experts, go to main memory where everything does not fit on GPUs.
//!
//! What leaves first is the speed model's answer, not a rule: for whole layers and for experts the fewest are searched
//! that fit, each by planning the whole model again, and of the two placements the faster one is taken. Where even all
//! experts are not enough, whole layers follow them. Several GPUs that llama.cpp's own dealing overfills get layers so that
//! what is left on each is as equal as it can be.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::devices::{self, Device};
use super::speed::{Speed, decode_speed};
use super::{Advice, RecommendError, TierName};
use crate::deployment::{Card, Deployment};
use crate::estimate::Scenario;
use crate::estimate::llama_cpp::placement::{
    Counts, Placing, TensorTable, applies_gates, cached_bytes, parts, reads_two_rows, weights_of,
};
use crate::estimate::placement::{PlacementError, Room};
use crate::estimate::rules;
use crate::estimate::weights::{Weights, file_layers};
use crate::plan::{self, Demand};
use crate::spec::{Count, Fact, Launch, Part, Placed, Role, Split, TensorSplit};
use crate::units::{Bytes, at_most};

/// Tokens of the context that a placement is solved for where none was asked for: what llama.cpp's own `--fit` shrinks
/// a context to before it moves layers (`fit_params_min_ctx` in `common.h`).
pub const LEAST_CONTEXT: u64 = 4096;

/// Placements of other contexts that are worth a line.
const MOST_TRADES: usize = 3;

/// A placement, and what it gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    /// What llama.cpp is told.
    pub launch: Launch,
    /// Layers on GPUs, the output head being one more.
    pub gpu_layers: u64,
    /// Layers of the model, and its head.
    pub of_layers: u64,
    /// Layers whose experts are in main memory.
    pub cpu_moe: u64,
    /// Tokens of a conversation that it was solved for.
    pub tokens: u64,
    /// How fast tokens can be generated with them.
    pub speed: Speed,
    /// Whether it leaves every device its headroom.
    pub fits: bool,
}

impl Placement {
    /// The deployment with this placement.
    pub fn of(&self, deployment: &Deployment) -> Deployment {
        let mut settled = deployment.clone();
        settled.set_launch(self.launch.clone());
        settled
    }

    /// Whether nothing of the model is in main memory.
    pub const fn is_on_cards(&self) -> bool {
        self.gpu_layers >= self.of_layers && self.cpu_moe == 0
    }

    /// The flags that ask for it.
    pub fn flags(&self) -> String {
        let mut flags = Vec::new();
        if self.gpu_layers < self.of_layers {
            flags.push(format!("-ngl {}", self.gpu_layers));
        }
        if self.cpu_moe > 0 {
            flags.push(format!("--n-cpu-moe {}", self.cpu_moe));
        }
        if let Some(split) = &self.launch.tensor_split {
            flags.push(format!("--tensor-split {split}"));
        }
        if flags.is_empty() { "-ngl all".to_owned() } else { flags.join(" ") }
    }
}

/// A placement that was solved, and others for longer contexts.
#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    /// The placement that is planned.
    pub placement: Placement,
    /// Placements for this context and longer ones, the shortest first.
    pub trades: Vec<Placement>,
    /// What main memory is taken to be read at.
    pub ram_bandwidth: Fact<Bytes>,
    /// Whether the whole model is expected to fit on the GPUs with this context, though without the headroom.
    pub is_whole_tight: bool,
}

impl Settlement {
    /// Says what the placements worth having give, first.
    pub fn advise(&self, advice: &mut Vec<Advice>) {
        let line = |placement: &Placement| Advice {
            code: "placement",
            text: format!(
                "`{}` holds {} tokens at {} tokens a second",
                placement.flags(),
                placement.tokens,
                placement.speed.range()
            ),
            saves: 0,
        };
        advice.splice(0..0, self.trades.iter().map(line));
    }
}

/// The placement of a deployment, where it leaves that open and everything does not fit on its GPUs.
///
/// # Errors
/// As [`super::answer`].
#[allow(clippy::redundant_closure_for_method_calls, reason = "the method is of one lifetime")]
pub fn settle(deployment: &Deployment) -> Result<Option<Settlement>, RecommendError> {
    settled(deployment, |search, placement| search.trades(placement))
}

/// The same without placements of longer contexts.
///
/// # Errors
/// As [`settle`].
pub(super) fn settle_alone(deployment: &Deployment) -> Result<Option<Settlement>, RecommendError> {
    settled(deployment, |_, _| Ok(Vec::new()))
}

fn settled(
    deployment: &Deployment,
    trades: impl Fn(&Search<'_>, &Placement) -> Result<Vec<Placement>, RecommendError>,
) -> Result<Option<Settlement>, RecommendError> {
    let Some(search) = Search::of(deployment)? else { return Ok(None) };
    let Some(placement) = search.placement()? else { return Ok(None) };
    Ok(Some(Settlement {
        trades: trades(&search, &placement)?,
        is_whole_tight: search.is_whole_tight(placement.tokens)?,
        ram_bandwidth: deployment.host.gpu.bandwidth.clone(),
        placement,
    }))
}

/// The placement alone, without those of longer contexts.
///
/// # Errors
/// As [`settle`].
pub fn solve(deployment: &Deployment) -> Result<Option<Placement>, RecommendError> {
    Search::of(deployment)?.map_or(Ok(None), |search| search.placement())
}

/// The fastest placement of so many cached tokens that fits, where another was asked for by numbers of layers; nothing where tensors
/// were placed by name, and where none fits.
pub fn other(deployment: &Deployment, tokens: u64) -> Option<Placement> {
    let given = &deployment.runtime.launch;
    let counts = [given.gpu_layers, given.cpu_moe];
    let is_asked = counts.iter().flatten().any(|count| *count != Count::Auto);
    if !is_asked || !given.overrides.is_empty() || !rules(deployment.kind()).places_tensors() {
        return None;
    }
    let free = |gpu_layers, cpu_moe| {
        let mut changed = deployment.with_cache(tokens);
        changed.set_launch(Launch { gpu_layers, cpu_moe, ..given.clone() });
        solve(&changed).ok().flatten().filter(|placement| placement.fits)
    };
    // What was said of layers stays where experts alone make it fit.
    let auto = Some(Count::Auto);
    given.gpu_layers.and_then(|layers| free(Some(layers), auto)).or_else(|| free(auto, auto))
}

struct Search<'a> {
    deployment: &'a Deployment,
    table: TensorTable,
    free: Vec<Bytes>,
    /// The counts that were asked for, all layers on GPUs where none were.
    fixed: Counts,
    /// What was tried: searches begin and end at the same placements.
    known: RefCell<Vec<(Counts, u64, Rc<Tried>)>>,
}

/// What a placement asks of every device.
struct Tried {
    placement: Placement,
    demands: Vec<Demand>,
    /// Bytes of caches on each of them.
    cached: Vec<Bytes>,
    /// Bytes of weights on each of them.
    weights: Vec<Bytes>,
    /// Whether it leaves every GPU its headroom.
    is_on_gpus: bool,
}

impl<'a> Search<'a> {
    /// Nothing where the deployment leaves no placement open.
    fn of(deployment: &'a Deployment) -> Result<Option<Self>, RecommendError> {
        let is_open =
            rules(deployment.kind()).places_tensors() && deployment.runtime.launch.is_free();
        if !is_open || deployment.split == Split::Tensor {
            return Ok(None);
        }
        Self::new(deployment).map(Some)
    }

    /// The placement for the context that was asked for; nothing where everything fits on GPUs and nobody asked.
    fn placement(&self) -> Result<Option<Placement>, RecommendError> {
        let workload = &self.deployment.workload;
        let room = workload.context.saturating_sub(workload.system_tokens);
        let least = LEAST_CONTEXT.saturating_sub(workload.system_tokens).max(1).min(room);
        let tokens = self.deployment.cache.fixed().unwrap_or(least);
        let everything = self.everything(tokens)?;
        if everything.placement.fits && !self.is_asked_to_solve() {
            return Ok(None);
        }
        self.solve(tokens, &everything).map(Some)
    }

    fn new(deployment: &'a Deployment) -> Result<Self, RecommendError> {
        let table = TensorTable::new(&deployment.model, deployment.weights)?;
        let room = |card: &Card| Room { gpu: &card.gpu, usable: card.capacity.usable }.free();
        let free = deployment.cards.iter().map(room).collect();
        let fixed = Counts { gpu_layers: 0, cpu_moe: 0 };
        let mut search = Self { deployment, table, free, fixed, known: RefCell::default() };
        let launch = &deployment.runtime.launch;
        search.fixed = search.placing(launch).counts().map_err(PlacementError::from)?;
        Ok(search)
    }

    fn placing<'b>(&'b self, launch: &'b Launch) -> Placing<'b> {
        let first = &self.deployment.cards.first().gpu;
        Placing {
            table: &self.table,
            file_layers: file_layers(&self.deployment.model),
            free: &self.free,
            launch,
            version: self.deployment.runtime.options.llama_cpp().generation(),
            output_first: self.deployment.runtime.options.llama_cpp().places_output_first(),
            by_rows: false,
            ada: reads_two_rows(first),
            turing: applies_gates(first),
        }
    }

    /// Whether a count is `auto`, rather than left out.
    fn is_asked_to_solve(&self) -> bool {
        let launch = &self.deployment.runtime.launch;
        [launch.gpu_layers, launch.cpu_moe].contains(&Some(Count::Auto))
    }

    /// Layers on GPUs and layers' experts in main memory between which a choice is left.
    fn most(&self) -> Counts {
        let launch = &self.deployment.runtime.launch;
        let is_open = |count: Option<Count>| matches!(count, None | Some(Count::Auto));
        let experts = if self.placing(launch).has_experts() { self.table.n_layers } else { 0 };
        Counts {
            gpu_layers: if is_open(launch.gpu_layers) { self.fixed.gpu_layers } else { 0 },
            cpu_moe: if is_open(launch.cpu_moe) { experts } else { 0 },
        }
    }

    /// All that may be on GPUs.
    fn everything(&self, tokens: u64) -> Result<Rc<Tried>, RecommendError> {
        self.tried(self.fixed, tokens)
    }

    /// Whether all of it is expected to be less than the GPUs have.
    fn is_whole_tight(&self, tokens: u64) -> Result<bool, RecommendError> {
        let everything = self.everything(tokens)?;
        let mut demands = self.deployment.cards.iter().zip(&everything.demands);
        Ok(demands.all(|(card, demand)| demand.peak.expected <= card.capacity.usable))
    }

    /// The fastest placement that fits; where none does, the one with the least on GPUs.
    fn solve(&self, tokens: u64, everything: &Rc<Tried>) -> Result<Placement, RecommendError> {
        if everything.is_on_gpus {
            return Ok(everything.placement.clone());
        }
        let Counts { gpu_layers, cpu_moe } = self.fixed;
        let most = self.most();
        let layers = |fewer: u64| Counts { gpu_layers: gpu_layers - fewer, cpu_moe };
        let mut found = self.fewest(most.gpu_layers, tokens, layers)?;
        if most.cpu_moe > 0 {
            let experts = |more: u64| Counts { gpu_layers, cpu_moe: cpu_moe.max(more) };
            let all = most.cpu_moe;
            let both = |fewer: u64| Counts { gpu_layers: gpu_layers - fewer, cpu_moe: all };
            let of_experts = match self.fewest(all, tokens, experts)? {
                Some(found) if found.is_on_gpus => Some(found),
                other if most.gpu_layers == 0 => other,
                _ => self.fewest(most.gpu_layers, tokens, both)?,
            };
            found = better(found, of_experts);
        }
        Ok(found.as_ref().unwrap_or(everything).placement.clone())
    }

    /// The placement that moves the fewest of up to `most` things to main memory and fits; where none does, the one
    /// that moves all of them.
    fn fewest(
        &self,
        most: u64,
        tokens: u64,
        counts: impl Fn(u64) -> Counts,
    ) -> Result<Option<Rc<Tried>>, RecommendError> {
        if most == 0 {
            return Ok(None);
        }
        let last = self.tried(counts(most), tokens)?;
        let first = self.tried(counts(0), tokens)?;
        if !last.is_on_gpus {
            return Ok(Some(last));
        }
        let (mut low, mut high) = ((0, self.excess(&first)), (most, self.excess(&last)));
        let mut best = last;
        let mut halve = false;
        while high.0 - low.0 > 1 {
            let span = high.0 - low.0;
            let guess = if halve { low.0 + span / 2 } else { between(low, high) };
            let tried = self.tried(counts(guess), tokens)?;
            let at = (guess, self.excess(&tried));
            if tried.is_on_gpus {
                (high, best) = (at, tried);
            } else {
                low = at;
            }
            halve = high.0 - low.0 > span / 2;
        }
        Ok(Some(best))
    }

    /// Bytes by which the fullest GPU is over what it may take; negative where there is room.
    fn excess(&self, tried: &Tried) -> i128 {
        let over = |(card, demand): (&Card, &Demand)| {
            let room = card.capacity.less_headroom(1).unwrap_or(Bytes::ZERO);
            i128::from(demand.peak.high.get()) - i128::from(room.get())
        };
        self.deployment.cards.iter().zip(&tried.demands).map(over).max().unwrap_or(0)
    }

    /// A placement with these counts, planned once.
    fn tried(&self, counts: Counts, tokens: u64) -> Result<Rc<Tried>, RecommendError> {
        let is_it = |known: &&(Counts, u64, Rc<Tried>)| (known.0, known.1) == (counts, tokens);
        if let Some((.., tried)) = self.known.borrow().iter().find(is_it) {
            return Ok(Rc::clone(tried));
        }
        let tried = Rc::new(self.try_out(counts, tokens)?);
        self.known.borrow_mut().push((counts, tokens, Rc::clone(&tried)));
        Ok(tried)
    }

    /// A placement with these counts: as llama.cpp deals layers out or, where that overfills a GPU, as they fit best.
    fn try_out(&self, counts: Counts, tokens: u64) -> Result<Tried, RecommendError> {
        let given = &self.deployment.runtime.launch;
        let launch = Launch {
            gpu_layers: Some(Count::Some(counts.gpu_layers)),
            cpu_moe: (counts.cpu_moe > 0).then_some(Count::Some(counts.cpu_moe)),
            ..given.clone()
        };
        let dealt = self.planned(counts, launch.clone(), tokens)?;
        let is_free = self.free.len() > 1 && given.tensor_split.is_none();
        if dealt.is_on_gpus || !is_free || counts.gpu_layers == 0 {
            return Ok(dealt);
        }
        let Some(split) = self.level(&dealt, counts) else { return Ok(dealt) };
        let launch = Launch { tensor_split: Some(split), ..launch };
        let levelled = self.planned(counts, launch, tokens)?;
        Ok(if self.excess(&levelled) < self.excess(&dealt) { levelled } else { dealt })
    }

    fn planned(
        &self,
        counts: Counts,
        launch: Launch,
        tokens: u64,
    ) -> Result<Tried, RecommendError> {
        let deployment = self.deployment;
        let mut runtime = (*deployment.runtime).clone();
        runtime.launch = launch;
        let placed = self.placing(&runtime.launch).place(counts).map_err(PlacementError::from)?;
        let placed = Arc::new(placed);
        let parts = parts(&deployment.model, &placed);
        let cards = deployment.cards.iter().chain([&*deployment.host]);
        let mut devices = Vec::with_capacity(parts.len());
        for (card, part) in cards.zip(&parts) {
            let weights = self.weights(&placed, part)?;
            devices.push(Device { card, weights: Cow::Owned(weights) });
        }
        let changed = Deployment { runtime: Arc::new(runtime), ..deployment.clone() };
        let scenarios: Vec<Scenario<'_>> =
            devices.iter().map(|device| device.scenario(&changed, tokens)).collect();
        let demand = |scenario: &Scenario<'_>| plan::demand(scenario);
        let demands: Vec<Demand> = scenarios.iter().map(demand).collect::<Result<_, _>>()?;
        let condition = TierName::Balanced.condition();
        let fits = devices::all_hold(&devices, &demands, condition)?;
        let gpus = placed.gpus;
        let is_on_gpus = devices::all_hold(&devices[..gpus], &demands[..gpus], condition)?;
        let cached = scenarios.iter().map(cached_bytes).collect::<Result<_, _>>()?;
        let weights = devices.iter().map(|device| device.weights.bounds.high).collect();
        let placement = Placement {
            gpu_layers: counts.gpu_layers,
            of_layers: file_layers(&deployment.model) + 1,
            cpu_moe: counts.cpu_moe,
            tokens,
            speed: decode_speed(&scenarios)?,
            fits,
            launch: changed.runtime.launch.clone(),
        };
        Ok(Tried { placement, demands, cached, weights, is_on_gpus })
    }

    fn weights(&self, placed: &Placed, part: &Part) -> Result<Weights, RecommendError> {
        let Deployment { model, weights: format, .. } = self.deployment;
        Ok(weights_of(&self.table, model, *format, (placed, part))?)
    }

    /// The split that leaves as much as possible on the fullest GPU, by the weights of each layer and an equal share of what
    /// else the dealt placement takes.
    fn level(&self, dealt: &Tried, counts: Counts) -> Option<TensorSplit> {
        let sizes = self.layer_sizes(counts, dealt)?;
        let total: u64 = sizes.iter().sum();
        let size = |bytes: Bytes| i128::from(bytes.get());
        let other = |(index, card): (usize, &Card)| {
            let room = card.capacity.less_headroom(1).unwrap_or(Bytes::ZERO);
            let kept = size(dealt.weights[index]) + size(dealt.cached[index]);
            size(room) - (size(dealt.demands[index].peak.high) - kept)
        };
        let others: Vec<i128> = self.deployment.cards.iter().enumerate().map(other).collect();
        let (mut low, mut high) = (-i128::from(total), i128::from(u64::MAX >> 1));
        let mut best = None;
        while high - low > 1 << 20 {
            let slack = low + (high - low) / 2;
            match filled(&sizes, &others, slack) {
                Some(runs) => (low, best) = (slack, Some(runs)),
                None => high = slack,
            }
        }
        best.map(|runs| TensorSplit::of_counts(&runs))
    }

    /// Bytes of weights and caches of each layer on GPUs, and of the head behind them.
    fn layer_sizes(&self, counts: Counts, dealt: &Tried) -> Option<Vec<u64>> {
        let layers = self.table.n_layers;
        let first = (file_layers(&self.deployment.model) + 1).checked_sub(counts.gpu_layers)?;
        let mut sizes = vec![0u64; at_most(layers + 1, usize::MAX)];
        for row in &self.table.rows {
            let is_expert = row.role.is_some_and(Role::is_routed_expert);
            let stays = row.layer.is_some_and(|layer| is_expert && layer < counts.cpu_moe);
            let index = match (row.layer, row.role) {
                (Some(layer), _) => at_most(layer, usize::MAX),
                (None, Some(Role::TokenEmbedding)) if !self.table.tied => continue,
                (None, _) => sizes.len() - 1,
            };
            if !stays {
                sizes[index] += row.on_gpu.get();
            }
        }
        // Caches are alike but for windows: an equal share of what all take serves to start from.
        let caches: u64 = dealt.cached.iter().map(|cached| cached.get()).sum();
        let share = caches / layers.max(1);
        let last = sizes.len() - 1;
        sizes[..last].iter_mut().for_each(|size| *size += share);
        Some(sizes.split_off(at_most(first, last)))
    }

    /// The fastest placements for longer contexts.
    fn trades(&self, placement: &Placement) -> Result<Vec<Placement>, RecommendError> {
        let workload = &self.deployment.workload;
        let most = workload.context.saturating_sub(workload.system_tokens);
        let mut trades: Vec<Placement> = Vec::new();
        if !placement.fits {
            return Ok(trades);
        }
        let contexts = [placement.tokens, 32_768, most];
        for tokens in contexts.into_iter().filter(|tokens| *tokens <= most) {
            if trades.last().is_some_and(|last| last.tokens >= tokens)
                || trades.len() >= MOST_TRADES
            {
                continue;
            }
            let found = if tokens == placement.tokens {
                placement.clone()
            } else {
                self.solve(tokens, &self.everything(tokens)?)?
            };
            if found.fits {
                trades.push(found);
            }
        }
        Ok(trades)
    }
}

/// The faster of two that fit, or the one that does.
fn better(a: Option<Rc<Tried>>, b: Option<Rc<Tried>>) -> Option<Rc<Tried>> {
    match (a, b) {
        (Some(a), Some(b)) => {
            let is_b = match (a.is_on_gpus, b.is_on_gpus) {
                (true, true) | (false, false) => {
                    b.placement.speed.expected > a.placement.speed.expected
                }
                (a_fits, _) => !a_fits,
            };
            Some(if is_b { b } else { a })
        }
        (a, b) => a.or(b),
    }
}

/// Where the line through two excesses crosses zero: strictly between them.
fn between(low: (u64, i128), high: (u64, i128)) -> u64 {
    let span = high.0 - low.0;
    let fall = (low.1 - high.1).max(1);
    let step = i128::from(span) * low.1.max(0) / fall;
    let step = u64::try_from(step).unwrap_or(span).saturating_add(1);
    low.0 + step.clamp(1, span - 1)
}

/// Runs of layers that leave every GPU at least `slack`; nothing where they do not all fit.
fn filled(sizes: &[u64], rooms: &[i128], slack: i128) -> Option<Vec<u64>> {
    let mut layers = sizes.iter().peekable();
    let mut runs = Vec::with_capacity(rooms.len());
    for room in rooms {
        let (mut left, mut run) = (room - slack, 0);
        while let Some(size) = layers.next_if(|size| i128::from(**size) <= left) {
            left -= i128::from(*size);
            run += 1;
        }
        runs.push(run);
    }
    layers.next().is_none().then_some(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_fill_gpus_in_order() {
        assert_eq!(filled(&[2, 2, 2, 2], &[5, 4], 0), Some(vec![2, 2]));
        assert_eq!(filled(&[2, 2, 2, 2], &[5, 4], 1), None);
        assert_eq!(filled(&[3, 1], &[0, 9], 0), Some(vec![0, 2]));
    }

    #[test]
    fn guesses_are_between() {
        assert_eq!(between((0, 100), (10, -100)), 6);
        assert_eq!(between((4, 5), (6, -1)), 5);
    }
}
