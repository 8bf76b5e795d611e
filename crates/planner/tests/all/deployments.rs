//! Whatever deployment can be asked for is planned or refused: no arithmetic aborts.
//!
//! The release build ends the process at an overflow, so that a wrong size is never printed; a question that
//! ends it is a defect.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use crate::support::Case;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{RngSeed, TestRunner};
use vramplan_planner::deployment::{CacheSize, Card, Cards, Deployment, Question, main_memory};
use vramplan_planner::dtype::{FileType, KvFormat, WeightFormat};
use vramplan_planner::estimate::rules;
use vramplan_planner::plan::Capacity;
use vramplan_planner::read::{Catalog, Kind};
use vramplan_planner::recommend::{RecommendError, answer, smallest_cache};
use vramplan_planner::render::{Document, Format, PLAN, to_json};
use vramplan_planner::spec::{
    Architecture, Attention, Capture, GpuSpec, Headroom, LlamaCppVersion, Logits, ModelShape,
    ModelSpec, OllamaVersion, Runtime, RuntimeOptions, RuntimeSpec, Serving, Split, TokenServing,
    TransformersStack, Utilization, Window, Workload,
};
use vramplan_planner::units::Bytes;

/// The profiles, read once.
struct Profiles {
    models: Vec<ModelSpec>,
    gpus: Vec<GpuSpec>,
    runtimes: Vec<RuntimeSpec>,
}

fn profiles() -> &'static Profiles {
    static PROFILES: OnceLock<Profiles> = OnceLock::new();
    PROFILES.get_or_init(|| {
        let catalog = Catalog::built_in();
        Profiles {
            models: catalog
                .names(Kind::Model)
                .unwrap()
                .map(|n| catalog.model(n).unwrap())
                .collect(),
            gpus: catalog.names(Kind::Gpu).unwrap().map(|n| catalog.gpu(n).unwrap()).collect(),
            runtimes: Runtime::ALL.map(|runtime| catalog.runtime(runtime).unwrap()).to_vec(),
        }
    })
}

/// A number from 1 to about 2^`bits`, every magnitude as likely as any other, powers of two often.
fn magnitude(bits: u32) -> impl Strategy<Value = u64> {
    (0..=bits, any::<u16>(), 0u8..4).prop_map(|(shift, mantissa, kind)| match kind {
        0 => 1 << shift,
        1 => (1u64 << shift).saturating_sub(1).max(1),
        _ => (((1 << 16) + u64::from(mantissa)) << shift) >> 16,
    })
}

/// Numbers that a profile's own are replaced by.
type Changes = Vec<(Index, u64)>;

/// A model of a profile, as it is or with some of its numbers changed, as far as a model can have them.
fn model() -> impl Strategy<Value = ModelSpec> {
    let one = (any::<Index>(), magnitude(24));
    let changes = prop_oneof![
        2 => Just(Changes::new()),
        1 => prop::collection::vec(one, 1..4),
    ];
    (any::<Index>(), any::<Index>(), changes).prop_map(|(index, family, changes)| {
        // Every family as often as any other: of most kinds of layers there are few profiles.
        let models = &profiles().models;
        let families: BTreeSet<_> = models.iter().map(|model| model.shape.architecture).collect();
        let families: Vec<_> = families.into_iter().collect();
        let own = family.get(&families);
        let of: Vec<_> = models.iter().filter(|model| model.shape.architecture == *own).collect();
        let model = (*index.get(&of)).clone();
        let mut shape = model.shape.clone();
        for (index, number) in changes {
            change(&mut shape, index.index(20), number);
        }
        ModelSpec::new("changed", shape, "test").unwrap_or(model)
    })
}

fn change(shape: &mut ModelShape, field: usize, number: u64) {
    match field {
        0 => shape.n_layers = number % 2000 + 1,
        1 => shape.hidden_size = number,
        2 => shape.n_heads = number.saturating_mul(shape.kv_heads),
        3 => shape.kv_heads = number,
        4 => shape.head_dim = number,
        5 => shape.ffn_size = number,
        6 => shape.vocab_size = number,
        7 => shape.context_len = number.saturating_mul(256),
        8 => shape.window = Some(Window { size: number, full_every: None }),
        9 => shape.window = Some(Window { size: number, full_every: Some(number % 40 + 1) }),
        10 => {
            let index = usize::try_from(number).unwrap() % Architecture::ALL.len();
            shape.architecture = Architecture::ALL[index];
        }
        11 => shape.attention_softcap = !shape.attention_softcap,
        12 => shape.per_layer = None,
        13 => shape.vision = None,
        field => change_parts(shape, field, number),
    }
}

fn change_parts(shape: &mut ModelShape, field: usize, number: u64) {
    if let Some(moe) = &mut shape.moe {
        match field {
            14 => moe.n_experts = number % (1 << 16) + 1,
            15 => moe.n_experts_used = number % moe.n_experts + 1,
            16 => moe.expert_ffn_size = number,
            17 => moe.leading_dense_layers = number % (shape.n_layers + 1),
            _ => moe.shared_ffn_size = number,
        }
    }
    if let Some(mla) = &mut shape.mla {
        match field {
            14 => mla.kv_lora_rank = number,
            15 => mla.q_lora_rank = None,
            16 => mla.qk_nope_head_dim = number,
            _ => mla.v_head_dim = number,
        }
    }
    if let Some(recurrent) = &mut shape.recurrent {
        match field {
            14 => recurrent.full_attention_every = number % 2000 + 1,
            15 => recurrent.value_heads = number % (1 << 16) + 1,
            16 => recurrent.key_head_dim = number % (1 << 16) + 1,
            _ => recurrent.conv_kernel = number % (1 << 10) + 1,
        }
    }
    if let Some(ssm) = &mut shape.ssm {
        match field {
            14 => ssm.inner_size = number,
            15 => ssm.state_size = number % (1 << 16) + 1,
            16 => ssm.n_heads = number,
            _ => ssm.n_groups = number % (1 << 10) + 1,
        }
    }
}

/// A card, with what other programs use on it; now and then one of very few or very many multiprocessors.
fn card() -> impl Strategy<Value = Card> {
    let multiprocessors = prop::option::weighted(0.2, magnitude(63));
    let headroom = prop_oneof![
        Just(Headroom::Default),
        (0u64..10_000).prop_map(Headroom::BasisPoints),
        magnitude(40).prop_map(|size| Headroom::Size(Bytes::new(size))),
    ];
    let other_use = prop_oneof![2 => Just(1), 1 => magnitude(37)];
    let card = (any::<Index>(), multiprocessors, any::<bool>(), headroom, other_use);
    card.prop_map(|(index, multiprocessors, observed, headroom, other_use)| {
        let mut gpu = index.get(&profiles().gpus).clone();
        if let Some(count) = multiprocessors {
            gpu.sm_count.value = count;
        }
        if !observed {
            gpu.context = None;
        }
        let (total, reserved) = (gpu.total.value, gpu.reserved.value);
        let capacity = Capacity::new(total, reserved, Bytes::new(other_use - 1), headroom).unwrap();
        Card { gpu, capacity }
    })
}

fn cards() -> impl Strategy<Value = Vec<Card>> {
    prop_oneof![
        3 => prop::collection::vec(card(), 1..2),
        2 => prop::collection::vec(card(), 2..9),
        1 => (card(), 2usize..65).prop_map(|(card, count)| vec![card; count]),
    ]
}

fn weights() -> impl Strategy<Value = WeightFormat> {
    const NAMES: [&str; 15] = [
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
        "gptq-int4-g32",
        "awq-int4",
        "awq-int4-g8",
        "awq-int4",
    ];
    let named = prop::sample::select(NAMES.to_vec()).prop_map(|name| name.parse().unwrap());
    prop_oneof![named, prop::sample::select(FileType::ALL.to_vec()).prop_map(WeightFormat::Gguf)]
}

const KV: [&str; 17] = [
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
    "hqq4",
];

/// The formats that a runtime has, half of the time: of the others nothing but a refusal comes.
fn formats(runtime: Runtime) -> impl Strategy<Value = (WeightFormat, &'static str, Attention)> {
    let (own, kv, attention): (&[&str], &[&str], &[Attention]) = match runtime {
        Runtime::Vramplan => {
            (&["q4_k_m", "q8_0", "f16"], &["int8", "f16"], &[Attention::Fused, Attention::Flash])
        }
        Runtime::Transformers => (
            &["nf4", "nf4-dq", "fp4", "int8", "bf16", "f32", "gptq-int4", "awq-int4"],
            &["bf16", "f16", "f32", "fp8", "hqq8", "hqq3", "quanto4"],
            &[Attention::Sdpa, Attention::Flash, Attention::Eager],
        ),
        Runtime::LlamaCpp | Runtime::Ollama => (
            &["q4_k_m", "q2_k", "iq3_xxs", "q8_0", "mxfp4_moe"],
            &["f16", "q8_0", "q5_1", "q4_0", "f32"],
            &[Attention::Flash, Attention::Eager],
        ),
        Runtime::Vllm | Runtime::Sglang => (
            &["awq-int4", "gptq-int4", "fp8", "bf16", "f16"],
            &["bf16", "fp8", "f32"],
            &[Attention::Flash],
        ),
    };
    let own: Vec<WeightFormat> = own.iter().map(|name| name.parse().unwrap()).collect();
    prop_oneof![
        4 => (
            prop::sample::select(own),
            prop::sample::select(kv.to_vec()),
            prop::sample::select(attention.to_vec()),
        ),
        1 => (
            weights(),
            prop::sample::select(KV.to_vec()),
            prop::sample::select(Attention::ALL.to_vec()),
        ),
    ]
}

/// Tokens as a user may ask for them, up to the command line's limit.
fn tokens() -> impl Strategy<Value = u64> {
    prop_oneof![magnitude(15), magnitude(32)]
}

fn serving() -> impl Strategy<Value = Serving> {
    let versions = prop::sample::select(vec!["0.2", "0.11", "0.19", "0.24", "latest"]);
    let share = (1u32..=100).prop_map(|percent| format!("{}", f64::from(percent) / 100.0));
    (magnitude(20), share, versions).prop_map(|(max_seqs, share, version)| Serving {
        max_seqs,
        utilization: share.parse().unwrap(),
        version: version.parse().unwrap(),
        ..Serving::default()
    })
}

fn token_serving() -> impl Strategy<Value = TokenServing> {
    let versions = prop::sample::select(vec!["0.4.9", "0.5.5", "0.5.15", "latest"]);
    let requests = prop::option::of(magnitude(20));
    (requests, 1u64..=1000, versions, any::<bool>()).prop_map(
        |(max_requests, share, version, eager)| TokenServing {
            max_requests,
            fraction: Utilization::thousandths(share),
            version: version.parse().unwrap(),
            eager,
            ..TokenServing::default()
        },
    )
}

fn capture() -> impl Strategy<Value = Capture> {
    (magnitude(11), tokens(), any::<bool>(), any::<bool>())
        .prop_map(|(layers, tokens, attention, keep)| Capture { layers, tokens, attention, keep })
}

/// What a run does, and what its runtime is told.
#[derive(Clone, Debug)]
struct Work {
    workload: Workload,
    cache_tokens: u64,
    options: RuntimeOptions,
}

/// A deployment in the making.
#[derive(Clone, Debug)]
struct Draft {
    model: ModelSpec,
    first: Card,
    others: Vec<Card>,
    weights: WeightFormat,
    kv: KvFormat,
    work: Work,
    split: Split,
    fixed_cache: bool,
}

impl Draft {
    fn deployment(self) -> Deployment {
        let runtime = self.work.options.runtime();
        let of = |spec: &&RuntimeSpec| spec.kind() == runtime;
        let runtime = profiles().runtimes.iter().find(of).unwrap().clone();
        let tokens = self.work.cache_tokens;
        let cards = Cards::new(self.first, self.others);
        Deployment {
            replaced: Vec::new(),
            given: Arc::new(Question::default()),
            model: Arc::new(self.model),
            file: None,
            origin: None,
            host: Arc::new(main_memory(&Question::default(), &cards).unwrap()),
            cards,
            ram: None,
            runtime: Arc::new(RuntimeSpec { options: self.work.options, ..runtime }),
            weights: self.weights,
            kv: self.kv,
            workload: self.work.workload,
            cache: if self.fixed_cache { CacheSize::Fixed(tokens) } else { CacheSize::Solve },
            split: self.split,
            headroom: Headroom::Default,
            min_decode_speed: None,
            siblings: Arc::new([]),
        }
    }
}

/// Versions of llama.cpp: checked ones, and one between, and one behind them.
const VERSIONS: [&str; 7] = ["2025", "b7772", "b8193", "0.5.0", "0.6.0", "b11000", "b99999"];

/// What does not depend on the model.
fn work(runtime: Runtime) -> impl Strategy<Value = Work> {
    let plain = Case::new("L4", "qwen2.5-0.5b", runtime);
    let defaults = rules(runtime).defaults(&plain.model, &plain.cards.first().gpu);
    let versions = VERSIONS.map(|text| text.parse::<LlamaCppVersion>().unwrap()).to_vec();
    let sizes = (tokens(), tokens(), prop::option::weighted(0.2, tokens()), tokens());
    let sizes = (sizes, prop_oneof![magnitude(8), magnitude(32)], prop::option::of(tokens()));
    let choices = (any::<bool>(), any::<bool>(), prop::option::weighted(0.2, 0u64..=1 << 16));
    let parts = (
        prop::option::weighted(0.2, capture()),
        (serving(), token_serving()),
        prop::sample::select(versions),
        stack(),
    );
    (sizes, choices, parts).prop_map(move |(sizes, choices, parts)| {
        let ((system, cache_tokens, recent_window, prefill_chunk), batch, context) = sizes;
        let (all, grown, images) = choices;
        let (capture, (serving, token_serving), llama_cpp, stack) = parts;
        let workload = Workload {
            system_tokens: system - 1,
            recent_window,
            prefill_chunk,
            batch,
            // 0 stands for the model's own.
            context: context.unwrap_or(0),
            attention: defaults.attention,
            capture: capture.filter(|_| rules(runtime).captures()),
            images,
            logits: if all { Logits::All } else { Logits::Last },
            grown_cache: grown && rules(runtime).grows_cache(),
        };
        let options = match runtime {
            Runtime::Vramplan => RuntimeOptions::Vramplan,
            Runtime::Transformers => RuntimeOptions::Transformers(stack),
            Runtime::LlamaCpp => RuntimeOptions::LlamaCpp(llama_cpp),
            Runtime::Ollama => RuntimeOptions::Ollama(OllamaVersion::default()),
            Runtime::Vllm => RuntimeOptions::Vllm(serving),
            Runtime::Sglang => RuntimeOptions::Sglang(token_serving),
        };
        Work { workload, cache_tokens, options }
    })
}

fn stack() -> impl Strategy<Value = TransformersStack> {
    let versions = ["4.44", "4.57", "latest", "4.57,bitsandbytes=0.45", "5.0,bitsandbytes=0.48"];
    (prop::sample::select(versions.to_vec()), any::<bool>()).prop_map(|(version, grown)| {
        let stack: TransformersStack = version.parse().unwrap();
        TransformersStack { expandable_segments: grown, ..stack }
    })
}

/// A deployment of any runtime; most of them what that runtime takes, the rest as it comes.
fn case() -> impl Strategy<Value = Deployment> {
    let runtime = prop::sample::select(Runtime::ALL.to_vec());
    let work = runtime.prop_flat_map(|runtime| (formats(runtime), work(runtime)));
    let choices = (any::<bool>(), any::<bool>(), prop::bool::weighted(0.1));
    (model(), cards(), work, choices).prop_map(
        |(model, mut cards, (formats, mut work), (fixed_cache, tensor, wild))| {
            let (weights, kv, attention) = formats;
            let split = if tensor { Split::Tensor } else { Split::Layer };
            let first = cards.remove(0);
            work.workload.attention = attention;
            let kv = kv.parse().unwrap();
            let mut draft =
                Draft { model, first, others: cards, weights, kv, work, split, fixed_cache };
            if !wild {
                tame(&mut draft);
            }
            settle(&mut draft);
            draft.deployment()
        },
    )
}

/// Makes a deployment one that its runtime takes, as far as it is known beforehand.
fn tame(draft: &mut Draft) {
    let Work { workload: work, cache_tokens, options } = &mut draft.work;
    match options {
        RuntimeOptions::Vramplan => {
            draft.others.clear();
            work.images = None;
            work.prefill_chunk = work.prefill_chunk % 512 + 1;
        }
        RuntimeOptions::Transformers(_) => {
            draft.split = Split::Layer;
        }
        RuntimeOptions::LlamaCpp(_) | RuntimeOptions::Ollama(_) => {
            draft.others.truncate(15);
            work.recent_window = None;
            work.batch = (work.batch - 1) % 256 + 1;
            if work.attention == Attention::Eager && draft.kv.is_quantized() {
                draft.kv = "f16".parse().unwrap();
            }
        }
        RuntimeOptions::Vllm(serving) => {
            work.batch = work.batch.min(serving.max_seqs);
            tame_server(work, &mut draft.others);
        }
        RuntimeOptions::Sglang(serving) => {
            work.batch = work.batch.min(serving.max_requests.unwrap_or(2048));
            tame_server(work, &mut draft.others);
        }
    }
    if draft.model.shape.vision.is_none() {
        work.images = None;
    }
    let context =
        if work.context == 0 { draft.model.shape.context_len } else { work.context.max(1 << 12) };
    work.context = context;
    work.system_tokens %= context;
    *cache_tokens = (*cache_tokens).min(context - work.system_tokens);
    let most = *cache_tokens;
    let smallest = smallest_cache(work).min(most);
    work.recent_window = work.recent_window.map(|window| window.clamp(smallest, most));
}

fn tame_server(work: &mut Workload, others: &mut Vec<Card>) {
    work.recent_window = None;
    work.logits = Logits::Last;
    // Heads divide by powers of two.
    let cards = (others.len() + 1).min(8);
    others.truncate((1 << cards.ilog2()) - 1);
}

/// What the command line itself settles.
fn settle(draft: &mut Draft) {
    let Work { workload: work, options, .. } = &mut draft.work;
    if work.context == 0 {
        work.context = draft.model.shape.context_len;
    }
    if let Some(capture) = &mut work.capture {
        capture.layers = capture.layers.min(draft.model.shape.n_layers);
    }
    if !draft.others.is_empty() {
        work.capture = None;
    }
    *options = options.with_ranks(match draft.split {
        Split::Tensor => draft.others.len() as u64 + 1,
        Split::Layer => 1,
    });
}

/// Answers, and prints, or refuses with a reason.
fn answers(deployment: &Deployment) -> Result<(), RecommendError> {
    let answer = answer(deployment)?;
    for plan in answer.devices.iter().map(|device| &device.plan).chain([&answer.plan]) {
        for buffer in &plan.buffers {
            let size = buffer.size;
            assert!(size.low <= size.expected && size.expected <= size.high, "{}", buffer.id);
        }
    }
    let document = Document::new(deployment, &answer);
    for format in [Format::Table, Format::Markdown, Format::Svg] {
        assert!(!PLAN.print(&document, format).unwrap().unwrap().is_empty());
    }
    assert!(to_json(&document).is_ok());
    Ok(())
}

/// Layers that attend and layers that keep a state alternate: a GPU's last layer can be one of either.
#[test]
fn hybrids_are_planned_on_any_number_of_gpus() {
    // Layers that are listed one by one cannot be fewer.
    let is_hybrid =
        |model: &&ModelSpec| model.shape.recurrent.is_some() && model.shape.per_layer.is_none();
    let mut planned = 0;
    for model in profiles().models.iter().filter(is_hybrid) {
        for (n_layers, kv, weights) in [
            (model.shape.n_layers, "bf16", "nf4"),
            (model.shape.n_layers, "hqq8", "bf16"),
            // The last layer keeps a state.
            (model.shape.n_layers - 1, "bf16", "int8"),
        ] {
            let shape = ModelShape { n_layers, ..model.shape.clone() };
            for (gpu, gpus) in [("L4", 1), ("L4", 2), ("L4", 3), ("H200", 5), ("L4", 7), ("L4", 8)]
            {
                let mut case = Case::new(gpu, "qwen2.5-0.5b", Runtime::Transformers).kv(kv);
                case.weights = weights.parse().unwrap();
                case.workload.context = shape.context_len;
                case.workload.system_tokens = 100;
                let card = case.cards.first().clone();
                let model = ModelSpec::new("hybrid", shape.clone(), "test").unwrap();
                let case = case.of(model).on(card.clone(), vec![card; gpus - 1]);
                match answers(&case) {
                    Ok(()) => planned += 1,
                    Err(error) => assert!(error.to_string().contains('`'), "{error}"),
                }
            }
        }
    }
    assert!(planned > 150, "{planned}");
}

/// As many as take a few seconds; raise it, and drop the seed, to look for new ones.
const CASES: u32 = 2000;

#[test]
fn every_deployment_is_planned_or_refused() {
    let config = ProptestConfig {
        cases: CASES,
        rng_seed: RngSeed::Fixed(14),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let planned = Cell::new(0);
    let result = TestRunner::new(config).run(&case(), |case| {
        match answers(&case) {
            Ok(()) => planned.set(planned.get() + 1),
            Err(error) => {
                prop_assert!(!error.to_string().is_empty());
                // A hint computes, too.
                let _ = error.hint();
            }
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    assert!(planned.get() > CASES / 2, "only {} of {CASES} were planned", planned.get());
}
