//! Models that are published quantized are planned so by their names alone: what vLLM loads is what their repositories hold.

use vramplan_planner::deployment::{Question, resolve};
use vramplan_planner::estimate::weights_of;
use vramplan_planner::read::{Catalog, MemoryFiles};
use vramplan_planner::spec::Runtime;

/// Bytes of the language model's weights under vLLM, and what the format is called.
fn loaded(name: &str) -> (f64, String) {
    let question = Question {
        model: Some(name.to_owned()),
        runtime: Some(Runtime::Vllm),
        gpu: Some("4096GiB".to_owned()),
        images: Some(0),
        ..Question::default()
    };
    let found = resolve(&question, &Catalog::built_in(), &MemoryFiles::default(), None).unwrap();
    let weights = weights_of(&found.model, found.weights, &found.runtime).unwrap();
    let label = found.model.stored_label().map_or_else(|| found.weights.to_string(), str::to_owned);
    (weights.device.as_f64(), label)
}

#[test]
fn the_weights_are_as_many_bytes_as_the_repository_holds() {
    // Sizes as model cards and recipes state them, of all files or of what is named.
    for (name, gigabytes, within, format) in [
        ("kimi-k2-thinking", 594.0, 0.004, "compressed-tensors pack-quantized"),
        ("kimi-k2.6", 595.9, 0.004, "compressed-tensors pack-quantized"),
        ("devstral-small-2", 24.9, 0.002, "fp8"),
        ("mistral-medium-3.5-128b", 128.2, 0.002, "fp8"),
        ("minimax-m2.7", 230.0, 0.004, "fp8-block"),
        // What eight ranks print while they load, which is a fiftieth more (vllm-project/vllm#6746).
        ("meta-llama/Llama-3.1-405B-Instruct-FP8", 496.1, 0.02, "fbgemm_fp8"),
    ] {
        let (bytes, label) = loaded(name);
        let off = bytes / 1e9 / gigabytes - 1.0;
        assert!(off.abs() <= within, "{name}: {:.2} GB, {off:+.4}", bytes / 1e9);
        assert_eq!(label, format, "{name}");
    }
}

/// What two models share but for their format is two names.
#[test]
fn variants_have_formats_of_their_own() {
    let catalog = Catalog::built_in();
    let format = |name: &str| catalog.model(name).unwrap().own_format;
    assert!(format("mistralai/Ministral-3-8B-Instruct-2512").is_some());
    assert_eq!(format("mistralai/Ministral-3-8B-Reasoning-2512"), None);
}
