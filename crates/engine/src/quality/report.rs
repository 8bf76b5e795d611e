//! What a measurement says.

use serde::Serialize;

/// The schema of a report.
pub const SCHEMA: &str = "vramplan/quality/v1";

/// What eviction lost on one text.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Report {
    /// `vramplan/quality/v1`.
    pub schema: &'static str,
    /// The model.
    pub model: String,
    /// The format of its weights, the same in every run.
    pub weights: String,
    /// The format of the cache, the same in every run: the full one is int8 too, so that what is lost is
    /// lost to eviction.
    pub cache: &'static str,
    /// Tokens of the pinned system prompt.
    pub system_tokens: usize,
    /// Tokens of the text, each predicted from the real ones before it.
    pub text_tokens: usize,
    /// Of those, the tokens that were predicted after eviction had begun: all figures are of these.
    pub scored_tokens: usize,
    /// Tokens that the evicting caches keep.
    pub max_cache_tokens: usize,
    /// Tokens of a step.
    pub step: usize,
    /// Perplexity with the full cache.
    pub full_perplexity: f64,
    /// Resamples behind the intervals.
    pub resamples: usize,
    /// The windows that were tried, shortest first.
    pub windows: Vec<WindowReport>,
    /// The window that the rule chooses.
    pub chosen: Chosen,
    /// Codes that were hidden in the text and asked for at its end.
    pub passkeys: Vec<PasskeyReport>,
}

/// What one recent window loses.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WindowReport {
    /// Its share of the cache, such as `1/8`.
    pub fraction: String,
    /// Its tokens.
    pub recent_window: usize,
    /// Divergence of its predictions from the full cache's, in nats: the mean.
    pub mean_kl: f64,
    /// The interval of that mean, 95 of 100 resamples.
    pub mean_kl_interval: (f64, f64),
    /// The interval of its difference from the lowest mean.
    pub above_lowest_interval: (f64, f64),
    /// What 99 of 100 positions do not exceed.
    pub p99_kl: f64,
    /// Percent of the positions at which the most likely token is the full cache's.
    pub same_top_percent: f64,
    /// Perplexity.
    pub perplexity: f64,
    /// Perplexity less that of the full cache.
    pub perplexity_delta: f64,
    /// The full cache's attention that falls on tokens which this one still has, layer by layer.
    pub retained_mass: Vec<RetainedMass>,
}

/// The share of a layer's attention that falls on retained tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RetainedMass {
    /// The layer.
    pub layer: usize,
    /// The least of any query head at any sampled position.
    pub min: f64,
    /// The mean over query heads and sampled positions.
    pub mean: f64,
}

/// The window that the rule chooses.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Chosen {
    /// Its tokens.
    pub recent_window: usize,
    /// Why this one.
    pub reason: String,
}

/// A code that was hidden in the text.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PasskeyReport {
    /// Percent of the text before it.
    pub depth_percent: usize,
    /// The code.
    pub code: String,
    /// Whether the full cache makes each of its tokens the most likely one.
    pub full_recalls: bool,
    /// Whether the chosen window does.
    pub evicted_recalls: bool,
    /// Natural logarithm of the code's probability with the full cache.
    pub full_log_probability: f64,
    /// The same with the chosen window.
    pub evicted_log_probability: f64,
}

impl Report {
    /// The window that was chosen, with its figures.
    pub fn chosen_window(&self) -> Option<&WindowReport> {
        self.windows.iter().find(|window| window.recent_window == self.chosen.recent_window)
    }
}
