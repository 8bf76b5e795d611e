//! Writing tokens into a layer's cache.

use super::argument::{Argument, Arguments};
use super::cache::{LayerArgument, LayerMemory};
use super::shape::{Launch, LaunchError, Op, Span, blocks, int};
use crate::h2o::{Heads, Policy};

/// New tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteMemory {
    /// Two i32, [`super::clock_words`] before these tokens.
    pub clock: Span,
    /// f32 `[tokens, kv_heads, head_dim]`, after RoPE
    pub keys: Span,
    /// f32 `[tokens, kv_heads, head_dim]`
    pub values: Span,
}

/// Where the tokens go whose slots in the ring are overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leavers {
    /// There are none: the new tokens are pinned.
    Pinning,
    /// i32 `[kv_heads, tokens]`, slots or -1, from the eviction kernel.
    Destinations(Span),
    /// u64 `[kv_heads]`, from the score update of the token before; for one token.
    Victims(Span),
}

/// `Write` of `kernels/write_tokens.cu`.
struct Write {
    layer: LayerArgument,
    memory: WriteMemory,
    leavers: Leavers,
    head_dim: i32,
}

impl Argument for Write {
    fn push(&self, words: &mut Vec<u64>) {
        let (destinations, victims) = match self.leavers {
            Leavers::Pinning => (None, None),
            Leavers::Destinations(span) => (Some(span), None),
            Leavers::Victims(span) => (None, Some(span)),
        };
        self.layer.push(words);
        for span in [self.memory.clock, self.memory.keys, self.memory.values] {
            span.push(words);
        }
        destinations.push(words);
        victims.push(words);
        [self.head_dim, i32::from(self.leavers == Leavers::Pinning)].push(words);
    }
}

/// The launch that writes `tokens` tokens.
///
/// # Errors
/// Where memory is short, or several tokens are to be written with a single token's victims.
pub fn write(
    heads: Heads,
    policy: &Policy,
    layer: &LayerMemory,
    memory: &WriteMemory,
    tokens: usize,
    leavers: Leavers,
) -> Result<Launch, LaunchError> {
    memory.clock.holds_at("clock", &[8], 4)?;
    memory.keys.holds("keys", &[tokens, heads.kv_width(), 4])?;
    memory.values.holds("values", &[tokens, heads.kv_width(), 4])?;
    let (limit, expected) = match leavers {
        Leavers::Pinning => (policy.pinned(), "1 to the pinned tokens"),
        Leavers::Victims(victims) => {
            victims.holds_at("victims", &[heads.kv_heads(), 8], 8)?;
            (1, "1, with the victims of one token")
        }
        Leavers::Destinations(span) => {
            span.holds_at("destinations", &[heads.kv_heads(), tokens, 4], 4)?;
            (policy.recent_window(), "1 to `recent_window`")
        }
    };
    if tokens == 0 || tokens > limit {
        return Err(LaunchError::Unsupported { name: "tokens", value: tokens as u64, expected });
    }
    let head_dim = int("head_dim", heads.head_dim())?;
    let argument =
        Write { layer: layer.argument(heads, policy)?, memory: *memory, leavers, head_dim };
    Ok(Launch {
        op: Op { name: "write_tokens", head_dim: None },
        function: "write_tokens",
        grid: [int("tokens", tokens)?.cast_unsigned(), blocks("kv_heads", heads.kv_heads())?, 1],
        block: 32,
        shared_bytes: 0,
        arguments: Arguments::new(&[&argument]),
    })
}
