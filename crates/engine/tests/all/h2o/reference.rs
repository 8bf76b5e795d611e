//! Plain attention in f64, and H2O's own cache.

use vramplan_engine::h2o::{Heads, Policy, Rows, Tokens};

use super::case::Text;

/// Softmax over `logits`.
fn softmax(logits: &[f64]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let p: Vec<_> = logits.iter().map(|logit| (logit - max).exp()).collect();
    let sum: f64 = p.iter().sum();
    p.iter().map(|p| p / sum).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// Causal attention of queries that stand behind all but their own number of keys.
pub fn full(heads: Heads, all: Tokens<'_>) -> Vec<f64> {
    let (dim, width) = (heads.head_dim(), heads.kv_width());
    let rows = all.queries.len() / dim;
    let behind = all.keys.len() / width - rows / heads.query_heads();
    let mut output = Vec::with_capacity(all.queries.len());
    for (row, query) in all.queries.chunks_exact(dim).enumerate() {
        let (token, head) = (row / heads.query_heads(), row % heads.query_heads());
        let part = head / heads.gqa_group() * dim..(head / heads.gqa_group() + 1) * dim;
        let seen = behind + token + 1;
        let logits: Vec<_> = all
            .keys
            .chunks_exact(width)
            .take(seen)
            .map(|key| dot(query, &key[part.clone()]) / (dim as f64).sqrt())
            .collect();
        let p = softmax(&logits);
        output.extend(part.map(|at| {
            let values = all.values.chunks_exact(width).zip(&p);
            values.map(|(value, p)| p * f64::from(value[at])).sum::<f64>()
        }));
    }
    output
}

/// The largest difference.
pub fn distance(ours: &[f32], theirs: &[f64]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max)
}

/// Keys and values of rows as they are stored, `[tokens, kv_heads, head_dim]`, where token `t` is in
/// row `row_of(t)`.
pub fn widened(
    heads: Heads,
    rows: Rows<'_>,
    tokens: usize,
    row_of: impl Fn(usize) -> usize,
) -> [Vec<f32>; 2] {
    let dim = heads.head_dim();
    let capacity = rows.key_scales.len() / heads.kv_heads();
    [(rows.keys, rows.key_scales), (rows.values, rows.value_scales)].map(|(payload, scales)| {
        let mut out = Vec::new();
        for token in 0..tokens {
            for head in 0..heads.kv_heads() {
                let at = head * capacity + row_of(token);
                let scale = scales[at].to_f32();
                out.extend(payload[at * dim..][..dim].iter().map(|&x| f32::from(x) * scale));
            }
        }
        out
    })
}

/// `H2OKVCache_LayerWise` of FMInference/H2O `h2o_hf/utils_real_drop/modify_llama.py`, a token at a time,
/// without grouped queries: append, attend, add, drop. Returns outputs and what each head keeps.
fn real_drop(text: &Text, heavy: usize, recent: usize) -> (Vec<f64>, Vec<Vec<usize>>) {
    let heads = text.heads;
    let (dim, width) = (heads.head_dim(), heads.kv_width());
    let mut output = vec![0.0; text.queries.len()];
    let mut kept = vec![Vec::new(); heads.kv_heads()];
    let mut scores = vec![Vec::<f64>::new(); heads.kv_heads()];
    for token in 0..text.tokens() {
        for head in 0..heads.kv_heads() {
            let at = |token: usize| token * width + head * dim;
            kept[head].push(token);
            scores[head].push(0.0);
            let query = &text.queries[at(token)..][..dim];
            let logits: Vec<_> = kept[head]
                .iter()
                .map(|&kept| dot(query, &text.keys[at(kept)..][..dim]) / (dim as f64).sqrt())
                .collect();
            for ((score, p), &from) in
                scores[head].iter_mut().zip(softmax(&logits)).zip(&kept[head])
            {
                *score += p;
                let out = output[at(token)..][..dim].iter_mut();
                out.zip(&text.values[at(from)..]).for_each(|(out, v)| *out += p * f64::from(*v));
            }
            if kept[head].len() > heavy + recent {
                let old = kept[head].len() - recent;
                let lowest = (0..old).min_by(|&a, &b| scores[head][a].total_cmp(&scores[head][b]));
                kept[head].remove(lowest.unwrap());
                scores[head].remove(lowest.unwrap());
            }
        }
    }
    (output, kept)
}

/// Rounds so that int8 stores it exactly: whole numbers up to 127, one of them 127 in each row.
fn exact_in_int8(row: &mut [f32]) {
    for x in row.iter_mut() {
        *x = (*x * 60.0).round().clamp(-126.0, 126.0) / 64.0;
    }
    row[0] = 127.0 / 64.0;
}

#[test]
fn it_keeps_what_h2os_own_code_keeps() {
    let heads = Heads::new(3, 3, 64).unwrap();
    let mut text = Text::new(heads, 0, 200, 5, false);
    text.keys.chunks_exact_mut(64).for_each(exact_in_int8);
    text.values.chunks_exact_mut(64).for_each(exact_in_int8);
    let (heavy, recent) = (20, 12);
    let (expected, kept) = real_drop(&text, heavy, recent);
    let policy = Policy::new(0, heavy + recent + 1, recent + 1).unwrap().with_sinks(0).unwrap();
    // H2O drops at the end of its step, this cache at the start of the next: a step more evicts.
    let (_, output, shadow) = text.read(policy, &[1; 200], |_, _, _| {});
    assert!(distance(&output, &expected) < 2e-5, "{}", distance(&output, &expected));
    drop(shadow);
    for made in [&mut text.queries, &mut text.keys, &mut text.values] {
        made.extend_from_within(made.len() - heads.kv_width()..);
    }
    let (_, _, shadow) = text.read(policy, &[1; 201], |_, _, _| {});
    for (head, kept) in kept.iter().enumerate() {
        let held = shadow.held(head);
        assert_eq!(&held[..held.len() - 1], kept, "head {head}");
    }
}
