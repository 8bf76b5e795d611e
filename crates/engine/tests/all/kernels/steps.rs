//! Whole steps, kernel after kernel, beside the CPU's cache: a system prompt, chunks, then tokens, for long
//! enough that most of the conversation is evicted.

use vramplan_engine::h2o::{
    Heads, Layer as Rules, Pinned, Policy, Scratch, ScratchSize, Slots, Tokens,
};
use vramplan_engine::launch::{
    DecodeMemory, LayerMemory, Leavers, PrefillMemory, Scoring, Span, TILE, Variant, WriteMemory,
    advance, clock_words, decode, evict, next_victim, prefill, prefill_scores, splits,
    update_scores, write,
};

use crate::kernels::attention::difference;
use crate::kernels::device::{Device, Open, download, on_devices, poisoned, run, upload};
use crate::kernels::layer::Layer;
use crate::kernels::random::Random;

/// Of the largest output: f16 weights, and in chunks f16 queries.
const OUTPUT_TOLERANCE: f64 = 4e-3;
/// Of the largest score.
const SCORE_TOLERANCE: f64 = 3e-3;
/// Two scores closer than this, relatively, may change places.
const NEAR_TIE: f32 = 2e-2;

/// A layer on a device and on the CPU, and what both need for a step.
struct Pair<'d> {
    device: &'d mut dyn Device,
    variant: Variant,
    cpu: Layer,
    memory: LayerMemory,
    clock: Span,
    victims: Span,
    pinned: usize,
    written: usize,
    ties: usize,
    evictions: usize,
}

struct NewTokens {
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl NewTokens {
    /// Keys gather around a few directions that queries look for, with a strength of their own: some
    /// tokens become heavy hitters.
    fn random(heads: Heads, tokens: usize, topics: &[Vec<f32>], random: &mut Random) -> Self {
        let dim = heads.head_dim();
        let mut rows = |heads: usize, noise: f32| -> Vec<f32> {
            let mut all = Vec::new();
            for _ in 0..tokens * heads {
                let topic = &topics[random.below(topics.len())];
                let strength = (random.normal() * 0.5).exp();
                all.extend(topic.iter().map(|x| x * strength + noise * random.normal()));
            }
            assert_eq!(all.len(), tokens * heads * dim);
            all
        };
        let (queries, keys) = (rows(heads.query_heads(), 0.6), rows(heads.kv_heads(), 0.8));
        Self { queries, keys, values: random.normals(tokens * heads.kv_width(), 1.0) }
    }

    fn tokens(&self) -> Tokens<'_> {
        Tokens { queries: &self.queries, keys: &self.keys, values: &self.values }
    }
}

impl<'d> Pair<'d> {
    fn new(device: &'d mut dyn Device, variant: Variant, cpu: Layer) -> Self {
        let memory = cpu.upload(device);
        let clock = upload(device, "clock", &clock_words(0, 0).unwrap());
        let victims = poisoned(device, "victims", cpu.heads.kv_heads() * 8);
        let (pinned, written, ties, evictions) = (0, 0, 0, 0);
        Self { device, variant, cpu, memory, clock, victims, pinned, written, ties, evictions }
    }

    fn shape(&self) -> (Heads, Policy) {
        (self.cpu.heads, self.cpu.policy)
    }

    fn run(&mut self, launch: &vramplan_engine::launch::Launch) {
        run(self.device, launch);
    }

    /// Writes and attends on the device; returns the output.
    fn step_on_device(&mut self, new: &NewTokens, tokens: usize, pinning: bool) -> Vec<f32> {
        let (heads, policy) = self.shape();
        let (memory, clock) = (self.memory, self.clock);
        let rows = WriteMemory {
            clock,
            keys: upload(self.device, "new keys", &new.keys),
            values: upload(self.device, "new values", &new.values),
        };
        let queries = upload(self.device, "queries", &new.queries);
        let output = poisoned(self.device, "output", new.queries.len() * 4);
        let leavers = if pinning {
            Leavers::Pinning
        } else if tokens == 1 {
            Leavers::Victims(self.victims)
        } else {
            let bytes = heads.kv_heads() * tokens * 4;
            let destinations = poisoned(self.device, "destinations", bytes);
            let launch = evict(heads, &policy, &memory, clock, tokens, destinations).unwrap();
            self.run(&launch);
            Leavers::Destinations(destinations)
        };
        self.run(&write(heads, &policy, &memory, &rows, tokens, leavers).unwrap());
        if tokens == 1 && !pinning {
            self.decode(queries, output);
        } else {
            self.prefill(queries, output, tokens, pinning);
        }
        let (pinned, written) = if pinning { (tokens, 0) } else { (0, tokens) };
        self.run(&advance(clock, pinned, written).unwrap());
        if tokens > 1 && !pinning {
            // As before a captured graph of single tokens begins.
            self.victims = poisoned(self.device, "victims", heads.kv_heads() * 8);
            let launch = next_victim(heads, &policy, &memory, clock, self.victims).unwrap();
            self.run(&launch);
        }
        download(self.device, output)
    }

    fn decode(&mut self, queries: Span, output: Span) {
        let (heads, policy) = self.shape();
        let (device, slots) = (&mut *self.device, policy.max_cache_tokens());
        let parts = splits(device.gpu(), self.variant, heads, 33);
        let scoring = Scoring {
            probabilities: poisoned(device, "probabilities", heads.query_heads() * slots * 2),
            tops: poisoned(device, "tops", heads.query_heads() * slots.div_ceil(TILE) * 4),
        };
        let row = heads.head_dim() + 2;
        let partials = poisoned(device, "partials", heads.query_heads() * parts * row * 4);
        let scoring_of = Some(scoring);
        let step =
            DecodeMemory { clock: self.clock, queries, partials, output, scoring: scoring_of };
        let memory = self.memory;
        for launch in decode(self.variant, heads, &policy, &memory, &step, parts).unwrap() {
            self.run(&launch);
        }
        let victims = self.victims;
        let launch =
            update_scores(heads, &policy, &memory, &step, &scoring, parts, victims).unwrap();
        self.run(&launch);
    }

    fn prefill(&mut self, queries: Span, output: Span, tokens: usize, pinning: bool) {
        let (heads, policy) = self.shape();
        let log_sum_exp = poisoned(self.device, "log-sum-exp", heads.query_heads() * tokens * 4);
        let step = PrefillMemory { clock: self.clock, queries, output, log_sum_exp };
        let memory = self.memory;
        self.run(&prefill(heads, &policy, &memory, &step, tokens, pinning).unwrap());
        if !pinning {
            self.run(&prefill_scores(heads, &policy, &memory, &step, tokens).unwrap());
        }
    }

    /// The same on the CPU.
    fn step_on_cpu(&mut self, new: &NewTokens, tokens: usize, pinning: bool) -> Vec<f32> {
        let (heads, policy) = self.shape();
        let size = ScratchSize::decode(heads, &policy).max(ScratchSize::prefill(heads, tokens, 2));
        let (mut floats, mut indices) = (vec![0.0; size.floats], vec![0; size.indices]);
        let mut scratch = Scratch { floats: &mut floats, indices: &mut indices };
        let mut output = vec![0.0; new.queries.len()];
        let Layer { pinned, slots, scores, smoothing, .. } = &mut self.cpu;
        let rules = Rules { heads, policy, smoothing };
        let (new, scratch) = (new.tokens(), &mut scratch);
        if pinning {
            let mut rows = pinned.as_rows_mut();
            rules.pin(&mut rows, self.pinned, new, &mut output, scratch).unwrap();
            self.pinned += tokens;
            return output;
        }
        let system = Pinned { rows: pinned.as_rows(), len: self.pinned };
        let mut slots = Slots { rows: slots.as_rows_mut(), scores };
        rules.step(system, &mut slots, self.written, new, &mut output, scratch).unwrap();
        self.written += tokens;
        output
    }

    /// One step on both; they must agree in every byte that is stored, or differ by a near tie.
    fn step(&mut self, tokens: usize, pinning: bool, topics: &[Vec<f32>], random: &mut Random) {
        let before = self.cpu.clone();
        let new = NewTokens::random(self.cpu.heads, tokens, topics, random);
        let found = self.step_on_device(&new, tokens, pinning);
        let written = self.written;
        let expected = self.step_on_cpu(&new, tokens, pinning);
        let after = self.cpu.downloaded(self.device, &self.memory);
        if !pinning {
            self.evictions += self.cpu.policy.step(written, tokens).unwrap().contenders().len();
        }
        if self.adopt_near_ties(&before, &after, written, tokens, pinning) {
            return;
        }
        let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
        let off = difference(&found, &expected);
        assert!(off < OUTPUT_TOLERANCE, "step of {tokens} at {written}: output off by {off:.1e}");
        if !pinning {
            let scores: Vec<f64> = self.cpu.scores.iter().copied().map(f64::from).collect();
            let off = difference(&after.scores, &scores);
            assert!(
                off < SCORE_TOLERANCE,
                "step of {tokens} at {written}: scores off by {off:.1e}"
            );
        }
    }

    /// Whether the device kept other tokens than the CPU. It may where their scores nearly tie; the CPU
    /// then goes on from the device's state.
    fn adopt_near_ties(
        &mut self,
        before: &Layer,
        after: &Layer,
        written: usize,
        tokens: usize,
        pinning: bool,
    ) -> bool {
        let same = same_bytes(&self.cpu, after);
        if same {
            return false;
        }
        assert!(!pinning, "pinned tokens differ");
        let step = self.cpu.policy.step(written, tokens).unwrap();
        let capacity = self.cpu.policy.max_cache_tokens();
        for head in 0..self.cpu.heads.kv_heads() {
            let scores = &before.scores[head * capacity..][..capacity];
            let contenders = step.contenders().len();
            let mut order: Vec<f32> = (0..step.candidates())
                .map(|candidate| scores[candidate_slot(&step, candidate)])
                .collect();
            order.sort_by(f32::total_cmp);
            let near = contenders > 0
                && contenders < order.len()
                && order[contenders] - order[contenders - 1] <= NEAR_TIE * order[contenders];
            let differs = differing_slots(&self.cpu, after, head);
            assert!(
                near || differs.is_empty(),
                "head {head}, step of {tokens} at {written}: slots {differs:?} differ, no near tie: {:?}",
                &order[contenders.saturating_sub(2)..(contenders + 2).min(order.len())]
            );
        }
        self.ties += 1;
        self.cpu = after.clone();
        true
    }
}

/// The slot in which a candidate's score is before the step.
fn candidate_slot(step: &vramplan_engine::h2o::Step, candidate: usize) -> usize {
    let slot = step.candidate_slot(candidate);
    if step.fills().contains(&slot) { step.policy().ring_slot(slot) } else { slot }
}

fn same_bytes(a: &Layer, b: &Layer) -> bool {
    let scales = |x: &[half::f16]| x.iter().map(|scale| scale.to_bits()).collect::<Vec<_>>();
    a.pinned.keys == b.pinned.keys
        && a.pinned.values == b.pinned.values
        && scales(&a.pinned.key_scales) == scales(&b.pinned.key_scales)
        && scales(&a.pinned.value_scales) == scales(&b.pinned.value_scales)
        && (0..a.heads.kv_heads()).all(|head| differing_slots(a, b, head).is_empty())
}

fn differing_slots(a: &Layer, b: &Layer, head: usize) -> Vec<usize> {
    let (dim, capacity) = (a.heads.head_dim(), a.policy.max_cache_tokens());
    let differs = |&slot: &usize| {
        let at = head * capacity + slot;
        let row = at * dim..(at + 1) * dim;
        a.slots.keys[row.clone()] != b.slots.keys[row.clone()]
            || a.slots.values[row.clone()] != b.slots.values[row]
            || a.slots.key_scales[at].to_bits() != b.slots.key_scales[at].to_bits()
            || a.slots.value_scales[at].to_bits() != b.slots.value_scales[at].to_bits()
    };
    (0..capacity).filter(differs).collect()
}

/// A conversation: the prompt is pinned in chunks, then come chunks and single tokens.
fn converse(
    open: Open,
    name: &str,
    variant: Variant,
    heads: Heads,
    policy: Policy,
    chunks: &[usize],
) {
    let mut random = Random::new(name);
    let topics: Vec<Vec<f32>> = (0..6).map(|_| random.normals(heads.head_dim(), 0.7)).collect();
    let mut device = open(random.bits());
    if variant == Variant::Mma && device.gpu().capability < (8, 0) {
        return println!("{name}: this GPU is older than the kernel");
    }
    let layer = Layer::empty(heads, policy, &mut random);
    let mut pair = Pair::new(&mut *device, variant, layer);
    while pair.pinned < policy.pinned() {
        let chunk = random.between(1, 20).min(policy.pinned() - pair.pinned);
        pair.step(chunk, true, &topics, &mut random);
    }
    for &chunk in chunks {
        pair.step(chunk, false, &topics, &mut random);
    }
    let (ties, evictions) = (pair.ties, pair.evictions);
    println!("{name}: {evictions} evictions per head, {ties} steps with a near tie");
    assert!(evictions > chunks.iter().sum::<usize>() / 3, "too few evictions to mean anything");
    assert!(ties <= 2 + chunks.len() / 10, "{ties} of {} steps differ", chunks.len());
    device.release().unwrap();
}

fn one_by_one(open: Open) {
    let heads = Heads::new(10, 2, 64).unwrap();
    let policy = Policy::new(0, 70, 21).unwrap();
    converse(open, "one by one, tensor cores", Variant::Mma, heads, policy, &[1; 300]);
    let policy = Policy::new(30, 100, 33).unwrap().with_decay(0.98).unwrap();
    converse(open, "one by one, CUDA cores", Variant::Core, heads, policy, &[1; 300]);
}

fn chunks_and_tokens(open: Open) {
    let mut random = Random::new("chunks");
    for (head_dim, group) in [(64, 1), (128, 5), (256, 4), (64, 7), (128, 8)] {
        let heads = Heads::new(2 * group, 2, head_dim).unwrap();
        let policy =
            Policy::new(random.between(0, 90), random.between(80, 150), random.between(30, 70));
        let policy = policy.unwrap();
        let mut chunks = Vec::new();
        while chunks.iter().sum::<usize>() < 420 {
            let chunk = random.between(1, policy.recent_window());
            chunks.extend([chunk, 1, 1]);
        }
        let name = format!("chunks, {group} of {head_dim}");
        converse(open, &name, Variant::Mma, heads, policy, &chunks);
    }
}

on_devices! {
    hundreds_of_tokens_one_by_one_equal_the_cpus_cache => one_by_one;
    chunks_and_tokens_equal_the_cpus_cache => chunks_and_tokens;
}
