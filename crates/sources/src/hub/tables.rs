//! The tensor tables of a model's other formats. Its GGUF files have the same metadata, a vocabulary of some megabytes,
//! and the same tensors in other types: of the second file and those after it only the table is read, from where it is in
//! the first, give or take what differs before it. What comes out must name the same tensors and fill its file to the
//! byte; else all of the header is read.

use std::io::Read as _;
use std::path::Path;

use vramplan_planner::read::gguf::{self, GgufFile, GgufPart, GgufTensor, Value};
use vramplan_planner::units::Bytes;

use super::address::Address;
use super::client::Client;

/// How much longer or shorter the metadata of another format may be.
const SLACK: u64 = 32 << 10;
/// The largest table that is read so.
const LONGEST: u64 = 8 << 20;
/// Magic number, version, two counts.
const OPENING: u64 = 24;
const ALIGNMENT: u64 = 32;

/// Where the table of a file is, whose header was read.
pub(crate) struct Reference<'a> {
    file: &'a GgufFile,
    /// How the first entry begins: its name and dimensions.
    first: Vec<u8>,
    start: u64,
    length: u64,
}

/// Where a table begins in its file, and its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub start: u64,
    pub bytes: Vec<u8>,
}

impl<'a> Reference<'a> {
    /// Of a file that is one, with its header.
    pub fn new(file: &'a GgufFile, header: &[u8]) -> Option<Self> {
        let [part] = file.parts.as_slice() else { return None };
        let usual = !file.metadata.contains_key("general.alignment");
        let length: u64 = file.tensors.iter().map(entry_length).sum();
        let first = beginning(file.tensors.first()?);
        // The table ends where the data begins, but for what aligns it.
        let latest = part.data_start.checked_sub(length)?;
        let earliest = latest.saturating_sub(ALIGNMENT);
        let from = usize::try_from(earliest).ok()?;
        let place = header.get(from..)?.windows(first.len()).position(|bytes| bytes == first)?;
        let start = earliest + place as u64;
        let sound = usual && length <= LONGEST && start <= latest && start >= OPENING;
        sound.then_some(Self { file, first, start, length })
    }

    /// Asks for the table of another file of `size` bytes.
    pub fn ask(&self, client: &Client, address: &Address, size: u64) -> Option<Table> {
        let from = self.start.saturating_sub(SLACK).max(OPENING);
        let until = self.start.checked_add(self.length + SLACK)?.min(size);
        let answer = client.range(address, from, until).ok()?;
        if answer.from != from {
            return None;
        }
        let mut window = Vec::new();
        answer.body.take(until.checked_sub(from)?).read_to_end(&mut window).ok()?;
        client.count(window.len() as u64).ok()?;
        let place = window.windows(self.first.len()).position(|bytes| bytes == self.first)?;
        let length = usize::try_from(self.length).ok()?;
        let bytes = window.get(place..place.checked_add(length)?)?.to_vec();
        Some(Table { start: from + place as u64, bytes })
    }

    /// The header of a file of `size` bytes that has this table, under its own name.
    pub fn header(&self, table: &Table, size: u64, path: &Path, format: &str) -> Option<GgufFile> {
        let data_start = aligned(table.start.checked_add(self.length)?)?;
        let data = size.checked_sub(data_start)?;
        let alone = self.alone(table);
        let whole = aligned(alone.len() as u64)?.checked_add(data)?;
        let read = gguf::read_header(&alone, Bytes::new(whole), path).ok()?;
        let same = |(a, b): (&GgufTensor, &GgufTensor)| a.name == b.name && a.dims == b.dims;
        let tensors = &self.file.tensors;
        if read.tensors.len() != tensors.len() || !read.tensors.iter().zip(tensors).all(same) {
            return None;
        }
        let end = read.tensors.iter().map(|tensor| tensor.offset + tensor.size.get()).max()?;
        if end != data && aligned(end) != Some(data) {
            return None;
        }
        let mut metadata = self.file.metadata.clone();
        metadata.remove("general.file_type");
        if let Some(id) = gguf::file_type_id(&format.to_ascii_lowercase()) {
            metadata.insert("general.file_type".to_owned(), Value::Unsigned(u64::from(id)));
        }
        let part = GgufPart { path: path.to_owned(), size: Bytes::new(size), data_start };
        Some(GgufFile {
            version: self.file.version,
            metadata,
            tensors: read.tensors,
            parts: vec![part],
        })
    }

    /// A header of the table and nothing else.
    fn alone(&self, table: &Table) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(self.file.version.to_le_bytes());
        bytes.extend((self.file.tensors.len() as u64).to_le_bytes());
        bytes.extend(0u64.to_le_bytes());
        bytes.extend(&table.bytes);
        bytes
    }
}

impl Table {
    /// As it is kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.start.to_le_bytes()[..], &self.bytes].concat()
    }

    /// What was kept.
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let (start, bytes) = bytes.split_first_chunk()?;
        Some(Self { start: u64::from_le_bytes(*start), bytes: bytes.to_vec() })
    }
}

fn aligned(length: u64) -> Option<u64> {
    length.checked_next_multiple_of(ALIGNMENT)
}

/// Bytes of an entry: its name and dimensions with their counts, its type, its offset.
fn entry_length(tensor: &GgufTensor) -> u64 {
    8 + tensor.name.len() as u64 + 4 + 8 * tensor.dims.len() as u64 + 4 + 8
}

/// How an entry begins, up to its type.
fn beginning(tensor: &GgufTensor) -> Vec<u8> {
    let mut bytes = (tensor.name.len() as u64).to_le_bytes().to_vec();
    bytes.extend(tensor.name.as_bytes());
    bytes.extend(u32::try_from(tensor.dims.len()).unwrap_or(0).to_le_bytes());
    bytes.extend(tensor.dims.iter().flat_map(|dim| dim.to_le_bytes()));
    bytes
}
