//! What is said of a group of figures.

use super::Hit;

/// Errors and bounds of a group.
#[derive(Clone, Copy, Debug)]
pub struct Statistics {
    /// Rows.
    pub rows: usize,
    /// Median of the absolute errors.
    pub median: f64,
    /// Their 90th percentile.
    pub p90: f64,
    /// The largest error, with its sign.
    pub worst: f64,
    /// Mean of the errors, with their signs.
    pub bias: f64,
    /// Share of the rows between low and high bound.
    pub within: f64,
    /// Share of the rows that are at most the high bound.
    pub below_high: f64,
    /// Median of high bound / measured − 1.
    pub slack: f64,
}

impl Statistics {
    /// The statistics of these figures; nothing of none.
    pub fn of<'a>(hits: impl IntoIterator<Item = &'a Hit>) -> Option<Self> {
        let hits: Vec<&Hit> = hits.into_iter().collect();
        if hits.is_empty() {
            return None;
        }
        let mut errors: Vec<f64> = hits.iter().map(|hit| hit.error()).collect();
        errors.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
        let mut slack: Vec<f64> = hits.iter().map(|hit| hit.slack()).collect();
        slack.sort_by(f64::total_cmp);
        let count = |wanted: fn(&Hit) -> bool| {
            to_f64(hits.iter().filter(|hit| wanted(hit)).count()) / to_f64(hits.len())
        };
        Some(Self {
            rows: hits.len(),
            median: quantile(&errors, 50).abs(),
            p90: quantile(&errors, 90).abs(),
            worst: quantile(&errors, 100),
            bias: errors.iter().sum::<f64>() / to_f64(errors.len()),
            within: count(|hit| hit.above_low() && hit.below_high()),
            below_high: count(Hit::below_high),
            slack: quantile(&slack, 50),
        })
    }
}

/// The value below which this share of a sorted list lies: the nearest rank, rounded up.
pub fn quantile(sorted: &[f64], percent: usize) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last * percent).div_ceil(100)).copied().unwrap_or(f64::NAN)
}

fn to_f64(n: usize) -> f64 {
    u32::try_from(n).map_or(f64::INFINITY, f64::from)
}
