//! The forward pass, written once for every device.

use super::EngineError;
use super::backend::{Backend, Begin, CacheShape, Caches, LayerStep, RowHeads, Tables, Target};
use super::capture::CapturePass;
use super::config::Config;
use super::observe::{Observer, Unobserved};
use super::positions::Positions;
use super::spans::Step;
use super::weights::{Layer, Linear, Weights};

/// What a pass works with: the model, and the memory that it was given.
pub(super) struct Pass<'a, 'l, B: Backend> {
    pub(super) backend: &'a B,
    pub(super) config: &'a Config,
    pub(super) weights: &'a Weights<B::Weight>,
    pub(super) shape: CacheShape,
    pub(super) memory: PassMemory<'a, B>,
    pub(super) step: Step,
    pub(super) target: Target,
    pub(super) looks: Looks<'l>,
}

/// What looks into a pass.
#[derive(Debug, Default)]
pub(super) struct Looks<'a> {
    /// Repeats which tokens each layer keeps.
    pub(super) positions: Option<&'a mut [Positions]>,
    /// Keeps what chosen layers show.
    pub(super) capture: Option<CapturePass<'a>>,
}

impl Looks<'_> {
    /// Whether anything looks into this pass: the short way of a single token shows nothing.
    pub(super) const fn is_open(&self) -> bool {
        self.positions.is_some() || self.capture.is_some()
    }
}

/// Memory of a pass on the device.
pub(super) struct PassMemory<'a, B: Backend> {
    pub(super) arena: &'a mut B::Buffer,
    pub(super) caches: &'a mut Caches<B::Buffer>,
    pub(super) ids: &'a mut B::Buffer,
    pub(super) rotation: &'a mut B::Buffer,
    pub(super) workspace: &'a mut B::Workspace,
}

impl<B: Backend> Pass<'_, '_, B> {
    /// Runs every layer over `ids` and leaves the last layer's output in the residual.
    pub(super) fn run(
        &mut self,
        ids: &[u32],
        observer: &mut dyn Observer,
    ) -> Result<(), EngineError> {
        self.begin(ids)?;
        self.layers(observer)
    }

    /// Runs one token whose every look is closed, up to the logits behind it.
    pub(super) fn token(&mut self, id: u32) -> Result<(), EngineError> {
        self.begin(&[id])?;
        if self.backend.recall(self.memory.workspace, self.target)? {
            return Ok(());
        }
        self.layers(&mut Unobserved)?;
        self.head(1)?;
        self.backend.remember(self.memory.workspace)
    }

    fn layers(&mut self, observer: &mut dyn Observer) -> Result<(), EngineError> {
        let PassMemory { arena, ids, .. } = &mut self.memory;
        self.backend.embed(arena, &self.weights.embedding, ids, self.step.residual)?;
        for (index, layer) in self.weights.layers.iter().enumerate() {
            self.attention(index, layer)?;
            self.feed_forward(layer)?;
            self.observe(index, observer)?;
            self.capture(index)?;
        }
        Ok(())
    }

    /// Logits of the last `positions` rows.
    pub(super) fn head(&mut self, positions: usize) -> Result<(), EngineError> {
        let Self { backend, weights, config, .. } = *self;
        let (last, normed) = self.step.last(positions);
        let PassMemory { arena, workspace, .. } = &mut self.memory;
        backend.rms_norm(arena, last, &weights.norm, config.eps, normed)?;
        let head = weights.head.as_ref().unwrap_or(&weights.embedding);
        backend.linear(arena, workspace, normed, head, None, self.step.logits)
    }

    fn begin(&mut self, ids: &[u32]) -> Result<(), EngineError> {
        let begin = Begin {
            ids,
            target: self.target,
            rope: &self.config.rope,
            head_dim: self.config.head_dim,
        };
        let divisors = self.weights.rope_divisors.as_ref();
        let memory = &mut self.memory;
        let tables = Tables { ids: memory.ids, rotation: memory.rotation };
        self.backend.begin(begin, divisors, tables, memory.caches, memory.workspace)
    }

    fn attention(&mut self, index: usize, layer: &Layer<B::Weight>) -> Result<(), EngineError> {
        let Self { backend, config, shape, target, step, .. } = *self;
        let spans = step.attention;
        self.follow(index)?;
        let PassMemory { arena, caches, rotation, workspace, .. } = &mut self.memory;
        backend.rms_norm(arena, step.residual, &layer.attn_norm, config.eps, step.normed)?;
        for (Linear { weight, bias }, out) in
            [(&layer.q, spans.q), (&layer.k, spans.k), (&layer.v, spans.v)]
        {
            backend.linear(arena, workspace, step.normed, weight, bias.as_ref(), out)?;
        }
        if let Some((q_norm, k_norm)) = &layer.qk_norm {
            backend.rms_norm_in_place(arena, spans.q, q_norm, config.eps)?;
            backend.rms_norm_in_place(arena, spans.k, k_norm, config.eps)?;
        }
        let of = |heads| RowHeads { heads, head_dim: config.head_dim };
        backend.rotate(arena, spans.q, of(config.heads), rotation)?;
        backend.rotate(arena, spans.k, of(config.kv_heads), rotation)?;
        let at = LayerStep { layer: index, target };
        backend.attend(arena, workspace, caches, shape, at, spans)?;
        if let Some(capture) = &mut self.looks.capture {
            capture.attended(backend, arena, caches, shape, at, spans.q)?;
        }
        backend.linear(arena, workspace, spans.out, &layer.attn_output, None, step.normed)?;
        backend.add(arena, step.residual, step.normed)
    }

    fn feed_forward(&mut self, layer: &Layer<B::Weight>) -> Result<(), EngineError> {
        let Self { backend, config, step, .. } = *self;
        let PassMemory { arena, workspace, .. } = &mut self.memory;
        backend.rms_norm(arena, step.residual, &layer.ffn_norm, config.eps, step.normed)?;
        backend.linear(arena, workspace, step.normed, &layer.gate, None, step.gate)?;
        backend.linear(arena, workspace, step.normed, &layer.up, None, step.up)?;
        backend.silu_mul(arena, step.gate, step.up)?;
        backend.linear(arena, workspace, step.gate, &layer.down, None, step.normed)?;
        backend.add(arena, step.residual, step.normed)
    }

    /// Repeats on the host what the cache of a layer is about to do.
    fn follow(&mut self, index: usize) -> Result<(), EngineError> {
        let Target::Conversation { .. } = self.target else { return Ok(()) };
        let Some(positions) = self.looks.positions.as_mut().and_then(|all| all.get_mut(index))
        else {
            return Ok(());
        };
        let CacheShape { heads, policy } = self.shape;
        let mut scores = vec![0.0; heads.kv_heads() * policy.max_cache_tokens()];
        self.backend.scores(self.memory.caches, self.shape, index, &mut scores)?;
        Ok(positions.advance(self.step.rows, &scores)?)
    }

    fn capture(&mut self, index: usize) -> Result<(), EngineError> {
        let Some(capture) = &mut self.looks.capture else { return Ok(()) };
        capture.passed(self.backend, self.memory.arena, index, self.step.residual)
    }

    fn observe(&self, index: usize, observer: &mut dyn Observer) -> Result<(), EngineError> {
        if !observer.wants(index) {
            return Ok(());
        }
        let mut hidden = vec![0.0; self.step.residual.len() / size_of::<f32>()];
        self.backend.read(self.memory.arena, self.step.residual, &mut hidden)?;
        observer.hidden(index, self.target.position(), &hidden);
        Ok(())
    }
}
