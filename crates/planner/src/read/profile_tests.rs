use super::*;

const GPU: &str = r#"
schema = 1
name = "L4"
aliases = ["NVIDIA L4"]
compute_capability = "8.9"
ecc = "inband-on"

[total]
value = "23034 MiB"
basis = "exact"
source = "nvidia-smi"

[reserved]
value = "564 MiB"
basis = "exact"
source = "nvidia-smi"

[bandwidth]
value = "300 GB/s"
basis = "exact"
source = "datasheet"

[sm_count]
value = 58
basis = "exact"
source = "datasheet"

[context]
low = "180 MiB"
expected = "200 MiB"
high = "260 MiB"
basis = "calibrated"
source = "observed"
"#;

const MODEL: &str = r#"
schema = 1
name = "qwen2.5-14b"
aliases = ["Qwen2.5-14B-Instruct"]
source = "config.json"

[shape]
architecture = "qwen2"
n_layers = 48
hidden_size = 5120
n_heads = 40
kv_heads = 8
head_dim = 128
ffn_size = 13824
vocab_size = 152064
context_len = 32768
tied_embeddings = false
qkv_bias = true

[parameters]
value = 14770033664
basis = "exact"
source = "model card"
"#;

const RUNTIME: &str = r#"
schema = 1
name = "llama.cpp"
version = "b6000"

[libraries]
low = "10 MiB"
expected = "20 MiB"
high = "40 MiB"
basis = "assumed"
source = "x"

[blas_workspace]
value = "8 MiB"
basis = "modelled"
source = "x"

[blas_workspace_hopper]
value = "32 MiB"
basis = "modelled"
source = "x"

[allocation_granule]
value = "512 B"
basis = "exact"
source = "x"

[segment_granule]
value = "2 MiB"
basis = "exact"
source = "x"
"#;

fn at() -> At {
    At::new(Path::new("profiles/x.toml"))
}

fn gpu_error(from: &str, to: &str) -> String {
    assert!(GPU.contains(from), "{from}");
    gpu(&at(), Written::Toml(&GPU.replace(from, to))).unwrap_err().to_string()
}

#[test]
fn a_gpu_is_read_exactly() {
    let gpu = gpu(&at(), Written::Toml(GPU)).unwrap();
    assert_eq!(gpu.total.value, Bytes::mib(23_034).unwrap());
    assert_eq!(gpu.bandwidth.value, Bytes::new(300_000_000_000));
    assert_eq!((gpu.compute_capability.major, gpu.sm_count.value), (8, 58));
    assert_eq!((gpu.ecc, gpu.total.basis), (Ecc::InbandOn, Basis::Exact));
    assert_eq!(gpu.context.unwrap().value.high, Bytes::mib(260).unwrap());
}

#[test]
fn a_runtime_is_read_exactly() {
    let runtime = runtime(&at(), Written::Toml(RUNTIME)).unwrap();
    assert_eq!(runtime.kind(), Runtime::LlamaCpp);
    assert_eq!(runtime.allocation_granule.value, Bytes::new(512));
    let error = super::runtime(&at(), Written::Toml(&RUNTIME.replace("\"llama.cpp\"", "\"tgi\"")))
        .unwrap_err();
    assert!(error.to_string().contains("`name` = \"tgi\": expected one of `vramplan`"));
}

#[test]
fn a_model_survives_being_written_and_read() {
    let first = model(&at(), Written::Toml(MODEL)).unwrap();
    assert_eq!(first.parameters(), 14_770_033_664);
    assert_eq!(first.published_parameters.as_ref().unwrap().value, 14_770_033_664);
    let text = model_to_toml(&first).unwrap();
    assert_eq!(model(&at(), Written::Toml(&text)).unwrap(), first);
    assert!(text.starts_with("schema = 1\nname = \"qwen2.5-14b\"\n"), "{text}");
}

#[test]
fn models_with_every_kind_of_layer_survive_it_too() {
    let mut shape = model(&at(), Written::Toml(MODEL)).unwrap().shape;
    shape.window = Some(crate::spec::Window { size: 4096, full_every: Some(2) });
    shape.qk_norm = crate::spec::QkNorm::Full;
    shape.mla = Some(crate::spec::Mla {
        kv_lora_rank: 512,
        q_lora_rank: None,
        qk_nope_head_dim: 128,
        qk_rope_head_dim: 64,
        v_head_dim: 128,
        expanded: false,
    });
    shape.attention_sinks = true;
    let first = ModelSpec::new("m", shape, "s").unwrap();
    assert_eq!(model(&at(), Written::Toml(&model_to_toml(&first).unwrap())).unwrap(), first);
}

/// The rules of a quantized checkpoint for its layers are kept, in the words of its `config.json`.
#[test]
fn a_format_with_rules_for_layers_survives_it_too() {
    const QUANTIZATION: &str = r#"
[quantization]
quant_method = "compressed-tensors"
format = "pack-quantized"
ignore = ["lm_head", "re:.*self_attn.*"]
[quantization.config_groups.group_0]
targets = ["Linear"]
weights = { num_bits = 4, type = "int", strategy = "group", group_size = 32, symmetric = true }
"#;
    let first = model(&at(), Written::Toml(&format!("{MODEL}{QUANTIZATION}"))).unwrap();
    assert_eq!(first.stored_label(), Some("compressed-tensors pack-quantized"));
    let text = model_to_toml(&first).unwrap();
    assert_eq!(model(&at(), Written::Toml(&text)).unwrap(), first, "{text}");

    let unknown = "\n[quantization]\nquant_method = \"unheard-of\"\n";
    let error = model(&at(), Written::Toml(&format!("{MODEL}{unknown}"))).unwrap_err();
    assert!(error.to_string().contains("quantization"), "{error}");
}

#[test]
fn sizes_have_units() {
    let error = gpu_error("\"23034 MiB\"", "\"24G\"");
    assert_eq!(
        error,
        "`profiles/x.toml`: line 9: `total.value`: `24G` is ambiguous: write `GiB` (1024³) or `GB` \
         (1000³), `MiB` or `MB`"
    );
    let error = gpu_error("\"23034 MiB\"", "24152899584");
    assert!(error.contains("`total.value`: invalid type: integer"), "{error}");
    assert!(error.contains("expected a text with a unit, such as \"24 GiB\""), "{error}");
    assert!(gpu_error("\"23034 MiB\"", "\"0 MiB\"").contains("more than nothing"));
}

#[test]
fn every_defect_is_named_with_its_key() {
    assert!(gpu_error("schema = 1", "schema = 2").contains("`schema` = 2: expected 1"));
    assert!(gpu_error("schema = 1", "").contains("no `schema`: expected `schema = 1`"));
    assert!(
        gpu_error("basis = \"exact\"", "basis = \"sure\"")
            .contains("`total.basis`: unknown variant")
    );
    assert!(gpu_error("\"8.9\"", "\"89\"").contains("`compute_capability` = \"89\""));
    assert!(
        gpu_error("ecc = \"inband-on\"", "ecc = \"on\"").contains("`ecc`: unknown variant `on`")
    );
    assert!(gpu_error("[reserved]", "[reserves]").contains("unknown field `reserves`"));
    assert!(gpu_error("value = 58\n", "").contains("missing field `value`"));
    for count in ["0", "4097", "400000000000"] {
        let error = gpu_error("value = 58", &format!("value = {count}"));
        let wanted = format!("`sm_count.value` = {count}: expected 1 to 4096 multiprocessors");
        assert!(error.contains(&wanted), "{error}");
    }
    assert!(gpu_error("low = \"180", "low = \"1800").contains("`low` ≤ `expected` ≤ `high`"));
    assert!(gpu_error("name = \"L4\"", "name = ").contains("line 3: "));
    let error =
        model(&at(), Written::Toml(&MODEL.replace("kv_heads = 8", "kv_heads = 7"))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`profiles/x.toml`: `shape.kv_heads` = 7: expected a divisor of `n_heads` = 40"
    );
    let unknown = model(&at(), Written::Toml(&MODEL.replace("\"qwen2\"", "\"bert\"")))
        .unwrap_err()
        .to_string();
    assert!(unknown.contains("`shape.architecture`: unknown variant `bert`"), "{unknown}");
}

#[test]
fn a_name_is_one_that_can_be_shown() {
    for name in
        ["", " ", "a\\u001b[31m", "a\\n::error::b", "\\u202eb", "\\u009b31m", &"x".repeat(121)]
    {
        let error = gpu_error("name = \"L4\"", &format!("name = \"{name}\""));
        assert!(error.contains("`name` = \""), "{error}");
        assert!(!error.chars().any(char::is_control), "{error}");
        let text = MODEL.replace("\"Qwen2.5-14B-Instruct\"", &format!("\"{name}\""));
        let error = model(&at(), Written::Toml(&text)).unwrap_err().to_string();
        assert!(error.contains("`aliases` = \""), "{error}");
    }
    assert!(check_name("my model").is_ok() && check_name("a\u{7}").is_err());
}

#[test]
fn sources_are_shown_without_what_commands_a_terminal() {
    let text = GPU.replace("source = \"nvidia-smi\"", "source = \"a\\u009b31m\\u202e\\nb\"");
    let gpu = gpu(&at(), Written::Toml(&text)).unwrap();
    assert_eq!(gpu.total.source, "a\\u{9b}31m\\u{202e}\\u{a}b");
}

#[test]
fn a_profile_in_braces_is_no_json() {
    let json = "{\"schema\": 99, \"name\": \"x\"}";
    assert!(header(&at(), json).is_err());
}

#[test]
fn a_syntax_error_says_where_on_one_line() {
    let error = gpu_error("[total]", "[total");
    assert!(error.contains("line 8: ") && !error.contains("u{a}"), "{error}");
    // The key is that of the value at fault, not of the line above it.
    let error = gpu_error("[\"NVIDIA L4\"]", "[\n  \"a = b\",\n  4,\n]");
    assert!(error.contains("line 6: `aliases[1]`: invalid type"), "{error}");
}

#[test]
fn hostile_text_is_refused_and_never_printed_raw() {
    let error = gpu_error("\"23034 MiB\"", "\"\\u001b[2J\"");
    assert!(!error.chars().any(char::is_control), "{error}");
    let deep = format!("schema = 1\nx = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(gpu(&at(), Written::Toml(&deep)).is_err());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.toml");
    fs_err::write(&path, b"schema = 1\n\xff").unwrap();
    assert!(
        read_gpu(&crate::read::testing::TestDisk, &path)
            .unwrap_err()
            .to_string()
            .contains("line 2 is not UTF-8")
    );
}
