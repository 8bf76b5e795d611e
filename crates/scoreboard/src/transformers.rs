//! transformers: forward passes whose storages were tracked (`evidence/transformers/track.py`),
//! and what `PyTorch` had reserved in public notebooks.
//!
//! Of a pass everything is compared that it holds beside the weights, inputs included. What the
//! expected value of a plan leaves out on purpose is rounding of allocations, which the tracker does
//! not see either.

use std::collections::HashMap;
use vramplan_planner::estimate::BufferId;

use vramplan_planner::dtype::{KvFormat, WeightFormat};
use vramplan_planner::estimate::weights::Weights;
use vramplan_planner::estimate::weights_of;
use vramplan_planner::estimate::{Buffer, Component, Life, Moment, Phase, Scenario, buffers};
use vramplan_planner::read::Catalog;
use vramplan_planner::spec::{
    Bounds, Capture, GpuSpec, ModelSpec, Role, Runtime, RuntimeSpec, Workload,
};
use vramplan_planner::units::{Bytes, Overflow};

use super::csv::{Row, rows};
use super::{Board, Origin, Part, Subject, sum};

/// Tracked passes.
pub const PASSES: &str = include_str!("../../../evidence/transformers/transformers.csv");

/// What notebooks printed, and why one is left out.
pub const LOGS: &str = include_str!("../../../tests/corpus/transformers.csv");

const MIB: f64 = 1_048_576.0;

/// A row of the tracker.
pub(super) struct Pass(pub(super) Row);

impl Pass {
    pub(super) fn number(&self, column: &str) -> u64 {
        self.0.number(column)
    }

    fn is(&self, column: &str, value: &str) -> bool {
        self.0.text(column) == value
    }

    /// Bytes of ids and padding mask, which the tracker takes as given.
    pub(super) fn inputs(&self) -> u64 {
        let seen = self.number("rows") + self.number("past");
        8 * self.number("batch") * (self.number("rows") + seen)
    }

    /// Bytes beside the weights, with inputs.
    fn held(&self) -> u64 {
        self.number("live_peak") + self.inputs()
    }

    pub(super) fn phase(&self) -> Phase {
        match self.0.text("phase") {
            _ if !self.is("capture", "none") => Phase::Capture,
            "system_prefill" => Phase::SystemPrefill,
            "prefill" => Phase::Prefill,
            _ => Phase::Decode,
        }
    }

    /// Tokens of the conversation cache after the pass.
    pub(super) fn cache_tokens(&self) -> u64 {
        let first = self.is("phase", "system_prefill");
        if first { 0 } else { self.number("past") + self.number("rows") }
    }

    /// The request whose pass of this phase is the row's.
    pub(super) fn workload(&self, model: &ModelSpec, gpu: &GpuSpec) -> anyhow::Result<Workload> {
        let layers = model.shape.n_layers;
        let rows = self.number("rows");
        let first = self.is("phase", "system_prefill");
        let capture = (!self.is("capture", "none")).then_some(Capture {
            layers,
            tokens: rows,
            attention: self.is("capture", "hidden+attention"),
            keep: true,
        });
        Ok(Workload {
            system_tokens: if first { rows } else { 0 },
            prefill_chunk: rows,
            batch: self.number("batch"),
            attention: self.0.get("attention")?,
            capture,
            images: None,
            logits: self.0.get("logits")?,
            grown_cache: self.is("cache", "dynamic"),
            ..super::workload(Runtime::Transformers, model, gpu)
        })
    }
}

/// Predicts every tracked pass.
pub fn engine(board: &mut Board) -> anyhow::Result<()> {
    let catalog = Catalog::built_in();
    let (gpu, runtime) = (catalog.gpu("L4")?, catalog.runtime(Runtime::Transformers)?);
    let mut models: HashMap<String, (ModelSpec, Weights)> = HashMap::new();
    for row in rows(PASSES) {
        let (pass, line) = (Pass(row), String::new());
        let name = pass.0.text("model");
        if !models.contains_key(name) {
            let model = catalog.model(name)?;
            let mut weights = weights_of(&model, WeightFormat::Bf16, &runtime)?;
            // The tracker's experts are bf16, published as MXFP4 or not.
            weights.packed_experts = false;
            models.insert(name.to_owned(), (model, weights));
        }
        let (model, weights) = &models[name];
        let workload = pass.workload(model, &gpu)?;
        let (gpu, runtime, kv) = (&gpu, &runtime, KvFormat::Bf16);
        let cache_tokens = pass.cache_tokens();
        let listed =
            buffers(&Scenario { model, gpu, runtime, weights, kv, workload, cache_tokens })?;
        let line = line + &pass.0.line();
        let (runtime, origin) = (Runtime::Transformers, Origin::Engine);
        let subject = Subject { runtime, origin, model: name, row: &line, digit: 0.0 };
        compare(board, &pass, &listed, subject)?;
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "bytes of a GPU")]
fn compare(
    board: &mut Board,
    pass: &Pass,
    listed: &[Buffer],
    subject: Subject<'_>,
) -> anyhow::Result<()> {
    let (cache, transient) = (kept(listed)?, largest_moment(listed, pass.phase())?);
    let remains = remains(listed, pass.phase())?;
    let (kv, held) = (pass.number("kv_after"), pass.held());
    let beyond = held.saturating_sub(cache.expected.get());
    let mib = |bytes: u64| Some(bytes as f64 / MIB);
    subject.hit(board, Part::Kv, "cache after the pass", mib(kv), sum([cache, remains])?);
    subject.hit(board, Part::Compute, "beside weights and cache", mib(beyond), transient);
    subject.hit(board, Part::Total, "beside weights", mib(held), sum([cache, transient])?);
    Ok(())
}

/// Keys and values that stay.
fn kept(listed: &[Buffer]) -> Result<Bounds, Overflow> {
    let caches = [Component::SystemPromptCache, Component::ConversationCache];
    let kept = listed.iter().filter(|buffer| {
        let stays = matches!(buffer.life, Life::From(_));
        caches.contains(&buffer.component) && buffer.id != BufferId::EvictionScores && stays
    });
    sum(kept.map(|buffer| buffer.size))
}

/// What windowed layers hold beside their window until the next pass.
fn remains(listed: &[Buffer], phase: Phase) -> Result<Bounds, Overflow> {
    let life = Life::During(phase, Moment::Output);
    let remains = listed
        .iter()
        .filter(|buffer| buffer.life == life && buffer.component == Component::ConversationCache);
    sum(remains.map(|buffer| buffer.size))
}

/// The most that a phase holds beside what stays.
pub(super) fn largest_moment(listed: &[Buffer], phase: Phase) -> Result<Bounds, Overflow> {
    let mut largest = Bounds::ZERO;
    for moment in Moment::ALL {
        let alive = |life| matches!(life, Life::During(p, m) if p == phase && (m == moment || m == Moment::Whole));
        let alive = listed.iter().filter(|buffer| alive(buffer.life));
        largest = largest.max(sum(alive.map(|buffer| buffer.size))?);
    }
    Ok(largest)
}

/// Public notebooks: every row is left out, for what `PyTorch` had reserved after loading and adapting
/// bounds from above what stays. That predictions respect it is tested.
pub fn logs(board: &mut Board) {
    for row in rows(LOGS) {
        board.leave_out(Runtime::Transformers, row.text("left_out"));
    }
}

/// Weights, their rounding, the adapters, and what the allocator's segments lose.
pub fn reserved(
    row: &Row,
    model: &ModelSpec,
    gpu: &GpuSpec,
    runtime: &RuntimeSpec,
) -> anyhow::Result<Bounds> {
    let weights = &weights_of(model, row.get::<WeightFormat>("weights")?, runtime)?;
    let workload =
        Workload { grown_cache: false, ..super::workload(Runtime::Transformers, model, gpu) };
    let (kv, cache_tokens) = (KvFormat::F16, 1);
    let listed = buffers(&Scenario { model, gpu, runtime, weights, kv, workload, cache_tokens })?;
    let wanted = [Component::Weights, Component::Fragmentation];
    let stays = listed.iter().filter(|buffer| wanted.contains(&buffer.component));
    let adapters = Bounds::exactly(adapters(model, row.get("lora_rank")?)?);
    Ok(sum(stays.map(|buffer| buffer.size).chain([adapters]))?)
}

/// Adapters of a rank on every projection of a layer, in f32: `rank · (in + out)` elements each.
fn adapters(model: &ModelSpec, rank: u64) -> Result<Bytes, Overflow> {
    let projections = model
        .tensors
        .iter()
        .filter(|tensor| tensor.layer.is_some() && !matches!(tensor.role, Role::Norm | Role::Bias));
    let sizes = projections.map(|tensor| Bytes::product(&[4, rank, tensor.row + tensor.rows]));
    Bytes::sum(sizes.collect::<Result<Vec<_>, _>>()?)
}
