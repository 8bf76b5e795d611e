//! `model.safetensors.index.json`: which tensor is in which file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use crate::read::SourceError;
use crate::read::error::At;
use crate::read::files::{Files, read_bounded};
use crate::text::printable;

/// No index is larger: that of a model of a thousand billion parameters has 20 MB.
const MAX_SIZE: u64 = 64 << 20;

/// The file of every tensor.
pub(super) fn read(
    files: &dyn Files,
    at: &At,
    path: &Path,
) -> Result<BTreeMap<String, String>, SourceError> {
    let bytes = read_bounded(files, path, MAX_SIZE)?;
    let index: Index =
        serde_json::from_slice(&bytes).map_err(|error| at.malformed(format!("index: {error}")))?;
    Ok(index.weight_map.0)
}

#[derive(Deserialize)]
struct Index {
    weight_map: WeightMap,
}

struct WeightMap(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for WeightMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(WeightMapVisitor)
    }
}

struct WeightMapVisitor;

impl<'de> Visitor<'de> for WeightMapVisitor {
    type Value = WeightMap;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors and their files")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WeightMap, A::Error> {
        let mut files = BTreeMap::new();
        while let Some((tensor, file)) = map.next_entry::<String, String>()? {
            if files.contains_key(&tensor) {
                return Err(de::Error::custom(format!("`{}` occurs twice", printable(&tensor))));
            }
            files.insert(tensor, file);
        }
        Ok(WeightMap(files))
    }
}
