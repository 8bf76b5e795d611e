//! From what is asked of a context to what llama.cpp makes of it (`llama_context::llama_context`,
//! `llama-kv-cache-iswa.cpp`).

use super::{Gates, GraphParams, LlamaCppGeneration};
use crate::dtype::KvFormat;
use crate::spec::families::{graph_of, graph_of_family};
use crate::spec::{ModelShape, ModelSpec};
use crate::units::Overflow;

/// What the cells of a cache are rounded up to.
const CELL_PADDING: u64 = 256;
/// The most that any of the numbers can be.
const LIMIT: u64 = 1 << 32;

/// How many rows of a batch get logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outputs {
    /// All of them: the library's default, which perplexity and most bindings use.
    All,
    /// At most this many (`n_outputs_max`): one per sequence in llama-server.
    Few(u64),
}

/// The parameters of a context (`llama_context_params`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextParams {
    /// Tokens of all sequences.
    pub n_ctx: u64,
    /// Tokens of a batch.
    pub n_batch: u64,
    /// Tokens of a micro-batch.
    pub n_ubatch: u64,
    /// Sequences.
    pub n_seq: u64,
    /// Whether the sequences share the cache's cells (`--kv-unified`).
    pub unified: bool,
    /// Whether windowed layers cache every token (`--swa-full`).
    pub swa_full: bool,
    /// Rows that get logits.
    pub outputs: Outputs,
    /// Whether attention is fused (`-fa`).
    pub flash: bool,
    /// Whether the vector kernel reads a quantized cache for two rows: compute capability 8.9.
    pub ada: bool,
    /// Whether Apple's backend computes.
    pub metal: bool,
    /// Format of the keys.
    pub type_k: KvFormat,
    /// Format of the values.
    pub type_v: KvFormat,
    /// Which build.
    pub version: LlamaCppGeneration,
}

/// A context as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// Tokens of all sequences, rounded.
    pub n_ctx: u64,
    /// The parameters of the graph.
    pub graph: GraphParams,
}

/// Cells for `tokens` tokens.
pub fn padded(tokens: u64) -> Result<u64, Overflow> {
    tokens.checked_next_multiple_of(CELL_PADDING).filter(|cells| *cells <= LIMIT).ok_or(Overflow)
}

impl ContextParams {
    /// What llama.cpp makes of them for a model.
    pub fn resolve_for(&self, model: &ModelSpec) -> Result<Context, Overflow> {
        if let Some(file) = &model.file_caches {
            let mut context = self.resolve_with(file.window)?;
            context.graph.other = graph_of(file);
            context.graph.scales_queries = file.scales_queries;
            return Ok(context);
        }
        let mut context = self.resolve(&model.shape)?;
        context.graph.other = graph_of_family(model.shape.architecture.family());
        Ok(context)
    }

    /// What llama.cpp makes of them for a model of this shape.
    pub fn resolve(&self, shape: &ModelShape) -> Result<Context, Overflow> {
        let window = shape.window.filter(|_| shape.architecture.caches_windows());
        self.resolve_with(window.map(|window| window.size))
    }

    /// The same for a model with windows of so many tokens.
    fn resolve_with(&self, window: Option<u64>) -> Result<Context, Overflow> {
        let n_seq = self.n_seq.clamp(1, LIMIT);
        let batch = self.n_batch.min(self.n_ctx);
        let all = padded(self.n_ctx.max(1))?;
        let cells = if self.unified { all } else { padded((all / n_seq).max(1))? };
        let streams = if self.unified { 1 } else { n_seq };
        let n_ctx = cells.checked_mul(streams).filter(|n| *n <= LIMIT).ok_or(Overflow)?;
        let n_ubatch = self.n_ubatch.min(batch).clamp(1, n_ctx);
        let outputs = match self.outputs {
            Outputs::Few(n) if self.version.limits_outputs() => n.min(batch),
            Outputs::All | Outputs::Few(_) => batch,
        };
        let rows = n_ubatch.checked_next_multiple_of(n_seq).ok_or(Overflow)?;
        let graph = GraphParams {
            rows,
            cells,
            window_cells: self.window_cells(window, cells, n_ubatch)?,
            streams,
            n_seq,
            n_outputs: outputs.min(n_ubatch),
            flash: self.flash,
            vector_rows: if self.ada { 2 } else { 1 },
            type_k: self.type_k,
            type_v: self.type_v,
            metal: self.metal,
            gates: Gates::default(),
            other: None,
            scales_queries: false,
            version: self.version,
        };
        Ok(Context { n_ctx, graph })
    }

    /// Cells of the windowed layers' cache: the window of every sequence and one micro-batch.
    fn window_cells(
        &self,
        window: Option<u64>,
        cells: u64,
        n_ubatch: u64,
    ) -> Result<Option<u64>, Overflow> {
        let Some(window) = window else { return Ok(None) };
        if self.swa_full {
            return Ok(Some(cells));
        }
        let sequences = if self.unified { self.n_seq } else { 1 };
        let windows = window.checked_mul(sequences).ok_or(Overflow)?;
        let wanted = windows.checked_add(n_ubatch).ok_or(Overflow)?;
        Ok(Some(padded(cells.min(wanted))?))
    }
}
