//! Files that llama.cpp loads beside a model: encoders of images (`mmproj`) and adapters.

use std::path::Path;

use super::metadata::Value;
use super::{GgufFile, read};
use crate::read::error::At;
use crate::read::{Files, SourceError};
use crate::spec::{Adapter, Encoder};
use crate::units::{Bytes, to_u64};

/// To what the CUDA backend rounds a tensor up.
const ALIGNMENT: Bytes = Bytes::new(128);
/// Patches of the image that Qwen's encoders are warmed up with: 46 by 46 tokens of four (`clip.cpp`).
const QWEN_PATCHES: u64 = 46 * 46 * 4;
/// Patches of the largest image that it gives them: 4,096 tokens of four.
const QWEN_MOST: u64 = 4096 * 4;

/// An encoder for a model of this width.
///
/// # Errors
/// Where the file is no such encoder, or one for a model of another width.
pub fn encoder(files: &dyn Files, path: &Path, hidden_size: u64) -> Result<Encoder, SourceError> {
    let file = read(files, path)?;
    let at = At::new(path);
    let text = |key: &str| match file.metadata.get(key) {
        Some(Value::Text(text)) => text.as_str(),
        _ => "",
    };
    let architecture = text("general.architecture");
    if architecture != "clip" {
        let expected = "`clip`: the file that `--mmproj` takes";
        return Err(at.invalid("general.architecture", architecture, expected));
    }
    let number = |name: &str, default: Option<u64>| {
        let key = format!("clip.vision.{name}");
        match file.metadata.get(&key) {
            Some(Value::Unsigned(number)) if *number < 1 << 24 => Ok(*number),
            Some(other) => Err(at.invalid(&key, other, "a number below 2^24")),
            None => default.ok_or_else(|| at.missing(&key, "the encoder's numbers")),
        }
    };
    let projected = number("projection_dim", Some(hidden_size))?;
    if projected != hidden_size {
        let expected =
            format!("{hidden_size}, the width of the model: it is the encoder of another");
        return Err(at.invalid("clip.vision.projection_dim", projected, expected));
    }
    let (hidden, ffn) = (number("embedding_length", None)?, number("feed_forward_length", None)?);
    let n_heads = number("attention.head_count", None)?;
    let side = number("image_size", None)? / number("patch_size", None)?.max(1);
    let projector = [text("clip.projector_type"), text("clip.vision.projector_type")].concat();
    let patches = if projector.contains("qwen") {
        [QWEN_PATCHES, QWEN_MOST]
    } else {
        [side.saturating_mul(side); 2]
    };
    let deep = file.tensors.iter().filter(|tensor| tensor.name.ends_with("fc2.weight"));
    let deep = to_u64(deep.filter(|tensor| tensor.name.contains("deepstack")).count());
    Ok(Encoder {
        source: format!("GGUF header of {}", at.path()),
        tensors: to_u64(file.tensors.len()),
        weights: on_gpu(&file, &at)?,
        is_read: true,
        patches,
        width: ffn.saturating_add(hidden.saturating_mul(3)),
        kept: deep.saturating_mul(hidden_size) / 4,
        n_heads,
    })
}

/// An adapter.
///
/// # Errors
/// Where the file is none.
pub fn adapter(files: &dyn Files, path: &Path) -> Result<Adapter, SourceError> {
    let file = read(files, path)?;
    let at = At::new(path);
    let kind = file.metadata.get("general.type");
    if !matches!(kind, Some(Value::Text(text)) if text == "adapter") {
        let found = kind.map_or_else(|| "nothing".to_owned(), ToString::to_string);
        return Err(at.invalid("general.type", found, "`adapter`: the file that `--lora` takes"));
    }
    let tensors = to_u64(file.tensors.len());
    Ok(Adapter { file: at.path().to_owned(), tensors, weights: on_gpu(&file, &at)? })
}

fn on_gpu(file: &GgufFile, at: &At) -> Result<Bytes, SourceError> {
    let sizes = file.tensors.iter().map(|tensor| tensor.size.round_up(ALIGNMENT));
    let sum = sizes.collect::<Result<Vec<_>, _>>().and_then(Bytes::sum);
    sum.map_err(|_| at.invalid("tensors", "sizes", "a sum of at most 64 bits"))
}
