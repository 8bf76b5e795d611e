//! The smallest tokenizer that loaders accept: a token for every byte, one to begin and one to end.

use serde_json::{Map, json};

use super::super::tokens::vocabulary;

/// The number of the token that begins a text.
pub(super) const BEGIN: u64 = 256;
/// The number of the token that ends one.
pub(super) const END: u64 = 257;

/// Files of a tokenizer of 258 tokens, by their names, as the `tokenizers` library reads them.
pub fn tokenizer() -> [(&'static str, String); 2] {
    let tokens = vocabulary(258).tokens;
    let numbers: Map<_, _> =
        tokens.iter().take(256).cloned().zip((0_u64..).map(|n| json!(n))).collect();
    let special = |id: u64, content: &str| {
        json!({
            "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        })
    };
    let (begin, end) = ("<|begin|>", "<|end|>");
    let bytes = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false });
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(BEGIN, begin), special(END, end)],
        "normalizer": null, "pre_tokenizer": bytes, "post_processor": null, "decoder": bytes,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": numbers, "merges": [],
        },
    });
    let template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}";
    let config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": begin, "eos_token": end, "pad_token": end,
        "model_max_length": 1_000_000_000, "chat_template": template,
    });
    [
        ("tokenizer.json", format!("{tokenizer}\n")),
        ("tokenizer_config.json", format!("{config:#}\n")),
    ]
}
