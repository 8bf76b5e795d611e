use std::io::Cursor as Bytes;
use std::path::Path;

use proptest::prelude::*;

use super::testing::{Gguf, tiny_llama};
use super::*;
use crate::read::testing::TestDisk;
use crate::spec::{Architecture, Role};

fn parse(bytes: &[u8]) -> Result<GgufFile, SourceError> {
    header(Bytes::new(bytes), bytes.len() as u64, Path::new("m.gguf"), 0)
}

fn refused(gguf: &Gguf) -> String {
    parse(&gguf.file()).unwrap_err().to_string()
}

fn write(dir: &Path, name: &str, gguf: &Gguf) -> PathBuf {
    let path = dir.join(name);
    fs_err::write(&path, gguf.file()).unwrap();
    path
}

fn model_of(gguf: &Gguf) -> Result<crate::spec::ModelSpec, SourceError> {
    let dir = tempfile::tempdir().unwrap();
    model(&TestDisk, &write(dir.path(), "tiny.gguf", gguf))
}

#[test]
fn a_small_file_is_read_whole() {
    let file = parse(&tiny_llama().file()).unwrap();
    assert_eq!(file.version, 3);
    assert_eq!(file.tensors.len(), 21);
    assert_eq!(file.metadata["tokenizer.ggml.tokens"], Value::Skipped { len: 4 });
    assert_eq!(file.metadata["llama.block_count"], Value::Unsigned(2));
}

#[test]
fn a_small_file_is_a_model() {
    let model = model_of(&tiny_llama()).unwrap();
    assert_eq!(model.name, "tiny");
    assert_eq!(model.shape.architecture, Architecture::Llama);
    assert_eq!((model.shape.head_dim, model.shape.vocab_size), (4, 4));
    assert!(model.shape.tied_embeddings);
    let stored = model.stored.unwrap();
    assert_eq!(stored.label, "f32");
    let known: u64 = stored.tensors.iter().filter(|t| t.role.is_some()).map(|t| t.elements).sum();
    assert_eq!(known, model.tensors.iter().map(crate::spec::TensorSpec::elements).sum::<u64>());
    assert_eq!(stored.tensors[0].role, Some(Role::TokenEmbedding));
    assert_eq!(stored.tensors[1].role, None);
    assert_eq!(stored.size().unwrap().get(), (known + 2) * 4);
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = tiny_llama().file();
    for length in 0..bytes.len() {
        assert!(parse(&bytes[..length]).is_err(), "{length}");
    }
}

#[test]
fn other_files_and_versions_are_named() {
    let with = |version| refused(&Gguf { version, ..Gguf::new() });
    assert!(with(1).contains("a GGUF file of version 1"));
    assert!(with(4).contains("a GGUF file of version 4"));
    assert!(with(3u32.swap_bytes()).contains("a big-endian GGUF file"));
    assert!(parse(&Gguf { version: 2, ..Gguf::new() }.file()).is_ok());
    let error = parse(b"PK\x03\x04 something else entirely").unwrap_err();
    assert_eq!(
        error.to_string(),
        "`m.gguf`: `magic` = \"PK\\u{3}\\u{4}\": expected `GGUF`: a GGUF file"
    );
}

#[test]
fn counts_beyond_the_file_are_refused_before_anything_is_allocated() {
    for count in [1 << 20, u64::MAX / 2, u64::MAX] {
        let tensors = Gguf { tensor_count: Some(count), ..tiny_llama() };
        assert!(matches!(parse(&tensors.file()), Err(SourceError::Truncated { .. })));
        let pairs = Gguf { pair_count: Some(count), ..tiny_llama() };
        assert!(matches!(parse(&pairs.file()), Err(SourceError::Truncated { .. })));
        for ty in [0, 4, 8, 12] {
            let array = Gguf::new().array("a", ty, count, &[]);
            assert!(matches!(parse(&array.file()), Err(SourceError::Truncated { .. })), "{ty}");
        }
        let text = Gguf::new().pair("t", 8, &count.to_le_bytes());
        assert!(matches!(parse(&text.file()), Err(SourceError::Truncated { .. })));
    }
}

#[test]
fn a_file_that_claims_to_be_huge_costs_no_memory() {
    // A sparse file makes every claim plausible: the caps hold all the same.
    let huge = 1 << 50;
    let read = |gguf: &Gguf| {
        let bytes = gguf.header();
        let tail = std::io::Read::take(std::io::repeat(0), huge);
        let reader = Unseekable(std::io::Read::chain(Bytes::new(bytes), tail));
        header(reader, huge, Path::new("m.gguf"), 0).unwrap_err().to_string()
    };
    assert!(read(&Gguf { tensor_count: Some(1 << 30), ..Gguf::new() }).contains("at most 131072"));
    assert!(read(&Gguf { pair_count: Some(1 << 30), ..Gguf::new() }).contains("at most 65536"));
    assert!(read(&Gguf::new().array("a", 8, 1 << 40, &[])).contains("at most 16777216 texts"));
    let key = Gguf { pair_count: Some(1), ..Gguf::new() };
    let mut bytes = key.header();
    bytes.extend((1u64 << 40).to_le_bytes());
    let tail = std::io::Read::take(std::io::repeat(0), huge);
    let reader = Unseekable(std::io::Read::chain(Bytes::new(bytes), tail));
    let error = header(reader, huge, Path::new("m.gguf"), 0).unwrap_err();
    assert!(error.to_string().contains("at most 1024 B"), "{error}");
}

struct Unseekable<R>(R);

impl<R: Read> Read for Unseekable<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R> Seek for Unseekable<R> {
    fn seek(&mut self, _: std::io::SeekFrom) -> std::io::Result<u64> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

#[test]
fn texts_are_checked_and_never_printed_raw() {
    assert!(refused(&Gguf::new().pair([0xff, 0xfe], 4, &[0; 4])).contains("valid UTF-8"));
    assert!(refused(&Gguf::new().raw([0xc3], &[1], 0, 0)).contains("valid UTF-8"));
    let name = "\x1b]0;owned\x07\u{202e}";
    let error = refused(&Gguf::new().raw(name, &[1], 99, 0));
    assert!(error.contains("\\u{1b}]0;owned\\u{7}\\u{202e}"), "{error}");
    assert!(!error.contains('\x1b') && !error.contains('\u{202e}'));
    let error = refused(&Gguf::new().text("general.alignment", "\x1b[2J"));
    assert!(!error.contains('\x1b'), "{error}");
    let long = "x".repeat(257);
    assert!(refused(&Gguf::new().raw(&long, &[1], 0, 0)).contains("at most 256 B"));
}

#[test]
fn metadata_of_no_known_type_or_nested_is_refused() {
    assert!(refused(&Gguf::new().pair("k", 13, &[])).contains("a value of type 13"));
    assert!(refused(&Gguf::new().array("k", 13, 1, &[0])).contains("a value of type 13"));
    assert!(refused(&Gguf::new().array("k", 9, 1, &[0; 12])).contains("an array of arrays"));
    assert!(refused(&Gguf::new().pair("k", 7, &[2])).contains("0 or 1"));
    let twice = Gguf::new().u32("k", 1).u32("k", 2);
    assert_eq!(refused(&twice), "`m.gguf`: `k` occurs twice");
}

#[test]
fn alignment_is_a_power_of_two() {
    for alignment in [0, 3, 1 << 21] {
        assert!(refused(&Gguf::new().u32("general.alignment", alignment)).contains("power of two"));
    }
    let mut wide = Gguf::new().u32("general.alignment", 64);
    wide.alignment = 64;
    let file = parse(&wide.f32("a", &[1]).f32("b", &[1]).file()).unwrap();
    assert_eq!((file.tensors[1].offset, file.parts[0].data_start % 64), (64, 0));
}

#[test]
fn tensors_that_cannot_be_are_refused() {
    let tensor = |dims: &[u64], ty| refused(&Gguf::new().raw("t", dims, ty, 0));
    assert!(tensor(&[], 0).contains("1 to 4"));
    assert!(tensor(&[1; 5], 0).contains("1 to 4"));
    assert!(tensor(&[4, 0], 0).contains("dimensions of 1"));
    assert!(tensor(&[1 << 32, 1 << 32], 0).contains("dimensions of 1"));
    assert!(tensor(&[1 << 62], 0).contains("less than 16 EiB"));
    assert!(tensor(&[33], 2).contains("rows of whole Q4_0 blocks, 32 elements each"));
    assert!(tensor(&[32], 4).contains("`t` = tensor of type 4"));
    assert!(tensor(&[8], 0).contains("tensor `t` needs 32 B"));
}

#[test]
fn tensors_are_aligned_and_clear_of_each_other() {
    let base = || Gguf::new().f32("a", &[16]).f32("b", &[16]);
    assert!(refused(&base().raw("c", &[1], 0, 33)).contains("a multiple of the alignment, 32"));
    assert!(refused(&base().raw("c", &[1], 0, 32)).contains("64 or more, where `a` ends"));
    assert!(refused(&base().raw("c", &[1], 0, u64::MAX - 31)).contains("has only 0 B left"));
    assert_eq!(refused(&base().raw("a", &[1], 0, 0)), "`m.gguf`: `a` occurs twice");
}

#[test]
fn any_architecture_is_read_by_its_keys() {
    for name in ["none", "mamba2", "llama4", "bert"] {
        let error = model_of(&Gguf::new().text("general.architecture", name)).unwrap_err();
        assert!(error.to_string().contains(&format!("no `{name}.block_count`")), "{error}");
    }
    assert!(model_of(&Gguf::new()).unwrap_err().to_string().contains("no `general.architecture`"));
}

#[test]
fn a_file_beside_a_model_is_none() {
    let error = model_of(&Gguf::new().text("general.architecture", "clip")).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("`general.architecture` = \"clip\" is not modelled"), "{text}");
    assert!(text.contains("a vision tower without its language model"), "{text}");
    assert!(error.hint().is_some());
}

/// A Gemma 4 of two layers: a windowed one, and a full one whose values are its keys.
fn tiny_gemma4(kv_heads: &[u32]) -> Gguf {
    let mut gguf = Gguf::new()
        .text("general.architecture", "gemma4")
        .u32("gemma4.block_count", 2)
        .u32("gemma4.embedding_length", 8)
        .u32("gemma4.attention.head_count", 2)
        .u32s("gemma4.attention.head_count_kv", kv_heads)
        .u32("gemma4.attention.key_length", 8)
        .u32("gemma4.attention.key_length_swa", 4)
        .u32("gemma4.attention.sliding_window", 16)
        .u32s("gemma4.attention.sliding_window_pattern", &[1, 0])
        .u32("gemma4.feed_forward_length", 16)
        .u32("gemma4.context_length", 64)
        .f32("token_embd.weight", &[8, 4])
        .f32("rope_freqs.weight", &[4]);
    for (layer, q, kv) in [(0, 8, 8), (1, 16, 8)] {
        for (stem, dims) in [
            ("attn_norm", &[8][..]),
            ("attn_q", &[8, q]),
            ("attn_k", &[8, kv]),
            ("attn_output", &[q, 8]),
            ("attn_q_norm", &[q / 2]),
            ("attn_k_norm", &[q / 2]),
            ("post_attention_norm", &[8]),
            ("ffn_norm", &[8]),
            ("ffn_gate", &[8, 16]),
            ("ffn_up", &[8, 16]),
            ("ffn_down", &[16, 8]),
            ("post_ffw_norm", &[8]),
            ("layer_output_scale", &[1]),
        ] {
            gguf = gguf.f32(&format!("blk.{layer}.{stem}.weight"), dims);
        }
    }
    gguf.f32("blk.0.attn_v.weight", &[8, 8]).f32("output_norm.weight", &[8])
}

#[test]
fn layers_that_differ_are_read_one_by_one() {
    let model = model_of(&tiny_gemma4(&[2, 1])).unwrap();
    let (windowed, full) = (model.shape.layer(0), model.shape.layer(1));
    assert_eq!((windowed.kv_heads, windowed.head_dim), (2, 4));
    assert_eq!((full.kv_heads, full.head_dim), (1, 8));
    assert!(model.shape.keys_are_values && !model.shape.has_values(1));
    assert_eq!(model.unexplained_elements(), Some(0));
}

#[test]
fn lists_of_layers_from_damaged_files_are_refused() {
    let error = |gguf: &Gguf| model_of(gguf).unwrap_err().to_string();
    assert!(error(&tiny_gemma4(&[2])).contains("one number for each of 2 layers"));
    assert!(error(&tiny_gemma4(&[])).contains("head_count_kv"));
    assert!(error(&tiny_gemma4(&[2, 0])).contains("`per_layer.kv_heads` = 0"));
    assert!(error(&tiny_gemma4(&[2, u32::MAX])).contains("kv_heads"));
}

#[test]
fn gemma_4_with_parts_of_its_own_is_read_by_its_keys() {
    for key in ["attention.shared_kv_layers", "embedding_length_per_layer_input", "expert_count"] {
        let model = model_of(&tiny_gemma4(&[2, 1]).u32(&format!("gemma4.{key}"), 1)).unwrap();
        assert_eq!(model.shape.architecture, Architecture::Other, "{key}");
        let caches = model.file_caches.unwrap();
        let keeps = caches.layers.iter().filter(|layer| layer.keys > 0).count();
        assert_eq!(keeps, if key == "attention.shared_kv_layers" { 1 } else { 2 }, "{key}");
    }
}

#[test]
fn metadata_that_fits_no_shape_names_its_key() {
    let error = |gguf: Gguf| model_of(&gguf).unwrap_err().to_string();
    let base = || Gguf::new().text("general.architecture", "llama").u32("llama.block_count", 2);
    assert!(error(base()).contains("no `llama.embedding_length`"));
    let base = || base().u32("llama.embedding_length", 8);
    let heads = base().u32s("llama.attention.head_count", &[2, 1]);
    assert!(error(heads).contains("the same number for every layer"));
    let heads = base().pair("llama.attention.head_count", 5, &(-2i32).to_le_bytes());
    assert!(error(heads).contains("`llama.attention.head_count` = -2: expected a whole number"));
    assert!(error(base().u32("llama.attention.head_count", 3)).contains("a divisor of 8"));
    assert!(error(base().u32("llama.attention.head_count", 0)).contains("a divisor of 8"));
    let ahead = tiny_llama().u32("llama.nextn_predict_layers", 3);
    assert!(error(ahead).contains("at most `block_count`, 2"));
}

#[test]
fn layers_that_predict_ahead_are_left_out() {
    let model = model_of(&tiny_llama().u32("llama.nextn_predict_layers", 1)).unwrap();
    assert_eq!(model.shape.n_layers, 1);
    let stored = model.stored.unwrap();
    assert_eq!(stored.tensors.len(), 12);
    assert!(stored.source.contains("without 9 tensors of 1 layers"), "{}", stored.source);
}

/// The tensors of a tiny Llama in two files.
fn split(count: u32) -> [Gguf; 2] {
    let keys = |gguf: Gguf, no| {
        gguf.u32("split.no", no).u32("split.count", count).u32("split.tensors.count", 22)
    };
    [keys(tiny_llama(), 0), keys(Gguf::new(), 1).f32("blk.0.attn_q.bias", &[8])]
}

#[test]
fn split_files_are_read_together() {
    let dir = tempfile::tempdir().unwrap();
    let [first, second] = split(2);
    let path = write(dir.path(), "m-00001-of-00002.gguf", &first);
    let error = model(&TestDisk, &path).unwrap_err();
    assert!(matches!(&error, SourceError::MissingParts { missing, .. } if missing.len() == 1));
    assert!(error.to_string().contains("m-00002-of-00002.gguf"));
    let other = write(dir.path(), "m-00002-of-00002.gguf", &second);
    for path in [path, other] {
        let model = model(&TestDisk, &path).unwrap();
        assert_eq!(model.name, "m");
        assert!(model.shape.qkv_bias);
        assert_eq!(model.stored.unwrap().tensors.len(), 22);
    }
}

#[test]
fn misdeclared_splits_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, gguf: &Gguf| write(dir.path(), name, gguf);
    let [first, second] = split(2);
    let lone = write("m.gguf", &first);
    assert!(read(&TestDisk, &lone).unwrap_err().to_string().contains("-of-00002.gguf"));
    let path = write("m-00001-of-00002.gguf", &first);
    write("m-00002-of-00002.gguf", &first);
    let error = read(&TestDisk, &path).unwrap_err().to_string();
    assert!(error.contains("`split.no` = 0: expected 1"), "{error}");
    write("m-00002-of-00002.gguf", &Gguf::new());
    assert!(read(&TestDisk, &path).unwrap_err().to_string().contains("no `split.no`"));
    write("m-00002-of-00002.gguf", &second.clone().f32("x", &[1]));
    let error = read(&TestDisk, &path).unwrap_err().to_string();
    assert!(error.contains("`split.tensors.count` = 22: expected 23"), "{error}");
    write("m-00002-of-00002.gguf", &split(2)[1].clone().f32("output_norm.weight", &[8]));
    let error = read(&TestDisk, &path).unwrap_err().to_string();
    assert!(error.contains("`output_norm.weight` occurs twice"), "{error}");
    let [many, _] = split(65_536);
    let path = write("m-00001-of-65536.gguf", &many);
    assert!(matches!(read(&TestDisk, &path), Err(SourceError::MissingParts { count: 65_536, .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn flipped_bytes_never_panic(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = tiny_llama().file();
        for (index, byte) in flips {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        if let Err(error) = parse(&bytes) {
            prop_assert!(!error.to_string().chars().any(char::is_control));
        }
    }
}
