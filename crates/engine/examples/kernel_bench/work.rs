//! What is timed, and how many bytes it has to move.

use anyhow::Result;
use vramplan_engine::cuda::Cuda;
use vramplan_engine::gpu::Device as _;
use vramplan_engine::launch::{
    DecodeMemory, Launch, Leavers, PrefillMemory, Scoring, Span, TILE, Variant, WriteMemory,
    decode, evict, prefill, prefill_scores, splits, update_scores, write,
};

use crate::Options;
use crate::cache::{Cache, Model};
use crate::graph::time;
use crate::report::{Figure, Report};

const F16: usize = 2;
const F32: usize = 4;
const MAX_SPLITS: usize = 33;

/// Times everything at one size of the cache.
pub fn measure(
    cuda: &Cuda,
    model: &Model,
    tokens: usize,
    options: &Options,
    report: &mut Report,
) -> Result<()> {
    let mut cache = Cache::new(cuda, model, tokens)?;
    let gpu = cuda.device().gpu();
    let mut variants = vec![Variant::for_gpu(gpu)];
    if gpu.capability >= (8, 0) {
        variants = vec![Variant::Mma, Variant::Core];
    }
    let mut figures = Vec::new();
    for variant in variants {
        let step = Step::new(cuda, &mut cache, variant)?;
        for (kernels, launches, bytes) in step.parts(&cache)? {
            let times = time(cuda, &launches, options.replays)?;
            figures.push(Figure { kernels, times, bytes, operations: None });
        }
    }
    let rows = options.chunk.min(cache.policy.recent_window());
    let chunk = Chunk::new(&mut cache, rows)?;
    for (kernels, launches, bytes, operations) in chunk.parts(&cache)? {
        let times = time(cuda, &launches, options.replays)?;
        figures.push(Figure { kernels, times, bytes, operations });
    }
    figures.iter().try_for_each(|figure| report.add(model, tokens, figure))
}

type Part = (&'static str, Vec<Launch>, f64);

/// A token. Scratch is shared by the layers, as in the engine; keys, values and scores are not.
struct Step {
    variant: Variant,
    splits: usize,
    memory: DecodeMemory,
    scoring: Scoring,
    new: WriteMemory,
    victims: Span,
}

impl Step {
    fn new(cuda: &Cuda, cache: &mut Cache<'_>, variant: Variant) -> Result<Self> {
        let (heads, slots) = (cache.heads, cache.policy.max_cache_tokens());
        let splits = splits(cuda.device().gpu(), variant, heads, MAX_SPLITS);
        let queries = heads.query_heads();
        let scoring = Scoring {
            probabilities: cache.empty(queries * slots * F16)?,
            tops: cache.empty(queries * slots.div_ceil(TILE) * F32)?,
        };
        let memory = DecodeMemory {
            clock: cache.clock,
            queries: cache.random(heads.query_width(), 1.0)?,
            partials: cache.empty(queries * splits * (heads.head_dim() + 2) * F32)?,
            output: cache.empty(heads.query_width() * F32)?,
            scoring: None,
        };
        let new = WriteMemory {
            clock: cache.clock,
            keys: cache.random(heads.kv_width(), 1.0)?,
            values: cache.random(heads.kv_width(), 1.0)?,
        };
        let victims = cache.filled(&vec![0xff; cache.layers.len() * heads.kv_heads() * 8])?;
        Ok(Self { variant, splits, memory, scoring, new, victims })
    }

    fn parts(&self, cache: &Cache<'_>) -> Result<Vec<Part>> {
        let names = match self.variant {
            Variant::Mma => ["attention", "attention, scoring", "a token's attention, scored"],
            Variant::Core => {
                ["attention (f32)", "attention, scoring (f32)", "a token's attention, scored (f32)"]
            }
        };
        let (heads, slots) = (cache.heads, cache.policy.max_cache_tokens() as f64);
        let keys_and_values = slots * (heads.kv_heads() * 2 * (heads.head_dim() + F16)) as f64;
        let probabilities = slots * (heads.query_heads() * F16) as f64;
        let scores = slots * (heads.kv_heads() * 2 * F32) as f64;
        let (mut plain, mut scoring, mut updates, mut whole) = (vec![], vec![], vec![], vec![]);
        for index in 0..cache.layers.len() {
            plain.extend(self.attention(cache, index, false)?);
            scoring.extend(self.attention(cache, index, true)?);
            updates.push(self.update(cache, index)?);
            whole.push(self.write(cache, index)?);
            whole.extend(self.attention(cache, index, true)?);
            whole.push(self.update(cache, index)?);
        }
        let all = keys_and_values + 2.0 * probabilities + scores;
        let mut parts = vec![
            (names[0], plain, keys_and_values),
            (names[1], scoring, keys_and_values + probabilities),
            (names[2], whole, all),
        ];
        if self.variant == Variant::Mma {
            parts.push(("score update and victim", updates, probabilities + scores));
        }
        Ok(parts)
    }

    fn attention(&self, cache: &Cache<'_>, index: usize, is_scored: bool) -> Result<[Launch; 2]> {
        let memory = DecodeMemory { scoring: is_scored.then_some(self.scoring), ..self.memory };
        let layer = &cache.layers[index];
        Ok(decode(self.variant, cache.heads, &cache.policy, layer, &memory, self.splits)?)
    }

    fn update(&self, cache: &Cache<'_>, index: usize) -> Result<Launch> {
        let (layer, victims) = (&cache.layers[index], self.victims_of(cache, index)?);
        let Self { memory, scoring, splits, .. } = self;
        let policy = &cache.policy;
        Ok(update_scores(cache.heads, policy, layer, memory, scoring, *splits, victims)?)
    }

    fn write(&self, cache: &Cache<'_>, index: usize) -> Result<Launch> {
        let leavers = Leavers::Victims(self.victims_of(cache, index)?);
        Ok(write(cache.heads, &cache.policy, &cache.layers[index], &self.new, 1, leavers)?)
    }

    fn victims_of(&self, cache: &Cache<'_>, index: usize) -> Result<Span> {
        let size = cache.heads.kv_heads() * 8;
        Ok(self.victims.part(index * size, size)?)
    }
}

/// A chunk of a prompt.
struct Chunk {
    rows: usize,
    memory: PrefillMemory,
    new: WriteMemory,
    destinations: Span,
}

impl Chunk {
    fn new(cache: &mut Cache<'_>, rows: usize) -> Result<Self> {
        let heads = cache.heads;
        let memory = PrefillMemory {
            clock: cache.clock,
            queries: cache.random(rows * heads.query_width(), 1.0)?,
            output: cache.empty(rows * heads.query_width() * F32)?,
            log_sum_exp: cache.empty(rows * heads.query_heads() * F32)?,
        };
        let new = WriteMemory {
            clock: cache.clock,
            keys: cache.random(rows * heads.kv_width(), 1.0)?,
            values: cache.random(rows * heads.kv_width(), 1.0)?,
        };
        let destinations = cache.empty(rows * heads.kv_heads() * F32)?;
        Ok(Self { rows, memory, new, destinations })
    }

    #[allow(clippy::type_complexity, reason = "a list")]
    fn parts(
        &self,
        cache: &Cache<'_>,
    ) -> Result<Vec<(&'static str, Vec<Launch>, f64, Option<f64>)>> {
        let Cache { heads, policy, clock, .. } = cache;
        let (heads, rows) = (*heads, self.rows);
        let (mut evictions, mut writes, mut attention, mut scores) =
            (vec![], vec![], vec![], vec![]);
        for layer in &cache.layers {
            evictions.push(evict(heads, policy, layer, *clock, rows, self.destinations)?);
            let leavers = Leavers::Destinations(self.destinations);
            writes.push(write(heads, policy, layer, &self.new, rows, leavers)?);
            attention.push(prefill(heads, policy, layer, &self.memory, rows, false)?);
            scores.push(prefill_scores(heads, policy, layer, &self.memory, rows)?);
        }
        let slots = policy.max_cache_tokens() as f64;
        let heavy = policy.heavy().len() as f64 * (heads.kv_heads() * F32) as f64;
        let token = (heads.kv_heads() * 2 * (heads.head_dim() + F16)) as f64;
        let products = 2.0 * rows as f64 * slots * heads.query_width() as f64;
        let moved = rows as f64 * (2.0 * token + (heads.kv_width() * 2 * F32) as f64);
        Ok(vec![
            // The select reads the scores once for each digit, and once for the order.
            ("eviction of a chunk", evictions, 5.0 * heavy, None),
            ("writing a chunk", writes, moved, None),
            ("attention of a chunk", attention, slots * token, Some(2.0 * products)),
            ("scores of a chunk", scores, slots * token / 2.0, Some(products)),
        ])
    }
}
