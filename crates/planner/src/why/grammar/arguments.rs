//! A server's arguments as Python prints them, `{'model': 'x', 'enforce_eager': True, …}`: read as the flags that they were.

use crate::deployment::{Question, served};
use crate::why::scan::after;

/// Arguments that are looked at.
const MOST: usize = 128;

/// What vLLM's `non-default args: {…}` says, but the model.
pub fn of_vllm(text: &str) -> Option<Question> {
    let rest = after(text, "non-default args: {")?;
    let flags = entries(rest).filter(|(key, _)| !matches!(*key, "model" | "model_tag"));
    let readable: Vec<Vec<String>> =
        flags.filter_map(|(key, value)| flag(key, value)).filter(|words| is_read(words)).collect();
    let words = readable.iter().flatten().map(String::as_str);
    let command: Vec<&str> = ["vllm", "serve"].into_iter().chain(words).collect();
    Some(served(&command).ok()?.question)
}

/// Whether a flag is known, and its value one that is read.
fn is_read(words: &[String]) -> bool {
    let words = words.iter().map(String::as_str);
    let command: Vec<&str> = ["vllm", "serve"].into_iter().chain(words).collect();
    served(&command).is_ok_and(|found| found.left_out.is_empty())
}

/// An argument as words of a command.
fn flag(key: &str, value: &str) -> Option<Vec<String>> {
    let name = key.replace('_', "-");
    Some(match value {
        "None" => return None,
        "True" => vec![format!("--{name}")],
        "False" => vec![format!("--no-{name}")],
        value if value.starts_with(['{', '[']) => vec![format!("--{name}"), json(value)],
        value => vec![format!("--{name}"), unquoted(value).to_owned()],
    })
}

fn unquoted(value: &str) -> &str {
    let mut inside = value.chars();
    match (inside.next(), inside.next_back()) {
        (Some(first @ ('\'' | '"')), Some(last)) if first == last => inside.as_str(),
        _ => value,
    }
}

/// A dictionary or a list of Python's as JSON, as far as both have it.
fn json(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '\'' | '"' => string_end(rest),
            first if first.is_alphabetic() => {
                rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len())
            }
            first => first.len_utf8(),
        };
        let (word, behind) = rest.split_at(end);
        match (first, word) {
            ('\'' | '"', _) => {
                text.push('"');
                text.push_str(&unquoted(word).replace('"', "\\\""));
                text.push('"');
            }
            (_, "True") => text.push_str("true"),
            (_, "False") => text.push_str("false"),
            (_, "None") => text.push_str("null"),
            _ => text.push_str(word),
        }
        rest = behind;
    }
    text
}

/// Keys and values, up to the end of the dictionary.
fn entries(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let begin = rest.trim_start_matches([' ', ',']);
        let quote = begin.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let (key, behind) = begin.get(1..)?.split_once(quote)?;
        let value = behind.trim_start().strip_prefix(':')?.trim_start();
        let end = value_end(value);
        let (value, behind) = value.split_at(end);
        rest = behind;
        Some((key, value.trim_end()))
    })
    .take(MOST)
}

/// Where a value ends: at a comma or a bracket that is not inside of it.
fn value_end(text: &str) -> usize {
    let (mut depth, mut at) = (0u32, 0);
    while let Some(first) = text.get(at..).and_then(|rest| rest.chars().next()) {
        match first {
            '\'' | '"' => {
                at += text.get(at..).map_or(1, string_end);
                continue;
            }
            '{' | '[' | '(' => depth += 1,
            ',' if depth == 0 => return at,
            '}' | ']' | ')' => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return at,
            },
            _ => {}
        }
        at += first.len_utf8();
    }
    text.len()
}

/// Where a string that begins here ends, its quotes included.
fn string_end(text: &str) -> usize {
    let mut chars = text.char_indices();
    let Some((_, quote)) = chars.next() else { return 0 };
    let mut is_escaped = false;
    for (at, c) in chars {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_as_flags() {
        let line = "INFO non-default args: {'model_tag': '/x/a-nvfp4', 'trust_remote_code': True, \
            'dtype': 'bfloat16', 'max_model_len': 100352, 'enable_prefix_caching': True, 'max_num_seqs': 1, \
            'kv_cache_dtype': 'fp8', 'served_model_name': ['a, b'], 'limit_mm_per_prompt': {'image': 2, 'video': 0}, \
            'speculative_config': {'method': 'mtp', 'num_speculative_tokens': 3}, 'compilation_config': {'mode': <M: 1>}}";
        let found = of_vllm(line).unwrap();
        assert_eq!(found.model, None);
        assert_eq!((found.context, found.max_seqs, found.mtp), (Some(100_352), Some(1), Some(3)));
        assert!(found.enable_prefix_caching);
        assert_eq!(found.dtype.map(|format| format.to_string()).as_deref(), Some("bf16"));
        assert_eq!(found.kv.map(|kv| kv.to_string()).as_deref(), Some("fp8"));
        let limits = found.limit_mm_per_prompt.unwrap();
        assert_eq!((limits.images, limits.videos), (Some(2), Some(0)));
    }

    #[test]
    fn any_text_is_read_or_left() {
        for text in [
            "",
            "'",
            "'a",
            "'a'",
            "'a':",
            "'a': 'b",
            "'a': {'b': [",
            "'é': é}",
            "'a': b)}",
            "'a': '\\",
        ] {
            let line = format!("non-default args: {{{text}");
            assert!(of_vllm(&line).is_some(), "{text}");
        }
        assert_eq!(
            json("{'a': True, \"b\": [None, 'x\"y']}"),
            r#"{"a": true, "b": [null, "x\"y"]}"#
        );
    }
}
