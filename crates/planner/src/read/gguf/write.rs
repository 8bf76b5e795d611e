//! The header of a GGUF file that vramplan makes itself.

use super::GgufTensor;

/// A value of the metadata, of the width that llama.cpp's converters write.
#[derive(Clone, Debug, PartialEq)]
pub enum Field {
    /// An unsigned integer of 32 bits.
    U32(u32),
    /// An unsigned integer of 64 bits.
    U64(u64),
    /// A float of 32 bits.
    F32(f32),
    /// A truth value.
    Bool(bool),
    /// A text.
    Text(String),
    /// An array of signed integers of 32 bits.
    Numbers(Vec<i32>),
    /// An array of texts.
    Texts(Vec<String>),
}

/// Magic number, version, counts, metadata and tensor table, filled up with zeros to where the data of
/// the first tensor begins. Format: `docs/gguf.md` of ggml, version 3, of the default alignment.
pub fn header(metadata: &[(String, Field)], tensors: &[GgufTensor]) -> Vec<u8> {
    let mut bytes = super::MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(length(tensors));
    bytes.extend(length(metadata));
    for (key, field) in metadata {
        text(&mut bytes, key);
        value(&mut bytes, field);
    }
    for tensor in tensors {
        entry(&mut bytes, tensor);
    }
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
    bytes
}

/// Where the next tensor begins behind one that ends at `end`, counted from the start of the data.
pub const fn aligned(end: u64) -> Option<u64> {
    end.checked_next_multiple_of(super::DEFAULT_ALIGNMENT)
}

const VERSION: u32 = 3;
/// The same as `DEFAULT_ALIGNMENT`, as an index.
const ALIGNMENT: usize = 32;

/// A count, or the length of something in memory: never longer than 64 bits can say.
fn length<T>(items: &[T]) -> [u8; 8] {
    (items.len() as u64).to_le_bytes()
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend(length(text.as_bytes()));
    bytes.extend(text.as_bytes());
}

fn value(bytes: &mut Vec<u8>, field: &Field) {
    let tag = |bytes: &mut Vec<u8>, id: u32| bytes.extend(id.to_le_bytes());
    match field {
        Field::U32(n) => {
            tag(bytes, 4);
            bytes.extend(n.to_le_bytes());
        }
        Field::F32(n) => {
            tag(bytes, 6);
            bytes.extend(n.to_le_bytes());
        }
        Field::Bool(flag) => {
            tag(bytes, 7);
            bytes.push(u8::from(*flag));
        }
        Field::Text(value) => {
            tag(bytes, 8);
            text(bytes, value);
        }
        Field::U64(n) => {
            tag(bytes, 10);
            bytes.extend(n.to_le_bytes());
        }
        Field::Numbers(numbers) => {
            tag(bytes, 9);
            tag(bytes, 5);
            bytes.extend(length(numbers));
            for n in numbers {
                bytes.extend(n.to_le_bytes());
            }
        }
        Field::Texts(texts) => {
            tag(bytes, 9);
            tag(bytes, 8);
            bytes.extend(length(texts));
            for value in texts {
                text(bytes, value);
            }
        }
    }
}

fn entry(bytes: &mut Vec<u8>, tensor: &GgufTensor) {
    text(bytes, &tensor.name);
    // At most four dimensions.
    bytes.extend(u32::try_from(tensor.dims.len()).unwrap_or(u32::MAX).to_le_bytes());
    for dim in &tensor.dims {
        bytes.extend(dim.to_le_bytes());
    }
    bytes.extend(tensor.ty.id().to_le_bytes());
    bytes.extend(tensor.offset.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::path::Path;

    use super::*;
    use crate::dtype::GgmlType;
    use crate::read::gguf::{Value, header as read};
    use crate::units::Bytes;

    #[test]
    fn what_is_written_is_what_is_read() {
        let metadata = [
            ("a".to_owned(), Field::U32(7)),
            ("b".to_owned(), Field::U64(1 << 40)),
            ("c".to_owned(), Field::F32(0.5)),
            ("d".to_owned(), Field::Bool(true)),
            ("e".to_owned(), Field::Text("déf".to_owned())),
            ("f".to_owned(), Field::Numbers(vec![-1, 2])),
            ("g".to_owned(), Field::Texts(vec!["x".to_owned(), String::new()])),
        ];
        let tensor = |name: &str, dims: &[u64], ty, offset, size| GgufTensor {
            name: name.to_owned(),
            dims: dims.to_vec(),
            ty,
            offset,
            size: Bytes::new(size),
            part: 0,
        };
        let second = aligned(36).unwrap();
        let tensors = [
            tensor("t", &[9], GgmlType::F32, 0, 36),
            tensor("u", &[32, 2], GgmlType::Q4_0, second, 36),
        ];
        let mut bytes = header(&metadata, &tensors);
        let start = bytes.len();
        bytes.resize(start + 64 + 36, 0);
        let file = read(Cursor::new(&bytes), bytes.len() as u64, Path::new("m.gguf"), 0).unwrap();
        assert_eq!(file.version, 3);
        assert_eq!(file.parts[0].data_start, start as u64);
        assert_eq!(file.tensors, tensors);
        let values: Vec<_> = file.metadata.into_values().collect();
        assert_eq!(
            values,
            [
                Value::Unsigned(7),
                Value::Unsigned(1 << 40),
                Value::Float(0.5),
                Value::Bool(true),
                Value::Text("déf".to_owned()),
                Value::Numbers(vec![-1, 2]),
                Value::Skipped { len: 2 },
            ]
        );
    }
}
