//! What versions of transformers and cards differ in.

use crate::support::Case;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use vramplan_disk::Disk;
use vramplan_planner::deployment::{Question, resolve};
use vramplan_planner::dtype::WeightFormat;
use vramplan_planner::estimate::transformers::allocator::about_needed;
use vramplan_planner::estimate::{
    Buffer, BufferId, Component, Life, Moment, Phase, Scenario, buffers, weights_of,
};
use vramplan_planner::plan::Plan;
use vramplan_planner::read::Catalog;
use vramplan_planner::recommend::answer;
use vramplan_planner::spec::{Attention, Capture, Runtime, TransformersVersion, Workload};

fn attention(plan: &Plan) -> u64 {
    plan.component(Component::AttentionTransients).map_or(0, |row| row.most.0.get())
}

/// One token behind 32,000 in a cache that was allocated before.
fn decoding(model: &str, version: TransformersVersion, is_grown: bool) -> u64 {
    let mut case = Case::new("H100", model, Runtime::Transformers).cache(31_000);
    case.workload.grown_cache = is_grown;
    case.workload.prefill_chunk = 1;
    case.workload.system_tokens = 0;
    case.stack(|stack| stack.transformers = version);
    attention(&case.answer().plan)
}

/// Tracked on the meta device, 4.57: 500.4 MiB for 32,000 tokens of Llama-3.1-8B.
#[test]
fn before_5_0_a_whole_cache_is_repeated_for_every_head() {
    use TransformersVersion as V;
    let repeated = 2 * 31_000 * 4096 * 2;
    for (version, is_grown, copies) in [
        (V::Current, false, false),
        (V::Current, true, false),
        (V::ExpertModules, false, true),
        (V::ExpertModules, true, false),
        (V::RepeatedHeads, false, true),
        (V::RepeatedHeads, true, true),
    ] {
        let held = decoding("llama-3.1-8b", version, is_grown);
        // Beside them a grown cache has the old keys of a layer until the new ones are there.
        let least = if copies { repeated } else { 0 };
        assert!((least..least + repeated / 4).contains(&held), "{version} {is_grown}: {held}");
    }
}

/// A checkpoint with 8-bit floats in blocks, which the tensor cores of an A100 do not have.
#[test]
fn eight_bit_floats_are_expanded_where_the_card_has_none() {
    let config = r#"{"model_type": "qwen3", "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
        "max_position_embeddings": 40960, "tie_word_embeddings": false, "quantization_config":
        {"quant_method": "fp8", "weight_block_size": [128, 128], "modules_to_not_convert": ["lm_head"]}}"#;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    fs_err::write(&path, config).unwrap();
    let planned = |gpu: &str| {
        let question = Question {
            gpu: Some(gpu.to_owned()),
            model: Some(path.to_str().unwrap().to_owned()),
            runtime: Some(Runtime::Transformers),
            ..Question::default()
        };
        let deployment = resolve(&question, &Catalog::built_in(), &Disk, None).unwrap();
        let answer = answer(&deployment).unwrap();
        let weights = answer.plan.component(Component::Weights).unwrap().most.0.get();
        let said = answer.advice.iter().any(|advice| advice.text.contains("expands them to bf16"));
        (deployment.weights, weights, said)
    };
    let parameters = 2 * 151_936 * 4096 + 36 * (4096 * 128 * (32 + 8) * 2 + 3 * 4096 * 12_288);
    let norms = 36 * (2 * 4096 + 2 * 128) + 4096;
    assert_eq!(planned("A100-80GB"), (WeightFormat::Bf16, 2 * (parameters + norms), true));
    let (format, stored, said) = planned("H100");
    assert_eq!((format, said), (WeightFormat::AsStored, false));
    assert!(stored < 6 * (parameters + norms) / 5, "{stored}");
}

/// Every layer's hidden states and attention weights over a hundred tokens, kept.
const CAPTURE: Capture = Capture { layers: 99, tokens: 100, attention: true, keep: true };

/// A run of transformers in 4 bits on an L4.
#[derive(Clone, Debug)]
struct Run {
    model: &'static str,
    kv: &'static str,
    version: TransformersVersion,
    workload: Workload,
    tokens: u64,
}

impl Run {
    /// What is listed of it, and the smallest card of its play.
    fn planned(&self) -> (Vec<Buffer>, u64) {
        let catalog = Catalog::built_in();
        let gpu = &catalog.gpu("L4").unwrap();
        let mut runtime = catalog.runtime(Runtime::Transformers).unwrap();
        let mut stack = runtime.options.stack();
        stack.transformers = self.version;
        runtime.options = vramplan_planner::spec::RuntimeOptions::Transformers(stack);
        let model = &catalog.model(self.model).unwrap();
        let weights = &weights_of(model, "nf4".parse().unwrap(), &runtime).unwrap();
        let (kv, workload, cache_tokens) = (self.kv.parse().unwrap(), self.workload, self.tokens);
        let runtime = &runtime;
        let scenario = Scenario { model, gpu, runtime, weights, kv, workload, cache_tokens };
        (buffers(&scenario).unwrap(), about_needed(&scenario).unwrap().card)
    }

    fn captured(&self) -> Self {
        let workload = Workload { capture: Some(CAPTURE), ..self.workload };
        Self { workload, ..self.clone() }
    }
}

fn fragmentation(listed: &[Buffer]) -> u64 {
    let lost = listed.iter().filter(|buffer| buffer.label() == "segments' remainders");
    lost.map(|buffer| buffer.size.expected.get()).sum()
}

/// The most that the allocator is asked for in phases of the run itself, with what it loses.
fn held(listed: &[Buffer]) -> u64 {
    const OUTSIDE: [BufferId; 2] = [BufferId::CudaContext, BufferId::Libraries];
    let at = |phase: Phase, moment: Moment| {
        let lives = |buffer: &&Buffer| match buffer.life {
            Life::From(begins) => begins <= phase && !OUTSIDE.contains(&buffer.id),
            Life::During(during, at) => during == phase && [moment, Moment::Whole].contains(&at),
        };
        listed.iter().filter(lives).map(|buffer| buffer.size.expected.get()).sum::<u64>()
    };
    let phases = Phase::ALL.into_iter().filter(|phase| *phase != Phase::Capture);
    phases.flat_map(|phase| Moment::ALL.map(|moment| at(phase, moment))).max().unwrap()
}

fn run() -> impl Strategy<Value = Run> {
    let models = ["qwen2.5-0.5b", "gemma-3-1b", "llama-3.2-1b", "qwen2.5-1.5b"];
    (
        prop::sample::select(models.to_vec()),
        prop::sample::select(vec!["bf16", "hqq8", "hqq4", "quanto4", "fp8"]),
        prop::sample::select(vec![
            TransformersVersion::Current,
            TransformersVersion::ExpertModules,
        ]),
        (prop::sample::select(vec![0u64, 600]), 200u64..9000),
        prop::sample::select(vec![64u64, 512, 2000]),
        1u64..4,
        (any::<bool>(), any::<bool>()),
    )
        .prop_map(|(model, kv, version, (system, tokens), chunk, batch, (eager, grown))| {
            let workload = Workload {
                system_tokens: system,
                prefill_chunk: chunk,
                batch,
                attention: if eager { Attention::Eager } else { Attention::Sdpa },
                grown_cache: grown,
                images: None,
                ..Case::new("L4", model, Runtime::Transformers).workload
            };
            Run { model, kv, version, workload, tokens }
        })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        rng_seed: RngSeed::Fixed(16),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// What is listed and what is lost make at least the smallest card, and where formulas list no more than was played
    /// they make that card. A captured pass changes nothing of what is lost.
    #[test]
    fn what_is_listed_and_lost_is_the_smallest_card(run in run()) {
        let (listed, card) = run.planned();
        let lost = fragmentation(&listed);
        prop_assert!(held(&listed) >= card, "{} of {card}", held(&listed));
        prop_assert!(held(&listed) == card || lost <= card, "{lost} of {card}");
        let (captured, same) = run.captured().planned();
        prop_assert_eq!(card, same);
        prop_assert_eq!(fragmentation(&captured), lost);
        prop_assert_eq!(held(&captured), held(&listed));
    }
}

/// What is allocated before as 8 bits is played as 8 bits: what it loses is what one of 16 bits loses, but for the copies that
/// are opened.
#[test]
fn a_quantized_cache_that_is_allocated_before_loses_no_more_than_another() {
    let mut workload = Case::new("L4", "qwen2.5-14b", Runtime::Transformers).workload;
    workload.system_tokens = 6000;
    workload.grown_cache = false;
    let run = |kv| Run {
        model: "qwen2.5-14b",
        kv,
        version: TransformersVersion::Current,
        workload,
        tokens: 7000,
    };
    let [small, large] = ["hqq8", "bf16"].map(|kv| fragmentation(&run(kv).captured().planned().0));
    assert!(small < large + (256 << 20), "{} MiB, {} MiB", small >> 20, large >> 20);
}
