//! Shapes and requests that a fuzzer can write: numbers of any magnitude, formats and choices of all kinds.

use std::sync::{Arc, OnceLock};

use arbitrary::{Arbitrary, Result, Unstructured};
use vramplan_planner::deployment::{CacheSize, Card, Cards, Deployment};
use vramplan_planner::dtype::{FileType, KvFormat, WeightFormat};
use vramplan_planner::plan::Capacity;
use vramplan_planner::read::{Catalog, Kind};
use vramplan_planner::spec::{
    Architecture, Attention, BitsandbytesVersion, Capture, GpuSpec, Headroom, LlamaCppVersion,
    Logits, Mla, ModelShape, ModelSpec, Moe, QkNorm, Recurrent, Runtime, RuntimeOptions, RuntimeSpec,
    Serving,
    Split, Ssm, TransformersStack, TransformersVersion, Utilization, VllmVersion, Window, Workload,
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
    mla: Option<(Width, Option<Width>, Few, Few, Few)>,
    recurrent: Option<(Few, [Few; 4], Few)>,
    ssm: Option<(Width, [Few; 4], bool)>,
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
            }),
            mla: self.mla.map(|(lora, q_lora, nope, rope, value)| Mla {
                kv_lora_rank: lora.0,
                q_lora_rank: q_lora.map(|rank| rank.0),
                qk_nope_head_dim: nope.0,
                qk_rope_head_dim: rope.0,
                v_head_dim: value.0,
            }),
            recurrent: self.recurrent.map(|(every, heads, conv)| Recurrent {
                full_attention_every: every.0,
                key_heads: heads[0].0,
                value_heads: heads[1].0,
                key_head_dim: heads[2].0,
                value_head_dim: heads[3].0,
                conv_kernel: conv.0,
            }),
            ssm: self.ssm.map(|(inner, sizes, conv_bias)| Ssm {
                inner_size: inner.0,
                state_size: sizes[0].0,
                n_groups: sizes[1].0,
                n_heads: sizes[2].0,
                conv_kernel: sizes[3].0,
                conv_bias,
            }),
            keys_are_values: f[11],
            per_layer: None,
            vision: None,
        };
        ModelSpec::new("fuzzed", shape, "a fuzzer").ok()
    }
}

/// A request for a model.
#[derive(Arbitrary, Debug)]
pub struct Job {
    runtime: u8,
    gpu: u8,
    weights: u8,
    kv: u8,
    attention: u8,
    system_tokens: Tokens,
    cache_tokens: Option<Tokens>,
    recent_window: Option<Tokens>,
    prefill_chunk: Tokens,
    batch: Size<20>,
    context: Option<Tokens>,
    capture: Option<(Few, Tokens, bool, bool)>,
    logits: bool,
    grown: bool,
    version: u8,
    serving: Option<(Size<20>, u8, Size<8>)>,
    headroom: Option<Size<40>>,
    other_use: Size<40>,
    further_gpus: u8,
    by_tensor: bool,
    speed: Option<Size<20>>,
}

/// Profiles, read once.
struct Profiles {
    gpus: Vec<GpuSpec>,
    runtimes: Vec<RuntimeSpec>,
}

fn profiles(catalog: &Catalog) -> &'static Profiles {
    static PROFILES: OnceLock<Profiles> = OnceLock::new();
    PROFILES.get_or_init(|| {
        let names: Vec<_> = catalog.names(Kind::Gpu).expect("GPUs").map(str::to_owned).collect();
        Profiles {
            gpus: names.iter().map(|name| catalog.gpu(name).expect("a profile")).collect(),
            runtimes: Runtime::ALL.map(|r| catalog.runtime(r).expect("a profile")).to_vec(),
        }
    })
}

/// A deployment without its model.
pub struct Case {
    /// The card.
    pub gpu: &'static GpuSpec,
    runtime: Arc<RuntimeSpec>,
    weights: WeightFormat,
    kv: KvFormat,
    workload: Workload,
    cards: Cards,
    split: Split,
    headroom: Headroom,
    cache: CacheSize,
    min_decode_speed: Option<f64>,
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

impl Job {
    /// The request, unless the command line would refuse it.
    pub fn case(&self, model: &ModelSpec, catalog: &Catalog) -> Option<Case> {
        let profiles = profiles(catalog);
        let gpu = &profiles.gpus[usize::from(self.gpu) % profiles.gpus.len()];
        let mut runtime =
            profiles.runtimes[usize::from(self.runtime) % profiles.runtimes.len()].clone();
        let kind = runtime.kind();
        runtime.options = self.options(kind);
        let headroom = self.headroom.map_or(Headroom::Default, |n| Headroom::Size(Bytes::new(n.0)));
        let (total, reserved) = (gpu.total.value, gpu.reserved.value);
        let other_use = Bytes::new(self.other_use.0.saturating_sub(1));
        let most = 1 << 32;
        let capacity = Capacity::new(total, reserved, other_use, headroom).ok()?;
        let card = Card { gpu: gpu.clone(), capacity };
        let further =
            if kind == Runtime::Vramplan { 0 } else { usize::from(self.further_gpus % 4) };
        Some(Case {
            gpu,
            runtime: Arc::new(runtime),
            weights: weights(self.weights),
            kv: pick(&KV, self.kv).parse().ok()?,
            workload: Workload {
                system_tokens: self.system_tokens.0.saturating_sub(1).min(most),
                recent_window: self.recent_window.map(|n| n.0),
                prefill_chunk: self.prefill_chunk.0.clamp(1, most),
                batch: self.batch.0,
                context: self.context.map_or(model.shape.context_len, |n| n.0.clamp(1, most)),
                attention: pick(&Attention::ALL, self.attention),
                capture: self.capture.map(|(layers, tokens, attention, keep)| Capture {
                    layers: layers.0.min(model.shape.n_layers),
                    tokens: tokens.0.min(most),
                    attention,
                    keep,
                }),
                logits: if self.logits { Logits::All } else { Logits::Last },
                grown_cache: self.grown && kind == Runtime::Transformers,
                images: None,
            },
            cards: Cards::new(card.clone(), vec![card; further]),
            split: if self.by_tensor { Split::Tensor } else { Split::Layer },
            headroom,
            cache: self
                .cache_tokens
                .map_or(CacheSize::Solve, |n| CacheSize::Fixed(n.0.clamp(1, most))),
            min_decode_speed: self.speed.map(|n| n.0 as f64 / 16.0),
        })
    }

    fn options(&self, kind: Runtime) -> RuntimeOptions {
        match RuntimeOptions::newest(kind) {
            RuntimeOptions::Vramplan => RuntimeOptions::Vramplan,
            RuntimeOptions::Transformers(_) => RuntimeOptions::Transformers(self.stack()),
            RuntimeOptions::LlamaCpp(_) => {
                RuntimeOptions::LlamaCpp(pick(&LlamaCppVersion::NAMES, self.version).1)
            }
            RuntimeOptions::Vllm(default) => RuntimeOptions::Vllm(self.serving.map_or(
                default,
                |(max_seqs, share, ranks)| Serving {
                    max_seqs: max_seqs.0,
                    utilization: format!("0.{:02}", share % 99 + 1)
                        .parse()
                        .unwrap_or(Utilization::DEFAULT),
                    ranks: ranks.0,
                    version: pick(&[VllmVersion::Sorting, VllmVersion::Current], self.version),
                    most_blocks: None,
                },
            )),
        }
    }

    fn stack(&self) -> TransformersStack {
        let transformers = [TransformersVersion::AllLogits, TransformersVersion::Current];
        let bitsandbytes = [BitsandbytesVersion::SingleRow, BitsandbytesVersion::Current];
        TransformersStack {
            transformers: pick(&transformers, self.version),
            bitsandbytes: pick(&bitsandbytes, self.version / 2),
        }
    }
}

impl Case {
    /// The deployment of this model.
    pub fn deployment(&self, model: &ModelSpec) -> Deployment {
        Deployment {
            given: Arc::default(),
            model: Arc::new(model.clone()),
            file: None,
            cards: self.cards.clone(),
            runtime: Arc::clone(&self.runtime),
            weights: self.weights,
            kv: self.kv,
            workload: self.workload,
            cache: self.cache,
            split: self.split,
            headroom: self.headroom,
            min_decode_speed: self.min_decode_speed,
            siblings: Arc::new([]),
        }
    }
}
