//! safetensors headers and checkpoints: one file, or shards with an index, beside a `config.json`.
//!
//! Format: `safetensors/src/tensor.rs` of the reference implementation: 8 bytes of header length, a
//! JSON object, then the data, which the tensors cover without gaps or overlaps.

mod as_loaded;
mod dtype;
mod header;
mod index;
mod roles;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

pub use self::dtype::Dtype;
pub use self::header::SafeTensor;
use super::error::At;
use super::files::{Files, Opened};
use super::{SourceError, hf_config};
use crate::spec::{ModelSpec, Role, StoredTensor, StoredWeights};
use crate::text::printable_path;
use crate::units::{Bytes, to_u64};

const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";
/// The reference implementation's limit on headers; indexes are held to it too.
const MAX_HEADER: u64 = 100_000_000;

/// Reads the header of one safetensors file.
pub fn read(files: &dyn Files, path: &Path) -> Result<Vec<SafeTensor>, SourceError> {
    let at = At::new(path);
    let Opened { reader: mut file, size } = files.open(path).map_err(|error| at.io(&error))?;
    if size < 8 {
        return Err(at.truncated("the header's length", 8, size));
    }
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(|error| at.io(&error))?;
    let length = u64::from_le_bytes(length);
    let left = size - 8;
    if length > left {
        return Err(at.truncated("the header", length, left));
    }
    if length > MAX_HEADER {
        return Err(at.invalid(
            "the header",
            format!("{length} B"),
            format!("at most {MAX_HEADER} B"),
        ));
    }
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes).map_err(|error| at.io(&error))?;
    header::parse(&at, &bytes, left - length)
}

/// Reads a checkpoint as a model: a directory with `config.json` and weights, or one of its
/// safetensors files or its index. Without weights the model has a shape only.
pub fn model(files: &dyn Files, path: &Path) -> Result<ModelSpec, SourceError> {
    let parent = || path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let folder =
        if files.is_folder(path) { path } else { parent().unwrap_or_else(|| Path::new(".")) };
    let config_path = folder.join("config.json");
    if !files.is_file(&config_path) {
        let expected = "a `config.json` beside the weights: they do not tell a model's shape";
        return Err(At::new(folder).missing("config.json", expected));
    }
    let config = hf_config::read(files, &config_path)?;
    let mut model = hf_config::model(files, &config_path)?;
    let shards =
        if files.is_folder(path) { checkpoint(files, path)? } else { files_of(files, path)? };
    if !shards.is_empty() {
        let weights = Weights::read(files, &shards, &model)?;
        let stored = weights.stored(&At::new(path), config.quantization);
        model.stored = Some(as_loaded::as_loaded(stored, &model));
        model.remarks.extend(adapter(files, folder)?);
    }
    Ok(model)
}

/// What has to be said of an adapter beside the weights: transformers loads it with them, other runtimes where they are
/// asked to.
fn adapter(files: &dyn Files, folder: &Path) -> Result<Option<String>, SourceError> {
    let [config, weights] =
        ["adapter_config.json", "adapter_model.safetensors"].map(|name| folder.join(name));
    if !files.is_file(&config) || !files.is_file(&weights) {
        return Ok(None);
    }
    let tensors = read(files, &weights)?;
    let size = tensors.iter().try_fold(Bytes::ZERO, |sum, tensor| sum.plus(tensor.size));
    let size = size.map_err(|_| At::new(&weights).malformed("more bytes than any device has"))?;
    Ok(Some(format!(
        "an adapter lies beside the weights (`adapter_model.safetensors`): transformers loads its {size} too, which are not counted"
    )))
}

/// The weights in a directory, in the order in which transformers looks for them.
fn checkpoint(files: &dyn Files, folder: &Path) -> Result<Vec<PathBuf>, SourceError> {
    for name in [SINGLE, INDEX] {
        let path = folder.join(name);
        if files.is_file(&path) {
            return files_of(files, &path);
        }
    }
    if let Some(variant) = variant(files, folder)? {
        return Ok(vec![variant]);
    }
    let pickled = ["pytorch_model.bin", "pytorch_model.bin.index.json"];
    if pickled.iter().any(|name| files.is_file(&folder.join(name))) {
        let what = "weights in pickle files (`pytorch_model.bin`)";
        return Err(At::new(folder).unsupported(what, "safetensors or GGUF"));
    }
    Ok(Vec::new())
}

/// The one file of a variant: `model.fp16.safetensors`. Shards without an index are refused, as transformers does.
fn variant(files: &dyn Files, folder: &Path) -> Result<Option<PathBuf>, SourceError> {
    let at = At::new(folder);
    let is_weights = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("model") && name.ends_with(".safetensors")
    };
    let mut found: Vec<_> =
        files.list(folder).map_err(|error| at.io(&error))?.into_iter().filter(is_weights).collect();
    found.sort();
    let first = found.first().map(|path| printable_path(path)).unwrap_or_default();
    let is_shard = first.contains("-of-");
    match found.as_slice() {
        [] => Ok(None),
        [one] if !is_shard => Ok(Some(one.clone())),
        _ if is_shard => {
            let expected =
                format!("a `{INDEX}` beside `{first}`: shards are not loaded without one");
            Err(at.missing(INDEX, expected))
        }
        _ => {
            let expected = format!("one of them: name the file, such as `{first}`");
            Err(at.unsupported("a folder with several variants of its weights", expected))
        }
    }
}

/// The files that hold the weights that `path` is or lists.
fn files_of(files: &dyn Files, path: &Path) -> Result<Vec<PathBuf>, SourceError> {
    if path.extension().is_some_and(|extension| extension == "json") {
        return shards(files, path);
    }
    Ok(vec![path.to_owned()])
}

/// The shards of an index: plain names of files beside it.
fn shards(files: &dyn Files, index: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let at = At::new(index);
    let names: BTreeSet<_> = index::read(files, &at, index)?.into_values().collect();
    let mut shards = Vec::new();
    for name in &names {
        let plain = Path::new(name).file_name().is_some_and(|file| file == name.as_str());
        if !plain || !name.ends_with(".safetensors") {
            return Err(at.invalid(
                "weight_map",
                format!("\"{name}\""),
                "names of safetensors files",
            ));
        }
        shards.push(index.with_file_name(name));
    }
    let missing: Vec<_> = shards
        .iter()
        .filter(|path| !files.is_file(path))
        .map(|path| printable_path(path))
        .collect();
    if missing.is_empty() {
        return Ok(shards);
    }
    let count = to_u64(shards.len());
    Err(SourceError::MissingParts { path: at.path().to_owned(), count, missing })
}

/// The tensors of a checkpoint that runtimes load.
struct Weights {
    tensors: Vec<SafeTensor>,
    left_out: usize,
    files: usize,
}

impl Weights {
    fn read(files: &dyn Files, shards: &[PathBuf], model: &ModelSpec) -> Result<Self, SourceError> {
        let mut tensors = Vec::new();
        let mut names = HashSet::new();
        let mut left_out = 0;
        let mut tied = Vec::new();
        for path in shards {
            for tensor in read(files, path)? {
                if !names.insert(tensor.name.clone()) {
                    return Err(At::new(path).duplicate(&tensor.name));
                }
                if roles::is_loaded(&tensor.name, &model.shape) {
                    tensors.push(tensor);
                } else {
                    if roles::role(&tensor.name) == Some(Role::OutputHead) {
                        tied.push(tensor);
                    }
                    left_out += 1;
                }
            }
        }
        Self::check_index(files, shards, &names)?;
        // The head is the embedding where a tied checkpoint has no other.
        let is_embedding =
            |tensor: &SafeTensor| roles::role(&tensor.name) == Some(Role::TokenEmbedding);
        if !tensors.iter().any(is_embedding) {
            left_out -= tied.len();
            tensors.append(&mut tied);
        }
        Ok(Self { tensors, left_out, files: shards.len() })
    }

    /// Checks that the shards hold what the index beside them lists.
    fn check_index(
        files: &dyn Files,
        shards: &[PathBuf],
        names: &HashSet<String>,
    ) -> Result<(), SourceError> {
        let Some(index) = shards.first().map(|file| file.with_file_name(INDEX)) else {
            return Ok(());
        };
        if shards.len() < 2 || !files.is_file(&index) {
            return Ok(());
        }
        let at = At::new(&index);
        let listed = index::read(files, &at, &index)?;
        match listed.iter().find(|(tensor, _)| !names.contains(*tensor)) {
            Some((tensor, file)) => {
                let expected =
                    format!("in `{}`, where the index has it", crate::text::printable(file));
                Err(at.missing(tensor, expected))
            }
            None => Ok(()),
        }
    }

    fn stored(&self, at: &At, quantization: Option<String>) -> StoredWeights {
        let files = if self.files == 1 { "file" } else { "files" };
        let mut source = format!("headers of {} safetensors {files}, {}", self.files, at.path());
        if self.left_out > 0 {
            let left_out = self.left_out;
            source = format!("{source}, without {left_out} tensors that runtimes do not load");
        }
        let packed = self.tensors.iter().any(is_packed);
        let prequantized = packed || quantization.is_some();
        let label = quantization.unwrap_or_else(|| self.most_common());
        let tensors = self.tensors.iter().map(stored_tensor).collect();
        StoredWeights { label, source, tensors, prequantized }
    }

    /// The dtype of most bytes.
    fn most_common(&self) -> String {
        let mut bytes: BTreeMap<Dtype, u64> = BTreeMap::new();
        for tensor in &self.tensors {
            let sum = bytes.entry(tensor.dtype).or_default();
            *sum = sum.saturating_add(tensor.size.get());
        }
        let most = bytes.into_iter().max_by_key(|(_, bytes)| *bytes);
        most.map_or_else(String::new, |(dtype, _)| dtype.name().to_ascii_lowercase())
    }
}

/// Whether it is the matrix of a linear layer in a dtype that no matrix is trained in.
fn is_packed(tensor: &SafeTensor) -> bool {
    let of_a_linear = roles::role(&tensor.name).is_some_and(crate::spec::Role::is_block_linear);
    let packed_name = [".qweight", ".weight_packed", ".absmax", ".SCB", "_blocks"];
    (of_a_linear && !tensor.dtype.is_plain_float())
        || packed_name.iter().any(|suffix| tensor.name.ends_with(suffix))
}

fn stored_tensor(tensor: &SafeTensor) -> StoredTensor {
    StoredTensor {
        name: tensor.name.as_str().into(),
        role: roles::role(&tensor.name),
        layer: roles::layer(&tensor.name),
        row: tensor.row,
        elements: tensor.elements,
        size: tensor.size,
        ggml: None,
    }
}

#[cfg(test)]
mod tests;
