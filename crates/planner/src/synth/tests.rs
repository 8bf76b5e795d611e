use super::*;
use crate::dtype::{FileType, GgmlType};
use crate::spec::{Architecture, ModelShape, samples};

const Q4_K_M: WeightFormat = WeightFormat::Gguf(FileType::Q4KM);

/// A Llama of two small layers.
fn shape() -> ModelShape {
    ModelShape {
        n_layers: 2,
        hidden_size: 512,
        n_heads: 8,
        kv_heads: 2,
        head_dim: 64,
        ffn_size: 1024,
        vocab_size: 300,
        context_len: 64,
        ..samples::llama_8b().shape
    }
}

fn model_of(shape: ModelShape) -> ModelSpec {
    ModelSpec::new("tiny", shape, "test").unwrap()
}

fn written(model: &SynthModel) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut told = 0;
    let progress = |n| {
        told += n;
        Ok(())
    };
    model.write_to(&mut bytes, progress).unwrap();
    assert_eq!(told, model.tensors.iter().map(|tensor| tensor.entry.size.get()).sum::<u64>());
    bytes
}

fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[test]
fn a_seed_fixes_every_byte() {
    let model = SynthModel::new(&model_of(shape()), Q4_K_M, 0).unwrap();
    let bytes = written(&model);
    assert_eq!(bytes, written(&model));
    // Changes only with what a synthetic file is: then say so in the changelog.
    assert_eq!((bytes.len(), hash(&bytes)), (2_888_736, 1_377_977_149_365_687_324));
    let other = SynthModel::new(&model_of(shape()), Q4_K_M, 1).unwrap();
    let start = model.header().len();
    assert_ne!(bytes[start..], written(&other)[start..]);
}

#[test]
fn a_file_is_its_header_and_its_tensors_in_their_places() {
    let model = SynthModel::new(&model_of(shape()), Q4_K_M, 3).unwrap();
    let bytes = written(&model);
    let start = model.header().len();
    assert_eq!((bytes.len() - start) as u64, model.data_size().get());
    let mut end = start;
    for tensor in &model.tensors {
        let size = usize::try_from(tensor.entry.size.get()).unwrap();
        let first = start + usize::try_from(tensor.entry.offset).unwrap();
        assert!(bytes[end..first].iter().all(|byte| *byte == 0), "{}", tensor.entry.name);
        let mut filled = vec![0; size];
        tensor.fill(model.seed, &mut filled);
        assert_eq!(bytes[first..first + size], filled, "{}", tensor.entry.name);
        end = first + size;
    }
}

#[test]
fn large_tensors_are_made_in_pieces_of_whole_blocks() {
    let wide = ModelShape { vocab_size: 9000, ..shape() };
    let model = SynthModel::new(&model_of(wide), Q4_K_M, 0).unwrap();
    let embedding = &model.tensors[0];
    assert_eq!(embedding.entry.name, "token_embd.weight");
    assert_eq!((embedding.pieces(), embedding.piece() % 144), (3, 0));
    let size = usize::try_from(embedding.entry.size.get()).unwrap();
    let (mut whole, mut second) = (vec![0; size], vec![0; embedding.piece()]);
    embedding.fill(0, &mut whole);
    embedding.fill_piece(0, 1, &mut second);
    assert_eq!(whole[embedding.piece()..2 * embedding.piece()], second);
    assert_ne!(whole[..64], second[..64]);
}

#[test]
fn writing_stops_where_it_is_told_to() {
    let model = SynthModel::new(&model_of(shape()), Q4_K_M, 0).unwrap();
    let stop = |_| Err(std::io::Error::other("enough"));
    let mut bytes = Vec::new();
    assert_eq!(model.write_to(&mut bytes, stop).unwrap_err().to_string(), "enough");
}

#[test]
fn rows_that_no_block_divides_take_other_types() {
    let odd = ModelShape { hidden_size: 96, n_heads: 3, kv_heads: 1, head_dim: 32, ..shape() };
    let model = SynthModel::new(&model_of(odd), Q4_K_M, 0).unwrap();
    let ty = |name: &str| {
        let named = model.tensors.iter().find(|tensor| tensor.entry.name == name);
        named.unwrap().entry.ty
    };
    assert_eq!(ty("blk.0.attn_q.weight"), GgmlType::Q5_0);
    assert_eq!(ty("blk.1.attn_v.weight"), GgmlType::Q8_0);
    assert_eq!(ty("blk.1.ffn_down.weight"), GgmlType::Q6K);
    assert_eq!(ty("blk.0.ffn_norm.weight"), GgmlType::F32);
}

#[test]
fn llama_3_stretches_low_frequencies_only() {
    let model = SynthModel::new(&samples::llama_8b(), Q4_K_M, 0).unwrap();
    let table = model.tensors.iter().find(|tensor| tensor.entry.name == "rope_freqs.weight");
    let table = table.unwrap();
    // A vector, as llama.cpp's converter writes it: its own loader and vramplan's engine look at that.
    assert_eq!(table.entry.dims, [64]);
    let mut bytes = [0; 256];
    table.fill(0, &mut bytes);
    let divisors: Vec<_> =
        bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
    assert_eq!((divisors[0], divisors[63]), (1.0, 8.0));
    assert!(divisors.is_sorted());
    // Of pair 30 the wavelength is 2π · 500000^(30/64) = 2949: (8192 / 2949 − 1) / 3 = 0.5925 of it stays.
    assert!((divisors[30] - 1.0 / (0.4075 / 8.0 + 0.5925)).abs() < 1e-3, "{}", divisors[30]);
}

#[test]
fn formats_that_gguf_files_lack_are_refused() {
    for format in [WeightFormat::Nf4 { double_quant: false }, WeightFormat::AsStored] {
        let error = SynthModel::new(&model_of(shape()), format, 0).unwrap_err();
        assert!(error.hint().unwrap().contains("--weights q4_k_m"), "{error}");
    }
}

#[test]
fn tensors_without_names_are_refused() {
    let shape = ModelShape { norms_per_layer: 3, ..shape() };
    let error = SynthModel::new(&model_of(shape), Q4_K_M, 0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`tiny` has 3 norms a layer, for which no names in GGUF files are known"
    );
}

#[test]
fn biases_follow_their_matrices() {
    let shape = ModelShape {
        architecture: Architecture::Qwen2,
        qkv_bias: true,
        attn_output_bias: true,
        ..shape()
    };
    let model = SynthModel::new(&model_of(shape), Q4_K_M, 0).unwrap();
    let biases = model.tensors.iter().map(|tensor| tensor.entry.name.as_str());
    let biases = biases.filter(|name| name.ends_with("bias")).take(4);
    assert!(biases.eq(["q", "k", "v", "output"].map(|stem| format!("blk.0.attn_{stem}.bias"))));
}
