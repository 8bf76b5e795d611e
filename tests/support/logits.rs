//! What logits say, and how far two of them are apart.

/// `log softmax` of one entry.
#[allow(dead_code, reason = "not everyone needs it")]
pub fn log_probability(logits: &[f32], token: u32) -> f64 {
    f64::from(logits[token as usize]) - log_sum_exp(logits)
}

fn log_sum_exp(logits: &[f32]) -> f64 {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - top).exp()).sum();
    f64::from(top) + sum.ln()
}

/// Kullback–Leibler divergence of the second distribution from the first, in nats.
pub fn divergence(p: &[f32], q: &[f32]) -> f64 {
    let (of_p, of_q) = (log_sum_exp(p), log_sum_exp(q));
    p.iter()
        .zip(q)
        .map(|(&p, &q)| {
            let (p, q) = (f64::from(p) - of_p, f64::from(q) - of_q);
            p.exp() * (p - q)
        })
        .sum()
}
