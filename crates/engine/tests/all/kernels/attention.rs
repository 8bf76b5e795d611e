//! Attention in f64, as it is written in a textbook.

use crate::kernels::layer::{Layer, Region};

/// What a query attends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    Pinned(usize),
    Slot(usize),
}

/// Output `[query_heads, head_dim]` of one query over `seen` tokens, and the probabilities
/// `[query_heads, seen]`.
pub fn attend(layer: &Layer, query: &[f32], seen: &[Token]) -> (Vec<f64>, Vec<Vec<f64>>) {
    let heads = layer.heads;
    let (dim, group) = (heads.head_dim(), heads.gqa_group());
    let place = |token: Token| -> (&Region, usize) {
        match token {
            Token::Pinned(at) => (&layer.pinned, at),
            Token::Slot(at) => (&layer.slots, at),
        }
    };
    let mut output = vec![0.0; heads.query_width()];
    let mut all = Vec::new();
    for q in 0..heads.query_heads() {
        let head = q / group;
        let smoothed: Vec<f64> = (0..dim)
            .map(|i| f64::from(query[q * dim + i]) * f64::from(layer.smoothing[head * dim + i]))
            .collect();
        let logit = |&token: &Token| {
            let (region, at) = place(token);
            let dot: f64 = (0..dim).map(|i| smoothed[i] * region.key(heads, head, at, i)).sum();
            dot / (dim as f64).sqrt()
        };
        let logits: Vec<f64> = seen.iter().map(logit).collect();
        let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logits.iter().map(|logit| (logit - top).exp()).sum();
        let p: Vec<f64> = logits.iter().map(|logit| (logit - top).exp() / sum).collect();
        for (&token, p) in seen.iter().zip(&p) {
            let (region, at) = place(token);
            for i in 0..dim {
                output[q * dim + i] += p * region.value(heads, head, at, i);
            }
        }
        all.push(p);
    }
    (output, all)
}

/// The largest difference, relative to the largest magnitude that was expected.
pub fn difference(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0, |max: f64, x| max.max(x.abs()));
    let pairs = found.iter().zip(expected);
    // A NaN is a difference.
    pairs.fold(0.0, |max: f64, (f, e)| {
        let difference = (f64::from(*f) - e).abs() / largest;
        if difference.is_nan() { f64::INFINITY } else { max.max(difference) }
    })
}
