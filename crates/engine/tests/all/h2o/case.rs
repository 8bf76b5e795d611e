//! Made-up text for a layout, and a cache that has read it.

use vramplan_engine::h2o::{Heads, OwnedCache, Policy, Tokens};

use super::shadow::Shadow;
use super::source::Source;

/// Queries, keys and values, `[tokens, heads, head_dim]`; queries start behind the pinned tokens.
pub struct Text {
    pub heads: Heads,
    pub pinned: usize,
    pub queries: Vec<f32>,
    pub keys: Vec<f32>,
    pub values: Vec<f32>,
}

impl Text {
    /// As `vectors.py` draws it: keys near a base that queries look for, every 11th token nearer.
    /// With `ties` every 7th token takes all of the attention.
    pub fn new(heads: Heads, pinned: usize, tokens: usize, seed: u64, ties: bool) -> Self {
        let mut source = Source(seed);
        let (kv_heads, dim) = (heads.kv_heads(), heads.head_dim());
        let base = source.token_major(kv_heads, 1, dim);
        let mut keys = source.token_major(kv_heads, pinned + tokens, dim);
        let values = source.token_major(kv_heads, pinned + tokens, dim);
        let mut queries = source.token_major(heads.query_heads(), tokens, dim);
        for (token, keys) in keys.chunks_exact_mut(heads.kv_width()).enumerate() {
            for (key, base) in keys.iter_mut().zip(&base) {
                *key = match (ties, token % 7 == 0, token % 11 == 0) {
                    (true, true, _) => base * 16.0,
                    (true, false, _) => *key - base * 16.0,
                    (false, _, true) => base * 2.0 + *key,
                    (false, _, false) => base + *key,
                };
            }
        }
        for (row, query) in queries.chunks_exact_mut(dim).enumerate() {
            let head = row % heads.query_heads() / heads.gqa_group();
            for (query, base) in query.iter_mut().zip(&base[head * dim..]) {
                *query = if ties { base * 16.0 } else { (base + *query) * 2.0 };
            }
        }
        Self { heads, pinned, queries, keys, values }
    }

    pub fn tokens(&self) -> usize {
        self.queries.len() / self.heads.query_width()
    }

    /// Conversation tokens `first..first + count`.
    pub fn chunk(&self, first: usize, count: usize) -> Tokens<'_> {
        let (q, kv) = (self.heads.query_width(), self.heads.kv_width());
        let behind = self.pinned + first;
        Tokens {
            queries: &self.queries[first * q..][..count * q],
            keys: &self.keys[behind * kv..][..count * kv],
            values: &self.values[behind * kv..][..count * kv],
        }
    }

    /// Pins the system prompt. Its queries are made up; returns them and their output.
    pub fn pin(&self, cache: &mut OwnedCache, chunk: usize) -> (Vec<f32>, Vec<f32>) {
        let (q, kv) = (self.heads.query_width(), self.heads.kv_width());
        let mut source = Source(77);
        let queries: Vec<f32> = (0..self.pinned * q).map(|_| 3.0 * source.next()).collect();
        let mut output = vec![0.0; queries.len()];
        for first in (0..self.pinned).step_by(chunk) {
            let count = chunk.min(self.pinned - first);
            let new = Tokens {
                queries: &queries[first * q..][..count * q],
                keys: &self.keys[first * kv..][..count * kv],
                values: &self.values[first * kv..][..count * kv],
            };
            cache.pin(new, &mut output[first * q..][..count * q]).unwrap();
        }
        (queries, output)
    }

    /// A cache that has read the text in these chunks, what it put out, and where its tokens are.
    /// `watch` sees it after each step, with the step's evicted tokens by head.
    pub fn read(
        &self,
        policy: Policy,
        chunks: &[usize],
        mut watch: impl FnMut(&OwnedCache, &Shadow, &[Vec<usize>]),
    ) -> (OwnedCache, Vec<f32>, Shadow) {
        let largest = chunks.iter().copied().max().unwrap_or(1);
        let mut cache = OwnedCache::new(self.heads, policy, largest.max(8));
        let mut shadow = Shadow::new(self.heads, policy);
        self.pin(&mut cache, 8);
        let mut output = vec![0.0; self.queries.len()];
        let width = self.heads.query_width();
        let mut first = 0;
        for &count in chunks {
            let out = &mut output[first * width..][..count * width];
            cache.step(self.chunk(first, count), out).unwrap();
            let step = policy.step(first, count).unwrap();
            let evicted = shadow.advance(&step, cache.victims());
            watch(&cache, &shadow, &evicted);
            first += count;
        }
        (cache, output, shadow)
    }
}
