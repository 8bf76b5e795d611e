//! Text and tokens: the tokenizer and the chat template that a GGUF file carries.

mod bpe;
mod chat;
mod sentence_piece;
#[cfg(test)]
mod tests;
mod tokenizer;

pub use chat::{ChatTemplate, Message, Role};
pub use tokenizer::Tokenizer;
