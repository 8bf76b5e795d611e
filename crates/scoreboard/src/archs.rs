//! Models of every architecture of llama.cpp, as `evidence/llama_cpp/archs.py` made their files: the keys and the
//! tensor table of each, a line of JSON.

#![allow(
    clippy::unwrap_used,
    reason = "a fixture of our own: what it cannot be is a fault of the test"
)]

use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use vramplan_planner::dtype::GgmlType;
use vramplan_planner::read::SourceError;
use vramplan_planner::read::gguf::{GgufFile, GgufPart, GgufTensor, Value, spec};
use vramplan_planner::spec::ModelSpec;
use vramplan_planner::units::Bytes;

/// A file of the fixture.
pub struct File {
    /// What rows call it.
    pub name: String,
    /// What its header says.
    pub header: GgufFile,
}

impl File {
    /// The file of a line.
    ///
    /// # Panics
    /// Where the line is no record of `archs.py`.
    pub fn parse(line: &str) -> Self {
        let json: Json = serde_json::from_str(line).unwrap();
        let text = |key: &str| json[key].as_str().unwrap().to_owned();
        let (name, architecture) = (text("name"), text("arch"));
        let mut header = GgufFile {
            version: 3,
            metadata: [("general.architecture".to_owned(), Value::Text(architecture.clone()))]
                .into(),
            tensors: Vec::new(),
            parts: vec![GgufPart { path: PathBuf::new(), size: Bytes::ZERO, data_start: 0 }],
        };
        for (key, value) in json["keys"].as_object().unwrap() {
            let key = if key.starts_with("xielu.") {
                key.clone()
            } else {
                format!("{architecture}.{key}")
            };
            header.metadata.insert(key, metadata(value));
        }
        for tensor in json["rest"].as_array().unwrap() {
            header.tensors.push(read_tensor(tensor, ""));
        }
        for group in json["layers"].as_array().unwrap() {
            for index in group[0].as_array().unwrap() {
                let prefix = format!("blk.{index}.");
                let tensors = group[1].as_array().unwrap().iter();
                header.tensors.extend(tensors.map(|tensor| read_tensor(tensor, &prefix)));
            }
        }
        Self { name, header }
    }

    /// The model that it is read as.
    ///
    /// # Errors
    /// Where the reader refuses it.
    pub fn model(&self) -> Result<ModelSpec, SourceError> {
        spec(Path::new(&format!("{}.gguf", self.name)), &self.header)
    }
}

fn metadata(json: &Json) -> Value {
    match json {
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(n) if n.is_u64() => Value::Unsigned(n.as_u64().unwrap()),
        Json::Number(n) => Value::Float(n.as_f64().unwrap()),
        Json::Array(items) if items.iter().all(|item| item.is_u64() || item.is_boolean()) => {
            let number = |item: &Json| item.as_i64().unwrap_or_else(|| i64::from(item == true));
            Value::Numbers(items.iter().map(number).collect())
        }
        Json::Array(items) => Value::Skipped { len: items.len() as u64 },
        _ => Value::Skipped { len: 0 },
    }
}

fn read_tensor(json: &Json, prefix: &str) -> GgufTensor {
    let name = json[1].as_str().unwrap();
    let is_named = |ty: &GgmlType| ty.name().eq_ignore_ascii_case(name);
    let ty = (0..64).filter_map(GgmlType::from_id).find(is_named).unwrap();
    let dims: Vec<u64> = json[2].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
    let size = ty.layout().size_of(dims.iter().product()).unwrap();
    let name = format!("{prefix}{}", json[0].as_str().unwrap());
    GgufTensor { name, dims, ty, offset: 0, size, part: 0 }
}
