//! Made-up tokens, the same as `evidence/h2o/vectors.py` makes.

/// Floats in [-1, 1): 24 bits of splitmix64, so that f32 holds them exactly.
pub struct Source(pub u64);

impl Source {
    pub fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^= x >> 31;
        (x >> 40) as f32 / 8_388_608.0 - 1.0
    }

    /// Floats of shape `[heads, tokens, dim]`, in the order `[tokens, heads, dim]`.
    pub fn token_major(&mut self, heads: usize, tokens: usize, dim: usize) -> Vec<f32> {
        let mut out = vec![0.0; heads * tokens * dim];
        for head in 0..heads {
            for token in 0..tokens {
                let at = (token * heads + head) * dim;
                out[at..at + dim].fill_with(|| self.next());
            }
        }
        out
    }
}
