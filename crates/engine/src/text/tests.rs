//! Tokenizers against the libraries that they follow, and against nonsense.

use proptest::prelude::*;
use serde::Deserialize;

use super::Tokenizer;
use vramplan_planner::read::gguf::{Metadata, Value};

/// What `tests/fixtures/write_sentence_piece.py` writes.
#[derive(Deserialize)]
struct Fixture {
    tokens: Vec<String>,
    scores: Vec<f32>,
    token_type: Vec<i64>,
    texts: Vec<Encoded>,
}

#[derive(Deserialize)]
struct Encoded {
    text: String,
    ids: Vec<u32>,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("../../../../tests/fixtures/sentence-piece.json")).unwrap()
}

fn metadata(kind: &str, pairs: impl IntoIterator<Item = (&'static str, Value)>) -> Metadata {
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let model = (key("model"), Value::Text(kind.to_owned()));
    pairs.into_iter().map(|(name, value)| (key(name), value)).chain([model]).collect()
}

fn sentence_piece(fixture: &Fixture) -> Metadata {
    metadata(
        "llama",
        [
            ("tokens", Value::Texts(fixture.tokens.clone())),
            ("scores", Value::Floats(fixture.scores.clone())),
            ("token_type", Value::Numbers(fixture.token_type.clone())),
            ("unknown_token_id", Value::Unsigned(0)),
            ("bos_token_id", Value::Unsigned(1)),
            ("eos_token_id", Value::Unsigned(2)),
        ],
    )
}

#[test]
fn sentence_piece_encodes_as_the_library_does() {
    let fixture = fixture();
    let tokenizer = Tokenizer::of_metadata(&sentence_piece(&fixture)).unwrap();
    assert_eq!(tokenizer.start(), Some(1));
    assert!(tokenizer.is_stop(2));
    for Encoded { text, ids } in &fixture.texts {
        let found = tokenizer.encode(text).unwrap();
        let pieces =
            |ids: &[u32]| ids.iter().map(|&id| &fixture.tokens[id as usize]).collect::<Vec<_>>();
        assert_eq!(pieces(&found), pieces(ids), "{text:?}");
        assert_eq!(tokenizer.decode(&found).unwrap(), *text);
    }
}

fn refused(metadata: &Metadata) -> String {
    Tokenizer::of_metadata(metadata).unwrap_err().to_string()
}

#[test]
fn damaged_tokenizers_are_refused() {
    let sound = sentence_piece(&fixture());
    let with = |name: &str, value: Value| {
        let mut damaged = sound.clone();
        damaged.insert(format!("tokenizer.ggml.{name}"), value);
        refused(&damaged)
    };
    let says = |message: String, expected: &str| assert!(message.contains(expected), "{message}");
    says(with("scores", Value::Floats(vec![0.0])), "1 scores: expected one for each of 600 tokens");
    says(with("tokens", Value::Skipped { len: 600 }), "`tokenizer.ggml.tokens` is not the list");
    says(with("tokens", Value::Texts(Vec::new())), "the file has no tokens");
    says(
        with("model", Value::Text("rwkv".to_owned())),
        "of kind `rwkv`: expected `gpt2` or `llama`",
    );
    says(refused(&Metadata::new()), "the file has no tokens");
    let mut unnamed = sound.clone();
    unnamed.remove("tokenizer.ggml.model");
    says(refused(&unnamed), "the file has none (`tokenizer.ggml.model`)");

    let long = vec!["x".repeat(2_000)];
    let pairs = [("tokens", Value::Texts(long)), ("scores", Value::Floats(vec![0.0]))];
    says(refused(&metadata("llama", pairs)), "token 0 has 2000 B: expected at most 512 B");

    let bytes = |merge: &str| {
        let tokens = ["a", "b", "ab"].map(str::to_owned).to_vec();
        let merges = Value::Texts(vec![merge.to_owned()]);
        refused(&metadata("gpt2", [("tokens", Value::Texts(tokens)), ("merges", merges)]))
    };
    says(bytes("ab"), "`ab` is not a merge: expected two parts");
    says(bytes("a c"), "`c`");
}

fn texts() -> impl Strategy<Value = Value> {
    prop::collection::vec(".{0,6}|<0x[0-9A-F]{2}>|[ab ]{0,4}", 0..24).prop_map(Value::Texts)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn nonsense_neither_panics_nor_hangs(
        kind in prop::sample::select(vec!["gpt2", "llama"]),
        tokens in texts(),
        merges in texts(),
        scores in prop::collection::vec(any::<f32>(), 0..24),
        kinds in prop::collection::vec(-1_i64..8, 0..24),
        unknown in any::<u64>(),
        pre in prop::sample::select(vec!["gpt-2", "smollm", "qwen2", "llama-bpe", "tekken"]),
        text in ".{0,40}",
    ) {
        let pairs = [
            ("scores", Value::Floats(match &tokens {
                Value::Texts(texts) => {
                    texts.iter().zip(scores.iter().cycle()).map(|(_, &score)| score).collect()
                }
                _ => scores,
            })),
            ("tokens", tokens),
            ("merges", merges),
            ("token_type", Value::Numbers(kinds)),
            ("unknown_token_id", Value::Unsigned(unknown)),
            ("pre", Value::Text(pre.to_owned())),
        ];
        if let Ok(tokenizer) = Tokenizer::of_metadata(&metadata(kind, pairs))
            && let Ok(ids) = tokenizer.encode(&text)
        {
            let _ = tokenizer.decode(&ids);
        }
        // Ids that no token has.
        if let Ok(tokenizer) = Tokenizer::of_metadata(&sentence_piece(&fixture())) {
            prop_assert!(tokenizer.decode(&[u32::MAX, 601]).is_ok());
        }
    }
}
