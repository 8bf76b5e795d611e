//! The engine: on a real model, against plain arithmetic on random ones, and against its own plan.

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout, reason = "test code")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "counts of tokens, and logits"
)]

mod capture;
mod families;
mod memory;
mod profiles;
mod quality;
mod real;
mod reference;

use vramplan_engine::Settings;
use vramplan_planner::spec::Logits;

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
