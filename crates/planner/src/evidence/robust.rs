//! What several measurements of one size say together, whatever one of them says.

use super::Digest;
use crate::units::Bytes;

/// One measurement, by the record that it is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sample {
    /// The size.
    pub size: Bytes,
    /// How far it may be off, as it was printed.
    pub within: Bytes,
    /// The record.
    pub record: Digest,
}

/// The median of measurements, and between which bounds they lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Robust {
    /// How many count.
    pub runs: u64,
    /// The smallest that counts.
    pub low: Bytes,
    /// The middle one; of an even number the larger of the two in the middle, which is a measured one.
    pub median: Bytes,
    /// The largest that counts.
    pub high: Bytes,
    /// How far each may be off, as it was printed.
    pub within: Bytes,
    /// Those that lie apart from the rest and do not count.
    pub outliers: Vec<Sample>,
}

/// The smallest distance that makes an outlier: what drivers and days differ by.
const LEAST: Bytes = Bytes::new(16 << 20);
/// Hundredths of the median absolute deviation beyond which one lies apart: 3.5 standard deviations of a normal
/// distribution (Iglewicz and Hoaglin, "How to Detect and Handle Outliers", 1993: 3.5 / 0.6745).
const HUNDREDTHS: u64 = 519;
/// Of fewer than these none is told apart: two of three that agree may both be wrong.
const FEWEST: usize = 4;

/// What measurements say together; nothing of none. Their order does not matter.
///
/// ```
/// use vramplan_planner::evidence::{Digest, Sample, robust};
/// use vramplan_planner::units::Bytes;
///
/// let of = |mib| Sample { size: Bytes::mib(mib).unwrap(), within: Bytes::ZERO, record: Digest::of("record", b"") };
/// let found = robust(&[of(250), of(900), of(252), of(258)]).unwrap();
/// assert_eq!((found.runs, found.median, found.outliers.len()), (3, Bytes::mib(252).unwrap(), 1));
/// ```
pub fn robust(samples: &[Sample]) -> Option<Robust> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let far = (sorted.len() >= FEWEST).then(|| distance(&sorted)).flatten();
    let middle = median(sorted.iter().map(|sample| sample.size))?;
    let (outliers, kept): (Vec<_>, Vec<_>) = sorted
        .into_iter()
        .partition(|sample| far.is_some_and(|far| off(sample.size, middle) > far));
    Some(Robust {
        runs: kept.len() as u64,
        low: kept.first()?.size,
        median: median(kept.iter().map(|sample| sample.size))?,
        high: kept.last()?.size,
        within: kept.iter().map(|sample| sample.within).max()?,
        outliers,
    })
}

fn off(a: Bytes, b: Bytes) -> Bytes {
    a.max(b).minus_or_zero(a.min(b))
}

/// The larger of the two in the middle of an even number.
fn median(sizes: impl Iterator<Item = Bytes>) -> Option<Bytes> {
    let mut sizes: Vec<Bytes> = sizes.collect();
    sizes.sort_unstable();
    sizes.get(sizes.len() / 2).copied()
}

/// How far from the median is apart.
fn distance(sorted: &[Sample]) -> Option<Bytes> {
    let middle = median(sorted.iter().map(|sample| sample.size))?;
    let deviation = median(sorted.iter().map(|sample| off(sample.size, middle)))?;
    let within = sorted.iter().map(|sample| sample.within).max()?;
    Some(deviation.scale(HUNDREDTHS, 100).ok()?.max(LEAST).max(within))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(mib: &[u64]) -> Vec<Sample> {
        let sample = |&mib: &u64| Sample {
            size: Bytes::mib(mib).unwrap(),
            within: Bytes::ZERO,
            record: Digest::of("record", &mib.to_le_bytes()),
        };
        mib.iter().map(sample).collect()
    }

    fn mib(robust: &Robust) -> [u64; 4] {
        let mib = |size: Bytes| size.get() >> 20;
        [robust.runs, mib(robust.low), mib(robust.median), mib(robust.high)]
    }

    #[test]
    fn one_that_lies_apart_does_not_count_and_is_named() {
        assert_eq!(robust(&[]), None);
        assert_eq!(mib(&robust(&samples(&[7])).unwrap()), [1, 7, 7, 7]);
        let found = robust(&samples(&[250, 9_000, 251, 249, 255])).unwrap();
        assert_eq!(mib(&found), [4, 249, 251, 255]);
        assert_eq!(found.outliers, samples(&[9_000]));
        // Of three nobody knows which is wrong.
        assert_eq!(mib(&robust(&samples(&[250, 251, 9_000])).unwrap()), [3, 250, 251, 9_000]);
        // Two groups of equal weight are no outliers of each other.
        assert!(robust(&samples(&[100, 101, 400, 401])).unwrap().outliers.is_empty());
    }

    #[test]
    fn their_order_does_not_matter() {
        let mut all = samples(&[5, 90, 3, 800, 4, 6]);
        let found = robust(&all);
        for _ in 0..all.len() {
            all.rotate_left(1);
            assert_eq!(robust(&all), found);
        }
    }
}
