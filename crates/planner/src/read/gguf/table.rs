//! The tensor table of a GGUF header, and the checks that make its sizes trustworthy.

use std::collections::HashSet;
use std::io::{Read, Seek};

use super::cursor::Cursor;
use crate::dtype::GgmlType;
use crate::read::SourceError;
use crate::read::error::At;
use crate::text::printable;
use crate::units::Bytes;

/// A tensor of a GGUF file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GgufTensor {
    /// Its name, such as `blk.0.attn_q.weight`.
    pub name: String,
    /// Elements in each dimension, the row first; one to four of them, none of them zero.
    pub dims: Vec<u64>,
    /// How its elements are stored.
    pub ty: GgmlType,
    /// Where its data begins, from the start of the data of its file.
    pub offset: u64,
    /// Bytes of its data, without alignment.
    pub size: Bytes,
    /// The file that holds it, counted from 0.
    pub part: u64,
}

impl GgufTensor {
    /// Elements of a row.
    pub fn row(&self) -> u64 {
        self.dims.first().copied().unwrap_or(1)
    }

    /// Elements; the product was checked when the table was read.
    pub fn elements(&self) -> u64 {
        self.dims.iter().product()
    }
}

/// The shortest entry: a name of one byte, one dimension.
const ENTRY: u64 = 8 + 1 + 4 + 8 + 4 + 8;
const MAX_TENSORS: u64 = 1 << 17;
const MAX_NAME: u64 = 256;
const MAX_DIMS: u32 = 4;

/// Reads `count` entries; where their data lies is checked by [`check`].
pub(super) fn read<R: Read + Seek>(
    cursor: &mut Cursor<'_, R>,
    count: u64,
    part: u64,
) -> Result<Vec<GgufTensor>, SourceError> {
    cursor.need_items(count, ENTRY, "the tensor table")?;
    if count > MAX_TENSORS {
        return Err(cursor.at.invalid("tensor_count", count, format!("at most {MAX_TENSORS}")));
    }
    let mut tensors = Vec::new();
    for _ in 0..count {
        tensors.push(entry(cursor, part)?);
    }
    Ok(tensors)
}

fn entry<R: Read + Seek>(cursor: &mut Cursor<'_, R>, part: u64) -> Result<GgufTensor, SourceError> {
    let name = cursor.text("a tensor name", MAX_NAME)?;
    let n_dims = cursor.u32(&name)?;
    if !(1..=MAX_DIMS).contains(&n_dims) {
        let value = format!("{n_dims} dimensions");
        return Err(cursor.at.invalid(&name, value, format!("1 to {MAX_DIMS}")));
    }
    let mut dims = Vec::new();
    for _ in 0..n_dims {
        dims.push(cursor.u64(&name)?);
    }
    let id = cursor.u32(&name)?;
    let ty = GgmlType::from_id(id).ok_or_else(|| {
        let known = GgmlType::ALL.iter().map(|ty| ty.id()).max().unwrap_or(0);
        let expected = format!("a GGML type that is in use, none above {known}");
        cursor.at.invalid(&name, format!("tensor of type {id}"), expected)
    })?;
    let offset = cursor.u64(&name)?;
    let size = size(cursor.at, &name, &dims, ty)?;
    Ok(GgufTensor { name, dims, ty, offset, size, part })
}

fn size(at: &At, name: &str, dims: &[u64], ty: GgmlType) -> Result<Bytes, SourceError> {
    let elements = dims.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim));
    let Some(elements) = elements.filter(|&n| n > 0) else {
        return Err(at.invalid(name, format!("{dims:?}"), "dimensions of 1 to 2⁶⁴ elements"));
    };
    let layout = ty.layout();
    if !dims.first().is_some_and(|&row| layout.divides(row)) {
        let expected = format!("rows of whole {ty} blocks, {} elements each", layout.elements);
        return Err(at.invalid(name, format!("{dims:?}"), expected));
    }
    layout.size_of(elements).map_err(at.overflow(name))
}

/// Checks that names are unique and that every tensor lies in the `data_len` bytes of its file's
/// data, aligned and clear of the others.
pub(super) fn check(
    at: &At,
    tensors: &[GgufTensor],
    data_len: u64,
    alignment: u64,
) -> Result<(), SourceError> {
    unique(at, tensors)?;
    let mut ranges = Vec::new();
    for tensor in tensors {
        let GgufTensor { name, offset, size, .. } = tensor;
        if !offset.is_multiple_of(alignment) {
            let expected = format!("a multiple of the alignment, {alignment}");
            return Err(at.invalid(name, format!("offset {offset}"), expected));
        }
        let end = offset.checked_add(size.get()).filter(|&end| end <= data_len);
        let Some(end) = end else {
            let left = data_len.saturating_sub(*offset);
            return Err(at.truncated(&format!("tensor `{}`", printable(name)), size.get(), left));
        };
        ranges.push((*offset, end, name));
    }
    ranges.sort_unstable();
    for pair in ranges.windows(2) {
        if let [(_, end, first), (start, _, second)] = pair
            && start < end
        {
            let value = format!("offset {start}");
            let expected = format!("{end} or more, where `{}` ends", printable(first));
            return Err(at.invalid(second, value, expected));
        }
    }
    Ok(())
}

/// Checks that no two tensors have one name.
pub(super) fn unique(at: &At, tensors: &[GgufTensor]) -> Result<(), SourceError> {
    let mut names = HashSet::new();
    match tensors.iter().find(|tensor| !names.insert(tensor.name.as_str())) {
        Some(tensor) => Err(at.duplicate(&tensor.name)),
        None => Ok(()),
    }
}
