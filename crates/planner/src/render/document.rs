//! The plan as data: schema `vramplan/plan/v1`. Keys may be added, none is renamed.

use serde::{Deserialize, Serialize};

use super::devices::{DeviceDoc, device_docs};
use crate::dtype::WeightFormat;
use crate::estimate::{Buffer, Component, Life, Phase, Pool};
use crate::plan::{Capacity, ComponentRow, PhaseRow};
use crate::recommend::{Advice, Answer, Request, Speed, Tier};
use crate::spec::{Basis, Bounds, Capture, GpuSpec, ModelSpec, Runtime, Split};
use crate::units::Bytes;

/// The name and version of the schema.
pub const SCHEMA: &str = "vramplan/plan/v1";

/// A plan with its recommendation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Document {
    /// `vramplan/plan/v1`.
    pub schema: String,
    /// What was asked, as resolved.
    pub inputs: Inputs,
    /// What the card offers.
    pub capacity: CapacityDoc,
    /// The runtime's own share of it, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolDoc>,
    /// `fits`, `tight` or `does_not_fit`.
    pub verdict: String,
    /// How much is missing: for the expected peak where that does not fit, else for the headroom.
    pub short_by: Bytes,
    /// The largest phase.
    pub peak: PeakDoc,
    /// What each component holds at the peak.
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
}

/// What was asked, as resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Inputs {
    /// The GPU's short name; of several, that of the one that binds.
    pub gpu: String,
    /// The short names of all of them, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<String>,
    /// How the model is spread over them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// The model's short name or file.
    pub model: String,
    /// The model's family.
    pub architecture: String,
    /// Parameters, counted tensor by tensor.
    pub parameters: u64,
    /// The runtime.
    pub runtime: String,
    /// The versions that the runtime's profile describes.
    pub runtime_version: String,
    /// The format of the weights.
    pub weights: String,
    /// The format of keys and values.
    pub kv: String,
    /// How attention is computed.
    pub attention: String,
    /// Pinned tokens.
    pub system_tokens: u64,
    /// Tokens of the conversation cache.
    pub cache_tokens: u64,
    /// Whether that number was given, not recommended.
    pub cache_tokens_given: bool,
    /// Tokens that are never evicted because they are recent.
    pub recent_window: u64,
    /// Where that number comes from.
    pub recent_window_basis: String,
    /// Tokens of a prefill step.
    pub prefill_chunk: u64,
    /// Sequences at once.
    pub batch: u64,
    /// Positions available.
    pub context: u64,
    /// Sequences that the runtime's scheduler may process together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_seqs: Option<u64>,
    /// Share of the card that the runtime was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_memory_utilization: Option<String>,
    /// Images of a prompt that the runtime is set up for, where that was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<u64>,
    /// `last` or `all`.
    pub logits: String,
    /// `preallocated` or `grown`.
    pub cache: String,
    /// Activation capture, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<CaptureDoc>,
}

/// Activation capture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CaptureDoc {
    /// Layers captured.
    pub layers: u64,
    /// Tokens of the captured pass.
    pub tokens: u64,
    /// Attention weights too.
    pub attention: bool,
    /// Whether captures stay on the GPU until the pass ends.
    pub keep: bool,
}

/// What the card offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CapacityDoc {
    /// NVML's total.
    pub total: Bytes,
    /// What the driver keeps.
    pub reserved: Bytes,
    /// What other processes hold.
    pub other_use: Bytes,
    /// What is to stay free.
    pub headroom: Bytes,
    /// `total − reserved − other_use`.
    pub usable: Bytes,
    /// How the total is known.
    pub basis: Basis,
    /// Where the total was read.
    pub source: String,
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
    /// Blocks of the pool.
    pub blocks: u64,
    /// Tokens that the runtime says those hold.
    pub tokens: u64,
}

/// A component's share of the peak.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ComponentDoc {
    /// Its stable name.
    pub id: Component,
    /// `persistent` or `transient`.
    pub lifetime: String,
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
    /// Everything, with what the allocator keeps from earlier phases.
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
    /// What keeps the balanced tier from being larger: `vram`, `context` or `speed`.
    pub limited_by: String,
}

/// One recommended size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TierDoc {
    /// `conservative`, `balanced` or `aggressive`.
    pub name: String,
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
    pub limited_by: String,
    /// What would have to be true for it to fail.
    pub fails_if: String,
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

impl Document {
    /// The document of an answered request.
    pub fn new(request: &Request<'_>, answer: &Answer) -> Self {
        let plan = &answer.plan;
        let components =
            plan.components.iter().map(|row| component_doc(row, &plan.buffers)).collect();
        let recommendation = &answer.recommendation;
        Self {
            schema: SCHEMA.to_owned(),
            inputs: inputs(request, answer),
            capacity: capacity_doc(request, answer),
            pool: plan.pool.map(|pool| pool_doc(&pool)),
            verdict: plan.verdict.id().to_owned(),
            short_by: plan.short_by,
            peak: PeakDoc { phase: plan.peak_phase, total: plan.peak },
            components,
            phases: plan.phases.iter().map(phase_doc).collect(),
            recommendation: RecommendationDoc {
                tiers: recommendation.tiers.iter().map(tier_doc).collect(),
                hard_max_cache_tokens: recommendation.hard_max_cache_tokens,
                limited_by: recommendation.limited_by.id().to_owned(),
            },
            advice: answer.advice.iter().map(advice_doc).collect(),
            devices: device_docs(answer),
        }
    }
}

fn inputs(request: &Request<'_>, answer: &Answer) -> Inputs {
    let workload = &answer.workload;
    let of_several = answer.devices.get(answer.binding).map(|device| &device.card.gpu);
    Inputs {
        gpu: of_several.unwrap_or(request.gpu).name.clone(),
        gpus: answer.devices.iter().map(|device| device.card.gpu.name.clone()).collect(),
        split: of_several.map(|_| request.split),
        model: request.model.name.clone(),
        architecture: request.model.shape.architecture.to_string(),
        parameters: request.model.parameters(),
        runtime: request.runtime.runtime.to_string(),
        runtime_version: runtime_version(request),
        weights: weights_label(request.model, request.weights),
        kv: request.kv.to_string(),
        attention: workload.attention.to_string(),
        system_tokens: workload.system_tokens,
        cache_tokens: workload.cache_tokens,
        cache_tokens_given: request.fixed_cache,
        recent_window: answer.recent_window.tokens,
        recent_window_basis: answer.recent_window.basis.text().to_owned(),
        prefill_chunk: workload.prefill_chunk,
        batch: workload.batch,
        context: workload.context,
        max_seqs: workload.serving.map(|serving| serving.max_seqs),
        gpu_memory_utilization: workload.serving.map(|serving| serving.utilization.to_string()),
        images: workload.images,
        logits: workload.logits.to_string(),
        cache: if workload.grown_cache { "grown" } else { "preallocated" }.to_owned(),
        capture: workload.capture.map(|Capture { layers, tokens, attention, keep }| CaptureDoc {
            layers,
            tokens,
            attention,
            keep,
        }),
    }
}

fn runtime_version(request: &Request<'_>) -> String {
    let version = &request.runtime.version;
    let workload = &request.workload;
    match (request.runtime.runtime, workload.serving) {
        (Runtime::LlamaCpp, _) => format!("{} ({version})", workload.llama_cpp),
        (Runtime::Transformers, _) => format!("{} ({version})", request.runtime.stack),
        (Runtime::Vllm, Some(serving)) => format!("{} ({version})", serving.version),
        _ => version.clone(),
    }
}

/// The format of the weights, or what a file holds.
pub(super) fn weights_label(model: &ModelSpec, weights: WeightFormat) -> String {
    match (&model.stored, weights) {
        (Some(stored), WeightFormat::AsStored) => {
            format!("{} (as stored)", stored.label)
        }
        (_, format) => format.to_string(),
    }
}

fn capacity_doc(request: &Request<'_>, answer: &Answer) -> CapacityDoc {
    match answer.devices.get(answer.binding) {
        Some(device) => CapacityDoc::new(&device.card.gpu, device.card.capacity),
        None => CapacityDoc::new(request.gpu, request.capacity),
    }
}

impl CapacityDoc {
    pub(super) fn new(gpu: &GpuSpec, capacity: Capacity) -> Self {
        Self {
            total: capacity.total,
            reserved: capacity.reserved,
            other_use: capacity.other_use,
            headroom: capacity.headroom,
            usable: capacity.usable,
            basis: gpu.total.basis,
            source: gpu.total.source.clone(),
        }
    }
}

pub(super) const fn pool_doc(pool: &Pool) -> PoolDoc {
    let Pool { limit, fixed, need, block, blocks, tokens } = *pool;
    PoolDoc { limit, fixed, need, block, blocks, tokens }
}

fn component_doc(row: &ComponentRow, buffers: &[Buffer]) -> ComponentDoc {
    let mine: Vec<&Buffer> = buffers.iter().filter(|b| b.component == row.component).collect();
    let largest = mine.iter().max_by_key(|buffer| buffer.size.expected);
    let text = |of: fn(&Buffer) -> String| largest.map(|buffer| of(buffer)).unwrap_or_default();
    ComponentDoc {
        id: row.component,
        lifetime: if row.persistent { "persistent" } else { "transient" }.to_owned(),
        low: row.at_peak.low,
        expected: row.at_peak.expected,
        high: row.at_peak.high,
        most: row.most.0,
        most_in: row.most.1,
        basis: row.basis,
        formula: text(|buffer| buffer.formula.to_string()),
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
    PhaseDoc { id, persistent, transient, total }
}

fn tier_doc(tier: &Tier) -> TierDoc {
    TierDoc {
        name: tier.name.id().to_owned(),
        max_cache_tokens: tier.max_cache_tokens,
        recent_window: tier.recent_window.tokens,
        recent_window_basis: tier.recent_window.basis.text().to_owned(),
        peak: tier.peak,
        headroom: tier.headroom,
        decode_tokens_per_second: speed_doc(tier.decode),
        limited_by: tier.limited_by.id().to_owned(),
        fails_if: tier.name.fails_if().to_owned(),
    }
}

fn speed_doc(speed: Speed) -> SpeedDoc {
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
