//! Checkpoints of holes: everything about a model that a loader reads but its weights.
//!
//! The headers of its safetensors files, their index, a `config.json` and a tokenizer of one token per
//! byte. The data behind a header is a hole, so that a model of any size takes kilobytes on a disk; where
//! values do not matter, as in a rehearsal, that is enough.

mod config;
mod names;
#[cfg(test)]
mod tests;
mod tokenizer;

use serde_json::{Map, Value, json};

use super::SynthError;
use crate::dtype::WeightFormat;
use crate::read::safetensors::Dtype;
use crate::spec::ModelSpec;
use crate::units::{Bytes, Overflow};

pub use config::config;
pub use tokenizer::tokenizer;

/// Tensors of a shard together take no more than this, unless one alone does: loaders map whole files,
/// and a host may refuse to map one larger than its memory.
const SHARD: Bytes = Bytes::new(4 << 30);

/// The weights of a checkpoint without their values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Its files in order.
    pub shards: Vec<Shard>,
    /// The text of `model.safetensors.index.json`.
    pub index: String,
}

/// One file of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// `model-00001-of-00002.safetensors`.
    pub name: String,
    /// Everything before the data of the first tensor.
    pub header: Vec<u8>,
    /// Bytes of the data behind it, a hole.
    pub data: Bytes,
}

/// A tensor in its place.
#[derive(Clone, Debug)]
struct Entry {
    name: String,
    shape: Vec<u64>,
    size: Bytes,
}

impl Checkpoint {
    /// The checkpoint of this shape with weights in `format`: bf16, f16 or f32.
    ///
    /// # Errors
    /// For a family whose tensors' names in checkpoints are not known here, and any other format.
    pub fn new(model: &ModelSpec, format: WeightFormat) -> Result<Self, SynthError> {
        let dtype = dtype(model, format)?;
        let shards = shards(entries(model, dtype)?)?;
        let mut files = Vec::with_capacity(shards.len());
        let (mut places, mut total) = (Map::new(), Bytes::ZERO);
        for (number, entries) in shards.iter().enumerate() {
            let name = format!("model-{:05}-of-{:05}.safetensors", number + 1, shards.len());
            places.extend(entries.iter().map(|entry| (entry.name.clone(), json!(name))));
            let shard = shard(name, entries, dtype)?;
            total = total.plus(shard.data)?;
            files.push(shard);
        }
        let index = json!({ "metadata": { "total_size": total.get() }, "weight_map": places });
        Ok(Self { shards: files, index: format!("{index:#}\n") })
    }

    /// Bytes of all tensors.
    pub fn data_size(&self) -> Result<Bytes, Overflow> {
        Bytes::sum(self.shards.iter().map(|shard| shard.data))
    }
}

fn dtype(model: &ModelSpec, format: WeightFormat) -> Result<Dtype, SynthError> {
    match format {
        WeightFormat::Bf16 => Ok(Dtype::Bf16),
        WeightFormat::F16 => Ok(Dtype::F16),
        WeightFormat::F32 => Ok(Dtype::F32),
        _ => Err(SynthError::not_in_checkpoints(model, format!("weights in {format}"))),
    }
}

fn entries(model: &ModelSpec, dtype: Dtype) -> Result<Vec<Entry>, SynthError> {
    let named = names::named(model)?;
    let mut entries = Vec::with_capacity(named.len());
    for names::Named { name, shape } in named {
        let elements = shape.iter().try_fold(1_u64, |product, n| product.checked_mul(*n));
        let size = Bytes::new(dtype.bits() / 8).times(elements.ok_or(Overflow)?)?;
        entries.push(Entry { name, shape, size });
    }
    Ok(entries)
}

fn shards(entries: Vec<Entry>) -> Result<Vec<Vec<Entry>>, Overflow> {
    let (mut shards, mut held) = (vec![Vec::new()], Bytes::ZERO);
    for entry in entries {
        let with = held.plus(entry.size)?;
        let full = with > SHARD && held > Bytes::ZERO;
        held = if full { entry.size } else { with };
        if full {
            shards.push(Vec::new());
        }
        if let Some(last) = shards.last_mut() {
            last.push(entry);
        }
    }
    Ok(shards)
}

fn shard(name: String, entries: &[Entry], dtype: Dtype) -> Result<Shard, Overflow> {
    let mut table = Map::from_iter([("__metadata__".to_owned(), json!({ "format": "pt" }))]);
    let mut data = Bytes::ZERO;
    for entry in entries {
        let end = data.plus(entry.size)?;
        let value = json!({
            "dtype": dtype.name(),
            "shape": entry.shape,
            "data_offsets": [data.get(), end.get()],
        });
        table.insert(entry.name.clone(), value);
        data = end;
    }
    let mut text = Value::Object(table).to_string().into_bytes();
    // The data begins at a multiple of 8.
    text.resize(text.len().next_multiple_of(8), b' ');
    let length = u64::try_from(text.len()).map_err(|_| Overflow)?;
    Ok(Shard { name, header: [&length.to_le_bytes()[..], &text].concat(), data })
}
