//! Static smoothing of key channels: `K' = K / λ`, `q' = q · λ` leaves every product as it is, and
//! evens out the channels that share a scale.
//!
//! Keys of some families (Qwen2) have channels with a bias far above the rest; under one scale per
//! row they take the resolution of all others. λ is fixed before the first token is stored, equal
//! within a RoPE pair `(i, i + head_dim / 2)`, so that it may be chosen before or after RoPE.
//!
//! Source: `SmoothAttention` of `QServe` (arXiv 2405.04532), here on keys after RoPE.

use super::Heads;

/// No channel is scaled up more than this: one that was quiet in a short sample may not stay so.
const FLOOR: f32 = 0.25;

/// Chooses λ, `[kv_heads, head_dim]`, from what is known of the keys before any is stored.
///
/// `bias` is that of the key projection, `[kv_heads, head_dim]`, `keys` a first chunk after RoPE,
/// `[tokens, kv_heads, head_dim]`; either may be empty. Where nothing is known every factor is 1.
///
/// # Panics
/// When a slice does not consist of whole tokens.
pub fn choose_smoothing(heads: Heads, bias: &[f32], keys: &[f32], factors: &mut [f32]) {
    let (width, dim) = (heads.kv_width(), heads.head_dim());
    assert!(factors.len() == width && bias.len().is_multiple_of(width));
    assert!(keys.len().is_multiple_of(width));
    factors.fill(0.0);
    for bias in bias.chunks_exact(dim).zip(factors.chunks_exact_mut(dim)) {
        largest_when_rotated(bias.0, bias.1);
    }
    for token in keys.chunks_exact(width) {
        for (factor, key) in factors.iter_mut().zip(token) {
            *factor = factor.max(key.abs());
        }
    }
    for head in factors.chunks_exact_mut(dim) {
        even_out(head);
    }
}

/// RoPE rotates a pair: each of its two channels reaches the pair's norm.
fn largest_when_rotated(bias: &[f32], largest: &mut [f32]) {
    let half = bias.len() / 2;
    for i in 0..half {
        let norm = bias[i].hypot(bias[i + half]);
        largest[i] = norm;
        largest[i + half] = norm;
    }
}

/// Turns the largest magnitudes of a head's channels into factors around 1.
fn even_out(head: &mut [f32]) {
    let (low, high) = head.split_at_mut(head.len() / 2);
    for (a, b) in low.iter_mut().zip(high.iter_mut()) {
        *a = a.max(*b);
    }
    let known = low.iter().filter(|x| x.is_normal());
    let (sum, count) =
        known.fold((0.0, 0.0), |(sum, count), x| (sum + f64::from(x.ln()), count + 1.0));
    let mean = if count > 0.0 { narrow((sum / count).exp()) } else { 1.0 };
    for (a, b) in low.iter_mut().zip(high) {
        let factor = if a.is_finite() { (*a / mean).max(FLOOR) } else { 1.0 };
        *a = if count > 0.0 { factor } else { 1.0 };
        *b = *a;
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a mean of f32 lies between them")]
fn narrow(x: f64) -> f32 {
    x as f32
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "exact")]
mod tests {
    use super::*;

    fn chosen(bias: &[f32], keys: &[f32]) -> Vec<f32> {
        let heads = Heads::new(1, 1, 8).unwrap();
        let mut factors = vec![0.0; 8];
        choose_smoothing(heads, bias, keys, &mut factors);
        factors
    }

    #[test]
    fn nothing_known_changes_nothing() {
        assert_eq!(chosen(&[], &[]), [1.0; 8]);
        assert_eq!(chosen(&[0.0; 8], &[0.0; 16]), [1.0; 8]);
        assert_eq!(chosen(&[], &[3.0; 8]), [1.0; 8]);
    }

    #[test]
    fn a_pair_shares_a_factor_and_quiet_channels_have_a_floor() {
        let factors = chosen(&[], &[16.0, 1.0, 1.0, 1e-3, 2.0, 1.0, -1.0, 1e-3]);
        assert_eq!(factors[..4], factors[4..]);
        assert!(factors[0] / factors[1] > 15.9 && factors[3] == FLOOR, "{factors:?}");
    }

    #[test]
    fn a_bias_counts_with_its_norm() {
        let factors = chosen(&[3.0, 1.0, 1.0, 1.0, 4.0, 0.0, 0.0, 0.0], &[1.0; 8]);
        assert!((factors[0] / factors[1] - 5.0).abs() < 1e-5, "{factors:?}");
    }
}
