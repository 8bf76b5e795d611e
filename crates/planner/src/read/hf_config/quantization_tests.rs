use std::path::Path;

use crate::dtype::{Beside, Scheme};
use crate::read::error::At;
use crate::read::hf_config::{HfConfig, parse};
use crate::spec::OwnFormat;

/// A small Llama that is quantized as `stated`.
fn read(stated: &str) -> HfConfig {
    let text = format!(
        r#"{{"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
            "intermediate_size": 128, "vocab_size": 100, "quantization_config": {{{stated}}}}}"#
    );
    parse(&At::new(Path::new("config.json")), text.as_bytes()).unwrap()
}

/// Every method that transformers 5.24 and vLLM name, as their files state it, and what a linear layer is stored as.
const METHODS: &[(&str, Scheme)] = &[
    (r#""zero_point": true, "q_group_size": 128, "w_bit": 4"#, packed(4, 128, Beside::Zeros)),
    (
        r#""quant_method": "gptq_marlin", "bits": 4, "group_size": 128"#,
        packed(4, 128, Beside::ZerosAndGroups),
    ),
    (
        r#""quant_method": "gptq", "bits": "4", "group_size": "64""#,
        packed(4, 64, Beside::ZerosAndGroups),
    ),
    (
        r#""quant_method": "hqq", "quant_config": {"weight_quant_params": {"nbits": 2, "group_size": 64}}"#,
        packed(2, 64, Beside::Zeros),
    ),
    (
        r#""quant_method": "auto-round", "bits": 4, "group_size": 32, "data_type": "mx_fp""#,
        Scheme::Mxfp4,
    ),
    (
        r#""quant_method": "auto-round", "bits": 4, "group_size": 16, "data_type": "nv_fp""#,
        Scheme::Nvfp4 { group: 16 },
    ),
    (r#""quant_method": "auto-round", "bits": 8, "data_type": "fp""#, Scheme::Fp8Channel),
    (
        r#""quant_method": "torchao", "quant_type": {"default": {"_type": "Int8DynamicActivationIntxWeightConfig",
            "_data": {"weight_dtype": {"_data": "int4"}, "weight_granularity": {"_data": {"group_size": 32}}}}}"#,
        packed(4, 32, Beside::Zeros),
    ),
    (
        r#""quant_method": "fp8", "weight_block_size": [128, 128]"#,
        Scheme::Fp8Block { rows: 128, columns: 128 },
    ),
    (r#""quant_method": "fp8", "activation_scheme": "static""#, Scheme::Fp8Tensor),
    (r#""quant_method": "fbgemm_fp8""#, Scheme::Fp8Channel),
    (
        r#""quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 16"#,
        Scheme::Nvfp4 { group: 16 },
    ),
    (r#""quant_method": "modelopt", "quant_algo": "FP8""#, Scheme::Fp8Tensor),
    (r#""quant_method": "nvfp4""#, Scheme::Nvfp4 { group: 16 }),
    (r#""quant_method": "mxfp4""#, Scheme::Mxfp4),
    (r#""quant_method": "mxfp8""#, Scheme::Mxfp8),
    (r#""quant_method": "fp_quant", "forward_dtype": "mxfp4""#, Scheme::Mxfp4),
    (
        r#""quant_method": "gptq", "bits": 3, "group_size": 128"#,
        packed(3, 128, Beside::ZerosAndGroups),
    ),
    (
        r#""quant_method": "gptq", "bits": 8, "group_size": -1"#,
        packed(8, 0, Beside::ZerosAndGroups),
    ),
    (r#""quant_method": "awq", "bits": 4, "group_size": 64"#, packed(4, 64, Beside::Zeros)),
    (r#""quant_method": "hqq", "bits": 4"#, packed(4, 128, Beside::Zeros)),
    (
        r#""quant_method": "auto-round", "bits": 2, "group_size": 32"#,
        packed(2, 32, Beside::ZerosAndGroups),
    ),
    (
        r#""quant_method": "torchao", "quant_type": {"default": {"_type": "Int4WeightOnlyConfig"}}"#,
        packed(4, 128, Beside::Zeros),
    ),
    (r#""quant_method": "quanto", "weights": "int8""#, Scheme::Int8Channel),
    (r#""quant_method": "eetq""#, Scheme::Int8Channel),
    (r#""quant_method": "bitnet", "linear_class": "bitlinear""#, packed(2, 0, Beside::Shape)),
    (
        r#""quant_method": "aqlm", "num_codebooks": 1, "nbits_per_codebook": 16, "in_group_size": 8"#,
        packed(2, 0, Beside::Shape),
    ),
    (
        r#""quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp4", "group_size": 32}}"#,
        Scheme::Mxfp4,
    ),
    (
        r#""quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups":
           {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "int", "group_size": 128, "symmetric": true}}}"#,
        packed(4, 128, Beside::Shape),
    ),
    (
        r#""quant_method": "compressed-tensors", "format": "float-quantized", "config_groups":
           {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float", "strategy": "channel"}}}"#,
        Scheme::Fp8Channel,
    ),
];

const fn packed(bits: u64, group: u64, beside: Beside) -> Scheme {
    Scheme::Packed { bits, group, beside }
}

#[test]
fn every_method_of_quantization_is_read() {
    for &(stated, scheme) in METHODS {
        let found = read(stated);
        let Some(OwnFormat::Listed(checkpoint)) = &found.own_format else {
            panic!("{stated}: {:?}", found.own_format)
        };
        let schemes: Vec<_> = checkpoint.groups.iter().map(|group| group.scheme).collect();
        assert_eq!(schemes, [scheme], "{stated}");
    }
}

#[test]
fn methods_that_are_not_known_are_said() {
    for stated in [
        r#""quant_method": "exl2", "bits": 4.65"#,
        r#""quant_method": "exl3", "bits": 3.0"#,
        r#""quant_method": "vptq""#,
        r#""quant_method": "spqr", "bits": 3"#,
        r#""quant_method": "higgs", "bits": 4"#,
    ] {
        let found = read(stated);
        assert_eq!(found.own_format, None, "{stated}");
        let said = found.remarks.join("; ");
        assert!(said.contains("is not known: planned as if they were not quantized"), "{said}");
    }
}
