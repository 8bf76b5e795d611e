//! Text and tokens: the tokenizer and the chat template that a GGUF file carries.

mod bpe;
mod chat;
mod sentence_piece;
mod tokenizer;

pub use chat::{ChatTemplate, Message, Role};
pub use tokenizer::Tokenizer;
