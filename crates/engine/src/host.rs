//! A plan's table where there is no card: for running on the CPU.

#[cfg(target_os = "linux")]
use std::sync::Arc;

use super::EngineError;
use super::plan_table::Table;
#[cfg(target_os = "linux")]
use vramplan_planner::deployment::{Card, Cards, Found};
use vramplan_planner::dtype::{KvFormat, WeightFormat};
use vramplan_planner::estimate::Scenario;
use vramplan_planner::estimate::weights_of;
#[cfg(target_os = "linux")]
use vramplan_planner::plan::Capacity;
use vramplan_planner::spec::{
    Attention, Basis, Bounds, Capture, Fact, GpuSpec, Launch, Logits, ModelSpec, RuntimeOptions,
    RuntimeSpec, Workload,
};
use vramplan_planner::units::Bytes;

/// What the engine is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Room for the pinned system prompt.
    pub system_tokens: u64,
    /// Tokens of the conversation that are kept.
    pub max_cache_tokens: u64,
    /// Of those, the newest that are kept whatever their score.
    pub recent_window: u64,
    /// Tokens that a step of a prompt processes at once, at most `recent_window`.
    pub prefill_chunk: u64,
    /// For which positions of a chunk logits can be computed.
    pub logits: Logits,
}

impl Settings {
    /// The table of a model in these settings, weights as they are stored.
    ///
    /// # Errors
    /// Where the model's weights or the settings are none that the engine runs.
    pub fn table(&self, spec: &ModelSpec) -> Result<Table, EngineError> {
        self.table_of(spec, spec.shape.context_len, None)
    }

    /// The same with positions up to `context`, for models that bear more than they were trained for.
    ///
    /// # Errors
    /// As [`Self::table`].
    pub fn table_with_context(&self, spec: &ModelSpec, context: u64) -> Result<Table, EngineError> {
        self.table_of(spec, context, None)
    }

    /// The same with what a capture holds.
    ///
    /// # Errors
    /// As [`Self::table`].
    pub fn table_with_capture(
        &self,
        spec: &ModelSpec,
        capture: Capture,
    ) -> Result<Table, EngineError> {
        self.table_of(spec, spec.shape.context_len, Some(capture))
    }

    fn table_of(
        &self,
        spec: &ModelSpec,
        context: u64,
        capture: Option<Capture>,
    ) -> Result<Table, EngineError> {
        let workload = Workload { capture, ..self.workload(context) };
        table_without_card(spec, KvFormat::Int8, workload, self.max_cache_tokens)
    }

    /// One sequence's work in these settings, with positions up to `context`.
    pub fn workload(&self, context: u64) -> Workload {
        Workload {
            system_tokens: self.system_tokens,
            recent_window: Some(self.recent_window),
            prefill_chunk: self.prefill_chunk,
            batch: 1,
            context,
            attention: Attention::Fused,
            capture: None,
            images: None,
            logits: self.logits,
            grown_cache: false,
        }
    }
}

/// The table of any work that the engine runs, weights as they are stored.
///
/// # Errors
/// Where the model's weights, the cache's format or the work are none that the engine runs.
pub fn table_without_card(
    spec: &ModelSpec,
    kv: KvFormat,
    workload: Workload,
    cache_tokens: u64,
) -> Result<Table, EngineError> {
    let (gpu, runtime) = (no_card(), no_constants());
    let weights = weights_of(spec, WeightFormat::AsStored, &runtime)
        .map_err(|error| EngineError::unsupported(error.to_string(), "another file"))?;
    Table::new(&Scenario {
        model: spec,
        gpu: &gpu,
        runtime: &runtime,
        weights: &weights,
        kv,
        workload,
        cache_tokens,
    })
}

/// A model with no card under it, for the worker's orders.
#[cfg(target_os = "linux")]
pub(crate) fn found(spec: &ModelSpec) -> Found {
    let capacity = Capacity {
        total: Bytes::ZERO,
        reserved: Bytes::ZERO,
        other_use: Bytes::ZERO,
        headroom: Bytes::ZERO,
        usable: Bytes::ZERO,
        held_more: Bytes::ZERO,
        doubt: None,
    };
    Found {
        model: Arc::new(spec.clone()),
        file: None,
        runtime: Arc::new(no_constants()),
        cards: Cards::one(Card { gpu: no_card(), capacity }),
        siblings: Arc::new([]),
    }
}

fn none<T>(value: T) -> Fact<T> {
    Fact::new(value, Basis::Exact, "no card")
}

/// A card of no memory: what depends on it is not in the engine's table.
fn no_card() -> GpuSpec {
    GpuSpec::main_memory(Bytes::ZERO, none(Bounds::ZERO))
}

fn no_constants() -> RuntimeSpec {
    RuntimeSpec {
        options: RuntimeOptions::Vramplan,
        launch: Launch::default(),
        version: String::new(),
        libraries: none(Bounds::ZERO),
        blas_workspace: none(Bytes::ZERO),
        blas_workspace_hopper: none(Bytes::ZERO),
        allocation_granule: none(Bytes::ZERO),
        segment_granule: none(Bytes::ZERO),
    }
}
