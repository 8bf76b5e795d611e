//! The plan as data: schema `vramplan/plan/v2`. Keys may be added, none is renamed: what
//! `vramplan/plan/v2` says, later versions say too.

use serde::{Deserialize, Serialize};

use super::devices::{DeviceDoc, device_docs};
use super::placement::PlacementDoc;
use crate::deployment::{Deployment, Origin, Question};
use crate::dtype::WeightFormat;
use crate::estimate::{Buffer, Component, Life, Phase, Pool, Start};
use crate::plan::{Capacity, ComponentRow, PhaseRow, Reason, Verdict};
use crate::recommend::{
    Advice, Answer, DevicePlan, ENGINE_REFUSES, Limit, Shares, Speed, Tier, TierName, Users,
    fitted_length,
};
use crate::spec::{Basis, Bounds, GpuSpec, Maker, Split, Utilization};
use crate::units::Bytes;

/// The name and version of the schema.
pub const SCHEMA: &str = "vramplan/plan/v2";

/// A plan with its recommendation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Document {
    /// `vramplan/plan/v2`.
    pub schema: String,
    /// What was asked, and what it was resolved to.
    pub deployment: DeploymentDoc,
    /// What the card offers.
    pub capacity: CapacityDoc,
    /// The runtime's own share of it, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolDoc>,
    /// Whether it does what is asked for.
    pub verdict: Verdict,
    /// What of main memory has to be free for that verdict, where a part of the model is placed there and nothing says how much
    /// there is: the text's `fits if … of main memory is free`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub main_memory_needed: Option<Bytes>,
    /// Why not, where it does not or only as expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// How much is missing: for the expected peak where that does not fit, else for the headroom.
    pub short_by: Bytes,
    /// The largest phase.
    pub peak: PeakDoc,
    /// What each component holds at the peak: all of them, also those that hold nothing.
    pub components: Vec<ComponentDoc>,
    /// What each phase holds.
    pub phases: Vec<PhaseDoc>,
    /// The sizes that fit.
    pub recommendation: RecommendationDoc,
    /// What would save memory, or how to spend what is left.
    pub advice: Vec<AdviceDoc>,
    /// Every GPU's plan in short, where there are several; the rest of the document is the plan of the
    /// one that binds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceDoc>,
    /// Where layers and experts go, where that was solved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<PlacementDoc>,
    /// How many users there is room for, where that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<UsersDoc>,
    /// The fewest of the GPU that hold what is asked for, where that was asked; 0 where no number of them does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fewest_gpus: Option<u64>,
    /// The generations of the runtime's versions that its plans were checked against, the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checked_versions: Vec<String>,
}

/// What was asked, and what it was resolved to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeploymentDoc {
    /// The question as it was given.
    pub given: Question,
    /// The question with every key that counts, the size of the cache included: `--scenario` reads it back.
    pub resolved: Question,
    /// The GPU's short name; of several, that of the one that binds.
    pub gpu: String,
    /// The model.
    pub model: ModelDoc,
    /// The versions of the runtime that were planned for, and those that its profile describes.
    pub runtime_version: String,
    /// Tokens that are never evicted because they are recent; 0 where the runtime does not evict.
    pub recent_window: u64,
    /// Where that number comes from.
    pub recent_window_basis: String,
    /// What is planned in the place of what was asked, because the program does that, and what it refuses to run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<String>,
    /// What of a server's command the plan is without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// What is neither given nor a default of vramplan's, but the user's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub configured: Vec<String>,
}

/// The model of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ModelDoc {
    /// Its short name, or its file's.
    pub name: String,
    /// Its family.
    pub architecture: String,
    /// Parameters, counted tensor by tensor.
    pub parameters: u64,
    /// Decoder layers, without those that predict tokens ahead.
    #[serde(default)]
    pub layers: u64,
    /// The format of its file, where that is how it was planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<String>,
    /// Where it is from, where its name does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

impl DeploymentDoc {
    fn new(deployment: &Deployment, answer: &Answer) -> Self {
        let binding = answer.devices.get(answer.binding).map(|device| &device.card);
        let Deployment { model, weights, .. } = deployment;
        let stored = model.stored_label().filter(|_| *weights == WeightFormat::AsStored);
        Self {
            given: (*deployment.given).clone(),
            resolved: answer.planned(deployment).resolved(),
            gpu: binding.unwrap_or(deployment.cards.first()).gpu.name.clone(),
            model: ModelDoc {
                name: model.name.clone(),
                architecture: model.shape.architecture.to_string(),
                parameters: model.parameters(),
                layers: model.shape.n_layers,
                stored: stored.map(str::to_owned),
                origin: deployment.origin.as_deref().cloned(),
            },
            runtime_version: runtime_version(deployment),
            recent_window: answer.recent_window.tokens,
            recent_window_basis: answer.recent_window.basis.text().to_owned(),
            replaced: deployment
                .replaced
                .iter()
                .cloned()
                .chain(fitted_length(deployment, answer.options))
                .collect(),
            left_out: Vec::new(),
            configured: Vec::new(),
        }
    }

    /// What is from the user's own defaults, in words.
    pub(super) fn said_by_configuration(&self) -> Option<String> {
        let said = self.configured.join(", ");
        (!said.is_empty()).then(|| format!("from `config.toml`: {said}"))
    }

    /// The longest sequence that the runtime takes, where that is to be what its pool holds.
    pub(super) fn fitted_length(&self) -> Option<u64> {
        self.resolved.max_model_len.filter(|_| self.given.auto_max_model_len)
    }

    /// The format of the weights, or what a file holds.
    pub fn weights(&self) -> String {
        match &self.model.stored {
            Some(label) => format!("{label} (as stored)"),
            None => shown(self.resolved.weights.as_ref()),
        }
    }

    /// The format of keys and values.
    pub fn kv(&self) -> String {
        shown(self.resolved.kv.as_ref())
    }

    /// The runtime's name.
    pub fn runtime(&self) -> String {
        shown(self.resolved.runtime.as_ref())
    }

    /// How the model is spread over several GPUs.
    pub fn split(&self) -> Split {
        self.resolved.split.unwrap_or_default()
    }

    /// A number of the question.
    pub(super) fn number(&self, of: fn(&Question) -> Option<u64>) -> u64 {
        of(&self.resolved).unwrap_or_default()
    }
}

/// A value for reading; nothing where it is not known.
pub(super) fn shown<T: std::fmt::Display>(value: Option<&T>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}

/// What the card offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CapacityDoc {
    /// NVML's total.
    pub total: Bytes,
    /// What the driver keeps; of shared memory, what the system holds.
    pub reserved: Bytes,
    /// What other processes hold.
    pub other_use: Bytes,
    /// What is to stay free.
    pub headroom: Bytes,
    /// `total − reserved − other_use`.
    pub usable: Bytes,
    /// What is usable whatever the system holds of memory that it shares, where machines were seen to differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surely_usable: Option<Bytes>,
    /// Whether the memory is the machine's own, of which its system holds what is reserved.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
    /// How the total is known.
    pub basis: Basis,
    /// Where the total was read.
    pub source: String,
    /// Who makes the GPU, or one of them, where it is not NVIDIA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maker: Option<Maker>,
}

/// What a runtime that sizes its own cache makes of its share of the card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PoolDoc {
    /// The share.
    pub limit: Bytes,
    /// What of it is no cache.
    pub fixed: Bounds,
    /// That, and what the conversations fill.
    pub need: Bounds,
    /// Bytes of a block.
    pub block: Bytes,
    /// Tokens of a layer that a block holds.
    pub block_tokens: u64,
    /// Blocks of the pool.
    pub blocks: u64,
    /// Tokens that the runtime says those hold.
    pub tokens: u64,
    /// Blocks that one request of the longest kind may hold, where the runtime counts by them how many its pool holds at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks_of_a_request: Option<u64>,
    /// Requests that the runtime runs together at most, where it reckons that from its pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// What it checks before it serves.
    pub start: StartDoc,
    /// Main memory that it pins for this GPU: weights that stay there, and room for blocks that are moved there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Bytes>,
}

/// What a runtime with a pool checks before it serves: that one sequence of the longest kind has room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StartDoc {
    /// Tokens that a sequence may have (`max_model_len`).
    pub context: u64,
    /// Bytes of cache that such a sequence may need; that one token needs where the longest sequence is what fits.
    pub needs: Bytes,
    /// Bytes of cache that there are.
    pub has: Bounds,
    /// The longest context that starts; 0 where none does.
    pub longest_context: u64,
    /// The sequences that it captures together, where each has to have a block of the pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub captured: Option<CapturedDoc>,
    /// The smallest share of the card that starts with the context asked for; none where no share does.
    pub smallest_share: Option<String>,
    /// The largest share that the card has room for even at the high bound.
    pub largest_share: Option<String>,
}

/// Sequences that are captured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CapturedDoc {
    /// How many (`max_num_seqs`).
    pub sequences: u64,
    /// How many the pool has blocks for, if all is as expected.
    pub most: u64,
}

/// How many users there is room for at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UsersDoc {
    /// How many were planned.
    pub planned: u64,
    /// Tokens of each user's conversation, the system prompt included.
    pub context: u64,
    /// The most for whom there is room, and the headroom, even at the high bound.
    pub safe: u64,
    /// The most for whom there is room if all is as expected.
    pub expected: u64,
}

/// How long a component is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Lifetime {
    /// From a phase on.
    Persistent,
    /// In moments of phases.
    Transient,
}

/// A component's share of the peak.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ComponentDoc {
    /// Its stable name.
    pub id: Component,
    /// Whether any of it stays from its first phase on.
    pub lifetime: Lifetime,
    /// At the peak, low bound.
    pub low: Bytes,
    /// At the peak; all components add up to the expected peak.
    pub expected: Bytes,
    /// At the peak, high bound.
    pub high: Bytes,
    /// The most that it holds in any phase.
    pub most: Bytes,
    /// The phase in which it does.
    pub most_in: Phase,
    /// What its largest buffer's size rests on.
    pub basis: Basis,
    /// Its largest buffer's formula.
    pub formula: String,
    /// The size of that buffer, which the formula gives.
    #[serde(default)]
    pub formula_gives: Bytes,
    /// Its largest buffer's source.
    pub source: String,
    /// Every buffer of it.
    pub buffers: Vec<BufferDoc>,
}

/// One buffer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BufferDoc {
    /// What it is.
    pub name: String,
    /// The phase from which on it stays, or during which it exists.
    pub phase: Phase,
    /// Whether it stays.
    pub persistent: bool,
    /// Its size.
    #[serde(flatten)]
    pub size: Bounds,
    /// How that is known.
    pub basis: Basis,
    /// Why it is that large.
    pub formula: String,
    /// Where the formula or constant comes from.
    pub source: String,
}

/// What a phase holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PhaseDoc {
    /// Which phase.
    pub id: Phase,
    /// What stays.
    pub persistent: Bytes,
    /// What its largest moment needs besides.
    pub transient: Bytes,
    /// What the allocator holds for other phases: kept from earlier ones, or there for later ones.
    pub held: Bytes,
    /// Everything: its expected value is the sum of the three.
    #[serde(flatten)]
    pub total: Bounds,
}

/// The largest phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PeakDoc {
    /// Which phase.
    pub phase: Phase,
    /// What it holds.
    #[serde(flatten)]
    pub total: Bounds,
}

/// The sizes that fit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RecommendationDoc {
    /// Conservative, balanced, aggressive.
    pub tiers: Vec<TierDoc>,
    /// The largest size whose low bound fits.
    pub hard_max_cache_tokens: u64,
    /// What keeps the balanced tier from being larger.
    pub limited_by: Limit,
}

/// One recommended size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TierDoc {
    /// How certain.
    pub name: TierName,
    /// Tokens of the conversation cache; zero where nothing fits.
    pub max_cache_tokens: u64,
    /// Tokens that are never evicted because they are recent.
    pub recent_window: u64,
    /// Where that number comes from.
    pub recent_window_basis: String,
    /// What the plan at this size takes.
    pub peak: Bounds,
    /// What it leaves of the usable capacity at its high bound.
    pub headroom: Bytes,
    /// For one sequence, with this cache full.
    pub decode_tokens_per_second: SpeedDoc,
    /// What keeps it from being larger.
    pub limited_by: Limit,
    /// What would have to be true for it to fail.
    pub fails_if: String,
}

impl SpeedDoc {
    /// `~15 (7–25)`; nothing where no bandwidth is known.
    pub(super) fn text(&self) -> String {
        if self.high <= 0.0 {
            return "–".to_owned();
        }
        let digits =
            |speed: f64| if speed < 10.0 { format!("{speed:.1}") } else { format!("{speed:.0}") };
        format!("~{} ({}–{})", digits(self.expected), digits(self.low), digits(self.high))
    }
}

impl TierDoc {
    /// Whether any size of the cache fits.
    pub(super) const fn fits(&self) -> bool {
        self.max_cache_tokens > 0
    }

    /// Whether it asks for the same as another.
    pub(super) fn asks_as(&self, other: &Self) -> bool {
        let size = |tier: &Self| (tier.max_cache_tokens, tier.recent_window, tier.peak);
        size(self) == size(other)
    }
}

/// Tokens a second, to one digit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SpeedDoc {
    /// The worst share of the roofline that was published.
    pub low: f64,
    /// A typical share.
    pub expected: f64,
    /// The roofline.
    pub high: f64,
    /// Always `assumed`: nothing was run.
    pub basis: Basis,
}

/// One piece of advice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AdviceDoc {
    /// A stable name.
    pub code: String,
    /// What to do, and what it gives.
    pub text: String,
    /// Bytes that the expected peak falls by; negative where it rises.
    pub saves: i64,
}

/// What a placement takes of main memory, where nothing says how much there is.
fn main_memory_needed(answer: &Answer) -> Option<Bytes> {
    let is_placed = answer.settlement.is_some() && answer.verdict != Verdict::DoesNotFit;
    let is_open = |device: &&DevicePlan| device.part.is_host && !device.card.gpu.has_known_size();
    let host = answer.devices.iter().find(is_open)?;
    is_placed.then_some(host.plan.peak.expected)
}

impl Document {
    /// The document of an answered question.
    pub fn new(deployment: &Deployment, answer: &Answer) -> Self {
        let plan = &answer.plan;
        let component = |component| match plan.component(component) {
            Some(row) => component_doc(row, &plan.buffers),
            None => ComponentDoc::nothing(component),
        };
        let recommendation = &answer.recommendation;
        let versions = deployment.options().checked_versions();
        Self {
            schema: SCHEMA.to_owned(),
            deployment: DeploymentDoc::new(deployment, answer),
            capacity: capacity_doc(deployment, answer),
            pool: plan.pool.map(|pool| pool_doc(&pool, answer.shares)),
            verdict: answer.verdict,
            main_memory_needed: main_memory_needed(answer),
            reason: answer.reason,
            short_by: plan.short_by,
            peak: PeakDoc { phase: plan.peak_phase, total: plan.peak },
            components: Component::ALL.into_iter().map(component).collect(),
            phases: plan.phases.iter().map(phase_doc).collect(),
            recommendation: RecommendationDoc {
                tiers: recommendation.tiers.iter().map(tier_doc).collect(),
                hard_max_cache_tokens: recommendation.hard_max_cache_tokens,
                limited_by: recommendation.limited_by,
            },
            advice: answer.advice.iter().map(advice_doc).collect(),
            devices: device_docs(answer),
            placement: answer.settlement.as_ref().map(PlacementDoc::new),
            users: answer.users.map(users_doc),
            fewest_gpus: deployment.given.fewest_gpus.then_some(match answer.verdict {
                Verdict::Fits => deployment.cards.len() as u64,
                Verdict::Tight | Verdict::DoesNotFit => 0,
            }),
            checked_versions: versions.into_iter().map(str::to_owned).collect(),
        }
    }

    /// The components that hold something in some phase.
    pub fn held(&self) -> impl Iterator<Item = &ComponentDoc> + Clone {
        self.components.iter().filter(|component| !component.buffers.is_empty())
    }

    /// That plans are checked on other GPUs than these, where they are.
    pub(super) fn maker_note(&self) -> Option<String> {
        let maker = self.capacity.maker?.name();
        Some(format!("plans are checked on NVIDIA GPUs: for {maker} the same buffers are assumed"))
    }

    /// What the reader must know first: that vramplan's own engine does not run what is planned.
    pub fn refusal(&self) -> Option<&AdviceDoc> {
        self.advice.iter().find(|advice| advice.code == ENGINE_REFUSES)
    }

    /// The rest of the advice.
    pub fn advice_below(&self) -> impl Iterator<Item = &AdviceDoc> {
        self.advice.iter().filter(|advice| advice.code != ENGINE_REFUSES)
    }
}

impl ComponentDoc {
    /// The formula with what it gives, where that is not the component's whole size.
    pub(super) fn formula_and_size(&self) -> String {
        if self.formula_gives == self.expected {
            return self.formula.clone();
        }
        format!("{} = {}", self.formula_gives, self.formula)
    }

    /// A component of which there is nothing.
    fn nothing(id: Component) -> Self {
        Self {
            id,
            lifetime: Lifetime::Transient,
            low: Bytes::ZERO,
            expected: Bytes::ZERO,
            high: Bytes::ZERO,
            most: Bytes::ZERO,
            most_in: Phase::Load,
            basis: Basis::Exact,
            formula: "0".to_owned(),
            formula_gives: Bytes::ZERO,
            source: "nothing is held".to_owned(),
            buffers: Vec::new(),
        }
    }
}

fn runtime_version(deployment: &Deployment) -> String {
    let version = &deployment.runtime.version;
    deployment
        .options()
        .version()
        .map_or_else(|| version.clone(), |chosen| format!("{chosen} ({version})"))
}

fn capacity_doc(deployment: &Deployment, answer: &Answer) -> CapacityDoc {
    let binding = answer.devices.get(answer.binding).map(|device| &device.card);
    let card = binding.unwrap_or(deployment.cards.first());
    let mut makers = deployment.cards.iter().map(|card| card.gpu.maker);
    let maker = makers.find(|maker| !maker.is_nvidia());
    CapacityDoc { maker, ..CapacityDoc::new(&card.gpu, card.capacity) }
}

impl CapacityDoc {
    /// Who keeps what is reserved, and how much that is where machines differ.
    pub(super) fn reserved_words(&self) -> String {
        if !self.shared {
            return format!("{} reserved by the driver", self.reserved);
        }
        let most = self.surely_usable.map(|surely| {
            let most = self.usable.minus_or_zero(surely).plus(self.reserved);
            most.map_or_else(|_| String::new(), |most| format!(" (up to {most})"))
        });
        format!("{} held by the system{}", self.reserved, most.unwrap_or_default())
    }

    pub(super) fn new(gpu: &GpuSpec, capacity: Capacity) -> Self {
        Self {
            total: capacity.total,
            reserved: capacity.reserved,
            other_use: capacity.other_use,
            headroom: capacity.headroom,
            usable: capacity.usable,
            surely_usable: (!capacity.held_more.is_zero()).then(|| capacity.surely_usable()),
            shared: gpu.unified,
            basis: gpu.total.basis,
            source: gpu.total.source.clone(),
            maker: Some(gpu.maker).filter(|maker| !maker.is_nvidia()),
        }
    }
}

pub(super) fn pool_doc(pool: &Pool, shares: Option<Shares>) -> PoolDoc {
    let Pool { limit, fixed, need, block, block_tokens, blocks, tokens, of_one, .. } = *pool;
    let Pool { requests, start, host, .. } = *pool;
    let Start { context, needs, has, longest: longest_context, captured } = start;
    let captured =
        captured.map(|captured| CapturedDoc { sequences: captured.sequences, most: blocks });
    let share = |of: fn(&Shares) -> Option<Utilization>| {
        shares.as_ref().and_then(of).map(|share| share.to_string())
    };
    let start = StartDoc {
        context,
        needs,
        has,
        longest_context,
        captured,
        smallest_share: share(|shares| shares.smallest),
        largest_share: share(|shares| shares.largest),
    };
    let host = (!host.is_zero()).then_some(host);
    let blocks_of_a_request = of_one;
    PoolDoc {
        limit,
        fixed,
        need,
        block,
        block_tokens,
        blocks,
        tokens,
        blocks_of_a_request,
        requests,
        start,
        host,
    }
}

const fn users_doc(users: Users) -> UsersDoc {
    let Users { planned, context, safe, expected } = users;
    UsersDoc { planned, context, safe, expected }
}

fn component_doc(row: &ComponentRow, buffers: &[Buffer]) -> ComponentDoc {
    let mine: Vec<&Buffer> = buffers.iter().filter(|b| b.component == row.component).collect();
    let largest = mine.iter().max_by_key(|buffer| buffer.size.expected);
    let text = |of: fn(&Buffer) -> String| largest.map(|buffer| of(buffer)).unwrap_or_default();
    ComponentDoc {
        id: row.component,
        lifetime: if row.persistent { Lifetime::Persistent } else { Lifetime::Transient },
        low: row.at_peak.low,
        expected: row.at_peak.expected,
        high: row.at_peak.high,
        most: row.most.0,
        most_in: row.most.1,
        basis: row.basis,
        formula: text(|buffer| buffer.formula.to_string()),
        formula_gives: largest.map_or(Bytes::ZERO, |buffer| buffer.size.expected),
        source: text(|buffer| buffer.source.to_string()),
        buffers: mine.iter().map(|buffer| buffer_doc(buffer)).collect(),
    }
}

fn buffer_doc(buffer: &Buffer) -> BufferDoc {
    let (phase, persistent) = match buffer.life {
        Life::From(phase) => (phase, true),
        Life::During(phase, _) => (phase, false),
    };
    BufferDoc {
        name: buffer.label().to_owned(),
        phase,
        persistent,
        size: buffer.size,
        basis: buffer.basis,
        formula: buffer.formula.to_string(),
        source: buffer.source.to_string(),
    }
}

pub(super) fn phase_doc(row: &PhaseRow) -> PhaseDoc {
    let PhaseRow { phase: id, persistent, transient, total } = *row;
    let held = total.expected.minus_or_zero(persistent).minus_or_zero(transient);
    PhaseDoc { id, persistent, transient, held, total }
}

fn tier_doc(tier: &Tier) -> TierDoc {
    TierDoc {
        name: tier.name,
        max_cache_tokens: tier.max_cache_tokens,
        recent_window: tier.recent_window.tokens,
        recent_window_basis: tier.recent_window.basis.text().to_owned(),
        peak: tier.peak,
        headroom: tier.headroom,
        decode_tokens_per_second: speed_doc(tier.decode),
        limited_by: tier.limited_by,
        fails_if: tier.name.fails_if().to_owned(),
    }
}

pub(super) fn speed_doc(speed: Speed) -> SpeedDoc {
    let digit = |x: f64| (x * 10.0).round() / 10.0;
    SpeedDoc {
        low: digit(speed.low),
        expected: digit(speed.expected),
        high: digit(speed.high),
        basis: Basis::Assumed,
    }
}

fn advice_doc(advice: &Advice) -> AdviceDoc {
    AdviceDoc { code: advice.code.to_owned(), text: advice.text.clone(), saves: advice.saves }
}
