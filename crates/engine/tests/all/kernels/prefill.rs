//! Prefill attention and its scores beside f64.

use vramplan_engine::h2o::{Heads, Policy, decay_over};
use vramplan_engine::launch::{PrefillMemory, clock_words, prefill, prefill_scores};

use crate::kernels::attention::{Token, attend, difference};
use crate::kernels::device::{Device, Open, download, on_devices, poisoned, run, upload};
use crate::kernels::layer::Layer;
use crate::kernels::random::Random;

/// Of the largest output: queries and weights in f16, each off by 2^-11 = 4.9e-4 at most. Seen: 4.4e-4.
const OUTPUT_TOLERANCE: f64 = 1e-3;
/// Of the largest score: a logit that f16 moved moves its probability. Seen: 7e-5.
const SCORE_TOLERANCE: f64 = 3e-4;

/// A chunk that has just been written.
struct Case {
    heads: Heads,
    policy: Policy,
    /// Tokens before the chunk, of the system prompt and of the conversation.
    pinned: usize,
    written: usize,
    tokens: usize,
    pinning: bool,
}

impl Case {
    /// Small, with ragged lengths, at some point of a conversation or of a system prompt.
    fn random(head_dim: usize, group: usize, random: &mut Random) -> Self {
        let kv_heads = random.between(1, 2);
        let window = random.between(2, 90);
        let slots = window + 4 + random.between(0, 150);
        let pinning = random.below(4) == 0;
        let capacity = if pinning { random.between(2, 120) } else { [0, 1, 70][random.below(3)] };
        let most = if pinning { capacity } else { window };
        let tokens = random.between(2, most);
        let decay = if random.below(2) == 0 { 1.0 } else { 0.97 };
        Self {
            heads: Heads::new(kv_heads * group, kv_heads, head_dim).unwrap(),
            policy: Policy::new(capacity, slots, window).unwrap().with_decay(decay).unwrap(),
            pinned: random.between(0, if pinning { capacity - tokens } else { capacity }),
            written: if pinning { 0 } else { random.between(0, slots * 2) },
            tokens,
            pinning,
        }
    }

    /// The layer with the chunk in it.
    fn layer(&self, random: &mut Random) -> Layer {
        let (pinned, written) = if self.pinning { (self.tokens, 0) } else { (0, self.tokens) };
        let (pinned, written) = (self.pinned + pinned, self.written + written);
        Layer::filled(self.heads, self.policy, pinned, written, random)
    }

    /// What the chunk's query `index` may look at: nothing that comes after it.
    fn seen(&self, index: usize) -> Vec<Token> {
        if self.pinning {
            return (0..=self.pinned + index).map(Token::Pinned).collect();
        }
        let step = self.policy.step(self.written, self.tokens).unwrap();
        let later: Vec<_> = (index + 1..self.tokens).map(|token| step.new_slot(token)).collect();
        let live = self.policy.live(self.written + self.tokens).into_iter().flatten();
        let slots = live.filter(|slot| !later.contains(slot)).map(Token::Slot);
        (0..self.pinned).map(Token::Pinned).chain(slots).collect()
    }
}

fn on_device(
    device: &mut dyn Device,
    case: &Case,
    layer: &Layer,
    queries: &[f32],
) -> (Vec<f32>, Vec<f32>) {
    let Case { heads, policy, tokens, pinning, .. } = *case;
    let memory = layer.upload(device);
    let clock = clock_words(case.pinned, case.written).unwrap();
    let step = PrefillMemory {
        clock: upload(device, "clock", &clock),
        queries: upload(device, "queries", queries),
        output: poisoned(device, "output", queries.len() * 4),
        log_sum_exp: poisoned(device, "log-sum-exp", tokens * heads.query_heads() * 4),
    };
    run(device, &prefill(heads, &policy, &memory, &step, tokens, pinning).unwrap());
    if !pinning {
        run(device, &prefill_scores(heads, &policy, &memory, &step, tokens).unwrap());
    }
    (download(device, step.output), layer.downloaded(device, &memory).scores)
}

fn check(device: &mut dyn Device, case: &Case, random: &mut Random) {
    let Case { heads, policy, tokens, .. } = *case;
    let layer = case.layer(random);
    let sharpness = random.unit() * 1.5;
    let queries = random.normals(heads.query_width() * tokens, sharpness);
    let (output, scores) = on_device(device, case, &layer, &queries);

    let slots = policy.max_cache_tokens();
    let decay = if case.pinning { 1.0 } else { f64::from(decay_over(&policy, tokens)) };
    let mut expected_scores: Vec<f64> =
        layer.scores.iter().map(|&score| f64::from(score) * decay).collect();
    let mut expected = Vec::new();
    for (index, query) in queries.chunks_exact(heads.query_width()).enumerate() {
        let seen = case.seen(index);
        let (output, p) = attend(&layer, query, &seen);
        expected.extend(output);
        for (q, p) in p.iter().enumerate() {
            for (token, p) in seen.iter().zip(p) {
                if let Token::Slot(slot) = *token {
                    expected_scores[q / heads.gqa_group() * slots + slot] += p;
                }
            }
        }
    }
    let off = difference(&output, &expected);
    assert!(off < OUTPUT_TOLERANCE, "output is off by {off:.1e}: {}", describe(case));
    let largest = expected_scores.iter().fold(0.0, |max: f64, score| max.max(*score));
    if largest > 0.0 {
        let off = difference(&scores, &expected_scores);
        assert!(off < SCORE_TOLERANCE, "scores are off by {off:.1e}: {}", describe(case));
    }
}

fn describe(case: &Case) -> String {
    let Case { heads, policy, pinned, written, tokens, pinning } = case;
    format!("{heads:?} {policy:?} behind {pinned} and {written}, {tokens} tokens, {pinning}")
}

fn chunks(open: Open) {
    let mut random = Random::new("prefill");
    let mut device = open(random.bits());
    for head_dim in [64, 128, 256] {
        for group in [1, 4, 5, 7, 8] {
            for _ in 0..device.speed() {
                let case = Case::random(head_dim, group, &mut random);
                check(&mut *device, &case, &mut random);
                device.release().unwrap();
            }
        }
    }
}

on_devices! {
    chunks_attend_and_score_as_f64_does => chunks;
}
