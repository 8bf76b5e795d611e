//! The smallest vocabulary that loaders accept: a token for every byte, and tokens that are never used.

/// Types of tokens (`llama_token_type` in `llama.h`).
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const UNUSED: i32 = 5;

/// A byte-level vocabulary as the `gpt2` tokenizer reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Vocabulary {
    /// The tokens by their number.
    pub(super) tokens: Vec<String>,
    /// Their types.
    pub(super) types: Vec<i32>,
    /// The numbers of the tokens that begin and end a text; nothing in a vocabulary too small for them.
    pub(super) ends: Option<(u32, u32)>,
}

/// A vocabulary of exactly `size` tokens.
pub(super) fn vocabulary(size: usize) -> Vocabulary {
    let bytes = (0..=u8::MAX).map(|byte| (printable(byte).to_string(), NORMAL));
    let ends = [("<|begin|>".to_owned(), CONTROL), ("<|end|>".to_owned(), CONTROL)];
    let unused = (0..).map(|n| (format!("<|unused_{n}|>"), UNUSED));
    let (tokens, types) = bytes.chain(ends).chain(unused).take(size).unzip();
    Vocabulary { tokens, types, ends: (size >= 258).then_some((256, 257)) }
}

/// The character by which byte-level tokenizers write a byte: itself where it is printable in Latin-1,
/// otherwise the next of those from U+0100 on (`bytes_to_unicode` in GPT-2's `encoder.py`).
fn printable(byte: u8) -> char {
    const fn is_printable(byte: u8) -> bool {
        matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff)
    }
    if is_printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&other| !is_printable(other)).count();
    u32::try_from(before).ok().and_then(|n| char::from_u32(0x100 + n)).unwrap_or(char::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_token_of_its_own() {
        let vocabulary = vocabulary(300);
        let mut tokens = vocabulary.tokens.clone();
        tokens.sort();
        tokens.dedup();
        assert_eq!((tokens.len(), vocabulary.types.len()), (300, 300));
        // As GPT-2 writes a space, a newline, a soft hyphen.
        for (byte, text) in [(b' ', "Ġ"), (b'\n', "Ċ"), (0xad, "Ń"), (b'A', "A"), (0xff, "ÿ")] {
            assert_eq!(vocabulary.tokens[usize::from(byte)], text);
        }
    }

    #[test]
    fn small_vocabularies_are_cut() {
        assert_eq!(vocabulary(4).tokens.len(), 4);
        assert_eq!(vocabulary(257).ends, None);
        assert_eq!(vocabulary(258).ends, Some((256, 257)));
    }
}
