//! A full cache and evicting ones, reading the same text step by step.

use super::retained::Retained;
use super::statistics::Distribution;
use crate::backend::Backend;
use crate::{Captured, Engine, EngineError};

/// The engines, on one copy of the weights.
pub(super) struct Lockstep<B: Backend> {
    full: Engine<B>,
    evicting: Vec<Engine<B>>,
    layers: Vec<usize>,
}

/// What was seen after eviction had begun.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    /// −ln p of each token of the text with the full cache.
    pub(super) full_losses: Vec<f64>,
    /// One series for each evicting cache.
    pub(super) evicting: Vec<Series>,
}

/// What one evicting cache predicted, position by position.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    /// Divergence from the full cache, in nats.
    pub(super) divergences: Vec<f64>,
    /// 1 where the most likely token is the full cache's, otherwise 0.
    pub(super) same_top: Vec<f64>,
    /// −ln p of each token of the text.
    pub(super) losses: Vec<f64>,
    /// The full cache's attention on retained tokens, at the last position of each step.
    pub(super) retained: Retained,
}

impl<B: Backend> Lockstep<B> {
    pub(super) fn new(full: Engine<B>, evicting: Vec<Engine<B>>, layers: usize) -> Self {
        Self { full, evicting, layers: (0..layers).collect() }
    }

    pub(super) fn engines(&mut self) -> (&mut Engine<B>, &mut [Engine<B>]) {
        (&mut self.full, &mut self.evicting)
    }

    /// Reads `text` in steps of `step` tokens. Positions count from the first step that makes a cache of
    /// `cache` tokens evict, up to the last but one, which has a token behind it.
    pub(super) fn read(
        &mut self,
        text: &[u32],
        step: usize,
        cache: usize,
        progress: &mut dyn FnMut(),
    ) -> Result<Measured, EngineError> {
        let mut measured = Measured {
            evicting: vec![Series::default(); self.evicting.len()],
            ..Measured::default()
        };
        for (index, chunk) in text.chunks(step).enumerate() {
            progress();
            let first = index * step;
            let next = &text[first + 1..];
            if first + chunk.len() <= cache {
                self.unmeasured(chunk)?;
            } else {
                self.measured(chunk, next, &mut measured)?;
            }
        }
        Ok(measured)
    }

    fn unmeasured(&mut self, chunk: &[u32]) -> Result<(), EngineError> {
        let engines = std::iter::once(&mut self.full).chain(&mut self.evicting);
        engines.into_iter().try_for_each(|engine| engine.prefill(chunk).map(drop))
    }

    /// One step of every cache; `next` are the tokens behind each of `chunk`, as far as there are.
    fn measured(
        &mut self,
        chunk: &[u32],
        next: &[u32],
        measured: &mut Measured,
    ) -> Result<(), EngineError> {
        let (logits, seen) = self.full_step(chunk)?;
        let vocab = self.full.config().vocab;
        let full: Vec<_> = logits.chunks_exact(vocab).map(Distribution::new).collect();
        for (full, &token) in full.iter().zip(next) {
            measured.full_losses.push(-full.log_probability(token as usize));
        }
        for (engine, series) in self.evicting.iter_mut().zip(&mut measured.evicting) {
            engine.score(chunk, |row, logits| {
                if let (Some(full), Some(&token)) = (full.get(row), next.get(row)) {
                    series.push(full, &Distribution::new(logits), token as usize);
                }
            })?;
            series.retained.add(&seen, engine)?;
        }
        Ok(())
    }

    /// The logits of a step with the full cache, and what its last token attended to.
    fn full_step(&mut self, chunk: &[u32]) -> Result<(Vec<f32>, Captured), EngineError> {
        let (before, last) = chunk.split_at(chunk.len() - 1);
        let mut all = Vec::new();
        if !before.is_empty() {
            self.full.score(before, |_, logits| all.extend_from_slice(logits))?;
        }
        let seen = self.full.capture(last, &self.layers)?;
        all.extend_from_slice(&seen.logits);
        Ok((all, seen))
    }
}

impl Series {
    fn push(&mut self, full: &Distribution<'_>, evicting: &Distribution<'_>, token: usize) {
        self.divergences.push(full.divergence(evicting));
        self.same_top.push(if full.top() == evicting.top() { 1.0 } else { 0.0 });
        self.losses.push(-evicting.log_probability(token));
    }
}
