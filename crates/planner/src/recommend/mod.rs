//! The inverse of a plan: the largest cache that fits, and what would change the answer.
//!
//! Every figure comes from planning again, never from a linear shortcut: a tier is the largest
//! `max_cache_tokens` for which the plan meets the tier's condition, searched for over the full
//! model: a plan does not shrink when the cache grows. llama.cpp's compute buffer can, by a few MiB,
//! as its tensors happen to fit each other's holes, so a few cells beyond the answer are tried too.

mod advice;
mod automatic;
mod devices;
mod fewest;
mod outline;
mod placement;
mod search;
mod speed;
mod start;
mod summary;
mod users;
mod window;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use self::devices::Device;
use crate::deployment::{CacheSize, Deployment};
use crate::estimate::placement::PlacementError;
use crate::estimate::rules;
use crate::estimate::weights::{Weights, WeightsError};
use crate::estimate::{EstimateError, Scenario};
use crate::plan::{Capacity, Demand, Plan, Reason, Verdict};
use crate::spec::{Bounds, RuntimeOptions, Workload};
use crate::units::{Bytes, Overflow};

pub use advice::{Advice, ENGINE_REFUSES, Planned, advise};
pub use automatic::settle as settle_batch;
pub use devices::DevicePlan;
pub use fewest::settle as settle_cards;
pub use outline::outline;
pub use placement::{LEAST_CONTEXT, Placement, Settlement, settle, solve};
pub use speed::{Speed, decode_speed};
pub use start::{Shares, fitted_length, settle as settle_share};
pub use summary::{Fit, Largest, Summary};
pub use users::{Users, settle as settle_users};
pub use window::{RecentWindow, WindowBasis, WindowError, recent_window, smallest_cache};

/// Why there is no recommendation.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RecommendError {
    /// The weights cannot be sized.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The model cannot be spread over these GPUs.
    #[error(transparent)]
    Placement(#[from] PlacementError),
    /// The buffers cannot be listed.
    #[error(transparent)]
    Estimate(#[from] EstimateError),
    /// The system prompt fills the context.
    #[error(
        "{system_tokens} system tokens leave no room for a conversation in a context of {context} tokens"
    )]
    NoContext {
        /// Pinned tokens.
        system_tokens: u64,
        /// Positions available.
        context: u64,
    },
    /// More cached tokens than positions.
    #[error(
        "{system_tokens} system tokens and a cache of {cache_tokens} are more than the context of {context} tokens"
    )]
    BeyondContext {
        /// Pinned tokens.
        system_tokens: u64,
        /// Cached tokens.
        cache_tokens: u64,
        /// Positions available.
        context: u64,
    },
    /// The window does not fit the cache.
    #[error(transparent)]
    Window(#[from] WindowError),
}

impl From<Overflow> for RecommendError {
    fn from(overflow: Overflow) -> Self {
        Self::Estimate(EstimateError::Overflow(overflow))
    }
}

impl RecommendError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Weights(error) => error.hint(),
            Self::Placement(error) => error.hint(),
            Self::Estimate(EstimateError::UnevenBlocks { .. }) => {
                Some("choose a format without blocks, such as `--kv f16`".into())
            }
            Self::NoContext { .. } => Some(
                "shorten the prompt, or pass `--context N` where RoPE scaling allows more".into(),
            ),
            Self::BeyondContext { system_tokens, context, .. } => Some(format!(
                "use `--cache-tokens {}` or less, or pass `--context N` where RoPE scaling allows more",
                context - system_tokens
            )),
            Self::Window(error) => error.hint(),
            Self::Estimate(_) => None,
        }
    }
}

/// What keeps the cache from being larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// The card's memory.
    Vram,
    /// The model's context: positions stay original under eviction.
    Context,
    /// The decode speed that was asked for.
    Speed,
}

impl Limit {
    /// The name in JSON.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Vram => "vram",
            Self::Context => "context",
            Self::Speed => "speed",
        }
    }
}

/// How much certainty a tier asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum TierName {
    /// The high bound leaves twice the headroom.
    Conservative,
    /// The high bound leaves the headroom.
    Balanced,
    /// The expected value fits.
    Aggressive,
}

impl TierName {
    /// Every tier, most certain first.
    pub const ALL: [Self; 3] = [Self::Conservative, Self::Balanced, Self::Aggressive];

    /// The name in JSON and tables.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Conservative => "conservative",
            Self::Balanced => "balanced",
            Self::Aggressive => "aggressive",
        }
    }

    /// What would have to be true for it to fail.
    pub const fn fails_if(self) -> &'static str {
        match self {
            Self::Conservative => {
                "every component is at its high bound and something else takes twice the headroom"
            }
            Self::Balanced => {
                "every component is at its high bound and something else takes the headroom"
            }
            Self::Aggressive => "the components together are above their expected values",
        }
    }

    /// Whether a plan that asks for this is certain enough.
    pub fn accepts(self, demand: Demand, capacity: &Capacity) -> Result<bool, Overflow> {
        self.condition().holds(demand, capacity)
    }

    const fn condition(self) -> Condition {
        match self {
            Self::Conservative => Condition { headrooms: 2, ..Condition::SAFE },
            Self::Balanced => Condition::SAFE,
            Self::Aggressive => {
                Condition { bound: |size| size.expected, left: |size| size.expected, headrooms: 0 }
            }
        }
    }
}

/// What has to hold of a plan: a bound of its peak leaves the headroom so many times, and the same
/// bound of what fills a pool fits in it.
#[derive(Clone, Copy, Debug)]
struct Condition {
    bound: fn(Bounds) -> Bytes,
    /// The bound of what is left then, such as for a pool: the lowest where as much is taken as may be.
    left: fn(Bounds) -> Bytes,
    headrooms: u64,
}

impl Condition {
    /// What remains possible at all.
    const HARD: Self = Self { bound: |size| size.low, left: |size| size.high, headrooms: 0 };
    /// What leaves the headroom free whatever happens.
    const SAFE: Self = Self { bound: |size| size.high, left: |size| size.low, headrooms: 1 };

    fn room(&self, capacity: &Capacity) -> Result<Bytes, Overflow> {
        capacity.less_headroom(self.headrooms)
    }

    fn holds(&self, demand: Demand, capacity: &Capacity) -> Result<bool, Overflow> {
        Ok((self.bound)(demand.peak) <= self.room(capacity)? && demand.pooled(self.bound))
    }
}

/// One recommended size.
#[derive(Clone, Debug, PartialEq)]
pub struct Tier {
    /// How certain.
    pub name: TierName,
    /// Tokens of the conversation cache; zero where none that can work fits.
    pub max_cache_tokens: u64,
    /// Tokens that are never evicted because they are recent.
    pub recent_window: RecentWindow,
    /// What the plan at this size takes.
    pub peak: Bounds,
    /// What it leaves of the usable capacity at its high bound.
    pub headroom: Bytes,
    /// How fast tokens can be generated with this cache full.
    pub decode: Speed,
    /// What keeps it from being larger.
    pub limited_by: Limit,
}

/// A size for each degree of certainty.
#[derive(Clone, Debug, PartialEq)]
pub struct Tiers {
    /// The high bound leaves twice the headroom.
    pub conservative: Tier,
    /// The high bound leaves the headroom.
    pub balanced: Tier,
    /// The expected value fits.
    pub aggressive: Tier,
}

impl Tiers {
    /// Most certain first.
    pub fn iter(&self) -> impl Iterator<Item = &Tier> + Clone {
        [&self.conservative, &self.balanced, &self.aggressive].into_iter()
    }
}

/// The sizes that fit, and what binds.
#[derive(Clone, Debug, PartialEq)]
pub struct Recommendation {
    /// By certainty.
    pub tiers: Tiers,
    /// The largest size whose low bound fits.
    pub hard_max_cache_tokens: u64,
    /// What keeps the balanced tier from being larger.
    pub limited_by: Limit,
}

/// A plan with its recommendation.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Tokens of the conversation cache: given, or the balanced size.
    pub cache_tokens: u64,
    /// The recent window of the plan.
    pub recent_window: RecentWindow,
    /// Whether it does what is asked for.
    pub verdict: Verdict,
    /// Why not, where it does not or only as expected.
    pub reason: Option<Reason>,
    /// The options that were planned with: a share of the card that was to be solved is.
    pub options: RuntimeOptions,
    /// Tokens of a batch, where they are given or chosen by the program.
    pub batch: Option<u64>,
    /// Tokens of a prefill step.
    pub chunk: u64,
    /// Between which shares of the card it starts, where the runtime takes one.
    pub shares: Option<Shares>,
    /// The plan at the size given, or at the balanced size; of the GPU that binds, where there are
    /// several.
    pub plan: Plan,
    /// Which GPU binds.
    pub binding: usize,
    /// Every GPU's plan where there are several.
    pub devices: Vec<DevicePlan>,
    /// The sizes that fit.
    pub recommendation: Recommendation,
    /// What would save memory, or how to spend what is left.
    pub advice: Vec<Advice>,
    /// Where layers and experts go, where that was solved.
    pub settlement: Option<Settlement>,
    /// How many users there is room for, where that was asked.
    pub users: Option<Users>,
}

/// Answers a question.
///
/// # Errors
/// Where the model cannot be planned so, or the context cannot hold the work.
pub fn answer(deployment: &Deployment) -> Result<Answer, RecommendError> {
    answer_placed(deployment, settle(deployment)?, Depth::Whole)
}

/// How much is answered.
#[derive(Clone, Copy)]
enum Depth {
    /// With every tier, and advice.
    Whole,
    /// The plan alone.
    Outline,
}

/// The answer with the placement that was found.
fn answer_placed(
    deployment: &Deployment,
    settlement: Option<Settlement>,
    depth: Depth,
) -> Result<Answer, RecommendError> {
    let placed = settlement.as_ref().map(|settlement| settlement.placement.of(deployment));
    let placed = placed.as_ref().unwrap_or(deployment);
    let settled = settle_batch(settle_users(settle_share(placed)?)?)?;
    let deployment = &*settled;
    let solver = Solver::new(deployment)?;
    let recommendation = match depth {
        Depth::Whole => solver.recommend()?,
        Depth::Outline => outline::balanced_alone(&solver)?,
    };
    let cache_tokens = match deployment.cache {
        CacheSize::Fixed(tokens) => tokens,
        CacheSize::Solve => solver.planned_tokens(&recommendation),
    };
    let (mut plan, binding, mut devices) = solver.plans(cache_tokens)?;
    let refused = solver.refused(cache_tokens, &mut plan)?;
    for device in &mut devices {
        solver.refused(cache_tokens, &mut device.plan)?;
    }
    let recent_window = solver.window(cache_tokens)?;
    let given = &deployment.given;
    let asks_for_users = given.users.is_some() || given.context_per_user.is_some();
    let users = asks_for_users.then(|| solver.users(cache_tokens)).transpose()?;
    let (shares, mut advice) = match depth {
        Depth::Whole => {
            let asked = Planned { plan: &plan, binding, tokens: cache_tokens, shares: None };
            solver.advice(asked, &recommendation)?
        }
        Depth::Outline => (None, Vec::new()),
    };
    if let Some(settlement) = &settlement {
        settlement.advise(&mut advice);
    }
    let reason = if refused { Some(Reason::WillNotStart) } else { plan.reason() };
    let (verdict, reason) = match deployment.min_decode_speed {
        Some(wanted) if solver.speed(cache_tokens)?.high < wanted => {
            (Verdict::DoesNotFit, reason.or(Some(Reason::TooSlow)))
        }
        _ if plan.verdict == Verdict::Fits && deployment.lacks_its_draft() => {
            (Verdict::Tight, Some(Reason::UnknownDraft))
        }
        _ => (plan.verdict, reason),
    };
    Ok(Answer {
        cache_tokens,
        recent_window,
        verdict,
        reason,
        options: deployment.options(),
        batch: deployment.runtime.launch.batch,
        chunk: deployment.workload.prefill_chunk,
        shares,
        plan,
        binding,
        devices,
        recommendation,
        advice,
        settlement,
        users,
    })
}

/// Between which shares of the card the runtime starts, and what is advised.
type Advised = Result<(Option<Shares>, Vec<Advice>), RecommendError>;

impl Answer {
    /// The deployment as it was planned: with the size of the cache, and the recent window where there is one.
    pub fn planned(&self, deployment: &Deployment) -> Deployment {
        let mut planned = deployment.with_cache(self.cache_tokens);
        if let Some(settlement) = &self.settlement {
            planned.set_launch(settlement.placement.launch.clone());
        }
        planned.set_options(self.options);
        if let Some(fitted) = self.options.serving().and_then(|serving| serving.fitted_length) {
            planned.set_fitted_length(fitted);
        }
        planned.set_batch(self.batch, self.chunk);
        if let Some(users) = self.users {
            planned.workload.batch = users.planned;
        }
        let evicts = rules(deployment.kind()).evicts();
        planned.workload.recent_window = evicts.then_some(self.recent_window.tokens);
        planned
    }
}

/// Steps of a runtime's cache that are tried beyond an answer.
const STEPS_BEYOND: u64 = 4;

/// Sizes behind one that fits.
#[derive(Clone, Copy)]
struct Steps {
    from: u64,
    most: u64,
    step: u64,
}

/// Plans the same deployment at different cache sizes; the weights are sized once.
#[derive(Debug)]
pub struct Solver<'a> {
    deployment: &'a Deployment,
    devices: Vec<Device<'a>>,
    /// What was planned already: the tiers ask for the same sizes.
    demands: RefCell<BTreeMap<u64, Rc<[Demand]>>>,
}

impl<'a> Solver<'a> {
    /// Sizes the weights and checks the context.
    ///
    /// # Errors
    /// Where the weights cannot be sized or spread, or the context cannot hold the work.
    pub fn new(deployment: &'a Deployment) -> Result<Self, RecommendError> {
        check_context(deployment)?;
        Ok(Self { deployment, devices: Device::all(deployment)?, demands: RefCell::default() })
    }

    /// The same on one GPU with weights that were sized before, for this model, format and runtime.
    pub fn with_weights(
        deployment: &'a Deployment,
        weights: &'a Weights,
    ) -> Result<Self, RecommendError> {
        check_context(deployment)?;
        if deployment.cards.len() > 1 {
            return Self::new(deployment);
        }
        let card = deployment.cards.first();
        let devices = vec![Device { card, weights: Cow::Borrowed(weights) }];
        Ok(Self { deployment, devices, demands: RefCell::default() })
    }

    /// The same for a deployment that differs in its workload or its cache's format only.
    fn varied<'b>(&'b self, deployment: &'b Deployment) -> Solver<'b> {
        let devices = self.devices.iter().map(Device::borrowed).collect();
        Solver { deployment, devices, demands: RefCell::default() }
    }

    /// The scenario with a cache of this size, on the first GPU.
    pub fn scenario(&self, cache_tokens: u64) -> Scenario<'_> {
        self.devices[0].scenario(self.deployment, cache_tokens)
    }

    /// The plan with a cache of this size, of the GPU that binds.
    pub fn plan(&self, cache_tokens: u64) -> Result<Plan, RecommendError> {
        Ok(self.plans(cache_tokens)?.0)
    }

    /// The plan of the GPU that binds, which one that is, and every GPU's plan where there are several.
    fn plans(&self, cache_tokens: u64) -> Result<(Plan, usize, Vec<DevicePlan>), RecommendError> {
        let mut plans = devices::plans(&self.devices, self.deployment, cache_tokens)?;
        let demands: Vec<Demand> = plans.iter().map(Plan::demand).collect();
        let binding = devices::binding(&self.devices, &demands)?;
        if self.devices.len() == 1 {
            return Ok((plans.swap_remove(binding), binding, Vec::new()));
        }
        let plan = plans[binding].clone();
        let device = |(device, plan): (&Device<'_>, Plan)| -> Result<DevicePlan, RecommendError> {
            Ok(DevicePlan {
                card: device.card.clone(),
                part: device.weights.part.clone(),
                weights: device.loaded(self.deployment)?,
                plan,
            })
        };
        let devices = self.devices.iter().zip(plans).map(device).collect::<Result<_, _>>()?;
        Ok((plan, binding, devices))
    }

    /// What the plan of every GPU asks for.
    fn demands(&self, cache_tokens: u64) -> Result<Rc<[Demand]>, RecommendError> {
        if let Some(demands) = self.demands.borrow().get(&cache_tokens) {
            return Ok(Rc::clone(demands));
        }
        let demands: Rc<[Demand]> =
            devices::demands(&self.devices, self.deployment, cache_tokens)?.into();
        self.demands.borrow_mut().insert(cache_tokens, Rc::clone(&demands));
        Ok(demands)
    }

    /// What of main memory the plan takes as expected, where a part of the model is there and nothing says how much of it there is.
    ///
    /// # Errors
    /// Where a size cannot be planned.
    pub fn main_memory(&self, cache_tokens: u64) -> Result<Option<Bytes>, RecommendError> {
        let is_open =
            |device: &Device<'_>| device.weights.part.is_host && !device.card.gpu.has_known_size();
        let Some(host) = self.devices.iter().position(is_open) else { return Ok(None) };
        Ok(self.demands(cache_tokens)?.get(host).map(|demand| demand.peak.expected))
    }

    /// What the plan of the GPU that binds asks for, and that GPU's capacity.
    fn binding(&self, cache_tokens: u64) -> Result<(Demand, Capacity), RecommendError> {
        let demands = self.demands(cache_tokens)?;
        let binding = devices::binding(&self.devices, &demands)?;
        Ok((demands[binding], self.devices[binding].card.capacity))
    }

    /// Whether the runtime refuses to start although there is memory for the plan: its verdict and what it is short by are
    /// set so.
    fn refused(&self, cache_tokens: u64, plan: &mut Plan) -> Result<bool, RecommendError> {
        let demands = self.demands(cache_tokens)?;
        let refused = plan.verdict != Verdict::DoesNotFit && !start::starts(&demands);
        plan.verdict = start::with_start(plan.verdict, &demands);
        if let Some(pool) = plan.pool {
            let (needs, has) = (pool.start.least(), pool.start.has);
            let lacks = match plan.verdict {
                Verdict::DoesNotFit => needs.minus_or_zero(has.expected),
                Verdict::Tight | Verdict::Fits => needs.minus_or_zero(has.low),
            };
            plan.short_by = plan.short_by.max(lacks);
        }
        Ok(refused)
    }

    /// Whether every GPU's plan meets a condition.
    fn holds(&self, condition: Condition, cache_tokens: u64) -> Result<bool, RecommendError> {
        Ok(devices::all_hold(&self.devices, &self.demands(cache_tokens)?, condition)?)
    }

    /// How fast tokens can be generated with a cache of this size.
    ///
    /// # Errors
    /// On sizes that no device has.
    pub fn speed(&self, cache_tokens: u64) -> Result<Speed, RecommendError> {
        let on = |device| Device::scenario(device, self.deployment, cache_tokens);
        let scenarios: Vec<_> = self.devices.iter().map(on).collect();
        Ok(decode_speed(&scenarios)?)
    }

    /// The recent window of a cache of this size.
    pub fn window(&self, cache_tokens: u64) -> Result<RecentWindow, RecommendError> {
        let Deployment { workload, .. } = self.deployment;
        Ok(recent_window(self.deployment.kind(), workload, cache_tokens)?)
    }

    /// What is advised on a plan.
    fn advice(&self, planned: Planned<'_>, recommendation: &Recommendation) -> Advised {
        let shares = self.shares()?;
        let planned = Planned { shares, ..planned };
        Ok((shares, advise(self, planned, recommendation)?))
    }

    /// The tiers and the hard maximum.
    pub fn recommend(&self) -> Result<Recommendation, RecommendError> {
        let conservative = self.tier(TierName::Conservative, 0)?;
        let balanced = self.tier(TierName::Balanced, conservative.max_cache_tokens)?;
        let aggressive = self.tier(TierName::Aggressive, balanced.max_cache_tokens)?;
        let hard_max_cache_tokens = self.hard_max(aggressive.max_cache_tokens)?;
        let limited_by = balanced.limited_by;
        let tiers = Tiers { conservative, balanced, aggressive };
        Ok(Recommendation { tiers, hard_max_cache_tokens, limited_by })
    }

    /// The largest cache whose low bound fits, given that one of `least` tokens does.
    fn hard_max(&self, least: u64) -> Result<u64, RecommendError> {
        Ok(self.largest(Condition::HARD, least)?.0)
    }

    /// A tier, given that a stricter one found `least` tokens.
    fn tier(&self, name: TierName, least: u64) -> Result<Tier, RecommendError> {
        let (tokens, limited_by) = self.largest(name.condition(), least)?;
        let (Demand { peak, .. }, capacity) = self.binding(tokens)?;
        Ok(Tier {
            name,
            max_cache_tokens: tokens,
            recent_window: self.window(tokens).unwrap_or_else(|_| RecentWindow::none()),
            peak,
            headroom: capacity.usable.minus_or_zero(peak.high),
            decode: self.speed(tokens)?,
            limited_by,
        })
    }

    /// The largest cache that meets the condition and the other limits, and which limit binds, given
    /// that one of `least` tokens does.
    fn largest(&self, condition: Condition, least: u64) -> Result<(u64, Limit), RecommendError> {
        let (most, limit) = self.limit_beside_memory()?;
        let fits = |tokens| self.holds(condition, tokens);
        if most == 0 || fits(most)? {
            return Ok((most, limit));
        }
        let between = self.known(condition, least..most)?;
        let mut tokens = if self.demands(most)?.iter().any(|demand| demand.pool.is_some()) {
            search::bisect(0, most, fits)?
        } else {
            let rooms = self.devices.iter().map(|device| condition.room(&device.card.capacity));
            let room = rooms.collect::<Result<Vec<_>, _>>()?.into_iter().max();
            let room = room.unwrap_or(Bytes::ZERO);
            search::largest_within(room, between, |tokens| self.size_in(room, condition, tokens))?
        };
        if tokens < least {
            tokens = search::bisect(least, most, fits)?;
        }
        if let Some(step) = rules(self.deployment.kind()).cache_step() {
            while let Some(more) = steps_beyond(Steps { from: tokens, most, step }, fits)? {
                tokens = more;
            }
        }
        // An engine that allocates in steps has no cache of less than one, and its step of prompts would be no larger.
        let least = rules(self.deployment.kind()).cache_step().unwrap_or(0).min(most);
        let is_too_small = tokens < least || self.is_too_small(tokens);
        Ok((if is_too_small { 0 } else { tokens }, Limit::Vram))
    }

    /// What is known of where the largest cache that meets a condition lies: what other tiers asked for says so. One of
    /// the end's size does not meet it.
    fn known(&self, condition: Condition, range: Range<u64>) -> Result<Range<u64>, Overflow> {
        let mut known = range;
        for (&tokens, demands) in self.demands.borrow().range(known.clone()) {
            if devices::all_hold(&self.devices, demands, condition)? {
                known.start = tokens;
            } else {
                known.end = tokens;
                break;
            }
        }
        Ok(known)
    }

    /// What a plan asks for of the GPU that meets the condition least, were all as large as `room`.
    fn size_in(
        &self,
        room: Bytes,
        condition: Condition,
        cache_tokens: u64,
    ) -> Result<Bytes, RecommendError> {
        let mut largest = Bytes::ZERO;
        for (device, demand) in self.devices.iter().zip(self.demands(cache_tokens)?.iter()) {
            let lacks = room.minus_or_zero(condition.room(&device.card.capacity)?);
            largest = largest.max((condition.bound)(demand.peak).plus(lacks)?);
        }
        Ok(largest)
    }

    /// Whether a cache of this size has no room for the recent window that the runtime needs.
    fn is_too_small(&self, cache_tokens: u64) -> bool {
        let window = self.window(cache_tokens);
        matches!(window, Err(RecommendError::Window(WindowError::CacheTooSmall { .. })))
    }

    /// The largest cache that the context and the speed asked for allow.
    fn limit_beside_memory(&self) -> Result<(u64, Limit), RecommendError> {
        let workload = &self.deployment.workload;
        let context = workload.context - workload.system_tokens;
        let Some(wanted) = self.deployment.min_decode_speed else {
            return Ok((context, Limit::Context));
        };
        let fast_enough =
            |tokens| -> Result<bool, RecommendError> { Ok(self.speed(tokens)?.high >= wanted) };
        if fast_enough(context)? {
            return Ok((context, Limit::Context));
        }
        Ok((search::bisect(0, context, fast_enough)?, Limit::Speed))
    }

    /// The size to plan for when none was given: balanced, or the most that has any chance.
    fn planned_tokens(&self, recommendation: &Recommendation) -> u64 {
        let Tiers { balanced, aggressive, .. } = &recommendation.tiers;
        let sizes = [balanced.max_cache_tokens, aggressive.max_cache_tokens].into_iter();
        let smallest = window::smallest_cache(&self.deployment.workload);
        sizes.chain([recommendation.hard_max_cache_tokens]).find(|&n| n > 0).unwrap_or(smallest)
    }
}

/// A size a few steps on that fits after all.
fn steps_beyond(
    Steps { from, most, step }: Steps,
    fits: impl Fn(u64) -> Result<bool, RecommendError>,
) -> Result<Option<u64>, RecommendError> {
    for steps in 1..=STEPS_BEYOND {
        let more = from.saturating_add(steps * step).min(most);
        if more > from && fits(more)? {
            return Ok(Some(more));
        }
    }
    Ok(None)
}

/// Refuses a workload that the context cannot hold.
fn check_context(deployment: &Deployment) -> Result<(), RecommendError> {
    let Workload { system_tokens, context, .. } = deployment.workload;
    if system_tokens >= context {
        return Err(RecommendError::NoContext { system_tokens, context });
    }
    match deployment.cache {
        CacheSize::Fixed(cache_tokens) if cache_tokens > context - system_tokens => {
            Err(RecommendError::BeyondContext { system_tokens, cache_tokens, context })
        }
        _ => Ok(()),
    }
}
