//! The shape of a layer's attention, and the rules by which its cache forgets.

use super::CacheError;

/// Elements that kernels read at a time: a head's size is a multiple of it.
pub const LANES: usize = 8;
/// The largest cache: slot numbers are 32 bits wide.
const MAX_TOKENS: usize = u32::MAX as usize;
/// Conversation tokens that are never evicted where nothing is pinned (arXiv 2309.17453).
const SINKS: usize = 4;

/// How a layer's attention is divided into heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::struct_field_names, reason = "the field's names")]
pub struct Heads {
    query_heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl Heads {
    /// A layout in which each of `kv_heads` key and value heads serves as many query heads.
    ///
    /// # Errors
    /// Where a number is zero, the query heads do not divide evenly, or `head_dim` is not a multiple
    /// of 8.
    pub fn new(query_heads: usize, kv_heads: usize, head_dim: usize) -> Result<Self, CacheError> {
        if kv_heads == 0 {
            let hint = "without grouped-query attention it equals `query_heads`";
            return Err(CacheError::parameter("kv_heads", kv_heads, "1 or more", hint));
        }
        if query_heads == 0 || !query_heads.is_multiple_of(kv_heads) {
            let expected = format!("a multiple of `kv_heads` = {kv_heads}");
            let hint = "each key head serves the same number of query heads";
            return Err(CacheError::parameter("query_heads", query_heads, expected, hint));
        }
        if head_dim == 0 || !head_dim.is_multiple_of(LANES) || head_dim > 1 << 12 {
            let expected = format!("a multiple of {LANES}, at most 4096");
            let hint = "pad the heads of such a model";
            return Err(CacheError::parameter("head_dim", head_dim, expected, hint));
        }
        Ok(Self { query_heads, kv_heads, head_dim })
    }

    /// Query heads.
    pub const fn query_heads(self) -> usize {
        self.query_heads
    }

    /// Key and value heads.
    pub const fn kv_heads(self) -> usize {
        self.kv_heads
    }

    /// Elements of a head.
    pub const fn head_dim(self) -> usize {
        self.head_dim
    }

    /// Query heads that share a key head.
    pub const fn gqa_group(self) -> usize {
        self.query_heads / self.kv_heads
    }

    /// Elements of a token's queries, and of its output.
    pub const fn query_width(self) -> usize {
        self.query_heads * self.head_dim
    }

    /// Elements of a token's keys, and of its values.
    pub const fn kv_width(self) -> usize {
        self.kv_heads * self.head_dim
    }
}

/// What a cache keeps.
///
/// ```text
/// pinned [0, P)        the system prompt: attended to, never scored, never evicted
/// slots  [0, S)        sinks: the first tokens of the conversation, never evicted
///        [S, N − W)    heavy hitters: per head, the lowest accumulated score is evicted
///        [N − W, N)    the recent window, a ring: token t is in slot N − W + t mod W
/// ```
///
/// `P` = `pinned`, `S` = `sinks`, `N` = `max_cache_tokens`, `W` = `recent_window`, which counts the
/// token being written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    pinned: usize,
    max_cache_tokens: usize,
    recent_window: usize,
    sinks: usize,
    decay: f64,
}

impl Policy {
    /// A policy with H2O's plain sums as scores. The first four tokens of a conversation are kept
    /// where less than that is pinned.
    ///
    /// # Errors
    /// Where the window is empty, or with the sinks larger than the cache.
    pub fn new(
        pinned: usize,
        max_cache_tokens: usize,
        recent_window: usize,
    ) -> Result<Self, CacheError> {
        let sinks = if pinned >= SINKS { 0 } else { SINKS };
        Self { pinned, max_cache_tokens, recent_window, sinks, decay: 1.0 }.checked()
    }

    /// The same with another number of conversation tokens that are never evicted.
    pub fn with_sinks(self, sinks: usize) -> Result<Self, CacheError> {
        Self { sinks, ..self }.checked()
    }

    /// The same with scores that are multiplied by `decay` at each token. 1 is H2O.
    pub fn with_decay(self, decay: f64) -> Result<Self, CacheError> {
        Self { decay, ..self }.checked()
    }

    fn checked(self) -> Result<Self, CacheError> {
        let Self { pinned, max_cache_tokens: slots, recent_window: window, sinks, decay } = self;
        if pinned > MAX_TOKENS {
            let hint = "pin a shorter prompt";
            return Err(CacheError::parameter("pinned", pinned, "below 2^32", hint));
        }
        if slots == 0 || slots > MAX_TOKENS {
            let hint = "`vramplan budget` recommends one";
            let name = "max_cache_tokens";
            return Err(CacheError::parameter(name, slots, "1 or more, below 2^32", hint));
        }
        let room = slots.saturating_sub(sinks);
        if window == 0 || window > room {
            let expected = format!("1 to {room} ({slots} cached tokens less {sinks} sinks)");
            let hint = "half of the cached tokens is H2O's published split";
            return Err(CacheError::parameter("recent_window", window, expected, hint));
        }
        if !(decay > 0.0 && decay <= 1.0) {
            let hint = "1 is H2O, 0.98 forgets half in 34 tokens";
            return Err(CacheError::parameter("decay", decay, "above 0, at most 1", hint));
        }
        Ok(self)
    }

    /// Tokens of the system prompt.
    pub const fn pinned(&self) -> usize {
        self.pinned
    }

    /// Tokens of the conversation that are kept.
    pub const fn max_cache_tokens(&self) -> usize {
        self.max_cache_tokens
    }

    /// Newest tokens that are kept whatever their score.
    pub const fn recent_window(&self) -> usize {
        self.recent_window
    }

    /// Oldest tokens of the conversation that are kept whatever their score.
    pub const fn sinks(&self) -> usize {
        self.sinks
    }

    /// Factor on the scores at each token.
    pub const fn decay(&self) -> f64 {
        self.decay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uneven_heads_are_refused() {
        assert_eq!(Heads::new(40, 8, 128).unwrap().gqa_group(), 5);
        let error = Heads::new(40, 7, 128).unwrap_err();
        assert_eq!(error.to_string(), "`query_heads` = 40: expected a multiple of `kv_heads` = 7");
        assert!(error.hint().is_some());
        for (queries, keys, dim) in [(0, 1, 64), (8, 0, 64), (8, 8, 0), (8, 8, 12), (8, 8, 8192)] {
            assert!(Heads::new(queries, keys, dim).is_err(), "{queries} {keys} {dim}");
        }
    }

    #[test]
    fn sinks_are_kept_where_nothing_is_pinned() {
        assert_eq!(Policy::new(0, 100, 50).unwrap().sinks(), 4);
        assert_eq!(Policy::new(3, 100, 50).unwrap().sinks(), 4);
        assert_eq!(Policy::new(4, 100, 50).unwrap().sinks(), 0);
    }

    #[test]
    fn a_window_has_to_fit_beside_the_sinks() {
        let error = Policy::new(0, 100, 97).unwrap_err();
        let expected = "`recent_window` = 97: expected 1 to 96 (100 cached tokens less 4 sinks)";
        assert_eq!(error.to_string(), expected);
        let all_recent = Policy::new(0, 100, 96).unwrap();
        assert!(all_recent.with_sinks(5).is_err());
        assert!(Policy::new(10, 100, 0).is_err());
        assert!(Policy::new(10, 0, 1).is_err());
    }

    #[test]
    fn a_decay_is_a_factor_of_at_most_one() {
        let policy = Policy::new(0, 100, 50).unwrap();
        assert!(policy.with_decay(0.98).is_ok());
        for decay in [0.0, -1.0, 1.01, f64::NAN, f64::INFINITY] {
            assert!(policy.with_decay(decay).is_err(), "{decay}");
        }
    }
}
