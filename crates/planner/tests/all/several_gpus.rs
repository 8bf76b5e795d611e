//! Laws that hold for every model that is spread over several GPUs.

use crate::support::{Case, card};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::sync::Arc;
use vramplan_planner::estimate::BufferId;
use vramplan_planner::estimate::Component;
use vramplan_planner::estimate::placement::{Room, Spread, parts};
use vramplan_planner::estimate::{weights_of, weights_of_part};
use vramplan_planner::plan::Verdict;
use vramplan_planner::read::Catalog;
use vramplan_planner::recommend::{Answer, Solver, answer};
use vramplan_planner::render::{Document, from_json, to_json};
use vramplan_planner::spec::{Part, Runtime, Split};
use vramplan_planner::units::Bytes;

const MODELS: [&str; 13] = [
    "qwen2.5-7b",
    "qwen2.5-14b",
    "llama-3.1-8b",
    "gemma-2-9b",
    "gemma-3-27b",
    "qwen3-30b-a3b",
    "deepseek-v2-lite",
    "gpt-oss-20b",
    "llama-3.1-70b",
    "gemma-4-31b",
    HYBRID,
    "qwen2.5-vl-7b",
    "qwen3-vl-8b",
];
const HYBRID: &str = "granite-4.0-h-1b";
const GPUS: [&str; 4] = ["T4", "L4", "RTX 4090", "A100-80GB"];
/// Runtimes that spread models, and how.
const WAYS: [(Runtime, Split); 7] = [
    (Runtime::LlamaCpp, Split::Layer),
    (Runtime::LlamaCpp, Split::Tensor),
    (Runtime::Transformers, Split::Layer),
    (Runtime::Vllm, Split::Layer),
    (Runtime::Vllm, Split::Tensor),
    (Runtime::Sglang, Split::Layer),
    (Runtime::Sglang, Split::Tensor),
];

/// Whether a runtime serves many requests from one pool.
fn serves(runtime: Runtime) -> bool {
    matches!(runtime, Runtime::Vllm | Runtime::Sglang)
}

/// The case on further GPUs of these names.
fn beside(mut case: Case, split: Split, names: &[&str]) -> Case {
    let catalog = Catalog::built_in();
    let headroom = case.headroom;
    let others = names.iter().map(|name| card(catalog.gpu(name).unwrap(), headroom)).collect();
    let first = case.cards.first().clone();
    case.split = split;
    let ranks = if split == Split::Tensor { names.len() as u64 + 1 } else { 1 };
    let runtime = Arc::make_mut(&mut case.runtime);
    runtime.options = runtime.options.with_ranks(ranks);
    case.on(first, others)
}

fn case() -> impl Strategy<Value = (Case, Split, &'static str)> {
    let some = (
        prop::sample::select(WAYS.to_vec()),
        prop::sample::select(MODELS.to_vec()),
        prop::sample::select(GPUS.to_vec()),
        prop::sample::select(vec![64u64, 512, 2048]),
        1u64..4,
    );
    // Transformers' scan of state-space layers is not planned; llama.cpp's stages of them have main memory beside them.
    let planned = |(way, model, ..): &((Runtime, Split), &str, &str, u64, u64)| {
        let refused = [(Runtime::Transformers, Split::Layer), (Runtime::LlamaCpp, Split::Layer)];
        *model != HYBRID || !refused.contains(way)
    };
    let planned = some.prop_filter("a planned pair", planned);
    planned.prop_map(|((runtime, split), model, gpu, chunk, batch)| {
        let mut case = Case::new(gpu, model, runtime);
        if model == HYBRID && serves(runtime) {
            // vLLM repeats no groups of quantized state-space layers.
            case = case.weights("bf16");
        }
        case.workload.system_tokens = 2000;
        case.workload.prefill_chunk = chunk;
        case.workload.batch = batch;
        (case, split, gpu)
    })
}

fn parts_of(case: &Case) -> Vec<Part> {
    let rooms: Vec<_> =
        case.cards.iter().map(|c| Room { gpu: &c.gpu, usable: c.capacity.usable }).collect();
    let spread = Spread {
        model: &case.model,
        format: case.weights,
        runtime: &case.runtime,
        split: case.split,
        images: case.workload.images,
    };
    parts(&spread, &rooms).unwrap()
}

fn caches(answer: &Answer) -> u64 {
    let caches = [Component::SystemPromptCache, Component::ConversationCache];
    let buffers = answer.devices.iter().flat_map(|device| &device.plan.buffers);
    let kept = [BufferId::KeysAndValues, BufferId::WindowKeysAndValues, BufferId::RecurrentStates];
    let mine = buffers.filter(|b| caches.contains(&b.component) && kept.contains(&b.id));
    mine.map(|buffer| buffer.size.expected.get()).sum()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    #[test]
    fn weights_add_up_to_those_of_one_gpu((case, split, gpu) in case(), more in 1usize..4) {
        let more = if split == Split::Tensor { [1, 3][more % 2] } else { more };
        let others = vec![gpu; more];
        let case = beside(case, split, &others);
        let whole = weights_of(&case.model, case.weights, &case.runtime).unwrap();
        // Scales of a split matrix are rounded up, and so are rows padded for each GPU.
        let (case, whole) = if split == Split::Tensor {
            let plain = if serves(case.kind()) { "bf16" } else { "f16" };
            let case = case.weights(plain);
            let whole = weights_of(&case.model, case.weights, &case.runtime).unwrap();
            (case, whole)
        } else {
            (case, whole)
        };
        let (mut own, mut tower) = (Bytes::ZERO, Bytes::ZERO);
        let mut next = 0;
        for part in parts_of(&case) {
            let mine = weights_of_part(&case.model, case.weights, &case.runtime, &part).unwrap();
            own = own.plus(mine.device.minus_or_zero(mine.repeated)).unwrap();
            tower = tower.plus(mine.vision.minus_or_zero(mine.vision_repeated)).unwrap();
            if split == Split::Layer {
                prop_assert_eq!(part.layers.start, next);
                next = part.layers.end;
            }
        }
        prop_assert!(split == Split::Tensor || next == case.model.shape.n_layers);
        prop_assert_eq!(tower, whole.vision);
        // gpt-oss's experts are padded on every rank, and fewer key heads than ranks are repeated, as
        // groups of state-space layers are.
        let padded = split == Split::Tensor && serves(case.kind())
            && (case.model.name == "gpt-oss-20b" || case.model.shape.ssm.is_some() || case.model.shape.kv_heads <= more as u64);
        prop_assert!(own == whole.device || (padded && own > whole.device), "{own} of {}", whole.device);
    }

    #[test]
    fn another_equal_gpu_never_lowers_the_cache((case, split, gpu) in case()) {
        let mut least = 0;
        for gpus in [1usize, 2, 4] {
            let case = beside(case.clone(), split, &vec![gpu; gpus - 1]);
            let recommendation = Solver::new(&case).unwrap().recommend().unwrap();
            let balanced = recommendation.tiers.balanced.max_cache_tokens;
            prop_assert!(balanced >= least, "{balanced} tokens on {gpus} {gpu}, {least} on fewer: {} {:?} {split}", case.model.name, case.kind());
            least = balanced;
        }
    }

    #[test]
    fn the_binding_gpu_is_the_documents(
        (case, split, gpu) in case(),
        other in prop::sample::select(GPUS.to_vec()),
    ) {
        let case = beside(case, split, &[other]).cache(4000);
        let answer = case.answer();
        let document = Document::new(&case, &answer);
        let names: Vec<_> = document.devices.iter().map(|device| device.gpu.as_str()).collect();
        prop_assert_eq!(names, [gpu, other]);
        let binding = &answer.devices[answer.binding];
        prop_assert_eq!(&binding.plan, &answer.plan);
        prop_assert_eq!(document.devices.iter().filter(|device| device.binding).count(), 1);
        let any = |verdict| document.devices.iter().any(|device| device.verdict == verdict);
        let all_fit = document.devices.iter().all(|device| device.verdict == Verdict::Fits);
        prop_assert!(!any(Verdict::DoesNotFit) || document.verdict == Verdict::DoesNotFit);
        prop_assert!(document.verdict != Verdict::Fits || all_fit);
        let json = to_json(&document).unwrap();
        prop_assert_eq!(from_json(&json).unwrap(), document);
    }

    #[test]
    fn caches_add_up_to_those_of_one_gpu((case, split, gpu) in case(), more in 1usize..4) {
        prop_assume!(split == Split::Layer && !serves(case.kind()));
        let case = case.cache(3000);
        let on_two = beside(case.clone(), split, &["A100-80GB", "A100-80GB"]).answer();
        let on_more = beside(case, split, &vec![gpu; more]).answer();
        prop_assert_eq!(caches(&on_two), caches(&on_more));
    }
}

#[test]
fn a_larger_card_gets_more_layers() {
    let case = beside(Case::new("T4", "llama-3.1-8b", Runtime::LlamaCpp), Split::Layer, &["L4"]);
    let counts: Vec<_> =
        parts_of(&case).into_iter().map(|p| p.layers.end - p.layers.start).collect();
    assert_eq!(counts.iter().sum::<u64>(), 32);
    assert!(counts[1] > counts[0], "{counts:?}");
}

#[test]
fn the_own_engine_runs_on_one_gpu() {
    let case = beside(Case::new("L4", "qwen2.5-14b", Runtime::Vramplan), Split::Layer, &["L4"]);
    let error = answer(&case).unwrap_err();
    assert_eq!(error.to_string(), "the `vramplan` runtime cannot spread a model over 2 GPUs");
    assert!(error.hint().unwrap().contains("--runtime llama.cpp"));
}

fn on_equals(model: &str, runtime: Runtime, split: Split, gpus: usize) -> Case {
    beside(Case::new("A100-80GB", model, runtime).cache(4000), split, &vec!["A100-80GB"; gpus - 1])
}

#[test]
fn a_tower_is_where_the_runtime_puts_it() {
    let towers = |runtime, split| -> Vec<u64> {
        let answer = on_equals("qwen2.5-vl-7b", runtime, split, 2).answer();
        let of = |device: &vramplan_planner::recommend::DevicePlan| {
            let mine = device.plan.buffers.iter().filter(|b| b.id == BufferId::VisionTower);
            mine.map(|buffer| buffer.size.expected.get()).sum()
        };
        answer.devices.iter().map(of).collect()
    };
    let first = towers(Runtime::Transformers, Split::Layer);
    assert!(first[0] > 0 && first[1] == 0, "{first:?}");
    let stages = towers(Runtime::Vllm, Split::Layer);
    assert!(stages[0] > 0 && stages[0] == stages[1], "{stages:?}");
    let ranks = towers(Runtime::Vllm, Split::Tensor);
    assert!(ranks[0] == ranks[1] && ranks[0] * 2 < stages[0] * 21 / 20, "{ranks:?} {stages:?}");
    assert_eq!(towers(Runtime::LlamaCpp, Split::Layer), [0, 0]);
}

#[test]
fn a_tower_that_would_be_cut_is_refused() {
    let case = on_equals("qwen2.5-vl-3b", Runtime::Transformers, Split::Layer, 4).weights("nf4");
    let error = answer(&case).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("what `qwen2.5-vl-3b` takes on 4 GPUs under `transformers`"),
        "{text}"
    );
    assert!(text.ends_with("accelerate would spread its vision tower, too"), "{text}");
    assert!(error.hint().unwrap().contains("`--images 0`"));
    let mut text_only = case;
    text_only.workload.images = Some(0);
    answer(&text_only).unwrap();
}

#[test]
fn layers_that_read_images_stay_on_the_first_gpu() {
    let case = on_equals("qwen3-vl-8b", Runtime::Vllm, Split::Layer, 16);
    let error = answer(&case).unwrap_err();
    assert!(error.to_string().starts_with("the first 3 layers of `qwen3-vl-8b`"), "{error}");
    assert!(error.hint().unwrap().contains("`--gpus 12`"));
    let case = on_equals("qwen3-vl-8b", Runtime::LlamaCpp, Split::Layer, 32);
    let error = answer(&case).unwrap_err();
    assert!(error.to_string().contains("read the embeddings of images"), "{error}");
}

/// Gemma 4's full layers have 4 heads of 512, its others 16 of 256, of which each GPU has its own.
#[test]
fn layers_that_differ_are_counted_where_they_are() {
    let case = on_equals("gemma-4-31b", Runtime::LlamaCpp, Split::Layer, 16);
    let answer = case.answer();
    let cells = |device: &vramplan_planner::recommend::DevicePlan| {
        let layers = device.part.layers.clone();
        let full = layers.filter(|index| (index + 1) % 6 == 0).count();
        let keys = device.plan.buffers.iter().filter(|b| b.id == BufferId::KeysAndValues);
        (full, keys.map(|b| b.size.expected.get()).sum::<u64>())
    };
    let each: Vec<_> = answer.devices.iter().map(cells).collect();
    let one = each.iter().find(|(full, _)| *full == 1).unwrap().1;
    assert!(each.iter().all(|(full, bytes)| *bytes == one * *full as u64), "{each:?}");
    assert!(each.iter().any(|(full, _)| *full == 0), "{each:?}");
}

#[test]
fn stages_of_state_space_layers_take_more_than_a_run_of_layers() {
    let compute = |answer: &Answer, index: usize| -> u64 {
        let buffers = answer.devices[index].plan.buffers.iter();
        let results = buffers.filter(|buffer| buffer.component == Component::Activations);
        results.map(|buffer| buffer.size.expected.get()).sum()
    };
    let by_layers = on_equals(HYBRID, Runtime::LlamaCpp, Split::Layer, 2).answer();
    let by_rows = on_equals(HYBRID, Runtime::LlamaCpp, Split::Tensor, 2).answer();
    // Main memory is a device beside the two.
    assert_eq!(by_layers.devices.len(), 3);
    assert!(compute(&by_layers, 0) > compute(&by_rows, 0));
}
