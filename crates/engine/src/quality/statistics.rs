//! The numbers behind a quality report: divergences, percentiles, and intervals by resampling.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

/// A distribution over the vocabulary, from logits.
#[derive(Clone, Debug)]
pub(super) struct Distribution<'a> {
    logits: &'a [f32],
    log_sum: f64,
}

impl<'a> Distribution<'a> {
    pub(super) fn new(logits: &'a [f32]) -> Self {
        let top = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - top).exp()).sum();
        Self { logits, log_sum: top + sum.ln() }
    }

    /// Natural logarithm of a token's probability.
    pub(super) fn log_probability(&self, token: usize) -> f64 {
        self.logits.get(token).map_or(f64::NEG_INFINITY, |&logit| f64::from(logit) - self.log_sum)
    }

    /// Kullback–Leibler divergence of `other` from this distribution, `Σ p · ln(p / q)`, in nats.
    pub(super) fn divergence(&self, other: &Self) -> f64 {
        let shift = self.log_sum - other.log_sum;
        let terms = self.logits.iter().zip(other.logits).map(|(&p, &q)| {
            let probability = (f64::from(p) - self.log_sum).exp();
            probability * (f64::from(p) - f64::from(q) - shift)
        });
        // Never negative but for rounding.
        terms.sum::<f64>().max(0.0)
    }

    /// The most likely token, of several the first.
    pub(super) fn top(&self) -> usize {
        let better = |best: (usize, f32), (index, &logit): (usize, &f32)| {
            if logit > best.1 { (index, logit) } else { best }
        };
        self.logits.iter().enumerate().fold((0, f32::NEG_INFINITY), better).0
    }
}

/// The mean; nothing of nothing.
#[allow(clippy::cast_precision_loss, reason = "far fewer than 2⁵² positions")]
pub(super) fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// The smallest value that `percent` of all do not exceed (nearest rank).
pub(super) fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0.0)
}

/// Neighbouring positions depend on each other: they are drawn together, so many at a time.
const BLOCK: usize = 16;

/// Means of resampled series, `[resamples][series]`: a circular block bootstrap, paired, so that every
/// series loses and gains the same positions.
pub(super) fn resampled_means(series: &[Vec<f64>], resamples: usize, seed: u64) -> Vec<Vec<f64>> {
    let len = series.first().map_or(0, Vec::len);
    if len == 0 {
        return Vec::new();
    }
    let sums: Vec<Vec<f64>> = series.iter().map(|values| running_sums(values)).collect();
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let block = BLOCK.min(len);
    let blocks = len.div_ceil(block);
    #[allow(clippy::cast_precision_loss, reason = "far fewer than 2⁵² positions")]
    let drawn = (blocks * block) as f64;
    let mut one = || {
        let starts: Vec<usize> = (0..blocks).map(|_| below(&mut random, len)).collect();
        let mean = |sums: &Vec<f64>| {
            let total: f64 = starts.iter().map(|&start| sums[start + block] - sums[start]).sum();
            total / drawn
        };
        sums.iter().map(mean).collect()
    };
    (0..resamples).map(|_| one()).collect()
}

/// Sums of the first `n` values of a series that begins again where it ends, for `n` up to twice its
/// length.
fn running_sums(values: &[f64]) -> Vec<f64> {
    let mut sums = vec![0.0];
    let mut sum = 0.0;
    for value in values.iter().chain(values) {
        sum += value;
        sums.push(sum);
    }
    sums
}

/// A random number below `bound`, without bias that matters: by multiplication.
#[allow(clippy::cast_possible_truncation, reason = "below `bound`")]
fn below(random: &mut Xoshiro256PlusPlus, bound: usize) -> usize {
    ((u128::from(random.next_u64()) * bound as u128) >> 64) as usize
}

/// The interval that holds 95 of 100 of the values.
pub(super) fn interval(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_unstable_by(f64::total_cmp);
    let at = |per_mille: usize| {
        let rank = (values.len() * per_mille).div_ceil(1000).max(1);
        values.get(rank - 1).copied().unwrap_or(0.0)
    };
    (at(25), at(975))
}

/// The window that is recommended: of those whose mean is not surely above the lowest, the one nearest
/// to half of the cache; of two as near, the one with the lower mean.
///
/// `resampled` are the paired means, `[resamples][windows]`.
pub(super) fn choose(
    windows: &[usize],
    means: &[f64],
    resampled: &[Vec<f64>],
    cache: usize,
) -> Option<usize> {
    let best = (0..windows.len()).min_by(|&a, &b| means[a].total_cmp(&means[b]))?;
    let overlaps = |&index: &usize| {
        let differences = resampled.iter().map(|means| means[index] - means[best]).collect();
        index == best || interval(differences).0 <= 0.0
    };
    let from_half = |index: usize| (2 * windows[index]).abs_diff(cache);
    (0..windows.len())
        .filter(overlaps)
        .min_by(|&a, &b| from_half(a).cmp(&from_half(b)).then(means[a].total_cmp(&means[b])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-6
    }

    #[test]
    fn divergences_are_those_of_the_book() {
        // p = (1/2, 1/4, 1/4), q = (1/4, 1/2, 1/4): ½·ln 2 − ¼·ln 2 = ¼·ln 2.
        let (p, q) = ([2f32.ln(), 0.0, 0.0], [0.0, 2f32.ln(), 0.0]);
        let (p, q) = (Distribution::new(&p), Distribution::new(&q));
        assert!(near(p.divergence(&q), 0.25 * std::f64::consts::LN_2));
        assert!(near(p.divergence(&p), 0.0));
        assert!(near(p.log_probability(0), 0.5f64.ln()));
        assert_eq!((p.top(), q.top()), (0, 1));
        // Logits are known up to a constant, however large.
        let shifted = [1000.0 + 2f32.ln(), 1000.0, 1000.0];
        assert!(Distribution::new(&shifted).divergence(&p) < 1e-4);
        assert!(p.log_probability(3).is_infinite());
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let values: Vec<f64> = (1..=200).map(f64::from).rev().collect();
        assert!(near(percentile(&values, 99), 198.0));
        assert!(near(percentile(&values, 100), 200.0));
        assert!(near(percentile(&[3.0], 99), 3.0));
        assert!(near(percentile(&[], 99), 0.0));
        assert!(near(mean(&[1.0, 2.0, 6.0]), 3.0) && near(mean(&[]), 0.0));
    }

    #[test]
    fn intervals_leave_out_a_fortieth_at_each_end() {
        assert_eq!(interval((1..=1000).map(f64::from).collect()), (25.0, 975.0));
        assert_eq!(interval(Vec::new()), (0.0, 0.0));
    }

    #[test]
    fn resampling_is_paired_and_centred() {
        let noise: Vec<f64> = (0..640).map(|n| f64::from(n * 7919 % 101)).collect();
        let shifted: Vec<f64> = noise.iter().map(|value| value + 0.5).collect();
        let resampled = resampled_means(&[noise.clone(), shifted], 500, 1);
        assert!(resampled.iter().all(|means| near(means[1] - means[0], 0.5)));
        let (low, high) = interval(resampled.iter().map(|means| means[0]).collect());
        assert!(low < mean(&noise) && mean(&noise) < high);
        // The standard error of 640 independent draws of 29.2 each is 1.15, the interval ±2.3.
        assert!(high - low < 8.0, "{low} {high}");
        assert_eq!(resampled_means(&[noise], 2, 1).len(), 2);
        assert!(resampled_means(&[Vec::new()], 10, 1).is_empty());
    }

    #[test]
    fn a_constant_series_has_no_spread() {
        let resampled = resampled_means(&[vec![2.0; 5]], 50, 3);
        assert!(resampled.iter().all(|means| near(means[0], 2.0)));
    }

    #[test]
    fn the_nearest_to_half_wins_among_equals() {
        let windows = [16, 32, 64, 96];
        let means = [0.10, 0.30, 0.11, 0.10001];
        // The last two may be as good as the first; the second is surely worse.
        let resampled = [
            vec![0.10, 0.30, 0.12, 0.10],
            vec![0.11, 0.31, 0.10, 0.11],
            vec![0.09, 0.29, 0.11, 0.09],
        ];
        assert_eq!(choose(&windows, &means, &resampled, 128), Some(2));
        let sure = [vec![0.10, 0.30, 0.12, 0.11], vec![0.11, 0.31, 0.13, 0.12]];
        assert_eq!(choose(&windows, &means, &sure, 128), Some(0));
        assert_eq!(choose(&[], &[], &[], 128), None);
        // Two as near to half: the lower mean.
        let equal = [vec![0.2, 0.1], vec![0.1, 0.2]];
        assert_eq!(choose(&[32, 96], &[0.16, 0.15], &equal, 128), Some(1));
    }
}
