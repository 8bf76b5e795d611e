//! A hub with one repository, for [`Loopback`]: its list of files, and ranges of them.

#![allow(clippy::unwrap_used, reason = "test code")]
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::loopback::{Reply, Request, Sparse};
use vramplan_planner::dtype::WeightFormat;
use vramplan_planner::read::Catalog;
use vramplan_planner::synth::SynthModel;

/// The commit that `main` is.
pub const COMMIT: &str = "ad44e777bcd18fa416d9da3bd8f70d33ebb85d39";

/// A repository.
#[derive(Clone, Debug, Default)]
pub struct FakeHub {
    pub id: String,
    pub files: BTreeMap<String, Sparse>,
}

impl FakeHub {
    pub fn new(id: &str) -> Self {
        Self { id: id.to_owned(), files: BTreeMap::new() }
    }

    pub fn with(mut self, name: &str, file: Sparse) -> Self {
        self.files.insert(name.to_owned(), file);
        self
    }

    /// The answer of the hub itself.
    pub fn reply(&self, request: &Request) -> Reply {
        let path = request.path.split('?').next().unwrap();
        let api = format!("/api/models/{}/revision/", self.id);
        if let Some(revision) = path.strip_prefix(&api) {
            return if matches!(revision, "main" | COMMIT) {
                self.listing()
            } else {
                not_found("RevisionNotFound")
            };
        }
        match path.strip_prefix(&format!("/{}/resolve/{COMMIT}/", self.id)) {
            Some(name) => self
                .file(name)
                .map_or_else(|| not_found("EntryNotFound"), |file| file.reply(request)),
            None => not_found("RepoNotFound"),
        }
    }

    pub fn file(&self, name: &str) -> Option<&Sparse> {
        self.files.get(name)
    }

    pub fn listing(&self) -> Reply {
        let mut files = String::new();
        for (name, file) in &self.files {
            let comma = if files.is_empty() { "" } else { "," };
            let _ = write!(files, r#"{comma}{{"rfilename":"{name}","size":{}}}"#, file.size);
        }
        Reply::new(200, format!(r#"{{"id":"{}","sha":"{COMMIT}","siblings":[{files}]}}"#, self.id))
    }
}

pub fn not_found(code: &str) -> Reply {
    Reply::new(404, r#"{"error":"not here"}"#).header("X-Error-Code", code)
}

/// A GGUF file of a model that has a profile, with a hole for the weights.
pub fn gguf(model: &str, format: WeightFormat) -> Sparse {
    let spec = Catalog::built_in().model(model).unwrap();
    let synthetic = SynthModel::new(&spec, format, 0).unwrap();
    let head = synthetic.header();
    let size = head.len() as u64 + synthetic.data_size().get();
    Sparse { head, size }
}

/// A safetensors file of bf16 matrices, with a hole for them.
pub fn safetensors(tensors: &[(&str, [u64; 2])]) -> Sparse {
    let (mut header, mut at) = (String::from(r#"{"__metadata__":{"format":"pt"}"#), 0);
    for (name, [rows, row]) in tensors {
        let end = at + rows * row * 2;
        let _ = write!(
            header,
            r#","{name}":{{"dtype":"BF16","shape":[{rows},{row}],"data_offsets":[{at},{end}]}}"#
        );
        at = end;
    }
    header.push('}');
    let mut head = (header.len() as u64).to_le_bytes().to_vec();
    head.extend(header.as_bytes());
    Sparse { size: head.len() as u64 + at, head }
}

/// The configuration of a small Llama.
pub const CONFIG: &str = r#"{"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 1000,
    "max_position_embeddings": 4096, "tie_word_embeddings": false, "torch_dtype": "bfloat16"}"#;

/// A checkpoint of that Llama in two files.
pub fn checkpoint(id: &str) -> FakeHub {
    let (mut shards, mut map) = ([Vec::new(), Vec::new()], String::new());
    let names = tensors();
    for (index, (name, shape)) in names.iter().enumerate() {
        let shard = usize::from(index * 2 >= names.len());
        shards[shard].push((name.as_str(), *shape));
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(map, r#"{comma}"{name}":"model-0000{}-of-00002.safetensors""#, shard + 1);
    }
    FakeHub::new(id)
        .with("config.json", Sparse::whole(CONFIG))
        .with(
            "model.safetensors.index.json",
            Sparse::whole(format!(r#"{{"weight_map":{{{map}}}}}"#)),
        )
        .with("model-00001-of-00002.safetensors", safetensors(&shards[0]))
        .with("model-00002-of-00002.safetensors", safetensors(&shards[1]))
}

fn tensors() -> Vec<(String, [u64; 2])> {
    let mut tensors = vec![("model.embed_tokens.weight".to_owned(), [1000, 64])];
    for layer in 0..2 {
        let mut add = |name: &str, shape| {
            tensors.push((format!("model.layers.{layer}.{name}.weight"), shape));
        };
        add("input_layernorm", [1, 64]);
        add("self_attn.q_proj", [64, 64]);
        add("self_attn.k_proj", [32, 64]);
        add("self_attn.v_proj", [32, 64]);
        add("self_attn.o_proj", [64, 64]);
        add("post_attention_layernorm", [1, 64]);
        add("mlp.gate_proj", [128, 64]);
        add("mlp.up_proj", [128, 64]);
        add("mlp.down_proj", [64, 128]);
    }
    tensors.push(("model.norm.weight".to_owned(), [1, 64]));
    tensors.push(("lm_head.weight".to_owned(), [1000, 64]));
    tensors
}
