//! Builds GGUF files byte by byte, sound or not.

/// A GGUF header in the making. Counts are those of what was added, unless overruled.
#[derive(Clone)]
pub(crate) struct Gguf {
    pub(crate) version: u32,
    pub(crate) tensor_count: Option<u64>,
    pub(crate) pair_count: Option<u64>,
    pub(crate) alignment: usize,
    pub(crate) pairs: Vec<Vec<u8>>,
    pub(crate) tensors: Vec<Vec<u8>>,
    pub(crate) next_offset: u64,
}

impl Gguf {
    pub(crate) fn new() -> Self {
        Self {
            version: 3,
            tensor_count: None,
            pair_count: None,
            alignment: 32,
            pairs: Vec::new(),
            tensors: Vec::new(),
            next_offset: 0,
        }
    }

    pub(crate) fn pair(mut self, key: impl AsRef<[u8]>, ty: u32, value: &[u8]) -> Self {
        self.pairs.push([&text(key), &ty.to_le_bytes()[..], value].concat());
        self
    }

    pub(crate) fn u32(self, key: &str, value: u32) -> Self {
        self.pair(key, 4, &value.to_le_bytes())
    }

    pub(crate) fn text(self, key: &str, value: &str) -> Self {
        self.pair(key, 8, &text(value))
    }

    pub(crate) fn array(self, key: &str, ty: u32, len: u64, items: &[u8]) -> Self {
        self.pair(key, 9, &[&ty.to_le_bytes()[..], &len.to_le_bytes(), items].concat())
    }

    pub(crate) fn u32s(self, key: &str, items: &[u32]) -> Self {
        let bytes: Vec<_> = items.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.array(key, 4, items.len() as u64, &bytes)
    }

    pub(crate) fn strings(self, key: &str, items: &[&str]) -> Self {
        let bytes: Vec<_> = items.iter().flat_map(text).collect();
        self.array(key, 8, items.len() as u64, &bytes)
    }

    /// A tensor as it is written, its offset included.
    pub(crate) fn raw(
        mut self,
        name: impl AsRef<[u8]>,
        dims: &[u64],
        ty: u32,
        offset: u64,
    ) -> Self {
        let n_dims = u32::try_from(dims.len()).unwrap();
        let dims: Vec<_> = dims.iter().flat_map(|n| n.to_le_bytes()).collect();
        let parts =
            [text(name), n_dims.to_le_bytes().to_vec(), dims, ty.to_le_bytes().to_vec()].concat();
        self.tensors.push([&parts[..], &offset.to_le_bytes()].concat());
        self
    }

    /// An f32 tensor behind the others.
    pub(crate) fn f32(mut self, name: &str, dims: &[u64]) -> Self {
        let offset = self.next_offset;
        let size = dims.iter().product::<u64>() * 4;
        self.next_offset = (offset + size).next_multiple_of(self.alignment as u64);
        self.raw(name, dims, 0, offset)
    }

    /// The header alone.
    pub(crate) fn header(&self) -> Vec<u8> {
        let tensors = self.tensor_count.unwrap_or(self.tensors.len() as u64);
        let pairs = self.pair_count.unwrap_or(self.pairs.len() as u64);
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(tensors.to_le_bytes());
        bytes.extend(pairs.to_le_bytes());
        bytes.extend(self.pairs.concat());
        bytes.extend(self.tensors.concat());
        bytes
    }

    /// The header and the data of every tensor that `f32` added.
    pub(crate) fn file(&self) -> Vec<u8> {
        let mut bytes = self.header();
        let start = bytes.len().next_multiple_of(self.alignment);
        bytes.resize(start + usize::try_from(self.next_offset).unwrap(), 0);
        bytes
    }
}

fn text(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    [&(text.len() as u64).to_le_bytes()[..], text].concat()
}

/// A Llama of two layers, as small as one can be.
pub(crate) fn tiny_llama() -> Gguf {
    let mut gguf = Gguf::new()
        .text("general.architecture", "llama")
        .u32("llama.block_count", 2)
        .u32("llama.embedding_length", 8)
        .u32("llama.attention.head_count", 2)
        .u32("llama.attention.head_count_kv", 1)
        .u32("llama.feed_forward_length", 16)
        .u32("llama.context_length", 64)
        .strings("tokenizer.ggml.tokens", &["a", "bc", "", "déf"])
        .f32("token_embd.weight", &[8, 4])
        .f32("rope_freqs.weight", &[2]);
    for layer in 0..2 {
        for (stem, dims) in [
            ("attn_norm", &[8][..]),
            ("attn_q", &[8, 8]),
            ("attn_k", &[8, 4]),
            ("attn_v", &[8, 4]),
            ("attn_output", &[8, 8]),
            ("ffn_norm", &[8]),
            ("ffn_gate", &[8, 16]),
            ("ffn_up", &[8, 16]),
            ("ffn_down", &[16, 8]),
        ] {
            gguf = gguf.f32(&format!("blk.{layer}.{stem}.weight"), dims);
        }
    }
    gguf.f32("output_norm.weight", &[8])
}
