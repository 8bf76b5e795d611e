//! Choosing the next token.

/// How the next token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// What logits are divided by; 0 takes the most likely token.
    pub temperature: f32,
    /// Most likely tokens to choose among; 0 for all.
    pub top_k: usize,
    /// Smallest set of most likely tokens with this probability together to choose among.
    pub top_p: f32,
    /// Where the random numbers start.
    pub seed: u64,
}

impl Sampling {
    /// The most likely token, always.
    pub const GREEDY: Self = Self { temperature: 0.0, top_k: 0, top_p: 1.0, seed: 0 };
}

/// Chooses tokens one after the other.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    state: u64,
    candidates: Vec<(f32, u32)>,
}

impl Sampler {
    /// A sampler whose choices depend on nothing but logits and `sampling`.
    pub const fn new(sampling: Sampling) -> Self {
        Self { sampling, state: sampling.seed, candidates: Vec::new() }
    }

    /// A token for these logits, `[vocab]`; nothing where none is a number.
    pub fn choose(&mut self, logits: &[f32]) -> Option<u32> {
        if self.sampling.temperature <= 0.0 {
            return most_likely(logits);
        }
        self.rank(logits);
        self.keep_top_p();
        let total: f32 = self.candidates.iter().map(|(weight, _)| weight).sum();
        let mut left = self.uniform() * total;
        for (weight, id) in &self.candidates {
            left -= weight;
            if left < 0.0 {
                return Some(*id);
            }
        }
        self.candidates.last().map(|(_, id)| *id)
    }

    /// The `top_k` candidates with their unnormalized probabilities, most likely first.
    fn rank(&mut self, logits: &[f32]) {
        let Sampling { temperature, top_k, .. } = self.sampling;
        self.candidates.clear();
        let numbers = logits.iter().zip(0u32..).filter(|(logit, _)| !logit.is_nan());
        self.candidates.extend(numbers.map(|(logit, id)| (*logit, id)));
        let by_logit = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        if top_k > 0 && top_k < self.candidates.len() {
            self.candidates.select_nth_unstable_by(top_k, by_logit);
            self.candidates.truncate(top_k);
        }
        self.candidates.sort_unstable_by(by_logit);
        let top = self.candidates.first().map_or(0.0, |(logit, _)| *logit);
        for (logit, _) in &mut self.candidates {
            *logit = ((*logit - top) / temperature).exp();
        }
    }

    fn keep_top_p(&mut self) {
        let total: f32 = self.candidates.iter().map(|(weight, _)| weight).sum();
        let mut kept = 0.0;
        let enough = self.candidates.iter().position(|(weight, _)| {
            kept += weight;
            kept >= self.sampling.top_p * total
        });
        self.candidates.truncate(enough.map_or(usize::MAX, |index| index + 1));
    }

    /// A number from 0 to below 1 (`SplitMix64`).
    #[allow(clippy::cast_precision_loss, reason = "24 bits fit an f32")]
    fn uniform(&mut self) -> f32 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u32 << 24) as f32
    }
}

/// The first of the largest logits.
pub fn most_likely(logits: &[f32]) -> Option<u32> {
    let mut best: Option<(f32, u32)> = None;
    for (&logit, id) in logits.iter().zip(0u32..) {
        if !logit.is_nan() && best.is_none_or(|(largest, _)| logit > largest) {
            best = Some((logit, id));
        }
    }
    best.map(|(_, id)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(sampling: Sampling, logits: &[f32]) -> Vec<usize> {
        let mut sampler = Sampler::new(sampling);
        let mut counts = vec![0; logits.len()];
        for _ in 0..4000 {
            counts[sampler.choose(logits).unwrap() as usize] += 1;
        }
        counts
    }

    #[test]
    fn greedy_takes_the_first_of_the_largest() {
        assert_eq!(most_likely(&[0.0, 2.0, f32::NAN, 2.0]), Some(1));
        assert_eq!(most_likely(&[f32::NAN]), None);
        assert_eq!(drawn(Sampling::GREEDY, &[0.0, 1.0]), [0, 4000]);
    }

    #[test]
    fn tokens_come_as_often_as_they_are_likely() {
        let sampling = Sampling { temperature: 1.0, ..Sampling::GREEDY };
        let counts = drawn(sampling, &[0.0, 3.0f32.ln(), f32::NEG_INFINITY]);
        assert!((2900..3100).contains(&counts[1]) && counts[2] == 0, "{counts:?}");
        let hot = drawn(Sampling { temperature: 100.0, ..sampling }, &[0.0, 3.0f32.ln()]);
        assert!((1900..2100).contains(&hot[0]), "{hot:?}");
    }

    #[test]
    fn top_k_and_top_p_cut_the_tail() {
        let logits = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
        let sampling = Sampling { temperature: 1.0, ..Sampling::GREEDY };
        assert_eq!(drawn(Sampling { top_k: 1, ..sampling }, &logits), [4000, 0, 0]);
        let two = drawn(Sampling { top_p: 0.7, ..sampling }, &logits);
        assert!(two[2] == 0 && (2400..2600).contains(&two[0]), "{two:?}");
        let same = Sampling { seed: 7, ..sampling };
        assert_eq!(drawn(same, &logits), drawn(same, &logits));
    }
}
