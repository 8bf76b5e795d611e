//! Components to the byte, with the factors written out.

use crate::support::Case;
use vramplan_planner::deployment::{Question, resolve};
use vramplan_planner::estimate::BufferId;
use vramplan_planner::estimate::Component;
use vramplan_planner::plan::Plan;
use vramplan_planner::read::{Catalog, MemoryFiles};
use vramplan_planner::recommend::answer;
use vramplan_planner::spec::{Attention, Capture, Runtime, TransformersVersion};
use vramplan_planner::units::Bytes;

/// What a component holds at the most, in bytes.
fn most(plan: &Plan, component: Component) -> u64 {
    plan.component(component).map_or(0, |row| row.most.0.get())
}

/// Sum of the buffers with this name.
fn buffer(plan: &Plan, name: &str) -> u64 {
    let mine = plan.buffers.iter().filter(|buffer| buffer.label() == name);
    let mut sizes: Vec<u64> = mine.map(|buffer| buffer.size.expected.get()).collect();
    sizes.sort_unstable();
    *sizes.last().unwrap_or_else(|| panic!("no buffer `{name}` in {:#?}", plan.buffers))
}

#[test]
fn the_engine_on_qwen_14b() {
    let plan = Case::new("L4", "qwen2.5-14b", Runtime::Vramplan).cache(7000).answer().plan;
    assert_eq!(most(&plan, Component::Weights), 8_982_142_976);
    // K and V · 48 layers · 8 KV heads · (128 int8 + one f16 scale) · 6000 tokens
    assert_eq!(most(&plan, Component::SystemPromptCache), 2 * 48 * 8 * (128 + 2) * 6000);
    // … · 7000 tokens, and one f32 score per layer, KV head and slot
    let payload = 2 * 48 * 8 * (128 + 2) * 7000;
    assert_eq!(most(&plan, Component::ConversationCache), payload + 48 * 8 * 7000 * 4);
    // Residual and norm, gate and up of the MLP, in f32, for 512 rows; and what candle's kernels take: the
    // widest activations in 8 bits, and a tile of 128 × 128 f32 for each of 58 multiprocessors.
    let layer = 512 * (2 * 5120) * 4 + 512 * (2 * 13_824) * 4;
    let quantized = 512 * (13_824 / 128) * 144 + 128 * 144 + 58 * 128 * 128 * 4;
    assert_eq!(most(&plan, Component::Activations), layer + quantized);
    // f32 logits of one position
    assert_eq!(most(&plan, Component::Logits), 152_064 * 4);
    // Per query head: an f16 probability per slot, an f32 maximum per tile of 64, and 33 partial
    // outputs of 128 with their maximum and sum.
    let decode = 40 * 7000 * 2 + 40 * 7000_u64.div_ceil(64) * 4 + 40 * 33 * (128 + 2) * 4;
    assert_eq!(most(&plan, Component::AttentionTransients), decode);
}

#[test]
fn the_engine_with_an_f16_cache_and_without_eviction() {
    let case = Case::new("L4", "qwen2.5-14b", Runtime::Vramplan).kv("f16");
    let plan = case.attention(Attention::Flash).cache(7000).answer().plan;
    assert_eq!(most(&plan, Component::ConversationCache), 2 * 48 * 8 * 128 * 2 * 7000);
    assert_eq!(most(&plan, Component::SystemPromptCache), 196_608 * 6000);
}

#[test]
fn transformers_on_qwen_14b() {
    let case = Case::new("L4", "qwen2.5-14b", Runtime::Transformers).weights("nf4").kv("hqq8");
    let plan = case.pinned(6000).cache(7000).answer().plan;
    assert_eq!(most(&plan, Component::Weights), 10_547_756_032);
    // 8 bit and 4 B of scale and zero per 64 elements
    assert_eq!(most(&plan, Component::SystemPromptCache), 626_688_000);
    assert_eq!(most(&plan, Component::ConversationCache), 731_136_000);
    // One layer's K and V expanded to bf16 and concatenated: 4 tensors · 13,000 tokens · 1024 · 2 B
    let copies = "one layer's K and V expanded, and concatenated with the new tokens";
    assert_eq!(buffer(&plan, copies), 4 * 13_000 * 1024 * 2);
}

#[test]
fn eager_scores_are_those_of_one_layer() {
    let case = Case::new("H200", "qwen2.5-14b", Runtime::Transformers).kv("bf16");
    let mut case = case.attention(Attention::Eager).pinned(6000).cache(7000);
    case.workload.prefill_chunk = 6000;
    let plan = case.answer().plan;
    // 40 heads · 6000 rows · 13,000 columns · (bf16 + f32 + f32)
    assert_eq!(buffer(&plan, "scores, one layer"), 40 * 6000 * 13_000 * 10);
}

#[test]
fn llama_cpp_on_qwen_14b() {
    let case = Case::new("RTX 3090", "qwen2.5-14b", Runtime::LlamaCpp).kv("f16");
    let plan = case.pinned(0).cache(8192).answer().plan;
    // A public log: 8148.38 MiB of weights and 1536.00 MiB of cache at 8192 tokens
    let weights = plan.component(Component::Weights).unwrap().at_peak.expected;
    assert_eq!(format!("{:.2}", weights.as_mib()), "8148.38");
    assert_eq!(most(&plan, Component::ConversationCache), 1536 << 20);
}

#[test]
fn captures_that_stay_take_all_their_layers() {
    let case = Case::new("L4", "qwen2.5-14b", Runtime::Transformers).weights("nf4").kv("hqq8");
    let mut case = case.pinned(6000).cache(7000);
    let capture = Capture { layers: 48, tokens: 100, attention: true, keep: true };
    case.workload.capture = Some(capture);
    let kept = case.answer().plan;
    // 100 tokens · (5120 hidden, 40 heads · 13,000 tokens) · 2 B. In the last layer, where most is
    // held, two of the 48 hidden states and one of the weights are counted with the layer.
    let (hidden, weights) = (100 * 5120 * 2, 40 * 100 * 13_000 * 2);
    assert_eq!(most(&kept, Component::ActivationCapture), 46 * hidden + 47 * weights);
    case.workload.capture = Some(Capture { keep: false, ..capture });
    let moved = case.answer().plan;
    assert_eq!(most(&moved, Component::ActivationCapture), hidden + weights);
}

#[test]
fn the_components_add_up_to_the_peak() {
    for runtime in Runtime::ALL {
        for tokens in [600, 7000, 26_768] {
            let plan = Case::new("L4", "qwen2.5-14b", runtime).cache(tokens).answer().plan;
            let sum = Bytes::sum(plan.components.iter().map(|row| row.at_peak.expected)).unwrap();
            assert_eq!(sum, plan.peak.expected, "{runtime} at {tokens}");
        }
    }
}

#[test]
fn vllm_on_qwen_7b() {
    let mut case = Case::new("L4", "qwen2.5-7b", Runtime::Vllm).weights("bf16");
    case.serving(|serving| {
        serving.version = "0.19".parse().unwrap();
        serving.utilization = "0.9".parse().unwrap();
    });
    let plan = case.pinned(6000).cache(7000).answer().plan;
    let pool = plan.pool.unwrap();
    // 28 layers · K and V · 4 KV heads of 128 · 2 B · 16 tokens
    assert_eq!(pool.block, Bytes::new(28 * 2 * 4 * 128 * 2 * 16));
    assert_eq!(pool.limit, plan.capacity.usable.scale(9, 10).unwrap());
    let left = pool.limit.minus_or_zero(pool.fixed.expected).get();
    assert_eq!(pool.blocks, left / pool.block.get());
    assert_eq!(pool.tokens, pool.blocks * 16);
    // 6000 and 7000 tokens are 813 blocks of 16; one block of the pool is never used.
    assert_eq!(pool.need.expected.diff(pool.fixed.expected), 814 * i128::from(pool.block.get()));
    assert_eq!(most(&plan, Component::SystemPromptCache), 375 * pool.block.get());
    assert_eq!(most(&plan, Component::ConversationCache), (pool.blocks - 375) * pool.block.get());
    // 256 sequences: bf16 logits and three f32 copies, and f32 candidates for each of 58 processors.
    assert_eq!(most(&plan, Component::Logits), 256 * 152_064 * 14 + 58 * 152_064 * 4);
}

/// What 0.33 does otherwise: its share, what it samples with and keeps for every sequence, and the tokens that it prints.
#[test]
fn the_newest_vllm_on_qwen_7b() {
    let case = Case::new("L4", "qwen2.5-7b", Runtime::Vllm).weights("bf16").cache(7000);
    let plan = case.answer().plan;
    let pool = plan.pool.unwrap();
    assert_eq!(pool.limit, plan.capacity.usable.scale(92, 100).unwrap());
    // So many conversations of all its 131,072 tokens, or 32,768.
    let of_one = case.workload.context.div_ceil(16);
    assert_eq!(pool.tokens, pool.blocks * case.workload.context / of_one);
    // 256 sequences: counts, masks and lists that stay; bf16 logits and their f32 copy, and f32 candidates.
    let stays = 256 * 4 * (152_064 + 2 * 4752 + 3 * 1024 + 128 + 1153 + 128);
    let passes = 256 * 152_064 * 6 + 58 * 152_064 * 4;
    assert_eq!(most(&plan, Component::Logits), stays + passes);
}

#[test]
fn a_pool_that_is_too_small_does_not_fit_whatever_the_card_has() {
    let case = Case::new("L4", "qwen2.5-14b", Runtime::Vllm).kv("bf16");
    let answer = case.answer();
    let most = answer.recommendation.hard_max_cache_tokens;
    let mut case = case.cache(most.min(26_768));
    case.workload.batch = 3;
    let plan = case.answer().plan;
    assert!(plan.pool.unwrap().need.low > plan.pool.unwrap().limit);
    assert_eq!(plan.verdict, vramplan_planner::plan::Verdict::DoesNotFit);
    assert!(!plan.short_by.is_zero());
}

#[test]
fn vllm_refuses_what_it_cannot_do() {
    let case = Case::new("L4", "qwen2.5-7b", Runtime::Vllm).cache(100);
    let refusal = |change: fn(&mut Case)| {
        let mut case = case.clone();
        change(&mut case);
        vramplan_planner::recommend::answer(&case).unwrap_err().to_string()
    };
    assert!(
        refusal(|case| case.workload.logits = vramplan_planner::spec::Logits::All)
            .contains("`all`")
    );
    assert!(refusal(|case| case.workload.batch = 257).contains("at most 256 sequences"));
    let capture = |case: &mut Case| {
        let capture = Capture { layers: 1, tokens: 100, attention: false, keep: true };
        case.workload.capture = Some(capture);
    };
    assert!(refusal(capture).contains("`capture`"));
    assert!(refusal(|case| case.workload.attention = Attention::Eager).contains("`flash`"));
}

#[test]
fn towers_are_planned_where_the_runtime_loads_them() {
    let named = |case: &Case| {
        let plan = case.clone().cache(1000).answer().plan;
        plan.buffers.iter().any(|buffer| buffer.id == BufferId::VisionTower)
    };
    let case = |runtime, images| {
        let mut case = Case::new("H100", "gemma-3-4b", runtime);
        case.workload.system_tokens = 100;
        case.workload.images = images;
        case
    };
    for (runtime, loads) in [
        (Runtime::Vllm, true),
        (Runtime::Transformers, true),
        (Runtime::LlamaCpp, false),
        (Runtime::Vramplan, false),
    ] {
        assert_eq!(named(&case(runtime, None)), loads, "{runtime}");
        assert!(!named(&case(runtime, Some(0))), "{runtime}");
        let asked = vramplan_planner::recommend::answer(&case(runtime, Some(1)));
        assert_eq!(asked.is_ok(), loads, "{runtime}");
    }
    // 16 bits under vLLM; under bitsandbytes the linear layers of the tower are quantized too.
    let bf16 = case(Runtime::Vllm, None).weights("bf16").cache(1000).answer().plan;
    assert_eq!(buffer(&bf16, "vision tower"), 2 * 419_816_304);
    let awq = case(Runtime::Vllm, None).weights("awq-int4").cache(1000).answer().plan;
    assert_eq!(buffer(&awq, "vision tower"), 2 * 419_816_304);
    let nf4 = case(Runtime::Transformers, None).weights("nf4").cache(1000).answer().plan;
    assert!(buffer(&nf4, "vision tower") < 419_816_304 * 3 / 4);
}

#[test]
fn layers_that_differ_are_cached_one_by_one() {
    // Two public logs of llama.cpp: 4096 and 2048 cells for all layers, in 16 bits, 3520 and 1760 MiB.
    let model = Case::new("H200", "gemma-4-31b", Runtime::LlamaCpp).0.model;
    let cells = |n: u64| -> u64 {
        let layers = (0..60).map(|index| model.shape.layer(index));
        layers.map(|layer| 2 * layer.kv_width() * 2 * n).sum()
    };
    assert_eq!([4096, 2048].map(|n| cells(n) >> 20), [3520, 1760]);
    let case = Case::new("H200", "gemma-4-31b", Runtime::LlamaCpp).weights("bf16").kv("f16");
    let plan = case.cache(1000).answer().plan;
    // The same logs: 58553.10 MiB of weights on the GPU, 10 KiB more than is planned.
    let weights = most(&plan, Component::Weights);
    assert!(((weights * 100) >> 20).abs_diff(5_855_310) <= 2);
}

/// Before 4.45 a pass of transformers has the logits of every position, and copies them to f32.
#[test]
fn old_transformers_hold_all_logits_twice() {
    let case = Case::new("A100-80GB", "llama-3.1-8b", Runtime::Transformers).cache(1000);
    let mut old = case.clone();
    old.stack(|stack| stack.transformers = TransformersVersion::AllLogits);
    let logits = 512 * 128_256 * (2 + 4);
    assert_eq!(most(&old.answer().plan, Component::Logits), logits);
    assert_eq!(most(&case.answer().plan, Component::Logits), 128_256 * (2 + 4));
}

/// Before 0.16 vLLM sorts the vocabulary to filter logits.
#[test]
fn old_vllm_sorts() {
    let case = Case::new("H100", "llama-3.1-8b", Runtime::Vllm).cache(1000);
    let mut old = case.clone();
    old.serving(|serving| serving.version = "0.15".parse().unwrap());
    let fixed = |case: &Case| case.answer().plan.pool.unwrap().fixed.expected;
    assert!(fixed(&old) > fixed(&case).plus(Bytes::mib(1000).unwrap()).unwrap());
}

/// `ggml-org/llama.cpp#27680`: DeepSeek-V4-Flash with 64,000 cells, micro-batches of 4,096 tokens and keys in 16 bits has
/// 182.75 MiB of windows. The rest is `llama-kv-cache-dsv4.cpp`'s arithmetic.
#[test]
fn llama_cpp_keeps_a_window_and_compressed_keys_of_deepseek_v4() {
    let text = "gpu = 'B300'\nmodel = 'deepseek-v4-flash'\nruntime = 'llama.cpp'\nkv = 'bf16'\ncontext = 64000\n\
        prefill_chunk = 4096\nbatch_size = 4096\nngl = 'all'\n";
    let question: Question = toml::from_str(text).unwrap();
    let deployment = resolve(&question, &Catalog::built_in(), &MemoryFiles::default(), None);
    let plan = answer(&deployment.unwrap()).unwrap().plan;
    let size = |id: BufferId| {
        let mine = plan.buffers.iter().filter(|buffer| buffer.id == id);
        mine.map(|buffer| buffer.size.expected.get()).sum::<u64>()
    };
    assert_eq!(size(BufferId::WindowKeysAndValues), 43 * 4352 * 512 * 2);
    let (little, much) = (21 * 16_128 * (512 + 128) * 2, 20 * 512 * 512 * 2);
    // The rotation of an indexer's keys, where the build keeps it.
    let rotations = size(BufferId::KeysAndValues) - (little + much);
    assert!(rotations == 0 || rotations == 21 * 128 * 128 * 4, "{rotations}");
    let states = 21 * 2 * 8 * (1024 + 256) * 4 + 20 * 2 * 128 * 512 * 4;
    assert_eq!(size(BufferId::RecurrentStates), states);
}
