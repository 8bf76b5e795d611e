//! The engine: against stock candle on a real model, against plain arithmetic on random ones, and
//! against its own plan.

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout, reason = "test code")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "counts of tokens, and logits"
)]

mod capture;
#[path = "../support/decoder.rs"]
mod decoder;
mod families;
mod memory;
mod quality;
mod real;
mod reference;
#[path = "../support/smollm2.rs"]
mod smollm2;

use vramplan::engine::Settings;
use vramplan::spec::Logits;

/// Settings with half of the cache for recent tokens.
pub const fn settings(system: u64, cache: u64, chunk: u64, logits: Logits) -> Settings {
    Settings {
        system_tokens: system,
        max_cache_tokens: cache,
        recent_window: cache / 2,
        prefill_chunk: chunk,
        logits,
    }
}

/// `log softmax` of one entry.
pub fn log_probability(logits: &[f32], token: u32) -> f64 {
    f64::from(logits[token as usize]) - log_sum_exp(logits)
}

fn log_sum_exp(logits: &[f32]) -> f64 {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - top).exp()).sum();
    f64::from(top) + sum.ln()
}

/// Kullback–Leibler divergence of the second distribution from the first, in nats.
pub fn divergence(p: &[f32], q: &[f32]) -> f64 {
    let (of_p, of_q) = (log_sum_exp(p), log_sum_exp(q));
    p.iter()
        .zip(q)
        .map(|(&p, &q)| {
            let (p, q) = (f64::from(p) - of_p, f64::from(q) - of_q);
            p.exp() * (p - q)
        })
        .sum()
}
