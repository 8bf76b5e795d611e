//! Text from files, made safe to print.

use std::fmt::Write as _;

/// Characters of a name or a value that messages quote.
const QUOTED: usize = 120;

/// Characters of a path that messages quote.
const PATH: usize = 1_000;

/// `text` without anything that could command a terminal or reorder a line, cut to a length fit for
/// a message.
///
/// ```
/// use vramplan_planner::read::printable;
/// assert_eq!(printable("blk.0.attn_q.weight"), "blk.0.attn_q.weight");
/// assert_eq!(printable("\x1b[2Jnothing to see"), "\\u{1b}[2Jnothing to see");
/// ```
pub fn printable(text: &str) -> String {
    escape(text, QUOTED)
}

/// [`printable`] for paths, which may be long.
pub fn printable_path(path: &std::path::Path) -> String {
    escape(&path.to_string_lossy(), PATH)
}

/// [`printable`] for messages of other libraries, which quote file content in turn.
pub fn printable_message(message: &str) -> String {
    escape(message, PATH)
}

fn escape(text: &str, limit: usize) -> String {
    let mut out = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == limit {
            out.push('…');
            break;
        }
        if is_unsafe(c) {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
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
}
