//! Attention of a chunk of tokens, its scores, and whom it evicts.

use super::argument::{Argument, Arguments};
use super::cache::{LayerArgument, LayerMemory};
use super::shape::{Launch, LaunchError, Op, Span, blocks, compiled_for, int};
use crate::h2o::{Heads, Policy, decay_over};

/// Query rows of a block: `ROWS` of `kernels/prefill.cuh`.
const ROWS: usize = 64;
/// Slots of a block of `kernels/prefill_scores.cu`.
const SCORED_SLOTS: usize = 128;
/// Shared memory that `kernels/evict.cu` may take, 4 bytes per token: what every GPU has.
const EVICT_SHARED: usize = 44 << 10;
/// Heavy slots of a block of `kernels/next_victim.cu`.
const VICTIM_SLOTS: usize = 1024;

/// What a chunk's attention reads and writes beside the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefillMemory {
    /// Two i32, [`super::clock_words`] before the chunk.
    pub clock: Span,
    /// f32 `[tokens, query_heads, head_dim]`, after RoPE.
    pub queries: Span,
    /// f32 `[tokens, query_heads, head_dim]`
    pub output: Span,
    /// f32 `[kv_heads, tokens · gqa_group]`, in base 2
    pub log_sum_exp: Span,
}

/// `Prefill` of `kernels/prefill.cuh`.
struct PrefillArgument {
    layer: LayerArgument,
    memory: PrefillMemory,
    tokens: i32,
    pinning: bool,
}

impl Argument for PrefillArgument {
    fn push(&self, words: &mut Vec<u64>) {
        let PrefillMemory { clock, queries, output, log_sum_exp } = self.memory;
        self.layer.push(words);
        for span in [clock, queries, output, log_sum_exp] {
            span.push(words);
        }
        [self.tokens, i32::from(self.pinning)].push(words);
    }
}

fn argument(
    heads: Heads,
    policy: &Policy,
    layer: &LayerMemory,
    memory: &PrefillMemory,
    tokens: usize,
    pinning: bool,
) -> Result<PrefillArgument, LaunchError> {
    memory.clock.holds_at("clock", &[8], 4)?;
    memory.queries.holds("queries", &[tokens, heads.query_width(), 4])?;
    memory.output.holds("output", &[tokens, heads.query_width(), 4])?;
    memory.log_sum_exp.holds_at("log_sum_exp", &[tokens, heads.query_heads(), 4], 4)?;
    let limit = if pinning { policy.pinned() } else { policy.recent_window() };
    if tokens == 0 || tokens > limit {
        let expected = "1 to `recent_window`, or to the pinned tokens";
        return Err(LaunchError::Unsupported { name: "tokens", value: tokens as u64, expected });
    }
    let layer = layer.argument(heads, policy)?;
    Ok(PrefillArgument { layer, memory: *memory, tokens: int("tokens", tokens)?, pinning })
}

/// The launch that attends with `tokens` tokens, which are written already; `pinning` says that they are
/// part of the system prompt.
///
/// # Errors
/// Where memory is short, or no kernel was compiled for such heads.
pub fn prefill(
    heads: Heads,
    policy: &Policy,
    layer: &LayerMemory,
    memory: &PrefillMemory,
    tokens: usize,
    pinning: bool,
) -> Result<Launch, LaunchError> {
    let argument = argument(heads, policy, layer, memory, tokens, pinning)?;
    let head_dim = compiled_for(heads)?;
    let rows = int("rows", (tokens * heads.gqa_group()).div_ceil(ROWS))?;
    Ok(Launch {
        op: Op { name: "prefill", head_dim },
        function: "prefill",
        grid: [rows.cast_unsigned(), blocks("kv_heads", heads.kv_heads())?, 1],
        block: if head_dim == Some(256) { 256 } else { 128 },
        shared_bytes: 0,
        arguments: Arguments::new(&[&argument]),
    })
}

/// The launch that adds the chunk's probabilities to the scores, behind [`prefill`].
///
/// # Errors
/// Where memory is short, or no kernel was compiled for such heads.
pub fn prefill_scores(
    heads: Heads,
    policy: &Policy,
    layer: &LayerMemory,
    memory: &PrefillMemory,
    tokens: usize,
) -> Result<Launch, LaunchError> {
    let argument = argument(heads, policy, layer, memory, tokens, false)?;
    let parts = int("max_cache_tokens", policy.max_cache_tokens().div_ceil(SCORED_SLOTS))?;
    Ok(Launch {
        op: Op { name: "prefill_scores", head_dim: compiled_for(heads)? },
        function: "prefill_scores",
        grid: [parts.cast_unsigned(), blocks("kv_heads", heads.kv_heads())?, 1],
        block: 256,
        shared_bytes: 0,
        arguments: Arguments::new(&[&argument, &decay_over(policy, tokens)]),
    })
}

/// The launch that chooses where the tokens go that `tokens` new ones displace: `destinations`, i32
/// `[kv_heads, tokens]`, are for [`super::write()`]. Before the chunk is written.
///
/// # Errors
/// Where memory is short, or the chunk is longer than the window or 11,264 tokens.
pub fn evict(
    heads: Heads,
    policy: &Policy,
    layer: &LayerMemory,
    clock: Span,
    tokens: usize,
    destinations: Span,
) -> Result<Launch, LaunchError> {
    clock.holds_at("clock", &[8], 4)?;
    destinations.holds_at("destinations", &[heads.kv_heads(), tokens, 4], 4)?;
    let shared_bytes = tokens.saturating_mul(4);
    if tokens == 0 || tokens > policy.recent_window() || shared_bytes > EVICT_SHARED {
        let expected = "1 to `recent_window`, at most 11264";
        return Err(LaunchError::Unsupported { name: "tokens", value: tokens as u64, expected });
    }
    Ok(Launch {
        op: Op { name: "evict", head_dim: None },
        function: "evict",
        grid: [int("kv_heads", heads.kv_heads())?.cast_unsigned(), 1, 1],
        block: 1024,
        shared_bytes: int("tokens", shared_bytes)?.cast_unsigned(),
        arguments: Arguments::new(&[
            &layer.argument(heads, policy)?,
            &clock,
            &int("tokens", tokens)?,
            &destinations,
        ]),
    })
}

/// The launch that finds the next token's victims after a chunk: `victims`, u64 `[kv_heads]`, all ones
/// before. The clock stands behind the chunk.
///
/// # Errors
/// Where memory is short.
pub fn next_victim(
    heads: Heads,
    policy: &Policy,
    layer: &LayerMemory,
    clock: Span,
    victims: Span,
) -> Result<Launch, LaunchError> {
    clock.holds_at("clock", &[8], 4)?;
    victims.holds_at("victims", &[heads.kv_heads(), 8], 8)?;
    let parts = int("max_cache_tokens", policy.max_cache_tokens().div_ceil(VICTIM_SLOTS))?;
    Ok(Launch {
        op: Op { name: "next_victim", head_dim: None },
        function: "next_victim",
        grid: [parts.cast_unsigned(), blocks("kv_heads", heads.kv_heads())?, 1],
        block: 256,
        shared_bytes: 0,
        arguments: Arguments::new(&[&layer.argument(heads, policy)?, &clock, &victims]),
    })
}

/// The launch that moves the clock behind `pinned` tokens of the system prompt and `written` of the
/// conversation.
///
/// # Errors
/// Where memory is short, or a number does not fit.
pub fn advance(clock: Span, pinned: usize, written: usize) -> Result<Launch, LaunchError> {
    clock.holds_at("clock", &[8], 4)?;
    Ok(Launch {
        op: Op { name: "advance_clock", head_dim: None },
        function: "advance_clock",
        grid: [1; 3],
        block: 1,
        shared_bytes: 0,
        arguments: Arguments::new(&[
            &clock,
            &int("pinned tokens", pinned)?,
            &int("written tokens", written)?,
        ]),
    })
}
