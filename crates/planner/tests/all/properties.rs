//! Laws that hold for every plan.

use crate::support::Case;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use vramplan_planner::estimate::{BufferId, Component};
use vramplan_planner::plan::{Plan, Verdict, plan};
use vramplan_planner::recommend::{Solver, TierName};
use vramplan_planner::render::{Document, from_json, to_json};
use vramplan_planner::spec::{Attention, Bounds, Logits, ModelSpec, Runtime};
use vramplan_planner::units::Bytes;

const MODELS: [&str; 8] = [
    "qwen2.5-0.5b",
    "qwen2.5-14b",
    "llama-3.1-8b",
    "gemma-2-9b",
    "qwen3-30b-a3b",
    "deepseek-v2-lite",
    "gpt-oss-20b",
    "phi-4",
];
const GPUS: [&str; 5] = ["T4", "L4", "RTX 4090", "A100-80GB", "H200"];

fn runtime() -> impl Strategy<Value = Runtime> {
    prop::sample::select(Runtime::ALL.to_vec())
}

fn case() -> impl Strategy<Value = Case> {
    (
        runtime(),
        prop::sample::select(MODELS.to_vec()),
        prop::sample::select(GPUS.to_vec()),
        0u64..4000,
        prop::sample::select(vec![1u64, 7, 64, 512, 2000]),
        1u64..4,
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(runtime, model, gpu, system_tokens, chunk, batch, eager, all)| {
            let mut case = Case::new(gpu, model, runtime);
            case.workload.system_tokens = system_tokens;
            case.workload.prefill_chunk = chunk;
            case.workload.batch = batch;
            if eager && matches!(runtime, Runtime::Transformers | Runtime::LlamaCpp) {
                case.workload.attention = Attention::Eager;
                if runtime == Runtime::LlamaCpp {
                    // A quantized cache needs flash attention there.
                    case.kv = "f16".parse().unwrap();
                }
            }
            if all && !matches!(runtime, Runtime::Vllm | Runtime::Sglang) {
                case.workload.logits = Logits::All;
            }
            if model == "gpt-oss-20b" && runtime == Runtime::Vramplan {
                case.weights = "q8_0".parse().unwrap();
            }
            case
        })
}

fn at(case: &Case, tokens: u64) -> Plan {
    let case = case.clone().cache(tokens);
    let solver = Solver::new(&case).unwrap();
    plan(&solver.scenario(tokens), case.capacity()).unwrap()
}

/// Every bound of what one plan asks for is at least the other's. A pool is there whether it is full
/// or not: what fills it counts. llama.cpp's compute buffer has holes that depend on how its tensors
/// happen to fit: there, what stays is compared.
fn at_least(larger: &Plan, smaller: &Plan, case: &Case) -> bool {
    if case.kind() == Runtime::LlamaCpp {
        let mut phases = larger.phases.iter().zip(&smaller.phases);
        return phases.all(|(larger, smaller)| larger.persistent >= smaller.persistent);
    }
    let counted = |plan: &Plan| match case.kind() {
        Runtime::Transformers => without_remainders(plan),
        _ => plan.demand().varies(),
    };
    let (larger, smaller) = (counted(larger), counted(smaller));
    larger.low >= smaller.low && larger.expected >= smaller.expected && larger.high >= smaller.high
}

/// What a plan asks for, less what PyTorch's allocator cannot use of its segments. That is no law: how requests
/// fit into segments is a matter of their sizes, so that a longer cache may fill a hole that a shorter one leaves,
/// with the real allocator as in its play. What segments' remainders are is compared with runs instead.
fn without_remainders(plan: &Plan) -> Bounds {
    let is_remainder = |id: &BufferId, component| {
        component == Component::Fragmentation && *id != BufferId::WeightRounding
    };
    let remainders = plan.buffers.iter().filter(|it| is_remainder(&it.id, it.component));
    remainders.fold(plan.demand().varies(), |left, buffer| {
        let less = |from: Bytes, size: Bytes| Bytes::new(from.get() - size.get());
        let size = buffer.size;
        Bounds::new(
            less(left.low, size.low),
            less(left.expected, size.expected),
            less(left.high, size.high),
        )
    })
}

/// Tokens that make everything attended to a multiple of 8: PyTorch's kernels copy masks of other
/// widths, so that in between more tokens can take less.
fn aligned(case: &Case, tokens: u64) -> u64 {
    let system = case.workload.system_tokens;
    (system + tokens).next_multiple_of(8) - system
}

/// A model with one more layer of the same kind (a whole period of its pattern).
fn deeper(model: &ModelSpec) -> ModelSpec {
    let mut shape = model.shape.clone();
    shape.n_layers *= 2;
    ModelSpec::new("deeper", shape, "test").unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        // The same cases everywhere; raise `cases` and drop this to look for new ones.
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    #[test]
    fn more_tokens_never_take_less(case in case(), tokens in 1u64..3000, more in 0u64..125) {
        let tokens = aligned(&case, tokens);
        prop_assert!(at_least(&at(&case, tokens + 8 * more), &at(&case, tokens), &case));
    }

    #[test]
    fn more_sequences_never_take_less(case in case(), tokens in 1u64..3000) {
        let mut more = case.clone();
        more.workload.batch += 1;
        prop_assert!(at_least(&at(&more, tokens), &at(&case, tokens), &case));
    }

    #[test]
    fn a_larger_chunk_never_takes_less(case in case(), tokens in 1u64..3000) {
        // A chunk that is the whole prompt needs no mask, which one behind a past does.
        let chunk = case.workload.prefill_chunk;
        let covers = |prompt: u64| chunk < prompt && prompt <= 2 * chunk;
        let whole = covers(case.workload.system_tokens) || covers(tokens);
        prop_assume!(case.kind() != Runtime::Transformers || !whole);
        // vLLM sorts the logits of fewer than eight sequences, and searches those of more.
        prop_assume!(case.kind() != Runtime::Vllm || chunk >= 8);
        let mut larger = case.clone();
        larger.workload.prefill_chunk *= 2;
        prop_assert!(at_least(&at(&larger, tokens), &at(&case, tokens), &case));
    }

    #[test]
    fn more_layers_never_take_less(case in case(), tokens in 1u64..3000) {
        let deeper = case.clone().of(deeper(&case.model));
        prop_assert!(at_least(&at(&deeper, tokens), &at(&case, tokens), &case));
    }

    #[test]
    fn bounds_are_in_order_and_rows_add_up(case in case(), tokens in 1u64..3000) {
        let plan = at(&case, tokens);
        for buffer in &plan.buffers {
            prop_assert!(buffer.size.low <= buffer.size.expected);
            prop_assert!(buffer.size.expected <= buffer.size.high);
            prop_assert!(!buffer.source.is_empty() && !buffer.formula.to_string().is_empty());
        }
        let sum = Bytes::sum(plan.components.iter().map(|row| row.at_peak.expected)).unwrap();
        prop_assert_eq!(sum, plan.peak.expected);
        for row in &plan.phases {
            prop_assert!(row.total.expected <= plan.peak.expected);
        }
    }

    #[test]
    fn a_recommended_size_fits_and_one_token_more_does_not(case in case()) {
        let solver = Solver::new(&case).unwrap();
        let recommendation = solver.recommend().unwrap();
        let most = case.workload.context - case.workload.system_tokens;
        // Below this a cache has no room for its recent window.
        let smallest = (1..=most).find(|&tokens| solver.window(tokens).is_ok()).unwrap();
        for tier in recommendation.tiers.iter() {
            let fits = |tokens: u64| {
                let plan = solver.plan(tokens).unwrap();
                match tier.name {
                    TierName::Conservative => {
                        let most = case.capacity().less_headroom(2).unwrap();
                        plan.peak.high <= most && plan.demand().pooled(|need| need.high)
                    }
                    TierName::Balanced => plan.verdict == Verdict::Fits,
                    TierName::Aggressive => plan.verdict != Verdict::DoesNotFit,
                }
            };
            let tokens = tier.max_cache_tokens;
            prop_assert!(tokens == 0 || fits(tokens));
            prop_assert!(tokens == 0 || tokens >= smallest);
            prop_assert!(tokens == most || !fits(smallest.max(tokens + 1)));
        }
        let sizes: Vec<u64> = recommendation.tiers.iter().map(|t| t.max_cache_tokens).collect();
        prop_assert!(sizes.is_sorted() && sizes[2] <= recommendation.hard_max_cache_tokens);
    }

    #[test]
    fn json_round_trips(case in case(), tokens in 600u64..3000) {
        let mut case = case.cache(tokens);
        case.workload.prefill_chunk = 512;
        let document = Document::new(&case, &case.answer());
        let json = to_json(&document).unwrap();
        prop_assert_eq!(from_json(&json).unwrap(), document);
    }
}
