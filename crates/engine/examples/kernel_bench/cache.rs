//! Models' heads, and the memory of their layers.

use anyhow::Result;
use vramplan_engine::cuda::{Cuda, Held};
use vramplan_engine::gpu::Device as _;
use vramplan_engine::h2o::{Heads, Policy};
use vramplan_engine::launch::{LayerMemory, RegionMemory, Span, clock_words};

/// What attention depends on of a model.
#[derive(Debug)]
pub struct Model {
    pub name: &'static str,
    pub layers: usize,
    pub query_heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
}

pub const MODELS: [Model; 2] = [
    Model { name: "qwen2.5-14b", layers: 48, query_heads: 40, kv_heads: 8, head_dim: 128 },
    Model { name: "llama-3.1-8b", layers: 32, query_heads: 32, kv_heads: 8, head_dim: 128 },
];

/// Layers of which every slot is taken, of random contents.
pub struct Cache<'a> {
    cuda: &'a Cuda,
    held: Vec<Held>,
    pub heads: Heads,
    pub policy: Policy,
    pub layers: Vec<LayerMemory>,
    /// Half of the cache is recent, and twice as many tokens were written as it holds.
    pub clock: Span,
}

impl<'a> Cache<'a> {
    pub fn new(cuda: &'a Cuda, model: &Model, tokens: usize) -> Result<Self> {
        let heads = Heads::new(model.query_heads, model.kv_heads, model.head_dim)?;
        let policy = Policy::new(0, tokens, tokens / 2)?;
        let clock = Span { address: 0, bytes: 0 };
        let mut cache = Self { cuda, held: Vec::new(), heads, policy, layers: Vec::new(), clock };
        let words = clock_words(0, 2 * tokens)?.map(i32::to_le_bytes).concat();
        cache.clock = cache.filled(&words)?;
        let rows = heads.kv_heads() * tokens;
        let mut random = Random(7);
        let keys = random.bytes(rows * heads.head_dim());
        // 0.005 to 0.01 as f16.
        let scales: Vec<u8> =
            (0..rows).flat_map(|_| [random.byte(), 0x1d + random.byte() % 4]).collect();
        let scores = random.floats(rows, 5.0);
        for _ in 0..model.layers {
            let nothing = cache.filled(&[0])?;
            let none = Span { bytes: 0, ..nothing };
            let pinned =
                RegionMemory { keys: none, key_scales: none, values: none, value_scales: none };
            let slots = RegionMemory {
                keys: cache.filled(&keys)?,
                key_scales: cache.filled(&scales)?,
                values: cache.filled(&keys)?,
                value_scales: cache.filled(&scales)?,
            };
            let scores = cache.filled(&scores)?;
            let smoothing = cache.filled(&1.0_f32.to_le_bytes().repeat(heads.kv_width()))?;
            cache.layers.push(LayerMemory { pinned, slots, scores, smoothing });
        }
        Ok(cache)
    }

    /// Memory with these contents.
    #[allow(unsafe_code, reason = "a device is handed an address")]
    pub fn filled(&mut self, bytes: &[u8]) -> Result<Span> {
        let span = self.empty(bytes.len())?;
        // SAFETY: the span is that of a buffer that is kept.
        unsafe { self.cuda.device().upload(span, bytes)? };
        Ok(span)
    }

    /// Random f32, about so large.
    pub fn random(&mut self, count: usize, scale: f32) -> Result<Span> {
        let bytes = Random(count as u64).floats(count, scale);
        self.filled(&bytes)
    }

    /// Memory of zeros.
    pub fn empty(&mut self, bytes: usize) -> Result<Span> {
        let held = self.cuda.device().allocate(bytes)?;
        let span = self.cuda.device().span(&held);
        self.held.push(held);
        Ok(span)
    }
}

struct Random(u64);

impl Random {
    /// splitmix64
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn byte(&mut self) -> u8 {
        (self.bits() >> 56) as u8
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let words = count.div_ceil(8);
        let mut all: Vec<u8> = (0..words).flat_map(|_| self.bits().to_le_bytes()).collect();
        all.truncate(count);
        all
    }

    /// In `[-scale, scale)`.
    fn floats(&mut self, count: usize, scale: f32) -> Vec<u8> {
        let mut float = || (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0;
        (0..count).flat_map(|_| (float() * scale).to_le_bytes()).collect()
    }
}
