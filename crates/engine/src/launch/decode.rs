//! Attention of one token, split over the cache, and its scores.

use super::TILE;
use super::argument::{Argument, Arguments};
use super::cache::{LayerArgument, LayerMemory};
use super::shape::{Gpu, Launch, LaunchError, Op, Span, blocks, check_heads, compiled_for, int};
use crate::h2o::{Heads, Policy};

/// Query heads that one block serves: `MAX_GROUP` of `kernels/decode.cuh`.
const MAX_GROUP: usize = 8;
/// Parts that `kernels/combine.cu` adds up, at most.
const MAX_SPLITS: usize = 256;
/// Threads of a decode block.
const THREADS: u32 = 128;
/// Shared memory of `kernels/decode_mma.cu`: four stages of 16 KiB at a `head_dim` of 128.
const MMA_SHARED: u32 = 64 << 10;
/// Blocks of `kernels/scores.cu` per head: a block takes 256 slots at a time.
const SCORE_SLOTS: usize = 1024;

/// Which of the two decode kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// `kernels/decode_core.cu`: f32 on CUDA cores, any GPU.
    Core,
    /// `kernels/decode_mma.cu`: tensor cores and asynchronous copies, compute capability 8.0 and up.
    Mma,
}

impl Variant {
    /// The one whose arithmetic keeps up with the GPU's memory. At full bandwidth f32 arithmetic for a
    /// group of 5 would take 12% of an L4's issue slots, 71% of an H100's, and more than an A100 has.
    pub const fn for_gpu(gpu: Gpu) -> Self {
        match gpu.capability {
            (..8, _) | (8, 9) => Self::Core,
            _ => Self::Mma,
        }
    }

    /// Blocks that fit a multiprocessor together: `__launch_bounds__` of the kernels.
    const fn resident_blocks(self, group: usize) -> u32 {
        match self {
            Self::Core if group <= 4 => 3,
            Self::Core | Self::Mma => 2,
        }
    }
}

/// Into how many parts the cache is split, so that the blocks are one whole wave, at most `limit`.
pub fn splits(gpu: Gpu, variant: Variant, heads: Heads, limit: usize) -> usize {
    let pieces = heads.kv_heads() * heads.gqa_group().div_ceil(MAX_GROUP);
    let blocks = gpu.multiprocessors * variant.resident_blocks(heads.gqa_group());
    (blocks as usize / pieces).clamp(1, limit.clamp(1, MAX_SPLITS))
}

/// What one token's attention reads and writes beside the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeMemory {
    /// Two i32, [`super::clock_words`] before this token.
    pub clock: Span,
    /// f32 `[query_heads, head_dim]`, after RoPE.
    pub queries: Span,
    /// f32 `[query_heads, splits, head_dim + 2]`
    pub partials: Span,
    /// f32 `[query_heads, head_dim]`
    pub output: Span,
    /// Scratch of the score update; nothing where no scores are kept.
    pub scoring: Option<Scoring>,
}

/// What each slot gets from one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scoring {
    /// f16 `[query_heads, max_cache_tokens]`
    pub probabilities: Span,
    /// f32 `[query_heads, max_cache_tokens / TILE]`, rounded up
    pub tops: Span,
}

impl Scoring {
    fn check(&self, heads: Heads, policy: &Policy) -> Result<(), LaunchError> {
        let slots = policy.max_cache_tokens();
        self.probabilities.holds_at("probabilities", &[heads.query_heads(), slots, 2], 2)?;
        self.tops.holds_at("tops", &[heads.query_heads(), slots.div_ceil(TILE), 4], 4)
    }
}

/// `Decode` of `kernels/decode.cuh`.
struct DecodeArgument {
    layer: LayerArgument,
    memory: DecodeMemory,
}

impl Argument for DecodeArgument {
    fn push(&self, words: &mut Vec<u64>) {
        let memory = &self.memory;
        self.layer.push(words);
        memory.clock.push(words);
        memory.queries.push(words);
        memory.scoring.map(|scoring| scoring.probabilities).push(words);
        memory.scoring.map(|scoring| scoring.tops).push(words);
        memory.partials.push(words);
    }
}

/// The two launches that attend to everything pinned and live with one token, which is written already.
///
/// # Errors
/// Where memory is short, or no kernel was compiled for such heads.
pub fn decode(
    variant: Variant,
    heads: Heads,
    policy: &Policy,
    layer: &LayerMemory,
    memory: &DecodeMemory,
    splits: usize,
) -> Result<[Launch; 2], LaunchError> {
    let (dim, group) = (heads.head_dim(), heads.gqa_group());
    memory.clock.holds_at("clock", &[8], 4)?;
    memory.queries.holds("queries", &[heads.query_width(), 4])?;
    memory.partials.holds_at("partials", &[heads.query_heads(), splits, dim + 2, 4], 4)?;
    memory.output.holds("output", &[heads.query_width(), 4])?;
    if let Some(scoring) = &memory.scoring {
        scoring.check(heads, policy)?;
    }
    if splits == 0 || splits > MAX_SPLITS {
        let value = splits as u64;
        return Err(LaunchError::Unsupported { name: "splits", value, expected: "1 to 256" });
    }
    let argument = DecodeArgument { layer: layer.argument(heads, policy)?, memory: *memory };
    let (op, function, shared_bytes) = kernel(variant, heads)?;
    let pieces = heads.kv_heads() * group.div_ceil(MAX_GROUP);
    let attend = Launch {
        op,
        function,
        grid: [int("kv_heads", pieces)?.cast_unsigned(), blocks("splits", splits)?, 1],
        block: THREADS,
        shared_bytes,
        arguments: Arguments::new(&[&argument]),
    };
    Ok([attend, combine(heads, memory, splits)?])
}

fn combine(heads: Heads, memory: &DecodeMemory, splits: usize) -> Result<Launch, LaunchError> {
    let (splits, dim) = (int("splits", splits)?, int("head_dim", heads.head_dim())?);
    Ok(Launch {
        op: Op { name: "combine", head_dim: None },
        function: "combine",
        grid: [int("query_heads", heads.query_heads())?.cast_unsigned(), 1, 1],
        block: 128,
        shared_bytes: 0,
        arguments: Arguments::new(&[&memory.partials, &memory.output, &splits, &dim]),
    })
}

/// The kernel for these heads, and its dynamic shared memory.
fn kernel(variant: Variant, heads: Heads) -> Result<(Op, &'static str, u32), LaunchError> {
    let head_dim = compiled_for(heads)?;
    if variant == Variant::Mma {
        return Ok((Op { name: "decode_mma", head_dim }, "decode_mma", MMA_SHARED));
    }
    let function = match heads.gqa_group() {
        1 => "decode_core_1",
        2..=4 => "decode_core_4",
        5 => "decode_core_5",
        _ => "decode_core_8",
    };
    Ok((Op { name: "decode_core", head_dim }, function, 0))
}

/// The launch that adds one token's probabilities to the scores and finds the next victim of each head,
/// in `victims`, u64 `[kv_heads]`, all ones before the first token. `partials` are [`decode`]'s.
///
/// # Errors
/// Where memory is short, or a group is too large.
#[allow(clippy::cast_possible_truncation, reason = "a factor of at most 1")]
pub fn update_scores(
    heads: Heads,
    policy: &Policy,
    layer: &LayerMemory,
    memory: &DecodeMemory,
    scoring: &Scoring,
    splits: usize,
    victims: Span,
) -> Result<Launch, LaunchError> {
    scoring.check(heads, policy)?;
    memory.clock.holds_at("clock", &[8], 4)?;
    let partials = [heads.query_heads(), splits, heads.head_dim() + 2, 4];
    memory.partials.holds_at("partials", &partials, 4)?;
    victims.holds_at("victims", &[heads.kv_heads(), 8], 8)?;
    check_heads(heads)?;
    let parts = int("max_cache_tokens", policy.max_cache_tokens().div_ceil(SCORE_SLOTS))?;
    Ok(Launch {
        op: Op { name: "scores", head_dim: None },
        function: "scores",
        grid: [parts.cast_unsigned(), blocks("kv_heads", heads.kv_heads())?, 1],
        block: 256,
        shared_bytes: 0,
        arguments: Arguments::new(&[
            &layer.argument(heads, policy)?,
            &memory.clock,
            &scoring.probabilities,
            &scoring.tops,
            &memory.partials,
            &int("splits", splits)?,
            &int("head_dim", heads.head_dim())?,
            &(policy.decay() as f32),
            &victims,
        ]),
    })
}
