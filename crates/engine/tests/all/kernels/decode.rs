//! Decode attention and its scores beside f64.

use vramplan_engine::h2o::{Heads, Policy};
use vramplan_engine::launch::{
    DecodeMemory, Scoring, Span, TILE, Variant, clock_words, decode, splits, update_scores,
};

use crate::kernels::attention::{Token, attend, difference};
use crate::kernels::device::{Device, Open, download, on_devices, poisoned, run, upload};
use crate::kernels::emulator::Emulator;
use crate::kernels::layer::Layer;
use crate::kernels::random::Random;

/// Of the largest output: a weight in f16 is off by 2^-11 = 4.9e-4 at most.
const OUTPUT_TOLERANCE: f64 = 6e-4;
/// Of the largest score: probabilities in f16.
const SCORE_TOLERANCE: f64 = 5e-4;

/// A state of the cache just after the token at `written` was written.
struct Case {
    heads: Heads,
    policy: Policy,
    pinned: usize,
    written: usize,
    decay: f64,
}

impl Case {
    /// With ragged lengths, at some point of a conversation; `size` times as large as small.
    fn random(head_dim: usize, group: usize, size: usize, random: &mut Random) -> Self {
        let kv_heads = random.between(1, 3 * size.min(3));
        let pinned = [0, 1, random.between(2, 200 * size)][random.below(3)];
        let window = random.between(1, 120 * size);
        let slots = window + 4 + random.between(0, 150 * size);
        let decay = if random.below(2) == 0 { 1.0 } else { 0.97 };
        Self {
            heads: Heads::new(kv_heads * group, kv_heads, head_dim).unwrap(),
            policy: Policy::new(pinned, slots, window).unwrap().with_decay(decay).unwrap(),
            pinned: random.between(0, pinned),
            written: random.between(0, slots * 2),
            decay,
        }
    }

    fn seen(&self) -> Vec<Token> {
        let live = self.policy.live(self.written + 1).into_iter().flatten();
        (0..self.pinned).map(Token::Pinned).chain(live.map(Token::Slot)).collect()
    }
}

/// What the kernels made of a case.
struct Found {
    output: Vec<f32>,
    scores: Vec<f32>,
    victims: Vec<u64>,
}

fn on_device(
    device: &mut dyn Device,
    variant: Variant,
    case: &Case,
    layer: &Layer,
    queries: &[f32],
    is_scored: bool,
) -> Found {
    let Case { heads, policy, .. } = case;
    let parts = splits(device.gpu(), variant, *heads, 33);
    let memory = layer.upload(device);
    let slots = policy.max_cache_tokens();
    let words = clock_words(case.pinned, case.written).unwrap();
    let scoring = Scoring {
        probabilities: poisoned(device, "probabilities", heads.query_heads() * slots * 2),
        tops: poisoned(device, "tops", heads.query_heads() * slots.div_ceil(TILE) * 4),
    };
    let row = heads.head_dim() + 2;
    let step = DecodeMemory {
        clock: upload(device, "clock", &words),
        queries: upload(device, "queries", queries),
        partials: poisoned(device, "partials", heads.query_heads() * parts * row * 4),
        output: poisoned(device, "output", heads.query_width() * 4),
        scoring: is_scored.then_some(scoring),
    };
    let victims = poisoned(device, "victims", heads.kv_heads() * 8);
    for launch in decode(variant, *heads, policy, &memory, &step, parts).unwrap() {
        run(device, &launch);
    }
    if is_scored {
        let launch =
            update_scores(*heads, policy, &memory, &step, &scoring, parts, victims).unwrap();
        run(device, &launch);
    }
    let after = layer.downloaded(device, &memory);
    Found {
        output: download(device, step.output),
        scores: after.scores,
        victims: download(device, victims),
    }
}

/// The victim of each head by the rule of `h2o`, from scores as they are.
fn expected_victims(case: &Case, scores: &[f32]) -> Vec<Option<usize>> {
    let step = case.policy.step(case.written + 1, 1).unwrap();
    let by_head = scores.chunks_exact(case.policy.max_cache_tokens());
    by_head
        .map(|scores| {
            let contenders = step.contenders().len();
            let mut victims = vec![0; contenders];
            if contenders > 0 {
                vramplan_engine::h2o::evict::select(&step, scores, &mut victims);
            }
            let heavy = case.policy.heavy().len();
            let victim = victims.first().map(|&victim| victim as usize)?;
            (victim < heavy).then(|| step.candidate_slot(victim))
        })
        .collect()
}

fn check(device: &mut dyn Device, variant: Variant, case: &Case, random: &mut Random) {
    let heads = case.heads;
    let layer = Layer::filled(heads, case.policy, case.pinned, case.written + 1, random);
    let sharpness = random.unit() * 1.5;
    let queries = random.normals(heads.query_width(), sharpness);
    let found = on_device(device, variant, case, &layer, &queries, true);
    let unscored = on_device(device, variant, case, &layer, &queries, false);
    assert_eq!(found.output, unscored.output, "scoring changes no output");
    assert_eq!(layer.scores, unscored.scores, "nothing is scored");

    let seen = case.seen();
    let (output, p) = attend(&layer, &queries, &seen);
    let off = difference(&found.output, &output);
    assert!(off < OUTPUT_TOLERANCE, "output is off by {off:.1e}: {}", describe(case, variant));
    let slots = case.policy.max_cache_tokens();
    let mut scores: Vec<f64> = layer.scores.iter().map(|&score| f64::from(score)).collect();
    for (q, p) in p.iter().enumerate() {
        let head = q / heads.gqa_group();
        for (token, p) in seen.iter().zip(p) {
            let Token::Slot(slot) = *token else { continue };
            let score = &mut scores[head * slots + slot];
            if q % heads.gqa_group() == 0 {
                *score *= f64::from(case.decay as f32);
            }
            *score += p;
        }
    }
    let off = difference(&found.scores, &scores);
    assert!(off < SCORE_TOLERANCE, "scores are off by {off:.1e}: {}", describe(case, variant));
    check_victims(case, &found);
}

fn check_victims(case: &Case, found: &Found) {
    let contested = !case.policy.step(case.written + 1, 1).unwrap().contenders().is_empty();
    for (key, expected) in found.victims.iter().zip(expected_victims(case, &found.scores)) {
        let slot = *key as u32;
        let victim = (slot < u32::MAX - 1).then_some(slot as usize);
        assert_eq!(victim, expected, "victim {key:#x}");
        assert_eq!(*key != u64::MAX, contested);
    }
}

fn describe(case: &Case, variant: Variant) -> String {
    format!(
        "{variant:?} {:?} {:?} pinned {} written {}",
        case.heads, case.policy, case.pinned, case.written
    )
}

fn check_all(open: Open, name: &str, variant: Variant) {
    let mut random = Random::new(name);
    let mut device = open(random.bits());
    if variant == Variant::Mma && device.gpu().capability < (8, 0) {
        return println!("{name}: this GPU is older than the kernel");
    }
    let size = device.speed();
    for head_dim in [64, 128, 256] {
        for group in [1, 4, 5, 7, 8, 3, 11] {
            for round in 0..2 * size {
                let case = Case::random(head_dim, group, 1 + round % size, &mut random);
                check(&mut *device, variant, &case, &mut random);
                device.release().unwrap();
            }
        }
    }
}

fn tensor_cores(open: Open) {
    check_all(open, "decode_mma", Variant::Mma);
}

fn cuda_cores(open: Open) {
    check_all(open, "decode_core", Variant::Core);
}

on_devices! {
    tensor_cores_attend_and_score_as_f64_does => tensor_cores;
    cuda_cores_attend_and_score_as_f64_does => cuda_cores;
}

#[test]
fn short_memory_is_refused() {
    let heads = Heads::new(5, 1, 128).unwrap();
    let policy = Policy::new(0, 64, 32).unwrap();
    let layer = Layer::empty(heads, policy, &mut Random::new("short"));
    let mut emulator = Emulator::new(1);
    let memory = layer.upload(&mut emulator);
    let span = |bytes| Span { address: 16, bytes };
    let step = DecodeMemory {
        clock: span(8),
        queries: span(5 * 128 * 4),
        partials: span(5 * 130 * 4),
        output: span(5 * 128 * 4 - 1),
        scoring: None,
    };
    let error = decode(Variant::Mma, heads, &policy, &memory, &step, 1).unwrap_err();
    assert_eq!(error.to_string(), "`output` has 2559 bytes: expected at least 2560");
}
