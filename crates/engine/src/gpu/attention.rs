//! A layer's attention: which kernels, on which memory.

use super::layout::CacheSpans;
use super::{Device, OnDevice, Workspace};
use crate::EngineError;
use crate::backend::{AttentionSpans, CacheShape, Caches, LayerStep, Target};
use crate::h2o::to_usize;
use crate::launch::{
    DecodeMemory, LaunchError, LayerMemory, Leavers, LookMemory, PrefillMemory, Scoring, Span,
    TILE, WriteMemory, attention_weights, decode, evict, next_victim, prefill, prefill_scores,
    update_scores, write,
};
use vramplan_planner::estimate::vramplan::attention::MAX_SPLITS;

const F16: usize = 2;
const F32: usize = 4;
const U64: usize = 8;

/// A layer at one step.
struct Site {
    shape: CacheShape,
    memory: LayerMemory,
    clock: Span,
    new: WriteMemory,
    queries: Span,
    output: Span,
    work: Span,
    tokens: usize,
}

impl<D: Device> OnDevice<D> {
    pub(super) fn cache_spans(&self, caches: &Caches<D::Buffer>) -> CacheSpans {
        CacheSpans {
            pinned: self.whole(&caches.pinned),
            slots: self.whole(&caches.slots),
            scores: self.whole(&caches.scores),
            smoothing: self.whole(&caches.smoothing),
        }
    }

    /// Where a step begins: two i32 at the start of the counters.
    pub(super) fn clock(&self, caches: &Caches<D::Buffer>) -> Result<Span, LaunchError> {
        self.whole(&caches.counters).part(0, 2 * size_of::<i32>())
    }

    pub(super) fn attend_layer(
        &self,
        arena: &D::Buffer,
        workspace: &mut Workspace<D::Buffer, D::Graph>,
        caches: &Caches<D::Buffer>,
        shape: CacheShape,
        LayerStep { layer, target }: LayerStep,
        spans: AttentionSpans,
    ) -> Result<(), EngineError> {
        let clock = self.clock(caches)?;
        let (keys, values) = (self.part(arena, spans.k)?, self.part(arena, spans.v)?);
        let site = Site {
            shape,
            memory: self.cache_spans(caches).layer(shape, layer)?,
            clock,
            new: WriteMemory { clock, keys, values },
            queries: self.part(arena, spans.q)?,
            output: self.part(arena, spans.out)?,
            work: self.part(arena, spans.work)?,
            tokens: spans.q.len() / (shape.heads.query_width() * F32),
        };
        match target {
            Target::Pinned { .. } => self.attend_pinned(&site),
            Target::Conversation { before, .. } if site.is_decode() => {
                self.attend_token(&site, workspace, layer, before)
            }
            Target::Conversation { .. } => {
                forget(workspace, layer, None);
                self.attend_chunk(&site)
            }
        }
    }

    fn attend_pinned(&self, site: &Site) -> Result<(), EngineError> {
        let CacheShape { heads, policy } = site.shape;
        let Site { memory, tokens, .. } = site;
        self.run(&write(heads, &policy, memory, &site.new, *tokens, Leavers::Pinning)?)?;
        let (prefilling, _) = site.prefill_memory()?;
        self.run(&prefill(heads, &policy, memory, &prefilling, *tokens, true)?)
    }

    fn attend_chunk(&self, site: &Site) -> Result<(), EngineError> {
        let CacheShape { heads, policy } = site.shape;
        let Site { memory, clock, tokens, .. } = site;
        let (prefilling, destinations) = site.prefill_memory()?;
        self.run(&evict(heads, &policy, memory, *clock, *tokens, destinations)?)?;
        let leavers = Leavers::Destinations(destinations);
        self.run(&write(heads, &policy, memory, &site.new, *tokens, leavers)?)?;
        self.run(&prefill(heads, &policy, memory, &prefilling, *tokens, false)?)?;
        self.run(&prefill_scores(heads, &policy, memory, &prefilling, *tokens)?)
    }

    fn attend_token(
        &self,
        site: &Site,
        workspace: &mut Workspace<D::Buffer, D::Graph>,
        layer: usize,
        before: usize,
    ) -> Result<(), EngineError> {
        let CacheShape { heads, policy } = site.shape;
        let Site { memory, clock, .. } = site;
        let of_layer = heads.kv_heads() * U64;
        let victims = self.whole(&workspace.victims).part(layer * of_layer, of_layer)?;
        if workspace.known.get(layer) != Some(&Some(before)) {
            self.set(victims, u8::MAX)?;
            self.run(&next_victim(heads, &policy, memory, *clock, victims)?)?;
        }
        forget(workspace, layer, None);
        self.run(&write(heads, &policy, memory, &site.new, 1, Leavers::Victims(victims))?)?;
        let (step, scoring) = site.decode_memory()?;
        let splits = workspace.splits;
        for launch in decode(workspace.variant, heads, &policy, memory, &step, splits)? {
            self.run(&launch)?;
        }
        self.run(&update_scores(heads, &policy, memory, &step, &scoring, splits, victims)?)?;
        forget(workspace, layer, Some(before + 1));
        Ok(())
    }

    /// What the step that attended last gives to each token of the cache.
    pub(super) fn look(
        &self,
        caches: &Caches<D::Buffer>,
        shape: CacheShape,
        LayerStep { layer, target }: LayerStep,
        (queries, weights): (Span, Span),
    ) -> Result<(), EngineError> {
        let CacheShape { heads, policy } = shape;
        let memory = self.cache_spans(caches).layer(shape, layer)?;
        let tokens = queries.bytes / (heads.query_width() * F32) as u64;
        let tokens = to_usize(tokens);
        let look = LookMemory { clock: self.clock(caches)?, queries, weights };
        let is_pinning = matches!(target, Target::Pinned { .. });
        self.run(&attention_weights(heads, &policy, &memory, &look, tokens, is_pinning)?)
    }
}

/// Notes before which token the victims of a layer are known.
fn forget<B, G>(workspace: &mut Workspace<B, G>, layer: usize, known: Option<usize>) {
    if let Some(of_layer) = workspace.known.get_mut(layer) {
        *of_layer = known;
    }
}

impl Site {
    /// Whether there is one token, and the scratch of a decode step: a capture of one token has none.
    fn is_decode(&self) -> bool {
        self.tokens == 1 && self.decode_sizes().iter().sum::<usize>() as u64 <= self.work.bytes
    }

    /// Bytes of the largest logits of each tile, of the splits' parts, and of the probabilities. Numbers
    /// of four bytes come first.
    fn decode_sizes(&self) -> [usize; 3] {
        let CacheShape { heads, policy } = self.shape;
        let (queries, slots) = (heads.query_heads(), policy.max_cache_tokens());
        let splits = to_usize(MAX_SPLITS);
        [
            queries * slots.div_ceil(TILE) * F32,
            queries * splits * (heads.head_dim() + 2) * F32,
            queries * slots * F16,
        ]
    }

    fn decode_memory(&self) -> Result<(DecodeMemory, Scoring), LaunchError> {
        let [tops, partials, probabilities] = self.decode_sizes();
        let scoring = Scoring {
            tops: self.work.part(0, tops)?,
            probabilities: self.work.part(tops + partials, probabilities)?,
        };
        let memory = DecodeMemory {
            clock: self.clock,
            queries: self.queries,
            partials: self.work.part(tops, partials)?,
            output: self.output,
            scoring: Some(scoring),
        };
        Ok((memory, scoring))
    }

    /// What a chunk's attention takes, and where its leavers' destinations lie.
    fn prefill_memory(&self) -> Result<(PrefillMemory, Span), LaunchError> {
        let heads = self.shape.heads;
        let log_sum_exp = heads.query_heads() * self.tokens * F32;
        let memory = PrefillMemory {
            clock: self.clock,
            queries: self.queries,
            output: self.output,
            log_sum_exp: self.work.part(0, log_sum_exp)?,
        };
        let rest = to_usize(self.work.bytes) - log_sum_exp;
        let destinations = rest.min(heads.kv_heads() * self.tokens * size_of::<i32>());
        Ok((memory, self.work.part(log_sum_exp, destinations)?))
    }
}
