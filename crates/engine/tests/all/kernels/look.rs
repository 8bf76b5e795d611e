//! What a capture sees of attention, beside f64.

use vramplan_engine::h2o::{Heads, Policy};
use vramplan_engine::launch::{LookMemory, attention_weights, clock_words};

use crate::kernels::attention::{Token, attend, difference};
use crate::kernels::device::{Device, Open, download, on_devices, poisoned, run, upload};
use crate::kernels::layer::Layer;
use crate::kernels::random::Random;

/// Of the largest weight, for sums in f32.
const TOLERANCE: f64 = 2e-5;

/// A step of `tokens` tokens behind `before`, written already.
struct Case {
    heads: Heads,
    policy: Policy,
    pinned: usize,
    before: usize,
    tokens: usize,
    pinning: bool,
}

impl Case {
    fn random(random: &mut Random) -> Self {
        let group = [1, 3, 5][random.below(3)];
        let window = random.between(1, 40);
        let policy = Policy::new(random.between(1, 50), window + 4 + random.between(0, 60), window);
        let policy = policy.unwrap();
        let pinning = random.below(3) == 0;
        let limit = if pinning { policy.pinned() } else { window };
        let tokens = random.between(1, limit.min(5));
        let room = policy.pinned() - if pinning { tokens } else { 0 };
        let before = if pinning { 0 } else { random.between(0, 200) };
        let heads = Heads::new(2 * group, 2, [64, 128][random.below(2)]).unwrap();
        Self { heads, policy, pinned: random.between(0, room), before, tokens, pinning }
    }

    /// The layer once the step is written.
    fn layer(&self, random: &mut Random) -> Layer {
        let (pinned, written) = if self.pinning { (self.tokens, 0) } else { (0, self.tokens) };
        let (pinned, written) = (self.pinned + pinned, self.before + written);
        Layer::filled(self.heads, self.policy, pinned, written, random)
    }

    /// What a token of the step sees, pinned tokens first, with their columns.
    fn seen(&self, token: usize) -> Vec<(Token, usize)> {
        if self.pinning {
            return (0..=self.pinned + token).map(|at| (Token::Pinned(at), at)).collect();
        }
        let step = self.policy.step(self.before, self.tokens).unwrap();
        let later: Vec<_> = (token + 1..self.tokens).map(|other| step.new_slot(other)).collect();
        let live = self.policy.live(self.before + self.tokens).into_iter().flatten();
        let slots = live.filter(|slot| !later.contains(slot));
        let pinned = (0..self.pinned).map(|at| (Token::Pinned(at), at));
        pinned.chain(slots.map(|at| (Token::Slot(at), self.policy.pinned() + at))).collect()
    }
}

fn check(device: &mut dyn Device, case: &Case, random: &mut Random) {
    let Case { heads, policy, tokens, .. } = case;
    let layer = case.layer(random);
    let memory = layer.upload(device);
    let queries = random.normals(tokens * heads.query_width(), 0.8);
    let columns = policy.pinned() + policy.max_cache_tokens();
    let look = LookMemory {
        clock: upload(device, "clock", &clock_words(case.pinned, case.before).unwrap()),
        queries: upload(device, "queries", &queries),
        weights: poisoned(device, "weights", heads.query_heads() * tokens * columns * 4),
    };
    let launch = attention_weights(*heads, policy, &memory, &look, *tokens, case.pinning).unwrap();
    run(device, &launch);
    let found: Vec<f32> = download(device, look.weights);
    let mut expected = vec![0.0; found.len()];
    for token in 0..*tokens {
        let seen = case.seen(token);
        let tokens_seen: Vec<_> = seen.iter().map(|(token, _)| *token).collect();
        let query = &queries[token * heads.query_width()..][..heads.query_width()];
        let (_, all) = attend(&layer, query, &tokens_seen);
        for (head, p) in all.iter().enumerate() {
            for ((_, column), p) in seen.iter().zip(p) {
                expected[(head * tokens + token) * columns + column] = *p;
            }
        }
    }
    let off = difference(&found, &expected);
    assert!(off < TOLERANCE, "weights are off by {off:.1e}");
    for (found, expected) in found.iter().zip(&expected) {
        assert!(*expected > 0.0 || found.to_bits() == 0, "nothing is seen of what is not there");
    }
}

fn looks(open: Open) {
    let mut random = Random::new("attention_weights");
    let mut device = open(random.bits());
    for _ in 0..12 * device.speed() {
        let case = Case::random(&mut random);
        check(&mut *device, &case, &mut random);
        device.release().unwrap();
    }
}

on_devices! {
    captured_weights_are_those_of_f64 => looks;
}
