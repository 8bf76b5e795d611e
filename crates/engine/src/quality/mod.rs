//! What eviction loses on a text, and which recent window loses least.
//!
//! A full cache and one evicting cache per window read the same text side by side, on one copy of the
//! weights. Each token is predicted from the real ones before it (teacher forcing), and the predictions
//! of the evicting caches are compared with those of the full one. All caches are int8, so that what is
//! lost is lost to eviction.
//!
//! The window with the lowest mean divergence is the best. Those that resampling cannot tell from it are
//! as good, and of them the one nearest to half of the cache is chosen, the only split that was published
//! with plain sums of attention (H2O, arXiv 2306.14048). No window is shorter than the floor.

mod lockstep;
mod passkey;
mod render;
mod report;
mod retained;
mod statistics;

pub use passkey::{DEPTHS, Probe};
pub use report::{Chosen, PasskeyReport, Report, RetainedMass, SCHEMA, WindowReport};

use super::backend::Backend;
use super::{Engine, EngineError, Settings, Source, Table};

use crate::h2o::to_usize;
use lockstep::{Lockstep, Measured};
use statistics::{choose, interval, mean, percentile, resampled_means};
use vramplan_planner::spec::{Capture, Logits, ModelSpec};

/// Shares of the cache that are tried as recent windows.
pub const FRACTIONS: [(usize, usize); 7] =
    [(1, 16), (1, 8), (1, 7), (1, 4), (1, 3), (1, 2), (3, 4)];

/// The shortest window that is ever tried, in tokens.
pub const FLOOR: usize = 64;

/// What to measure.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// The system prompt, which is pinned.
    pub system: Vec<u32>,
    /// The text: at least a step longer than the cache.
    pub text: Vec<u32>,
    /// Tokens that the evicting caches keep.
    pub max_cache_tokens: usize,
    /// Windows to try, as shares of the cache.
    pub fractions: Vec<(usize, usize)>,
    /// Tokens of a step: the prefill chunk that is planned for, or 1 for decode.
    pub step: usize,
    /// The shortest window to try: [`FLOOR`], or the longest turn that has to survive word by word. Never
    /// less than a step.
    pub floor: usize,
    /// Resamples behind the intervals.
    pub resamples: usize,
    /// Codes to hide in the text.
    pub probes: Vec<Probe>,
}

impl Measurement {
    /// Of `text` behind `system`, every fraction, steps of up to 64 tokens, no codes.
    pub fn new(system: Vec<u32>, text: Vec<u32>, max_cache_tokens: usize) -> Self {
        Self {
            system,
            text,
            max_cache_tokens,
            fractions: FRACTIONS.to_vec(),
            step: 64.min(max_cache_tokens),
            floor: FLOOR,
            resamples: 1000,
            probes: Vec::new(),
        }
    }

    /// Measures the model of `source` on `backend`.
    ///
    /// # Errors
    /// Where the text is not longer than the cache or does not fit the model's context, no window is left,
    /// or the engine cannot run the model.
    pub fn run<B: Backend + Clone>(
        &self,
        backend: B,
        source: &mut dyn Source,
    ) -> Result<Report, EngineError> {
        self.run_while(backend, source, &mut || ())
    }

    /// The same, calling `progress` before every step.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_while<B: Backend + Clone>(
        &self,
        backend: B,
        source: &mut dyn Source,
        progress: &mut dyn FnMut(),
    ) -> Result<Report, EngineError> {
        let windows = self.windows()?;
        self.check(source.spec())?;
        let spec = source.spec().clone();
        let full = self.full_table(&spec)?;
        let mut full = Engine::load(backend, source, &full)?;
        full.prefill_system(&self.system)?;
        full.track_positions()?;
        let mut evicting = Vec::new();
        for &(_, window) in &windows {
            let mut engine = full.beside(&self.table(&spec, window)?)?;
            engine.prefill_system(&self.system)?;
            engine.track_positions()?;
            evicting.push(engine);
        }
        let layers = spec.layers.len();
        let mut lockstep = Lockstep::new(full, evicting, layers);
        let measured = lockstep.read(&self.text, self.step, self.max_cache_tokens, progress)?;
        let mut report = self.report(&spec, &windows, &measured);
        self.probe(&mut lockstep, &windows, &mut report)?;
        Ok(report)
    }

    /// The windows to try with their shares, shortest first, each once.
    fn windows(&self) -> Result<Vec<(String, usize)>, EngineError> {
        let cache = self.max_cache_tokens;
        let sinks = if self.system.len() >= 4 { 0 } else { 4 };
        let (least, most) = (self.floor.max(self.step), cache.saturating_sub(sinks));
        let mut windows: Vec<(String, usize)> = Vec::new();
        for &(part, whole) in &self.fractions {
            let window = (cache * part + whole / 2) / whole.max(1);
            if (least..=most).contains(&window) && windows.iter().all(|(_, other)| *other != window)
            {
                windows.push((format!("{part}/{whole}"), window));
            }
        }
        windows.sort_by_key(|(_, window)| *window);
        if windows.is_empty() {
            let what = format!("recent windows of a cache of {cache} tokens");
            let expected = format!("one of {least} to {most} tokens among the fractions tried");
            return Err(EngineError::unsupported(what, expected));
        }
        Ok(windows)
    }

    fn check(&self, spec: &ModelSpec) -> Result<(), EngineError> {
        let (text, cache) = (self.text.len(), self.max_cache_tokens);
        if self.step == 0 || text < cache + self.step + 1 {
            let expected = format!("more than the cache and a step, {cache} + {}", self.step);
            return Err(EngineError::unsupported(format!("a text of {text} tokens"), expected));
        }
        let context = to_usize(spec.shape.context_len);
        let most = context.saturating_sub(self.system.len());
        if text > most {
            return Err(EngineError::TooLong { what: "a text", tokens: text, most });
        }
        Ok(())
    }

    /// The table of the full cache, in whose passes one token at a time is looked at.
    fn full_table(&self, spec: &ModelSpec) -> Result<Table, EngineError> {
        let tokens = self.text.len();
        let capture =
            Capture { layers: spec.shape.n_layers, tokens: 1, attention: true, keep: false };
        let window = tokens.div_ceil(2).max(self.step);
        self.settings(tokens, window).table_with_capture(spec, capture)
    }

    fn table(&self, spec: &ModelSpec, window: usize) -> Result<Table, EngineError> {
        self.settings(self.max_cache_tokens, window).table(spec)
    }

    fn settings(&self, cache: usize, window: usize) -> Settings {
        Settings {
            system_tokens: self.system.len() as u64,
            max_cache_tokens: cache as u64,
            recent_window: window as u64,
            prefill_chunk: self.step as u64,
            logits: Logits::All,
        }
    }

    fn report(&self, spec: &ModelSpec, windows: &[(String, usize)], measured: &Measured) -> Report {
        let divergences: Vec<Vec<f64>> =
            measured.evicting.iter().map(|series| series.divergences.clone()).collect();
        let means: Vec<f64> = divergences.iter().map(|values| mean(values)).collect();
        let resampled = resampled_means(&divergences, self.resamples, 0);
        let tokens: Vec<usize> = windows.iter().map(|(_, window)| *window).collect();
        let chosen = choose(&tokens, &means, &resampled, self.max_cache_tokens).unwrap_or(0);
        let lowest = (0..means.len()).min_by(|&a, &b| means[a].total_cmp(&means[b])).unwrap_or(0);
        let full_perplexity = mean(&measured.full_losses).exp();
        let lines =
            windows.iter().zip(&measured.evicting).enumerate().map(|(index, (window, series))| {
                let of = |mean: &dyn Fn(&Vec<f64>) -> f64| {
                    interval(resampled.iter().map(mean).collect())
                };
                let perplexity = mean(&series.losses).exp();
                WindowReport {
                    fraction: window.0.clone(),
                    recent_window: window.1,
                    mean_kl: means[index],
                    mean_kl_interval: of(&|means| means[index]),
                    above_lowest_interval: of(&|means| means[index] - means[lowest]),
                    p99_kl: percentile(&series.divergences, 99),
                    same_top_percent: 100.0 * mean(&series.same_top),
                    perplexity,
                    perplexity_delta: perplexity - full_perplexity,
                    retained_mass: series.retained.report(),
                }
            });
        let reason = if chosen == lowest {
            "the lowest mean divergence on this text"
        } else {
            "no worse than the lowest mean divergence on this text, and nearest to half"
        };
        Report {
            schema: SCHEMA,
            model: spec.name.clone(),
            weights: spec.stored.as_ref().map_or_else(String::new, |stored| stored.label.clone()),
            cache: "int8",
            system_tokens: self.system.len(),
            text_tokens: self.text.len(),
            scored_tokens: measured.full_losses.len(),
            max_cache_tokens: self.max_cache_tokens,
            step: self.step,
            full_perplexity,
            resamples: self.resamples,
            windows: lines.collect(),
            chosen: Chosen {
                recent_window: tokens.get(chosen).copied().unwrap_or(0),
                reason: reason.to_owned(),
            },
            passkeys: Vec::new(),
        }
    }

    fn probe<B: Backend>(
        &self,
        lockstep: &mut Lockstep<B>,
        windows: &[(String, usize)],
        report: &mut Report,
    ) -> Result<(), EngineError> {
        let chosen = windows.iter().position(|(_, n)| *n == report.chosen.recent_window);
        for probe in &self.probes {
            let Some(prompt) = probe.prompt(&self.text, self.text.len()) else { continue };
            let (full, evicting) = lockstep.engines();
            let Some(evicting) = chosen.and_then(|index| evicting.get_mut(index)) else { continue };
            let (full_recalls, full_log_probability) = probe.ask(full, &prompt)?;
            let (evicted_recalls, evicted_log_probability) = probe.ask(evicting, &prompt)?;
            report.passkeys.push(PasskeyReport {
                depth_percent: probe.depth_percent,
                code: probe.code.clone(),
                full_recalls,
                evicted_recalls,
                full_log_probability,
                evicted_log_probability,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
