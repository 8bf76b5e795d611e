//! Byte-level BPE (`tokenizer.ggml.model` = `gpt2`), with the splitting that the file names.
//!
//! The expressions are those of the families' `tokenizer.json`, which llama.cpp's
//! `llm_tokenizer_bpe` repeats under the names of `tokenizer.ggml.pre`.

use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{SplitDelimiterBehavior, Tokenizer};

use super::tokenizer::{Vocabulary, refuse};
use crate::EngineError;

const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Builds the tokenizer.
pub(super) fn tokenizer(vocabulary: &Vocabulary) -> Result<Tokenizer, EngineError> {
    let split = vocabulary.pre.as_deref().unwrap_or("default");
    let pre_tokenizer = pre_tokenizer(split)?;
    let pairs = vocabulary.merges.iter().map(|merge| match merge.split_once(' ') {
        Some((left, right)) => Ok((left.to_owned(), right.to_owned())),
        None => Err(refuse(format!("`{merge}` is not a merge: expected two parts"))),
    });
    let model = BPE::builder()
        .vocab_and_merges(vocabulary.ids(), pairs.collect::<Result<Vec<_>, _>>()?)
        .ignore_merges(split == "llama-bpe" || split == "tekken")
        .build()
        .map_err(refuse)?;
    let mut tokenizer = Tokenizer::new(model);
    if split == "qwen2" {
        tokenizer.with_normalizer(Some(NFC)).map_err(refuse)?;
    }
    tokenizer.with_pre_tokenizer(Some(pre_tokenizer));
    tokenizer.with_decoder(Some(ByteLevel::new(false, false, false)));
    Ok(tokenizer)
}

fn pre_tokenizer(name: &str) -> Result<PreTokenizerWrapper, EngineError> {
    let steps: Vec<PreTokenizerWrapper> = match name {
        "default" | "gpt-2" => vec![ByteLevel::new(false, false, true).into()],
        "smollm" => vec![Digits::new(true).into(), ByteLevel::new(false, false, true).into()],
        "qwen2" => regex(QWEN2)?,
        "llama-bpe" | "smaug-bpe" => regex(LLAMA3)?,
        "tekken" => regex(TEKKEN)?,
        other => {
            let known = "`gpt-2`, `smollm`, `qwen2`, `llama-bpe`, `smaug-bpe` or `tekken`";
            return Err(refuse(format!("it splits text as `{other}`: expected {known}")));
        }
    };
    Ok(Sequence::new(steps).into())
}

fn regex(pattern: &str) -> Result<Vec<PreTokenizerWrapper>, EngineError> {
    let pattern = SplitPattern::Regex(pattern.to_owned());
    let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(refuse)?;
    Ok(vec![split.into(), ByteLevel::new(false, false, false).into()])
}
