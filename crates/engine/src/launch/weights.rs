//! What a step's tokens give to what the cache holds, for captures.

use super::argument::{Argument, Arguments};
use super::cache::{LayerArgument, LayerMemory};
use super::shape::{Launch, LaunchError, Op, Span, blocks, int};
use crate::h2o::{Heads, Policy};

/// What a look at a step's attention reads and writes beside the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LookMemory {
    /// Two i32, [`super::clock_words`] before the step.
    pub clock: Span,
    /// f32 `[tokens, query_heads, head_dim]`, after RoPE.
    pub queries: Span,
    /// f32 `[query_heads, tokens, pinned + max_cache_tokens]`
    pub weights: Span,
}

/// `Look` of `kernels/attention_weights.cu`.
struct Look {
    layer: LayerArgument,
    memory: LookMemory,
    tokens: i32,
    pinning: bool,
    head_dim: i32,
}

impl Argument for Look {
    fn push(&self, words: &mut Vec<u64>) {
        let LookMemory { clock, queries, weights } = self.memory;
        self.layer.push(words);
        for span in [clock, queries, weights] {
            span.push(words);
        }
        [self.tokens, i32::from(self.pinning)].push(words);
        [self.head_dim, 0].push(words);
    }
}

/// The launch that says what `tokens` tokens, which are written and have attended, gave to each token of
/// the cache; `pinning` says that they are part of the system prompt.
///
/// # Errors
/// Where memory is short, or a number does not fit.
pub fn attention_weights(
    heads: Heads,
    policy: &Policy,
    layer: &LayerMemory,
    memory: &LookMemory,
    tokens: usize,
    pinning: bool,
) -> Result<Launch, LaunchError> {
    let columns = policy.pinned() + policy.max_cache_tokens();
    memory.clock.holds_at("clock", &[8], 4)?;
    memory.queries.holds_at("queries", &[tokens, heads.query_width(), 4], 4)?;
    memory.weights.holds_at("weights", &[heads.query_heads(), tokens, columns, 4], 4)?;
    let layer = layer.argument(heads, policy)?;
    let (tokens_int, head_dim) = (int("tokens", tokens)?, int("head_dim", heads.head_dim())?);
    let look = Look { layer, memory: *memory, tokens: tokens_int, pinning, head_dim };
    let query_heads = int("query_heads", heads.query_heads())?.cast_unsigned();
    Ok(Launch {
        op: Op { name: "attention_weights", head_dim: None },
        function: "attention_weights",
        grid: [query_heads, blocks("tokens", tokens)?, 1],
        block: 256,
        shared_bytes: head_dim.cast_unsigned() * 4,
        arguments: Arguments::new(&[&look]),
    })
}
