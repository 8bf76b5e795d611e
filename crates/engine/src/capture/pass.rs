//! A capture while its pass runs.

use super::CapturedLayer;
use crate::EngineError;
use crate::backend::{Backend, CacheShape, Caches, LayerStep};
use crate::memory::Span;

/// Where a capture lies in the arena: for one layer, or for each chosen one.
#[derive(Clone, Copy, Debug, Default)]
pub struct CaptureSpans {
    /// f32 `[layers on the device, tokens, hidden]`.
    pub hidden: Span,
    /// f32 `[layers on the device, query_heads, tokens, columns]`, or nothing.
    pub attention: Span,
    /// Layers on the device at once.
    pub layers: usize,
}

/// A capture in progress.
#[derive(Debug)]
pub struct CapturePass<'a> {
    spans: CaptureSpans,
    wanted: &'a [usize],
    keep: bool,
    layers: Vec<CapturedLayer>,
    held: Vec<(Span, Option<Span>)>,
}

impl<'a> CapturePass<'a> {
    /// Of the layers `wanted`, in ascending order.
    pub fn new(spans: CaptureSpans, wanted: &'a [usize], keep: bool) -> Self {
        Self { spans, wanted, keep, layers: Vec::new(), held: Vec::new() }
    }

    /// Where layer `layer` is among the chosen ones.
    fn index(&self, layer: usize) -> Option<usize> {
        self.wanted.binary_search(&layer).ok()
    }

    /// The part of `span` that is the chosen layer's, `len` bytes of it.
    fn part(&self, span: Span, index: usize, len: usize) -> Span {
        let slot = if self.keep { index } else { 0 };
        span.part(slot * (span.len() / self.spans.layers.max(1)), len)
    }

    /// Computes the attention weights of a layer that has just attended.
    pub fn attended<B: Backend>(
        &mut self,
        backend: &B,
        arena: &mut B::Buffer,
        caches: &Caches<B::Buffer>,
        shape: CacheShape,
        at: LayerStep,
        queries: Span,
    ) -> Result<(), EngineError> {
        let Some(index) = self.index(at.layer).filter(|_| !self.spans.attention.is_empty()) else {
            return Ok(());
        };
        let tokens = queries.len() / (shape.heads.query_width() * size_of::<f32>());
        let columns = shape.policy.pinned() + shape.policy.max_cache_tokens();
        let len = shape.heads.query_heads() * tokens * columns * size_of::<f32>();
        let out = self.part(self.spans.attention, index, len);
        backend.attention_weights(arena, caches, shape, at, queries, out)?;
        self.layer(at.layer);
        self.hold(index, None, Some(out));
        Ok(())
    }

    /// Keeps the output of a layer, and moves what it has to the host unless all are kept.
    pub fn passed<B: Backend>(
        &mut self,
        backend: &B,
        arena: &mut B::Buffer,
        layer: usize,
        residual: Span,
    ) -> Result<(), EngineError> {
        let Some(index) = self.index(layer) else { return Ok(()) };
        let out = self.part(self.spans.hidden, index, residual.len());
        backend.copy(arena, residual, out)?;
        self.layer(layer);
        self.hold(index, Some(out), None);
        if self.keep { Ok(()) } else { self.move_layer(backend, arena, index) }
    }

    /// Moves what is still on the device to the host.
    pub fn finish<B: Backend>(
        mut self,
        backend: &B,
        arena: &B::Buffer,
    ) -> Result<Vec<CapturedLayer>, EngineError> {
        if self.keep {
            (0..self.layers.len()).try_for_each(|index| self.move_layer(backend, arena, index))?;
        }
        Ok(self.layers)
    }

    /// Begins a layer unless it has begun.
    fn layer(&mut self, layer: usize) {
        if self.layers.last().is_none_or(|last| last.layer != layer) {
            let (hidden, attention, positions) = (Vec::new(), Vec::new(), Vec::new());
            self.layers.push(CapturedLayer { layer, hidden, attention, positions });
            self.held.push((Span::default(), None));
        }
    }

    fn hold(&mut self, index: usize, hidden: Option<Span>, attention: Option<Span>) {
        if let Some(held) = self.held.get_mut(index) {
            held.0 = hidden.unwrap_or(held.0);
            held.1 = attention.or(held.1);
        }
    }

    fn move_layer<B: Backend>(
        &mut self,
        backend: &B,
        arena: &B::Buffer,
        index: usize,
    ) -> Result<(), EngineError> {
        let (Some(layer), Some(&(hidden, attention))) =
            (self.layers.get_mut(index), self.held.get(index))
        else {
            return Ok(());
        };
        let read = |span: Span| {
            let mut values = vec![0.0; span.len() / size_of::<f32>()];
            backend.read(arena, span, &mut values).map(|()| values)
        };
        layer.hidden = read(hidden)?;
        if let Some(span) = attention {
            layer.attention = read(span)?;
        }
        Ok(())
    }
}
