//! Byte-exact sizes of Qwen2.5-14B, against llama.cpp's own quantizer (dry run) and bitsandbytes.

use super::*;
use crate::estimate::runtimes::weights_of;
use crate::spec::samples::{llama_8b, qwen_14b, runtime};

fn device_and_host(format: &str, kind: Runtime) -> u64 {
    let weights = weights_of(&qwen_14b(), format.parse().unwrap(), &runtime(kind)).unwrap();
    weights.device.plus(weights.host).unwrap().get()
}

#[test]
fn gguf_types_match_the_quantizer_to_the_byte() {
    for (format, expected) in [
        ("q2_k", 5_764_530_176),
        ("q3_k_s", 6_653_628_416),
        ("q3_k_m", 7_333_236_736),
        ("q3_k_l", 7_918_800_896),
        ("iq4_xs", 8_180_228_096),
        ("iq4_nl", 8_596_299_776),
        ("q4_0", 8_511_758_336),
        ("q4_k_s", 8_567_463_936),
        ("q4_k_m", 8_982_142_976),
        ("q5_k_s", 10_260_586_496),
        ("q5_k_m", 10_502_905_856),
        ("q6_k", 12_118_716_416),
        ("q8_0", 15_695_630_336),
    ] {
        assert_eq!(device_and_host(format, Runtime::LlamaCpp), expected, "{format}");
    }
    assert_eq!(device_and_host("q4_k_m", Runtime::Vramplan), 8_982_142_976);
}

#[test]
fn transformers_formats_match_their_libraries_to_the_byte() {
    for (format, expected) in [
        ("nf4-dq", 9_932_011_840),
        ("nf4", 10_547_756_032),
        ("fp4", 10_547_756_032),
        ("int8", 16_336_660_480),
        ("awq-int4", 9_980_028_928),
        ("gptq-int4", 9_988_581_376),
        ("fp8", 16_328_011_072),
        ("bf16", 2 * 14_770_033_664),
        ("f32", 4 * 14_770_033_664),
    ] {
        assert_eq!(device_and_host(format, Runtime::Transformers), expected, "{format}");
    }
}

#[test]
fn llama_cpp_keeps_the_token_embedding_on_the_host() {
    let weights =
        weights_of(&qwen_14b(), "q4_k_m".parse().unwrap(), &runtime(Runtime::LlamaCpp)).unwrap();
    // The rows of a public log: CUDA0 8148.38 MiB, CPU_Mapped 417.66 MiB.
    assert_eq!(format!("{:.2}", weights.device.as_mib()), "8148.38");
    assert_eq!(weights.host, Bytes::new(152_064 * 5120 / 256 * 144));
}

#[test]
fn a_public_log_of_llama_8b_is_matched() {
    let weights =
        weights_of(&llama_8b(), "q4_k_m".parse().unwrap(), &runtime(Runtime::LlamaCpp)).unwrap();
    assert_eq!(format!("{:.2}", weights.device.as_mib()), "4403.49");
    assert_eq!(format!("{:.2}", weights.host.as_mib()), "281.81");
}

#[test]
fn formats_that_a_runtime_cannot_hold_are_refused_with_a_way_out() {
    for (format, kind) in [
        ("nf4", Runtime::Vramplan),
        ("iq4_xs", Runtime::Vramplan),
        ("q4_k_m", Runtime::Transformers),
        ("awq-int4", Runtime::LlamaCpp),
        ("as-stored", Runtime::LlamaCpp),
    ] {
        let error = weights_of(&qwen_14b(), format.parse().unwrap(), &runtime(kind)).unwrap_err();
        assert!(error.hint().is_some(), "{error}");
    }
}

#[test]
fn a_token_reads_everything_but_the_embedding() {
    let weights =
        weights_of(&qwen_14b(), "bf16".parse().unwrap(), &runtime(Runtime::Vramplan)).unwrap();
    let embedding = Bytes::new(152_064 * 5120 * 2);
    assert_eq!(weights.per_token, weights.device.minus(embedding).unwrap());
}

#[test]
fn bitsandbytes_leaves_fused_experts_and_routers_in_16_bits() {
    let mut model = llama_8b();
    model.shape.moe = Some(crate::spec::Moe {
        n_experts: 8,
        n_experts_used: 2,
        expert_ffn_size: 14_336,
        shared_ffn_size: 0,
        shared_gate: false,
        leading_dense_layers: 0,
        router_bias: false,
        expert_bias: false,
        router: None,
    });
    let model = crate::spec::ModelSpec::new("experts", model.shape, "test").unwrap();
    let bytes = |format: &str| {
        weights_of(&model, format.parse().unwrap(), &runtime(Runtime::Transformers)).unwrap()
    };
    let attention = 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024);
    let saved = attention * 2 - (attention / 2 + attention / 64 * 4 + 32 * 4 * 64);
    assert_eq!(bytes("bf16").device.get() - bytes("nf4").device.get(), saved);
    assert_eq!(bytes("nf4").largest_moved, Bytes::new(4096 * 4096 * 2));
}
