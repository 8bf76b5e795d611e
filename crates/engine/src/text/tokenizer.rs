//! The tokenizer of a GGUF file, from its metadata.

use std::collections::HashSet;
use vramplan_disk::Disk;

use tokenizers::AddedToken;

use super::{bpe, sentence_piece};
use crate::{EngineError, GgufSource};
use vramplan_planner::read::gguf::{self, Metadata, Value};
use vramplan_planner::text::printable;

/// What the metadata says about tokens.
#[derive(Clone, Debug, Default)]
pub(super) struct Vocabulary {
    pub(super) tokens: Vec<String>,
    pub(super) scores: Vec<f32>,
    pub(super) kinds: Vec<i64>,
    pub(super) merges: Vec<String>,
    pub(super) pre: Option<String>,
    pub(super) unknown: Option<u32>,
    pub(super) adds_space: bool,
}

/// `llama_token_type` of llama.cpp: what an ordinary piece is, and what is matched as a whole.
const NORMAL: i64 = 1;
const USER_DEFINED: i64 = 4;
const CONTROL: i64 = 3;

impl Vocabulary {
    /// Tokens with their ids; where two are alike the first counts.
    pub(super) fn ids(&self) -> tokenizers::models::bpe::Vocab {
        let mut ids = tokenizers::models::bpe::Vocab::default();
        for (token, id) in self.tokens.iter().zip(0u32..) {
            ids.entry(token.clone()).or_insert(id);
        }
        ids
    }

    pub(super) fn token(&self, id: u32) -> Option<&str> {
        self.tokens.get(usize::try_from(id).ok()?).map(String::as_str)
    }

    /// Whether merges can lead to it.
    pub(super) fn is_piece(&self, id: usize) -> bool {
        self.kinds.get(id).is_none_or(|&kind| kind == NORMAL || kind == USER_DEFINED)
    }

    /// Tokens that are matched as a whole before text is split, and whether they are control tokens.
    fn whole(&self) -> impl Iterator<Item = AddedToken> + '_ {
        self.tokens.iter().zip(&self.kinds).filter_map(|(token, &kind)| match kind {
            CONTROL => Some(AddedToken::from(token.clone(), true)),
            USER_DEFINED => Some(AddedToken::from(token.clone(), false).normalized(false)),
            _ => None,
        })
    }
}

/// Turns text into tokens and back.
#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    bos: Option<u32>,
    eos: Option<u32>,
    adds_bos: bool,
    stops: HashSet<u32>,
    template: Option<String>,
}

/// Tokens that end a turn in some family, beside the one that the metadata names.
const ENDS: [&str; 6] =
    ["<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>", "<end_of_turn>", "</s>"];

impl Tokenizer {
    /// The tokenizer of an open file.
    ///
    /// # Errors
    /// Where there is none, or it is of a kind that is not known.
    pub fn of_gguf(source: &GgufSource) -> Result<Self, EngineError> {
        Self::of_metadata(&gguf::read_tokenizer(&Disk, source.header())?)
    }

    /// The tokenizer of a file's metadata, its lists included.
    ///
    /// # Errors
    /// As [`Self::of_gguf`].
    pub(super) fn of_metadata(metadata: &Metadata) -> Result<Self, EngineError> {
        let metadata = Keys(metadata);
        let kind = metadata.text("tokenizer.ggml.model");
        let vocabulary = metadata.vocabulary(kind.as_deref() == Some("llama"))?;
        let mut inner = match kind.as_deref() {
            Some("gpt2") => bpe::tokenizer(&vocabulary)?,
            Some("llama") => sentence_piece::tokenizer(&vocabulary)?,
            Some(other) => {
                let kind = printable(other);
                return Err(refuse(format!("it is of kind `{kind}`: expected `gpt2` or `llama`")));
            }
            None => return Err(refuse("the file has none (`tokenizer.ggml.model`)")),
        };
        inner.add_tokens(vocabulary.whole()).map_err(refuse)?;
        let eos = metadata.id("tokenizer.ggml.eos_token_id");
        let named = [eos, metadata.id("tokenizer.ggml.eot_token_id")].into_iter().flatten();
        let ends = ENDS.iter().filter_map(|end| inner.token_to_id(end));
        Ok(Self {
            stops: named.chain(ends).collect(),
            bos: metadata.id("tokenizer.ggml.bos_token_id"),
            eos,
            adds_bos: metadata
                .flag("tokenizer.ggml.add_bos_token")
                .unwrap_or(kind.as_deref() == Some("llama")),
            template: metadata.text("tokenizer.chat_template"),
            inner,
        })
    }

    /// The tokens of `text`, in which names of control tokens count as such.
    ///
    /// # Errors
    /// Where the tokenizer refuses the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, EngineError> {
        Ok(self.inner.encode_fast(text, false).map_err(refuse)?.get_ids().to_vec())
    }

    /// The text of `tokens`, without control tokens.
    ///
    /// # Errors
    /// Where the tokenizer refuses.
    pub fn decode(&self, tokens: &[u32]) -> Result<String, EngineError> {
        self.inner.decode(tokens, true).map_err(refuse)
    }

    /// The token that a sequence starts with, where the model wants one.
    pub fn start(&self) -> Option<u32> {
        self.bos.filter(|_| self.adds_bos)
    }

    /// Whether `token` ends a turn.
    pub fn is_stop(&self, token: u32) -> bool {
        self.stops.contains(&token)
    }

    /// The texts of the first and the last token of a sequence.
    pub(super) fn ends(&self) -> [String; 2] {
        [self.bos, self.eos]
            .map(|id| id.and_then(|id| self.inner.id_to_token(id)).unwrap_or_default())
    }

    /// The source of the chat template.
    pub(super) fn template(&self) -> Option<&str> {
        self.template.as_deref()
    }
}

/// The keys of the metadata, each of the kind that it should be.
struct Keys<'a>(&'a Metadata);

impl Keys<'_> {
    fn text(&self, key: &str) -> Option<String> {
        match self.0.get(key)? {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        }
    }

    fn flag(&self, key: &str) -> Option<bool> {
        match self.0.get(key)? {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    fn id(&self, key: &str) -> Option<u32> {
        match *self.0.get(key)? {
            Value::Unsigned(id) => u32::try_from(id).ok(),
            Value::Signed(id) => u32::try_from(id).ok(),
            _ => None,
        }
    }

    /// A list, empty where there is none.
    fn list<T: Clone>(
        &self,
        key: &str,
        of: impl Fn(&Value) -> Option<&Vec<T>>,
    ) -> Result<Vec<T>, EngineError> {
        let Some(value) = self.0.get(key) else { return Ok(Vec::new()) };
        let list = of(value).cloned();
        list.ok_or_else(|| refuse(format!("`{key}` is not the list that it should be")))
    }

    fn vocabulary(&self, adds_space: bool) -> Result<Vocabulary, EngineError> {
        let tokens = self.list("tokenizer.ggml.tokens", texts)?;
        if tokens.is_empty() {
            return Err(refuse("the file has no tokens (`tokenizer.ggml.tokens`)"));
        }
        Ok(Vocabulary {
            tokens,
            scores: self.list("tokenizer.ggml.scores", floats)?,
            kinds: self.list("tokenizer.ggml.token_type", numbers)?,
            merges: self.list("tokenizer.ggml.merges", texts)?,
            pre: self.text("tokenizer.ggml.pre"),
            unknown: self.id("tokenizer.ggml.unknown_token_id"),
            adds_space: self.flag("tokenizer.ggml.add_space_prefix").unwrap_or(adds_space),
        })
    }
}

fn texts(value: &Value) -> Option<&Vec<String>> {
    if let Value::Texts(texts) = value { Some(texts) } else { None }
}

fn floats(value: &Value) -> Option<&Vec<f32>> {
    if let Value::Floats(floats) = value { Some(floats) } else { None }
}

fn numbers(value: &Value) -> Option<&Vec<i64>> {
    if let Value::Numbers(numbers) = value { Some(numbers) } else { None }
}

#[allow(clippy::needless_pass_by_value, reason = "what `map_err` hands over")]
pub(super) fn refuse(error: impl ToString) -> EngineError {
    EngineError::Tokenizer(printable(&error.to_string()))
}
