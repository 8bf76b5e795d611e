//! What versions of transformers and cards differ in.

use crate::support::Case;
use vramplan_disk::Disk;
use vramplan_planner::deployment::{Question, resolve};
use vramplan_planner::dtype::WeightFormat;
use vramplan_planner::estimate::Component;
use vramplan_planner::plan::Plan;
use vramplan_planner::read::Catalog;
use vramplan_planner::recommend::answer;
use vramplan_planner::spec::{Runtime, TransformersVersion};

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
