//! `--config FILE.yaml` of vLLM and `SGLang`, whose keys are their flags.

use serde_json::Value;

/// Entries that are read.
const MOST: usize = 512;

/// The flags that a file of keys and values stands for: `max-model-len: 8192` is `--max-model-len 8192`. Lists, and maps in a
/// line or of one level, are read; of YAML nothing else is.
///
/// ```
/// use vramplan_planner::deployment::flags_of;
///
/// let words = flags_of("model: Qwen/Qwen3-8B\nmax-model-len: 8192\nenforce-eager: true\n").unwrap();
/// assert_eq!(words.join(" "), "--model Qwen/Qwen3-8B --max-model-len 8192 --enforce-eager");
/// ```
///
/// # Errors
/// Where a line is no key with a value: its number.
pub fn flags_of(yaml: &str) -> Result<Vec<String>, usize> {
    let mut entries: Vec<(String, Entry)> = Vec::new();
    for (index, line) in yaml.lines().enumerate() {
        let text = without_comment(line).trim_end();
        if text.trim().is_empty() || text.trim() == "---" {
            continue;
        }
        let number = index + 1;
        let is_within = text.starts_with([' ', '\t', '-']);
        if is_within {
            let (_, entry) = entries.last_mut().ok_or(number)?;
            entry.take(text.trim()).ok_or(number)?;
            continue;
        }
        let (key, value) = text.split_once(':').ok_or(number)?;
        if entries.len() == MOST {
            return Err(number);
        }
        entries.push((key.trim().replace('_', "-"), Entry::Text(value.trim().to_owned())));
    }
    Ok(entries.into_iter().flat_map(|(key, entry)| entry.words(&key)).collect())
}

/// What stands behind a key.
enum Entry {
    Text(String),
    List(Vec<String>),
    Map(serde_json::Map<String, Value>),
}

impl Entry {
    /// Takes a line that is indented below the key.
    fn take(&mut self, line: &str) -> Option<()> {
        if let Self::Text(text) = self {
            text.is_empty().then_some(())?;
            *self = if line.starts_with("- ") {
                Self::List(Vec::new())
            } else {
                Self::Map(serde_json::Map::new())
            };
        }
        match self {
            Self::List(list) => list.push(unquoted(line.strip_prefix("- ")?.trim()).to_owned()),
            Self::Map(map) => {
                let (key, value) = line.split_once(':')?;
                let value = value.trim();
                let read = serde_json::from_str(value);
                let value = read.unwrap_or_else(|_| Value::String(unquoted(value).to_owned()));
                map.insert(unquoted(key.trim()).to_owned(), value);
            }
            Self::Text(_) => return None,
        }
        Some(())
    }

    fn words(self, key: &str) -> Vec<String> {
        let flag = format!("--{key}");
        match self {
            Self::Text(text) => match &*text {
                "" | "null" | "~" => Vec::new(),
                "true" | "True" => vec![flag],
                "false" | "False" => vec![format!("--no-{key}")],
                text => vec![flag, unquoted(text).to_owned()],
            },
            Self::List(values) => std::iter::once(flag).chain(values).collect(),
            Self::Map(map) => vec![flag, Value::Object(map).to_string()],
        }
    }
}

/// A line up to a comment, which a `#` begins that stands first or behind a space.
fn without_comment(line: &str) -> &str {
    if line.trim_start().starts_with('#') {
        return "";
    }
    line.find(" #").map_or(line, |at| line.get(..at).unwrap_or(line))
}

fn unquoted(text: &str) -> &str {
    let inside = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    inside('"').or_else(|| inside('\'')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_flags() {
        let yaml = "---\n# a server\nmodel: \"Qwen/Qwen3-8B\" # which\nmax_num_seqs: 32\nenable-prefix-caching: false\nseed: null\n\
            served-model-name:\n  - a\n  - 'b'\nspeculative-config:\n  method: mtp\n  num_speculative_tokens: 2\n\
            limit-mm-per-prompt: {\"image\": 2}\n";
        let words = flags_of(yaml).unwrap();
        assert_eq!(
            words,
            [
                "--model",
                "Qwen/Qwen3-8B",
                "--max-num-seqs",
                "32",
                "--no-enable-prefix-caching",
                "--served-model-name",
                "a",
                "b",
                "--speculative-config",
                r#"{"method":"mtp","num_speculative_tokens":2}"#,
                "--limit-mm-per-prompt",
                r#"{"image": 2}"#,
            ]
        );
        assert_eq!(flags_of("  - a"), Err(1));
        assert_eq!(flags_of("a: 1\nnonsense"), Err(2));
        assert_eq!(flags_of("a: 1\n  b: 2"), Err(2));
    }
}
