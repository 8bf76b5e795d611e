use proptest::prelude::*;

use super::*;
use crate::read::testing::{TENSORS, TestDisk};
use crate::spec::Role;

const CONFIG: &str = r#"{"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 16,
    "vocab_size": 4, "tie_word_embeddings": true}"#;

fn with_header(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

/// A file of bf16 tensors.
fn file(tensors: &[(&str, &[u64])]) -> Vec<u8> {
    let mut entries = vec![r#""__metadata__": {"format": "pt"}"#.to_owned()];
    let mut end = 0;
    for (name, shape) in tensors {
        let begin = end;
        end += shape.iter().product::<u64>() * 2;
        entries.push(format!(
            r#""{name}": {{"dtype": "BF16", "shape": {shape:?}, "data_offsets": [{begin}, {end}]}}"#
        ));
    }
    with_header(&format!("{{{}}}", entries.join(", ")), usize::try_from(end).unwrap())
}

fn parse(bytes: &[u8]) -> Result<Vec<SafeTensor>, SourceError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.safetensors");
    fs_err::write(&path, bytes).unwrap();
    read(&TestDisk, &path)
}

fn refused(header: &str, data: usize) -> String {
    parse(&with_header(header, data)).unwrap_err().to_string()
}

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs_err::write(dir.path().join(name), bytes).unwrap();
    }
    dir
}

#[test]
fn a_directory_with_one_file_is_a_model() {
    let dir = folder(&[("config.json", CONFIG.as_bytes()), ("model.safetensors", &file(&TENSORS))]);
    let model = model(&TestDisk, dir.path()).unwrap();
    assert_eq!(model.unexplained_elements(), Some(0));
    let stored = model.stored.unwrap();
    assert_eq!((stored.label.as_str(), stored.prequantized), ("bf16", false));
    assert_eq!(stored.tensors.len(), 11);
    assert_eq!(stored.tensors[0].role, Some(Role::TokenEmbedding));
    assert_eq!((stored.tensors[0].row, stored.tensors[0].elements), (8, 32));
    let elements: u64 = stored.tensors.iter().map(|tensor| tensor.elements).sum();
    assert_eq!(stored.size().unwrap().get(), elements * 2);
}

#[test]
fn shards_are_read_together_and_checked_against_the_index() {
    let index = |names: &[&str]| {
        let entries: Vec<_> = TENSORS
            .iter()
            .zip(names.iter().cycle())
            .map(|((tensor, _), file)| format!(r#""{tensor}": "{file}""#))
            .collect();
        format!(r#"{{"metadata": {{}}, "weight_map": {{{}}}}}"#, entries.join(", ")).into_bytes()
    };
    let (a, b) = ("model-1.safetensors", "model-2.safetensors");
    let (first, second) = TENSORS.split_at(4);
    let (first, second) = (file(first), file(second));
    let listed = index(&[a, b]);
    let base = [("config.json", CONFIG.as_bytes()), (INDEX, &listed), (a, &first)];
    let dir = folder(&base);
    let error = model(&TestDisk, dir.path()).unwrap_err();
    assert!(matches!(&error, SourceError::MissingParts { missing, .. } if missing.len() == 1));
    fs_err::write(dir.path().join(b), &second).unwrap();
    for path in [dir.path().to_owned(), dir.path().join(INDEX)] {
        assert_eq!(model(&TestDisk, &path).unwrap().unexplained_elements(), Some(0));
    }
    fs_err::write(dir.path().join(b), file(&TENSORS[5..])).unwrap();
    let error = model(&TestDisk, dir.path()).unwrap_err().to_string();
    assert!(error.contains("no `model.layers.0.self_attn.v_proj.weight`"), "{error}");
    fs_err::write(dir.path().join(b), file(&TENSORS[3..])).unwrap();
    assert!(model(&TestDisk, dir.path()).unwrap_err().to_string().contains("occurs twice"));
    for name in ["../model.safetensors", "/etc/passwd", "model.bin", ".."] {
        fs_err::write(dir.path().join(INDEX), index(&[name])).unwrap();
        let error = model(&TestDisk, dir.path()).unwrap_err().to_string();
        assert!(error.contains("names of safetensors files"), "{error}");
    }
}

#[test]
fn indexes_that_make_no_sense_are_refused() {
    for (index, expected) in [
        ("{}", "missing field `weight_map`"),
        (r#"{"weight_map": []}"#, "expected an object of tensors and their files"),
        (r#"{"weight_map": {"a": 1}}"#, "expected a string"),
        (r#"{"weight_map": {"a": "x", "a": "x"}}"#, "`a` occurs twice"),
        ("{", "EOF"),
    ] {
        let dir = folder(&[("config.json", CONFIG.as_bytes()), (INDEX, index.as_bytes())]);
        let error = model(&TestDisk, dir.path()).unwrap_err().to_string();
        assert!(error.contains(INDEX) && error.contains(expected), "{error}");
    }
}

#[test]
fn a_directory_without_weights_has_a_shape_only() {
    let dir = folder(&[("config.json", CONFIG.as_bytes())]);
    assert_eq!(model(&TestDisk, dir.path()).unwrap().stored, None);
    let dir = folder(&[("config.json", CONFIG.as_bytes()), ("pytorch_model.bin", b"PK")]);
    assert!(model(&TestDisk, dir.path()).unwrap_err().to_string().contains("pickle"));
    let dir = folder(&[("model.safetensors", &file(&TENSORS))]);
    let path = dir.path().join(SINGLE);
    assert!(model(&TestDisk, &path).unwrap_err().to_string().contains("no `config.json`"));
}

#[test]
fn what_runtimes_do_not_load_is_left_out() {
    let others: [(&str, &[u64]); 4] = [
        ("model.layers.1.eh_proj.weight", &[8, 16]),
        ("mtp.norm.weight", &[8]),
        ("lm_head.weight", &[4, 8]),
        ("model.layers.0.self_attn.rotary_emb.inv_freq", &[2]),
    ];
    let tensors = [&TENSORS[..], &others].concat();
    let dir = folder(&[("config.json", CONFIG.as_bytes()), (SINGLE, &file(&tensors))]);
    let stored = model(&TestDisk, dir.path()).unwrap().stored.unwrap();
    assert_eq!(stored.tensors.len(), 11);
    assert!(stored.source.contains("without 4 tensors"), "{}", stored.source);
}

#[test]
fn quantized_checkpoints_are_known_as_such() {
    let header = r#"{"model.layers.0.self_attn.q_proj.qweight":
        {"dtype": "I32", "shape": [1, 8], "data_offsets": [0, 32]}}"#;
    let packed = with_header(header, 32);
    let dir = folder(&[("config.json", CONFIG.as_bytes()), (SINGLE, &packed)]);
    let stored = model(&TestDisk, dir.path()).unwrap().stored.unwrap();
    assert!(stored.prequantized);
    assert_eq!(stored.tensors[0].role, None);
    let config = CONFIG.replace(
        r#""vocab_size""#,
        r#""quantization_config": {"quant_method": "awq", "bits": 4}, "vocab_size""#,
    );
    let dir = folder(&[("config.json", config.as_bytes()), (SINGLE, &file(&TENSORS))]);
    let stored = model(&TestDisk, dir.path()).unwrap().stored.unwrap();
    assert_eq!((stored.label.as_str(), stored.prequantized), ("awq-int4", true));
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = file(&TENSORS[..3]);
    assert_eq!(parse(&bytes).unwrap().len(), 3);
    for length in 0..bytes.len() {
        assert!(parse(&bytes[..length]).is_err(), "{length}");
    }
}

#[test]
fn declared_lengths_are_compared_with_the_file() {
    let mut bytes = file(&TENSORS);
    for length in [u64::MAX, 1 << 40, 100_000_001] {
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        assert!(matches!(parse(&bytes), Err(SourceError::Truncated { .. })));
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sparse.safetensors");
    let sparse = fs_err::OpenOptions::new().write(true).create(true).open(&path).unwrap();
    std::io::Write::write_all(&mut &sparse, &(1u64 << 39).to_le_bytes()).unwrap();
    sparse.set_len(1 << 40).unwrap();
    assert!(read(&TestDisk, &path).unwrap_err().to_string().contains("at most 100000000 B"));
}

#[test]
fn tensors_that_cannot_be_are_refused() {
    let entry = |dtype: &str, shape: &str, offsets: &str| {
        refused(
            &format!(
                r#"{{"t": {{"dtype": "{dtype}", "shape": {shape}, "data_offsets": {offsets}}}}}"#
            ),
            8,
        )
    };
    assert!(entry("Q4_0", "[2]", "[0, 8]").contains("dtype `Q4_0`: expected one of BOOL"));
    assert!(entry("F32", "[3]", "[0, 8]").contains("expected 3 elements of F32"));
    assert!(entry("F32", "[2]", "[8, 0]").contains("data from 8 to 0"));
    assert!(entry("F4", "[3]", "[0, 2]").contains("expected 3 elements of F4"));
    assert!(entry("F32", "[4294967296, 4294967296]", "[0, 8]").contains("less than 2⁶⁴"));
    assert!(entry("F32", "[-2]", "[0, 8]").contains("invalid value"));
    assert!(entry("F32", "[1, 1]", "[0, 4]").contains("expected 4 B, what its tensors take"));
    assert!(entry("F32", "[4]", "[0, 16]").contains("tensor `t` needs 16 B"));
    assert!(entry("F32", "[1]", "[4, 8]").contains("expected 0, where the tensor before it ends"));
    let dims = format!("[{}1]", "1, ".repeat(20));
    assert!(entry("F32", &dims, "[0, 4]").contains("more than 16 dimensions"));
    assert!(refused(r#"{"t": {"dtype": "F32", "shape": [2]}}"#, 8).contains("missing field"));
    assert!(refused("[]", 0).contains("an object of tensors"));
}

#[test]
fn overlaps_gaps_and_duplicates_are_refused() {
    let pair = |second: &str, begin: u64| {
        let entry = |begin| {
            let end = begin + 4;
            format!(r#"{{"dtype": "F32", "shape": [1], "data_offsets": [{begin}, {end}]}}"#)
        };
        refused(&format!(r#"{{"a": {}, "{second}": {}}}"#, entry(0), entry(begin)), 12)
    };
    assert!(pair("b", 0).contains("expected 4, where the tensor before it ends"));
    assert!(pair("b", 8).contains("expected 4, where the tensor before it ends"));
    assert!(pair("a", 4).contains("`a` occurs twice"));
}

#[test]
fn hostile_headers_are_refused_and_never_printed_raw() {
    let deep = format!(r#"{{"__metadata__": {}1{}}}"#, "[".repeat(200_000), "]".repeat(200_000));
    assert!(refused(&deep, 0).contains("expected an object of texts"));
    let deep = format!(r#"{{"t": {}1{}}}"#, "[".repeat(200_000), "]".repeat(200_000));
    assert!(refused(&deep, 0).contains("invalid type"));
    let raw = refused(
        r#"{"\u001b[2J\u202e": {"dtype": "\u0007", "shape": [], "data_offsets": [0, 1]}}"#,
        1,
    );
    assert!(raw.contains("\\u{1b}[2J\\u{202e}") && !raw.chars().any(char::is_control), "{raw}");
    let mut invalid = with_header(r#"{"a": 1}"#, 0);
    invalid[10] = 0xff;
    assert!(parse(&invalid).is_err());
    let long = format!(r#"{{"{}": 1}}"#, "x".repeat(2000));
    assert!(refused(&long, 0).contains("names of at most 1024 B"));
}

#[test]
fn a_million_tensors_are_too_many() {
    let entry = r#"{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"#;
    let entries: Vec<_> = (0..300_000).map(|n| format!(r#""{n}":{entry}"#)).collect();
    assert!(refused(&format!("{{{}}}", entries.join(",")), 0).contains("more than 262144 tensors"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn flipped_bytes_never_panic(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = file(&TENSORS);
        let header = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap() + 8;
        for (index, byte) in flips {
            bytes[index.index(header)] = byte;
        }
        if let Err(error) = parse(&bytes) {
            prop_assert!(!error.to_string().chars().any(char::is_control));
        }
    }
}
