//! The weights themselves, tensor by tensor, for whoever runs the model.

use std::io::SeekFrom;

use super::{GgufFile, GgufTensor};
use crate::read::SourceError;
use crate::read::error::At;
use crate::read::files::{Files, Opened};
use crate::text::printable;
use crate::units::{at_most, to_u64};

/// Open files of a model, whose header was read before: where a tensor lies was checked then, and a
/// file that has shrunk since is an error.
#[derive(Debug)]
pub struct Payload {
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    at: At,
    file: Opened,
    data_start: u64,
}

impl Payload {
    /// Opens every file of the model.
    pub fn open(files: &dyn Files, header: &GgufFile) -> Result<Self, SourceError> {
        let open = |part: &super::GgufPart| {
            let at = At::new(&part.path);
            let file = files.open(&part.path).map_err(|error| at.io(&error))?;
            Ok(Part { at, file, data_start: part.data_start })
        };
        Ok(Self { parts: header.parts.iter().map(open).collect::<Result<_, _>>()? })
    }

    /// Reads the data of `tensor` into `bytes`, which is as long as the tensor is large.
    pub fn read(&mut self, tensor: &GgufTensor, bytes: &mut [u8]) -> Result<(), SourceError> {
        let index = at_most(tensor.part, self.parts.len());
        let Some(part) = self.parts.get_mut(index) else {
            let expected = "a file of this model".to_owned();
            return Err(At::named("GGUF file").invalid(&tensor.name, tensor.part, expected));
        };
        let length = to_u64(bytes.len());
        if length != tensor.size.get() {
            let expected = format!("a buffer of {} B", tensor.size.get());
            return Err(part.at.invalid(&tensor.name, format!("{length} B"), expected));
        }
        part.read(tensor, bytes)
    }
}

impl Part {
    fn read(&mut self, tensor: &GgufTensor, bytes: &mut [u8]) -> Result<(), SourceError> {
        let start = self.data_start.saturating_add(tensor.offset);
        self.file.reader.seek(SeekFrom::Start(start)).map_err(|error| self.at.io(&error))?;
        self.file.reader.read_exact(bytes).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                let end = self.file.reader.seek(SeekFrom::End(0)).unwrap_or(0);
                let left = end.saturating_sub(start);
                let what = format!("tensor `{}`", printable(&tensor.name));
                self.at.truncated(&what, tensor.size.get(), left)
            }
            _ => self.at.io(&error),
        })
    }
}
