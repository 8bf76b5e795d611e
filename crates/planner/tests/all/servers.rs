//! What a vLLM server is told besides its limits: adapters, drafts, main memory, mixed parallelism, its cache.

use vramplan_planner::deployment::{Deployment, DeploymentError, Question, resolve};
use vramplan_planner::estimate::BufferId;
use vramplan_planner::plan::{Reason, Verdict};
use vramplan_planner::read::{Catalog, MemoryFiles};
use vramplan_planner::recommend::{Answer, answer};
use vramplan_planner::render::{Document, to_table};
use vramplan_planner::spec::Runtime;
use vramplan_planner::units::Bytes;

const LLAMA: &str = "gpu = 'H100'\nmodel = 'llama-3.1-8b'\nruntime = 'vllm'\ncontext = 8192\n";
const QWEN: &str = "gpu = 'H100'\nmodel = 'qwen3.5-27b'\nruntime = 'vllm'\ncontext = 8192\n";

fn resolved(text: &str) -> Result<Deployment, DeploymentError> {
    let question: Question = toml::from_str(text).unwrap();
    resolve(&question, &Catalog::built_in(), &MemoryFiles::default(), None)
}

fn planned(text: &str) -> Answer {
    answer(&resolved(text).unwrap()).unwrap()
}

fn refusal(text: &str) -> String {
    resolved(text).unwrap_err().to_string()
}

fn size(answer: &Answer, id: BufferId) -> Bytes {
    let mine = answer.plan.buffers.iter().filter(|buffer| buffer.id == id);
    Bytes::sum(mine.map(|buffer| buffer.size.expected)).unwrap()
}

/// What the engine's own classes allocate (`evidence/vllm/lora-0.33.0.csv`), taken off the pool.
#[test]
fn slots_of_adapters_are_listed_and_leave_a_smaller_pool() {
    let without = planned(LLAMA);
    let with = planned(&format!("{LLAMA}max_loras = 4\nmax_lora_rank = 64"));
    let linear = 301_989_888 + 603_979_776 + 134_217_728 + 301_989_888;
    assert_eq!(size(&with, BufferId::AdapterSlots), Bytes::new(linear));
    assert_eq!(size(&with, BufferId::EmbeddingAdapterSlots), Bytes::new(2 * 67_764_224));
    let [before, after] = [&without, &with].map(|answer| answer.plan.pool.unwrap());
    let lost = before.block.times(before.blocks - after.blocks).unwrap();
    assert!(lost >= Bytes::new(linear), "{lost}");
    // Experts have slots, each their own.
    let experts = planned(
        "gpu = 'H100'\nmodel = 'qwen3-30b-a3b'\nruntime = 'vllm'\ncontext = 8192\nmax_loras = 1",
    );
    assert_eq!(size(&experts, BufferId::ExpertAdapterSlots), Bytes::new(1_660_944_768));
}

#[test]
fn ranks_that_no_slot_has_are_refused() {
    let said = refusal(&format!("{LLAMA}max_lora_rank = 24"));
    assert!(said.contains("--max-lora-rank") && said.contains("8, 16, 32"), "{said}");
    let said =
        refusal("gpu = 'H100'\nmodel = 'llama-3.1-8b'\nruntime = 'llama.cpp'\nmax_loras = 2");
    assert!(said.contains("`llama.cpp` runtime has no `--max-loras`"), "{said}");
}

/// `evidence/vllm/draft-0.33.0.csv`.
#[test]
fn what_predicts_tokens_is_listed() {
    let ahead = planned(&format!("{QWEN}mtp = 1"));
    assert_eq!(size(&ahead, BufferId::PredictingLayer), Bytes::new(849_398_784));
    // One layer of 64 more in groups of 17.
    let pool = ahead.plan.pool.unwrap();
    assert_eq!(pool.block_tokens, 832);
    assert_eq!(pool.block, Bytes::new(39_684_669_440 / 685));
    let head = planned(&format!("{LLAMA}draft = 'eagle3'\ndraft_tokens = 3"));
    assert_eq!(size(&head, BufferId::DraftWeights), Bytes::new(849_635_328));
    let draft = planned(&format!("{LLAMA}draft = 'llama-3.2-1b'\ndraft_tokens = 4"));
    assert_eq!(size(&draft, BufferId::DraftWeights), Bytes::new(2_471_628_800));
    assert_eq!(draft.plan.pool.unwrap().block, Bytes::new(39_727_923_200 / 15_155));
}

const DFLASH: &str = "draft = 'z-lab/Qwen3.8-27B-DFlash2'\ndraft_tokens = 7\n";
const QWEN38: &str = "gpu = 'H100'\nmodel = 'qwen3.8-27b'\nruntime = 'vllm'\ncontext = 8192\n";

/// `evidence/vllm/published-0.33.0.csv`.
#[test]
fn drafts_of_one_model_are_listed_and_cut_the_pool_anew() {
    let without = planned(QWEN38);
    let with = planned(&format!("{QWEN38}{DFLASH}"));
    assert_eq!(size(&with, BufferId::DraftWeights), Bytes::new(3_953_676_800));
    let [before, after] = [&without, &with].map(|answer| answer.plan.pool.unwrap());
    // Five layers a group, where the model alone has sixteen.
    assert_eq!((before.block_tokens, after.block_tokens), (before.block_tokens, 832));
    assert_eq!(after.block, Bytes::new(5 * 832 * 4096));
    assert!(after.tokens < before.tokens / 2, "{} of {}", after.tokens, before.tokens);
    // An assistant has no cache of its own.
    let gemma = "gpu = 'H100'\nmodel = 'gemma-4-31b'\nruntime = 'vllm'\ncontext = 8192\n";
    let draft = "draft = 'google/gemma-4-31B-it-assistant'\ndraft_tokens = 4\n";
    let [alone, assisted] = [planned(gemma), planned(&format!("{gemma}{draft}"))];
    assert_eq!(size(&assisted, BufferId::DraftWeights), Bytes::new(939_037_184));
    let [before, after] = [&alone, &assisted].map(|answer| answer.plan.pool.unwrap());
    assert_eq!((before.block, before.block_tokens), (after.block, after.block_tokens));
    // Words that are looked up take nothing but the tokens ahead.
    let looked_up = planned(&format!("{QWEN38}draft = 'ngram'\ndraft_tokens = 3\n"));
    assert!(size(&looked_up, BufferId::DraftWeights).is_zero());
    assert_eq!(looked_up.plan.pool.unwrap().block, without.plan.pool.unwrap().block);
}

/// A plan without what predicts is no plain "fits", whatever is left.
#[test]
fn a_draft_that_is_not_known_is_said_first() {
    for text in [
        format!("{QWEN38}draft = 'unknown'\ndraft_tokens = 3\nmax_seqs = 64\n"),
        "gpu = 'H100'\nmodel = 'qwen3-8b'\nruntime = 'llama.cpp'\nweights = 'q4_k_m'\ncontext = 4096\ndraft = 'unknown'\n"
            .to_owned(),
    ] {
        let answer = planned(&text);
        assert_eq!((answer.verdict, answer.reason), (Verdict::Tight, Some(Reason::UnknownDraft)));
        let shown = to_table(&Document::new(&resolved(&text).unwrap(), &answer));
        let first = shown.split("\n\n").next().unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(first.starts_with("tight: "), "{first}");
        assert!(first.contains("without what predicts tokens ahead, whose sizes are not known"), "{first}");
    }
}

/// vLLM keeps a state more of every request where prompts share what they begin with; from 0.26 on by default.
#[test]
fn shared_prompts_take_a_state_more() {
    let needs = |version: &str, more: &str| {
        let text = format!("{QWEN38}runtime_version = '{version}'\n{more}");
        let pool = planned(&text).plan.pool.unwrap();
        pool.start.needs.get() / pool.block.get()
    };
    let shared = "enable_prefix_caching = true\n";
    assert_eq!(needs("0.25.1", shared), needs("0.25.1", "") + 3);
    assert_eq!(needs("0.26.0", shared), needs("0.26.0", ""));
}

#[test]
fn drafts_that_vllm_would_not_run_are_refused() {
    for (told, why) in [
        ("draft = 'llama-3.2-1b'", "needs the number of tokens"),
        ("draft_tokens = 3", "there is none"),
        ("mtp = 1", "no layer that predicts"),
        ("draft = 'qwen2.5-0.5b'\ndraft_tokens = 3", "has a vocabulary of"),
        ("draft = 'eagle'\nmtp = 2", "not by both"),
        ("draft = 'z-lab/Qwen3.6-27B-DFlash'\ndraft_tokens = 3", "is for another model than"),
        ("lora = ['a.gguf']", "has no `--lora`"),
    ] {
        let said = refusal(&format!("{LLAMA}{told}"));
        assert!(said.contains(why), "{told}: {said}");
    }
    let windows = "gpu = 'H100'\nmodel = 'gemma-2-9b'\nruntime = 'vllm'\ncontext = 4096\n";
    let asked = resolved(&format!("{windows}draft = 'eagle'\ndraft_tokens = 3")).unwrap();
    assert!(answer(&asked).unwrap_err().to_string().contains("is not known"));
}

/// `evidence/vllm/offload-0.33.0.csv`: 2 GiB asked for are 2,181,103,616 B.
#[test]
fn weights_in_main_memory_are_taken_off_and_said() {
    let all = planned(LLAMA);
    let text = format!("{LLAMA}cpu_offload_gb = 2\nkv_offloading_size = 4");
    let some = planned(&text);
    let less = size(&all, BufferId::Weights).minus_or_zero(size(&some, BufferId::Weights));
    assert_eq!(less, Bytes::new(2_181_103_616));
    let host = some.plan.pool.unwrap().host;
    assert_eq!(host, Bytes::new(2_181_103_616 + (4 << 30)));
    let shown = to_table(&Document::new(&resolved(&text).unwrap(), &some));
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(shown.contains(&format!("it pins {host} of main memory")), "{shown}");
}

#[test]
fn swap_space_is_the_first_engines() {
    let old = planned(&format!("{LLAMA}runtime_version = '0.7.3'"));
    assert_eq!(old.plan.pool.unwrap().host, Bytes::new(4 << 30));
    let between = planned(&format!("{LLAMA}runtime_version = '0.11.2'\nswap_space = 8"));
    assert_eq!(between.plan.pool.unwrap().host, Bytes::ZERO);
    let said = refusal(&format!("{LLAMA}swap_space = 8"));
    assert!(said.contains("has no `--swap-space`"), "{said}");
}

#[test]
fn a_pool_of_a_given_size_has_that_many_blocks() {
    // `evidence/vllm/cache-0.33.0.csv` cuts 39,728,459,833 B into 18,944 blocks.
    let given = planned(&format!("{LLAMA}kv_cache_memory_bytes = '39728459833 B'"));
    assert_eq!(given.plan.pool.unwrap().blocks, 18_944);
    let longer =
        planned(&format!("{LLAMA}kv_cache_memory_bytes = '39728459833 B'\nblock_size = 64"));
    let pool = longer.plan.pool.unwrap();
    assert_eq!((pool.blocks, pool.block_tokens), (4736, 64));
    let small = planned(&format!("{LLAMA}kv_cache_memory_bytes = '39728459833 B'\nkv = 'nvfp4'"));
    assert_eq!(small.plan.pool.unwrap().blocks, 67_356);
    let latent = "gpu = 'H100'\nmodel = 'deepseek-v2-lite'\nruntime = 'vllm'\nkv = 'nvfp4'";
    assert!(answer(&resolved(latent).unwrap()).unwrap_err().to_string().contains("latent"));
    let old = resolved(&format!("{LLAMA}kv = 'nvfp4'\nruntime_version = '0.19'")).unwrap();
    assert!(answer(&old).unwrap_err().to_string().contains("vLLM 0.19 has no cache in `nvfp4`"));
}

#[test]
fn fewer_captured_steps_take_less() {
    let of = |told: &str| size(&planned(&format!("{LLAMA}{told}")), BufferId::CudaGraphs);
    assert!(of("max_cudagraph_capture_size = 64") < of(""));
    assert!(of("optimization_level = 1") < of(""));
    assert_eq!(of("optimization_level = 0"), Bytes::ZERO);
    assert!(of("max_loras = 2") > of(""));
}

/// `evidence/vllm/parallel-0.33.0.csv`: experts dealt out whole to two engines.
#[test]
fn kinds_of_parallelism_are_planned_together() {
    let moe = "gpu = 'H100'\nmodel = 'qwen3-30b-a3b'\nruntime = 'vllm'\ncontext = 8192\n";
    let text = format!("{moe}data_parallel_size = 2\nenable_expert_parallel = true");
    let answer = planned(&text);
    assert_eq!(answer.devices.len(), 2);
    assert_eq!(answer.devices[0].weights.0, Bytes::new(32_073_216_000));
    let mixed = planned(&format!("{LLAMA}tensor_parallel_size = 2\npipeline_parallel_size = 2"));
    let weights: Vec<u64> = mixed.devices.iter().map(|device| device.weights.0.get()).collect();
    assert_eq!(weights, [4_015_259_648, 4_015_259_648, 4_015_267_840, 4_015_267_840]);
    let said = refusal(&format!("{LLAMA}gpus = 4\ntensor_parallel_size = 2"));
    assert!(said.contains("are 2 GPUs, not 4"), "{said}");
    // Latent vectors are on every rank, unless their tokens are dealt out.
    let latent = "gpu = 'H200'\nmodel = 'deepseek-v3'\nruntime = 'vllm'\ncontext = 8192\ngpus = 16\n\
                  kv_cache_memory_bytes = '39728459833 B'\n";
    let tokens = |told: &str| planned(&format!("{latent}{told}")).plan.pool.unwrap().tokens;
    assert_eq!(tokens("decode_context_parallel_size = 8"), 4_522_752);
    let said = refusal(&format!("{LLAMA}gpus = 2\ndecode_context_parallel_size = 2"));
    assert!(said.contains("--decode-context-parallel-size"), "{said}");
}

/// DeepSeek-R1 is published in 8-bit floats with scales by blocks, which a server loads; files for llama.cpp are others.
#[test]
fn a_name_is_planned_in_the_format_that_it_is_published_in() {
    let asked = |runtime: &str, more: &str| {
        let text = format!("gpu = '8xH200'\nmodel = 'deepseek-r1'\nruntime = '{runtime}'\n{more}");
        resolved(&text).unwrap().weights.to_string()
    };
    assert_eq!(asked("vllm", ""), "fp8-block");
    assert_eq!(asked("sglang", ""), "fp8-block");
    assert_eq!(asked("vllm", "weights = 'bf16'"), "bf16");
    assert_eq!(asked("llama.cpp", "context = 8192"), "q4_k_m");
    let starts = planned("gpu = '8xH200'\nmodel = 'deepseek-r1'\nruntime = 'vllm'\ncontext = 8192");
    assert_eq!(starts.verdict, vramplan_planner::plan::Verdict::Fits);
}

const COPIES: &str = "gpu = '8xH200'\nmodel = 'deepseek-v3'\nruntime = 'sglang'\ncontext = 8192\n\
    tensor_parallel_size = 8\ndata_parallel_size = 8\n";

/// Copies of attention each have its weights and caches whole; experts, dense layers and the output head stay split.
#[test]
fn sglangs_copies_of_attention_are_planned_and_engines_that_share_nothing_are_not() {
    let said = refusal(COPIES);
    assert!(said.contains("make up 64 GPUs, and `--gpu` names 8"), "{said}");
    let said = refusal(&COPIES.replace("8xH200", "H200").replace("size = 8\n", "size = 2\n"));
    assert!(said.contains("share nothing"), "{said}");
    let together = planned(&COPIES.replace("data_parallel_size = 8\n", ""));
    let copies = planned(&format!("{COPIES}enable_dp_attention = true"));
    let weights = |answer: &Answer| {
        answer
            .plan
            .buffers
            .iter()
            .filter(|b| b.component == vramplan_planner::estimate::Component::Weights)
            .map(|b| b.size.expected.get())
            .sum::<u64>()
    };
    // Attention of 61 layers and the embedding, seven eighths of which other ranks have without copies.
    let more = weights(&copies) - weights(&together);
    assert!((8 << 30..16 << 30).contains(&more), "{more}");
    let uneven = COPIES.replace("data_parallel_size = 8", "data_parallel_size = 3");
    let said = refusal(&format!("{uneven}enable_dp_attention = true"));
    assert!(said.contains("--data-parallel-size"), "{said}");
}

/// What predicts is loaded before the pool since 0.5.14; before, the share of the card left it room.
#[test]
fn sglangs_predictions_make_the_pool_smaller() {
    let base = "gpu = 'H100'\nmodel = 'llama-3.1-8b'\nruntime = 'sglang'\ncontext = 8192\nmem_fraction_static = '0.8'\n";
    let tokens = |more: &str| planned(&format!("{base}{more}")).plan.pool.unwrap().tokens;
    let head = "draft = 'eagle3'\ndraft_tokens = 3\n";
    let old = "runtime_version = '0.5.9'\n";
    assert!(tokens(head) < tokens(""));
    assert_eq!(tokens(&format!("{old}{head}")), tokens(old));
    let drafted = planned(&format!("{base}{head}"));
    assert!(!size(&drafted, BufferId::DraftWeights).is_zero());
    let pages = planned(&format!("{base}block_size = 64\nmax_total_tokens = 100000"));
    let pool = pages.plan.pool.unwrap();
    assert_eq!((pool.block_tokens, pool.tokens), (64, 99_968));
}

/// `_auto_choose_speculative_params`: a tree of eight tokens for Llama's heads, three steps for others and for draft models.
#[test]
fn sglang_chooses_how_far_it_predicts() {
    let ahead = |model: &str, told: &str| {
        let text = format!("gpu = 'H100'\nmodel = '{model}'\nruntime = 'sglang'\n{told}");
        let options = resolved(&text).unwrap().options();
        options.token_serving().unwrap().server.ahead
    };
    assert_eq!(ahead("llama-3.1-8b", "draft = 'eagle3'"), 7);
    assert_eq!(ahead("llama-3.1-8b", "draft = 'llama-3.2-1b'"), 3);
    assert_eq!(ahead("qwen3-14b", "draft = 'eagle3'"), 3);
    assert_eq!(ahead("llama-3.1-8b", "draft = 'eagle3'\ndraft_tokens = 15"), 15);
}

/// The reserve has 2 MiB for each request of the largest captured batch, where the floor of 10 GiB of large cards is not higher;
/// smaller graphs take less beside the share, too.
#[test]
fn sglangs_captured_batches_are_as_large_as_asked() {
    let told = |more: &str| {
        let text =
            format!("gpu = 'L4'\nmodel = 'qwen3-4b'\nruntime = 'sglang'\ncontext = 8192\n{more}");
        let answer = planned(&text);
        (answer.plan.pool.unwrap().limit, size(&answer, BufferId::CudaGraphs))
    };
    let (limit, graphs) = told("");
    let (small_limit, small) = told("max_cudagraph_capture_size = 8");
    let (large_limit, large) = told("max_cudagraph_capture_size = 160");
    assert!(small < graphs && graphs < large, "{small} {graphs} {large}");
    // 152 requests more are 304 MiB, which the share has to three digits of 22.49 GiB.
    let apart = small_limit.minus_or_zero(large_limit).get() >> 20;
    assert!((280..=328).contains(&apart), "{apart}");
    assert!(large_limit < limit && limit <= small_limit);
}

const VISION: &str = "gpu = 'H100'\nmodel = 'qwen3.5-9b'\nruntime = 'vllm'\ncontext = 8192\n";

fn left(answer: &Answer) -> Bytes {
    let pool = answer.plan.pool.unwrap();
    pool.limit.minus_or_zero(pool.fixed.expected)
}

/// The engine encodes the largest image or video before it cuts its pool, unless prompts have neither.
#[test]
fn what_prompts_may_have_leaves_less_for_the_pool() {
    let any = planned(VISION);
    let images = planned(&format!("{VISION}limit_mm_per_prompt = 'image=2,video=0'"));
    assert_eq!(left(&any), left(&images), "it profiles one image whatever their number");
    assert!(size(&any, BufferId::ImagePixels) > Bytes::ZERO);
    let small = planned(&format!("{VISION}max_pixels = 1003520"));
    assert!(left(&small) > left(&any));
    let unprofiled = planned(&format!("{VISION}skip_mm_profiling = true"));
    assert_eq!(size(&unprofiled, BufferId::ImagePixels), Bytes::ZERO);
    assert!(size(&unprofiled, BufferId::VisionTower) > Bytes::ZERO, "it is loaded");
    for text in
        ["language_model_only = true", "limit_mm_per_prompt = 'image=0,video=0'", "images = 0"]
    {
        let alone = planned(&format!("{VISION}{text}"));
        assert_eq!(size(&alone, BufferId::VisionTower), Bytes::ZERO, "{text}");
        assert!(left(&alone) > left(&unprofiled), "{text}");
    }
}

/// Releases before 0.11 load the encoder whatever prompts may have.
#[test]
fn old_releases_load_the_encoder_and_do_not_run_it() {
    let old = format!("{VISION}runtime_version = '0.10.2'\nlanguage_model_only = true");
    let old = planned(&old);
    assert!(size(&old, BufferId::VisionTower) > Bytes::ZERO);
    assert_eq!(size(&old, BufferId::ImagePixels), Bytes::ZERO);
}

#[test]
fn what_prompts_may_have_is_said_again() {
    let told =
        "limit_mm_per_prompt = 'image=2,video=0'\nmax_pixels = 1003520\nskip_mm_profiling = true";
    let deployment = resolved(&format!("{VISION}{told}")).unwrap();
    let again = deployment.resolved();
    assert_eq!(
        again.limit_mm_per_prompt.map(|limits| limits.to_string()).as_deref(),
        Some("image=2,video=0")
    );
    assert_eq!(
        (again.max_pixels, again.skip_mm_profiling, again.images),
        (Some(1_003_520), true, None)
    );
    let said = refusal(
        "gpu = 'H100'\nmodel = 'qwen3.5-9b'\nruntime = 'llama.cpp'\nlanguage_model_only = true",
    );
    assert!(said.contains("has no `--language-model-only`"), "{said}");
}

/// Prompts that begin alike share states where that is asked for, and from 0.26 on by default: `club-3090#612`, 0.24.0 with
/// `--enable-prefix-caching`, counts 69 blocks for a request of 131,072 tokens, 63 of them of full layers.
#[test]
fn shared_states_take_more_blocks_of_a_request() {
    let of = |told: &str| {
        let answer = planned(&format!(
            "gpu = 'RTX 5090'\nmodel = 'qwen3.6-35b-a3b'\nweights = 'nvfp4'\nruntime = 'vllm'\ncontext = 131072\n\
            kv = 'fp8'\nmax_seqs = 1\nprefill_chunk = 8192\n{told}"
        ));
        let pool = answer.plan.pool.unwrap();
        pool.start.needs.get() / pool.block.get()
    };
    assert_eq!(of("runtime_version = '0.24'\nenable_prefix_caching = true"), 69);
    assert_eq!(of("runtime_version = '0.24'"), 66);
    assert_eq!(of("runtime_version = '0.26'"), 69);
    assert_eq!(of("runtime_version = '0.26'\nno_enable_prefix_caching = true"), 66);
}

/// State-space layers of 0.26 and 0.27 keep a state for every block of a prompt.
#[test]
fn states_of_every_block_are_as_many_as_blocks() {
    let of = |version: &str| {
        let answer = planned(&format!(
            "gpu = 'H100'\nmodel = 'granite-4.0-h-small'\nruntime = 'vllm'\ncontext = 131072\nruntime_version = '{version}'"
        ));
        answer.plan.pool.unwrap().start.needs
    };
    assert!(of("0.27") > of("0.25").times(4).unwrap());
    assert!(of("0.28") < of("0.27"));
}

/// What is not quantized has a type; what is keeps its format.
#[test]
fn a_type_is_of_what_is_not_quantized() {
    let weights = |text: &str| {
        let told = format!("gpu = 'L4'\nruntime = 'vllm'\n{text}");
        resolved(&told).unwrap().weights.to_string()
    };
    assert_eq!(weights("model = 'Qwen/Qwen2.5-14B-Instruct-AWQ'\ndtype = 'half'"), "awq-int4");
    assert_eq!(weights("model = 'qwen2.5-14b'\ndtype = 'half'"), "f16");
    assert_eq!(weights("model = 'qwen2.5-14b'\nweights = 'awq-int4'\ndtype = 'half'"), "awq-int4");
    assert_eq!(weights("model = 'gpt-oss-20b'\ndtype = 'bfloat16'"), "mxfp4");
}

/// Repositories whose rules are known are planned by them, and others' bounds hold what publishers leave in 16 bits.
#[test]
fn a_format_by_its_name_leaves_open_what_is_quantized() {
    let weights = |model: &str| {
        let answer = planned(&format!(
            "gpu = 'A6000'\nmodel = '{model}'\nruntime = 'vllm'\ncontext = 8192\nmax_seqs = 1"
        ));
        let of = |buffer: &&vramplan_planner::estimate::Buffer| buffer.id == BufferId::Weights;
        answer.plan.buffers.iter().find(of).unwrap().size
    };
    let listed = weights("nvidia/Qwen3.6-27B-NVFP4");
    assert!(listed.high < listed.expected.scale(103, 100).unwrap(), "{listed:?}");
    // What ranks and cards held of Qwen3.8 27B: NVIDIA's, Unsloth's on two cards, Inferact's on two.
    let open = weights("somebody/Qwen3.8-27B-NVFP4");
    for gib in [19.75, 2.0 * 10.64, 2.0 * 12.02] {
        let held = gib * Bytes::GIB.as_f64();
        assert!(open.low.as_f64() < held && held < open.high.as_f64(), "{gib} {open:?}");
    }
}

const WORKSPACE: BufferId = BufferId::AttentionWorkspace;
/// A cache in 8 bits, which `FlashAttention` 2 does not read.
const NARROW: &str = "gpu = 'RTX 5090'\nmodel = 'qwen3.8-27b'\nruntime = 'vllm'\nweights = 'nvfp4'\nkv = 'fp8'\n\
                      max_model_len = 32768\nmax_seqs = 1\n";

/// vllm-project/vllm#52872 prints 0.89 GiB of graphs in steps of 8192 tokens, 0.52 in shorter ones; the release before has
/// one size.
#[test]
fn flashinfer_works_in_what_a_step_may_need() {
    let workspace = |told: &str| size(&planned(&format!("{NARROW}{told}")), WORKSPACE);
    let of = |version: &str, chunk: u64| {
        workspace(&format!("runtime_version = '{version}'\nprefill_chunk = {chunk}"))
    };
    let least = Bytes::new(394 << 20);
    assert_eq!(of("0.27", 8192), Bytes::new(8192 * 24 * 256 * 16));
    assert_eq!(of("0.27", 4096), least, "4096 · 24 · 256 · 16 are 384 MiB");
    assert_eq!(of("0.25", 8192), least);
    for others in ["gpu = 'H100'\n", "gpu = 'RTX 5090'\nkv = 'bf16'\n"] {
        let model = "model = 'qwen3.8-27b'\nruntime = 'vllm'\nweights = 'fp8-block'\nmax_model_len = 32768\n";
        let kv = if others.contains("kv") { "" } else { "kv = 'fp8'\n" };
        let answer = planned(&format!("{others}{model}{kv}"));
        assert_eq!(size(&answer, WORKSPACE), Bytes::ZERO, "{others}");
    }
}

/// Whole graphs are not captured where `FlashInfer`'s own kernels would decode drafted tokens, to 0.32: the workspace comes with
/// the warm-up of kernels then, but for the second runner.
#[test]
fn flashinfers_workspace_is_where_metadata_are_built() {
    let beside = BufferId::Other("FlashInfer's workspace, made when kernels are warmed up");
    for (told, is_counted) in [
        ("runtime_version = '0.27'", true),
        ("runtime_version = '0.27'\nmtp = 3", false),
        ("runtime_version = '0.27'\nenforce_eager = true", false),
        ("runtime_version = '0.29'\nmtp = 3", true),
        ("runtime_version = '0.33'\nmtp = 3", true),
    ] {
        let told = &format!("prefill_chunk = 8192\n{told}");
        let answer = planned(&format!("{NARROW}{told}"));
        let found = [WORKSPACE, beside].map(|id| size(&answer, id) > Bytes::ZERO);
        assert_eq!(found, [is_counted, !is_counted], "{told}");
    }
    // XQA's kernels decode from 0.28 on, in a buffer of their own.
    let sizes = |version: &str| {
        let told = format!("{NARROW}prefill_chunk = 8192\nruntime_version = '{version}'");
        let answer = planned(&told);
        [WORKSPACE, beside].map(|id| size(&answer, id).get() >> 20)
    };
    assert_eq!(sizes("0.28"), [394, 768]);
    assert_eq!(sizes("0.29"), [394 + 768, 0]);
}

/// The first runner rejects as many drafts as sequences in its profile run: 26 B a sequence and word, not 14.
#[test]
fn rejecting_drafts_takes_more_than_sampling() {
    let server = "gpu = 'H100'\nmodel = 'qwen3.6-27b'\nruntime = 'vllm'\nweights = 'fp8-block'\n\
                  max_model_len = 32768\nmax_seqs = 1024\n";
    let logits = |told: &str| {
        let answer = planned(&format!("{server}{told}"));
        let mine = answer.plan.buffers.iter().filter(|buffer| buffer.id.label().contains("random"));
        Bytes::sum(mine.map(|buffer| buffer.size.expected)).unwrap()
    };
    let words = 1024 * 248_320;
    assert_eq!(logits("runtime_version = '0.27'"), Bytes::new(words * 14));
    assert_eq!(logits("runtime_version = '0.27'\nmtp = 3"), Bytes::new(words * 26));
    assert_eq!(logits("mtp = 3\nruntime_version = '0.29'").get(), 0);
}

/// What a request of the longest kind holds of Qwen3.6 where prefixes are shared: 2 + 3 states a group, so 179 blocks, as the
/// tokens of noonghunna/club-3090#594 say (205/179 of 262,144).
#[test]
fn prefixes_that_are_shared_cost_a_block_of_each_recurrent_layer() {
    let server = "gpu = 'RTX 3090'\ngpus = 2\nsplit = 'tensor'\nmodel = 'qwen3.6-27b'\nruntime = 'vllm'\nkv = 'fp8'\n\
                  weights = 'fp8-block'\nmax_model_len = 262144\nmax_seqs = 2\nmtp = 3\nprefill_chunk = 8192\n";
    let of_one = |told: &str| {
        let pool = planned(&format!("{server}{told}")).plan.pool.unwrap();
        pool.start.needs.get() / pool.block.get()
    };
    assert_eq!(of_one("runtime_version = '0.24'"), 176);
    assert_eq!(of_one("runtime_version = '0.24'\nenable_prefix_caching = true"), 179);
    assert_eq!(of_one("runtime_version = '0.28'"), 179);
    assert_eq!(of_one("runtime_version = '0.28'\nno_enable_prefix_caching = true"), 176);
    let said = refusal(
        "gpu = 'H100'\nmodel = 'qwen3.5-9b'\nruntime = 'sglang'\nenable_prefix_caching = true",
    );
    assert!(said.contains("--enable-prefix-caching"), "{said}");
}

/// Images are encoded before experts have their workspaces, so that the pool is left by the larger of both.
#[test]
fn encoders_run_before_experts_have_workspaces() {
    let server = "gpu = 'RTX 5090'\nmodel = 'qwen3.6-35b-a3b'\nruntime = 'vllm'\nruntime_version = '0.24'\n\
                  weights = 'nvfp4'\nmax_model_len = 32768\nmax_seqs = 1\n";
    let left = |chunk: u64| left(&planned(&format!("{server}prefill_chunk = {chunk}")));
    let workspaces = |chunk: u64| {
        size(&planned(&format!("{server}prefill_chunk = {chunk}")), BufferId::ExpertWorkspaces)
    };
    assert_eq!(workspaces(8192), workspaces(4096).times(2).unwrap());
    assert_eq!(left(8192), left(4096), "the encoder takes more than a step with its workspaces");
}

/// A name that ends in a format asks for that format under every runtime, and is refused where the runtime does not load it.
#[test]
fn a_format_in_a_name_is_planned_or_refused() {
    let weights = |text: &str| {
        let deployment = resolved(&format!("gpu = 'L4'\n{text}")).unwrap();
        (deployment.kind(), deployment.weights.to_string())
    };
    let llama = |format: &str| (Runtime::LlamaCpp, format.to_owned());
    let vllm = |format: &str| (Runtime::Vllm, format.to_owned());
    let tag = weights("model = 'llama3.1:8b-instruct-fp16'");
    assert_eq!(tag, (Runtime::Ollama, "f16".to_owned()));
    assert_eq!(weights("model = 'qwen3-8b-bf16'\nruntime = 'llama.cpp'"), llama("bf16"));
    assert_eq!(weights("model = 'qwen2.5-14b-awq'"), vllm("awq-int4"));
    assert_eq!(weights("model = 'qwen3-8b-fp8'"), vllm("fp8-block"));
    assert_eq!(weights("model = 'qwen3-8b-q4_k_m'\nruntime = 'vllm'"), vllm("q4_k_m"));
    // What is said beside the name counts.
    assert_eq!(
        weights("model = 'qwen2.5-14b-awq'\nweights = 'q8_0'\nruntime = 'llama.cpp'"),
        llama("q8_0")
    );
    assert_eq!(weights("model = 'gpt-oss-20b-mxfp4'\nruntime = 'llama.cpp'"), llama("mxfp4_moe"));
    for (model, runtime) in [
        ("qwen2.5-14b-awq", "llama.cpp"),
        ("nvidia/Qwen3.6-27B-NVFP4", "llama.cpp"),
        ("qwen3-8b-q4_k_m", "transformers"),
    ] {
        let asked = resolved(&format!("gpu = 'L4'\nmodel = '{model}'\nruntime = '{runtime}'"));
        let refused = asked.map_or_else(
            |error| error.to_string(),
            |asked| answer(&asked).unwrap_err().to_string(),
        );
        assert!(refused.contains("cannot hold weights as"), "{model}: {refused}");
    }
}
