//! Where a step's activations lie in the arena.

use super::EngineError;
use super::backend::{AttentionSpans, CacheShape};
use super::capture::CaptureSpans;
use super::config::Config;
use super::memory::{Layout, Memory, Span};
use crate::h2o::to_usize;
use vramplan_planner::estimate::BufferId;
use vramplan_planner::estimate::vramplan::attention::{MAX_SPLITS, TILE};
use vramplan_planner::estimate::{Component, Moment, Phase};
use vramplan_planner::spec::Capture;

/// Bytes of an activation.
const F32: usize = size_of::<f32>();
/// Bytes of a stored probability, of a slot number.
const F16: usize = 2;
const U32: usize = 4;

/// The spans of a step of one phase, for the most rows that it can have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spans {
    /// Most rows of a step, and most positions that get logits.
    pub(super) rows: usize,
    pub(super) positions: usize,
    widths: Widths,
    residual: Span,
    normed: Span,
    q: Span,
    k: Span,
    v: Span,
    attended: Span,
    work: Span,
    gate: Span,
    up: Span,
    logits: Span,
    pub(super) captured: CaptureSpans,
}

#[derive(Clone, Copy, Debug)]
struct Widths {
    hidden: usize,
    q: usize,
    kv: usize,
    ffn: usize,
    vocab: usize,
}

/// The spans of a step of so many rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) rows: usize,
    pub(super) residual: Span,
    pub(super) normed: Span,
    pub(super) attention: AttentionSpans,
    pub(super) gate: Span,
    pub(super) up: Span,
    pub(super) logits: Span,
}

impl Spans {
    /// Lays out steps of `phase`.
    pub(super) fn new(
        memory: &mut Memory<'_>,
        config: &Config,
        shape: CacheShape,
        phase: Phase,
        rows: usize,
        all_logits: bool,
        capture: Option<Capture>,
    ) -> Result<Self, EngineError> {
        let widths = Widths {
            hidden: config.hidden,
            q: config.q_width(),
            kv: config.kv_width(),
            ffn: config.ffn,
            vocab: config.vocab,
        };
        let positions = if all_logits { rows } else { rows.min(1) };
        let mut layout = memory.layout(phase);
        let activations = Component::Activations;
        let each = rows * F32;
        let whole = layout.take(
            Moment::Whole,
            activations,
            BufferId::ResidualAndNorm,
            2 * each * widths.hidden,
        )?;
        let captured = captured(&mut layout, config, shape, (rows, capture))?;
        let projections = 2 * (widths.q + widths.kv);
        let qkv = layout.take(
            Moment::Attention,
            activations,
            BufferId::AttentionProjections,
            each * projections,
        )?;
        let work = match phase {
            Phase::Decode => decode_work(&mut layout, shape)?,
            _ => prefill_work(&mut layout, shape, rows, phase != Phase::SystemPrefill)?,
        };
        let mlp = layout.take(
            Moment::FeedForward,
            activations,
            BufferId::GateAndUp,
            2 * each * widths.ffn,
        )?;
        let logits = layout.take(
            Moment::Output,
            Component::Logits,
            BufferId::Logits,
            positions * widths.vocab * F32,
        )?;
        let [residual, normed] = cut(whole, [each * widths.hidden; 2]);
        let sizes = [widths.q, widths.kv, widths.kv, widths.q].map(|width| each * width);
        let [q, k, v, attended] = cut(qkv, sizes);
        let [gate, up] = cut(mlp, [each * widths.ffn; 2]);
        Ok(Self {
            rows,
            positions,
            widths,
            residual,
            normed,
            q,
            k,
            v,
            attended,
            work,
            gate,
            up,
            logits,
            captured,
        })
    }

    /// The spans of a step of `rows` rows.
    pub(super) fn step(&self, rows: usize) -> Step {
        let Widths { hidden, q, kv, ffn, vocab } = self.widths;
        let cut = |span: Span, width: usize| span.first(rows * width * F32);
        Step {
            rows,
            residual: cut(self.residual, hidden),
            normed: cut(self.normed, hidden),
            attention: AttentionSpans {
                q: cut(self.q, q),
                k: cut(self.k, kv),
                v: cut(self.v, kv),
                out: cut(self.attended, q),
                work: self.work,
            },
            gate: cut(self.gate, ffn),
            up: cut(self.up, ffn),
            logits: self.logits.first(self.positions.min(rows) * vocab * F32),
        }
    }
}

impl Step {
    /// The last `rows` rows of the residual stream, and room for their norm.
    pub(super) fn last(&self, rows: usize) -> (Span, Span) {
        let width = self.residual.len() / self.rows;
        let from = self.residual.part((self.rows - rows) * width, rows * width);
        (from, self.normed.first(rows * width))
    }
}

/// What a capture holds on the device while its pass runs.
fn captured(
    layout: &mut Layout<'_, '_>,
    config: &Config,
    shape: CacheShape,
    (rows, capture): (usize, Option<Capture>),
) -> Result<CaptureSpans, EngineError> {
    let Some(capture) = capture else { return Ok(CaptureSpans::default()) };
    let wanted = to_usize(capture.layers);
    let layers = wanted.min(if capture.keep { config.layers } else { 1 });
    let columns = shape.policy.pinned() + shape.policy.max_cache_tokens();
    let weights = if capture.attention { config.heads * columns } else { 0 };
    let mut take = |name, width| {
        let component = Component::ActivationCapture;
        layout.take(Moment::Whole, component, name, layers * rows * width * F32)
    };
    let hidden = take(BufferId::HiddenStates, config.hidden)?;
    let attention = take(BufferId::AttentionWeights, weights)?;
    Ok(CaptureSpans { hidden, attention, layers })
}

/// Consecutive parts of a span.
fn cut<const N: usize>(span: Span, sizes: [usize; N]) -> [Span; N] {
    let mut start = 0;
    sizes.map(|size| {
        start += size;
        span.part(start - size, size)
    })
}

/// Scratch of the decode kernels: they store the probabilities of conversation slots for the score
/// update, and the partial results of every split.
fn decode_work(layout: &mut Layout<'_, '_>, shape: CacheShape) -> Result<Span, EngineError> {
    let (heads, slots) = (shape.heads.query_heads(), shape.policy.max_cache_tokens());
    let tile = to_usize(TILE);
    let splits = to_usize(MAX_SPLITS);
    let partial = (shape.heads.head_dim() + 2) * F32;
    take_all(
        layout,
        [
            (BufferId::ScoreProbabilities, heads * slots * F16),
            (BufferId::TileMaxima, heads * slots.div_ceil(tile) * F32),
            (BufferId::SplitOutputs, heads * splits * partial),
        ],
    )
}

/// Scratch of the kernels for chunks: the log-sum-exp of every row, and the victims.
fn prefill_work(
    layout: &mut Layout<'_, '_>,
    shape: CacheShape,
    rows: usize,
    scored: bool,
) -> Result<Span, EngineError> {
    let victims = if scored { shape.heads.kv_heads() * rows * U32 } else { 0 };
    take_all(
        layout,
        [
            (BufferId::LogSumExp, shape.heads.query_heads() * rows * F32),
            (BufferId::ChosenSlots, victims),
        ],
    )
}

/// Asks for attention's transients one by one; they lie behind one another.
fn take_all<const N: usize>(
    layout: &mut Layout<'_, '_>,
    buffers: [(BufferId, usize); N],
) -> Result<Span, EngineError> {
    let mut whole = Span::default();
    for (name, size) in buffers {
        let component = Component::AttentionTransients;
        let span = layout.take(Moment::Attention, component, name, size)?;
        whole = if whole.is_empty() { span } else { whole.joined(span) };
    }
    Ok(whole)
}
