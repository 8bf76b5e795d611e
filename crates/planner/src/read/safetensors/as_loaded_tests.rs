//! Layouts of folders that transformers does not load as they are stored (what `from_pretrained` of 5.24 made of each).

use crate::read::safetensors::model;
use crate::read::testing::{TENSORS, TestDisk};
use crate::spec::ModelSpec;

/// Elements of the model that `config` describes, without a head of its own.
const ELEMENTS: u64 = 32 + 8 + 64 + 32 + 32 + 64 + 8 + 3 * 128 + 8;
const EMBEDDING: u64 = 32;

fn config(dtype: &str, tied: bool) -> Vec<u8> {
    format!(
        r#"{{"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
            "num_key_value_heads": 1, "intermediate_size": 16, "vocab_size": 4, "dtype": "{dtype}",
            "tie_word_embeddings": {tied}}}"#
    )
    .into_bytes()
}

const HEAD: (&str, &[u64]) = ("lm_head.weight", &[4, 8]);

/// A file of these tensors; norms in a type of their own.
fn file(more: &[(&str, &[u64])], dtype: &str, norms: &str) -> Vec<u8> {
    let mut entries = Vec::new();
    let mut end = 0;
    for (name, shape) in more.iter().chain(&TENSORS[1..]) {
        let own = if name.contains("norm") { norms } else { dtype };
        let bytes = if own == "F32" { 4 } else { 2 };
        let begin = end;
        end += shape.iter().product::<u64>() * bytes;
        entries.push(format!(
            r#""{name}": {{"dtype": "{own}", "shape": {shape:?}, "data_offsets": [{begin}, {end}]}}"#
        ));
    }
    let header = format!("{{{}}}", entries.join(", "));
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + usize::try_from(end).unwrap(), 0);
    bytes
}

fn read(files: &[(&str, &[u8])]) -> Result<ModelSpec, String> {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs_err::write(dir.path().join(name), bytes).unwrap();
    }
    model(&TestDisk, dir.path()).map_err(|error| error.to_string())
}

/// Bytes that are held of one file of weights beside a configuration.
fn loaded(config: &[u8], name: &str, weights: &[u8]) -> u64 {
    let model = read(&[("config.json", config), (name, weights)]).unwrap();
    model.stored.unwrap().size().unwrap().get()
}

#[test]
fn weights_are_held_in_the_type_that_the_configuration_names() {
    for (stored, named, bytes) in
        [("F32", "bfloat16", 2), ("F16", "float32", 4), ("BF16", "float16", 2)]
    {
        let weights = file(&[TENSORS[0]], stored, stored);
        let held = loaded(&config(named, true), "model.safetensors", &weights);
        assert_eq!(held, ELEMENTS * bytes, "{stored} as {named}");
    }
}

#[test]
fn norms_in_another_type_are_converted_with_the_rest() {
    let weights = file(&[TENSORS[0]], "BF16", "F32");
    assert_eq!(loaded(&config("bfloat16", true), "model.safetensors", &weights), ELEMENTS * 2);
}

#[test]
fn one_file_of_a_variant_is_the_checkpoint() {
    let weights = file(&[TENSORS[0]], "F16", "F16");
    assert_eq!(loaded(&config("float16", true), "model.fp16.safetensors", &weights), ELEMENTS * 2);
}

#[test]
fn shards_without_an_index_are_refused() {
    let weights = file(&[TENSORS[0]], "BF16", "BF16");
    let config = config("bfloat16", true);
    let name = "model-00001-of-00002.safetensors";
    let error = read(&[("config.json", &config), (name, &weights)]).unwrap_err();
    assert!(error.contains("model.safetensors.index.json"), "{error}");
}

#[test]
fn a_head_and_an_embedding_are_made_of_each_other() {
    let tied = config("bfloat16", true);
    let only_head = file(&[HEAD], "BF16", "BF16");
    assert_eq!(loaded(&tied, "model.safetensors", &only_head), ELEMENTS * 2);
    let both = file(&[TENSORS[0], HEAD], "BF16", "BF16");
    assert_eq!(loaded(&tied, "model.safetensors", &both), ELEMENTS * 2);
    let untied = config("bfloat16", false);
    let only_embedding = file(&[TENSORS[0]], "BF16", "BF16");
    let held = loaded(&untied, "model.safetensors", &only_embedding);
    assert_eq!(held, (ELEMENTS + EMBEDDING) * 2);
    assert_eq!(loaded(&untied, "model.safetensors", &both), (ELEMENTS + EMBEDDING) * 2);
}

#[test]
fn tensors_that_the_model_has_no_place_for_are_left_out() {
    let unexpected: [(&str, &[u64]); 3] =
        [TENSORS[0], ("medusa_head.0.linear.weight", &[8, 8]), ("v_head.summary.weight", &[1, 8])];
    let weights = file(&unexpected, "BF16", "BF16");
    assert_eq!(loaded(&config("bfloat16", true), "model.safetensors", &weights), ELEMENTS * 2);
}

#[test]
fn an_adapter_beside_the_weights_is_said() {
    let (config, weights) = (config("bfloat16", true), file(&[TENSORS[0]], "BF16", "BF16"));
    let adapter = {
        let header = r#"{"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight":
            {"dtype": "F32", "shape": [2, 8], "data_offsets": [0, 64]}}"#;
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + 64, 0);
        bytes
    };
    let model = read(&[
        ("config.json", &config),
        ("model.safetensors", &weights),
        ("adapter_config.json", b"{}"),
        ("adapter_model.safetensors", &adapter),
    ])
    .unwrap();
    assert_eq!(model.stored.as_ref().unwrap().size().unwrap().get(), ELEMENTS * 2);
    let said = model.remarks.join("; ");
    assert!(said.contains("an adapter lies beside the weights") && said.contains("64 B"), "{said}");
}
