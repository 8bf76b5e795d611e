//! The JSON header, parsed as a stream: nothing of it is kept but the tensors.

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::dtype::Dtype;
use crate::read::SourceError;
use crate::read::error::At;
use crate::text::printable;
use crate::units::Bytes;

/// A tensor of a safetensors file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SafeTensor {
    /// Its name, such as `model.layers.0.self_attn.q_proj.weight`.
    pub name: String,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Elements of a row: the last dimension, 1 for a scalar.
    pub row: u64,
    /// Elements.
    pub elements: u64,
    /// Bytes of its data.
    pub size: Bytes,
    /// Where its data begins in the data of the file.
    pub offset: u64,
}

const MAX_TENSORS: usize = 1 << 18;
const MAX_NAME: usize = 1 << 10;
const MAX_DIMS: usize = 16;

/// Parses the header of a file with `data_len` bytes of data behind it.
pub(super) fn parse(at: &At, bytes: &[u8], data_len: u64) -> Result<Vec<SafeTensor>, SourceError> {
    let Header(mut tensors) = serde_json::from_slice(bytes)
        .map_err(|error| at.malformed(format!("safetensors header: {error}")))?;
    unique(at, &tensors)?;
    tensors.sort_by_key(|tensor| (tensor.offset, tensor.size));
    covers(at, &tensors, data_len)?;
    Ok(tensors)
}

fn unique(at: &At, tensors: &[SafeTensor]) -> Result<(), SourceError> {
    let mut names = HashSet::new();
    match tensors.iter().find(|tensor| !names.insert(tensor.name.as_str())) {
        Some(tensor) => Err(at.duplicate(&tensor.name)),
        None => Ok(()),
    }
}

/// Checks that the tensors, in order, cover the data without gaps or overlaps.
fn covers(at: &At, tensors: &[SafeTensor], data_len: u64) -> Result<(), SourceError> {
    let mut end = 0u64;
    for tensor in tensors {
        if tensor.offset != end {
            let value = format!("offset {}", tensor.offset);
            let expected = format!("{end}, where the tensor before it ends");
            return Err(at.invalid(&tensor.name, value, expected));
        }
        let size = tensor.size.get();
        end = end.checked_add(size).filter(|&end| end <= data_len).ok_or_else(|| {
            let what = format!("tensor `{}`", printable(&tensor.name));
            at.truncated(&what, size, data_len - end)
        })?;
    }
    if end != data_len {
        let value = format!("{data_len} B of data");
        return Err(at.invalid("the file", value, format!("{end} B, what its tensors take")));
    }
    Ok(())
}

struct Header(Vec<SafeTensor>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut tensors = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                map.next_value::<Metadata>()?;
                continue;
            }
            if name.len() > MAX_NAME {
                return Err(de::Error::custom(format!(
                    "`{}` is {} B long: expected names of at most {MAX_NAME} B",
                    printable(&name),
                    name.len()
                )));
            }
            if tensors.len() == MAX_TENSORS {
                return Err(de::Error::custom(format!("more than {MAX_TENSORS} tensors")));
            }
            let entry: Entry = map.next_value()?;
            tensors.push(entry.tensor(name).map_err(de::Error::custom)?);
        }
        Ok(Header(tensors))
    }
}

/// `__metadata__`: texts by name, of which none is kept.
struct Metadata;

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MetadataVisitor)
    }
}

struct MetadataVisitor;

impl<'de> Visitor<'de> for MetadataVisitor {
    type Value = Metadata;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata, A::Error> {
        while map.next_entry::<IgnoredAny, String>()?.is_some() {}
        Ok(Metadata)
    }
}

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Shape,
    data_offsets: (u64, u64),
}

impl Entry {
    fn tensor(self, name: String) -> Result<SafeTensor, String> {
        let label = printable(&name);
        let dtype = Dtype::from_name(&self.dtype).ok_or_else(|| {
            let known: Vec<_> = Dtype::ALL.iter().map(|dtype| dtype.name()).collect();
            let dtype = printable(&self.dtype);
            format!("`{label}` has dtype `{dtype}`: expected one of {}", known.join(", "))
        })?;
        let Shape { row, elements } = self.shape;
        let bits = elements.and_then(|n| n.checked_mul(dtype.bits()));
        let bits = bits.filter(|bits| bits.is_multiple_of(8));
        let (begin, end) = self.data_offsets;
        match (elements, bits, end.checked_sub(begin)) {
            (Some(elements), Some(bits), Some(size)) if bits / 8 == size => {
                let size = Bytes::new(size);
                Ok(SafeTensor { name, dtype, row, elements, size, offset: begin })
            }
            _ => Err(format!(
                "`{label}` has data from {begin} to {end}: expected {} elements of {}",
                elements.map_or_else(|| "less than 2⁶⁴".to_owned(), |n| n.to_string()),
                dtype.name()
            )),
        }
    }
}

/// Dimensions, as far as they matter.
struct Shape {
    row: u64,
    /// Nothing where the product does not fit.
    elements: Option<u64>,
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of dimensions")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
        let mut shape = Shape { row: 1, elements: Some(1) };
        let mut count = 0;
        while let Some(dim) = seq.next_element::<u64>()? {
            count += 1;
            if count > MAX_DIMS {
                return Err(de::Error::custom(format!("more than {MAX_DIMS} dimensions")));
            }
            shape.row = dim;
            shape.elements = shape.elements.and_then(|n| n.checked_mul(dim));
        }
        Ok(shape)
    }
}
