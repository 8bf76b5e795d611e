//! `SentencePiece` BPE (`tokenizer.ggml.model` = `llama`): pieces with scores, unknown characters as
//! bytes.
//!
//! Which pieces merge follows from the pieces themselves, the better scored first, as the converter
//! of transformers has it (`convert_slow_tokenizer.py`, `generate_merges`).

use std::collections::HashMap;

use tokenizers::Tokenizer;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::prepend::Prepend;
use tokenizers::normalizers::replace::Replace;
use tokenizers::normalizers::{NormalizerWrapper, Sequence};

use super::tokenizer::{Vocabulary, refuse};
use crate::EngineError;

/// What stands for a space.
const SPACE: char = '▁';

/// Builds the tokenizer.
pub(super) fn tokenizer(vocabulary: &Vocabulary) -> Result<Tokenizer, EngineError> {
    if vocabulary.scores.len() != vocabulary.tokens.len() {
        let (scores, tokens) = (vocabulary.scores.len(), vocabulary.tokens.len());
        return Err(refuse(format!("{scores} scores: expected one for each of {tokens} tokens")));
    }
    let mut builder = BPE::builder()
        .vocab_and_merges(vocabulary.ids(), merges(vocabulary)?)
        .byte_fallback(true)
        .fuse_unk(true);
    if let Some(unknown) = vocabulary.unknown.and_then(|id| vocabulary.token(id)) {
        builder = builder.unk_token(unknown.to_owned());
    }
    let mut tokenizer = Tokenizer::new(builder.build().map_err(refuse)?);
    let space = SPACE.to_string();
    let mut steps: Vec<NormalizerWrapper> = Vec::new();
    let mut decoders: Vec<DecoderWrapper> = vec![
        Replace::new(space.as_str(), " ").map_err(refuse)?.into(),
        ByteFallback::new().into(),
        Fuse::new().into(),
    ];
    if vocabulary.adds_space {
        steps.push(Prepend::new(space.clone()).into());
        decoders.push(Strip::new(' ', 1, 0).into());
    }
    steps.push(Replace::new(" ", space).map_err(refuse)?.into());
    tokenizer.with_normalizer(Some(Sequence::new(steps))).map_err(refuse)?;
    tokenizer.with_decoder(Some(Decoders::new(decoders)));
    Ok(tokenizer)
}

/// The longest piece, in bytes: each of them is cut in every place.
const MAX_PIECE: usize = 512;

/// Every way in which two pieces make a third, best scored first.
fn merges(vocabulary: &Vocabulary) -> Result<Vec<(String, String)>, EngineError> {
    let pieces: HashMap<&str, usize> = vocabulary
        .tokens
        .iter()
        .enumerate()
        .filter(|(id, _)| vocabulary.is_piece(*id))
        .map(|(id, token)| (token.as_str(), id))
        .collect();
    let mut ranked = Vec::new();
    for (piece, &id) in &pieces {
        if piece.len() > MAX_PIECE {
            let expected = format!("expected at most {MAX_PIECE} B");
            return Err(refuse(format!("token {id} has {} B: {expected}", piece.len())));
        }
        for (at, _) in piece.char_indices().skip(1) {
            let (left, right) = piece.split_at(at);
            if let (Some(&l), Some(&r)) = (pieces.get(left), pieces.get(right)) {
                ranked.push((vocabulary.scores[id], id, l, r));
            }
        }
    }
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2, a.3).cmp(&(b.1, b.2, b.3))));
    let text = |id: usize| vocabulary.tokens[id].clone();
    Ok(ranked.into_iter().map(|(_, _, left, right)| (text(left), text(right))).collect())
}
