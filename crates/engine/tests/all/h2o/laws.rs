//! What holds for every layout, policy and division into chunks.

use std::collections::HashMap;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use vramplan_engine::h2o::{
    Heads, Layer, OwnedCache, OwnedRows, Pinned, Policy, Rows, Scratch, ScratchSize, Slots, Tokens,
};

use super::case::Text;
use super::reference::{distance, full, widened};
use super::shadow::Shadow;

/// Of outputs in f32 against f64.
const TOLERANCE: f64 = 2e-5;

fn heads() -> impl Strategy<Value = Heads> {
    let groups = prop::sample::select(vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 17]);
    (groups, 1..4_usize, prop::sample::select(vec![8, 24, 64, 128]))
        .prop_map(|(group, kv_heads, dim)| Heads::new(group * kv_heads, kv_heads, dim).unwrap())
}

/// A policy, and chunks that fit its window and make it evict.
fn case() -> impl Strategy<Value = (Heads, Policy, Vec<usize>, u64)> {
    let shape = (0..40_usize, 1..100_usize, 1..40_usize, 0..5_usize, any::<bool>(), any::<u64>());
    (heads(), shape, prop::collection::vec(1..64_usize, 1..12)).prop_map(
        |(heads, (pinned, heavy, window, sinks, decay, seed), chunks)| {
            let policy = Policy::new(pinned, heavy + window + 4, window).unwrap();
            let policy = policy.with_sinks(sinks).unwrap();
            let policy = policy.with_decay(if decay { 0.98 } else { 1.0 }).unwrap();
            let chunks = chunks.into_iter().map(|chunk| chunk.min(window)).collect();
            (heads, policy, chunks, seed)
        },
    )
}

/// The bits of one slot of one head.
fn slot(heads: Heads, rows: Rows<'_>, head: usize, slot: usize) -> (Vec<i8>, Vec<i8>, [u16; 2]) {
    let part = rows.head(heads, head);
    let range = slot * heads.head_dim()..(slot + 1) * heads.head_dim();
    let scales = [part.key_scales[slot].to_bits(), part.value_scales[slot].to_bits()];
    (part.keys[range.clone()].to_vec(), part.values[range].to_vec(), scales)
}

/// Sums of probabilities are the query heads of the group for each query, less what pinned tokens and
/// evicted ones took: no score is negative, and together they are at most that.
fn check_scores(cache: &OwnedCache, heads: Heads, policy: &Policy) {
    let most = (cache.written() * heads.gqa_group()) as f32 * 1.0001;
    for scores in cache.scores().chunks_exact(policy.max_cache_tokens()) {
        assert!(scores.iter().all(|&score| score >= 0.0));
        assert!(scores[policy.ring_start()..].iter().sum::<f32>() <= most);
    }
}

fn check_held(shadow: &Shadow, policy: &Policy, written: usize) {
    for (head, slots) in shadow.slots.iter().enumerate() {
        let held = shadow.held(head);
        assert_eq!(held.len(), written.min(policy.max_cache_tokens()));
        assert!(held.windows(2).all(|pair| pair[0] < pair[1]), "each token once");
        let recent = written.saturating_sub(policy.recent_window())..written;
        let kept = (0..policy.sinks().min(written)).chain(recent);
        kept.into_iter().for_each(|token| assert!(held.binary_search(&token).is_ok()));
        let live = policy.live(written);
        for (slot, token) in slots.iter().enumerate() {
            assert_eq!(token.is_some(), live.iter().any(|run| run.contains(&slot)), "slot {slot}");
        }
    }
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 60, rng_seed: RngSeed::Fixed(11), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn slots_close_and_survivors_stay_bit_by_bit((heads, policy, chunks, seed) in case()) {
        let text = Text::new(heads, policy.pinned(), chunks.iter().sum(), seed, false);
        let mut payload = HashMap::new();
        let mut pinned = None;
        text.read(policy, &chunks, |cache, shadow, _| {
            check_held(shadow, &policy, cache.written());
            check_scores(cache, heads, &policy);
            assert_eq!(pinned.get_or_insert_with(|| cache.pinned().clone()), cache.pinned());
            for (head, slots) in shadow.slots.iter().enumerate() {
                for (at, token) in slots.iter().enumerate().filter_map(|(at, t)| Some((at, (*t)?))) {
                    let bits = slot(heads, cache.slots().rows(), head, at);
                    let first = payload.entry((head, token)).or_insert_with(|| bits.clone());
                    assert_eq!(*first, bits, "head {head}, token {token}");
                }
            }
        });
    }

    #[test]
    fn the_lowest_scores_are_evicted((heads, policy, chunks, seed) in case()) {
        let text = Text::new(heads, policy.pinned(), chunks.iter().sum(), seed, false);
        // By head and token, the scores before the step.
        let mut before: Vec<HashMap<usize, f32>> = vec![HashMap::new(); heads.kv_heads()];
        text.read(policy, &chunks, |cache, shadow, evicted| {
            for (head, evicted) in evicted.iter().enumerate() {
                let held = shadow.held(head);
                let scores = &before[head];
                let highest = evicted.iter().map(|token| scores[token]).fold(0.0, f32::max);
                let written = evicted.iter().chain(&held).max().unwrap() + 1;
                let window = written.saturating_sub(policy.recent_window());
                let rivals = held.iter().filter(|&&token| token >= policy.sinks() && token < window);
                for token in rivals {
                    assert!(evicted.is_empty() || scores[token] >= highest, "head {head}: {token}");
                }
                before[head] = shadow.slots[head].iter().enumerate()
                    .filter_map(|(at, token)| Some(((*token)?, cache.scores()[head * policy.max_cache_tokens() + at])))
                    .collect();
            }
        });
    }

    #[test]
    fn a_cache_larger_than_the_text_is_plain_attention((heads, policy, chunks, seed) in case()) {
        let tokens: usize = chunks.iter().sum();
        let text = Text::new(heads, policy.pinned(), tokens, seed, false);
        let roomy = Policy::new(policy.pinned(), tokens + 4, policy.recent_window().min(tokens)).unwrap();
        let chunks: Vec<_> = chunks.iter().map(|&chunk| chunk.min(roomy.recent_window())).collect();
        let (cache, output, shadow) = text.read(roomy, &chunks, |_, _, _| {});
        let ones = vec![1; tokens];
        let (_, one_by_one, _) = text.read(roomy, &ones, |_, _, _| {});
        // The same on what the cache stored: what remains is the rounding of sums.
        let at = |token| shadow.slots[0].iter().position(|held| *held == Some(token)).unwrap();
        let [mut keys, mut values] = widened(heads, cache.pinned().rows(), policy.pinned(), |t| t);
        let [own_keys, own_values] = widened(heads, cache.slots().rows(), cache.written(), at);
        keys.extend(own_keys);
        values.extend(own_values);
        let queries = &text.queries[..cache.written() * heads.query_width()];
        let expected = full(heads, Tokens { queries, keys: &keys, values: &values });
        prop_assert!(distance(&output[..queries.len()], &expected) < TOLERANCE);
        prop_assert!(distance(&one_by_one[..queries.len()], &expected) < TOLERANCE);
    }

    #[test]
    fn pinning_is_causal_attention((heads, policy, chunks, seed) in case()) {
        let text = Text::new(heads, policy.pinned(), 1, seed, false);
        let mut cache = OwnedCache::new(heads, policy, 64);
        let (queries, output) = text.pin(&mut cache, chunks[0]);
        let [keys, values] = widened(heads, cache.pinned().rows(), policy.pinned(), |token| token);
        let expected = full(heads, Tokens { queries: &queries, keys: &keys, values: &values });
        prop_assert!(distance(&output, &expected) < TOLERANCE);
        prop_assert!(cache.scores().iter().all(|&score| score == 0.0));
    }

    #[test]
    fn smoothing_changes_no_product((heads, policy, chunks, seed) in case()) {
        let tokens = chunks.iter().sum();
        let text = Text::new(heads, policy.pinned(), tokens, seed, false);
        let full_size = Policy::new(policy.pinned(), tokens + 4, tokens).unwrap();
        let smoothing: Vec<_> = (0..heads.kv_width()).map(|i| [1.0, 0.25, 3.0][i % 3]).collect();
        let cache = OwnedCache::new(heads, full_size, tokens.max(64)).with_smoothing(smoothing.clone());
        let (mut cache, mut output) = (cache, vec![0.0; text.queries.len()]);
        text.pin(&mut cache, 64);
        cache.step(text.chunk(0, tokens), &mut output).unwrap();
        let slot = |token| full_size.ring_slot(token);
        let [mut keys, mut values] = widened(heads, cache.pinned().rows(), policy.pinned(), |t| t);
        let [own_keys, own_values] = widened(heads, cache.slots().rows(), tokens, slot);
        keys.extend(own_keys);
        values.extend(own_values);
        for (key, factor) in keys.iter_mut().zip(smoothing.iter().cycle()) {
            *key *= factor;
        }
        let far = keys.iter().zip(&text.keys).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        prop_assert!(far < 0.2, "keys come back: {far}");
        let expected = full(heads, Tokens { queries: &text.queries, keys: &keys, values: &values });
        prop_assert!(distance(&output, &expected) < TOLERANCE);
    }
}

#[test]
fn threads_change_no_bit() {
    let heads = Heads::new(10, 2, 16).unwrap();
    let policy = Policy::new(100, 1300, 650).unwrap();
    let text = Text::new(heads, 100, 1340, 9, false);
    let chunks: Vec<_> = std::iter::repeat_n(331, 4).chain([1; 16]).collect();
    let read = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| text.read(policy, &chunks, |_, _, _| {}))
    };
    let (one, output, _) = read(1);
    for threads in [2, 5] {
        let (other, same, _) = read(threads);
        assert!(output == same && one.scores() == other.scores(), "{threads} threads");
        assert_eq!(one.slots(), other.slots());
    }
}

#[test]
fn sequences_share_a_system_prompt() {
    let heads = Heads::new(4, 2, 16).unwrap();
    let policy = Policy::new(8, 12, 6).unwrap();
    let text = Text::new(heads, 8, 30, 1, false);
    let mut prompt = OwnedCache::new(heads, policy, 8);
    text.pin(&mut prompt, 8);
    let (mut a, mut b) = (prompt.clone(), prompt.clone());
    let mut output = vec![0.0; 64];
    let smoothing = vec![1.0; heads.kv_width()];
    let layer = Layer { heads, policy, smoothing: &smoothing };
    let size = ScratchSize::decode(heads, &policy);
    let (mut floats, mut indices) = (vec![0.0; size.floats], vec![0; size.indices]);
    let mut own = [OwnedRows::new(heads, 12), OwnedRows::new(heads, 12)];
    let mut scores = [vec![0.0; 24], vec![0.0; 24]];
    for token in 0..30 {
        // The second sequence reads the text backwards.
        for (nth, alone) in [&mut a, &mut b].into_iter().enumerate() {
            let new = text.chunk(if nth == 0 { token } else { 29 - token }, 1);
            let pinned = Pinned { rows: prompt.pinned().rows(), len: 8 };
            let rows = own[nth].rows_mut();
            let mut slots = Slots { rows, scores: &mut scores[nth] };
            let mut scratch = Scratch { floats: &mut floats, indices: &mut indices };
            layer.step(pinned, &mut slots, token, new, &mut output, &mut scratch).unwrap();
            let shared = output.clone();
            alone.step(new, &mut output).unwrap();
            assert_eq!(shared, output, "sequence {nth}, token {token}");
        }
    }
    assert!(a.scores() == scores[0] && b.scores() == scores[1] && scores[0] != scores[1]);
}
