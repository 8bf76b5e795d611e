//! Shapes and requests that a fuzzer can write: numbers of any magnitude, formats and choices of all kinds.

use std::sync::{Arc, OnceLock};

use arbitrary::{Arbitrary, Result, Unstructured};
use vramplan_planner::deployment::{
    CacheAllocation, CaptureLayers, Cards, Deployment, Found, Question, card_on,
};
use vramplan_planner::dtype::{FileType, WeightFormat};
use vramplan_planner::read::{Catalog, Kind};
use vramplan_planner::spec::{
    AltUp, Architecture, Attention, Compressed, Extras, GpuSpec, Headroom, Indexer,
    LayerEmbeddings, Logits, Mla, ModelShape, ModelSpec, Moe, QkNorm, Recurrent, Runtime,
    RuntimeSpec, ShortConvolution, Split, Ssm, Window,
};
use vramplan_planner::units::Bytes;

/// A number up to 2^`BITS` and a bit beyond, each magnitude as likely as any other.
#[derive(Clone, Copy, Debug)]
struct Size<const BITS: u8>(u64);

impl<'a, const BITS: u8> Arbitrary<'a> for Size<BITS> {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let (shift, mantissa): (u8, u8) = u.arbitrary()?;
        let shift = shift % (BITS + 2);
        // A power of two, one beside it, or anything of that magnitude.
        let size = match mantissa {
            0..=63 => 1u64 << shift,
            64..=79 => (1u64 << shift).saturating_sub(1),
            _ => ((256 + u64::from(mantissa)) << shift) >> 8,
        };
        Ok(Self(size))
    }
}

type Width = Size<24>;
type Tokens = Size<32>;
type Few = Size<11>;

/// One of a list.
fn pick<T: Copy>(list: &[T], index: u8) -> T {
    list[usize::from(index) % list.len()]
}

/// What a [`ModelShape`] is made of.
#[derive(Arbitrary, Debug)]
pub struct Shape {
    architecture: u8,
    layers: Few,
    hidden: Width,
    kv_heads: Few,
    gqa_group: Few,
    head_dim: Few,
    ffn: Width,
    vocab: Width,
    context: Tokens,
    flags: [bool; 12],
    qk_norm: u8,
    norms: u8,
    window: Option<(Tokens, Option<Few>)>,
    moe: Option<(Few, Few, Width, Width, Few, [bool; 3])>,
    extras: Rare,
    mla: Option<(Width, Option<Width>, Few, Few, Few)>,
    recurrent: Option<(Few, [Few; 4], Few)>,
    ssm: Option<(Width, [Few; 4], [bool; 2])>,
}

/// What an [`Extras`] is made of.
#[derive(Arbitrary, Debug)]
struct Rare {
    flags: [bool; 6],
    value_head_dim: Option<Few>,
    indexer: Option<(Few, Few, bool, Option<Few>)>,
    short_convolution: Option<(Few, bool)>,
    layer_embeddings: Option<(Few, Width)>,
    /// One more than there are.
    shared_cache_layers: Few,
    latent_experts: Option<Width>,
    activation_parameters: Few,
    /// One more than there are.
    cross_layers: Few,
    /// One more than there are.
    positions: Width,
    streams: Option<Few>,
    alt_up: Option<(Few, Few)>,
    compressed: Option<([Few; 3], u8)>,
}

impl Rare {
    fn extras(&self, n_layers: u64) -> Extras {
        let [
            head_gates,
            dense_beside_experts,
            head_bias,
            full_rank_gates,
            latent_norm,
            block_residuals,
        ] = self.flags;
        Extras {
            value_head_dim: self.value_head_dim.map(|size| size.0),
            head_gates,
            indexer: self.indexer.map(|(heads, head_dim, plain, pooled)| Indexer {
                n_heads: heads.0,
                head_dim: head_dim.0,
                plain,
                pooled: pooled.map(|tokens| tokens.0),
                layers: Vec::new(),
            }),
            short_convolution: self
                .short_convolution
                .map(|(kernel, bias)| ShortConvolution { kernel: kernel.0, bias }),
            layer_embeddings: self
                .layer_embeddings
                .map(|(width, rows)| LayerEmbeddings { width: width.0, vocab_size: rows.0 }),
            shared_cache_layers: self.shared_cache_layers.0.saturating_sub(1),
            latent_experts: self.latent_experts.map(|width| width.0),
            dense_beside_experts,
            head_bias,
            activation_parameters: self.activation_parameters.0.saturating_sub(1),
            full_rank_gates,
            latent_norm,
            block_residuals,
            cross_layers: (1..self.cross_layers.0).collect(),
            positions: self.positions.0.saturating_sub(1),
            streams: self.streams.map(|streams| streams.0),
            alt_up: self
                .alt_up
                .map(|(streams, rank)| AltUp { streams: streams.0, residual_rank: rank.0 }),
            state_bytes: None,
            full_rank_decay: false,
            gated_streams: None,
            run_embeddings: None,
            compressed: self.compressed.map(|(ranks, seed)| Compressed {
                q_lora_rank: ranks[0].0,
                o_lora_rank: ranks[1].0,
                o_groups: ranks[2].0,
                ratios: (0..n_layers)
                    .map(|at| [0, 4, 128][(usize::from(seed) + at as usize) % 3])
                    .collect(),
                hashed_layers: u64::from(seed % 4),
            }),
        }
    }
}

impl Shape {
    /// The model, unless no model can have this shape.
    pub fn model(&self) -> Option<ModelSpec> {
        let architecture = pick(Architecture::ALL, self.architecture);
        let f = self.flags;
        let shape = ModelShape {
            architecture,
            n_layers: self.layers.0,
            hidden_size: self.hidden.0,
            n_heads: self.kv_heads.0 * self.gqa_group.0,
            kv_heads: self.kv_heads.0,
            head_dim: self.head_dim.0,
            ffn_size: self.ffn.0,
            vocab_size: self.vocab.0,
            context_len: self.context.0,
            tied_embeddings: f[0],
            qkv_bias: f[1],
            attn_output_bias: f[2],
            ffn_bias: f[3],
            qk_norm: pick(&[QkNorm::None, QkNorm::PerHead, QkNorm::Full], self.qk_norm),
            norms_per_layer: u64::from(self.norms % 9),
            norm_bias: f[4],
            gated_ffn: f[5],
            fused_projections: f[6],
            attention_sinks: f[7],
            attention_output_gate: f[8],
            attention_softcap: f[9],
            logit_softcap: f[10],
            window: self.window.map(|(size, full_every)| Window {
                size: size.0,
                full_every: full_every.map(|every| every.0),
            }),
            moe: self.moe.map(|(experts, used, ffn, shared, dense, flags)| Moe {
                n_experts: experts.0,
                n_experts_used: used.0,
                expert_ffn_size: ffn.0,
                shared_ffn_size: shared.0.saturating_sub(1),
                shared_gate: flags[0],
                leading_dense_layers: dense.0.saturating_sub(1),
                router_bias: flags[1],
                expert_bias: flags[2],
                router: None,
            }),
            mla: self.mla.map(|(lora, q_lora, nope, rope, value)| Mla {
                kv_lora_rank: lora.0,
                q_lora_rank: q_lora.map(|rank| rank.0),
                qk_nope_head_dim: nope.0,
                qk_rope_head_dim: rope.0,
                v_head_dim: value.0,
                expanded: false,
            }),
            recurrent: self.recurrent.map(|(every, heads, conv)| Recurrent {
                full_attention_every: every.0,
                key_heads: heads[0].0,
                value_heads: heads[1].0,
                key_head_dim: heads[2].0,
                value_head_dim: heads[3].0,
                conv_kernel: conv.0,
            }),
            ssm: self.ssm.map(|(inner, sizes, [conv_bias, without_norm])| Ssm {
                inner_size: inner.0,
                state_size: sizes[0].0,
                n_groups: sizes[1].0,
                n_heads: sizes[2].0,
                conv_kernel: sizes[3].0,
                conv_bias,
                without_norm,
            }),
            keys_are_values: f[11],
            per_layer: None,
            vision: None,
            parts: Vec::new(),
            extras: self.extras.extras(self.layers.0),
        };
        ModelSpec::new("fuzzed", shape, "a fuzzer").ok()
    }
}

/// A question about a model.
#[derive(Arbitrary, Debug)]
pub struct Job {
    runtime: u8,
    gpu: u8,
    weights: u8,
    kv: u8,
    attention: Option<u8>,
    system_tokens: Option<Tokens>,
    cache_tokens: Option<Tokens>,
    recent_window: Option<Tokens>,
    prefill_chunk: Option<Tokens>,
    batch: Option<Size<20>>,
    context: Option<Tokens>,
    capture: Option<(Few, Tokens, bool, bool)>,
    images: Option<u8>,
    logits: Option<bool>,
    grown: Option<bool>,
    version: Option<u8>,
    serving: Option<(Size<20>, u8)>,
    headroom: Option<Size<40>>,
    other_use: Size<40>,
    further_gpus: u8,
    by_tensor: Option<bool>,
    speed: Option<Size<20>>,
}

/// Profiles, read once.
struct Profiles {
    gpus: Vec<GpuSpec>,
    runtimes: Vec<Arc<RuntimeSpec>>,
}

fn profiles(catalog: &Catalog) -> &'static Profiles {
    static PROFILES: OnceLock<Profiles> = OnceLock::new();
    PROFILES.get_or_init(|| {
        let names: Vec<_> = catalog.names(Kind::Gpu).expect("GPUs").map(str::to_owned).collect();
        Profiles {
            gpus: names.iter().map(|name| catalog.gpu(name).expect("a profile")).collect(),
            runtimes: Runtime::ALL
                .map(|r| Arc::new(catalog.runtime(r).expect("a profile")))
                .to_vec(),
        }
    })
}

const WEIGHTS: [&str; 13] = [
    "nf4",
    "nf4-dq",
    "fp4",
    "fp4-dq",
    "int8",
    "fp8",
    "bf16",
    "f16",
    "f32",
    "as-stored",
    "gptq-int4",
    "awq-int4",
    "awq-int4-g8",
];
const KV: [&str; 16] = [
    "f32",
    "f16",
    "bf16",
    "int8",
    "fp8",
    "q8_0",
    "q5_1",
    "q5_0",
    "q4_1",
    "q4_0",
    "iq4_nl",
    "hqq8",
    "hqq3",
    "hqq1-g8",
    "quanto2",
    "quanto4-g32",
];

fn weights(index: u8) -> WeightFormat {
    let index = usize::from(index) % (WEIGHTS.len() + FileType::ALL.len());
    match WEIGHTS.get(index) {
        Some(name) => name.parse().expect("a format"),
        None => WeightFormat::Gguf(FileType::ALL[index - WEIGHTS.len()]),
    }
}

/// Versions on the command line, the first of each runtime's generations.
const fn versions(runtime: Runtime) -> &'static [&'static str] {
    match runtime {
        Runtime::Vramplan => &[],
        Runtime::Transformers => &["4.44", "4.57,bitsandbytes=0.45", "5.0"],
        Runtime::LlamaCpp => &["2025", "b7772", "b8193", "0.6.0", "b11000", "b99999"],
        Runtime::Ollama => &["0.3.14", "0.9.6", "0.24.0", "0.30.0", "0.32.15", "0.40"],
        Runtime::Vllm => &["0.6", "0.11.2", "0.19"],
        Runtime::Sglang => &["0.4.9", "0.5.5", "0.5.15"],
    }
}

impl Job {
    /// The question about this model, unless the command line would refuse it.
    pub fn deployment(&self, model: &Arc<ModelSpec>, catalog: &Catalog) -> Option<Deployment> {
        let profiles = profiles(catalog);
        let gpu = &profiles.gpus[usize::from(self.gpu) % profiles.gpus.len()];
        let runtime = &profiles.runtimes[usize::from(self.runtime) % profiles.runtimes.len()];
        let question = self.question(runtime.kind())?;
        let other_use = question.other_use.unwrap_or(Bytes::ZERO);
        let card = card_on(&question, gpu.clone(), runtime.kind(), other_use).ok()?;
        let cards = Cards::new(card.clone(), vec![card; usize::from(self.further_gpus % 4)]);
        let (model, runtime) = (Arc::clone(model), Arc::clone(runtime));
        let found = Found { model, file: None, runtime, cards, siblings: Arc::from([]) };
        Deployment::new(question, found).ok()
    }

    fn question(&self, runtime: Runtime) -> Option<Question> {
        let serving = self.serving.filter(|_| runtime == Runtime::Vllm);
        let versions = versions(runtime);
        let version = self.version.filter(|_| !versions.is_empty());
        let allocation =
            |grown| if grown { CacheAllocation::Grown } else { CacheAllocation::Preallocated };
        Some(Question {
            runtime: Some(runtime),
            runtime_version: version.map(|index| pick(versions, index).to_owned()),
            weights: Some(weights(self.weights)),
            kv: Some(pick(&KV, self.kv).parse().ok()?),
            attention: self.attention.map(|index| pick(&Attention::ALL, index)),
            system_tokens: self.system_tokens.map(|n| n.0.saturating_sub(1)),
            cache_tokens: self.cache_tokens.map(|n| n.0),
            recent_window: self.recent_window.map(|n| n.0),
            prefill_chunk: self.prefill_chunk.map(|n| n.0),
            batch: self.batch.map(|n| n.0),
            context: self.context.map(|n| n.0),
            max_seqs: serving.map(|(most, _)| most.0),
            images: self.images.map(u64::from),
            logits: self.logits.map(|all| if all { Logits::All } else { Logits::Last }),
            cache: self.grown.filter(|_| runtime == Runtime::Transformers).map(allocation),
            capture_layers: self.capture.map(|(layers, ..)| CaptureLayers::Some(layers.0)),
            capture_tokens: self.capture.map(|(_, tokens, ..)| tokens.0),
            capture_attention: self.capture.is_some_and(|(.., attention, _)| attention),
            capture_keep: self.capture.is_some_and(|(.., keep)| keep),
            headroom: self.headroom.map(|n| Headroom::Size(Bytes::new(n.0))),
            gpu_memory_utilization: serving
                .and_then(|(_, n)| format!("0.{:02}", n % 99 + 1).parse().ok()),
            other_use: Some(Bytes::new(self.other_use.0.saturating_sub(1))),
            split: self.by_tensor.map(|by| if by { Split::Tensor } else { Split::Layer }),
            min_decode_speed: self.speed.map(|n| n.0 as f64 / 16.0),
            ..Question::default()
        })
    }
}
