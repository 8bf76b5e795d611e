//! Text that cannot command a terminal or mislead who reads it.

use std::fmt::Write as _;
use std::path::Path;

/// Characters of a name or a value that messages quote.
const QUOTED: usize = 120;

/// Characters of a path, or of another library's message, that messages quote.
const LONG: usize = 1_000;

/// `text` on one line, without anything that could command a terminal or reorder a line, cut to a
/// length fit for a message.
///
/// ```
/// use vramplan_planner::text::printable;
/// assert_eq!(printable("blk.0.attn_q.weight"), "blk.0.attn_q.weight");
/// assert_eq!(printable("\x1b[2Jnothing to see"), "\\u{1b}[2Jnothing to see");
/// ```
pub fn printable(text: &str) -> String {
    escape(text, QUOTED)
}

/// [`printable`] for paths, which may be long.
pub fn printable_path(path: &Path) -> String {
    escape(&path.to_string_lossy(), LONG)
}

/// [`printable`] for messages of other libraries, which quote file content in turn.
pub fn printable_message(message: &str) -> String {
    escape(message, LONG)
}

/// [`printable_message`] of a message that its library wrote over several lines.
///
/// ```
/// assert_eq!(vramplan_planner::text::one_line("invalid string\nexpected `'`\n"), "invalid string, expected `'`");
/// ```
pub fn one_line(message: &str) -> String {
    printable_message(&message.trim_end().lines().collect::<Vec<_>>().join(", "))
}

/// A text of several lines, whole: its lines and tabs stay, every other control character is escaped.
///
/// Only for text that may have lines of its own, such as a file that is shown: what is quoted within a
/// line goes through [`printable`].
pub fn printable_lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.replace("\r\n", "\n").chars() {
        match c {
            '\n' | '\t' => out.push(c),
            _ => push(&mut out, c),
        }
    }
    out
}

/// Characters of a line that is cut elsewhere.
pub(super) fn without_limit(chars: impl Iterator<Item = char>) -> String {
    let mut out = String::new();
    chars.for_each(|c| push(&mut out, c));
    out
}

fn escape(text: &str, limit: usize) -> String {
    let mut out = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == limit {
            out.push('…');
            break;
        }
        push(&mut out, c);
    }
    out
}

fn push(out: &mut String, c: char) {
    if is_unsafe(c) {
        // Writing to a String cannot fail.
        let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
    } else {
        out.push(c);
    }
}

/// Control characters, line separators, and what changes direction, joins or is invisible.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_direction_characters_are_escaped() {
        assert_eq!(printable("a\nb\tc\0\u{7f}\u{9b}"), "a\\u{a}b\\u{9}c\\u{0}\\u{7f}\\u{9b}");
        assert_eq!(printable("\u{202e}txt.\u{2066}\u{200f}"), "\\u{202e}txt.\\u{2066}\\u{200f}");
        assert_eq!(printable("Ġcafé 模型"), "Ġcafé 模型");
    }

    #[test]
    fn long_text_is_cut() {
        let cut = printable(&"é".repeat(10_000));
        assert_eq!(cut.chars().count(), QUOTED + 1);
        assert!(cut.ends_with('…'));
    }

    #[test]
    fn a_text_that_is_shown_keeps_its_lines_and_nothing_else() {
        let shown = printable_lines("a = 1\r\n\tb\u{1b}]0;x\u{7}\u{9b}31m\u{202e}\rc\n");
        assert_eq!(shown, "a = 1\n\tb\\u{1b}]0;x\\u{7}\\u{9b}31m\\u{202e}\\u{d}c\n");
        let long = "x".repeat(10_000);
        assert_eq!(printable_lines(&long), long);
    }
}
