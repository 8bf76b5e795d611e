use std::path::Path;

use super::*;
use crate::spec::Window;

fn config(text: &str) -> Result<HfConfig, SourceError> {
    parse(&At::new(Path::new("config.json")), text.as_bytes())
}

fn parameters(text: &str) -> u64 {
    ModelSpec::new("m", config(text).unwrap().shape, "").unwrap().parameters()
}

fn error(text: &str) -> String {
    config(text).unwrap_err().to_string()
}

/// A small config of `model_type` with more keys.
fn tiny(model_type: &str, more: &str) -> String {
    format!(
        r#"{{"model_type": "{model_type}", "hidden_size": 64, "num_hidden_layers": 4,
            "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128,
            "vocab_size": 100{more}}}"#
    )
}

fn shape(model_type: &str, more: &str) -> ModelShape {
    config(&tiny(model_type, more)).unwrap().shape
}

/// Parameters and configs as published, without the keys that do not matter here.
const PUBLISHED: [(u64, &str); 16] = [
    (
        14_770_033_664,
        r#"{"model_type": "qwen2", "hidden_size": 5120, "intermediate_size": 13824,
                "max_position_embeddings": 32768, "max_window_layers": 70, "num_attention_heads": 40,
                "num_hidden_layers": 48, "num_key_value_heads": 8, "sliding_window": 131072,
                "tie_word_embeddings": false, "use_sliding_window": false, "vocab_size": 152064}"#,
    ),
    (
        596_049_920,
        r#"{"model_type": "qwen3", "attention_bias": false, "head_dim": 128,
                "hidden_size": 1024, "intermediate_size": 3072, "max_window_layers": 28,
                "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8,
                "sliding_window": null, "tie_word_embeddings": true, "use_sliding_window": false,
                "vocab_size": 151936}"#,
    ),
    (
        30_532_122_624,
        r#"{"model_type": "qwen3_moe", "decoder_sparse_step": 1, "head_dim": 128,
                "hidden_size": 2048, "intermediate_size": 6144, "mlp_only_layers": [],
                "moe_intermediate_size": 768, "num_attention_heads": 32, "num_experts": 128,
                "num_experts_per_tok": 8, "num_hidden_layers": 48, "num_key_value_heads": 4,
                "sliding_window": null, "tie_word_embeddings": false, "vocab_size": 151936}"#,
    ),
    (
        // Qwen1.5-MoE-A2.7B.
        14_315_784_192,
        r#"{"model_type": "qwen2_moe", "hidden_size": 2048, "intermediate_size": 5632,
                "moe_intermediate_size": 1408, "shared_expert_intermediate_size": 5632,
                "num_attention_heads": 16, "num_experts": 60, "num_experts_per_tok": 4,
                "num_hidden_layers": 24, "num_key_value_heads": 16, "vocab_size": 151936}"#,
    ),
    (
        79_674_391_296,
        r#"{"model_type": "qwen3_next", "full_attention_interval": 4, "head_dim": 256,
                "hidden_size": 2048, "intermediate_size": 5120, "linear_conv_kernel_dim": 4,
                "linear_key_head_dim": 128, "linear_num_key_heads": 16,
                "linear_num_value_heads": 32, "linear_value_head_dim": 128,
                "moe_intermediate_size": 512, "num_attention_heads": 16, "num_experts": 512,
                "num_experts_per_tok": 10, "num_hidden_layers": 48, "num_key_value_heads": 2,
                "shared_expert_intermediate_size": 512, "vocab_size": 151936}"#,
    ),
    (
        46_702_792_704,
        r#"{"model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336,
                "num_attention_heads": 32, "num_experts_per_tok": 2, "num_hidden_layers": 32,
                "num_key_value_heads": 8, "num_local_experts": 8, "sliding_window": null,
                "vocab_size": 32000}"#,
    ),
    (
        9_241_705_984,
        r#"{"model_type": "gemma2", "head_dim": 256, "hidden_size": 3584,
                "intermediate_size": 14336, "num_attention_heads": 16, "num_hidden_layers": 42,
                "num_key_value_heads": 8, "sliding_window": 4096, "vocab_size": 256000}"#,
    ),
    (
        // gemma-3-4b: most numbers are left to the defaults.
        3_880_263_168,
        r#"{"model_type": "gemma3", "text_config": {"hidden_size": 2560,
                "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34,
                "sliding_window": 1024}, "vision_config": {"model_type": "siglip_vision_model"}}"#,
    ),
    (
        3_821_079_552,
        r#"{"model_type": "phi3", "hidden_size": 3072, "intermediate_size": 8192,
                "max_position_embeddings": 4096, "num_attention_heads": 32,
                "num_hidden_layers": 32, "num_key_value_heads": 32, "sliding_window": 2047,
                "vocab_size": 32064}"#,
    ),
    (
        20_914_757_184,
        r#"{"model_type": "gpt_oss", "attention_bias": true, "head_dim": 64,
                "hidden_size": 2880, "intermediate_size": 2880, "num_attention_heads": 64,
                "num_experts_per_tok": 4, "num_hidden_layers": 24, "num_key_value_heads": 8,
                "num_local_experts": 32, "sliding_window": 128, "vocab_size": 201088,
                "quantization_config": {"quant_method": "mxfp4"}}"#,
    ),
    (
        15_706_484_224,
        r#"{"model_type": "deepseek_v2", "first_k_dense_replace": 1, "hidden_size": 2048,
                "intermediate_size": 10944, "kv_lora_rank": 512, "moe_intermediate_size": 1408,
                "moe_layer_freq": 1, "n_routed_experts": 64, "n_shared_experts": 2,
                "num_attention_heads": 16, "num_experts_per_tok": 6, "num_hidden_layers": 27,
                "num_key_value_heads": 16, "q_lora_rank": null, "qk_nope_head_dim": 128,
                "qk_rope_head_dim": 64, "v_head_dim": 128, "vocab_size": 102400}"#,
    ),
    (
        // Without the layer that predicts a token ahead.
        671_026_419_200,
        r#"{"model_type": "deepseek_v3", "first_k_dense_replace": 3, "hidden_size": 7168,
                "intermediate_size": 18432, "kv_lora_rank": 512, "moe_intermediate_size": 2048,
                "n_routed_experts": 256, "n_shared_experts": 1, "num_attention_heads": 128,
                "num_experts_per_tok": 8, "num_hidden_layers": 61, "num_key_value_heads": 128,
                "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
                "v_head_dim": 128, "vocab_size": 129280, "num_nextn_predict_layers": 1}"#,
    ),
    (
        106_852_251_264,
        r#"{"model_type": "glm4_moe", "attention_bias": true, "first_k_dense_replace": 1,
                "head_dim": 128, "hidden_size": 4096, "intermediate_size": 10944,
                "moe_intermediate_size": 1408, "n_routed_experts": 128, "n_shared_experts": 1,
                "num_attention_heads": 96, "num_experts_per_tok": 8, "num_hidden_layers": 46,
                "num_key_value_heads": 8, "use_qk_norm": false, "vocab_size": 151552}"#,
    ),
    (
        3_030_371_328,
        r#"{"model_type": "starcoder2", "hidden_size": 3072, "intermediate_size": 12288,
                "num_attention_heads": 24, "num_hidden_layers": 30, "num_key_value_heads": 2,
                "use_bias": true, "vocab_size": 49152, "sliding_window": 4096}"#,
    ),
    (
        34_980_831_232,
        r#"{"model_type": "cohere", "hidden_size": 8192, "intermediate_size": 22528,
                "num_attention_heads": 64, "num_hidden_layers": 40, "num_key_value_heads": 64,
                "vocab_size": 256000}"#,
    ),
    (
        7_298_617_344,
        r#"{"model_type": "olmo2", "hidden_size": 4096, "intermediate_size": 11008,
                "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32,
                "vocab_size": 100352}"#,
    ),
];

/// `HuggingFaceTB/SmolLM3-3B`, without the keys that do not matter here: the layers without positions are full
/// ones like the others.
const SMOLLM3: &str = r#"{"model_type": "smollm3", "attention_bias": false, "hidden_size": 2048,
    "intermediate_size": 11008, "max_position_embeddings": 65536, "mlp_bias": false,
    "no_rope_layer_interval": 4, "num_attention_heads": 16, "num_hidden_layers": 36,
    "num_key_value_heads": 4, "rope_theta": 5000000.0, "sliding_window": null,
    "tie_word_embeddings": true, "use_sliding_window": false, "vocab_size": 128256}"#;

#[test]
fn smollm3_is_its_profile() {
    let catalog = crate::read::Catalog::built_in();
    let profile = catalog.model("smollm3-3b").unwrap();
    assert_eq!(config(SMOLLM3).unwrap().shape, profile.shape);
    assert_eq!(parameters(SMOLLM3), 3_075_098_624);
    let family = Architecture::from_model_type("smollm3").unwrap();
    assert_eq!((family, family.gguf_name()), (profile.shape.architecture, "smollm3"));
    let unrotated = (0..36).filter(|&index| !family.family().rotates(index));
    assert!(unrotated.eq((3..36).step_by(4)));
    // Windows, which no published model uses, would be on the layers without positions.
    let windowed =
        SMOLLM3.replace(r#""use_sliding_window": false"#, r#""use_sliding_window": true"#);
    assert!(error(&windowed).contains("max_window_layers"), "{}", error(&windowed));
}

#[test]
fn published_parameter_counts_follow_from_published_configs() {
    for (expected, text) in PUBLISHED {
        assert_eq!(parameters(text), expected, "{text}");
    }
}

#[test]
fn heads_follow_the_rules_of_transformers() {
    assert_eq!(shape("llama", "").head_dim, 16);
    assert_eq!(shape("llama", r#", "head_dim": 32"#).head_dim, 32);
    assert_eq!(shape("qwen3", "").head_dim, 128);
    assert_eq!(shape("qwen3", r#", "head_dim": null"#).head_dim, 16);
    let bare = r#"{"model_type": "MODEL", "hidden_size": 64, "num_hidden_layers": 2,
                   "intermediate_size": 128"#;
    let bare = |model: &str, more: &str| format!("{}{more}}}", bare.replace("MODEL", model));
    assert_eq!(config(&bare("llama", "")).unwrap().shape.kv_heads, 32);
    assert_eq!(config(&bare("mistral", "")).unwrap().shape.kv_heads, 8);
    let null = config(&bare("mistral", r#", "num_key_value_heads": null"#)).unwrap();
    assert_eq!(null.shape.kv_heads, 32);
    let odd = error(&bare("llama", r#", "num_attention_heads": 3"#));
    assert!(odd.contains("`num_attention_heads` = 3: expected a divisor of `hidden_size` = 64"));
}

#[test]
fn embeddings_are_tied_where_the_family_ties_them() {
    assert!(!shape("llama", "").tied_embeddings);
    assert!(shape("gemma", "").tied_embeddings);
    assert!(!shape("gemma", r#", "tie_word_embeddings": false"#).tied_embeddings);
    let nested = |outer: &str| {
        let inner = tiny("qwen3_5_text", "");
        let text = format!(r#"{{"model_type": "qwen3_5", "text_config": {inner}{outer}}}"#);
        config(&text).unwrap().shape.tied_embeddings
    };
    assert!(nested(r#", "tie_word_embeddings": true"#));
    assert!(!nested(""));
}

#[test]
fn windows_are_those_that_transformers_would_use() {
    let window = |model: &str, more: &str| shape(model, more).window;
    let size = |size| Some(Window { size, full_every: None });
    assert_eq!(window("mistral", ""), size(4096));
    assert_eq!(window("mistral", r#", "sliding_window": null"#), None);
    let experts = r#", "num_local_experts": 8, "num_experts_per_tok": 2"#;
    assert_eq!(window("mixtral", experts), None);
    assert_eq!(window("phi3", r#", "sliding_window": 2047"#), size(2047));
    assert_eq!(window("qwen2", r#", "sliding_window": 32768"#), None);
    let used = r#", "use_sliding_window": true, "sliding_window": 16, "max_window_layers": "#;
    assert_eq!(window("qwen2", &format!("{used}4")), None);
    assert_eq!(window("qwen2", &format!("{used}0")), size(16));
    let error = error(&tiny("qwen2", &format!("{used}2")));
    assert!(error.contains("`max_window_layers` = 2: expected 0, or at least"), "{error}");
    let every = |every| Some(Window { size: 4096, full_every: Some(every) });
    assert_eq!(window("gemma2", ""), every(2));
    assert_eq!(window("gemma3_text", ""), every(6));
    assert_eq!(window("gemma3_text", r#", "sliding_window_pattern": 3"#), every(3));
    assert_eq!(window("llama", r#", "sliding_window": 64"#), None);
}

#[test]
fn layer_types_become_a_period_or_a_list() {
    let types = |kinds: [&str; 4]| {
        let kinds = kinds.map(|kind| format!("\"{kind}_attention\"")).join(", ");
        config(&tiny("gemma2", &format!(r#", "layer_types": [{kinds}]"#)))
    };
    let window = |kinds| types(kinds).unwrap().shape.window.map(|window| window.full_every);
    assert_eq!(window(["sliding", "full", "sliding", "full"]), Some(Some(2)));
    assert_eq!(window(["sliding"; 4]), Some(None));
    assert_eq!(window(["full"; 4]), None);
    let irregular = types(["full", "full", "sliding", "full"]).unwrap().shape;
    let windows: Vec<_> = (0..4).map(|index| irregular.window_of(index)).collect();
    assert_eq!(windows, [None, None, Some(4096), None]);
    let error = types(["full", "full", "full", "odd"]).unwrap_err().to_string();
    assert!(error.contains("\"odd_attention\""), "{error}");
    let short = tiny("gemma2", r#", "layer_types": ["full_attention"]"#);
    assert!(config(&short).unwrap_err().to_string().contains("each of 4 layers"));
}

#[test]
fn what_transformers_can_do_and_we_cannot_is_refused_by_name() {
    let moe = |more: &str| {
        let keys = r#", "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32"#;
        config(&tiny("qwen3_moe", &format!("{keys}{more}")))
    };
    assert_eq!(
        moe(r#", "mlp_only_layers": [0]"#).unwrap().shape.moe.unwrap().leading_dense_layers,
        1
    );
    let sparse = |more: &str| {
        let shape = moe(more).unwrap().shape;
        (0..4).map(|index| shape.is_moe(index)).collect::<Vec<_>>()
    };
    assert_eq!(sparse(r#", "decoder_sparse_step": 2"#), [false, true, false, true]);
    assert_eq!(sparse(r#", "mlp_only_layers": [2]"#), [true, true, false, true]);
    let mla = r#", "kv_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4,
        "v_head_dim": 8, "n_routed_experts": 4, "num_experts_per_tok": 2,
        "moe_intermediate_size": 8"#;
    let biased = tiny("deepseek_v3", &format!("{mla}, \"attention_bias\": true"));
    assert!(error(&biased).contains("`attention_bias` = true: expected `false`"));
    let unknown = config(r#"{"model_type": "no_such", "d_model": 64}"#).unwrap_err();
    let text = unknown.to_string();
    assert!(
        text.contains("`model_type` = \"no_such\": expected a family that is known here"),
        "{text}"
    );
    assert!(unknown.hint().unwrap().contains("profiles list"));
    assert!(error("{}").contains("no `model_type`"));
}

#[test]
fn wrong_values_name_the_file_and_the_field() {
    let with = |more: &str| error(&tiny("llama", more));
    assert!(
        with(r#", "head_dim": "wide""#)
            .starts_with("`config.json`: `head_dim` = \"wide\": expected")
    );
    let stated = shape("llama", r#", "head_dim": "32", "attention_bias": "true""#);
    assert_eq!((stated.head_dim, stated.qkv_bias), (32, true));
    assert!(with(r#", "head_dim": -16"#).contains("`head_dim` = -16"));
    assert!(with(r#", "head_dim": 16.5"#).contains("`head_dim` = 16.5"));
    assert!(with(r#", "head_dim": 99999999999999999999"#).contains("`head_dim` = 1"));
    assert!(with(r#", "head_dim": 1e999"#).contains("number out of range"));
    assert!(with(r#", "head_dim": 18446744073709551615"#).contains("1 to 16777216"));
    assert!(with(r#", "attention_bias": 1"#).contains("`true` or `false`"));
    assert!(with(r#", "vocab_size": 7"#).contains("`vocab_size` occurs twice"));
    assert!(with(r#", "a": {"b": 1, "b": 2}"#).contains("`b` occurs twice"));
    assert!(with(r#", "text_config": 3"#).contains("`text_config` = 3: expected an object"));
    assert!(with(",").contains("expected JSON"));
    assert!(error("[1]").contains("a list of 1: expected a JSON object"));
    let missing = error(r#"{"model_type": "llama", "hidden_size": 64}"#);
    assert!(missing.contains("no `num_hidden_layers`"), "{missing}");
}

#[test]
fn hostile_json_is_refused_and_never_printed_raw() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(error(&deep).contains("recursion limit"));
    let raw = error("{\"\\u001b[2J\": 1, \"\\u001b[2J\": 2}");
    assert!(raw.contains("\\u{1b}[2J") && !raw.contains('\x1b'), "{raw}");
    let read = config(&tiny("\\u202ebert", "")).unwrap();
    assert!(read.remarks[0].starts_with("`\\u{202e}bert` is not known"), "{:?}", read.remarks);
    for length in 0..tiny("llama", "").len() {
        assert!(config(&tiny("llama", "")[..length]).is_err(), "{length}");
    }
}

#[test]
fn quantization_is_told() {
    let config = |more| config(&tiny("llama", more)).unwrap();
    let label = |more| config(more).quantization;
    assert_eq!(label(""), None);
    let gptq = r#", "quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128}"#;
    assert_eq!(label(gptq).as_deref(), Some("gptq-int4"));
    let bnb = r#", "quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": true}"#;
    assert_eq!(label(bnb).as_deref(), Some("bitsandbytes-int4"));
}

/// Families and parts that are refused: the config, and what the error has to say.
const REFUSED: [(&str, &str); 8] = [
    (r#"{"model_type": "lfm3"}"#, "`model_type` = \"lfm3\" is not modelled: some layers"),
    (r#"{"model_type": "jamba"}"#, "Mamba-1"),
    (r#"{"model_type": "openelm"}"#, "differ from layer to layer"),
    (r#"{"model_type": "clip"}"#, "a vision tower without its language model"),
    (r#"{"model_type": "phi4_multimodal"}"#, "audio towers"),
    (r#"{"model_type": "camembert"}"#, "it is an encoder"),
    (r#"{"model_type": "dots3_note"}"#, "of kinds that no formula here covers"),
    (r#"{"model_type": "t5"}"#, "an encoder stands beside"),
];

#[test]
fn families_that_are_not_modelled_say_why() {
    for (text, why) in REFUSED {
        let error = config(text).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert!(error.hint().is_some(), "{error}");
    }
}

/// A multimodal config around a small language model.
fn multimodal(family: &str, text_type: &str, more: &str) -> String {
    let text = tiny(text_type, r#", "head_dim": 16"#);
    format!(r#"{{"model_type": "{family}", "text_config": {text}{more}}}"#)
}

#[test]
fn towers_are_read_and_unknown_ones_left_out_with_a_remark() {
    let vision = |family, text, more: &str| {
        config(&multimodal(family, text, &format!(", {more}"))).unwrap().shape.vision.unwrap()
    };
    let gemma = r#""vision_config": {"hidden_size": 1152, "image_size": 896, "intermediate_size": 4304,
        "model_type": "siglip_vision_model", "num_attention_heads": 16, "num_hidden_layers": 27,
        "patch_size": 14, "vision_use_head": false}, "mm_tokens_per_image": 256"#;
    let gemma = vision("gemma3", "gemma3_text", gemma);
    assert_eq!((gemma.positions, gemma.merge, gemma.max_tokens()), (4096, 4, 256));
    let mistral = r#""vision_config": {"model_type": "pixtral", "hidden_size": 1024, "head_dim": 64,
        "image_size": 1540, "intermediate_size": 4096, "num_attention_heads": 16,
        "num_hidden_layers": 24, "patch_size": 14}, "spatial_merge_size": 2,
        "vision_feature_layer": -1, "multimodal_projector_bias": false"#;
    let mistral = vision("mistral3", "mistral", mistral);
    assert_eq!((mistral.max_patches, mistral.max_tokens()), (12_100, 3080));
    let qwen = r#""vision_config": {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420,
        "num_heads": 16, "out_hidden_size": 64, "patch_size": 14, "spatial_merge_size": 2}"#;
    let qwen = vision("qwen2_5_vl", "qwen2_5_vl_text", qwen);
    assert_eq!((qwen.tower, qwen.max_tokens()), (Tower::Qwen25Vl, 16_384));
    let qwen3 = vision("qwen3_vl", "qwen3_vl_text", r#""vision_config": {"depth": 24}"#);
    assert_eq!((qwen3.n_layers, qwen3.positions, qwen3.deepstack), (24, 2304, 3));
    assert_eq!(vision("qwen3_5", "qwen3_5_text", r#""vision_config": {}"#).deepstack, 0);
    let left_out = |family, text, more: &str, what: &str| {
        let read = config(&multimodal(family, text, &format!(", {more}"))).unwrap();
        assert!(read.shape.vision.is_none());
        assert!(read.remarks.iter().any(|remark| remark.contains(what)), "{:?}", read.remarks);
    };
    let tower = r#""vision_config": {"model_type": "timm_wrapper"}"#;
    left_out("mistral3", "mistral", tower, "this tower is not known");
    left_out("ovis2", "qwen2", r#""vision_config": {}"#, "this tower is not known");
    left_out("qwen3_vl", "qwen3_vl_text", r#""audio_config": {"a": 1}"#, "`audio_config`");
    let zero = r#""vision_config": {"patch_size": 0, "model_type": "siglip_vision_model"}"#;
    let error = error(&multimodal("gemma3", "gemma3_text", &format!(", {zero}")));
    assert!(
        error.contains("`vision_config.patch_size` = 0: expected 1 to `image_size`"),
        "{error}"
    );
}

/// gemma-4-31b, with what public sources quote of its config.
const GEMMA_4: &str = r#"{"model_type": "gemma4_text", "hidden_size": 5376,
    "intermediate_size": 21504, "num_hidden_layers": 60, "num_attention_heads": 32,
    "num_key_value_heads": 16, "num_global_key_value_heads": 4, "head_dim": 256,
    "global_head_dim": 512, "attention_k_eq_v": true, "sliding_window": 1024,
    "vocab_size": 262144, "hidden_size_per_layer_input": 0"#;

#[test]
fn gemma_4_has_two_kinds_of_layers() {
    let text = format!("{GEMMA_4}}}");
    let shape = config(&text).unwrap().shape;
    let heads = |index| (shape.layer(index).kv_heads, shape.layer(index).head_dim);
    assert_eq!((heads(0), heads(5), heads(59)), ((16, 256), (4, 512), (4, 512)));
    assert!(shape.has_values(0) && !shape.has_values(5));
    // llama.cpp prints 30.697 B.
    assert_eq!(parameters(&text), 30_697_345_340);
    let sharing = config(&format!("{GEMMA_4}, \"num_kv_shared_layers\": 20}}")).unwrap().shape;
    assert!(!sharing.shares_cache(39) && sharing.shares_cache(40));
    let more = r#", "per_layer_config": {"5": {"head_dim": 512, "num_key_value_heads": 4}}"#;
    let listed = config(&format!("{GEMMA_4}{more}}}")).unwrap().shape;
    let heads = |index| (listed.layer(index).kv_heads, listed.layer(index).head_dim);
    assert_eq!((heads(4), heads(5)), ((16, 256), (4, 512)));
    let layered = GEMMA_4.replace(r#""hidden_size_per_layer_input": 0"#, r#""x": 0"#);
    let layered = config(&format!("{layered}}}")).unwrap().shape;
    assert_eq!(layered.extras.layer_embeddings.unwrap().width, 256);
}

#[test]
fn layers_of_hybrids_attend_or_keep_a_state() {
    let hybrid = |more: &str| {
        let keys = r#", "layer_types": ["mamba", "attention", "mamba", "mamba"],
            "mamba_n_heads": 4, "mamba_d_state": 16, "shared_intermediate_size": 96,
            "num_local_experts": 0"#;
        config(&tiny("granitemoehybrid", &format!("{keys}{more}")))
    };
    let shape = hybrid("").unwrap().shape;
    let model = ModelSpec::new("m", shape, "").unwrap();
    assert_eq!((model.full_layers(), model.recurrent_layers()), (1, 3));
    assert_eq!((model.shape.ffn_size, model.shape.ssm.unwrap().conv_width()), (96, 128 + 32));
    let error = |more| hybrid(more).unwrap_err().to_string();
    assert!(error(r#", "mamba_proj_bias": true"#).contains("`mamba_proj_bias` = true"));
    assert!(error(r#", "mamba_n_heads": 5"#).contains("twice"));
    let short = r#", "layer_types": ["mamba"], "num_local_experts": 0"#;
    let short = tiny("granitemoehybrid", short);
    let short = config(&short).unwrap_err().to_string();
    assert!(short.contains("one entry for each of 4 layers"), "{short}");
}
