//! How long the evicting cache takes on the CPU: `cargo bench -p vramplan-engine --bench h2o`. Results and
//! conditions are in `docs/benchmarks.md`.

#![allow(missing_docs, clippy::unwrap_used, clippy::cast_precision_loss, reason = "benchmark")]
#![allow(clippy::cast_possible_truncation, reason = "benchmark")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rayon::prelude::*;
use vramplan_engine::h2o::attend::decode::{Decode, Work, prepare_queries};
use vramplan_engine::h2o::{
    self, Heads, OwnedRows, Pinned, Policy, Scratch, ScratchSize, Slots, Tokens, evict, place,
};

/// Query heads, key heads, size of a head.
const MODELS: [(&str, [usize; 3]); 3] =
    [("qwen2.5-14b", [40, 8, 128]), ("llama-3.1-8b", [32, 8, 128]), ("smollm2-135m", [9, 3, 64])];
/// Layers that are read in turn, so that no cache of the processor holds the next one.
const LAYERS: usize = 8;

/// Floats that are different and quickly made.
fn noise(len: usize) -> Vec<f32> {
    let numbers = (0..len as u32).map(|n| n.wrapping_mul(2_654_435_761) >> 8);
    numbers.map(|n| n as f32 / 8_388_608.0 - 1.0).collect()
}

/// A full layer of one sequence.
struct Layer {
    rows: OwnedRows,
    scores: Vec<f32>,
}

impl Layer {
    fn new(heads: Heads, slots: usize) -> Self {
        let mut rows = OwnedRows::new(heads, slots);
        let (keys, values) = (noise(heads.kv_width() * slots), noise(heads.kv_width() * slots));
        let smoothing = vec![1.0; heads.kv_width()];
        let mut row = vec![0.0; heads.head_dim()];
        let new = (keys.as_slice(), values.as_slice());
        place(heads, &mut rows.rows_mut(), |i| i, &smoothing, new, &mut row);
        Self { rows, scores: noise(heads.kv_heads() * slots) }
    }

    fn bytes(&self) -> usize {
        let rows = self.rows.rows();
        2 * rows.keys.len() + 4 * rows.key_scales.len()
    }

    /// What reading it takes: every byte of keys and values, by all threads.
    fn read(&self) -> u64 {
        let rows = self.rows.rows();
        let sum = |part: &[i8]| {
            part.par_chunks(1 << 16)
                .map(|part| {
                    let (lanes, _) = part.as_chunks::<64>();
                    let mut sums = [0_u8; 64];
                    for lanes in lanes {
                        for (sum, x) in sums.iter_mut().zip(lanes) {
                            *sum = sum.wrapping_add(x.cast_unsigned());
                        }
                    }
                    sums.iter().map(|&sum| u64::from(sum)).sum::<u64>()
                })
                .sum::<u64>()
        };
        sum(rows.keys) + sum(rows.values)
    }
}

fn decode(criterion: &mut Criterion) {
    // Parts of a step are compared on one thread: a step forks once for all of them.
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    for (name, [query_heads, kv_heads, head_dim]) in MODELS {
        let heads = Heads::new(query_heads, kv_heads, head_dim).unwrap();
        let mut group = criterion.benchmark_group(format!("decode/{name}"));
        for slots in [1_000, 2_000, 8_000, 13_000] {
            let policy = Policy::new(4, slots, slots / 2).unwrap();
            let mut layers: Vec<_> = (0..LAYERS).map(|_| Layer::new(heads, slots)).collect();
            let step = policy.step(4 * slots, 1).unwrap();
            let live = step.live();
            let size = ScratchSize::decode(heads, &policy);
            let (mut floats, mut indices) = (vec![0.0; size.floats], vec![0; size.indices]);
            let mut output = vec![0.0; heads.query_width()];
            let queries = noise(heads.query_width());
            let smoothing = vec![1.0; heads.kv_width()];
            let none = OwnedRows::new(heads, 4);
            let pinned = Pinned { rows: none.rows(), len: 0 };
            let mut next = (0..LAYERS).cycle();

            group.throughput(Throughput::Bytes(layers[0].bytes() as u64));
            group.bench_function(BenchmarkId::new("read", slots), |bencher| {
                bencher.iter(|| black_box(layers[next.next().unwrap()].read()));
            });
            group.bench_function(BenchmarkId::new("attend, one thread", slots), |bencher| {
                one.install(|| {
                    bencher.iter(|| {
                        let layer = &layers[next.next().unwrap()];
                        let mut work = Work::new(heads, &policy, &mut floats);
                        prepare_queries(heads, &queries, &smoothing, work.queries);
                        let decode =
                            Decode { heads, pinned, slots: layer.rows.rows(), live: &live };
                        decode.split(&mut work);
                        decode.combine(&mut work, &mut output);
                    });
                });
            });
            group.bench_function(
                BenchmarkId::new("score and evict, one thread", slots),
                |bencher| {
                    one.install(|| {
                        bencher.iter(|| {
                            let layer = &mut layers[next.next().unwrap()];
                            let mut work = Work::new(heads, &policy, &mut floats);
                            let decode =
                                Decode { heads, pinned, slots: layer.rows.rows(), live: &live };
                            decode.score(&mut work, 1.0, &mut layer.scores);
                            let rows = layer.rows.rows_mut();
                            let mut slots = Slots { rows, scores: &mut layer.scores };
                            evict(heads, &step, &mut slots, &mut indices);
                        });
                    });
                },
            );
            group.bench_function(BenchmarkId::new("all", slots), |bencher| {
                bencher.iter(|| {
                    let layer = &mut layers[next.next().unwrap()];
                    let rows = layer.rows.rows_mut();
                    let mut slots = Slots { rows, scores: &mut layer.scores };
                    evict(heads, &step, &mut slots, &mut indices);
                    let mut work = Work::new(heads, &policy, &mut floats);
                    prepare_queries(heads, &queries, &smoothing, work.queries);
                    let rows = slots.rows.as_rows();
                    let decode = Decode { heads, pinned, slots: rows, live: &live };
                    decode.attend(&mut work, &mut output, 1.0, slots.scores);
                });
            });
        }
        group.finish();
    }
}

/// A chunk of 512 tokens behind 8,000 others, per product of attention: logits, output, scores.
fn prefill(criterion: &mut Criterion) {
    let (chunk, slots) = (512, 8_000);
    let mut group = criterion.benchmark_group("prefill");
    for (name, [query_heads, kv_heads, head_dim]) in MODELS {
        let heads = Heads::new(query_heads, kv_heads, head_dim).unwrap();
        let policy = Policy::new(4, slots, slots / 2).unwrap();
        let mut cache = Layer::new(heads, slots);
        let size = ScratchSize::prefill(heads, chunk, rayon::current_num_threads());
        let (mut floats, mut indices) = (vec![0.0; size.floats], vec![0; size.indices]);
        let (queries, kv) = (noise(heads.query_width() * chunk), noise(heads.kv_width() * chunk));
        let (mut output, smoothing) = (vec![0.0; queries.len()], vec![1.0; heads.kv_width()]);
        let none = OwnedRows::new(heads, 4);
        let pinned = Pinned { rows: none.rows(), len: 0 };
        let layer = h2o::Layer { heads, policy, smoothing: &smoothing };
        // Three products of two operations for each element of each head, token and slot.
        let operations = 6 * chunk * slots * heads.query_width();
        group.throughput(Throughput::Elements(operations as u64));
        group.sample_size(10).bench_function(name, |bencher| {
            bencher.iter(|| {
                let (rows, scores) = (cache.rows.rows_mut(), &mut cache.scores[..]);
                let new = Tokens { queries: &queries, keys: &kv, values: &kv };
                let mut scratch = Scratch { floats: &mut floats, indices: &mut indices };
                let mut slots = Slots { rows, scores };
                let at = 4 * policy.max_cache_tokens();
                layer.step(pinned, &mut slots, at, new, &mut output, &mut scratch).unwrap();
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(300)).sample_size(30);
    targets = decode, prefill
}
criterion_main!(benches);
