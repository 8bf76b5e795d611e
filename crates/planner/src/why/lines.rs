//! From bytes to lines of text, whatever wrote them: UTF-8 or UTF-16, any line ends, colours, JSON around each line.

use std::borrow::Cow;

/// Bytes of a log that are read.
pub const MOST_BYTES: u64 = 64 << 20;
/// Bytes of a line that are looked at; vLLM and `SGLang` print all of their settings on one.
pub const LONGEST_LINE: usize = 32 << 10;
/// Bytes by which an encoding is told.
const HEAD: usize = 64;

/// How the characters of a log are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    /// UTF-8, or anything that ASCII is part of.
    Utf8,
    /// UTF-16, as PowerShell's `>` writes it.
    Utf16 { big: bool },
}

/// Takes bytes as they come, and hands out lines.
#[derive(Debug, Default)]
pub struct Lines {
    head: Vec<u8>,
    encoding: Option<Encoding>,
    /// An odd byte of UTF-16, and the first half of a character of two.
    odd: Option<u8>,
    surrogate: Option<u16>,
    line: Vec<u8>,
    ended_by_return: bool,
    /// Lines handed out.
    pub number: u64,
    /// Lines that were longer than is looked at.
    pub cut: u64,
    is_cut: bool,
}

impl Lines {
    /// Takes bytes; every line that ends in them goes to `each` with its number.
    pub fn feed(&mut self, bytes: &[u8], each: &mut impl FnMut(u64, &str)) {
        if self.encoding.is_some() {
            return self.take(bytes, each);
        }
        let missing = HEAD.saturating_sub(self.head.len()).min(bytes.len());
        let (first, rest) = bytes.split_at(missing);
        self.head.extend_from_slice(first);
        if self.head.len() >= HEAD {
            self.begin(each);
            self.take(rest, each);
        }
    }

    /// The log ends here; so does its last line.
    pub fn finish(&mut self, each: &mut impl FnMut(u64, &str)) {
        if self.encoding.is_none() {
            self.begin(each);
        }
        if !self.line.is_empty() {
            self.end_line(each);
        }
    }

    fn begin(&mut self, each: &mut impl FnMut(u64, &str)) {
        let head = std::mem::take(&mut self.head);
        let (encoding, mark) = encoding_of(&head);
        self.encoding = Some(encoding);
        self.take(head.get(mark..).unwrap_or_default(), each);
    }

    fn take(&mut self, bytes: &[u8], each: &mut impl FnMut(u64, &str)) {
        match self.encoding {
            Some(Encoding::Utf16 { big }) => {
                for &byte in bytes {
                    let Some(first) = self.odd.take() else {
                        self.odd = Some(byte);
                        continue;
                    };
                    let pair = [first, byte];
                    let unit =
                        if big { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) };
                    self.unit(unit, each);
                }
            }
            _ => bytes.iter().for_each(|&byte| self.byte(byte, each)),
        }
    }

    /// A unit of UTF-16, as bytes of UTF-8.
    fn unit(&mut self, unit: u16, each: &mut impl FnMut(u64, &str)) {
        let units: Vec<u16> = match (self.surrogate.take(), unit) {
            (None, 0xd800..=0xdbff) => {
                self.surrogate = Some(unit);
                return;
            }
            (Some(first), second) => vec![first, second],
            (None, unit) => vec![unit],
        };
        let mut bytes = [0; 4];
        for c in char::decode_utf16(units) {
            let c = c.unwrap_or(char::REPLACEMENT_CHARACTER);
            for &byte in c.encode_utf8(&mut bytes).as_bytes() {
                self.byte(byte, each);
            }
        }
    }

    fn byte(&mut self, byte: u8, each: &mut impl FnMut(u64, &str)) {
        let after_return = std::mem::take(&mut self.ended_by_return);
        match byte {
            b'\n' if after_return => {}
            b'\n' | b'\r' => {
                self.ended_by_return = byte == b'\r';
                self.end_line(each);
            }
            _ if self.line.len() < LONGEST_LINE => self.line.push(byte),
            _ => self.is_cut = true,
        }
    }

    fn end_line(&mut self, each: &mut impl FnMut(u64, &str)) {
        self.number = self.number.saturating_add(1);
        self.cut = self.cut.saturating_add(u64::from(std::mem::take(&mut self.is_cut)));
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&line);
        let plain = plain(&text);
        let inner = unwrapped(&plain);
        each(self.number, inner.trim_end());
        // The memory of the line is that of the next one.
        self.line = line;
        self.line.clear();
    }
}

/// The encoding of a log by how it begins, and how many bytes of it only say so.
fn encoding_of(head: &[u8]) -> (Encoding, usize) {
    match head {
        [0xef, 0xbb, 0xbf, ..] => return (Encoding::Utf8, 3),
        [0xff, 0xfe, ..] => return (Encoding::Utf16 { big: false }, 2),
        [0xfe, 0xff, ..] => return (Encoding::Utf16 { big: true }, 2),
        _ => {}
    }
    // ASCII in UTF-16 is every other byte.
    let zeros = |odd: usize| {
        let bytes: Vec<_> = head.iter().skip(odd).step_by(2).collect();
        bytes.len() >= 4 && bytes.iter().all(|byte| **byte == 0)
    };
    match (zeros(0), zeros(1)) {
        (false, true) => (Encoding::Utf16 { big: false }, 0),
        (true, false) => (Encoding::Utf16 { big: true }, 0),
        _ => (Encoding::Utf8, 0),
    }
}

/// A line without what commands a terminal; tabs are spaces.
fn plain(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\t' => out.push(' '),
            '\u{1b}' => skip_sequence(&mut chars),
            '\u{9b}' => skip_until(&mut chars, |c| ('@'..='~').contains(&c)),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// What an escape begins: a colour, a title, or one character.
fn skip_sequence(chars: &mut std::str::Chars<'_>) {
    match chars.next() {
        Some('[') => skip_until(chars, |c| ('@'..='~').contains(&c)),
        Some(']' | 'P' | '_' | '^' | 'X') => {
            let mut before = '\0';
            skip_until(chars, |c| {
                let ends = c == '\u{7}' || c == '\u{9c}' || (before == '\u{1b}' && c == '\\');
                before = c;
                ends
            });
        }
        _ => {}
    }
}

fn skip_until(chars: &mut std::str::Chars<'_>, mut is_last: impl FnMut(char) -> bool) {
    // A sequence that does not end is none: what it would swallow is not lost.
    let rest = chars.clone();
    for c in chars.by_ref() {
        if is_last(c) {
            return;
        }
    }
    *chars = rest;
}

/// The message of a line that is a JSON object, as Docker and journald keep them.
fn unwrapped(text: &str) -> Cow<'_, str> {
    const KEYS: [&str; 4] = ["log", "MESSAGE", "message", "error"];
    if !text.starts_with('{') || !KEYS.iter().any(|key| text.contains(key)) {
        return Cow::Borrowed(text);
    }
    let Ok(serde_json::Value::Object(object)) = serde_json::from_str(text) else {
        return Cow::Borrowed(text);
    };
    let found = KEYS.into_iter().find_map(|key| object.get(key)?.as_str());
    match found {
        Some(message) => Cow::Owned(plain(&message.replace('\n', " ")).into_owned()),
        None => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8], step: usize) -> Vec<String> {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        let mut each = |number: u64, line: &str| found.push(format!("{number}:{line}"));
        for part in bytes.chunks(step) {
            lines.feed(part, &mut each);
        }
        lines.finish(&mut each);
        found
    }

    #[test]
    fn any_line_end_and_encoding_gives_the_same_lines() {
        let text = "a é\u{1f600}\nb\n\nlast";
        let utf16 = |big: bool, mark: &[u8]| {
            let unit = |unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() };
            let units = text.encode_utf16().flat_map(unit);
            mark.iter().copied().chain(units).collect::<Vec<u8>>()
        };
        let with_returns = text.replace('\n', "\r\n");
        for bytes in [
            text.as_bytes().to_vec(),
            with_returns.into_bytes(),
            [b"\xef\xbb\xbf".as_slice(), text.as_bytes()].concat(),
            utf16(false, b"\xff\xfe"),
            utf16(true, b"\xfe\xff"),
        ] {
            for step in [1, 3, 1000] {
                assert_eq!(lines(&bytes, step), ["1:a é\u{1f600}", "2:b", "3:", "4:last"]);
            }
        }
        assert_eq!(lines(b"1%\r2%\rdone\n", 2), ["1:1%", "2:2%", "3:done"]);
        let unmarked: Vec<u8> = "plain text".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(lines(&unmarked, 7), ["1:plain text"]);
        assert_eq!(lines(b"", 1), Vec::<String>::new());
    }

    #[test]
    fn nothing_that_commands_a_terminal_is_left() {
        assert_eq!(plain("\u{1b}[1;31mred\u{1b}[0m \u{1b}]0;title\u{7}x\u{9b}31my\u{8}"), "red xy");
        assert_eq!(plain("\u{1b}]0;open"), "0;open");
        assert_eq!(plain("\u{1b}"), "");
        assert_eq!(plain("a\tb"), "a b");
    }

    #[test]
    fn json_around_a_line_is_taken_off() {
        assert_eq!(unwrapped(r#"{"log":"a \"b\"\n","stream":"stderr"}"#), "a \"b\" ");
        assert_eq!(unwrapped(r#"{"MESSAGE":"m","_PID":"1"}"#), "m");
        for other in ["{", "{\"log\":1}", "{\"log\"", "plain log", "{\"a\":\"log\"}"] {
            assert_eq!(unwrapped(other), other);
        }
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let mut lines = Lines::default();
        let mut longest = 0;
        let mut each = |_: u64, line: &str| longest = longest.max(line.len());
        for _ in 0..64 {
            lines.feed(&[b'x'; 4096], &mut each);
        }
        lines.finish(&mut each);
        assert_eq!((longest, lines.cut, lines.number), (LONGEST_LINE, 1, 1));
    }
}
