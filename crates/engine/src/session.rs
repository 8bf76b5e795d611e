//! A model that runs: a pinned system prompt, and one conversation behind it.

use std::sync::Arc;
use vramplan_planner::estimate::BufferId;
use vramplan_planner::estimate::{Component, Phase};

use super::EngineError;
use super::backend::{Backend, CacheShape, Caches, Cpu, Extent, Target};
use super::capture::{CapturePass, Captured, CapturedLayer, columns};
use super::config::Config;
use super::forward::{Looks, Pass, PassMemory};
use super::memory::{Ledger, Memory};
use super::observe::{Observer, Unobserved};
use super::positions::Positions;
use super::source::Source;
use super::spans::Spans;
use super::table::{Table, all_logits};
use super::weights::Weights;
use crate::h2o::to_usize;
use crate::h2o::{Heads, Policy, choose_smoothing};
use vramplan_planner::spec::Capture;
use vramplan_planner::units::Bytes;
use vramplan_planner::units::to_u64;

/// A model with its caches on one device.
///
/// The system prompt is pinned first ([`Self::prefill_system`]) and serves every conversation after
/// it. Whatever the order of calls, positions stay original: a conversation ends where the context
/// does, evicted tokens included.
#[derive(Debug)]
pub struct Engine<B: Backend = Cpu> {
    backend: B,
    config: Config,
    weights: Arc<Weights<B::Weight>>,
    shape: CacheShape,
    limits: Limits,
    caches: Caches<B::Buffer>,
    arena: B::Buffer,
    ids: B::Buffer,
    rotation: B::Buffer,
    workspace: B::Workspace,
    steps: Steps,
    ledger: Ledger,
    beside: Bytes,
    pinned: usize,
    written: usize,
    logits: Vec<f32>,
    positions: Option<Vec<Positions>>,
    capture: Option<Capture>,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    context: usize,
    chunk: usize,
    all_logits: bool,
}

/// A model's weights on a device, before there are caches.
#[derive(Debug)]
pub struct Model<B: Backend = Cpu> {
    backend: B,
    config: Config,
    weights: Arc<Weights<B::Weight>>,
}

impl<B: Backend> Model<B> {
    /// Loads the weights of `source`.
    ///
    /// # Errors
    /// Where a tensor is not what the model's shape says, or memory is short.
    pub fn load(backend: B, source: &mut dyn Source) -> Result<Self, EngineError> {
        let config = source.config().clone();
        let weights = Arc::new(Weights::load(&backend, source)?);
        Ok(Self { backend, config, weights })
    }

    /// What the weights take.
    pub fn bytes(&self) -> Bytes {
        Bytes::new(to_u64(self.weights.bytes))
    }

    /// The engine, with everything else that `table` lists.
    ///
    /// # Errors
    /// Where the table is not this model's, or memory is short.
    pub fn engine(self, table: &Table) -> Result<Engine<B>, EngineError> {
        Engine::with_weights(self.backend, self.config, self.weights, table)
    }
}

/// The spans of each kind of step.
#[derive(Clone, Copy, Debug)]
struct Steps {
    system: Option<Spans>,
    prefill: Spans,
    decode: Spans,
    capture: Option<Spans>,
}

impl<B: Backend> Engine<B> {
    /// Loads the model of `source` and allocates everything that `table` lists.
    ///
    /// # Errors
    /// Where a tensor is not what the model's shape says, the table is not this model's, or memory
    /// is short.
    pub fn load(backend: B, source: &mut dyn Source, table: &Table) -> Result<Self, EngineError> {
        Model::load(backend, source)?.engine(table)
    }

    /// Writes to all memory that a run will write to, so that the system has to give it now: a CPU's
    /// system gives memory when it is first written. To be called before anything runs.
    ///
    /// # Errors
    /// Where something has run, or the device refuses.
    pub fn commit(&mut self) -> Result<(), EngineError> {
        if self.pinned + self.written > 0 {
            return Err(EngineError::Order("memory is committed before anything runs"));
        }
        let Caches { pinned, slots, scores, smoothing: _, counters } = &mut self.caches;
        let rest = [&mut self.arena, &mut self.ids, &mut self.rotation];
        for buffer in [pinned, slots, scores, counters].into_iter().chain(rest) {
            self.backend.clear(buffer)?;
        }
        Ok(())
    }

    /// Another engine on the same weights, with caches and an arena of its own as `table` lists them.
    /// Both ledgers count the weights, which are held once.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn beside(&self, table: &Table) -> Result<Self, EngineError>
    where
        B: Clone,
    {
        let weights = Arc::clone(&self.weights);
        Self::with_weights(self.backend.clone(), self.config.clone(), weights, table)
    }

    fn with_weights(
        backend: B,
        config: Config,
        weights: Arc<Weights<B::Weight>>,
        table: &Table,
    ) -> Result<Self, EngineError> {
        let shape = cache_shape(&config, table)?;
        let limits = limits(table);
        let mut memory = Memory::new(table);
        memory.persistent(Component::Weights, BufferId::Weights, weights.bytes)?;
        let mut caches = allocate_caches(&backend, &mut memory, &config, shape)?;
        let factors = smoothing(shape.heads, &weights.key_biases);
        backend.write(&mut caches.smoothing, &factors)?;
        let steps = lay_out(&mut memory, &config, shape, table)?;
        let rows = steps.most_rows();
        let mut small = |name, size| {
            backend.allocate(memory.persistent(Component::SmallBuffers, name, size)?)
        };
        let ids = small(BufferId::IdsAndPositions, rows * 2 * size_of::<u32>())?;
        let rotation = small(BufferId::CosAndSin, rows * config.head_dim * size_of::<f32>())?;
        let arena = backend.allocate(memory.scratch())?;
        let (workspace, parts) = backend.workspace(shape, extent(&config, rows))?;
        let beside = Bytes::sum(parts.iter().map(|part| part.size))?;
        let ledger = memory.finish()?.with(&parts);
        let logits = Vec::new();
        let (pinned, written) = (0, 0);
        Ok(Self {
            backend,
            config,
            weights,
            shape,
            limits,
            caches,
            arena,
            ids,
            rotation,
            workspace,
            steps,
            ledger,
            beside,
            pinned,
            written,
            logits,
            positions: None,
            capture: table.workload.capture,
        })
    }

    /// The model's numbers.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The cache's shape.
    pub const fn cache_shape(&self) -> CacheShape {
        self.shape
    }

    /// What was allocated from the plan's table.
    pub const fn memory(&self) -> &Ledger {
        &self.ledger
    }

    /// What this device's kernels hold beside the table; [`Self::memory`] has what the plan lists of it.
    pub const fn memory_beside_table(&self) -> Bytes {
        self.beside
    }

    /// The caches, for whoever wants to look into them.
    pub const fn caches(&self) -> &Caches<B::Buffer> {
        &self.caches
    }

    /// Tokens of the system prompt so far.
    pub const fn pinned_tokens(&self) -> usize {
        self.pinned
    }

    /// Tokens of the conversation so far, evicted ones included.
    pub const fn conversation_tokens(&self) -> usize {
        self.written
    }

    /// Positions that are left in the context.
    pub const fn room(&self) -> usize {
        self.limits.context.saturating_sub(self.pinned + self.written)
    }

    /// Pins `tokens` behind what is pinned, chunk by chunk.
    ///
    /// # Errors
    /// Where a conversation has begun, or the plan has less room.
    pub fn prefill_system(&mut self, tokens: &[u32]) -> Result<(), EngineError> {
        if self.written > 0 {
            let reason = "the system prompt comes before the conversation: reset it first";
            return Err(EngineError::Order(reason));
        }
        let most = self.shape.policy.pinned() - self.pinned;
        fits("a system prompt", tokens.len(), most.min(self.room()))?;
        let Some(spans) = self.steps.system else { return Ok(()) };
        for chunk in tokens.chunks(spans.rows) {
            let target = Target::Pinned { before: self.pinned };
            self.pass(spans, target, chunk, 0, &mut Unobserved, None)?;
            self.pinned += chunk.len();
        }
        Ok(())
    }

    /// Continues the conversation with `tokens`, chunk by chunk, and returns the logits that follow
    /// the last of them, `[vocab]`.
    ///
    /// # Errors
    /// Where there are none, or the context ends.
    pub fn prefill(&mut self, tokens: &[u32]) -> Result<&[f32], EngineError> {
        self.prefill_observed(tokens, &mut Unobserved)
    }

    /// The same while `observer` looks.
    ///
    /// # Errors
    /// As [`Self::prefill`].
    pub fn prefill_observed(
        &mut self,
        tokens: &[u32],
        observer: &mut dyn Observer,
    ) -> Result<&[f32], EngineError> {
        if tokens.is_empty() {
            return Err(EngineError::Order("no tokens to continue with"));
        }
        fits("a conversation", tokens.len(), self.room())?;
        let mut chunks = tokens.chunks(self.limits.chunk).peekable();
        while let Some(chunk) = chunks.next() {
            let positions = usize::from(chunks.peek().is_none());
            self.continue_with(chunk, positions, observer)?;
        }
        Ok(&self.logits)
    }

    /// Continues the conversation with one token and returns the logits that follow it, `[vocab]`.
    ///
    /// # Errors
    /// Where the context ends.
    pub fn step(&mut self, token: u32) -> Result<&[f32], EngineError> {
        self.prefill(&[token])
    }

    /// Continues the conversation with `tokens` and shows `visit` the logits that follow each of
    /// them: its index, and `[vocab]`.
    ///
    /// # Errors
    /// Where the context ends, or the plan has logits of last positions only.
    pub fn score(
        &mut self,
        tokens: &[u32],
        mut visit: impl FnMut(usize, &[f32]),
    ) -> Result<(), EngineError> {
        if !self.limits.all_logits {
            let what = "logits of every position under a plan with those of the last";
            return Err(EngineError::unsupported(what, "`--logits all`"));
        }
        fits("a conversation", tokens.len(), self.room())?;
        for (index, chunk) in tokens.chunks(self.limits.chunk).enumerate() {
            self.continue_with(chunk, chunk.len(), &mut Unobserved)?;
            for (row, logits) in self.logits.chunks_exact(self.config.vocab).enumerate() {
                visit(index * self.limits.chunk + row, logits);
            }
        }
        Ok(())
    }

    /// Continues the conversation with `tokens` in one pass and keeps what the layers `layers`, in
    /// ascending order, show of it. The logits are in what is returned.
    ///
    /// # Errors
    /// Where the plan has no capture, or one of fewer tokens or layers; where the context ends.
    pub fn capture(&mut self, tokens: &[u32], layers: &[usize]) -> Result<Captured, EngineError> {
        let (Some(spans), Some(capture)) = (self.steps.capture, self.capture) else {
            let what = "a capture under a plan without one";
            return Err(EngineError::unsupported(what, "`--capture-layers`"));
        };
        fits("a capture", tokens.len(), spans.rows.min(self.room()))?;
        let known = layers.is_sorted_by(|a, b| a < b)
            && layers.last().is_none_or(|&last| last < self.config.layers)
            && layers.len() <= to_usize(capture.layers);
        if tokens.is_empty() || !known {
            let most = self.config.layers.min(to_usize(capture.layers));
            let expected = format!("tokens, and at most {most} layers in ascending order");
            return Err(EngineError::unsupported(format!("a capture of {layers:?}"), expected));
        }
        let first = self.pinned + self.written;
        let target = Target::Conversation { pinned: self.pinned, before: self.written };
        let rows = if self.limits.all_logits { tokens.len() } else { 1 };
        let pass = CapturePass::new(spans.captured, layers, capture.keep);
        let mut captured = self.pass(spans, target, tokens, rows, &mut Unobserved, Some(pass))?;
        self.written += tokens.len();
        let room = self.shape.policy.pinned();
        if let Some(positions) = &self.positions {
            for layer in &mut captured {
                layer.positions = columns(&positions[layer.layer], room, self.pinned);
            }
        }
        let columns = room + self.shape.policy.max_cache_tokens();
        let (tokens, logits) = (tokens.len(), self.logits.clone());
        Ok(Captured { first, tokens, columns, layers: captured, logits })
    }

    /// Follows from now on which tokens each slot holds.
    ///
    /// # Errors
    /// Where a conversation has begun.
    pub fn track_positions(&mut self) -> Result<(), EngineError> {
        if self.written > 0 {
            let reason = "positions are followed from the start of a conversation: reset it first";
            return Err(EngineError::Order(reason));
        }
        self.positions = Some(self.no_positions());
        Ok(())
    }

    /// The tokens in the slots of layer `layer`, where they are followed.
    pub fn positions(&self, layer: usize) -> Option<&Positions> {
        self.positions.as_ref().and_then(|all| all.get(layer))
    }

    fn no_positions(&self) -> Vec<Positions> {
        vec![Positions::new(self.shape.heads, self.shape.policy); self.config.layers]
    }

    /// Forgets the conversation; the system prompt stays.
    ///
    /// # Errors
    /// Where the device refuses.
    pub fn reset_conversation(&mut self) -> Result<(), EngineError> {
        self.written = 0;
        self.positions = self.positions.is_some().then(|| self.no_positions());
        self.backend.clear(&mut self.caches.scores)
    }

    /// Forgets the system prompt and the conversation.
    ///
    /// # Errors
    /// Where the device refuses.
    pub fn reset(&mut self) -> Result<(), EngineError> {
        self.pinned = 0;
        self.reset_conversation()
    }

    fn continue_with(
        &mut self,
        chunk: &[u32],
        positions: usize,
        observer: &mut dyn Observer,
    ) -> Result<(), EngineError> {
        let spans = if chunk.len() == 1 { self.steps.decode } else { self.steps.prefill };
        let target = Target::Conversation { pinned: self.pinned, before: self.written };
        self.pass(spans, target, chunk, positions, observer, None)?;
        self.written += chunk.len();
        Ok(())
    }

    /// One forward pass; the logits of the last `positions` rows are copied to the host.
    fn pass(
        &mut self,
        spans: Spans,
        target: Target,
        chunk: &[u32],
        positions: usize,
        observer: &mut dyn Observer,
        capture: Option<CapturePass<'_>>,
    ) -> Result<Vec<CapturedLayer>, EngineError> {
        let vocab_size = self.config.vocab;
        let is_known = |&id: &u32| usize::try_from(id).is_ok_and(|id| id < vocab_size);
        if let Some(&id) = chunk.iter().find(|id| !is_known(id)) {
            return Err(EngineError::Token { id, vocab_size });
        }
        let memory = PassMemory {
            arena: &mut self.arena,
            caches: &mut self.caches,
            ids: &mut self.ids,
            rotation: &mut self.rotation,
            workspace: &mut self.workspace,
        };
        let step = spans.step(chunk.len());
        let (backend, config, weights) = (&self.backend, &self.config, &self.weights);
        let shape = self.shape;
        let looks = Looks { positions: self.positions.as_deref_mut(), capture };
        let is_watched = looks.is_open() || (0..config.layers).any(|layer| observer.wants(layer));
        let mut pass = Pass { backend, config, weights, shape, memory, step, target, looks };
        match (chunk, positions, target) {
            (&[id], 1, Target::Conversation { .. }) if !is_watched => pass.token(id)?,
            _ => {
                pass.run(chunk, observer)?;
                if positions > 0 {
                    pass.head(positions)?;
                }
            }
        }
        let capture = pass.looks.capture.take();
        if positions > 0 {
            let logits = step.logits.first(positions * vocab_size * size_of::<f32>());
            self.logits.resize(positions * vocab_size, 0.0);
            self.backend.read(&self.arena, logits, &mut self.logits)?;
        }
        capture.map_or_else(|| Ok(Vec::new()), |capture| capture.finish(&self.backend, &self.arena))
    }
}

impl Steps {
    fn most_rows(&self) -> usize {
        self.system.map_or(0, |spans| spans.rows).max(self.prefill.rows).max(self.decode.rows)
    }
}

fn extent(config: &Config, rows: usize) -> Extent {
    let widest = config.hidden.max(config.q_width()).max(config.ffn);
    Extent { rows, layers: config.layers, widest }
}

fn limits(table: &Table) -> Limits {
    let workload = &table.workload;
    Limits {
        context: to_usize(workload.context),
        chunk: to_usize(workload.prefill_chunk.min(table.cache_tokens)),
        all_logits: all_logits(workload),
    }
}

fn cache_shape(config: &Config, table: &Table) -> Result<CacheShape, EngineError> {
    let workload = &table.workload;
    let heads = Heads::new(config.heads, config.kv_heads, config.head_dim)?;
    let window = workload.recent_window.unwrap_or(0);
    let policy = Policy::new(
        to_usize(workload.system_tokens),
        to_usize(table.cache_tokens),
        to_usize(window),
    )?;
    Ok(CacheShape { heads, policy })
}

fn allocate_caches<B: Backend>(
    backend: &B,
    memory: &mut Memory<'_>,
    config: &Config,
    shape: CacheShape,
) -> Result<Caches<B::Buffer>, EngineError> {
    let CacheShape { heads, policy } = shape;
    let layers = config.layers;
    let head = 2 * (heads.head_dim() + size_of::<u16>());
    let token = layers * heads.kv_heads() * head;
    let mut take =
        |component, name, size| backend.allocate(memory.persistent(component, name, size)?);
    let slots = policy.max_cache_tokens();
    let conversation = Component::ConversationCache;
    Ok(Caches {
        pinned: take(
            Component::SystemPromptCache,
            BufferId::KeysAndValues,
            token * policy.pinned(),
        )?,
        slots: take(conversation, BufferId::KeysAndValues, token * slots)?,
        scores: take(
            conversation,
            BufferId::EvictionScores,
            layers * heads.kv_heads() * slots * 4,
        )?,
        smoothing: take(
            Component::SmallBuffers,
            BufferId::KeySmoothing,
            layers * heads.kv_width() * 4,
        )?,
        counters: take(
            Component::SmallBuffers,
            BufferId::SlotCounters,
            layers * (heads.kv_heads() + 2) * 4,
        )?,
    })
}

/// Factors of every layer's key channels, from the biases of the key projections where there are.
fn smoothing(heads: Heads, key_biases: &[Vec<f32>]) -> Vec<f32> {
    let mut all = vec![1.0; heads.kv_width() * key_biases.len()];
    for (bias, factors) in key_biases.iter().zip(all.chunks_exact_mut(heads.kv_width())) {
        choose_smoothing(heads, bias, &[], factors);
    }
    all
}

fn lay_out(
    memory: &mut Memory<'_>,
    config: &Config,
    shape: CacheShape,
    table: &Table,
) -> Result<Steps, EngineError> {
    let workload = &table.workload;
    let all = all_logits(workload);
    let chunk = |tokens: u64| to_usize(workload.prefill_chunk.min(tokens));
    let mut spans = |phase, rows| Spans::new(memory, config, shape, phase, rows, all, None);
    let system = match chunk(workload.system_tokens) {
        0 => None,
        rows => Some(spans(Phase::SystemPrefill, rows)?),
    };
    let prefill = spans(Phase::Prefill, chunk(table.cache_tokens))?;
    let decode = spans(Phase::Decode, 1)?;
    let mut steps = Steps { system, prefill, decode, capture: None };
    if let Some(capture) = workload.capture {
        let (rows, most) = (to_usize(capture.tokens), steps.most_rows());
        fits("a capture, of which a step has to hold all,", rows, most)?;
        let phase = Phase::Capture;
        let spans = Spans::new(memory, config, shape, phase, rows, all, Some(capture))?;
        steps.capture = Some(spans);
    }
    Ok(steps)
}

fn fits(what: &'static str, tokens: usize, most: usize) -> Result<(), EngineError> {
    if tokens <= most {
        return Ok(());
    }
    Err(EngineError::TooLong { what, tokens, most })
}
