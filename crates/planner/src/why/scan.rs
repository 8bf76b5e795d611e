//! Finding words, numbers and sizes in a line. No patterns: each step goes through the line once.

use super::Printed;
use crate::units::Bytes;

/// What `GB` means where a program says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gb {
    /// 1024³, as PyTorch's programs mean it.
    Binary,
    /// 1000³.
    Decimal,
}

/// A size with its sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// How much.
    pub size: Printed,
    /// Whether it is below zero.
    pub negative: bool,
}

/// What stands behind some words.
pub fn after<'a>(text: &'a str, words: &str) -> Option<&'a str> {
    let at = text.find(words)?;
    text.get(at + words.len()..)
}

/// What stands behind some words, up to others.
pub fn between<'a>(text: &'a str, from: &str, to: &str) -> Option<&'a str> {
    let rest = after(text, from)?;
    rest.get(..rest.find(to)?)
}

/// A whole number at the beginning, its thousands set apart by commas or not, and what follows it.
pub fn number(text: &str) -> Option<(u64, &str)> {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != ',').unwrap_or(text.len());
    let (digits, rest) = (text.get(..end)?, text.get(end..)?);
    let digits = digits.trim_end_matches(',');
    let value = digits.replace(',', "").parse().ok()?;
    Some((value, rest))
}

/// The number behind some words.
pub fn number_after(text: &str, words: &str) -> Option<u64> {
    number(after(text, words)?).map(|(number, _)| number)
}

/// The number behind the first of some words that one stands behind: `GPU 1` of `not enough GPU memory. … GPU 1 has …`.
pub fn first_number_after(text: &str, words: &str) -> Option<u64> {
    text.match_indices(words)
        .filter_map(|(at, found)| text.get(at + found.len()..))
        .filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        .find_map(|rest| number(rest).map(|(number, _)| number))
}

/// A number with a unit at the beginning, and what follows it.
pub fn size(text: &str, gb: Gb) -> Option<(Size, &str)> {
    let text = text.trim_start_matches([' ', '\t', '=', ':', '(', '"', '\'']);
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest.trim_start()),
        None => (false, text),
    };
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ',')?;
    let number = text.get(..end)?.trim_end_matches(['.', ',']).replace(',', "");
    let rest = text.get(end..)?.trim_start();
    let word = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let unit = unit(rest.get(..word)?, gb)?;
    let size = Printed::parse(&number, unit)?;
    Some((Size { size, negative }, rest.get(word..)?))
}

/// The size behind some words.
pub fn size_after(text: &str, words: &str, gb: Gb) -> Option<Printed> {
    let (size, _) = size(after(text, words)?, gb)?;
    (!size.negative).then_some(size.size)
}

fn unit(word: &str, gb: Gb) -> Option<Bytes> {
    let binary = |decimal: u64, binary: Bytes| match gb {
        Gb::Binary => binary,
        Gb::Decimal => Bytes::new(decimal),
    };
    Some(match word {
        "bytes" | "B" | "byte" => Bytes::new(1),
        // The kernel's kB are KiB (`fs/proc/task_mmu.c`, `mm/oom_kill.c`).
        "KiB" | "Ki" | "kB" => Bytes::KIB,
        "MiB" | "Mi" => Bytes::MIB,
        "GiB" | "Gi" => Bytes::GIB,
        "TiB" => Bytes::new(1 << 40),
        "KB" => binary(1_000, Bytes::KIB),
        "MB" => binary(1_000_000, Bytes::MIB),
        "GB" | "gb" => binary(1_000_000_000, Bytes::GIB),
        "TB" => binary(1_000_000_000_000, Bytes::new(1 << 40)),
        _ => return None,
    })
}

/// The value of `key=value`, `key="value"`, `key='value'`, `key: value` or `'key': value`, without quotes.
pub fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut from = 0;
    while let Some(found) = text.get(from..)?.find(key) {
        let at = from + found;
        let end = at + key.len();
        let begins = text.get(..at)?.chars().next_back().is_none_or(|c| !is_word(c));
        let rest = text.get(end..)?;
        let rest = rest.strip_prefix(['\'', '"']).unwrap_or(rest);
        let separated = rest.strip_prefix('=').or_else(|| rest.strip_prefix(':'));
        if let (true, Some(rest)) = (begins, separated) {
            return unquoted(rest.trim_start());
        }
        from = end;
    }
    None
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '.' || c == '-'
}

/// A value up to where it ends: its quote, or a space, comma or bracket.
fn unquoted(text: &str) -> Option<&str> {
    let text = text.strip_prefix('\\').unwrap_or(text);
    if let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        let rest = text.get(1..)?;
        return rest.get(..rest.find(quote)?).map(|inside| inside.trim_end_matches('\\'));
    }
    let end = text.find([' ', ',', ')', '}', ']', '\t']).unwrap_or(text.len());
    text.get(..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_and_signs() {
        let of =
            |text| size(text, Gb::Binary).map(|(s, rest)| (s.size.bytes.get(), s.negative, rest));
        assert_eq!(of("= 9866.00 MiB on"), Some((9866 << 20, false, " on")));
        assert_eq!(of("-0.5GiB."), Some((1 << 29, true, ".")));
        assert_eq!(of("0 bytes is free"), Some((0, false, " is free")));
        assert_eq!(of("1,024.00 MiB"), Some((1 << 30, false, "")));
        assert_eq!(of("2 GB"), Some((2 << 30, false, "")));
        assert_eq!(size("2 GB", Gb::Decimal).unwrap().0.size.bytes.get(), 2_000_000_000);
        for wrong in ["", "MiB", "3", "3 apples", "3.3.3 GiB", "…", "99999999999999 GiB"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn values_are_found_by_their_whole_key() {
        let line = r#"msg=offload layers.requested=-1 memory.required.kv="19.5 GiB" name='a b' {'max_model_len': 8192}"#;
        assert_eq!(value(line, "layers.requested"), Some("-1"));
        assert_eq!(value(line, "memory.required.kv"), Some("19.5 GiB"));
        assert_eq!(value(line, "kv"), None);
        assert_eq!(value(line, "name"), Some("a b"));
        assert_eq!(value(line, "max_model_len"), Some("8192"));
        assert_eq!(value("é=1 key=", "key"), Some(""));
        assert_eq!(value("key=\"open", "key"), None);
    }

    #[test]
    fn numbers_may_have_commas() {
        assert_eq!(number(" 230,528 tokens"), Some((230_528, " tokens")));
        assert_eq!(number("x"), None);
        assert_eq!(number("99999999999999999999999"), None);
        assert_eq!(number_after("n_ctx = 4096", "n_ctx ="), Some(4096));
        let text = "not enough GPU memory. GPU 1 has a total capacity of 23.52 GiB";
        assert_eq!(first_number_after(text, "GPU "), Some(1));
        assert_eq!(first_number_after("GPU memory", "GPU "), None);
    }
}
